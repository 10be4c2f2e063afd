// Package platform describes what a cluster can do for its owner, apart from how
// it is reached.
//
// [Platform] is the whole contract. Package kubernetes fulfils it, [Instrument]
// decorates it, and a [MessageBus] carries it between a daemon, which offers a
// cluster, and a service, which uses it: what Connect returns is a Platform whose
// calls are answered elsewhere. Anyone with a transport of their own can hold it to
// the contract with [PlatformTestBattery] and [MessageBusTestBattery].
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
//   - [ApplyError] and [SyncError] say of each thing that failed what went wrong.
//   - [ClusterError] says that the daemon was reached, and its cluster refused or failed.
//   - [UnavailableError], which matches [ErrPlatformNotAvailable], says that no answer
//     came: no daemon is connected, or it was lost.
//   - [UpgradeNeededError], which matches [ErrUpgradeNeeded], says that the daemon is
//     too old to know the method.
//   - [FatalError] says that the Platform is dead, and ends its subscription.
//
// The three in the middle carry a help text for the person who meets them, see
// [flux.HelpfulError].
package platform

import (
	"fmt"

	"github.com/platformbus/platform/flux"
)

// PlatformV4 is the interface of daemons of version 4. A later service can still use
// one, see [PlatformFromV4].
type PlatformV4 interface {
	// AllServices returns the services of the namespace given, or of all namespaces
	// if it is empty, without those in ignored. Their order is not defined. What
	// could not be found out about a service is in the excuse of its containers. A
	// namespace that does not exist is an error. An error beside a result says
	// what the result lacks.
	AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error)

	// SomeServices returns those of the services named that exist, and leaves out the
	// others. Their order is not defined, and no service is in the result twice. An
	// error beside a result says what could not be looked up.
	SomeServices(ids []flux.ServiceID) ([]Service, error)

	// Apply puts the new definition of each service's pod controller in place and,
	// unless Async is set, waits until it is rolled out. It attempts every definition
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

// PlatformV5 is the interface of daemons of version 5: version 4 and what came since.
type PlatformV5 interface {
	PlatformV4

	// Export returns definitions of what the cluster holds, as multi-document YAML in a
	// defined order, fit to be given to Sync. Secrets are left out unless the
	// platform was told otherwise.
	Export() ([]byte, error)

	// Sync carries out every action, also after one has failed. It returns nil if all
	// succeeded; a SyncError with one entry for each ResourceID that did not; and any
	// other error only if it attempted none. A second Sync of the same definition
	// changes nothing, and deleting what is gone succeeds.
	Sync(def SyncDef) error
}

// Platform is the interface various platforms fulfill, e.g. *kubernetes.Cluster.
//
// It may be used by many goroutines at once. Arguments and results are the caller's.
// PlatformTestBattery checks that a transport or decorator keeps to the contract
// that each method states.
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
	// What it returns follows the instance: each call goes to the daemon that is
	// subscribed at that time, and while there is none fails with an
	// UnavailableError.
	Connect(inst flux.InstanceID) (Platform, error)
}

// PlatformFromV4 offers a daemon of version 4 as a Platform: the methods that came
// later return an UpgradeNeededError. A p that has them already is returned as it is.
func PlatformFromV4(p PlatformV4) Platform {
	if newer, ok := p.(Platform); ok {
		return newer
	}
	return &fromV4{PlatformV4: p}
}

// fromV4 embeds a PlatformV4 only; a method added to Platform fails to compile here
// until it is decided what a daemon of version 4 answers to it.
type fromV4 struct{ PlatformV4 }

var _ Platform = (*fromV4)(nil)

func (*fromV4) Export() ([]byte, error) { return nil, notInV4("Export") }

func (*fromV4) Sync(SyncDef) error { return notInV4("Sync") }

func notInV4(method string) error {
	return UpgradeNeededError(fmt.Errorf("the daemon has version 4 of the platform interface, which lacks %s", method))
}
