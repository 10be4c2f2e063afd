package service

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// maxDeletions is the maximum of the parameter deleteBudget.
const maxDeletions = 1_000_000

// maxPlans bounds the requests whose manifests are read at a time. As objects in memory,
// manifests take a multiple of their text, which the budget of the bodies does not count; more
// requests than processors would not be faster either.
const maxPlans = 2

// A planRequest is what a plan is about.
type planRequest struct {
	def            platform.SyncDef
	options        manifest.PlanOptions
	withDefinition bool
}

func planRequestOf(query url.Values, h http.Header, body *chunks) (p planRequest, err error) {
	p.options = manifest.PlanOptions{SyncSet: query.Get("set"), Namespace: query.Get("namespace")}
	if p.options.DeleteBudget, err = number(query, "deleteBudget", 0, maxDeletions); err != nil {
		return p, err
	}
	if query.Has("deleteBudget") && p.options.DeleteBudget == 0 {
		p.options.DeleteBudget = -1 // 0 is the default to PlanOptions
	}
	for _, one := range []struct {
		name  string
		value *bool
	}{
		{"allowDeleteNamespaces", &p.options.AllowDeleteNamespaces},
		{"allowDeleteCRDs", &p.options.AllowDeleteCRDs},
		{"allowDeletePVCs", &p.options.AllowDeletePVCs},
		{"definition", &p.withDefinition},
	} {
		if *one.value, err = boolean(query, one.name); err != nil {
			return p, err
		}
	}
	p.def, err = syncDef(h, body)
	return p, err
}

// planOf plans against an Export.
func (p planRequest) planOf(export []byte) (platform.SyncDef, manifest.Report, error) {
	desired, err := manifest.Desired(p.def)
	if err != nil {
		return platform.SyncDef{}, manifest.Report{}, err
	}
	return manifest.Plan(export, desired, p.options)
}

// plan compares the manifests of a request with an Export. A plan against an empty cluster goes
// first: what is wrong with the request then costs no Export.
func (a *api) plan(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks) {
	request, err := planRequestOf(r.URL.Query(), r.Header, body)
	if err == nil {
		err = a.inTurn(r.Context(), func() error {
			if _, _, err := request.planOf(nil); err != nil {
				return badRequest{err}
			}
			return nil
		})
	}
	if err != nil {
		a.fail(w, r, err, nil)
		return
	}
	current, release, partial := a.exported(p)
	defer release()
	if partial != nil && len(current) == 0 {
		a.fail(w, r, partial, nil)
		return
	}
	var def platform.SyncDef
	var report manifest.Report
	err = a.inTurn(r.Context(), func() (err error) {
		def, report, err = request.planOf(current)
		return planError(current, err)
	})
	var overBudget *manifest.DeleteBudgetError
	switch {
	case err == nil:
		result := jsonform.Report(report)
		if request.withDefinition {
			result["definition"] = jsonform.Sync(def)
		}
		if partial != nil {
			a.fail(w, r, partial, result)
			return
		}
		answer(w, http.StatusOK, result)
	case errors.As(err, &overBudget):
		a.fail(w, r, err, jsonform.Report(report))
	default:
		a.fail(w, r, err, nil)
	}
}

// planError returns the error of a plan with its HTTP status: a conflict between the request and
// the cluster, unless the Export itself is malformed.
func planError(current []byte, err error) error {
	if err == nil {
		return nil
	}
	var overBudget *manifest.DeleteBudgetError
	if !errors.As(err, &overBudget) {
		if _, _, malformed := manifest.Plan(current, nil, manifest.PlanOptions{}); malformed != nil {
			return err
		}
	}
	return refusal{http.StatusConflict, err}
}

// inTurn calls read when fewer than maxPlans others are being read, or returns an error if ctx
// ends before.
func (a *api) inTurn(ctx context.Context, read func() error) error {
	select {
	case a.reading <- struct{}{}:
		defer func() { <-a.reading }()
		return read()
	case <-ctx.Done():
		return ctx.Err()
	}
}
