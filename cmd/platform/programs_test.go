package main_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/faultproxy"
)

// testEnv is a service and a daemon of the instance "shop" on a NATS server with users. The
// daemon connects through proxies, which inject faults.
type testEnv struct {
	nats            *server.Server
	service, daemon *testProcess
	toNATS, toAPI   *faultproxy.Proxy
}

func startEnv(t *testing.T, cp *controlplane.ControlPlane, args ...string) testEnv {
	t.Helper()
	return startEnvTraced(t, cp, "", args...)
}

// startEnvTraced starts programs that send their traces to an endpoint.
func startEnvTraced(t *testing.T, cp *controlplane.ControlPlane, endpoint string, args ...string) testEnv {
	t.Helper()
	traces := "PLATFORM_TRACE_ENDPOINT=" + endpoint
	s := startNATS(t)
	api := cp.Config()
	b := testEnv{nats: s, toNATS: proxy(t, s.Addr().String()), toAPI: proxy(t, strings.TrimPrefix(api.Host, "https://"))}
	api.Host = "https://" + b.toAPI.Addr()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, controlplane.WriteKubeconfig(kubeconfig, api))
	b.service = start(t, "service", append(credentials("service", s.Addr()), traces), "--instance", "shop")
	b.daemon = start(t, "daemon", append(credentials("daemon", s.Addr()), "PLATFORM_NATS=nats://"+b.toNATS.Addr(), traces),
		append(args, "--instance", "shop", "--kubeconfig", kubeconfig, "--announce", "1")...)
	b.daemon.untilHealth(200, "ok")
	return b
}

func proxy(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(target)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func startDaemon(t *testing.T, s *server.Server, kubeconfig, version string) *testProcess {
	t.Helper()
	return start(t, "daemon", credentials("daemon", s.Addr()), "--instance", "shop", "--kubeconfig", kubeconfig, "--announce", version)
}

const shop = "/v1/instances/shop"

// app returns a Service and its Deployment. With the missing tag, the rollout ends only at its
// deadline.
func app(namespace, tag string) (service, deployment string) {
	service = fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: web, namespace: %s}
spec:
  selector: {app: web}
  ports: [{port: 80}]
`, namespace)
	deployment = fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  progressDeadlineSeconds: 600
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:%s"}]
`, namespace, tag)
	return service, deployment
}

// syncApp has the service sync the app, and waits until it is ready.
func syncApp(t *testing.T, service *testProcess, namespace string) {
	t.Helper()
	s, d := app(namespace, "1")
	a := service.post(shop+"/sync", s+"---"+d)
	require.Equal(t, http.StatusOK, a.code, a.text)
	service.until(shop+"/services?id="+namespace+"/web", "ready", func(a answer) bool {
		found, _ := a.json(t)["services"].([]any)
		return len(found) == 1 && found[0].(map[string]any)["status"] == "ready"
	})
}

// beginRollout starts a rollout that does not become ready by itself, and returns when the
// daemon executes it.
func beginRollout(t *testing.T, ctx context.Context, b testEnv, namespace string) <-chan answer {
	t.Helper()
	_, d := app(namespace, controlplane.MissingTag)
	answers := b.service.begin(ctx, shop+"/apply?service="+namespace+"/web", d)
	require.Eventually(t, func() bool {
		return b.daemon.metric("flux_natsbus_calls_in_flight", `side="served"`) == 1
	}, limit, 20*time.Millisecond, "the daemon is rolling out")
	return answers
}

// fixRollout lets the rollout in progress succeed: it syncs an image that exists.
func fixRollout(t *testing.T, service *testProcess, namespace string) {
	t.Helper()
	_, d := app(namespace, "2")
	a := service.post(shop+"/sync", d)
	require.Equal(t, http.StatusOK, a.code, a.text)
}

// On SIGTERM the daemon accepts no new calls, and calls in progress succeed.
func TestDaemonDrains(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	b := startEnv(t, cp)
	syncApp(t, b.service, namespace)
	rollout := beginRollout(t, t.Context(), b, namespace)

	require.NoError(t, b.daemon.Signal(syscall.SIGTERM))
	b.daemon.await(`msg="shutting down: waiting for calls in progress"`)
	b.daemon.untilHealth(503, "ending")
	a := b.service.get(shop)
	assert.Equal(t, http.StatusServiceUnavailable, a.code, a.text)
	assert.Empty(t, rollout, "the call goes on")

	// Another daemon takes over the instance, and fixes the rollout that the first waits for.
	second := startDaemon(t, b.nats, cp.Kubeconfig(), "2")
	b.service.until(shop, "the second daemon answers", func(a answer) bool { return a.code == 200 })
	fixRollout(t, b.service, namespace)
	done := within(t, rollout, "the rollout's answer")
	assert.Equal(t, http.StatusOK, done.code, done.text)
	assert.Equal(t, 0, b.daemon.exitCode())
	assert.Equal(t, "2", b.service.get(shop).json(t)["version"])
	second.untilHealth(200, "ok")
}

// Calls that do not end within the limit are aborted, and the daemon exits with 1.
func TestDaemonDrainHasALimit(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	b := startEnv(t, cp, "--drain-timeout", "10ms")
	syncApp(t, b.service, namespace)
	rollout := beginRollout(t, t.Context(), b, namespace)
	require.NoError(t, b.daemon.Signal(syscall.SIGTERM))
	assert.Equal(t, 1, b.daemon.exitCode())
	b.daemon.await("1 calls under way were cut off")
	a := within(t, rollout, "the answer")
	assert.GreaterOrEqual(t, a.code, 500, a.text)
}

// Of two daemons the later one serves. The other one reports why it is idle, does not
// subscribe again, and does not exit, since it would be restarted.
func TestKickedDaemonStaysIdle(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	b := startEnv(t, cp)
	syncApp(t, b.service, namespace)
	rollout := beginRollout(t, t.Context(), b, namespace)

	second := startDaemon(t, b.nats, cp.Kubeconfig(), "2")
	b.daemon.await("kicked: another daemon has subscribed this instance; staying idle")
	b.daemon.untilHealth(503, "newer subscription")
	assert.Equal(t, 200, b.daemon.get("/livez").code, "the liveness probe must not restart it")
	second.untilHealth(200, "ok")
	assert.Equal(t, "2", b.service.get(shop).json(t)["version"])
	assert.Empty(t, rollout, "the call goes on")

	// It stays idle after a reconnect too.
	require.Positive(t, b.toNATS.Cut())
	b.daemon.await("the NATS connection is back")
	assert.Equal(t, "2", b.service.get(shop).json(t)["version"])
	assert.Equal(t, 0.0, b.daemon.metric("flux_natsbus_subscriptions"))
	assert.Equal(t, 1.0, b.daemon.metric("flux_bus_kick_total"))
	assert.Equal(t, 0.0, second.metric("flux_bus_kick_total"))

	fixRollout(t, b.service, namespace)
	done := within(t, rollout, "the answer of the daemon that was kicked")
	assert.Equal(t, http.StatusOK, done.code, done.text)
	require.NoError(t, b.daemon.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, b.daemon.exitCode())
	assert.Equal(t, "2", b.service.get(shop).json(t)["version"])
}

// The health endpoints follow the availability of NATS and of the API server.
func TestDaemonHealth(t *testing.T) {
	cp := controlplane.Require(t)
	b := startEnv(t, cp)

	b.toAPI.Refuse(true)
	b.toAPI.Cut()
	b.daemon.untilHealth(503, "the API server cannot be reached")
	a := b.service.get(shop)
	assert.Equal(t, http.StatusBadGateway, a.code, "the daemon answers, its cluster does not: %s", a.text)
	assert.Equal(t, true, a.json(t)["connected"])
	b.toAPI.Refuse(false)
	b.daemon.untilHealth(200, "ok")
	assert.Equal(t, 200, b.service.get(shop).code)

	b.toNATS.Refuse(true)
	b.toNATS.Cut()
	b.daemon.untilHealth(503, "NATS cannot be reached")
	a = b.service.get(shop)
	assert.Equal(t, http.StatusServiceUnavailable, a.code, a.text)
	assert.Equal(t, false, a.json(t)["connected"])
	b.toNATS.Refuse(false)
	b.daemon.untilHealth(200, "ok")
	b.service.until(shop, "the daemon is back", func(a answer) bool { return a.code == 200 })
	assert.Positive(t, b.daemon.metric("flux_natsbus_reconnects_total"))

	// The service's health is that of its own connection.
	b.service.untilHealth(200, "ok")
	b.nats.Shutdown()
	b.service.untilHealth(503, "NATS cannot be reached")
}

// A stalled NATS server is detected too, though the connection stays open.
func TestDaemonHealthWhenNATSStandsStill(t *testing.T) {
	b := startEnv(t, controlplane.Require(t))
	b.toNATS.Stall()
	b.daemon.untilHealth(503, "NATS")
	b.toNATS.Resume()
	b.daemon.untilHealth(200, "ok")
}

// The daemon may start before NATS is reachable.
func TestDaemonWaitsForNATS(t *testing.T) {
	cp := controlplane.Require(t)
	s := startNATS(t)
	toNATS := proxy(t, s.Addr().String())
	toNATS.Refuse(true)
	d := start(t, "daemon", append(credentials("daemon", s.Addr()), "PLATFORM_NATS=nats://"+toNATS.Addr()), "--instance", "shop", "--kubeconfig", cp.Kubeconfig())
	d.await("NATS does not answer yet")
	d.untilHealth(503, "NATS cannot be reached")
	toNATS.Refuse(false)
	d.untilHealth(200, "ok")
	service := start(t, "service", credentials("service", s.Addr()))
	service.until(shop, "the daemon answers", func(a answer) bool { return a.code == 200 })
}

// A cancelled HTTP request cancels the rollout at the daemon.
func TestCancelledRequestCancelsAtTheDaemon(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	b := startEnv(t, cp)
	syncApp(t, b.service, namespace)
	ctx, cancel := context.WithCancel(t.Context())
	rollout := beginRollout(t, ctx, b, namespace)
	cancel()
	within(t, rollout, "the end of the request")
	require.Eventually(t, func() bool {
		return b.daemon.metric("flux_natsbus_calls_in_flight", `side="served"`) == 0 &&
			b.daemon.metric("flux_platform_request_duration_seconds_count", `method="Apply"`, `success="false"`) == 1
	}, limit, 20*time.Millisecond, "the daemon has given up")
}

// A request in progress when the service receives SIGTERM is answered.
func TestServiceDrains(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	b := startEnv(t, cp)
	syncApp(t, b.service, namespace)
	rollout := beginRollout(t, t.Context(), b, namespace)
	require.NoError(t, b.service.Signal(syscall.SIGTERM))
	b.service.await(`msg="shutting down: waiting for requests in progress`)
	assert.Empty(t, rollout, "the call goes on")
	other := start(t, "service", credentials("service", b.nats.Addr()))
	fixRollout(t, other, namespace)
	done := within(t, rollout, "the rollout's answer")
	assert.Equal(t, http.StatusOK, done.code, done.text)
	assert.Equal(t, 0, b.service.exitCode())
}

// A request whose body has not arrived is aborted when the service receives SIGTERM.
func TestServiceEndsWithoutMissingBodies(t *testing.T) {
	service := start(t, "service", nil, "--embedded-nats=127.0.0.1:0")
	conn, err := net.Dial("tcp", strings.TrimPrefix(service.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST %s/sync HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n", shop)
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	status, err := answers.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, status, "100 Continue", "it waits for the body")
	require.NoError(t, service.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(answers)
	require.NoError(t, err)
	assert.Contains(t, string(rest), "503 Service Unavailable")
	assert.Contains(t, string(rest), "the program is ending")
	assert.Equal(t, 0, service.exitCode())
}

// With the embedded server, no other programs are needed.
func TestEmbeddedNATS(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	service := start(t, "service", nil, "--embedded-nats=127.0.0.1:0", "--instance", "shop")
	url := service.await(`msg="serving NATS" url=(\S+)`)
	list := service.get("/v1/instances")
	assert.Contains(t, list.text, "no daemon is connected")
	daemon := start(t, "daemon", nil, "--nats", url, "--instance", "shop", "--kubeconfig", cp.Kubeconfig(), "--announce", "1")
	daemon.untilHealth(200, "ok")
	syncApp(t, service, namespace)

	a := service.post(shop+"/sync", "kind: Nothing")
	assert.Equal(t, http.StatusBadGateway, a.code)
	assert.Contains(t, a.json(t)["help"], "Error from the cluster")
	assert.Contains(t, a.json(t)["failures"], "request")
	assert.Positive(t, service.metric("flux_natsbus_calls_total", `side="made"`, `method="Sync"`))
	assert.Positive(t, service.metric("flux_platform_request_duration_seconds_count", `method="Sync"`))
	assert.Positive(t, daemon.metric("flux_kubernetes_objects_total", `result="applied"`))
	assert.Positive(t, daemon.metric("process_resident_memory_bytes"))

	second := startUnready(t, "service", nil, "--embedded-nats="+strings.TrimPrefix(url, "nats://"))
	assert.Equal(t, 1, second.exitCode())
	assert.Contains(t, second.Tail(), "address already in use")
}

// Without the token only /healthz is served, and the log does not contain the token.
func TestServiceToken(t *testing.T) {
	const token = "8a1f0c3d5e7b9a2c"
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	service := start(t, "service", nil, "--embedded-nats=127.0.0.1:0", "--token-file", file, "--max-body", "100")
	assert.Equal(t, 200, service.get("/healthz").code)
	for _, path := range []string{"/metrics", "/v1/instances", shop, "/nothing"} {
		assert.Equal(t, http.StatusUnauthorized, service.get(path).code, path)
	}
	for path, code := range map[string]int{"/metrics": 200, "/v1/instances": 200, shop: 503, "/nothing": 404} {
		a, err := service.ask(t.Context(), "GET", path, "", "Authorization", "Bearer "+token)
		require.NoError(t, err)
		assert.Equal(t, code, a.code, path)
	}
	a, err := service.ask(t.Context(), "POST", shop+"/sync", strings.Repeat("#", 101), "Authorization", "Bearer "+token)
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.code, a.text)
	log, err := service.Log()
	require.NoError(t, err)
	assert.NotContains(t, log, token)
}

// Each program reports invalid arguments on one line that contains no secret.
func TestCalledWrongly(t *testing.T) {
	cp := controlplane.Require(t)
	s := startNATS(t)
	nonsense := filepath.Join(t.TempDir(), "nonsense")
	require.NoError(t, os.WriteFile(nonsense, []byte("not-a-secret: ["), 0o600))
	url := "nats://" + s.Addr().String()
	wrong := append(credentials("daemon", s.Addr()), "PLATFORM_NATS_PASSWORD=not-a-secret-either")
	for _, tt := range []struct {
		program string
		env     []string
		args    []string
		code    int
		want    string
	}{
		{"daemon", nil, []string{"--instance", "a", "--kubeconfig", cp.Kubeconfig()}, 2, "--nats is not set, nor is PLATFORM_NATS"},
		{"daemon", nil, []string{"--nats", url, "--kubeconfig", cp.Kubeconfig()}, 2, "--instance: the instance ID is empty"},
		{"daemon", nil, []string{"--nats", url, "--instance", "a b"}, 2, `"a b" contains a space`},
		{"daemon", nil, []string{"--nats", url, "--instance", "a", "--drain-timeout=-1s"}, 2, "--drain-timeout is -1s"},
		{"daemon", nil, []string{"--nats", url, "--instance", "a"}, 2, "this is not a pod, and neither --kubeconfig nor $KUBECONFIG"},
		{"daemon", nil, []string{"--nats", url, "--instance", "a", "--kubeconfig", "/nowhere"}, 1, "find the cluster: stat /nowhere: no such file"},
		{"daemon", nil, []string{"--nats", url, "--instance", "a", "--kubeconfig", nonsense}, 1, "find the cluster: error loading config file"},
		{"daemon", nil, []string{"--nats", url, "--nats-creds", "/nowhere", "--instance", "a", "--kubeconfig", cp.Kubeconfig()}, 1, "the NATS credentials: open /nowhere"},
		{"daemon", nil, []string{"--nats", url, "--nats-creds", nonsense, "--instance", "a", "--kubeconfig", cp.Kubeconfig()}, 1, nonsense + " contains no user key"},
		{"daemon", []string{"PLATFORM_NATS_USER=daemon"}, []string{"--nats", url, "--instance", "a", "--kubeconfig", cp.Kubeconfig()}, 2, "--nats-user and its password (PLATFORM_NATS_PASSWORD or --nats-password-file) go together"},
		{"daemon", wrong, []string{"--instance", "shop", "--kubeconfig", cp.Kubeconfig()}, 1, "Authorization Violation"},
		{"daemon", credentials("daemon", s.Addr()), []string{"--instance", "bank", "--kubeconfig", cp.Kubeconfig()}, 1, "instance bank: subscription ended: the NATS server denies it"},
		{"daemon", nil, []string{"--nats", url, "--instance", "a", "--kubeconfig", cp.Kubeconfig(), "--concurrency=-1"}, 2, "Options.Concurrency is negative"},
		{"daemon", nil, []string{"--nats", url, "--instance", "a", "--kubeconfig", cp.Kubeconfig(), "--bus-beat=1us"}, 2, "less than a millisecond"},
		{"service", nil, []string{"--nats", url, "--bus-window=-1"}, 2, "a limit is negative"},
		{"service", nil, []string{"--nats", url, "--call-timeout=0"}, 2, "--call-timeout is 0s"},
		{"service", nil, []string{"--nats", url, "--drain-timeout=-1s"}, 2, "--drain-timeout is -1s"},
		{"service", nil, nil, 2, "neither --nats (or PLATFORM_NATS) nor --embedded-nats"},
		{"service", nil, []string{"--nats", url, "--nats-creds", "/nowhere"}, 1, "the NATS credentials: open /nowhere"},
		{"service", wrong, nil, 1, "Authorization Violation"},
	} {
		r := startUnready(t, tt.program, tt.env, tt.args...)
		assert.Equal(t, tt.code, r.exitCode(), tt.want)
		log, err := r.Log()
		require.NoError(t, err)
		assert.Contains(t, log, tt.want)
		assert.NotContains(t, log, "not-a-secret")
	}
}
