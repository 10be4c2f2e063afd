// Package flux defines the identifiers that platforms, daemons and services share, and
// errors with a help text for the end user.
//
// It imports only the standard library, so that any package may import it.
package flux

import (
	"fmt"
	"slices"
	"strings"
)

// An InstanceID names one connected cluster: the daemon subscribes under it and
// the service connects to it. It is an opaque string; the bus neither parses nor
// changes it.
type InstanceID string

// A ServiceID names a service within a cluster, in the form "namespace/name".
// ParseServiceID and MakeServiceID return one.
type ServiceID string

// ParseServiceID returns s as a ServiceID. It fails, naming s, unless s consists of
// a namespace and a name, neither empty, joined by exactly one slash.
//
// Releases of 2017 accepted empty parts and further slashes. No cluster has a service of
// such a name, and the parts go into paths of the API server, so they are refused where
// they are read: a caller that relied on them gets this error in place of a later one.
func ParseServiceID(s string) (ServiceID, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("service ID %q: want namespace/name", s)
	}
	return ServiceID(s), nil
}

// MakeServiceID joins a namespace and the name of a service in it. It does not
// check either: ParseServiceID refuses an ID whose parts contain a slash.
func MakeServiceID(namespace, name string) ServiceID {
	return ServiceID(namespace + "/" + name)
}

// Components returns the namespace and the name of the ID. If the ID has no slash, the
// namespace is empty and the name is the whole ID; of several slashes the first counts.
//
// Releases of 2017 panicked without a slash. IDs arrive over buses, from strangers, and a
// malformed one must not end the process that looks at it.
func (id ServiceID) Components() (namespace, name string) {
	namespace, name, ok := strings.Cut(string(id), "/")
	if !ok {
		return "", string(id)
	}
	return namespace, name
}

// String returns the ID unchanged.
func (id ServiceID) String() string { return string(id) }

// ServiceIDs is a list of IDs with set operations that preserve the order.
type ServiceIDs []ServiceID

// Len, Less and Swap implement sort.Interface.
func (ids ServiceIDs) Len() int { return len(ids) }

// Less reports whether the ID at i sorts before the one at j.
func (ids ServiceIDs) Less(i, j int) bool { return ids[i] < ids[j] }

// Swap exchanges the IDs at i and j.
func (ids ServiceIDs) Swap(i, j int) { ids[i], ids[j] = ids[j], ids[i] }

// Sort sorts the list in place.
func (ids ServiceIDs) Sort() { slices.Sort(ids) }

// Contains reports whether id is in the list.
func (ids ServiceIDs) Contains(id ServiceID) bool { return slices.Contains(ids, id) }

// Without returns a new list of the IDs that are not in others, in the same order. A nil
// set is empty, see ServiceIDSet.
func (ids ServiceIDs) Without(others ServiceIDSet) ServiceIDs {
	return ids.filter(func(id ServiceID) bool { return !others.Contains(id) })
}

// Intersection returns a new list of the IDs that are also in others, in the same order. A
// nil set is empty, see ServiceIDSet.
func (ids ServiceIDs) Intersection(others ServiceIDSet) ServiceIDs {
	return ids.filter(others.Contains)
}

func (ids ServiceIDs) filter(keep func(ServiceID) bool) ServiceIDs {
	kept := ServiceIDs{}
	for _, id := range ids {
		if keep(id) {
			kept = append(kept, id)
		}
	}
	return kept
}
