// Package platform defines the operations that a cluster offers, independent of the
// transport over which they are called.
//
// [Platform] is the interface of a cluster. Package kubernetes implements it,
// [Instrument] measures it, and a [MessageBus] carries it between a daemon, which offers
// a cluster, and a service, which uses it: Connect returns a Platform whose calls are
// executed by the daemon. [PlatformTestBattery] and [MessageBusTestBattery] check that
// other transports and buses keep the contract.
//
// # Concurrency
//
// Every Platform and every MessageBus may be used by many goroutines at once.
// Arguments and results belong to the caller: a Platform neither changes its
// arguments nor keeps a reference to them after it has returned. The documented
// methods take no context; [WithContext] gives a view of a Platform whose calls obey
// one.
//
// # Errors
//
// An error keeps its type and its text over every hop. Test for it with errors.As
// and errors.Is, never with ==, since ApplyError and SyncError are maps:
//
//   - [ApplyError] and [SyncError] hold one error for each service or resource that failed.
//   - [ClusterError] reports that the daemon was reached, and its cluster refused or failed.
//   - [UnavailableError], which matches [ErrPlatformNotAvailable], reports that no answer
//     arrived: no daemon is connected, or it was lost.
//   - [UpgradeNeededError], which matches [ErrUpgradeNeeded], reports that the daemon is
//     too old to know the method.
//   - [FatalError] reports that the Platform is dead, and ends its subscription.
//
// The three in the middle carry a help text for the end user, see [flux.HelpfulError].
package platform

import (
	"fmt"

	"github.com/platformbus/platform/flux"
)

// PlatformV4 is the interface of daemons of version 4. A later service can still use
// one, see [PlatformFromV4].
type PlatformV4 interface {
	// AllServices returns the services of the namespace given, or of all namespaces
	// if it is empty, without those in ignored. Their order is not defined. The excuse
	// of a service's containers reports what could not be determined about it. A
	// namespace that does not exist is an error. A result may be accompanied by an
	// error, which reports what the result lacks.
	AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error)

	// SomeServices returns those of the services named that exist, and leaves out the
	// others. Their order is not defined, and no service is in the result twice. A
	// result may be accompanied by an error, which reports what could not be looked up.
	SomeServices(ids []flux.ServiceID) ([]Service, error)

	// Apply applies the new definition of each service's pod controller and, unless
	// Async is set, waits until it is rolled out. It attempts every definition
	// also after one has failed. It returns nil if all succeeded; an ApplyError
	// with one entry for each service that did not; and any other error only if it
	// attempted none. Applying a definition again changes nothing.
	Apply(defs []ServiceDefinition) error

	// Ping returns nil if the platform can be reached and answers.
	Ping() error

	// Version returns the version of the daemon that offers the platform. It is for
	// display; its form is the daemon's own.
	Version() (string, error)
}

// PlatformV5 is the interface of daemons of version 5: it adds methods to version 4.
type PlatformV5 interface {
	PlatformV4

	// Export returns definitions of the objects in the cluster, as multi-document YAML
	// in a defined order, suitable as input for Sync. Secrets are left out unless the
	// platform is configured to include them.
	Export() ([]byte, error)

	// Sync executes every action, also after one has failed. It returns nil if all
	// succeeded; a SyncError with one entry for each ResourceID that did not; and any
	// other error only if it attempted none. A second Sync of the same definition
	// changes nothing, and deleting an object that does not exist succeeds.
	Sync(def SyncDef) error
}

// Platform is the interface various platforms fulfill, e.g. *kubernetes.Cluster.
//
// It may be used by many goroutines at once. Arguments and results belong to the caller.
// PlatformTestBattery checks that a transport or decorator keeps the contract of each
// method.
type Platform interface {
	PlatformV5
}

// A Connecter gets a connection to a platform; this can happen in different ways,
// e.g., by having direct access to Kubernetes in standalone mode, or by going via a
// message bus.
type Connecter interface {
	// Connect returns a platform for the instance specified. An error is returned only
	// if there is a problem (possibly transient) with the underlying mechanism, or the
	// ID is empty (i.e., not if the platform is simply not known to be connected at
	// this time).
	//
	// The Platform returned follows the instance: each call goes to the daemon that is
	// subscribed at that time, and fails with an UnavailableError while there is none.
	Connect(inst flux.InstanceID) (Platform, error)
}

// PlatformFromV4 adapts a daemon of version 4 to Platform: the methods of later versions
// return an UpgradeNeededError. If p implements Platform it is returned unchanged.
func PlatformFromV4(p PlatformV4) Platform {
	if newer, ok := p.(Platform); ok {
		return newer
	}
	return &fromV4{PlatformV4: p}
}

// fromV4 embeds a PlatformV4 only: a method added to Platform fails to compile here
// until the answer of a daemon of version 4 is defined.
type fromV4 struct{ PlatformV4 }

var _ Platform = (*fromV4)(nil)

func (*fromV4) Export() ([]byte, error) { return nil, notInV4("Export") }

func (*fromV4) Sync(SyncDef) error { return notInV4("Sync") }

func notInV4(method string) error {
	return UpgradeNeededError(fmt.Errorf("the daemon has version 4 of the platform interface, which lacks %s", method))
}
