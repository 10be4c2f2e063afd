package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/platformbus/platform/flux"
)

func syncs(ct *contractTest) error {
	one, two := ct.Object("one", "value-a"), ct.Object("two", "value-b")
	return firstError(
		func() error {
			return ct.sync(SyncAction{ResourceID: "any: label", Apply: one}, SyncAction{ResourceID: "", Apply: two})
		},
		func() error { return ct.exports("value-a", true) },
		func() error { return ct.sync(SyncAction{ResourceID: "one", Apply: ct.Object("one", "value-c")}) },
		func() error { return ct.exports("value-c", true) },
		func() error { return ct.exports("value-a", false) },
		func() error { return ct.exports("value-b", true) },
		func() error { return ct.sync(SyncAction{ResourceID: "two", Delete: two}) },
		func() error { return ct.exports("value-b", false) },
		func() error { return ct.sync(SyncAction{ResourceID: "two", Delete: two}) },
	)
}

func syncsTheRest(ct *contractTest) error {
	err := ct.send(request{method: "Sync", def: SyncDef{Actions: []SyncAction{
		{ResourceID: "bad", Apply: ct.Invalid},
		{ResourceID: "good", Apply: ct.Object("good", "value-a")},
		{ResourceID: "both", Apply: ct.Object("both", "value-b")},
		{ResourceID: "both", Apply: ct.Invalid},
		{ResourceID: "bad too", Apply: ct.Invalid},
	}}}).err
	failed, ok := err.(SyncError)
	if !ok {
		return mismatch("Sync, some of whose actions fail, returned", err, SyncError{})
	}
	var ids []string
	for id := range texts(failed) {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if want := []string{"bad", "bad too", "both"}; !slices.Equal(ids, want) {
		return mismatch("the SyncError has entries for", ids, want)
	}
	return cmp.Or(ct.exports("value-a", true), ct.exports("value-b", true))
}

func syncsAgain(ct *contractTest) error {
	action := SyncAction{ResourceID: "a", Apply: ct.Object("one", "value-a")}
	return firstError(
		func() error { return ct.sync(action) },
		func() error { return ct.unchanged(func() error { return ct.sync(action, action) }) },
	)
}

func listsAll(ct *contractTest) error {
	if err := cmp.Or(ct.service("web", "image:1"), ct.service("db", "image:2")); err != nil {
		return err
	}
	for _, tt := range []struct {
		namespace string
		ignored   flux.ServiceIDSet
		want      []flux.ServiceID
	}{
		{ct.Namespace, nil, []flux.ServiceID{ct.id("db"), ct.id("web")}},
		{ct.Namespace, flux.ServiceIDSet{ct.id("db"): {}}, []flux.ServiceID{ct.id("web")}},
		{"", flux.ServiceIDSet{ct.id("web"): {}}, []flux.ServiceID{ct.id("db")}},
	} {
		a := ct.send(request{method: "AllServices", namespace: tt.namespace, ignored: tt.ignored})
		if err := mustSucceed("AllServices", a.err); err != nil {
			return err
		}
		if got := ct.own(a.services); !slices.Equal(got, tt.want) {
			return mismatch(fmt.Sprintf("AllServices(%q, %v) returned, of the namespace, the services", tt.namespace, tt.ignored), got, tt.want)
		}
	}
	return ct.runs("db", "image:2")
}

func findsSome(ct *contractTest) error {
	if err := cmp.Or(ct.service("web", "image:1"), ct.service("db", "image:2")); err != nil {
		return err
	}
	a := ct.send(request{method: "SomeServices", ids: []flux.ServiceID{ct.id("web"), ct.id("missing"), ct.id("web")}})
	if err := mustSucceed("SomeServices", a.err); err != nil {
		return err
	}
	if got, want := ct.own(a.services), []flux.ServiceID{ct.id("web")}; !slices.Equal(got, want) {
		return mismatch("SomeServices, of one service twice and one that does not exist, returned the services", got, want)
	}
	a = ct.send(request{method: "SomeServices"})
	if len(a.services) > 0 {
		return mismatch("SomeServices of none returned the services", a.services, nil)
	}
	return mustSucceed("SomeServices of none", a.err)
}

func rollsOut(ct *contractTest) error {
	_, next := ct.Service("web", "image:2")
	def := ServiceDefinition{ServiceID: ct.id("web"), NewDefinition: next}
	return firstError(
		func() error { return ct.service("web", "image:1") },
		func() error { return ct.apply(def) },
		func() error { return ct.runs("web", "image:2") },
		func() error { return ct.unchanged(func() error { return ct.apply(def) }) },
		func() error {
			_, last := ct.Service("web", "image:3")
			return ct.apply(ServiceDefinition{ServiceID: ct.id("web"), NewDefinition: last, Async: true})
		},
		func() error { return ct.exports("image:3", true) },
	)
}

func appliesTheRest(ct *contractTest) error {
	if err := cmp.Or(ct.service("web", "image:1"), ct.service("db", "image:1")); err != nil {
		return err
	}
	_, next := ct.Service("web", "image:2")
	_, missing := ct.Service("missing", "image:2")
	err := ct.send(request{method: "Apply", defs: []ServiceDefinition{
		{ServiceID: ct.id("missing"), NewDefinition: missing},
		{ServiceID: ct.id("db"), NewDefinition: ct.Invalid},
		{ServiceID: ct.id("web"), NewDefinition: next},
	}}).err
	failed, ok := err.(ApplyError)
	if !ok {
		return mismatch("Apply, two of whose definitions fail, returned", err, ApplyError{})
	}
	if len(failed) != 2 || failed[ct.id("db")] == nil || !errors.Is(failed[ct.id("missing")], ErrNoMatchingService) {
		return mismatch("the ApplyError holds", texts(failed), map[string]string{string(ct.id("db")): "(why)", string(ct.id("missing")): ErrNoMatchingService.Error()})
	}
	return ct.runs("web", "image:2")
}

func exportsTheSame(ct *contractTest) error {
	for i := range 8 {
		name := fmt.Sprintf("object-%d", i)
		if err := ct.sync(SyncAction{ResourceID: name, Apply: ct.Object(name, "value-"+name)}); err != nil {
			return err
		}
	}
	return ct.unchanged(func() error { return nil })
}

func syncsItsExport(ct *contractTest) error {
	if err := ct.service("web", "image:1"); err != nil {
		return err
	}
	data, err := ct.export()
	return cmp.Or(err, ct.unchanged(func() error { return ct.sync(SyncAction{ResourceID: "export", Apply: data}) }))
}

func leavesArguments(ct *contractTest) error {
	if err := ct.service("web", "image:1"); err != nil {
		return err
	}
	_, controller := ct.Service("web", "image:2")
	for _, r := range []request{
		{method: "Sync", def: SyncDef{Actions: []SyncAction{{ResourceID: "b", Apply: ct.Object("one", "a")}, {ResourceID: "a", Delete: ct.Object("two", "b")}}}},
		{method: "Apply", defs: []ServiceDefinition{{ServiceID: ct.id("web"), NewDefinition: controller}}},
		{method: "SomeServices", ids: []flux.ServiceID{ct.id("web")}},
		{method: "AllServices", namespace: ct.Namespace, ignored: flux.ServiceIDSet{ct.id("web"): {}}},
	} {
		want := r.clone()
		if err := ct.succeeds(r); err != nil {
			return err
		}
		if show(r.arguments()) != show(want.arguments()) {
			return mismatch(r.method+" left its arguments as", r.arguments(), want.arguments())
		}
		// The caller may overwrite its arguments once the call has returned.
		for _, action := range r.def.Actions {
			clear(action.Apply)
		}
		for _, def := range r.defs {
			clear(def.NewDefinition)
		}
	}
	return ct.exports("image:2", true)
}

func givesResults(ct *contractTest) error {
	if err := ct.service("web", "image:1"); err != nil {
		return err
	}
	return ct.unchanged(func() error {
		for _, r := range []request{{method: "Export"}, {method: "AllServices", namespace: ct.Namespace}, {method: "SomeServices", ids: []flux.ServiceID{ct.id("web")}}} {
			a := ct.send(r)
			clear(a.export)
			for _, s := range a.services {
				clear(s.Containers.Containers)
			}
			clear(a.services)
		}
		a := ct.send(request{method: "AllServices", namespace: ct.Namespace})
		if got, want := ct.own(a.services), []flux.ServiceID{ct.id("web")}; !slices.Equal(got, want) {
			return withError(mismatch("AllServices, after its caller had cleared an earlier result, returned the services", got, want), a.err)
		}
		return ct.runs("web", "image:1")
	})
}

func overlaps(ct *contractTest) error {
	if err := concurrently(8, func(i int) error {
		name := fmt.Sprintf("object-%d", i)
		def := SyncDef{Actions: []SyncAction{{ResourceID: name, Apply: ct.Object(name, "value-"+name)}}}
		return mustSucceed("a Sync at the same time as others", ct.send(request{method: "Sync", def: def}).err)
	}); err != nil {
		return err
	}
	for i := range 8 {
		if err := ct.exports(fmt.Sprintf("value-object-%d", i), true); err != nil {
			return err
		}
	}
	return nil
}

func refusesEnded(ct *contractTest) error {
	cause := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	view := WithContext(ctx, ct.Platform)
	ct.setStep("calls whose context has ended")
	_, err := view.AllServices("", nil)
	return cmp.Or(
		diffCause("AllServices", err, cause),
		diffCause("Sync", view.Sync(SyncDef{Actions: []SyncAction{{ResourceID: "a", Apply: ct.Object("one", "value-a")}}}), cause),
		ct.exports("value-a", false),
	)
}
