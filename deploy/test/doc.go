// Package deploytest tests what people deploy: the dashboards and alerts, and docs/metrics.md,
// which explains them. It is a module of its own, so that those who import platform do not get
// what Prometheus needs.
package deploytest
