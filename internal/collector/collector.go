// Package collector registers Prometheus collectors that several owners share.
package collector

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Shared registers c with r and returns it, or returns the collector with the same
// description that r holds already. It fails if r holds a different collector of that
// name. It may be called by many goroutines at once.
func Shared[C prometheus.Collector](r prometheus.Registerer, c C) (C, error) {
	err := r.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if earlier, ok := already.ExistingCollector.(C); ok {
			return earlier, nil
		}
	}
	return c, err
}
