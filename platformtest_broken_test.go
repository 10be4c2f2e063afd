package platform

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/platformbus/platform/flux"
)

type brokenTransport struct {
	breaks rule
	name   string
	in     string // the case that must fail
	wrap   func(Platform) Platform
	says   []string      // texts that the failure must contain beside the rule
	wait   time.Duration // the default if zero; short for transports that hang
	stops  bool          // BatteryOptions.StopsCalls
}

// hasty is the wait for what is expected to hang.
const hasty = 300 * time.Millisecond

// brokenTransports has a transport for each fault that we could think of.
func brokenTransports() []brokenTransport {
	return slices.Concat(brokenArguments(), brokenResults(), brokenErrors(), brokenCalls(), brokenMemory(), brokenOverlap(), brokenContexts())
}

func brokenArguments() []brokenTransport {
	rows := []brokenTransport{
		{ruleArguments, "loses the namespace", "AllServices/passes on its arguments",
			changeRequests(func(r *request) { r.namespace = "" }), []string{`got {Namespace:"" Ignored:`, `want {Namespace:"größe of a/b"`}, 0, false},
		{ruleArguments, "upper-cases the namespace", "AllServices/passes on its arguments",
			changeRequests(func(r *request) { r.namespace = strings.ToUpper(r.namespace) }), []string{`"GR`}, 0, false},
		{ruleArguments, "loses the ignored", "AllServices/passes on its arguments",
			changeRequests(func(r *request) { r.ignored = nil }), []string{"Ignored:nil"}, 0, false},
		{ruleArguments, "loses IDs without a slash", "SomeServices/passes on its arguments",
			changeRequests(func(r *request) {
				r.ids = slices.DeleteFunc(r.ids, func(id flux.ServiceID) bool { return !strings.Contains(string(id), "/") })
			}), []string{"SomeServices reached the platform with arguments"}, 0, false},
		{ruleArguments, "cuts IDs at the second slash", "SomeServices/passes on its arguments",
			changeRequests(func(r *request) {
				for i, id := range r.ids {
					parts := strings.SplitN(string(id), "/", 3)
					r.ids[i] = flux.ServiceID(strings.Join(parts[:min(2, len(parts))], "/"))
				}
			}), []string{"SomeServices reached the platform with arguments"}, 0, false},
		{ruleArguments, "trims IDs", "SomeServices/passes on its arguments",
			changeRequests(func(r *request) {
				for i, id := range r.ids {
					r.ids[i] = flux.ServiceID(strings.TrimSpace(string(id)))
				}
			}), []string{"SomeServices reached the platform with arguments"}, 0, false},
		{ruleArguments, "asks for all in place of none", "SomeServices/passes on its arguments",
			intercept(func(next Platform, r request) answer {
				if r.method == "SomeServices" && len(r.ids) == 0 {
					r.method = "AllServices"
				}
				return r.send(next)
			}), []string{`got ["AllServices"]`, `want ["SomeServices"]`}, 0, false},
		{ruleArguments, "loses Async", "Apply/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.defs {
					r.defs[i].Async = false
				}
			}), []string{"Async:false", "Async:true"}, 0, false},
		{ruleArguments, "loses the last definition", "Apply/passes on its arguments",
			changeRequests(func(r *request) { r.defs = dropLast(r.defs) }), []string{"Apply reached the platform with arguments"}, 0, false},
		{ruleArguments, "reverses the definitions", "Apply/passes on its arguments",
			changeRequests(func(r *request) { slices.Reverse(r.defs) }), []string{"Apply reached the platform with arguments"}, 0, false},
		{ruleArguments, "keeps one definition for each service", "Apply/passes on its arguments",
			changeRequests(func(r *request) {
				r.defs = slices.CompactFunc(r.defs, func(a, b ServiceDefinition) bool { return a.ServiceID == b.ServiceID })
			}), []string{"Apply reached the platform with arguments"}, 0, false},
		{ruleArguments, "sends definitions as text", "Apply/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.defs {
					r.defs[i].NewDefinition = lossy(r.defs[i].NewDefinition)
				}
			}), []string{`\x80`}, 0, false},
		{ruleArguments, "skips a definition that is empty", "Apply/passes on its arguments",
			changeRequests(func(r *request) {
				r.defs = slices.DeleteFunc(r.defs, func(d ServiceDefinition) bool { return len(d.NewDefinition) == 0 })
			}), []string{"Apply reached the platform with arguments"}, 0, false},
		{ruleArguments, "does not call for no definitions", "Apply/passes on its arguments",
			intercept(func(next Platform, r request) answer {
				if r.method == "Apply" && len(r.defs) == 0 {
					return answer{}
				}
				return r.send(next)
			}), []string{"got []", `want ["Apply"]`}, 0, false},
		{ruleArguments, "does not call for no actions", "Sync/passes on its arguments",
			intercept(func(next Platform, r request) answer {
				if r.method == "Sync" && len(r.def.Actions) == 0 {
					return answer{}
				}
				return r.send(next)
			}), []string{"got []", `want ["Sync"]`}, 0, false},
		{ruleArguments, "swaps Delete and Apply", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				for i, a := range r.def.Actions {
					r.def.Actions[i].Delete, r.def.Actions[i].Apply = a.Apply, a.Delete
				}
			}), []string{`Delete:"kind: Come\n"`, `Delete:"kind: Gone\n"`}, 0, false},
		{ruleArguments, "sorts the actions", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				slices.SortFunc(r.def.Actions, func(a, b SyncAction) int { return strings.Compare(a.ResourceID, b.ResourceID) })
			}), []string{"Sync reached the platform with arguments"}, 0, false},
		{ruleArguments, "deletes first", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				slices.SortStableFunc(r.def.Actions, func(a, b SyncAction) int { return len(a.Apply) - len(b.Apply) })
			}), []string{"Sync reached the platform with arguments"}, 0, false},
		{ruleArguments, "keeps one action for each ResourceID", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				r.def.Actions = slices.CompactFunc(r.def.Actions, func(a, b SyncAction) bool { return a.ResourceID == b.ResourceID })
			}), []string{"Sync reached the platform with arguments"}, 0, false},
		{ruleArguments, "skips actions that do nothing", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				r.def.Actions = slices.DeleteFunc(r.def.Actions, func(a SyncAction) bool { return len(a.Apply)+len(a.Delete) == 0 })
			}), []string{"Sync reached the platform with arguments"}, 0, false},
		{ruleArguments, "sends resources as text", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.def.Actions {
					r.def.Actions[i].Delete = lossy(r.def.Actions[i].Delete)
				}
			}), []string{"Sync reached the platform with arguments", `\x80`}, 0, false},
		{ruleArguments, "applies resources as text", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.def.Actions {
					r.def.Actions[i].Apply = lossy(r.def.Actions[i].Apply)
				}
			}), []string{"Sync reached the platform with arguments", `\x80`}, 0, false},
		{ruleArguments, "drops byte order marks of definitions", "Apply/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.defs {
					r.defs[i].NewDefinition = bytes.TrimPrefix(r.defs[i].NewDefinition, []byte("\ufeff"))
				}
			}), []string{"Apply reached the platform with arguments"}, 0, false},
		{ruleArguments, "drops byte order marks of resources", "Sync/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.def.Actions {
					r.def.Actions[i].Delete = bytes.TrimPrefix(r.def.Actions[i].Delete, []byte("\ufeff"))
				}
			}), []string{"Sync reached the platform with arguments"}, 0, false},
		{ruleArguments, "trims the IDs of definitions", "Apply/passes on its arguments",
			changeRequests(func(r *request) {
				for i := range r.defs {
					r.defs[i].ServiceID = flux.ServiceID(strings.TrimSpace(string(r.defs[i].ServiceID)))
				}
			}), []string{"Apply reached the platform with arguments"}, 0, false},
		{ruleArguments, "takes no namespace for the default one", "AllServices/passes on its arguments",
			changeRequests(func(r *request) { r.namespace = cmp.Or(r.namespace, "default") }), []string{`got {Namespace:"default"`}, 0, false},
		{ruleArguments, "panics at a nil argument", "SomeServices/passes on its arguments",
			intercept(func(next Platform, r request) answer {
				if r.method == "SomeServices" {
					_ = r.ids[0]
				}
				return r.send(next)
			}), []string{"panic: runtime error: index out of range"}, 0, false},
		{ruleSize, "sends 1000 IDs to ignore at most", "AllServices/passes on 10,000 entries",
			changeRequests(func(r *request) {
				short := flux.ServiceIDSet{}
				short.Add(r.ignored.ToSlice()[:min(1000, len(r.ignored))])
				r.ignored = short
			}), []string{"characters, different from character", `"default/01000":{}`}, 0, false},
		{ruleSize, "asks for 1000 IDs at most", "SomeServices/passes on 10,000 entries",
			changeRequests(func(r *request) { r.ids = r.ids[:min(1000, len(r.ids))] }), []string{"different from character"}, 0, false},
		{ruleSize, "applies in parts of 1000", "Apply/passes on 10,000 entries",
			intercept(func(next Platform, r request) (a answer) {
				for part := range slices.Chunk(r.defs, 1000) {
					a = request{method: "Apply", defs: part}.send(next)
				}
				return a
			}), []string{`got ["Apply" "Apply"`}, 0, false},
		{ruleSize, "syncs 9999 actions at most", "Sync/passes on 10,000 entries",
			changeRequests(func(r *request) { r.def.Actions = r.def.Actions[:min(9999, len(r.def.Actions))] }), []string{"different from character"}, 0, false},
		{ruleSize, "truncates a definition at 1 MiB", "Apply/passes on 4 MiB",
			changeRequests(func(r *request) {
				for i := range r.defs {
					r.defs[i].NewDefinition = r.defs[i].NewDefinition[:min(1<<20, len(r.defs[i].NewDefinition))]
				}
			}), []string{"characters, different from character", "got …", "… ("}, 0, false},
		{ruleSize, "refuses a large resource", "Sync/passes on 4 MiB",
			intercept(func(next Platform, r request) answer {
				for _, action := range r.def.Actions {
					if len(action.Apply) > 1<<20 {
						return answer{err: errors.New("ResourceExhausted: received message larger than max" + strings.Repeat(", at hop.go", 1000))}
					}
				}
				return r.send(next)
			}), []string{"got []", `want ["Sync"]`, "the call returned the error: ResourceExhausted", "…"}, 0, false},
	}
	for name, change := range map[string]func(string) string{
		"names the nameless":        func(s string) string { return cmp.Or(s, "default") },
		"transliterates":            strings.NewReplacer("ö", "o", "ß", "ss").Replace,
		"composes characters":       strings.NewReplacer("u\u0308", "ü").Replace,
		"joins lines":               strings.NewReplacer("\n", " ").Replace,
		"ends strings at a NUL":     func(s string) string { before, _, _ := strings.Cut(s, "\x00"); return before },
		"drops byte order marks":    strings.NewReplacer("\ufeff", "").Replace,
		"breaks lines at U+2028":    strings.NewReplacer("\u2028", "\n").Replace,
		"escapes quotes":            strings.NewReplacer(`"`, `\"`).Replace,
		"doubles apostrophes":       strings.NewReplacer("'", "''").Replace,
		"unescapes JSON":            strings.NewReplacer(`\u0041`, "A").Replace,
		"unescapes URLs":            strings.NewReplacer("%2f", "/").Replace,
		"cleans paths":              strings.NewReplacer("..", ".").Replace,
		"expands variables":         strings.NewReplacer("$ref", "").Replace,
		"escapes for HTML":          strings.NewReplacer("<", "&lt;").Replace,
		"takes null for nothing":    strings.NewReplacer("null", "").Replace,
		"has objects with members":  strings.NewReplacer("__proto__", "").Replace,
		"takes digits for a number": func(s string) string { return strings.TrimLeft(s, "0") },
		"takes true for a value":    strings.NewReplacer("true", "1").Replace,
		"has 16 bits a character":   strings.NewReplacer("𝛌", "\uFFFD").Replace,
		"has names of 255 bytes":    func(s string) string { return s[:min(255, len(s))] },
		"trims spaces":              func(s string) string { return strings.Trim(s, " ") },
	} {
		rows = append(rows, brokenTransport{ruleArguments, name + " in ResourceIDs", "Sync/passes on its arguments", changeRequests(func(r *request) {
			for i := range r.def.Actions {
				r.def.Actions[i].ResourceID = change(r.def.Actions[i].ResourceID)
			}
		}), []string{"Sync reached the platform with arguments"}, 0, false})
	}
	for _, method := range withArguments {
		rows = append(rows, brokenTransport{ruleStrings, "loses its connection for " + method + " to a string that is not UTF-8", method + "/passes on or refuses what is not UTF-8",
			func(mock Platform) Platform {
				lost := false
				return &adapter{func(r request) answer {
					if strings.Contains(show(r.canonical().arguments()), "\uFFFD") {
						lost = true
					}
					if lost {
						return answer{err: errors.New("connection reset")}
					}
					return r.send(mock)
				}}
			}, []string{"calls that the platform received", "connection reset"}, 0, false})
	}
	return append(rows, brokenTransport{ruleStrings, "loses its connection after a string that is not UTF-8", "Sync/passes on or refuses what is not UTF-8", func(mock Platform) Platform {
		lost := false
		return &adapter{func(r request) answer {
			if lost {
				return answer{err: errors.New("connection reset")}
			}
			lost = strings.Contains(show(r.canonical().arguments()), "\uFFFD")
			return r.send(mock)
		}}
	}, []string{"calls that the platform received", "connection reset"}, 0, false}, brokenTransport{ruleStrings, "drops what is not UTF-8", "Sync/passes on or refuses what is not UTF-8",
		changeRequests(func(r *request) {
			r.def.Actions = slices.DeleteFunc(r.def.Actions, func(a SyncAction) bool { return a.ResourceID == "\xff" })
		}), []string{"Sync reached the platform with arguments"}, 0, false})
}

func brokenResults() []brokenTransport {
	rows := []brokenTransport{
		{ruleResults, "loses the last service", "AllServices/returns every service",
			changeAnswers(func(_ request, a *answer) { a.services = dropLast(a.services) }), []string{"AllServices returned the services"}, 0, false},
		{ruleResults, "takes no services for a failure", "SomeServices/returns every service",
			changeAnswers(func(_ request, a *answer) {
				if len(a.services) == 0 {
					a.err = errors.New("no services in the answer")
				}
			}), []string{"no services in the answer"}, 0, false},
		{ruleResults, "returns a service twice", "SomeServices/returns every service",
			changeAnswers(func(_ request, a *answer) { a.services = append(a.services, a.services[:min(1, len(a.services))]...) }), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "loses the IP", "AllServices/returns every service",
			changeServices(func(s *Service) { s.IP = "" }), []string{`IP:""`}, 0, false},
		{ruleResults, "parses the IP", "AllServices/returns every service",
			changeServices(func(s *Service) { s.IP, _, _ = strings.Cut(s.IP, "%") }), []string{`IP:"fe80::1"`}, 0, false},
		{ruleResults, "has IPv6 only", "AllServices/returns every service",
			changeServices(func(s *Service) {
				if ip, err := netip.ParseAddr(s.IP); err == nil && ip.Is4() {
					s.IP = netip.AddrFrom16(ip.As16()).String()
				}
			}), []string{`IP:"::ffff:10.0.0.2"`}, 0, false},
		{ruleResults, "loses the status", "AllServices/returns every service",
			changeServices(func(s *Service) { s.Status = "" }), []string{`Status:""`}, 0, false},
		{ruleResults, "loses the excuse", "AllServices/returns every service",
			changeServices(func(s *Service) { s.Containers.Excuse = "" }), []string{`Excuse:"no \"matching\"\npods\n"`}, 0, false},
		{ruleResults, "loses the containers beside an excuse", "SomeServices/returns every service",
			changeServices(func(s *Service) {
				if s.Containers.Excuse != "" {
					s.Containers.Containers = nil
				}
			}), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "swaps the name and the image", "SomeServices/returns every service",
			changeServices(func(s *Service) {
				for i, c := range s.Containers.Containers {
					s.Containers.Containers[i] = Container{Name: c.Image, Image: c.Name}
				}
			}), []string{`{Name:"r.example/web:1" Image:"web"}`}, 0, false},
		{ruleResults, "reverses the containers", "SomeServices/returns every service",
			changeServices(func(s *Service) { slices.Reverse(s.Containers.Containers) }), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "keeps one container of each name", "SomeServices/returns every service",
			changeServices(func(s *Service) {
				seen := map[string]bool{}
				s.Containers.Containers = slices.DeleteFunc(s.Containers.Containers, func(c Container) bool {
					again := seen[c.Name]
					seen[c.Name] = true
					return again
				})
			}), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "cuts the digests of images", "AllServices/returns every service",
			changeContainers(func(c *Container) { c.Image, _, _ = strings.Cut(c.Image, "@") }), []string{"AllServices returned the services"}, 0, false},
		{ruleResults, "gives a tag to images without one", "SomeServices/returns every service",
			changeContainers(func(c *Container) {
				if c.Image != "" && !strings.Contains(c.Image, ":") {
					c.Image += ":latest"
				}
			}), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "trims IDs of services", "SomeServices/returns every service",
			changeServices(func(s *Service) { s.ID = flux.ServiceID(strings.TrimSpace(string(s.ID))) }), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "keeps one pair of metadata", "SomeServices/returns every service",
			changeServices(func(s *Service) {
				if len(s.Metadata) > 1 {
					first := slices.Min(slices.Collect(maps.Keys(s.Metadata)))
					s.Metadata = map[string]string{first: s.Metadata[first]}
				}
			}), []string{"SomeServices returned the services"}, 0, false},
		{ruleResults, "loses the metadata", "SomeServices/returns every service",
			changeServices(func(s *Service) { s.Metadata = nil }), []string{"Metadata:nil"}, 0, false},
		{ruleResults, "loses metadata without a key", "AllServices/returns every service",
			changeServices(func(s *Service) { delete(s.Metadata, "") }), []string{"AllServices returned the services"}, 0, false},
		{ruleResults, "loses metadata without a value", "AllServices/returns every service",
			changeServices(func(s *Service) {
				maps.DeleteFunc(s.Metadata, func(_, value string) bool { return value == "" })
			}), []string{"AllServices returned the services"}, 0, false},
		{ruleResults, "cuts strings at a NUL", "AllServices/returns every service",
			changeServices(func(s *Service) { s.Status, _, _ = strings.Cut(s.Status, "\x00") }), []string{"AllServices returned the services"}, 0, false},
		{ruleResults, "strips a byte order mark", "AllServices/returns every service",
			changeServices(func(s *Service) { s.Status = strings.TrimPrefix(s.Status, "\ufeff") }), []string{"AllServices returned the services"}, 0, false},
		{ruleResults, "escapes HTML", "AllServices/returns every service",
			changeServices(func(s *Service) { s.Status = strings.ReplaceAll(s.Status, "<", "&lt;") }), []string{"AllServices returned the services"}, 0, false},
		{ruleSize, "truncates at 4096 services", "AllServices/returns 10,000 entries",
			changeAnswers(func(_ request, a *answer) { a.services = a.services[:min(4096, len(a.services))] }), []string{"different from character"}, 0, false},
		{ruleSize, "pages of 5000 services, and never the next", "SomeServices/returns 10,000 entries",
			changeAnswers(func(_ request, a *answer) { a.services = a.services[:min(5000, len(a.services))] }), []string{"different from character"}, 0, false},
		{rulePartial, "drops services beside an error", "AllServices/keeps a result beside an error",
			changeAnswers(func(_ request, a *answer) {
				if a.err != nil {
					a.services = nil
				}
			}), []string{"AllServices returned, beside its error, the services", "got nil"}, 0, false},
		{rulePartial, "drops the error beside services", "SomeServices/keeps a result beside an error",
			changeAnswers(func(_ request, a *answer) {
				if a.services != nil {
					a.err = nil
				}
			}), []string{"SomeServices failed, but returned no error", "got nil", "kube-system: forbidden"}, 0, false},
		{rulePartial, "drops an export beside an error", "Export/keeps a result beside an error",
			changeAnswers(func(_ request, a *answer) {
				if a.err != nil {
					a.export = nil
				}
			}), []string{"Export returned, beside its error,"}, 0, false},
		{ruleResults, "trims the version", "Version/returns the version",
			changeAnswers(func(_ request, a *answer) { a.version = strings.TrimSpace(a.version) }), []string{"Version returned", `\r\n"`}, 0, false},
		{ruleResults, "names a version that is empty", "Version/returns the version",
			changeAnswers(func(_ request, a *answer) {
				if a.version == "" {
					a.version = "unknown"
				}
			}), []string{`got "unknown"`}, 0, false},
		{ruleSize, "truncates the version", "Version/returns 64 KiB",
			changeAnswers(func(_ request, a *answer) { a.version = a.version[:min(4096, len(a.version))] }), []string{"(4098 characters"}, 0, false},
		{ruleResults, "exports text", "Export/returns every byte",
			changeAnswers(func(_ request, a *answer) { a.export = lossy(a.export) }), []string{"Export returned", `\x80`}, 0, false},
		{ruleResults, "exports an empty list for nothing", "Export/returns every byte",
			changeAnswers(func(_ request, a *answer) {
				if len(a.export) == 0 {
					a.export = []byte("[]\n")
				}
			}), []string{`got "[]\n"`}, 0, false},
		{ruleResults, "masks what is not ASCII, in place", "Export/returns every byte",
			changeAnswers(func(_ request, a *answer) {
				for i, b := range a.export {
					a.export[i] = b & 0x7f
				}
			}), []string{"Export returned"}, 0, false},
		{ruleResults, "makes DOS line endings Unix ones", "Export/returns every byte",
			changeAnswers(func(_ request, a *answer) {
				a.export = []byte(strings.ReplaceAll(string(a.export), "\r\n", "\n"))
			}), []string{"Export returned"}, 0, false},
		{ruleSize, "truncates an export at 4 MB", "Export/returns 4 MiB",
			changeAnswers(func(_ request, a *answer) { a.export = a.export[:min(4_000_000, len(a.export))] }), []string{"Export returned", "…"}, 0, false},
	}
	for _, method := range []string{"AllServices", "SomeServices"} {
		rows = append(rows,
			brokenTransport{ruleSize, "limits the size of what " + method + " returns", method + "/returns 4 MiB",
				changeAnswers(func(_ request, a *answer) {
					size := 0
					for _, s := range a.services {
						size += len(s.Status)
					}
					if size > 4_000_000 {
						*a = answer{err: errors.New("max_payload exceeded")}
					}
				}), []string{"max_payload exceeded"}, 0, false},
			brokenTransport{ruleStrings, "has " + method + " cut IDs at what is not UTF-8", method + "/returns or refuses what is not UTF-8",
				changeServices(func(s *Service) { s.ID = flux.ServiceID(strings.ToValidUTF8(string(s.ID), "")) }), []string{method + " returned the services"}, 0, false},
			brokenTransport{ruleStrings, "has " + method + " lose a status that is not UTF-8", method + "/returns or refuses what is not UTF-8",
				changeServices(func(s *Service) { s.Status = strings.ToValidUTF8(s.Status, "") }), []string{method + " returned the services"}, 0, false})
	}
	return rows
}

func brokenCalls() []brokenTransport {
	var rows []brokenTransport
	for i, method := range methods {
		rows = append(rows, brokenTransport{ruleLast, "leaves what it had decoded before for " + method, method + "/answers each call anew", func(mock Platform) Platform {
			var last answer
			return &adapter{func(r request) answer {
				a := r.send(mock)
				switch {
				case i%2 == 0 && a.err == nil && last.err != nil: // an error that stays
					a.err = last.err
				case len(a.export) < len(last.export):
					a.export = append(a.export, last.export[len(a.export):]...)
				case a.version == "":
					a.version = last.version
				case len(a.services) < len(last.services):
					a.services = last.services
				}
				if i%2 == 1 && a.err == nil {
					a.err = last.err
				}
				last = a
				return a
			}}
		}, []string{method + " "}, 0, false})
		if writes(method) {
			continue
		}
		rows = append(rows, brokenTransport{ruleRead, "answers " + method + " itself after the first time", method + "/reaches the platform", func(mock Platform) Platform {
			answered := map[string]bool{}
			return &adapter{func(r request) answer {
				if answered[r.method] {
					return answer{}
				}
				answered[r.method] = true
				return r.send(mock)
			}}
		}, []string{"got []", fmt.Sprintf("want [%q]", method)}, 0, false})
	}
	for _, method := range []string{"Apply", "Sync"} {
		again := func(name string, when func(error) bool) {
			rows = append(rows, brokenTransport{ruleWrite, "repeats " + method + " " + name, method + "/is made once", intercept(func(next Platform, r request) answer {
				a := r.send(next)
				if writes(r.method) && when(a.err) {
					return r.send(next)
				}
				return a
			}), []string{fmt.Sprintf("got [%q %q]", method, method), fmt.Sprintf("want [%q]", method)}, 0, false})
		}
		again("always", func(error) bool { return true })
		again("after an error", func(err error) bool { return err != nil })
		again("after a lost connection", func(err error) bool { return errors.Is(err, ErrPlatformNotAvailable) })
		again("after a conflict", func(err error) bool { return err != nil && strings.Contains(err.Error(), "try again") })
		again("after a time-out", func(err error) bool { return err != nil && strings.Contains(err.Error(), "deadline") })
		again("after a FatalError", func(err error) bool { _, ok := AsFatal(err); return ok })
	}
	return append(rows,
		brokenTransport{ruleLast, "decodes into the services of the answer before", "AllServices/answers each call anew", func(mock Platform) Platform {
			var last []Service
			return &adapter{func(r request) answer {
				a := r.send(mock).clone()
				for i := range min(len(last), len(a.services)) {
					s := &a.services[i]
					s.ID, s.Status = cmp.Or(s.ID, last[i].ID), cmp.Or(s.Status, last[i].Status)
					if len(s.Containers.Containers) == 0 {
						s.Containers = last[i].Containers
					}
					if len(s.Metadata) == 0 {
						s.Metadata = last[i].Metadata
					}
				}
				if a.services != nil {
					last = a.services
				}
				return a
			}}
		}, []string{"AllServices returned the services"}, 0, false},
		brokenTransport{ruleRead, "asks for all services in place of some", "SomeServices/reaches the platform", intercept(func(next Platform, r request) answer {
			if r.method == "SomeServices" {
				r.method = "AllServices"
			}
			return r.send(next)
		}), []string{`got ["AllServices"]`, `want ["SomeServices"]`}, 0, false},
		brokenTransport{ruleRead, "exports before each Version", "Version/reaches the platform", intercept(func(next Platform, r request) answer {
			if r.method == "Version" {
				_, _ = next.Export()
			}
			return r.send(next)
		}), []string{`got ["Export" "Version"]`}, 0, false},
		brokenTransport{ruleWrite, "exports instead of syncing", "Sync/is made once", intercept(func(next Platform, r request) answer {
			if r.method == "Sync" {
				_, err := next.Export()
				return answer{err: err}
			}
			return r.send(next)
		}), []string{`got ["Export"]`}, 0, false},
		brokenTransport{ruleWrite, "returns before Sync has ended", "Sync/is made once", func(mock Platform) Platform {
			var later []request
			return &adapter{func(r request) answer {
				for _, r := range later {
					r.send(mock)
				}
				later = nil
				if r.method == "Sync" {
					later = append(later, r)
					return answer{}
				}
				return r.send(mock)
			}}
		}, []string{"got []", `want ["Sync"]`}, 0, false},
		brokenTransport{ruleRead, "opens a circuit breaker", "Failures/do not stop later calls", func(mock Platform) Platform {
			failed := 0
			return &adapter{func(r request) answer {
				if failed > 50 {
					return answer{err: UnavailableError(errors.New("circuit breaker is open"))}
				}
				a := r.send(mock)
				if failed++; a.err == nil {
					failed = 0
				}
				return a
			}}
		}, []string{"call no. 52 in a row that fails", "circuit breaker is open"}, 0, false},
		brokenTransport{ruleRead, "stays away after an UnavailableError", "Failures/do not stop later calls", func(mock Platform) Platform {
			lost := false
			return &adapter{func(r request) answer {
				if lost {
					return answer{err: UnavailableError(errors.New("lost"))}
				}
				a := r.send(mock)
				lost = errors.Is(a.err, ErrPlatformNotAvailable)
				return a
			}}
		}, []string{"in a row that fails", "lost"}, 0, false},
	)
}

func dropLast[T any](s []T) []T { return s[:max(0, len(s)-1)] }

// lossy replaces bytes that are not UTF-8, as encoding/json does in strings.
func lossy(b []byte) []byte { return []byte(strings.ToValidUTF8(string(b), "\uFFFD")) }
