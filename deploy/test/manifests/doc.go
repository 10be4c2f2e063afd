// Package manifests tests what runs the programs: the kustomize base, the chart, the Dockerfile and
// the systemd unit in deploy.
package manifests
