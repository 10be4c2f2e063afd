package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// A shown collects what a Cluster shows to others: its log, its events, its spans, its errors
// and what is in them.
type shown struct{ lockedBuffer }

func (s *shown) event(e kubernetes.Event) {
	fmt.Fprintf(s, "event %s %s %s", e.Object, e.Result, e.Progress)
	s.error(e.Err)
}

func (s *shown) error(err error) {
	if err == nil {
		return
	}
	fmt.Fprintf(s, "error %v %+v\n", err, err)
	var status *apierrors.StatusError
	if errors.As(err, &status) {
		fmt.Fprintf(s, "status %v %#v\n", status, status.ErrStatus)
		if status.ErrStatus.Details != nil {
			fmt.Fprintf(s, "causes %v\n", status.ErrStatus.Details.Causes)
		}
	}
}

// ExportSpans collects spans.
func (s *shown) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		fmt.Fprintf(s, "span %s %v %v %v\n", span.Name(), span.Attributes(), span.Status(), span.Events())
	}
	return nil
}

// Shutdown does nothing.
func (s *shown) Shutdown(context.Context) error { return nil }

// shows returns a Cluster, and what it shows.
func (w env) shows(t *testing.T) (platform.Platform, *shown) {
	t.Helper()
	s := &shown{}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(s))
	return platform.Trace(w.as(t, w.cp.Config(), kubernetes.Options{
		Namespace: w.namespace, Logger: slog.New(slog.NewTextHandler(s, nil)), Events: s.event, TracerProvider: provider,
	}), provider), s
}

// secretWord is the value that nothing may show, in any of its forms.
const secretWord = "correct-horse"

var secretForms = regexp.MustCompile(`(?i)correct.horse|48151623|` + base64.StdEncoding.EncodeToString([]byte(secretWord)) + `|` + base64.StdEncoding.EncodeToString([]byte("48151623")))

// What is wrong with a Secret, or with what starts a container, is told by path and reason,
// without a value: not in an error, not in what it wraps, not in an event, not in the log.
func TestNoSecretIsShown(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	secret := func(rest string) string { return "apiVersion: v1\nkind: Secret\nmetadata: {name: vault}\n" + rest }
	pod := func(rest string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: main, image: 'example.com/x:1', " + rest + "}]}"
	}
	for _, c := range []struct{ name, definition, says string }{
		{"a number in stringData", secret("stringData: {pin: 48151623, word: correct-horse}"), ".stringData.pin"},
		{"a list in stringData", secret("stringData: {pin: [correct-horse, 48151623]}"), ".stringData.pin"},
		{"a map in stringData", secret("stringData: {pin: {a: 'correct-horse}'}}"), ".stringData.pin"},
		{"a boolean beside", secret("stringData: {pin: true, word: correct-horse}"), ".stringData.pin"},
		{"a string for stringData", secret("stringData: correct-horse"), ".stringData"},
		{"no base64", secret("data: {word: 'correct-horse!'}"), "base64"},
		{"a number in data", secret("data: {word: 48151623}"), "data"},
		{"a key that is none", secret("stringData: {'bad/key': correct-horse}"), "bad/key"},
		{"a field that is none", secret("data: {}\nstringdata: {word: correct-horse}"), "stringdata"},
		{"a type that lacks a key", secret("type: kubernetes.io/tls\nstringData: {tls.key: correct-horse}"), "tls.crt"},
		{"a pull secret that is none", secret("type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{correct-horse'}"), ".dockerconfigjson"},
		{"an annotation", "apiVersion: v1\nkind: Secret\nmetadata: {name: vault, annotations: {a: 48151623}}\nstringData: {word: correct-horse}", ".metadata.annotations"},
		{"an anchor that is none", secret("stringData: {word: *correct-horse}"), "unknown anchor"},
		{"a tag that does not fit", secret("stringData: {word: !!int correct-horse}"), "!!int"},
		{"a tag for bytes", secret("stringData: {word: !!binary correct-horse}"), "base64"},
		{"a map for a key", secret("stringData: {? {correct-horse: 48151623} : a}"), "invalid map key"},
		{"nothing but the value", "correct-horse", "want an object"},
		{"a list of the value", "[correct-horse]", "want an object"},
		{"bytes that are no text", secret("stringData: {word: \"correct-horse\\xff\xff\"}"), "UTF-8"},
		{"environment, a number", pod("env: [{name: A, value: 48151623}]"), ".value"},
		{"environment, twice", pod("env: [{name: A, value: correct-horse}, {name: A, value: [correct-horse]}]"), "env"},
		{"arguments, a map", pod("args: [{a: correct-horse}]"), "args"},
		{"arguments, a number", pod("args: ['--word=correct-horse', 48151623]"), "args"},
		{"a command, a string", pod("command: correct-horse"), "command"},
		{"a config map's data", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {word: [correct-horse]}", ".data.word"},
		{"a template for a string", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, template: correct-horse}", ".spec.template"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster, shown := w.shows(t)
			err := cluster.Sync(def(apply("a", c.definition)))
			shown.error(err)
			for id, entry := range asSyncError(t, err) {
				shown.error(entry)
				assert.Contains(t, entry.Error(), c.says, id)
			}
			all := shown.take()
			assert.NotRegexp(t, secretForms, all)
			assert.Contains(t, all, "span platform.Sync")
		})
	}
}

func asSyncError(t *testing.T, err error) platform.SyncError {
	t.Helper()
	var failed platform.SyncError
	require.ErrorAs(t, err, &failed)
	return failed
}

// A field that cannot be changed is named, with what helps, and without the template; and the
// log of an object that is made again holds nothing of it.
func TestNoTemplateIsShown(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	job := `apiVersion: batch/v1
kind: Job
metadata: {name: x-loader}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: main, image: "example.com/loader:1", args: ['--pin=48151623'], env: [{name: DB_PASSWORD, value: correct-horse}]}]}`
	changed := strings.Replace(job, "loader:1", "loader:2", 1)
	cluster, shown := w.shows(t)
	require.NoError(t, cluster.Sync(def(apply("job", job))))
	err := cluster.Sync(def(apply("job", changed)))
	shown.error(err)
	text := syncErrors(t, err)["job"]
	assert.Contains(t, text, "spec.template: Invalid value: ")
	assert.Contains(t, text, "field is immutable")
	assert.Contains(t, text, "platform/recreate")
	require.NoError(t, cluster.Sync(def(apply("job", recreatable(changed)))))
	all := shown.take()
	assert.Contains(t, all, "recreate an object that cannot be changed")
	assert.NotRegexp(t, secretForms, all)
	assert.NotContains(t, all, "loader:2")
}

// A policy may quote what it likes of what it is shown.
func TestNoSecretIsShownByAPolicy(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules: [{apiGroups: [''], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [secrets]}]
  validations:
  - expression: "false"
    messageExpression: "'word is ' + string(object.data.word) + ' of ' + object.metadata.name"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`, w.namespace)
	require.NoError(t, w.Sync(def(apply("policy", policy))))
	w.removedAtEnd(t, policy)
	secrets := w.client.CoreV1().Secrets(w.namespace)
	definition := "apiVersion: v1\nkind: Secret\nmetadata: {name: vault}\nstringData: {word: correct-horse}"
	require.Eventually(t, func() bool {
		kind, patch := mergePatch(t, map[string]any{"data": map[string]string{"word": "YQ=="}})
		_, err := secrets.Patch(t.Context(), "probe", kind, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsNotFound(err) {
			require.NoError(t, w.Sync(def(apply("probe", strings.Replace(definition, "vault", "probe", 1)))))
		}
		return apierrors.IsInvalid(err) || apierrors.IsForbidden(err)
	}, testLimit, testTick, "it comes into force")
	cluster, shown := w.shows(t)
	err := cluster.Sync(def(apply("a", definition)))
	shown.error(err)
	assert.Contains(t, syncErrors(t, err)["a"], "word is (hidden) of vault")
	assert.NotRegexp(t, secretForms, shown.take())
}

// An error is short and on one line, whatever it quotes: of this process, of the parser, of
// the API server.
func TestErrorsAreBounded(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	long := strings.Repeat("x\x1b", 1<<20)
	cluster, _ := w.recorded(t, kubernetes.Options{}, nil)
	err := cluster.Sync(def(
		apply("kind", "apiVersion: v1\nkind: "+fmt.Sprintf("%q", long)+"\nmetadata: {name: a}"),
		apply("name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+fmt.Sprintf("%q", long)+"}"),
		apply("namespace", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: "+fmt.Sprintf("%q", long)+"}"),
		apply("key", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {"+fmt.Sprintf("%q", long[:500_000])+": []}"),
		apply("label", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {a: "+fmt.Sprintf("%q", long[:500_000])+"}}"),
	))
	for id, text := range syncErrors(t, err) {
		assert.LessOrEqual(t, len(text), 4<<10, id)
		assert.NotRegexp(t, `[\x00-\x1f]`, text, id)
	}
	_, err = cluster.AllServices(long, nil)
	require.Error(t, err)
	assert.LessOrEqual(t, len(err.Error()), 4<<10)
	assert.False(t, bytes.ContainsAny([]byte(err.Error()), "\n\x1b"))
}

// What the API server, a policy or a container's runtime says of what is there already is
// shown without it too.
func TestNoLiveSecretIsShown(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: main, image: 'example.com/x:1', args: [ARG], env: [{name: A, value: ARG}]}]}"
	cluster, shown := w.shows(t)
	require.NoError(t, cluster.Sync(def(apply("p", strings.ReplaceAll(pod, "ARG", secretWord)))))
	err := cluster.Sync(def(apply("p", strings.ReplaceAll(pod, "ARG", "another"))))
	shown.error(err)
	assert.Contains(t, syncErrors(t, err)["p"], "Forbidden: pod updates may not change fields other than")
	assert.NotRegexp(t, secretForms, shown.take())

	// What is called secrets, or has a value that the API server's words have too, is told as ever.
	plain := strings.NewReplacer("{port: 80}", "{port: 80, nodePort: 80}", "spec:", "spec:\n  type: NodePort").Replace(service("secrets", "web"))
	words := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: nowhere-at-all}\ndata: {k: namespaces, x: found}"
	got := syncErrors(t, cluster.Sync(def(apply("service", plain), apply("words", words))))
	assert.Contains(t, got["service"], "Invalid value: 80")
	assert.Contains(t, got["words"], `namespaces "nowhere-at-all" not found`)

	// A field that cannot be changed is known for that, whatever the text holds.
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x-words}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'example.com/x:1', args: [immutable, value, changed]}]}}}"
	require.NoError(t, cluster.Sync(def(apply("job", job))))
	require.NoError(t, cluster.Sync(def(apply("job", recreatable(strings.Replace(job, "x:1", "x:2", 1))))))
}

// Warnings are in the log, without what they quote.
func TestNoSecretIsShownByAWarning(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	shown := &shown{}
	options := kubernetes.Options{Namespace: w.namespace, Logger: slog.New(slog.NewTextHandler(shown, nil))}
	cluster, _ := w.recorded(t, options, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err == nil && r.Method == http.MethodPatch {
			response.Header.Add("Warning", fmt.Sprintf(`299 - "word is %s of vault"`, base64.StdEncoding.EncodeToString([]byte(secretWord))))
		}
		return response, err
	})
	require.NoError(t, cluster.Sync(def(apply("a", "apiVersion: v1\nkind: Secret\nmetadata: {name: vault}\nstringData: {word: correct-horse}"))))
	log := shown.take()
	assert.Contains(t, log, "word is (hidden) of vault")
	assert.NotRegexp(t, secretForms, log)
}
