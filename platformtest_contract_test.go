package platform_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/toy"
	"github.com/platformbus/platform/flux"
)

// broken is the toy, with some of its methods replaced.
type broken struct {
	platform.Platform
	all     func(string, flux.ServiceIDSet) ([]platform.Service, error)
	some    func([]flux.ServiceID) ([]platform.Service, error)
	apply   func([]platform.ServiceDefinition) error
	ping    func() error
	version func() (string, error)
	export  func() ([]byte, error)
	sync    func(platform.SyncDef) error
}

func (b broken) AllServices(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	if b.all != nil {
		return b.all(ns, ignored)
	}
	return b.Platform.AllServices(ns, ignored)
}

func (b broken) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	if b.some != nil {
		return b.some(ids)
	}
	return b.Platform.SomeServices(ids)
}

func (b broken) Apply(defs []platform.ServiceDefinition) error {
	if b.apply != nil {
		return b.apply(defs)
	}
	return b.Platform.Apply(defs)
}

func (b broken) Ping() error {
	if b.ping != nil {
		return b.ping()
	}
	return b.Platform.Ping()
}

func (b broken) Version() (string, error) {
	if b.version != nil {
		return b.version()
	}
	return b.Platform.Version()
}

func (b broken) Export() ([]byte, error) {
	if b.export != nil {
		return b.export()
	}
	return b.Platform.Export()
}

func (b broken) Sync(def platform.SyncDef) error {
	if b.sync != nil {
		return b.sync(def)
	}
	return b.Platform.Sync(def)
}

func (b broken) WithContext(ctx context.Context) platform.Platform {
	b.Platform = platform.WithContext(ctx, b.Platform)
	return b
}

// late is a Platform whose Sync looks at its context when it is done.
type late struct {
	platform.Platform
	ctx context.Context
}

func (l late) WithContext(ctx context.Context) platform.Platform { return late{l.Platform, ctx} }

func (l late) AllServices(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	return platform.WithContext(l.ctx, l.Platform).AllServices(ns, ignored)
}

func (l late) Sync(def platform.SyncDef) error {
	return errors.Join(l.Platform.Sync(def), context.Cause(l.ctx))
}

// eachAction has Sync execute actions that a function has changed.
func eachAction(p platform.Platform, change func(*platform.SyncAction)) broken {
	return broken{Platform: p, sync: func(def platform.SyncDef) error {
		def.Actions = slices.Clone(def.Actions)
		for i := range def.Actions {
			change(&def.Actions[i])
		}
		return p.Sync(def)
	}}
}

var errBroken = errors.New("broken")

var brokenPlatforms = []struct {
	name string
	in   string // the case that must fail
	as   func(platform.Platform) platform.Platform
	says string
}{
	{"cannot be pinged", "Ping and Version answer", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, ping: func() error { return errBroken }}
	}, "Ping returned the error"},
	{"has no version", "Ping and Version answer", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, version: func() (string, error) { return "", errBroken }}
	}, "Version returned the error"},
	{"fails to sync nothing", "Sync/does nothing for nothing", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			if len(def.Actions) == 0 {
				return platform.SyncError{}
			}
			return p.Sync(def)
		}}
	}, "Sync returned the error"},
	{"fails at an action that does nothing", "Sync/does nothing for nothing", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			for _, a := range def.Actions {
				if len(a.Apply)+len(a.Delete) == 0 {
					return platform.SyncError{a.ResourceID: errBroken}
				}
			}
			return p.Sync(def)
		}}
	}, "Sync returned the error"},
	{"syncs nothing", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(platform.SyncDef) error { return nil }}
	}, `is "value-a" in the Export?`},
	{"deletes what is applied again", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			err := p.Sync(def)
			if a := def.Actions[0]; a.ResourceID == "one" {
				return p.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "one", Delete: a.Apply}}})
			}
			return err
		}}
	}, `is "value-c" in the Export?`},
	{"keeps what an update replaces", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		var first platform.ResourceDef
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			if first == nil {
				first = slices.Clone(def.Actions[0].Apply)
			}
			return p.Sync(def)
		}, export: func() ([]byte, error) {
			data, err := p.Export()
			return append(data, first...), err
		}}
	}, `is "value-a" in the Export?`},
	{"executes the first action", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			return p.Sync(platform.SyncDef{Actions: def.Actions[:min(1, len(def.Actions))]})
		}}
	}, `is "value-b" in the Export?`},
	{"never deletes", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return eachAction(p, func(a *platform.SyncAction) { a.Delete = nil })
	}, `is "value-b" in the Export?`},
	{"prunes what is not in the definition", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		last := platform.ResourceDef{}
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			err := p.Sync(platform.SyncDef{Actions: append([]platform.SyncAction{{ResourceID: "prune", Delete: last}}, def.Actions...)})
			last = nil
			for _, a := range def.Actions {
				last = append(last, a.Apply...)
			}
			return err
		}}
	}, `is "value-b" in the Export?`},
	{"fails to delete what is gone", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			before, _ := p.Export()
			err := p.Sync(def)
			if after, _ := p.Export(); err == nil && len(def.Actions[0].Delete) > 0 && bytes.Equal(before, after) {
				return platform.SyncError{def.Actions[0].ResourceID: errors.New("not found")}
			}
			return err
		}}
	}, "not found"},
	{"takes ResourceIDs for names", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			for _, a := range def.Actions {
				if strings.ContainsAny(a.ResourceID, ": ") {
					return platform.SyncError{a.ResourceID: errors.New("not a name")}
				}
			}
			return p.Sync(def)
		}}
	}, "not a name"},
	{"takes an action without a ResourceID for none", "Sync/applies, changes and deletes", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			return p.Sync(platform.SyncDef{Actions: slices.DeleteFunc(slices.Clone(def.Actions), func(a platform.SyncAction) bool { return a.ResourceID == "" })})
		}}
	}, `is "value-b" in the Export?`},
	{"applies, then deletes", "Sync/deletes before it applies", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			var swapped []platform.SyncAction
			for _, a := range def.Actions {
				swapped = append(swapped, platform.SyncAction{ResourceID: a.ResourceID, Apply: a.Apply}, platform.SyncAction{ResourceID: a.ResourceID, Delete: a.Delete})
			}
			return p.Sync(platform.SyncDef{Actions: swapped})
		}}
	}, `is "value-b" in the Export?`},
	{"deletes in place of applying", "Sync/deletes before it applies", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			before, _ := p.Export()
			a := def.Actions[0]
			if err := p.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: a.ResourceID, Delete: a.Delete}}}); err != nil {
				return err
			}
			if after, _ := p.Export(); !bytes.Equal(before, after) {
				return nil
			}
			return p.Sync(def)
		}}
	}, `is "value-b" in the Export?`},
	{"stops at the first failure", "Sync/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			for _, a := range def.Actions {
				if err := p.Sync(platform.SyncDef{Actions: []platform.SyncAction{a}}); err != nil {
					return err
				}
			}
			return nil
		}}
	}, "the SyncError has entries for"},
	{"does nothing if anything fails", "Sync/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			if err := toy.New("shop").Sync(def); err != nil {
				return err
			}
			return p.Sync(def)
		}}
	}, `is "value-a" in the Export?`},
	{"skips a ResourceID of which anything fails", "Sync/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			failed, _ := toy.New("shop").Sync(def).(platform.SyncError)
			def.Actions = slices.DeleteFunc(slices.Clone(def.Actions), func(a platform.SyncAction) bool { return failed[a.ResourceID] != nil })
			if err := p.Sync(def); err != nil {
				return err
			}
			return failed
		}}
	}, `is "value-b" in the Export?`},
	{"reports one failure for all", "Sync/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			if err := p.Sync(def); err != nil {
				return platform.ClusterError(err)
			}
			return nil
		}}
	}, "Sync, some of whose actions fail, returned"},
	{"counts every object that is applied", "Sync/changes nothing the second time", func(p platform.Platform) platform.Platform {
		n := 0
		return broken{Platform: p, export: func() ([]byte, error) {
			data, err := p.Export()
			return fmt.Appendf(data, "# %d objects were applied\n", n), err
		}, sync: func(def platform.SyncDef) error {
			for _, a := range def.Actions {
				n += min(1, len(a.Apply))
			}
			return p.Sync(def)
		}}
	}, "the Export has changed"},
	{"lists services that are ignored", "AllServices/lists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, _ flux.ServiceIDSet) ([]platform.Service, error) { return p.AllServices(ns, nil) }}
	}, "of the namespace, the services"},
	{"has an error beside every list", "AllServices/lists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			services, _ := p.AllServices(ns, ignored)
			return services, errBroken
		}}
	}, "AllServices returned the error"},
	{"lists one service", "AllServices/lists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			services, err := p.AllServices(ns, ignored)
			return services[:min(1, len(services))], err
		}}
	}, "of the namespace, the services"},
	{"ignores services of all namespaces only", "AllServices/lists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			if ns != "" {
				ignored = nil
			}
			return p.AllServices(ns, ignored)
		}}
	}, "of the namespace, the services"},
	{"lists one namespace only", "AllServices/lists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			if ns == "" {
				ns = "other"
			}
			return p.AllServices(ns, ignored)
		}}
	}, `AllServices("", `},
	{"has no services where there is no namespace", "AllServices/refuses a namespace that does not exist", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			services, _ := p.AllServices(ns, ignored)
			return services, nil
		}}
	}, "returned no error"},
	{"finds a service as often as it is named", "SomeServices/finds what exists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, some: func(ids []flux.ServiceID) (all []platform.Service, err error) {
			for _, id := range ids {
				some, _ := p.SomeServices([]flux.ServiceID{id})
				all = append(all, some...)
			}
			return all, nil
		}}
	}, "returned the services"},
	{"fails for a service that does not exist", "SomeServices/finds what exists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			for _, id := range ids {
				if one, err := p.SomeServices([]flux.ServiceID{id}); len(one) == 0 {
					return nil, errors.Join(err, platform.ErrNoMatchingService)
				}
			}
			return p.SomeServices(ids)
		}}
	}, "no matching service"},
	{"finds all if none is named", "SomeServices/finds what exists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			if len(ids) == 0 {
				return p.AllServices("", nil)
			}
			return p.SomeServices(ids)
		}}
	}, "SomeServices of none returned the services"},
	{"fails if none is named", "SomeServices/finds what exists", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			if len(ids) == 0 {
				return nil, errBroken
			}
			return p.SomeServices(ids)
		}}
	}, "SomeServices of none returned the error"},
	{"applies nothing", "Apply/rolls out", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func([]platform.ServiceDefinition) error { return nil }}
	}, "whose only container runs image:2"},
	{"returns an ApplyError that is empty", "Apply/rolls out", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			return cmp.Or(p.Apply(defs), error(platform.ApplyError{}))
		}}
	}, "Apply returned the error"},
	{"lists the container of each pod", "Apply/rolls out", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			services, err := p.SomeServices(ids)
			for i := range services {
				containers := &services[i].Containers
				containers.Containers = slices.Repeat(containers.Containers, 2)
			}
			return services, err
		}}
	}, "whose only container runs image:2"},
	{"ignores what is asynchronous", "Apply/rolls out", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			return p.Apply(slices.DeleteFunc(slices.Clone(defs), func(d platform.ServiceDefinition) bool { return d.Async }))
		}}
	}, `is "image:3" in the Export?`},
	{"fails to apply nothing", "Apply/does nothing for nothing", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			if len(defs) == 0 {
				return platform.ApplyError{}
			}
			return p.Apply(defs)
		}}
	}, "Apply of nothing returned the error"},
	{"stops at the first definition that fails", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			for _, d := range defs {
				if err := p.Apply([]platform.ServiceDefinition{d}); err != nil {
					return err
				}
			}
			return nil
		}}
	}, `want map["shop/db":"(why)" "shop/missing":"`},
	{"applies nothing if anything fails", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			before, _ := p.Export()
			err := p.Apply(defs)
			if err != nil {
				_ = p.Sync(platform.SyncDef{Actions: []platform.SyncAction{{Apply: before}}})
			}
			return err
		}}
	}, "whose only container runs image:2"},
	{"reports one failure for all definitions", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			if err := p.Apply(defs); err != nil {
				return platform.ClusterError(err)
			}
			return nil
		}}
	}, "Apply, two of whose definitions fail, returned"},
	{"reports what succeeded beside what failed", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			err := p.Apply(defs)
			if failed, ok := err.(platform.ApplyError); ok {
				failed["shop/web"] = errors.New("OK")
			}
			return err
		}}
	}, "the ApplyError holds"},
	{"reports a bad definition under another name", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			err := p.Apply(defs)
			if failed, ok := err.(platform.ApplyError); ok {
				failed["db"] = failed["shop/db"]
				delete(failed, "shop/db")
			}
			return err
		}}
	}, "the ApplyError holds"},
	{"takes a definition that is invalid for a good one", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			return p.Apply(slices.DeleteFunc(slices.Clone(defs), func(d platform.ServiceDefinition) bool { return string(d.NewDefinition) == "{}" }))
		}}
	}, "the ApplyError holds"},
	{"says of a missing service nothing but text", "Apply/reports every failure, and does the rest", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			err := p.Apply(defs)
			if failed, ok := errors.AsType[platform.ApplyError](err); ok {
				for id, err := range failed {
					failed[id] = errors.New(err.Error())
				}
			}
			return err
		}}
	}, "the ApplyError holds"},
	{"exports in any order", "Export/is the same for the same state", func(p platform.Platform) platform.Platform {
		odd := false
		return broken{Platform: p, export: func() ([]byte, error) {
			data, err := p.Export()
			lines := bytes.SplitAfter(data, []byte("\n"))
			if odd = !odd; odd && bytes.Count(data, []byte("value-")) > 1 {
				slices.Reverse(lines)
			}
			return bytes.Join(lines, nil), err
		}}
	}, "the Export has changed"},
	{"exports once", "Export/is the same for the same state", func(p platform.Platform) platform.Platform {
		exported := false
		return broken{Platform: p, export: func() ([]byte, error) {
			if exported {
				return nil, errBroken
			}
			exported = true
			return p.Export()
		}}
	}, "Export returned the error"},
	{"exports what Sync refuses", "Export/can be given to Sync", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, export: func() ([]byte, error) {
			data, err := p.Export()
			if bytes.Contains(data, []byte(`"service"`)) {
				data = append([]byte("# exported\n"), data...)
			}
			return data, err
		}}
	}, "Sync returned the error"},
	{"keeps the memory of definitions", "Arguments/are left alone", func(p platform.Platform) platform.Platform {
		var kept []platform.SyncAction
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			kept = append(kept, def.Actions...)
			return p.Sync(def)
		}, export: func() ([]byte, error) {
			if err := p.Sync(platform.SyncDef{Actions: kept}); err != nil {
				return nil, err
			}
			return p.Export()
		}}
	}, "Export returned the error"},
	{"keeps the memory of new definitions", "Arguments/are left alone", func(p platform.Platform) platform.Platform {
		var kept []platform.ServiceDefinition
		return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
			kept = defs
			return p.Apply(defs)
		}, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			if err := p.Apply(kept); err != nil {
				return nil, err
			}
			return p.SomeServices(ids)
		}}
	}, "SomeServices returned the error"},
	{"clears the caller's IDs", "Arguments/are left alone", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			defer clear(ids)
			return p.SomeServices(ids)
		}}
	}, "SomeServices left its arguments as"},
	{"takes from the caller's set", "Arguments/are left alone", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			defer clear(ignored)
			return p.AllServices(ns, ignored)
		}}
	}, "AllServices left its arguments as"},
	{"counts every Apply", "Apply/rolls out", func(p platform.Platform) platform.Platform {
		n := 0
		return broken{Platform: p, export: func() ([]byte, error) {
			data, err := p.Export()
			return fmt.Appendf(data, "# revision %d\n", n), err
		}, apply: func(defs []platform.ServiceDefinition) error { n++; return p.Apply(defs) }}
	}, "the Export has changed"},
	{"sorts the caller's actions", "Arguments/are left alone", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			slices.SortFunc(def.Actions, func(a, b platform.SyncAction) int { return bytes.Compare([]byte(a.ResourceID), []byte(b.ResourceID)) })
			return p.Sync(def)
		}}
	}, "Sync left its arguments as"},
	{"overwrites definitions of what it deletes", "Arguments/are left alone", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			defer func() {
				for _, a := range def.Actions {
					clear(a.Delete)
				}
			}()
			return p.Sync(def)
		}}
	}, "Sync left its arguments as"},
	{"exports from a buffer that it keeps", "Results/are the caller's", func(p platform.Platform) platform.Platform {
		var kept []byte
		return broken{Platform: p, export: func() ([]byte, error) {
			data, err := p.Export()
			if len(kept) != len(data) {
				kept = data
			}
			return kept, err
		}}
	}, "the Export has changed"},
	{"keeps the list of services", "Results/are the caller's", func(p platform.Platform) platform.Platform {
		var kept []platform.Service
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			now, err := p.SomeServices(ids)
			if len(kept) == 0 {
				kept = now
			}
			for i := range kept {
				kept[i].Containers = now[i].Containers
			}
			return kept, err
		}}
	}, "whose only container runs image:1"},
	{"keeps the list of all services", "Results/are the caller's", func(p platform.Platform) platform.Platform {
		var kept []platform.Service
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) (_ []platform.Service, err error) {
			if kept == nil {
				kept, err = p.AllServices(ns, ignored)
			}
			return kept, err
		}}
	}, "AllServices, after its caller had cleared an earlier result"},
	{"keeps the lists of containers", "Results/are the caller's", func(p platform.Platform) platform.Platform {
		kept := map[flux.ServiceID]platform.ContainersOrExcuse{}
		return broken{Platform: p, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
			now, err := p.SomeServices(ids)
			for i, s := range now {
				if _, ok := kept[s.ID]; !ok {
					kept[s.ID] = s.Containers
				}
				now[i].Containers = kept[s.ID]
			}
			return now, err
		}}
	}, "whose only container runs image:1"},
	{"loses writes of others", "Calls/may overlap", func(p platform.Platform) platform.Platform {
		var mu sync.Mutex
		var first *platform.SyncDef
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = &def
			}
			return p.Sync(*first)
		}}
	}, "in the Export?"},
	{"loses the last of many writes", "Calls/may overlap", func(p platform.Platform) platform.Platform {
		return eachAction(p, func(a *platform.SyncAction) {
			if a.ResourceID == "object-7" {
				a.Apply = nil
			}
		})
	}, `is "value-object-7" in the Export?`},
	{"says that it is busy, though it syncs", "Calls/may overlap", func(p platform.Platform) platform.Platform {
		var calls atomic.Int32
		return broken{Platform: p, sync: func(def platform.SyncDef) error {
			if err := p.Sync(def); err != nil || calls.Add(1) == 1 {
				return err
			}
			return platform.ClusterError(errors.New("busy"))
		}}
	}, "a Sync at the same time as others returned the error"},
	{"syncs whatever its context says", "WithContext/refuses calls once the context has ended", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, sync: p.Sync}
	}, "Sync of a view whose context had ended"},
	{"syncs, and then looks at its context", "WithContext/refuses calls once the context has ended", func(p platform.Platform) platform.Platform {
		return late{p, context.Background()}
	}, `is "value-a" in the Export?`},
	{"does not look at its context", "WithContext/refuses calls once the context has ended", func(p platform.Platform) platform.Platform {
		return broken{Platform: p, all: func(ns string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
			return p.AllServices(ns, ignored)
		}}
	}, "does not match the cause"},
}

func toyFixture(t *testing.T, as func(platform.Platform) platform.Platform) platform.Fixture {
	define := func(o toy.Object) platform.ResourceDef {
		o.Namespace = "shop"
		data, err := json.Marshal(o)
		require.NoError(t, err)
		return data
	}
	return platform.Fixture{
		Platform:  as(toy.New("shop", "other")),
		Namespace: "shop",
		Object: func(name, value string) platform.ResourceDef {
			return define(toy.Object{Kind: "object", Name: name, Value: value})
		},
		Service: func(name, image string) (service, controller platform.ResourceDef) {
			return define(toy.Object{Kind: "service", Name: name}), define(toy.Object{Kind: "controller", Name: name, Image: image})
		},
		Invalid: platform.ResourceDef("{}"),
	}
}

func TestContractBatteryFailsBrokenPlatforms(t *testing.T) {
	unproven := platform.ContractCases()
	for _, b := range brokenPlatforms {
		t.Run(b.name, func(t *testing.T) {
			rule, failure := platform.RunContractCase(b.in, toyFixture(t, b.as))
			require.Error(t, failure, "%s did not notice", b.in)
			assert.ErrorContains(t, failure, b.says)
			assert.ErrorContains(t, failure, "rule: "+rule)
		})
		unproven = slices.DeleteFunc(unproven, func(name string) bool { return name == b.in })
	}
	assert.Empty(t, unproven, "no broken platform fails these cases")
}

// The failure of a case that hangs names the call that did not return.
func TestContractBatteryNamesAHang(t *testing.T) {
	for _, name := range platform.ContractCases() {
		synctest.Test(t, func(t *testing.T) {
			stuck := make(chan struct{})
			defer close(stuck)
			fixture := toyFixture(t, func(p platform.Platform) platform.Platform {
				return platform.Observe(p, func(context.Context, string) error { <-stuck; return errBroken })
			})
			_, failure := platform.RunContractCase(name, fixture)
			assert.Regexp(t, "^hang: ("+strings.Join(methods, "|")+") did not return within", failure, name)
		})
	}
}

// If a write fails that a case needs, the case fails and says why the write failed.
func TestContractBatteryShowsWhyAWriteFails(t *testing.T) {
	for method, tt := range map[string]struct {
		as    func(platform.Platform) platform.Platform
		needs int // of the cases
	}{
		"Sync": {func(p platform.Platform) platform.Platform {
			return broken{Platform: p, sync: func(platform.SyncDef) error { return errBroken }}
		}, 15},
		"Apply": {func(p platform.Platform) platform.Platform {
			return broken{Platform: p, apply: func([]platform.ServiceDefinition) error { return errBroken }}
		}, 8},
	} {
		failed := 0
		for _, name := range platform.ContractCases() {
			if _, failure := platform.RunContractCase(name, toyFixture(t, tt.as)); failure != nil {
				failed++
				assert.ErrorContains(t, failure, errBroken.Error(), "%s: %s", method, name)
			}
		}
		assert.Equal(t, tt.needs, failed, method)
	}
}

// Sync need not wait for a rollout: what a service runs changes with the Apply that waits.
func TestContractBatteryAllowsASlowRollout(t *testing.T) {
	for _, name := range platform.ContractCases() {
		t.Run(name, func(t *testing.T) {
			_, failure := platform.RunContractCase(name, toyFixture(t, func(p platform.Platform) platform.Platform {
				rolledOut := flux.ServiceIDSet{}
				return broken{Platform: p, apply: func(defs []platform.ServiceDefinition) error {
					for _, d := range defs {
						if !d.Async {
							rolledOut.Add([]flux.ServiceID{d.ServiceID})
						}
					}
					return p.Apply(defs)
				}, some: func(ids []flux.ServiceID) ([]platform.Service, error) {
					services, err := p.SomeServices(ids)
					for i := range services {
						if !rolledOut.Contains(services[i].ID) {
							services[i].Containers = platform.ContainersOrExcuse{Excuse: "not rolled out"}
						}
					}
					return services, err
				}}
			}))
			assert.NoError(t, failure)
		})
	}
}
