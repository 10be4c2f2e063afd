package flux_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
)

func TestParseServiceID(t *testing.T) {
	for _, bad := range []string{"", "/", "web", "/web", "default/", "default/web/", "a/b/c", "//"} {
		_, err := flux.ParseServiceID(bad)
		require.Error(t, err, "ParseServiceID(%q)", bad)
		assert.Contains(t, err.Error(), fmt.Sprintf("%q", bad), "the error names the ID")
	}
	id, err := flux.ParseServiceID("default/web")
	require.NoError(t, err)
	namespace, name := id.Components()
	assert.Equal(t, "default", namespace)
	assert.Equal(t, "web", name)
	assert.Equal(t, id, flux.MakeServiceID("default", "web"))
	assert.Equal(t, "default/web", id.String())
}

func TestComponentsNeverPanics(t *testing.T) {
	for id, want := range map[flux.ServiceID][2]string{
		"":      {"", ""},
		"web":   {"", "web"},
		"/web":  {"", "web"},
		"a/b/c": {"a", "b/c"},
	} {
		namespace, name := id.Components()
		assert.Equal(t, want, [2]string{namespace, name}, "Components of %q", id)
	}
}

func FuzzServiceID(f *testing.F) {
	f.Add("default/web")
	f.Add("a//b")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := flux.ParseServiceID(s)
		if err != nil {
			return
		}
		namespace, name := id.Components()
		if namespace == "" || name == "" || flux.MakeServiceID(namespace, name) != id {
			t.Errorf("ParseServiceID(%q) accepted %q, %q", s, namespace, name)
		}
	})
}

func TestServiceIDSet(t *testing.T) {
	var set flux.ServiceIDSet
	assert.False(t, set.Contains("a/b"), "the nil set is empty")
	assert.Equal(t, "{}", set.String())
	assert.Equal(t, flux.ServiceIDs{}, set.ToSlice())
	assert.Equal(t, flux.ServiceIDSet{}, set.Without(nil))
	assert.Equal(t, flux.ServiceIDSet{}, set.Intersection(nil))

	set.Add([]flux.ServiceID{"b/2", "a/1", "c/3", "a/1"})
	assert.Equal(t, "{a/1, b/2, c/3}", set.String())
	assert.Equal(t, flux.ServiceIDs{"a/1", "b/2", "c/3"}, set.ToSlice())

	others := flux.ServiceIDSet{"b/2": {}, "z/9": {}}
	assert.Equal(t, "{a/1, c/3}", set.Without(others).String())
	assert.Equal(t, "{b/2}", set.Intersection(others).String())
	assert.Equal(t, set, set.Without(nil))
	assert.Equal(t, flux.ServiceIDSet{}, set.Intersection(nil), "a nil set is empty, and no wildcard")
	assert.Equal(t, flux.ServiceIDSet{}, flux.ServiceIDSet(nil).Intersection(set))
	assert.Equal(t, "{a/1, b/2, c/3}", set.String(), "set operations do not change their operands")
}

func TestServiceIDSetIsAnObjectInJSON(t *testing.T) {
	data, err := json.Marshal(flux.ServiceIDSet{"b/2": {}, "a/1": {}})
	require.NoError(t, err)
	assert.Equal(t, `{"a/1":{},"b/2":{}}`, string(data))
	for _, set := range []flux.ServiceIDSet{nil, {}, {"a/1": {}, "b/2": {}}} {
		data, err := json.Marshal(set)
		require.NoError(t, err)
		var back flux.ServiceIDSet
		require.NoError(t, json.Unmarshal(data, &back))
		assert.Equal(t, set, back, "nil and empty stay distinct")
	}
}

func TestServiceIDs(t *testing.T) {
	ids := flux.ServiceIDs{"c/3", "a/1", "b/2"}
	assert.True(t, ids.Contains("a/1"))
	assert.False(t, ids.Contains("a/2"))
	assert.Equal(t, flux.ServiceIDs{"c/3", "b/2"}, ids.Without(flux.ServiceIDSet{"a/1": {}}))
	assert.Equal(t, flux.ServiceIDs{"a/1"}, ids.Intersection(flux.ServiceIDSet{"a/1": {}}))
	assert.Equal(t, ids, ids.Without(nil))
	assert.Equal(t, flux.ServiceIDs{}, ids.Intersection(nil), "a nil set is empty, and no wildcard")
	assert.Equal(t, flux.ServiceIDs{"c/3", "a/1", "b/2"}, ids, "set operations do not change their operands")
	sort.Sort(sort.Reverse(ids))
	assert.Equal(t, flux.ServiceIDs{"c/3", "b/2", "a/1"}, ids)
	ids.Sort()
	assert.Equal(t, flux.ServiceIDs{"a/1", "b/2", "c/3"}, ids)
}

func TestHelpfulErrors(t *testing.T) {
	cause := errors.New("boom")
	base := &flux.BaseError{Help: "Turn it off and on again.", Err: cause}
	for _, err := range []flux.HelpfulError{base, flux.UserConfigProblem{base}, flux.ServerException{base}, flux.Missing{base}} {
		t.Run(fmt.Sprintf("%T", err), func(t *testing.T) {
			assert.Equal(t, "boom", err.Error())
			assert.ErrorIs(t, err, cause)
			assert.Equal(t, base, err.Base())
			assert.Equal(t, cause, flux.UnderlyingError(err))

			data, merr := json.Marshal(err)
			require.NoError(t, merr)
			assert.JSONEq(t, `{"help":"Turn it off and on again.","error":"boom"}`, string(data))
		})
	}
	assert.Equal(t, cause, flux.UnderlyingError(cause))
	assert.NoError(t, flux.UnderlyingError(nil))
	assert.Equal(t, cause, flux.UnderlyingError(flux.Missing{&flux.BaseError{Err: flux.ServerException{base}}}), "nested helpful errors")
}

func TestHelpfulErrorsUnmarshalJSON(t *testing.T) {
	const wire = `{"help":"h","error":"boom"}`
	var (
		user    flux.UserConfigProblem
		server  flux.ServerException
		missing flux.Missing
		base    flux.BaseError
	)
	for _, err := range []flux.HelpfulError{&user, &server, &missing, &base} {
		require.NoError(t, json.Unmarshal([]byte(wire), err))
		assert.Equal(t, "boom", err.Error())
		assert.Equal(t, "h", err.Base().Help)
		assert.Error(t, json.Unmarshal([]byte(`[]`), err))
	}
	require.NoError(t, json.Unmarshal([]byte(`{"help":"h"}`), &user))
	assert.NoError(t, user.Unwrap(), "no cause stays no cause")
}

// Clients rely on both fields, and services marshal values as well as pointers.
func TestHelpfulErrorsInJSON(t *testing.T) {
	base := flux.BaseError{Err: errors.New("boom")}
	for _, v := range []any{
		base, &base, flux.UserConfigProblem{&base}, &flux.UserConfigProblem{&base}, flux.ServerException{&base}, flux.Missing{&base},
		*base.Matching(errors.New("a sentinel")),
	} {
		data, err := json.Marshal(v)
		require.NoError(t, err, "%T", v)
		assert.Equal(t, `{"help":"","error":"boom"}`, string(data), "%T", v)
	}
	for _, v := range []any{flux.BaseError{}, flux.UserConfigProblem{}, flux.ServerException{}, flux.Missing{}} {
		data, err := json.Marshal(v)
		require.NoError(t, err, "%T", v)
		assert.Equal(t, `{"help":"","error":""}`, string(data), "%T", v)
	}
}

func TestMatching(t *testing.T) {
	cause, sentinel := errors.New("boom"), errors.New("a sentinel")
	plain := flux.BaseError{Help: "h", Err: cause}
	err := flux.UserConfigProblem{plain.Matching(sentinel)}
	assert.ErrorIs(t, err, sentinel)
	assert.ErrorIs(t, err, cause)
	assert.Equal(t, "boom", err.Error())
	assert.Equal(t, "h", err.Base().Help)
	assert.NotErrorIs(t, err, errors.New("a sentinel"))
	assert.NotErrorIs(t, flux.UserConfigProblem{&plain}, sentinel, "Matching returns a copy")
	assert.NotErrorIs(t, flux.UserConfigProblem{}, sentinel, "without a BaseError")
	assert.NotPanics(t, func() {
		assert.NotErrorIs(t, flux.UserConfigProblem{plain.Matching(mapError{})}, mapError{})
	}, "maps cannot be compared")
}

type mapError map[string]error

func (mapError) Error() string { return "a map" }

func TestNilCausesDoNotPanic(t *testing.T) {
	for _, err := range []flux.HelpfulError{
		(*flux.BaseError)(nil), &flux.BaseError{}, flux.UserConfigProblem{}, flux.ServerException{}, flux.Missing{},
	} {
		assert.Equal(t, "no cause given", err.Error(), "%T", err)
		assert.NoError(t, errors.Unwrap(err))
		assert.Equal(t, err, flux.UnderlyingError(err))
		_, jerr := json.Marshal(err)
		assert.NoError(t, jerr)
	}
}
