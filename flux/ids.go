// Package flux holds the identifiers that platforms, daemons and services share,
// and the errors that carry a help text for the person who meets them.
//
// It imports nothing but the standard library, so that anything may import it.
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
// Make one with ParseServiceID or MakeServiceID.
type ServiceID string

// ParseServiceID returns s as a ServiceID. It fails, naming s, unless s consists of
// a namespace and a name, neither empty, joined by exactly one slash.
func ParseServiceID(s string) (ServiceID, error) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("service ID %q: want namespace/name", s)
	}
	return ServiceID(s), nil
}

// MakeServiceID joins a namespace and the name of a service in it. It does not
// check either: an ID made of parts that hold a slash is refused by ParseServiceID.
func MakeServiceID(namespace, name string) ServiceID {
	return ServiceID(namespace + "/" + name)
}

// Components splits the ID into what MakeServiceID joined. An ID that
// ParseServiceID would refuse for lack of a slash is all name and no namespace.
func (id ServiceID) Components() (namespace, name string) {
	namespace, name, ok := strings.Cut(string(id), "/")
	if !ok {
		return "", string(id)
	}
	return namespace, name
}

// String returns the ID as it is.
func (id ServiceID) String() string { return string(id) }

// ServiceIDs is a list of IDs with set operations; the order is kept.
type ServiceIDs []ServiceID

// Sort sorts the list in place.
func (ids ServiceIDs) Sort() { slices.Sort(ids) }

// Contains says whether id is in the list.
func (ids ServiceIDs) Contains(id ServiceID) bool { return slices.Contains(ids, id) }

// Without returns a new list of the IDs that are not in others, in their order.
func (ids ServiceIDs) Without(others ServiceIDSet) ServiceIDs {
	return ids.filter(func(id ServiceID) bool { return !others.Contains(id) })
}

// Intersection returns a new list of the IDs that are in others too, in their order.
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
