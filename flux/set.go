package flux

import (
	"maps"
	"slices"
	"strings"
)

// A ServiceIDSet is a set of IDs. The nil set is empty and ready to use. In JSON it
// is an object keyed by ID.
//
// In releases of 2017 a nil set meant "no restriction" to Intersection, which returned the
// other set, so that an optional filter needed no test for nil. Here nil is empty in every
// method, since a hop may turn nil into empty or empty into nil (gob does), and a filter
// that matches nothing must not arrive as one that matches everything. A caller with an
// optional filter tests it for nil.
//
// A set may be read by many goroutines at once; Add needs exclusive access.
type ServiceIDSet map[ServiceID]struct{}

// Add adds ids to the set. It allocates the set if it is nil.
func (s *ServiceIDSet) Add(ids []ServiceID) {
	if *s == nil {
		*s = make(ServiceIDSet, len(ids))
	}
	for _, id := range ids {
		(*s)[id] = struct{}{}
	}
}

// Contains reports whether id is in the set.
func (s ServiceIDSet) Contains(id ServiceID) bool {
	_, ok := s[id]
	return ok
}

// Without returns a new set of the IDs that are in s and not in others; with nil, a copy.
func (s ServiceIDSet) Without(others ServiceIDSet) ServiceIDSet {
	return s.filter(func(id ServiceID) bool { return !others.Contains(id) })
}

// Intersection returns a new set of the IDs that are in both s and others; with nil, none.
func (s ServiceIDSet) Intersection(others ServiceIDSet) ServiceIDSet {
	return s.filter(others.Contains)
}

func (s ServiceIDSet) filter(keep func(ServiceID) bool) ServiceIDSet {
	kept := ServiceIDSet{}
	for id := range s {
		if keep(id) {
			kept[id] = struct{}{}
		}
	}
	return kept
}

// ToSlice returns the IDs in order, in a new slice that is never nil.
func (s ServiceIDSet) ToSlice() ServiceIDs {
	ids := slices.AppendSeq(make(ServiceIDs, 0, len(s)), maps.Keys(s))
	ids.Sort()
	return ids
}

// String lists the IDs in order, as in {default/a, default/b}.
func (s ServiceIDSet) String() string {
	names := make([]string, 0, len(s))
	for _, id := range s.ToSlice() {
		names = append(names, id.String())
	}
	return "{" + strings.Join(names, ", ") + "}"
}
