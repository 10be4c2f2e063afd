package apply

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/graph"
	"github.com/platformbus/platform/kubernetes/internal/look"
)

// installed returns an Applier for a server that does not say what it serves, and a step whose
// definition of a kind is applied.
func installed(t *testing.T, timeout time.Duration) (*Applier, *node) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(server.Close)
	client, err := api.NewClient(&rest.Config{Host: server.URL}, time.Minute, nil)
	require.NoError(t, err)
	a := New(client, look.New(client, 0), Options{WaitTimeout: timeout, Waiting: func(context.Context, *Target, string) {}})
	steps := stepsOf(t, 0, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: whys.x}\nspec: {group: x, names: {kind: Why, plural: whys}, versions: [{name: v1}]}", false)
	steps[0].phase = installing
	_, nodes := Graph(steps)
	return a, nodes[0]
}

// The limit of a wait holds also where the last answer may be another a moment later.
func TestWaitEndsAtItsLimit(t *testing.T) {
	a, n := installed(t, time.Nanosecond)
	_, _, err := a.Do(t.Context(), n)
	var again *graph.Again
	require.NotErrorAs(t, err, &again, "it does not wait any more")
	require.ErrorContains(t, err, "wait until it is established: Why in x/v1 is not served yet: the wait took longer than 1ns")
	assert.Zero(t, a.installing.Load())
}

// A definition counts among those that are waited for until its step is over, whatever ends it.
func TestInstallingCountsWhatIsWaitedFor(t *testing.T) {
	a, n := installed(t, time.Hour)
	var again *graph.Again
	for range 2 {
		_, _, err := a.Do(t.Context(), n)
		require.ErrorAs(t, err, &again)
		assert.EqualValues(t, 1, a.installing.Load())
	}
	require.ErrorIs(t, again.Ended(context.Canceled), context.Canceled)
	assert.Zero(t, a.installing.Load(), "it was waiting when the call ended")

	a, n = installed(t, time.Hour)
	_, _, err := a.Do(t.Context(), n)
	require.ErrorAs(t, err, &again)
	unlock, err := a.writing.lock(t.Context(), n.Value.Object.Key)
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = a.Do(ctx, n)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, a.installing.Load(), "it was about to go on when the call ended")
}
