package main_test

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/platformbus/platform/internal/controlplane"
)

// A trouble is a situation that docs/troubleshooting.md tells of. Its daemon is a process of
// its own.
type trouble struct {
	env    testEnv
	daemon *testProcess
	// exits is the exit code of the daemon, or 0 if it goes on.
	exits int
	// told is what the caller was told; if it is empty, it is what it is told now.
	told string
}

// Each line of the table in docs/troubleshooting.md holds: health, log and answer say what the
// table quotes.
func TestTroubleshooting(t *testing.T) {
	cp := controlplane.Require(t)
	situations := map[string]func(*testing.T) trouble{
		"kicked": func(t *testing.T) trouble {
			b := startEnv(t, cp)
			startDaemon(t, b.nats, cp.Kubeconfig(), "2").untilHealth(200, "ok")
			b.daemon.await("kicked: another daemon")
			b.daemon.untilHealth(503, "newer")
			return trouble{env: b, daemon: b.daemon}
		},
		"NATS is lost": func(t *testing.T) trouble {
			b := startEnv(t, cp)
			b.toNATS.Refuse(true)
			b.toNATS.Cut()
			b.daemon.untilHealth(503, "NATS")
			return trouble{env: b, daemon: b.daemon}
		},
		"the API server is dead": func(t *testing.T) trouble {
			b := startEnv(t, cp)
			b.toAPI.Refuse(true)
			b.toAPI.Cut()
			b.daemon.untilHealth(503, "API server")
			return trouble{env: b, daemon: b.daemon}
		},
		"wrong NATS credentials": func(t *testing.T) trouble {
			return exited(t, cp, 1, "PLATFORM_NATS_PASSWORD=wrong")
		},
		"NATS denies the instance": func(t *testing.T) trouble {
			return exited(t, cp, 1, "PLATFORM_INSTANCE=bank")
		},
		"wrong settings": func(t *testing.T) trouble {
			return exited(t, cp, 2, "PLATFORM_NATS_PASSWORD=")
		},
		"the cluster's credentials are refused": func(t *testing.T) trouble {
			kubeconfig := kubeconfigOf(t, cp, &clientcmdapi.AuthInfo{Token: "of another cluster"})
			b := startEnv(t, cp)
			require.NoError(t, b.daemon.Signal(syscall.SIGTERM))
			assert.Equal(t, 0, b.daemon.exitCode())
			d := startDaemon(t, b.nats, kubeconfig, "2")
			d.untilHealth(503, "API server")
			return trouble{env: b, daemon: d}
		},
		"a permission is missing": func(t *testing.T) trouble {
			b := startEnv(t, cp)
			kubeconfig := kubeconfigOf(t, cp, &clientcmdapi.AuthInfo{Impersonate: "nobody",
				ClientCertificateData: cp.Config().CertData, ClientKeyData: cp.Config().KeyData})
			d := startDaemon(t, b.nats, kubeconfig, "2")
			b.daemon.await("kicked")
			a := b.service.post(shop+"/sync", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n")
			return trouble{env: b, daemon: d, told: a.text}
		},
		"a rollout is stalled": func(t *testing.T) trouble {
			b := startEnv(t, cp)
			namespace := cp.Namespace(t)
			syncApp(t, b.service, namespace)
			_, d := app(namespace, controlplane.MissingTag)
			a := b.service.post(shop+"/apply?service="+namespace+"/web", strings.Replace(d, "progressDeadlineSeconds: 600", "progressDeadlineSeconds: 1", 1))
			return trouble{env: b, daemon: b.daemon, told: a.text}
		},
		"a definition is wrong": func(t *testing.T) trouble {
			b := startEnv(t, cp)
			a := b.service.post(shop+"/sync", "apiVersion: none.example/v1\nkind: Nothing\nmetadata: {name: a}\n---\nmetadata: {name: b}\n")
			return trouble{env: b, daemon: b.daemon, told: a.text}
		},
	}
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| \*\*(.*?)\*\* \|(.*?)\|(.*?)\|(.*?)\|.*\|$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, rows, len(situations))
	for _, row := range rows {
		t.Run(row[1], func(t *testing.T) {
			begin := situations[row[1]]
			require.NotNil(t, begin, "no test of the situation")
			got := begin(t)
			if got.exits != 0 {
				assert.Equal(t, got.exits, got.daemon.exitCode())
			} else {
				for _, quoted := range quotedIn(row[2]) {
					assert.Contains(t, got.daemon.get("/healthz").text, quoted, "health")
				}
			}
			log, err := got.daemon.Log()
			require.NoError(t, err)
			for _, quoted := range quotedIn(row[3]) {
				assert.Contains(t, log, quoted, "log")
			}
			if got.told == "" {
				got.told = got.env.service.get(shop).text
			}
			for _, quoted := range quotedIn(row[4]) {
				assert.Contains(t, got.told, quoted, "what the caller is told")
			}
		})
	}
}

// exited starts a daemon that ends at once, of which one variable is changed.
func exited(t *testing.T, cp *controlplane.ControlPlane, code int, change string) trouble {
	t.Helper()
	s := startNATS(t)
	service := start(t, "service", credentials("service", s.Addr()))
	d := startUnready(t, "daemon", append(append(credentials("daemon", s.Addr()), "PLATFORM_INSTANCE=shop"), change), "--kubeconfig", cp.Kubeconfig())
	return trouble{env: testEnv{service: service}, daemon: d, exits: code}
}

// quotedIn returns the texts between backticks in a cell.
func quotedIn(cell string) (texts []string) {
	for _, match := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(cell, -1) {
		texts = append(texts, match[1])
	}
	return texts
}
