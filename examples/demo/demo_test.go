package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// childVariable makes this test binary run the demo.
const childVariable = "DEMO_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "1" {
		main()
		os.Exit(0)
	}
	code := controlplane.Main(m)
	os.RemoveAll(built.dir)
	os.Exit(code)
}

// built holds the demo and the programs that it starts.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func builtPrograms(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "demo-programs-"); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-race", "-o", built.dir, ".", "../../cmd/platform").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return built.dir
}

// TestStory uses the shared control plane as a foreign cluster whose user agrees. It covers
// the whole story, including the question before it and the clean-up after it.
func TestStory(t *testing.T) {
	cp := controlplane.Require(t)
	t.Run("standalone", func(t *testing.T) {
		runStory(t, cp, options{kubeconfig: cp.Kubeconfig(), standalone: true}, "", "", "A daemon within this process cannot be killed")
	})
	t.Run("programs", func(t *testing.T) {
		runStory(t, cp, options{kubeconfig: cp.Kubeconfig(), programs: builtPrograms(t)},
			"GET /v1/instances/east: 503 Service Unavailable", "It stays idle, and is not healthy", `! instance "east": Ping: no daemon is connected`, `"daemon 1 of west" answers`, `"daemon 3 of east" answers`)
	})
}

func runStory(t *testing.T, cp *controlplane.ControlPlane, o options, unavailable, kicked string, killed ...string) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), &out, strings.NewReader("y\n"), o)
	require.NoError(t, err, "after:\n%s", &out)

	rest := out.String()
	for _, want := range slices.Concat([]string{ // in this order
		"make the namespace platform-demo",
		"make the CustomResourceDefinition " + kindName + ", cluster-wide",
		"Go on? [y/N]",
		`! instance "east": `, "no daemon is connected",
		"| Cannot contact the cluster",
		unavailable,
		`"daemon 1 of east" answers`, `"daemon 1 of west" answers`,
		"East gets 25 objects from 8 files", "25 to add, 0 to change",
		"platform-demo/frontend   nginx:1.27           ready",
		"platform-demo/frontend   nginx:1.28           ready",
		"platform-demo/frontend   nginx:does-not-exist stalled: ProgressDeadlineExceeded",
		"ImagePullBackOff",
		"| Error from the cluster",
		"the user pressed Cancel",
		"The daemon has ended its work on it too",
		"0 to add, 2 to change, 0 to delete, 22 unchanged, 1 unseen",
		"-        image: httpd:does-not-exist", "+        image: httpd:2.4",
		"-      - image: nginx:does-not-exist", "+      - image: nginx:1.28",
		"+  token: '***'",
		"platform-demo/frontend   nginx:1.28           ready",
		"0 to change, 4 to delete, 20 unchanged, 1 unseen",
		"- platform-demo:deployment/worker",
		"another tool has made beside them is still there",
		"Export gives the same as before", "21 unchanged",
		"The same files for west", "21 to add, 0 to change", "All of them are ready",
		"a newer subscription for the same instance",
		kicked,
		`"daemon 2 of east" answers`,
		"flux_bus_kick_total",
		`flux_kubernetes_objects_total{result="deleted"}                              4`,
		`flux_platform_request_duration_seconds{method="Apply",success="false"}`,
	}, killed, []string{
		"The cluster is as it was.",
		"The control planes have ended, and their files are gone.",
		"All of it went as it should",
	}) {
		_, after, found := strings.Cut(rest, want)
		require.True(t, found, "want %q in what follows:\n%s", want, rest)
		rest = after
	}
	hard := linesWith(out.String(), "   Hard: ")
	for _, line := range hard {
		assert.LessOrEqual(t, len(line), len("   ")+width+len("\n"), "%s", line)
	}
	assert.Contains(t, out.String(), "platform-demo/payments   (service has no selector)", "an excuse")
	assertNothingLeft(t, cp)
}

// An interrupted demo removes its objects from a foreign cluster.
func TestInterruptedInAForeignCluster(t *testing.T) {
	cp := controlplane.Require(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	errInterrupt := errors.New("interrupt")
	out := &trigger{at: "It rolls out", do: func() { cancel(errInterrupt) }}
	err := run(ctx, out, strings.NewReader("y\n"), options{kubeconfig: cp.Kubeconfig(), programs: builtPrograms(t)})
	require.ErrorIs(t, err, errInterrupt, "after:\n%s", &out.out)
	assert.Contains(t, out.out.String(), "The cluster is as it was.")
	assert.NotContains(t, out.out.String(), "as it should")
	assertNothingLeft(t, cp)
}

// trigger is a buffer that calls do once, when it contains a text.
type trigger struct {
	out bytes.Buffer
	at  string
	do  func()
}

func (w *trigger) Write(p []byte) (int, error) {
	w.out.Write(p)
	if w.do != nil && strings.Contains(w.out.String(), w.at) {
		w.do()
		w.do = nil
	}
	return len(p), nil
}

func TestAgreementNeedsYes(t *testing.T) {
	cp := controlplane.Require(t)
	for name, person := range map[string]io.Reader{
		"nobody there": nil,
		"no":           strings.NewReader("n\n"),
		"return":       strings.NewReader("\n"),
		"end of input": strings.NewReader(""),
		"yesterday":    strings.NewReader("yesterday\n"),
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), io.Discard, person, options{kubeconfig: cp.Kubeconfig()})
			require.ErrorIs(t, err, errNotAgreed)
			assertNothingLeft(t, cp)
		})
	}
}

// Objects that existed before the demo are not changed.
func TestExistingObjectsStay(t *testing.T) {
	cp := controlplane.Require(t)
	made, err := newDemoObjects(cp.Config())
	require.NoError(t, err)
	cluster, err := kubernetes.NewCluster(cp.Config(), kubernetes.Options{Timeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, made.remove(context.Background(), true)) })
	m, err := loadManifests(false)
	require.NoError(t, err)

	var kinds, space platform.SyncDef
	for _, action := range m.syncDef().Actions {
		switch action.ResourceID {
		case kindsFile:
			kinds.Actions = append(kinds.Actions, action)
		case "namespace.yaml":
			space.Actions = append(space.Actions, action)
		}
	}
	require.NoError(t, cluster.Sync(kinds))
	var out bytes.Buffer
	c, err := open(t.Context(), newNarrator(&out), strings.NewReader("y\n"), cp.Kubeconfig())
	require.NoError(t, err)
	assert.Contains(t, out.String(), "use the CustomResourceDefinition "+kindName+", which is there")
	without, err := loadManifests(c.hasKinds)
	require.NoError(t, err)
	assert.Len(t, without.files, len(m.files)-1)
	require.NoError(t, c.close(newNarrator(io.Discard)))
	_, hasKind, err := made.present(t.Context())
	require.NoError(t, err)
	assert.True(t, hasKind)

	require.NoError(t, cluster.Sync(space))
	err = run(t.Context(), io.Discard, strings.NewReader("y\n"), options{kubeconfig: cp.Kubeconfig(), standalone: true})
	require.Error(t, err)
	assert.Contains(t, err.Error(), "has a namespace platform-demo already")
	hasNamespace, _, err := made.present(t.Context())
	require.NoError(t, err)
	assert.True(t, hasNamespace)
}

func assertNothingLeft(t *testing.T, cp *controlplane.ControlPlane) {
	t.Helper()
	left, err := newDemoObjects(cp.Config())
	require.NoError(t, err)
	hasNamespace, hasKind, err := left.present(context.Background())
	require.NoError(t, err)
	assert.False(t, hasNamespace, "the namespace is still there")
	assert.False(t, hasKind, "the CustomResourceDefinition is still there")
}

// child returns a command that runs the demo, with an environment of its own.
func child(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childVariable+"=1", "DEMO_KUBECONFIG=")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func TestBadKubeconfig(t *testing.T) {
	nonsense := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(nonsense, []byte("apiVersion: [\n"), 0o600))
	for path, want := range map[string]string{
		"/nowhere/config": "demo: DEMO_KUBECONFIG=/nowhere/config: stat /nowhere/config: no such file or directory",
		nonsense:          "demo: DEMO_KUBECONFIG=" + nonsense + ": error loading config file",
	} {
		var stderr bytes.Buffer
		cmd := child(t, "DEMO_KUBECONFIG="+path)
		cmd.Stderr = &stderr
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Run(), &exit, path)
		assert.Equal(t, 1, exit.ExitCode())
		assert.Contains(t, stderr.String(), want)
	}
}

// Whenever the demo is interrupted or killed, no process and no file is left, neither of the
// control planes nor of the programs.
func TestNothingIsLeft(t *testing.T) {
	controlplane.Require(t) // its programs are built
	demo := filepath.Join(builtPrograms(t), "demo")
	for name, tt := range map[string]struct {
		at     string // the text after which it gets the signal
		signal os.Signal
		wants  string // in its last words
	}{
		"interrupted while the clusters start": {"start on loopback", os.Interrupt, "demo: interrupt signal received"},
		"interrupted while the service starts": {"A service starts", syscall.SIGTERM, "demo: terminated signal received"},
		"interrupted during a call":            {"nginx:does-not-exist", os.Interrupt, "demo: interrupt signal received"},
		"interrupted during the clean-up":      {"Cleaning up", os.Interrupt, ""},
		"killed at the first line":             {"1. ", os.Kill, ""},
		"killed while the clusters start":      {"", os.Kill, ""}, // see below
		"killed while a daemon starts":         {"Two daemons offer", os.Kill, ""},
		"killed during a call":                 {"nginx:does-not-exist", os.Kill, ""},
		"killed during the clean-up":           {"Cleaning up", os.Kill, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := shortTempDir(t)
			cmd := exec.CommandContext(t.Context(), demo)
			cmd.Env = append(os.Environ(), "DEMO_KUBECONFIG=", "TMPDIR="+tmp)
			send := func() { cmd.Process.Signal(tt.signal) }
			out := &trigger{at: tt.at, do: send}
			if tt.at == "" {
				out.at, out.do = "start on loopback", func() {
					go func() {
						awaitFile(t, filepath.Join(tmp, "controlplane-*", "kube-apiserver.log"))
						send()
					}()
				}
			}
			var stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = out, &stderr
			err := cmd.Run()
			if tt.signal == os.Kill || tt.wants != "" {
				require.Error(t, err, "after:\n%s", &out.out)
			}
			assert.Contains(t, stderr.String(), tt.wants)
			if tt.signal != os.Kill && tt.at != "start on loopback" {
				assert.Contains(t, out.out.String(), "The control planes have ended, and their files are gone.")
			}
			left := func() string {
				processes, err := exec.Command("ps", "axeww", "-o", "command").Output()
				require.NoError(t, err)
				entries, err := os.ReadDir(tmp)
				require.NoError(t, err)
				return fmt.Sprint(entries, linesWith(string(processes), tmp))
			}
			if tt.signal != os.Kill {
				assert.Equal(t, "[] []", left(), "at the end of the process")
				return
			}
			require.Eventually(t, func() bool { return left() == "[] []" }, watchLimit, watchTick, "%s", "of what a killed demo leaves")
		})
	}
}

// shortTempDir returns a temporary folder for control planes: the path of t.TempDir is too long
// for a socket on some systems. It is in the environment of whatever runs there.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "demo-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func awaitFile(t *testing.T, pattern string) {
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
	}
}

// linesWith returns the lines of text that contain part.
func linesWith(text, part string) (found []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

func TestArguments(t *testing.T) {
	var stderr bytes.Buffer
	cmd := child(t)
	cmd.Args = append(cmd.Args, "standalone")
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Run(), &exit)
	assert.Equal(t, 2, exit.ExitCode())
	assert.Contains(t, stderr.String(), `demo: it takes no arguments, and has ["standalone"]`)
}

// A program that ends by itself ends the story, with an error that quotes its log.
func TestProgramEnds(t *testing.T) {
	cp := controlplane.Require(t)
	folder := t.TempDir()
	script := "#!/bin/sh\nif [ \"$1\" = service ]; then exec " + filepath.Join(builtPrograms(t), "platform") + " \"$@\"; fi\necho there is no reason >&2; exit 3\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "platform"), []byte(script), 0o700))
	err := run(t.Context(), io.Discard, strings.NewReader("y\n"), options{kubeconfig: cp.Kubeconfig(), programs: folder})
	require.ErrorContains(t, err, "daemon-1 ended unexpectedly: exit status 3")
	require.ErrorContains(t, err, "there is no reason")
	err = run(t.Context(), io.Discard, strings.NewReader("y\n"), options{kubeconfig: cp.Kubeconfig(), programs: t.TempDir()})
	require.ErrorContains(t, err, "make demo and make fleet build it")
	assertNothingLeft(t, cp)
}

func TestManifests(t *testing.T) {
	m, err := loadManifests(false)
	require.NoError(t, err)
	imageLine := regexp.MustCompile(`(?m)^\s*(?:- )?image: (.*)$`)
	for _, f := range m.files {
		for _, object := range mustParse([]byte(f.text)) {
			assert.NotEqual(t, "PersistentVolumeClaim", object.GetKind(), "nothing provisions volumes")
			if kind := object.GetKind(); kind != "Namespace" && kind != "CustomResourceDefinition" {
				assert.Equal(t, namespace, object.GetNamespace(), "%s: %s %s", f.name, kind, object.GetName())
			}
		}
		for _, match := range imageLine.FindAllStringSubmatch(f.text, -1) {
			assert.Regexp(t, `^[a-z]+:[0-9.]+$`, match[1], "%s: no registry is named", f.name)
		}
	}
	assert.Contains(t, string(m.rollout(namespace + "/api")[0].NewDefinition), "httpd:2.4")
	edited := m.with(image, missingImage).rollout(frontend)
	assert.Contains(t, string(edited[0].NewDefinition), missingImage)
	assert.NotContains(t, string(m.rollout(frontend)[0].NewDefinition), missingImage, "an edit does not change the original")
}

// The checks of the story must be able to fail.
func TestChecks(t *testing.T) {
	for _, err := range []error{
		nil,
		errors.New("boom"),
		platform.ApplyError{"platform-demo/api": errors.New(missingImage + " ImagePullBackOff")},
		platform.ApplyError{frontend: errors.New("timed out")},
	} {
		assert.Error(t, checkRolloutError(err))
	}
	assert.NoError(t, checkRolloutError(platform.ApplyError{frontend: errors.New(missingImage + ": ErrImagePull")}))

	services := []platform.Service{{ID: frontend, Status: "updating", Containers: platform.ContainersOrExcuse{Containers: []platform.Container{{Image: newerImage}}}}}
	assert.False(t, allReady(nil))
	assert.False(t, allReady(services))
	assert.False(t, isStalled(frontend)(services))
	services[0].Status = "ready"
	assert.True(t, allReady(services))
	assert.False(t, runs(frontend, image)(services))

	s := &story{narrator: newNarrator(io.Discard), ctx: t.Context(), cluster: &cluster{}}
	require.ErrorContains(t, s.checkMetrics(samples{}, 1), "the metric flux_")
	require.ErrorContains(t, s.checkVersion(&platform.MockPlatform{VersionAnswer: "x"}, "y"), `got "x", want "y"`)

	done := make(chan error, 1)
	done <- errors.New("boom")
	require.ErrorContains(t, s.checkKicked(subscription(done)), "was not kicked: boom")
	done <- platform.ErrKicked
	require.ErrorIs(t, subscription(done).checkOffered(), platform.ErrKicked)

	m, err := loadManifests(false)
	require.NoError(t, err)
	one := exported{own: mustParse([]byte(m.files[0].text))}
	other := exported{own: mustParse([]byte(m.with(namespace, "elsewhere").files[0].text))}
	assert.NoError(t, sameExport(one, one))
	assert.Error(t, sameExport(one, other))
	assert.Error(t, sameExport(one, exported{}))
}
