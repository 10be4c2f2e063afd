package apply

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/graph"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// Graph returns the steps as a graph in which each depends on what must come before it, and
// the step's node for each. The steps are in the order of the actions; what is not among them
// is as it should be already.
func Graph(steps []*Step) (*graph.Graph[*Step], []*graph.Step[*Step]) {
	g := &graph.Graph[*Step]{}
	opened, allocated := g.AddBarrier(), g.AddBarrier()
	nodes := make([]*node, len(steps))
	for i, s := range steps {
		nodes[i] = g.Add(s)
		nodes[i].Err = s.Failed
	}
	addEdges(g, nodes)
	addBarriers(nodes, opened, allocated, g.AddBarrier())
	return g, nodes
}

type node = graph.Step[*Step]

// addEdges makes each step depend on what it needs.
func addEdges(g *graph.Graph[*Step], nodes []*node) {
	var (
		applied  = map[api.Key]*node{}          // the last step that applies the object
		deleted  = map[api.Key]*node{}          // the step that deletes it, if none applies it later
		last     = map[api.Key]*node{}          // the last step so far that touches it
		defining = map[schema.GroupKind]*node{} // the step that applies the definition of the kind
		undefine = map[schema.GroupKind]*node{} // the step that deletes it
		limited  = map[string]*node{}           // the barrier after all that limits the pods of the namespace
	)
	for _, n := range nodes {
		s := n.Value
		key := s.Object.Key
		if earlier := last[key]; earlier != nil {
			s.follows = true
			// Within an action Apply is pointless where Delete has failed; another
			// action speaks for itself.
			if earlier.Value.Action == s.Action && earlier.Value.Delete && !s.Delete {
				n.Needs(earlier)
			} else {
				n.Follows(earlier)
			}
		}
		last[key] = n
		definers := defining
		if s.Delete {
			deleted[key] = n
			definers = undefine
		} else {
			applied[key] = n
			delete(deleted, key)
			if kinds.Of(key.GroupKind).LimitsPods {
				if limited[key.Namespace] == nil {
					limited[key.Namespace] = g.AddBarrier()
				}
				limited[key.Namespace].Follows(n)
			}
		}
		for _, d := range s.Object.Defines {
			definers[d.GroupKind()] = n
		}
	}
	for _, n := range nodes {
		s := n.Value
		key := s.Object.Key
		needed := []api.Key{{GroupKind: kinds.Namespace, Name: key.Namespace}}
		for _, ref := range s.Object.refs {
			needed = append(needed, api.Key{GroupKind: ref.GroupKind, Namespace: ref.Namespace(key.Namespace), Name: ref.Name})
		}
		if s.Delete { // what needs goes before what is needed
			for _, key := range needed {
				if d := deleted[key]; d != nil {
					d.Needs(n)
				}
			}
			if d := undefine[key.GroupKind]; d != nil && deleted[d.Value.Object.Key] == d {
				d.Needs(n)
			}
			continue
		}
		for _, key := range needed {
			if a := applied[key]; a != nil {
				n.Needs(a)
			}
		}
		if a := defining[key.GroupKind]; a != nil {
			n.Needs(a)
		}
		if barrier := limited[key.Namespace]; barrier != nil && s.Object.pods {
			n.Follows(barrier)
		}
	}
}

// addBarriers makes objects of admission kinds come into force after all else is applied, and
// go before anything else is deleted; and Services that choose an address or port come before
// those that are given one, which may be the same.
func addBarriers(nodes []*node, opened, allocated, closed *node) {
	for _, n := range nodes {
		s := n.Value
		key := s.Object.Key
		switch admission := kinds.Of(key.GroupKind).Stage == kinds.AdmissionLast; {
		case admission && s.Delete:
			opened.Follows(n)
		case admission:
			n.Follows(closed)
		case s.Delete:
			n.Follows(opened)
		default:
			closed.Follows(n)
		}
		switch {
		case s.Delete || key.GroupKind != kinds.Service:
		case s.Object.choosesAllocated:
			allocated.Follows(n)
		default:
			n.Follows(allocated)
		}
	}
}
