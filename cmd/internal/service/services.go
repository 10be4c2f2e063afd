package service

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
	"github.com/platformbus/platform/flux"
)

// services lists the services named, or those of a namespace, or all. The other filters, and the
// page, are applied to what the cluster has answered: each page costs the whole list.
func (a *api) services(w http.ResponseWriter, r *http.Request, p platform.Platform, _ *chunks) {
	query := r.URL.Query()
	ids, err0 := serviceIDs(query["id"])
	keep, err1 := filterOf(query)
	part, err2 := pageOf(query, "services")
	for _, err := range []error{err0, err1, err2} {
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
	}
	var found []platform.Service
	var err error
	if query.Has("id") {
		found, err = p.SomeServices(ids)
	} else {
		found, err = p.AllServices(query.Get("namespace"), nil)
	}
	// A copy, since the result may be that of a mock, which is returned again.
	found = slices.DeleteFunc(slices.Clone(found), func(s platform.Service) bool { return !keep.has(s) })
	found, following := cut(found, part, func(s platform.Service) string { return string(s.ID) })
	result := map[string]any{"services": jsonform.Services(found), "remaining": following.Remaining}
	if following.Continue != "" {
		result["continue"] = following.Continue
	}
	if err != nil {
		a.fail(w, r, err, result)
		return
	}
	answer(w, http.StatusOK, result)
}

func serviceIDs(texts []string) ([]flux.ServiceID, error) {
	var ids []flux.ServiceID
	for _, text := range texts {
		id, err := flux.ParseServiceID(text)
		if err != nil {
			return nil, parameterError("id", text, "namespace/name")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// A serviceFilter says which services a request wants. All of its fields that are set must fit.
type serviceFilter struct {
	namespace, prefix, image string
	phases                   []string // one of them
}

// phases are what a status begins with, and what the parameter status names. A platform may have
// statuses of its own, which are "other".
var phases = []string{"ready", "updating", "paused", "stalled", "unknown", "other"}

func filterOf(query url.Values) (f serviceFilter, err error) {
	f = serviceFilter{query.Get("namespace"), query.Get("prefix"), query.Get("image"), query["status"]}
	for _, phase := range f.phases {
		if !slices.Contains(phases, phase) {
			return f, parameterError("status", phase, "one of "+strings.Join(phases, ", "))
		}
	}
	return f, nil
}

func (f serviceFilter) has(s platform.Service) bool {
	namespace, name := s.ID.Components()
	return (f.namespace == "" || namespace == f.namespace) &&
		strings.HasPrefix(name, f.prefix) &&
		(len(f.phases) == 0 || slices.Contains(f.phases, phaseOf(s.Status))) &&
		(f.image == "" || slices.ContainsFunc(s.ContainersOrNil(), func(c platform.Container) bool { return isImage(c.Image, f.image) }))
}

// phaseOf returns which of the phases a status belongs to: "updating: 1 of 2 updated" is
// updating. One that is scaled to zero is ready.
func phaseOf(status string) string {
	phase, _, _ := strings.Cut(status, ":")
	phase, _, _ = strings.Cut(phase, " (")
	switch {
	case phase == "scaled to zero":
		return "ready"
	case slices.Contains(phases, phase):
		return phase
	}
	return "other"
}

// isImage says whether an image is the one wanted, or a version of it.
func isImage(image, wanted string) bool {
	version, ok := strings.CutPrefix(image, wanted)
	return ok && (version == "" || version[0] == ':' || version[0] == '@')
}
