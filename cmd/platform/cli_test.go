package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// A cli runs commands for people against the instance "shop", over one of the two ways.
type cli struct {
	t   *testing.T
	env []string
}

func (c cli) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), binary(c.t), args...)
	cmd.Env = append([]string{}, c.env...) // never nil, which would be the environment of the test
	return cmd
}

// run runs a command without a terminal.
func (c cli) run(args ...string) (code int, out, failed string) {
	c.t.Helper()
	cmd := c.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		require.NoError(c.t, err)
	}
	assert.NotContains(c.t, stderr.String(), "DATA RACE")
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// ok runs a command that has to succeed, and returns what it wrote.
func (c cli) ok(args ...string) string {
	c.t.Helper()
	code, out, failed := c.run(args...)
	require.Zero(c.t, code, "%q: %s", args, failed)
	return out
}

// folder returns a folder with these files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

// The commands do the same over HTTP and over NATS.
func TestCommands(t *testing.T) {
	cp := controlplane.Require(t)
	s := startNATS(t)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("8a1f0c3d5e7b9a2c\n"), 0o600))
	service := start(t, "service", credentials("service", s.Addr()), "--instance", "shop,bank", "--token-file", token)
	startDaemon(t, s, cp.Kubeconfig(), "1.2.3").untilHealth(200, "ok")
	for name, env := range map[string][]string{
		"HTTP": {"PLATFORM_SERVER=" + service.url, "PLATFORM_TOKEN_FILE=" + token},
		"NATS": credentials("service", s.Addr()),
	} {
		t.Run(name, func(t *testing.T) {
			testCommands(t, cli{t, append(env, "PLATFORM_INSTANCE=shop")}, cp.Namespace(t))
		})
	}
}

func testCommands(t *testing.T, c cli, namespace string) {
	assert.Contains(t, c.ok("ping"), "shop answers in ")
	assert.Contains(t, c.ok("ping"), "daemon 1.2.3")
	listed := c.ok("get", "instances", "shop", "bank")
	assert.Regexp(t, `(?m)^INSTANCE +STATE +VERSION +ERROR$`, listed)
	assert.Regexp(t, `(?m)^shop +connected +1\.2\.3$`, listed)
	assert.Regexp(t, `(?m)^bank +not connected +.*no daemon is connected`, listed)

	web, deployment := app(namespace, "1")
	config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: " + namespace + "}\ndata: {a: b}\n"
	dir := folder(t, map[string]string{"web.yaml": web + "---\n" + deployment, "settings.yaml": config})
	set := []string{"--set", namespace}
	with := func(args ...string) []string { return append(args, set...) }

	// A plan shows what a sync would do, and the sync does it.
	planned := c.ok(with("plan", dir)...)
	assert.Contains(t, planned, "3 to add, 0 to change, 0 to delete")
	assert.NotContains(t, planned, "\x1b", "no colours without a terminal")
	var report map[string]any
	require.NoError(t, json.Unmarshal([]byte(c.ok(with("plan", dir, "-o", "json")...)), &report))
	assert.Len(t, report["add"], 3, "the form is the service's")
	assert.Equal(t, false, report["empty"])
	code, _, failed := c.run(with("plan", dir, "--exit-code")...)
	assert.Equal(t, program.ExitDiffers, code)
	assert.Empty(t, failed)
	assert.Contains(t, c.ok(with("sync", dir)...), "3 objects are as the folder says")
	code, planned, _ = c.run(with("plan", dir, "--exit-code")...)
	assert.Zero(t, code)
	assert.Contains(t, planned, "0 to add, 0 to change, 0 to delete, 3 unchanged")
	assert.Equal(t, "3 objects are as the folder says, 0 of them changed\n", c.ok(with("sync", dir, "--prune")...))
	assert.JSONEq(t, `{"objects": 0, "unchanged": 3, "failures": {}}`, c.ok(with("sync", dir, "--prune", "-o", "json")...))
	secret := folder(t, map[string]string{"a.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: " + namespace + "}\n"})
	code, _, _ = c.run("plan", secret, "--exit-code")
	assert.Equal(t, program.ExitDiffers, code, "an export does not name it")
	c.ok("sync", secret)
	code, planned, _ = c.run("plan", secret, "--exit-code")
	assert.Zero(t, code, "%s", planned)
	require.Eventually(t, func() bool { return strings.Contains(c.ok("get", "services", namespace+"/web"), "ready") }, limit, 50*time.Millisecond)
	assert.Regexp(t, `(?m)^`+namespace+`/web +ready +web=web:1$`, c.ok("get", "services", "-n", namespace))

	// A service that does not exist is named beside the table of those that do.
	code, found, failed := c.run("get", "services", namespace+"/web", namespace+"/nope", namespace+"/neither")
	assert.Equal(t, program.ExitFailed, code)
	assert.Contains(t, found, namespace+"/web ")
	assert.Contains(t, failed, "no such service: "+namespace+"/nope, "+namespace+"/neither")
	code, found, _ = c.run("get", "services", namespace+"/nope")
	assert.Equal(t, program.ExitFailed, code)
	assert.Empty(t, found)
	assert.Contains(t, c.ok("__complete", "set-image", ""), namespace+"/web\n")
	assert.Contains(t, c.ok("__complete", "set-image", namespace+"/web", ""), "web=\n")

	assert.Contains(t, c.ok("set-image", namespace+"/web", "web=web:2"), namespace+"/web is rolled out")
	assert.Contains(t, c.ok("get", "services", namespace+"/web"), "web=web:2")
	c.ok("set-image", namespace+"/web", "web=web:1", "--async")
	code, _, failed = c.run("set-image", namespace+"/web", "other=web:2")
	assert.Equal(t, program.ExitFailed, code)
	assert.Contains(t, failed, "other")
	code, _, failed = c.run("set-image", namespace+"/web", "web=web:2", "--instance", "bank")
	assert.Equal(t, program.ExitUnavailable, code, failed)

	// JSON and YAML say the same.
	var fromJSON, fromYAML map[string]any
	require.NoError(t, json.Unmarshal([]byte(c.ok("get", "services", "-n", namespace, "-o", "json")), &fromJSON))
	require.NoError(t, yaml.Unmarshal([]byte(c.ok("get", "services", "-n", namespace, "-o", "yaml")), &fromYAML))
	for _, result := range []map[string]any{fromJSON, fromYAML} {
		require.Len(t, result["services"], 1)
		delete(result["services"].([]any)[0].(map[string]any), "metadata") // it has the age
	}
	assert.Equal(t, fromJSON, fromYAML)

	// A change shows as a diff.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "settings.yaml"), []byte(strings.ReplaceAll(config, "a: b", "a: c")), 0o600))
	planned = c.ok(with("plan", dir)...)
	assert.Contains(t, planned, "-  a: b\n")
	assert.Contains(t, planned, "+  a: c\n")

	// Without --prune nothing is deleted; with it, not without --yes where nobody can be asked.
	require.NoError(t, os.Remove(filepath.Join(dir, "settings.yaml")))
	c.ok(with("sync", dir)...)
	code, _, failed = c.run(with("sync", dir, "--prune")...)
	assert.Equal(t, program.ExitUsage, code)
	assert.Contains(t, failed, "deletes 1 objects, and there is no terminal to ask at: give --yes")
	assert.Contains(t, c.ok("export"), "name: settings\n  namespace: "+namespace)
	code, planned, failed = c.run(with("plan", dir, "--delete-budget=-1")...)
	assert.Equal(t, program.ExitFailed, code)
	assert.Contains(t, planned, "- "+namespace+":configmap/settings", "the report shows what would be deleted")
	assert.Contains(t, failed, "the budget is 0")
	for _, answer := range []string{"n", "y"} {
		seen, _ := c.onTerminal(answer+"\n", with("sync", dir, "--prune")...)
		assert.Contains(t, seen, "Delete 1 objects? [y/N]")
		assert.Equal(t, answer == "n", strings.Contains(seen, "not confirmed: nothing is changed"), answer)
		assert.Contains(t, seen, "\x1b[31m- "+namespace+":configmap/settings", "a deletion is red")
		assert.Equal(t, answer == "y", !strings.Contains(c.ok("export"), "name: settings\n  namespace: "+namespace), answer)
	}
	assert.Contains(t, c.ok(with("sync", dir, "--prune", "--yes")...), "2 objects are as the folder says")
	code, _, failed = c.run("sync", t.TempDir())
	assert.Zero(t, code)
	assert.Contains(t, failed, "no manifests in /")

	// What fails is named, and the rest is done.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "settings.yaml"), []byte(config), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "none.yaml"), []byte("apiVersion: none.example/v1\nkind: Nothing\nmetadata: {name: a, namespace: "+namespace+"}\n"), 0o600))
	code, out, failed := c.run("sync", dir)
	assert.Equal(t, program.ExitPartly, code)
	assert.Regexp(t, `(?m)^`+namespace+`:nothing\.none\.example/a: none\.yaml:1: .*Nothing`, out)
	assert.Contains(t, failed, "platform: 1 of 4 objects failed")
	_, out, _ = c.run(with("sync", dir, "--prune", "-o", "json")...)
	assert.Contains(t, out, `nothing.none.example/a": "none.yaml:1: `)
	assert.Contains(t, c.ok("export"), "name: settings\n  namespace: "+namespace)

	code, _, failed = c.run("ping", "--instance", "bank")
	assert.Equal(t, program.ExitUnavailable, code)
	assert.Contains(t, failed, "no daemon is connected")
	assert.Contains(t, failed, "\n\n", "the help text follows")
}

// onTerminal runs a command on a terminal, types an answer to its question, and returns what it
// showed and its exit code.
func (c cli) onTerminal(typed string, args ...string) (shown string, code int) {
	c.t.Helper()
	cmd := c.command(args...)
	terminal, err := pty.Start(cmd)
	require.NoError(c.t, err)
	defer terminal.Close()
	var seen bytes.Buffer
	buf := make([]byte, 4096)
	for answered := false; ; {
		n, err := terminal.Read(buf)
		seen.Write(buf[:n])
		if !answered && bytes.Contains(seen.Bytes(), []byte("[y/N] ")) {
			_, err := terminal.WriteString(typed)
			require.NoError(c.t, err)
			answered = true
		}
		if err != nil { // the program has closed its end
			break
		}
	}
	cmd.Wait() //nolint:errcheck // whether it succeeds depends on the answer
	return seen.String(), cmd.ProcessState.ExitCode()
}

// Wrong settings are named, and reach nobody.
func TestCommandsCalledWrongly(t *testing.T) {
	for want, args := range map[string][]string{
		"neither --server":                        {"ping", "-i", "a"},
		"both set":                                {"ping", "-i", "a", "--server", "http://127.0.0.1:1", "--nats", "nats://127.0.0.1:1"},
		"@127.0.0.1:1\": want something like":     {"ping", "-i", "a", "--server", "user:hidden@127.0.0.1:1"},
		"@127.0.0.1:1\" is invalid":               {"ping", "-i", "a", "--nats", "user:hidden@127.0.0.1:1"},
		"--timeout is 0s":                         {"ping", "-i", "a", "--server", "http://127.0.0.1:1", "--timeout", "0"},
		"a limit is negative":                     {"ping", "-i", "a", "--nats", "nats://127.0.0.1:1", "--bus-beat=-1s"},
		`unknown command "service" for`:           {"get", "service"},
		"want get instances or get services":      {"get"},
		`unknown command "nosuch" for`:            {"completion", "nosuch"},
		`unknown command "none" for "platform" (`: {"help", "none"},
		`"none" for "platform get"`:               {"help", "get", "none"},
		"did you mean export? (see":               {"expor"},
		"did you mean sync? (see":                 {"help", "synk"},
		"want the name of a shell":                {"completion"},
		"the instance ID is empty":                {"ping", "--server", "http://127.0.0.1:1"},
		"want something like http://":             {"ping", "-i", "a", "--server", "localhost:8080"},
		"holds credentials":                       {"ping", "-i", "a", "--server", "http://user:hidden@127.0.0.1:1"},
		"--prune needs --set":                     {"sync", "-i", "a", "--server", "http://127.0.0.1:1", ".", "--prune"},
		"want json or yaml":                       {"ping", "-i", "a", "--server", "http://127.0.0.1:1", "-o", "xml"},
		"want DIR (see":                           {"plan"},
		"want DIR":                                {"sync", "a", "b"},
		"want NAMESPACE/NAME CONTAINER=IMAGE ...": {"set-image", "a/b"},
		`unknown command "nothing"`:               {"nothing"},
		"the instances have to be named":          {"get", "instances", "--nats", "nats://127.0.0.1:1"},
		"--namespace and names of services are ":  {"get", "services", "-i", "a", "--server", "http://127.0.0.1:1", "-n", "x", "x/y"},
	} {
		code, out, failed := cli{t, nil}.run(args...)
		assert.Equal(t, program.ExitUsage, code, "%q: %s", args, failed)
		assert.Contains(t, failed, want)
		assert.NotContains(t, failed, "hidden")
		assert.Empty(t, out)
	}
	code, _, failed := cli{t, []string{"PLATFORM_TIMEOUT=soon", "PLATFORM_VERBOSE=x"}}.run("ping")
	assert.Equal(t, program.ExitUsage, code)
	assert.Contains(t, failed, `--timeout (from PLATFORM_TIMEOUT): must be a duration like "30s" or "5m"; --verbose (from PLATFORM_VERBOSE): `)
	assert.Contains(t, cli{t, []string{"PLATFORM_CONFIG=/nowhere"}}.ok("help", "get", "services"), "platform get services [NAMESPACE/NAME ...]")
	code, _, failed = cli{t, nil}.run("ping", "-i", "a", "--server", "http://127.0.0.1:1")
	assert.Equal(t, program.ExitUnavailable, code)
	assert.Contains(t, failed, "the service does not answer")
	assert.Contains(t, failed, "\n\nNo service answers at 127.0.0.1:1: is --server (or PLATFORM_SERVER) right, and does the service run?\n")
	code, _, failed = cli{t, nil}.run("plan", "/nowhere", "-i", "a", "--server", "http://127.0.0.1:1")
	assert.Equal(t, program.ExitFailed, code)
	assert.Contains(t, failed, "/nowhere")
}

// What a server or a cluster says cannot steer a terminal, and a list that does not end is an error.
func TestHostileServer(t *testing.T) {
	const steering = `\u001b[2J\u202e` // in JSON
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/unwell"):
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, `{"instance": "unwell", "connected": true, "version": "1`+steering+`", "error": "b"}`)
		case strings.HasSuffix(r.URL.Path, "/well"):
			fmt.Fprint(w, `{"instance": "well", "connected": true, "version": "1`+steering+`"}`)
		case strings.HasSuffix(r.URL.Path, "/export"):
			w.Header().Set("Content-Type", "application/yaml")
			fmt.Fprintf(w, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\ndata: {a: \"b\u202e\"}\n")
		case strings.HasSuffix(r.URL.Path, "/instances"):
			fmt.Fprint(w, `{"instances": [{"instance": "a`+steering+`", "connected": false, "error": "b`+steering+`"}]}`)
		case strings.HasSuffix(r.URL.Path, "/services"):
			fmt.Fprint(w, `{"services": [], "continue": "again"}`)
		case strings.HasSuffix(r.URL.Path, "/busy"):
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error": "64 requests are in progress; try again"}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, strings.ReplaceAll(`{"error": "a%", "help": "b%", "failures": {"a%": "a%"}}`, "%", steering))
		}
	}))
	t.Cleanup(s.Close)
	c := cli{t, []string{"PLATFORM_SERVER=" + s.URL, "PLATFORM_INSTANCE=a"}}
	dir := folder(t, map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\ndata: {a: c}\n"})
	for _, args := range [][]string{{"get", "instances"}, {"ping"}, {"ping", "-i", "well"}, {"get", "instances", "unwell"}, {"plan", dir}, {"sync", dir}} {
		_, out, failed := c.run(args...)
		assert.Contains(t, out+failed, `\u202e`, "%q", args)
		assert.NotContains(t, out+failed, "\x1b", "%q", args)
		assert.NotContains(t, out+failed, "\u202e", "%q", args)
	}
	// On a terminal that holds for every result; elsewhere a program gets it as it is.
	assert.Contains(t, c.ok("export"), "\u202e")
	for _, args := range [][]string{{"export"}, {"get", "instances", "-o", "json"}, {"get", "instances", "-o", "yaml"}} {
		shown, code := c.onTerminal("", args...)
		assert.Zero(t, code, "%q", args)
		assert.Contains(t, shown, `\u202e`, "%q", args)
		assert.NotContains(t, shown, "\u202e", "%q", args)
	}
	code, _, failed := c.run("get", "services")
	assert.Equal(t, program.ExitFailed, code)
	assert.Contains(t, failed, "a list does not end")
	code, _, failed = c.run("ping", "-i", "busy")
	assert.Equal(t, program.ExitUnavailable, code)
	assert.Equal(t, "platform: 64 requests are in progress; try again\n", failed, "no help about a daemon")
}

// Whatever else answers at the URL, a page or a redirect, is not taken for a service: nothing is
// done, and the request goes nowhere else.
func TestNotAService(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"connected": true, "actions": 1}`)
	}))
	t.Cleanup(other.Close)
	dir := folder(t, map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"})
	for name, handler := range map[string]http.HandlerFunc{
		"nothing":        http.NotFound,
		"page":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in</html>") },
		"moved":          http.RedirectHandler(other.URL, http.StatusFound).ServeHTTP,
		"moved for good": http.RedirectHandler(other.URL, http.StatusPermanentRedirect).ServeHTTP,
	} {
		s := httptest.NewServer(handler)
		t.Cleanup(s.Close)
		c := cli{t, []string{"PLATFORM_SERVER=" + s.URL, "PLATFORM_INSTANCE=a", "PLATFORM_TOKEN=not-for-others"}}
		for _, args := range [][]string{{"ping"}, {"get", "instances"}, {"get", "services"}, {"export"}, {"plan", dir}, {"sync", dir}, {"set-image", "a/b", "c=d"}} {
			code, out, failed := c.run(args...)
			assert.Equal(t, program.ExitFailed, code, "%s: %q", name, args)
			assert.Empty(t, out)
			assert.Contains(t, failed, "not as a service of platform does", "%s: %q", name, args)
		}
	}
	assert.Zero(t, elsewhere.Load())
}

// Ctrl-C ends a command that waits for an answer, of a service or of a person, with the exit code
// of a failure, and what was asked for is not done.
func TestInterrupted(t *testing.T) {
	const old = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"
	desired, _, err := manifest.Load(os.DirFS(folder(t, map[string]string{"a.yaml": old})))
	require.NoError(t, err)
	def, _, err := manifest.Plan(nil, desired, manifest.PlanOptions{SyncSet: "s"})
	require.NoError(t, err)
	require.Len(t, def.Actions, 1)
	asked, synced := make(chan struct{}, 8), atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/export"):
			w.Header().Set("Content-Type", "application/yaml")
			w.Write(def.Actions[0].Apply) //nolint:errcheck // the test fails, then
			return
		case strings.HasSuffix(r.URL.Path, "/sync"):
			synced.Store(true)
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // so that the server sees that the client is gone
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	c := cli{t, []string{"PLATFORM_SERVER=" + s.URL, "PLATFORM_INSTANCE=a"}}
	for _, args := range [][]string{{"ping"}, {"get", "instances"}, {"get", "instances", "a"}, {"get", "services"}} {
		cmd := c.command(args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		within(t, asked, "the request")
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		cmd.Wait() //nolint:errcheck // the exit code is looked at
		assert.Equal(t, program.ExitFailed, cmd.ProcessState.ExitCode(), "%q", args)
		assert.Equal(t, "platform: interrupt signal received\n", stderr.String(), "%q", args)
	}
	// The terminal makes a SIGINT of the character. It also discards what is written at that moment,
	// which may be the error.
	seen, code := c.onTerminal("\x03", "sync", folder(t, nil), "--set", "s", "--prune", "--delete-budget", "1")
	assert.Contains(t, seen, "Delete 1 objects? [y/N] ")
	assert.Equal(t, program.ExitFailed, code)
	assert.False(t, synced.Load())
}

// A set-image that fails as a whole is not one of which a part is done, over HTTP too; and that the
// export lacks something is said where it may be why.
func TestSetImageOverHTTP(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec: {selector: {app: web}}\n"
	const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\n" +
		"spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'web:1'}]}}}\n"
	for name, tt := range map[string]struct {
		export  string
		partial bool
		apply   string
		status  int
		code    int
		want    string
	}{
		"no daemon":    {service + "---\n" + deployment, false, `{"error": "gone"}`, 503, program.ExitUnavailable, "gone"},
		"refused":      {service + "---\n" + deployment, false, `{"error": "busy"}`, 429, program.ExitFailed, "busy"},
		"not rolled":   {service + "---\n" + deployment, false, `{"error": "x", "help": "y", "failures": {"default/web": "stalled"}}`, 502, program.ExitPartly, "platform: default/web: stalled\n\ny\n"},
		"incomplete":   {service, true, "", 0, program.ExitFailed, "the export is not complete: Deployments: forbidden"},
		"still enough": {service + "---\n" + deployment, true, `{"applied": "default/web"}`, 200, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/apply"):
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(tt.status)
					fmt.Fprint(w, tt.apply)
				case tt.partial:
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusBadGateway)
					assert.NoError(t, json.NewEncoder(w).Encode(map[string]string{"error": "Deployments: forbidden", "manifests": tt.export}))
				default:
					w.Header().Set("Content-Type", "application/yaml")
					fmt.Fprint(w, tt.export)
				}
			}))
			t.Cleanup(s.Close)
			c := cli{t, []string{"PLATFORM_SERVER=" + s.URL, "PLATFORM_INSTANCE=a"}}
			code, _, failed := c.run("set-image", "default/web", "web=web:2")
			assert.Equal(t, tt.code, code)
			assert.Contains(t, failed, tt.want)
		})
	}
}

// The higher source of --server and --nats counts; of one source there cannot be both.
func TestServerOrNATS(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"instance": "a", "connected": true, "version": "over HTTP"}`)
	}))
	t.Cleanup(s.Close)
	bus := "nats://" + startNATS(t).Addr().String()
	write := func(text string) string {
		return filepath.Join(folder(t, map[string]string{"config.yaml": text}), "config.yaml")
	}
	nats, server := []string{"--nats", bus, "--timeout", "1s"}, []string{"--server", s.URL}
	for name, tt := range map[string]struct {
		env  []string
		file string
		args []string
		http bool
	}{
		"flag and environment": {[]string{"PLATFORM_NATS=" + bus}, "", server, true},
		"environment and flag": {[]string{"PLATFORM_SERVER=" + s.URL}, "", nats, false},
		"flag and file":        {nil, "nats: " + bus, server, true},
		"file and flag":        {nil, "server: " + s.URL, nats, false},
		"environment and file": {[]string{"PLATFORM_SERVER=" + s.URL}, "nats: " + bus, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"ping", "-i", "a"}, tt.args...)
			code, out, failed := cli{t, append(tt.env, "PLATFORM_CONFIG="+write(tt.file))}.run(args...)
			assert.Equal(t, tt.http, code == 0, failed)
			assert.Equal(t, tt.http, strings.Contains(out, "over HTTP"))
			assert.NotContains(t, failed, "both set")
		})
	}
	for _, c := range []cli{
		{t, []string{"PLATFORM_SERVER=" + s.URL, "PLATFORM_NATS=" + bus}},
		{t, []string{"PLATFORM_CONFIG=" + write("server: "+s.URL+"\nnats: "+bus+"\n")}},
	} {
		code, _, failed := c.run("ping", "-i", "a")
		assert.Equal(t, program.ExitUsage, code)
		assert.Contains(t, failed, "--server and --nats are both set")
	}
}

// A shell offers what the service knows, folders where one is wanted, and files for nothing but a
// flag that takes one. The settings count as they do for a command that is run.
func TestCompletion(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/v1/instances":
			fmt.Fprint(w, `{"instances": [{"instance": "a"}, {"instance": "b"}, {"instance": "\u001b[2J"}]}`)
		case "/v1/instances/a/services":
			fmt.Fprint(w, `{"services": [{"id": "default/web", "containers": [{"Name": "web", "Image": "web:1"}, {"Name": "log", "Image": "log:1"}]}]}`)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	config := filepath.Join(folder(t, map[string]string{"config.yaml": "instance: a\n"}), "config.yaml")
	c := cli{t, []string{"PLATFORM_SERVER=" + s.URL}}
	const files, none, noSpace, dirs = ":0\n", ":4\n", ":6\n", ":16\n"
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"a\nb\n" + none, []string{"ping", "--instance", ""}},
		{"a\nb\n" + none, []string{"get", "instances", ""}},
		{"b\n" + none, []string{"get", "instances", "a", ""}},
		{"json\nyaml\n" + none, []string{"get", "services", "-o", ""}},
		{"default/web\n" + none, []string{"get", "services", "-i", "a", ""}},
		{"default/web\n" + none, []string{"set-image", "--config", config, ""}},
		{"web=\nlog=\n" + noSpace, []string{"set-image", "-i", "a", "default/web", ""}},
		{"log=\n" + noSpace, []string{"set-image", "-i", "a", "default/web", "web=web:2", ""}},
		{none, []string{"get", "services", "-i", "b", ""}}, // it fails
		{none, []string{"get", "services", "--config", "/nowhere", ""}},
		{dirs, []string{"plan", ""}},
		{dirs, []string{"sync", "-i", "a", ""}},
		{none, []string{"sync", "x", ""}},
		{none, []string{"ping", ""}},
		{none, []string{"daemon", ""}},
		{none, []string{"ping", "--server", ""}},
		{files, []string{"ping", "--token-file", ""}},
		{files, []string{"ping", "--config", ""}},
		{files, []string{"daemon", "--nats-creds", ""}},
	} {
		assert.Equal(t, tt.want, c.ok(append([]string{"__complete"}, tt.args...)...), "%q", tt.args)
	}
	assert.Contains(t, c.ok("__complete", "ping", "--server"), "--server\tURL of a service")
	assert.NotContains(t, c.ok("__complete", "daemon", "--"), "`")
	assert.Contains(t, c.ok("daemon", "--help"), "--watch duration ")
	assert.Equal(t, none, cli{t, []string{"PLATFORM_SERVER=http://127.0.0.1:1"}}.ok("__complete", "get", "instances", ""))
	assert.Equal(t, none, cli{t, []string{"PLATFORM_CONFIG=/nowhere"}}.ok("__complete", "get", "instances", ""))
}

// A set-image that ends before the rollout does says why, once, and that the rollout is not undone.
func TestSetImageEndsEarly(t *testing.T) {
	asked := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/apply") {
			w.Header().Set("Content-Type", "application/yaml")
			web, deployment := app("default", "1")
			fmt.Fprint(w, web+"---\n"+deployment)
			return
		}
		io.Copy(io.Discard, r.Body) //nolint:errcheck // so that the server sees that the client is gone
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	cmd := cli{t, []string{"PLATFORM_SERVER=" + s.URL, "PLATFORM_INSTANCE=a"}}.command("set-image", "default/web", "web=web:2")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	within(t, asked, "the request")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait() //nolint:errcheck // the exit code is looked at
	assert.Equal(t, program.ExitFailed, cmd.ProcessState.ExitCode())
	assert.Equal(t, "platform: interrupt signal received: the rollout goes on; see platform get services\n", stderr.String())
}
