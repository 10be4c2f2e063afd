package service

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// instanceStatus is the JSON form of the current state of an instance.
type instanceStatus struct {
	Instance  flux.InstanceID `json:"instance"`
	Connected bool            `json:"connected"`
	Version   string          `json:"version,omitempty"`
	*problem
}

// statusOf calls Version, which the daemon answers, and Ping, which the cluster answers.
func statusOf(instance flux.InstanceID, p platform.Platform) (instanceStatus, error) {
	s := instanceStatus{Instance: instance}
	version, err := p.Version()
	if err == nil {
		s.Connected, s.Version = true, version
		err = p.Ping()
	}
	if err != nil {
		s.problem = problemOf(withHelp(err))
	}
	return s, err
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
	var statuses []instanceStatus
	var following rest
	if query.Has("connected") {
		statuses = slices.DeleteFunc(a.statuses(r.Context(), ids), func(s instanceStatus) bool { return s.Connected != wanted })
		statuses, following = cut(statuses, p, func(s instanceStatus) string { return string(s.Instance) })
	} else {
		ids, following = cut(ids, p, func(id flux.InstanceID) string { return string(id) })
		statuses = a.statuses(r.Context(), ids)
	}
	answer(w, http.StatusOK, struct {
		Instances []instanceStatus `json:"instances"`
		rest
	}{statuses, following})
}

// statusLimit bounds the time of an instance in a list, since the others wait for it.
const statusLimit = 10 * time.Second

// statuses asks instances for their states, all at once.
func (a *api) statuses(ctx context.Context, ids []flux.InstanceID) []instanceStatus {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	statuses := make([]instanceStatus, len(ids))
	var asking sync.WaitGroup
	for i, instance := range ids {
		asking.Go(func() {
			release, err := a.probes.acquire(instance)
			if err != nil {
				statuses[i] = instanceStatus{Instance: instance, problem: problemOf(err)}
				return
			}
			defer release()
			p, err := a.connect(ctx, instance)
			if err != nil {
				statuses[i] = instanceStatus{Instance: instance, problem: problemOf(err)}
				return
			}
			statuses[i], _ = statusOf(instance, p) // the error is in the status
		})
	}
	asking.Wait()
	return statuses
}
