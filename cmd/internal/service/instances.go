package service

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
	"github.com/platformbus/platform/flux"
)

// statusOf calls Version, which the daemon answers, and Ping, which the cluster answers.
func statusOf(instance flux.InstanceID, p platform.Platform) (jsonform.Instance, error) {
	s := jsonform.Instance{Instance: instance}
	version, err := p.Version()
	if err == nil {
		s.Connected, s.Version = true, version
		err = p.Ping()
	}
	if err != nil {
		s = withProblem(s, withHelp(err))
	}
	return s, err
}

// withProblem returns the state of an instance with an error.
func withProblem(s jsonform.Instance, err error) jsonform.Instance {
	p := problemOf(err)
	s.Error, s.Help = p.Error, p.Help
	return s
}

func (a *api) status(w http.ResponseWriter, r *http.Request, p platform.Platform, _ *chunks) {
	s, err := statusOf(flux.InstanceID(r.PathValue("instance")), p)
	if err != nil {
		answer(w, statusCode(err), s)
		return
	}
	answer(w, http.StatusOK, s)
}

// list lists the instances of the settings. Only those of the page are asked for their state,
// unless the page depends on it.
func (a *api) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wanted, err0 := boolean(query, "connected")
	p, err1 := pageOf(query, "instances")
	for _, err := range []error{err0, err1} {
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
	}
	ids := slices.DeleteFunc(slices.Clone(a.instances), func(id flux.InstanceID) bool { return !strings.HasPrefix(string(id), query.Get("prefix")) })
	var statuses []jsonform.Instance
	var following rest
	if query.Has("connected") {
		statuses = slices.DeleteFunc(a.statuses(r.Context(), ids), func(s jsonform.Instance) bool { return s.Connected != wanted })
		statuses, following = cut(statuses, p, func(s jsonform.Instance) string { return string(s.Instance) })
	} else {
		ids, following = cut(ids, p, func(id flux.InstanceID) string { return string(id) })
		statuses = a.statuses(r.Context(), ids)
	}
	answer(w, http.StatusOK, struct {
		Instances []jsonform.Instance `json:"instances"`
		rest
	}{statuses, following})
}

// statusLimit bounds the time of an instance in a list, since the others wait for it.
const statusLimit = 10 * time.Second

// statuses asks instances for their states, all at once.
func (a *api) statuses(ctx context.Context, ids []flux.InstanceID) []jsonform.Instance {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	statuses := make([]jsonform.Instance, len(ids))
	var asking sync.WaitGroup
	for i, instance := range ids {
		asking.Go(func() {
			release, err := a.probes.acquire(instance)
			if err != nil {
				statuses[i] = withProblem(jsonform.Instance{Instance: instance}, err)
				return
			}
			defer release()
			p, err := a.connect(ctx, instance)
			if err != nil {
				statuses[i] = withProblem(jsonform.Instance{Instance: instance}, err)
				return
			}
			statuses[i], _ = statusOf(instance, p) // the error is in the status
		})
	}
	asking.Wait()
	return statuses
}
