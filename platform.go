// Package platform defines the operations that a cluster offers, independent of the
// transport over which they are called.
//
// [Platform] is the interface of a cluster. Package kubernetes implements it,
// [Instrument] measures it, [Trace] traces it, and a [MessageBus] carries it between a
// daemon, which offers a cluster, and a service, which uses it: Connect returns a Platform
// whose calls are executed by the daemon. [PlatformTestBattery], [MessageBusTestBattery] and
// [PlatformContractBattery] check that other transports, buses and implementations keep the
// contract.
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
//   - [FatalError] reports that the Platform is dead, and ends its subscription. [AsFatal]
//     finds it.
//
// What ClusterError, UnavailableError and UpgradeNeededError return is a
// [flux.UserConfigProblem] with a help text for the end user, see [flux.HelpfulError].
// [ErrorCodec] sends errors over any encoding.
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
	// error, which reports what the result lacks. The containers of a service have the order
	// of its definition.
	AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error)

	// SomeServices returns those of the services named that exist, and leaves out the
	// others. Their order is not defined, and no service is in the result twice: the order
	// of ids, and IDs that are named twice, do not count. A result may be accompanied by an
	// error, which reports what could not be looked up.
	SomeServices(ids []flux.ServiceID) ([]Service, error)

	// Apply applies the new definition of each service's pod controller and, unless
	// Async is set, waits until it is rolled out. It attempts every definition
	// also after one has failed. It returns nil if all succeeded; an ApplyError
	// with one entry for each service that did not, which matches ErrNoMatchingService if
	// the service does not exist; and any other error only if it attempted none. Applying a
	// definition again changes nothing.
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
	// in a defined order, suitable as input for Sync: it then changes nothing. Secrets are
	// left out unless the platform is configured to include them. A result may be
	// accompanied by an error, which reports what the result lacks.
	Export() ([]byte, error)

	// Sync executes every action, also after one has failed. It returns nil if all
	// succeeded; a SyncError with one entry for each ResourceID that did not; and any
	// other error only if it attempted none. A second Sync of the same definition
	// changes nothing, and deleting an object that does not exist succeeds.
	Sync(def SyncDef) error
}

// Platform is the interface various platforms fulfill, e.g. *kubernetes.Cluster.
//
// What follows holds for every implementation, and for transports and decorators, which
// pass calls on to another Platform. PlatformContractBattery checks an implementation, and
// PlatformTestBattery a transport or decorator.
//
// # Values
//
// Nil and empty mean the same, in arguments and in results. Where an order is not defined
// any will do; ServiceDefinitions, SyncActions and what is in them keep theirs. IDs, names,
// statuses and metadata may be any strings, the empty one included. A string that is not
// valid UTF-8 may arrive with U+FFFD in place of what is invalid, or fail the call; later
// calls are not affected. Definitions and exports are bytes, and arrive as they are.
//
// Arguments and results belong to the caller: a Platform neither changes its arguments nor
// keeps a reference to either. A result or an error does not change once it is returned,
// and arguments do not change at the far end before the call has ended.
//
// # Sizes
//
// A transport carries 4 MiB of arguments or of results, 10,000 entries in either and in an
// ApplyError or SyncError, and 64 KiB of text in an error and in each of its entries, 4 MiB
// together. A call that is larger fails, with an error that says so; it is never cut short
// without a word.
//
// # Calls
//
// A write, which is Apply or Sync, is made at most once, whatever its error. If its outcome
// is not known, it returns an UnavailableError that says so. Reads, which are the other
// methods, may be repeated, and Ping and Version may be called at any time, for instance on
// connecting. Each call reaches the platform, also if many calls before it have failed, and
// has ended when it returns, unless the connection was lost or its context has ended. It
// returns the platform's answer to it, and nothing of another call's.
//
// A Platform may be used by many goroutines at once, with 256 calls in progress. A call may
// take as long as its context allows, see WithContext; a slow one holds up no other.
//
// A Platform must not panic. What becomes of a panic is not defined: a transport may return
// it as an error, and within one process it may end the program.
//
// # Errors
//
// A call that succeeded returns an error that is nil, also behind the interface; an error
// with an empty text is one. Over every hop,
//
//   - an ApplyError or SyncError arrives as it was, for a type switch to find, with an entry
//     for each entry; what is said here of errors holds for entries too;
//   - a flux.UserConfigProblem, ServerException or Missing keeps its type, its text and its
//     help, and with it a ClusterError, UnavailableError or UpgradeNeededError;
//   - AsFatal finds a FatalError in what arrives if it found one in what was returned, and
//     only then. The whole error may arrive, or the FatalError alone;
//   - errors.Is finds the exported errors of this package, and errors.As an ApplyError or
//     SyncError, in what wraps them too, and only if they were there;
//   - the text stays. A transport may add to the text of an error that wraps an ApplyError
//     or SyncError, and give a text to an error that has none;
//   - any error that is none of these may come in a ClusterError, which has the same text.
//
// A result that is returned with an error arrives with it, except for Version.
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
	// The Platform returned, and each view of it, follows the instance: each call goes to
	// the daemon that is subscribed at that time, and fails with an UnavailableError while
	// there is none. There may be many for one instance.
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
