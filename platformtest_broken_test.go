package platform

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/platformbus/platform/flux"
)

type brokenTransport struct {
	name string
	wrap func(Platform) Platform
	in   string   // the case that must fail
	says []string // texts that the failure must contain beside the rule
}

// brokenTransports has a transport for each fault that we could think of.
var brokenTransports = []brokenTransport{
	// Arguments.
	{"loses the namespace", changeRequests(func(r *request) { r.namespace = "" }),
		"AllServices/passes on its arguments", []string{`got {Namespace:"" Ignored:`, `want {Namespace:"größe of a/b"`}},
	{"upper-cases the namespace", changeRequests(func(r *request) { r.namespace = strings.ToUpper(r.namespace) }),
		"AllServices/keeps nil and empty arguments apart", []string{`"DEFAULT"`}},
	{"loses the ignored", changeRequests(func(r *request) { r.ignored = nil }),
		"AllServices/passes on 1000 IDs", []string{"Ignored:nil", "characters, different from character"}},
	{"turns an empty set into nil", changeRequests(func(r *request) {
		if len(r.ignored) == 0 {
			r.ignored = nil
		}
	}), "AllServices/keeps nil and empty arguments apart", []string{"Ignored:nil", "Ignored:map[]"}},
	{"turns a nil set into an empty one", changeRequests(func(r *request) {
		if r.ignored == nil {
			r.ignored = flux.ServiceIDSet{}
		}
	}), "AllServices/keeps nil and empty arguments apart", []string{"got {Namespace:\"\" Ignored:map[]", "want {Namespace:\"\" Ignored:nil"}},
	{"sorts the IDs", changeRequests(func(r *request) { slices.Sort(r.ids) }),
		"SomeServices/passes on its arguments", []string{`got ["a/1" "a/1"`, `want ["b/2" "a/1"`}},
	{"sends each ID once", changeRequests(func(r *request) { slices.Sort(r.ids); r.ids = slices.Compact(r.ids) }),
		"SomeServices/passes on its arguments", []string{`got ["a/1" "a/b/c"`}},
	{"loses the last ID", changeRequests(func(r *request) { r.ids = dropLast(r.ids) }),
		"SomeServices/passes on 1000 IDs", []string{"SomeServices reached the platform with arguments"}},
	{"asks for an ID twice", changeRequests(func(r *request) { r.ids = repeatFirst(r.ids) }),
		"SomeServices/passes on its arguments", []string{`"a/b/c" "b/2"]`}},
	{"turns empty IDs into nil", changeRequests(func(r *request) { r.ids = emptyToNil(r.ids) }),
		"SomeServices/keeps nil and empty arguments apart", []string{"got nil", "want []"}},
	{"turns nil IDs into empty", changeRequests(func(r *request) { r.ids = nilToEmpty(r.ids) }),
		"SomeServices/keeps nil and empty arguments apart", []string{"got []", "want nil"}},
	{"loses Async", changeRequests(func(r *request) {
		for i := range r.defs {
			r.defs[i].Async = false
		}
	}), "Apply/passes on its arguments", []string{"Async:false", "Async:true"}},
	{"loses the last definition", changeRequests(func(r *request) { r.defs = dropLast(r.defs) }),
		"Apply/passes on its arguments", []string{"Apply reached the platform with arguments"}},
	{"reverses the definitions", changeRequests(func(r *request) { slices.Reverse(r.defs) }),
		"Apply/passes on its arguments", []string{`got [{ServiceID:"größe/λ"`}},
	{"sends definitions as text", changeRequests(func(r *request) {
		for i := range r.defs {
			r.defs[i].NewDefinition = lossy(r.defs[i].NewDefinition)
		}
	}), "Apply/passes on its arguments", []string{`\x80`}},
	{"turns an empty definition into nil", changeRequests(func(r *request) {
		for i := range r.defs {
			r.defs[i].NewDefinition = emptyToNil(r.defs[i].NewDefinition)
		}
	}), "Apply/keeps nil and empty arguments apart", []string{"NewDefinition:nil", `NewDefinition:""`}},
	{"truncates a definition at 1 MiB", changeRequests(func(r *request) {
		for i := range r.defs {
			r.defs[i].NewDefinition = r.defs[i].NewDefinition[:min(1<<20, len(r.defs[i].NewDefinition))]
		}
	}), "Apply/passes on 4 MiB", []string{"characters, different from character", "…"}},
	{"swaps Delete and Apply", changeRequests(func(r *request) {
		for i, a := range r.def.Actions {
			r.def.Actions[i].Delete, r.def.Actions[i].Apply = a.Apply, a.Delete
		}
	}), "Sync/passes on its arguments", []string{`got {Actions:[{ResourceID:"z both" Delete:"kind: Come\n"`, `Delete:"kind: Gone\n"`}},
	{"sorts the actions", changeRequests(func(r *request) {
		slices.SortFunc(r.def.Actions, func(a, b SyncAction) int { return strings.Compare(a.ResourceID, b.ResourceID) })
	}), "Sync/passes on 1000 actions", []string{"Sync reached the platform with arguments"}},
	{"keeps one action for each ResourceID", changeRequests(func(r *request) {
		r.def.Actions = slices.CompactFunc(r.def.Actions, func(a, b SyncAction) bool { return a.ResourceID == b.ResourceID })
	}), "Sync/passes on its arguments", []string{`Apply:"first"`}},
	{"sends 100 actions at most", changeRequests(func(r *request) { r.def.Actions = r.def.Actions[:min(100, len(r.def.Actions))] }),
		"Sync/passes on 1000 actions", []string{"Sync reached the platform with arguments"}},
	{"sends resources as text", changeRequests(func(r *request) {
		for i := range r.def.Actions {
			r.def.Actions[i].Delete = lossy(r.def.Actions[i].Delete)
		}
	}), "Sync/passes on its arguments", []string{"Sync reached the platform with arguments", `\x80`}},
	{"turns empty resources into nil", changeRequests(func(r *request) {
		for i := range r.def.Actions {
			r.def.Actions[i].Apply = emptyToNil(r.def.Actions[i].Apply)
		}
	}), "Sync/keeps nil and empty arguments apart", []string{`{ResourceID:"empty apply" Delete:nil Apply:""}`}},
	{"turns empty actions into nil", changeRequests(func(r *request) { r.def.Actions = emptyToNil(r.def.Actions) }),
		"Sync/keeps nil and empty arguments apart", []string{"got {Actions:nil}", "want {Actions:[]}"}},
	{"refuses a large resource", intercept(func(next Platform, r request) answer {
		for _, action := range r.def.Actions {
			if len(action.Apply) > 1<<20 {
				return answer{err: errors.New("too large")}
			}
		}
		return r.send(next)
	}), "Sync/passes on 4 MiB", []string{"calls that the platform received", "got []", `want ["Sync"]`}},

	// Results.
	{"loses the last service", changeAnswers(func(_ request, a *answer) { a.services = dropLast(a.services) }),
		"AllServices/returns every service", []string{"AllServices returned the services"}},
	{"sorts the services", changeAnswers(func(_ request, a *answer) {
		slices.SortFunc(a.services, func(x, y Service) int { return strings.Compare(string(x.ID), string(y.ID)) })
	}), "SomeServices/returns every service", []string{`got [{ID:"a/1"`, `want [{ID:"b/2"`}},
	{"returns a service twice", changeAnswers(func(_ request, a *answer) { a.services = repeatFirst(a.services) }),
		"SomeServices/returns every service", []string{"SomeServices returned the services"}},
	{"loses the IP", changeServices(func(s *Service) { s.IP = "" }), "AllServices/returns every service", []string{`IP:""`, `IP:"10.0.0.2"`}},
	{"loses the status", changeServices(func(s *Service) { s.Status = "" }), "AllServices/returns every service", []string{`Status:"größer: 1 of 2 updated"`}},
	{"loses the excuse", changeServices(func(s *Service) { s.Containers.Excuse = "" }), "AllServices/returns every service", []string{`Excuse:"no \"matching\"\npods\n"`}},
	{"loses the containers beside an excuse", changeServices(func(s *Service) {
		if s.Containers.Excuse != "" {
			s.Containers.Containers = nil
		}
	}), "AllServices/returns every service", []string{"AllServices returned the services"}},
	{"swaps the name and the image", changeServices(func(s *Service) {
		for i, c := range s.Containers.Containers {
			s.Containers.Containers[i] = Container{Name: c.Image, Image: c.Name}
		}
	}), "SomeServices/returns every service", []string{`{Name:"r.example/web:1" Image:"web"}`}},
	{"reverses the containers", changeServices(func(s *Service) { slices.Reverse(s.Containers.Containers) }),
		"SomeServices/returns every service", []string{`Name:"log"`}},
	{"loses the metadata", changeServices(func(s *Service) { s.Metadata = nil }), "SomeServices/returns every service", []string{"Metadata:nil"}},
	{"turns empty metadata into nil", changeServices(func(s *Service) {
		if len(s.Metadata) == 0 {
			s.Metadata = nil
		}
	}), "AllServices/keeps nil and empty results apart", []string{"Metadata:nil", "Metadata:map[]"}},
	{"turns empty containers into nil", changeServices(func(s *Service) { s.Containers.Containers = emptyToNil(s.Containers.Containers) }),
		"SomeServices/keeps nil and empty results apart", []string{"Containers:nil", "Containers:[]"}},
	{"turns nil services into empty", changeAnswers(func(_ request, a *answer) { a.services = nilToEmpty(a.services) }),
		"AllServices/keeps nil and empty results apart", []string{"got []", "want nil"}},
	{"turns empty services into nil", changeAnswers(func(_ request, a *answer) { a.services = emptyToNil(a.services) }),
		"SomeServices/keeps nil and empty results apart", []string{"got nil", "want []"}},
	{"pages and returns the first 1000 services", changeAnswers(func(_ request, a *answer) { a.services = a.services[:min(1000, len(a.services))] }),
		"AllServices/returns 4 MiB", []string{"characters, different from character"}},
	{"truncates what is beyond 1000 services", changeAnswers(func(_ request, a *answer) { a.services = a.services[:min(1000, len(a.services))] }),
		"SomeServices/returns 4 MiB", []string{"characters, different from character"}},
	{"drops services beside an error", changeAnswers(func(_ request, a *answer) {
		if a.err != nil {
			a.services = nil
		}
	}), "AllServices/keeps a result beside an error", []string{"AllServices returned, with its error, the services", "got nil"}},
	{"drops the error beside services", changeAnswers(func(_ request, a *answer) {
		if a.services != nil {
			a.err = nil
		}
	}), "SomeServices/keeps a result beside an error", []string{"SomeServices failed, but returned no error", "got nil", "kube-system: forbidden"}},
	{"trims the version", changeAnswers(func(_ request, a *answer) { a.version = strings.TrimSpace(a.version) }),
		"Version/returns the version", []string{"Version returned", `\r\n"`}},
	{"truncates the version", changeAnswers(func(_ request, a *answer) { a.version = a.version[:min(4096, len(a.version))] }),
		"Version/returns 64 KiB", []string{"(4098 characters"}},
	{"exports text", changeAnswers(func(_ request, a *answer) { a.export = lossy(a.export) }),
		"Export/returns every byte", []string{"Export returned", `\x80`}},
	{"turns an empty export into nil", changeAnswers(func(_ request, a *answer) { a.export = emptyToNil(a.export) }),
		"Export/keeps nil and empty results apart", []string{"got nil", `want ""`}},
	{"turns a nil export into an empty one", changeAnswers(func(_ request, a *answer) { a.export = nilToEmpty(a.export) }),
		"Export/keeps nil and empty results apart", []string{`got ""`, "want nil"}},
	{"truncates an export at 4 MB", changeAnswers(func(_ request, a *answer) { a.export = a.export[:min(4_000_000, len(a.export))] }),
		"Export/returns 4 MiB", []string{"Export returned", "…"}},

	// Errors.
	{"swallows errors", changeErrors(func(error) error { return nil }), "Export/keeps a plain error plain", []string{"Export failed, but returned no error"}},
	{"swallows the errors of Ping", onlyFor("Ping", changeErrors(func(error) error { return nil })),
		"Ping/keeps a plain error plain", []string{"Ping failed, but returned no error"}},
	{"returns a nil SyncError in the error", changeAnswers(func(r request, a *answer) {
		if r.method == "Sync" && a.err == nil {
			a.err = SyncError(nil)
		}
	}), "Sync/returns nil when nothing failed", []string{"Sync succeeded, but returned an error that is not nil", "platform.SyncError", "want nil"}},
	{"returns an empty ApplyError for success", changeAnswers(func(r request, a *answer) {
		if r.method == "Apply" && a.err == nil {
			a.err = ApplyError{}
		}
	}), "Apply/returns nil when nothing failed", []string{"Apply succeeded, but returned an error that is not nil", "platform.ApplyError"}},
	{"takes an error without a text for none", changeErrors(func(err error) error {
		if err.Error() == "" {
			return nil
		}
		return err
	}), "Apply/keeps an error without a text", []string{"Apply failed, but returned no error", `want *errors.errorString ""`}},
	{"prefixes errors", changeErrors(func(err error) error { return fmt.Errorf("rpc: %w", err) }),
		"Version/keeps a plain error plain", []string{"Version returned an error with the text", `got "rpc: `}},
	{"keeps the first line of an error", changeErrors(func(err error) error {
		line, _, more := strings.Cut(err.Error(), "\n")
		if !more {
			return err
		}
		return errors.New(line)
	}), "SomeServices/keeps a plain error plain", []string{"SomeServices returned an error with the text"}},
	{"turns a plain error into an ApplyError", onlyFor("Apply", changeErrors(func(err error) error { return ApplyError{"": err} })),
		"Apply/keeps a plain error plain", []string{"Apply returned an ApplyError, though the platform returned none"}},
	{"turns a plain error into a SyncError", onlyFor("Sync", changeErrors(func(err error) error { return SyncError{"": err} })),
		"Sync/keeps a plain error plain", []string{"Sync returned a SyncError, though the platform returned none"}},
	{"calls every error fatal", changeErrors(func(err error) error { return FatalError{Err: err} }),
		"Ping/keeps a plain error plain", []string{"Ping returned a FatalError, though the platform returned none"}},
	{"calls every error unavailable", changeErrors(UnavailableError),
		"AllServices/keeps a plain error plain", []string{`does it match "platform not available"?`, "got true", "want false"}},
	{"calls every error out of date", changeErrors(UpgradeNeededError),
		"Version/keeps a ClusterError", []string{`does it match "daemon needs an upgrade"?`, "got true"}},
	{"forgets that the platform was unavailable", changeErrors(asPlainText),
		"Export/keeps an UnavailableError", []string{`does it match "platform not available"?`, "got false", "want true"}},
	{"forgets that an upgrade is needed", changeErrors(asPlainText),
		"Sync/keeps an UpgradeNeededError", []string{`does it match "daemon needs an upgrade"?`, "got false"}},
	{"forgets the help", changeErrors(asPlainText), "Apply/keeps a ClusterError", []string{"finds no flux.HelpfulError"}},
	{"puts the help into the text", sendErrorsAs(func(err flux.HelpfulError) error {
		return ClusterError(errors.New(err.Base().Help + err.Error()))
	}), "Ping/keeps a ClusterError", []string{"Ping returned an error with the text", "Error from the cluster"}},
	{"gives every error the same help", changeErrors(func(err error) error {
		return flux.UserConfigProblem{BaseError: &flux.BaseError{Help: "Ask your administrator.", Err: err}}
	}), "SomeServices/keeps a ClusterError", []string{"with the help text", `got "Ask your administrator."`}},
	{"replaces the text of a FatalError", sendErrorsAs(func(FatalError) error { return errors.New("connection lost") }),
		"Export/keeps the text of a FatalError", []string{"lacks the text of the FatalError", "connection lost"}},
	{"loses an entry of an ApplyError", sendErrorsAs(func(e ApplyError) error {
		short := ApplyError{}
		for id, err := range e {
			if id != "default/db" {
				short[id] = err
			}
		}
		return short
	}), "Apply/reports every failure", []string{"Apply returned an ApplyError holding", `want map["default/again"`, `"default/db":" cannot reach`}},
	{"adds an entry to a SyncError", sendErrorsAs(func(e SyncError) error {
		long := SyncError{"all": errors.New("1 failed")}
		for id, err := range e {
			long[id] = err
		}
		return long
	}), "Sync/reports a single failure", []string{"Sync returned a SyncError holding", `got map["a":"boom" "all":"1 failed"]`, `want map["a":"boom"]`}},
	{"gives each entry the same text", sendErrorsAs(func(e SyncError) error {
		same := SyncError{}
		for id := range e {
			same[id] = errors.New("failed")
		}
		return same
	}), "Sync/reports every failure", []string{"Sync returned a SyncError holding", `"default/db":"failed"`}},
	{"labels the texts of an ApplyError", sendErrorsAs(func(e ApplyError) error {
		labelled := ApplyError{}
		for id, err := range e {
			labelled[id] = fmt.Errorf("%s: %w", id, err)
		}
		return labelled
	}), "Apply/reports a single failure", []string{`got map["default/web":"default/web: boom"]`}},
	{"sends ten failures at most", sendErrorsAs(func(e SyncError) error {
		few := SyncError{}
		for id, err := range e {
			if len(few) < 10 {
				few[id] = err
			}
		}
		return few
	}), "Sync/reports 1000 failures", []string{"Sync returned a SyncError holding"}},
	{"shortens the texts of many failures", sendErrorsAs(func(e ApplyError) error {
		short := ApplyError{}
		for id, err := range e {
			short[id] = errors.New(err.Error()[:min(512, len(err.Error()))])
		}
		return short
	}), "Apply/reports 1000 failures", []string{"Apply returned an ApplyError holding", "…"}},
	{"sends an ApplyError as text", sendErrorsAs(func(e ApplyError) error { return asPlainText(e) }),
		"Apply/reports a single failure", []string{"finds no platform.ApplyError", `got *errors.errorString "default/web: boom"`}},
	{"returns a SyncError from Apply", sendErrorsAs(func(e ApplyError) error {
		wrong := SyncError{}
		for id, err := range e {
			wrong[string(id)] = err
		}
		return wrong
	}), "Apply/reports every failure", []string{"finds no platform.ApplyError", "platform.SyncError"}},
	{"recognises a bare SyncError only", changeErrors(func(err error) error {
		if e, ok := err.(SyncError); ok {
			return e
		}
		return asPlainText(err)
	}), "Sync/reports every failure of another hop", []string{"finds no platform.SyncError"}},
	{"recognises a bare ApplyError only", changeErrors(func(err error) error {
		if e, ok := err.(ApplyError); ok {
			return e
		}
		return asPlainText(err)
	}), "Apply/reports every failure of another hop", []string{"finds no platform.ApplyError"}},

	// Calls.
	{"tries again after an error", intercept(func(next Platform, r request) answer {
		if a := r.send(next); a.err == nil {
			return a
		}
		return r.send(next)
	}), "Sync/is made once", []string{`got ["Sync" "Sync"]`, `want ["Sync"]`}},
	{"makes each call twice", intercept(func(next Platform, r request) answer { r.send(next); return r.send(next) }),
		"Ping/is made once", []string{`got ["Ping" "Ping"]`}},
	{"answers a Ping itself", intercept(func(next Platform, r request) answer {
		if r.method == "Ping" {
			return answer{}
		}
		return r.send(next)
	}), "Ping/is made once", []string{"got []", `want ["Ping"]`}},
	{"pings before each Version", intercept(func(next Platform, r request) answer {
		if r.method == "Version" {
			_ = next.Ping()
		}
		return r.send(next)
	}), "Version/is made once", []string{`got ["Ping" "Version"]`}},
	{"asks for all services in place of some", intercept(func(next Platform, r request) answer {
		if r.method == "SomeServices" {
			r.method = "AllServices"
		}
		return r.send(next)
	}), "SomeServices/is made once", []string{`got ["AllServices"]`, `want ["SomeServices"]`}},
	{"exports instead of syncing", intercept(func(next Platform, r request) answer {
		if r.method == "Sync" {
			_, err := next.Export()
			return answer{err: err}
		}
		return r.send(next)
	}), "Sync/is made once", []string{`got ["Export"]`}},
	{"gives up after an error", func(mock Platform) Platform {
		var first error
		return &interceptor{next: mock, handle: func(next Platform, r request) answer {
			if first != nil {
				return answer{err: first}
			}
			a := r.send(next)
			first = a.err
			return a
		}}
	}, "Version/forgets an error that has passed", []string{"Version succeeded, but returned an error that is not nil", `"first"`}},
	{"answers from a cache", func(mock Platform) Platform {
		cached := map[string]answer{}
		var mu sync.Mutex
		return &interceptor{next: mock, handle: func(next Platform, r request) answer {
			mu.Lock()
			defer mu.Unlock()
			a, ok := cached[r.method]
			if !ok {
				a = r.send(next)
				cached[r.method] = a
			}
			return a
		}}
	}, "Export/gives its result away", []string{"Export returned", `"\x00\x00`}},
	{"caches services by what was asked", func(mock Platform) Platform {
		cached := map[string]answer{}
		return &interceptor{next: mock, handle: func(next Platform, r request) answer {
			key := r.method + show(r.arguments())
			a, ok := cached[key]
			if !ok {
				a = r.send(next)
				cached[key] = a
			}
			return a
		}}
	}, "AllServices/gives its result away", []string{"AllServices returned the services", `ID:""`}},
	{"returns the first answer for ever", func(mock Platform) Platform {
		var first *answer
		return &interceptor{next: mock, handle: func(next Platform, r request) answer {
			if first == nil {
				a := r.send(next)
				first = &a
			}
			return *first
		}}
	}, "Version/returns the version", []string{`got "1.2.3"`, `want ""`}},
	{"sorts its caller's IDs", intercept(func(next Platform, r request) answer { slices.Sort(r.ids); return r.send(next) }),
		"SomeServices/leaves its arguments alone", []string{"SomeServices left its arguments as", `got ["default/db" "default/web"]`}},
	{"takes from its caller's set", intercept(func(next Platform, r request) answer {
		a := r.send(next)
		clear(r.ignored)
		return a
	}), "AllServices/leaves its arguments alone", []string{"Ignored:map[]"}},
	{"overwrites its caller's definitions", intercept(func(next Platform, r request) answer {
		a := r.send(next)
		for _, def := range r.defs {
			clear(def.NewDefinition)
		}
		return a
	}), "Apply/leaves its arguments alone", []string{"Apply left its arguments as", `\x00\x00`}},
	{"empties its caller's actions", intercept(func(next Platform, r request) answer {
		a := r.send(next)
		clear(r.def.Actions)
		return a
	}), "Sync/leaves its arguments alone", []string{"Sync left its arguments as", `{ResourceID:"" Delete:nil Apply:nil}`}},
	{"mixes answers up", func(mock Platform) Platform {
		var mu sync.Mutex
		last := map[string]answer{}
		return &interceptor{next: mock, handle: func(next Platform, r request) answer {
			a := r.send(next)
			mu.Lock()
			defer mu.Unlock()
			if other, ok := last[r.method]; ok {
				a, last[r.method] = other, a
			} else {
				last[r.method] = a
			}
			return a
		}}
	}, "Concurrency/gives each of 64 calls its own answer", []string{"own/"}},
	{"panics at a nil argument", intercept(func(next Platform, r request) answer {
		if r.method == "SomeServices" {
			_ = r.ids[0]
		}
		return r.send(next)
	}), "SomeServices/keeps nil and empty arguments apart", []string{"panic: runtime error: index out of range"}},
	{"panics when many call", intercept(func(next Platform, r request) answer {
		if r.namespace != "" && r.namespace != "default" {
			panic("one at a time, please")
		}
		return r.send(next)
	}), "Concurrency/gives each of 64 calls its own answer", []string{"panic: one at a time, please"}},
	{"is no transport at all", func(Platform) Platform { return nil },
		"Ping/is made once", []string{"wrap returned nil"}},
}
