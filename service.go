package platform

import (
	"errors"

	"github.com/platformbus/platform/flux"
)

// Service describes a platform service, generally a floating IP with one or more
// exposed ports that map to a load-balanced pool of instances. Eventually this type
// will generalize to something of a lowest-common-denominator for all supported
// platforms, but right now it looks a lot like a Kubernetes service.
type Service struct {
	ID       flux.ServiceID
	IP       string
	Metadata map[string]string // a grab bag of goodies, likely platform-specific
	Status   string            // A status summary for display

	Containers ContainersOrExcuse
}

// A Container represents a container specification in a pod. The Name identifies it
// within the pod, and the Image says which image it's configured to run.
type Container struct {
	Name  string
	Image string
}

// Sometimes we care if we can't find the containers for a service, sometimes we just
// want the information we can get. ContainersOrExcuse serves both: it holds the
// containers, the reason why they are missing, or both if the list is incomplete.
type ContainersOrExcuse struct {
	Excuse     string
	Containers []Container
}

// ContainersOrNil returns the containers that are known, and ignores the excuse.
func (s Service) ContainersOrNil() []Container { return s.Containers.Containers }

// ContainersOrError returns the containers that are known. If there is an excuse, it also
// returns it as an error.
func (s Service) ContainersOrError() ([]Container, error) {
	if s.Containers.Excuse != "" {
		return s.Containers.Containers, errors.New(s.Containers.Excuse)
	}
	return s.Containers.Containers, nil
}

// ServiceDefinition is provided to platform.Apply method/s.
type ServiceDefinition struct {
	ServiceID     flux.ServiceID
	NewDefinition []byte // of the pod controller e.g. deployment
	Async         bool   // Should this definition be applied without waiting for the result.
}

// ApplyError holds an error for each service that could not be applied.
type ApplyError map[flux.ServiceID]error

// Error lists the failures in the order of their IDs.
func (e ApplyError) Error() string { return describe(e) }

// Unwrap returns the causes, so that errors.Is and errors.As reach each of them.
func (e ApplyError) Unwrap() []error { return causes(e) }
