package kubernetes

import "k8s.io/apimachinery/pkg/runtime/schema"

// link makes each step need what must come before it, adds the barriers, and numbers the
// steps. The steps are in the order of the actions; what is not among them is as it
// should be already.
func link(steps []*step) []*step {
	var (
		applied  = map[objectKey]*step{}        // the last step that applies the object
		deleted  = map[objectKey]*step{}        // the step that deletes it, if none applies it later
		last     = map[objectKey]*step{}        // the last step so far that touches it
		defining = map[schema.GroupKind]*step{} // the step that applies the definition of the kind
		undefine = map[schema.GroupKind]*step{} // the step that deletes it
		limiting = map[string][]*step{}         // the steps that apply what limits the pods of the namespace
	)
	for _, s := range steps {
		key := s.object.key
		if earlier := last[key]; earlier != nil {
			// Within an action Apply is pointless where Delete has failed; another
			// action speaks for itself.
			s.need(earlier, earlier.action == s.action && earlier.delete && !s.delete)
		}
		last[key] = s
		kinds := defining
		if s.delete {
			deleted[key] = s
			kinds = undefine
		} else {
			applied[key] = s
			delete(deleted, key)
			if limitsPods(key.GroupKind) {
				limiting[key.namespace] = append(limiting[key.namespace], s)
			}
		}
		for _, r := range s.object.defines {
			kinds[r.gvk().GroupKind()] = s
		}
	}
	for _, s := range steps {
		key := s.object.key
		needed := []objectKey{{GroupKind: namespaceKind, name: key.namespace}}
		for _, ref := range s.object.refs {
			needed = append(needed, ref.from(key.namespace))
		}
		if s.delete { // what needs goes before what is needed
			for _, key := range needed {
				if d := deleted[key]; d != nil {
					d.need(s, true)
				}
			}
			if d := undefine[key.GroupKind]; d != nil && deleted[d.object.key] == d {
				d.need(s, true)
			}
			continue
		}
		for _, key := range needed {
			if a := applied[key]; a != nil {
				s.need(a, true)
			}
		}
		if a := defining[key.GroupKind]; a != nil {
			s.need(a, true)
		}
		if s.object.pods {
			for _, a := range limiting[key.namespace] {
				s.need(a, false)
			}
		}
	}
	return addBarriers(steps)
}

// addBarriers makes gates come into force after all else is applied, and go before
// anything else is deleted, and Services that choose an address or port come before those
// that are given one, which may be the same. It numbers the steps.
func addBarriers(steps []*step) []*step {
	opened, chosen, closed := &step{}, &step{}, &step{}
	for _, s := range steps {
		switch gate := isGate(s.object.key.GroupKind); {
		case gate && s.delete:
			opened.need(s, false)
		case gate:
			s.need(closed, false)
		case s.delete:
			s.need(opened, false)
		default:
			closed.need(s, false)
		}
		switch {
		case s.delete || s.object.key.GroupKind != serviceKind:
		case s.object.chooses:
			chosen.need(s, false)
		default:
			s.need(chosen, false)
		}
	}
	all := append(append([]*step{opened, chosen}, steps...), closed)
	for i, s := range all {
		s.index = i
	}
	return all
}
