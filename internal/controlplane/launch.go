package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/platformbus/platform/internal/process"
)

// launch starts the programs, each when its dependencies are ready.
func (cp *ControlPlane) launch(ctx context.Context) error {
	if err := cp.startEtcd(ctx); err != nil {
		return err
	}
	if err := cp.startAPIServer(ctx); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		return err
	}
	// These start concurrently: they need only the server.
	manager, err := cp.startControllerManager()
	if err != nil {
		return err
	}
	if err := cp.startScheduler(); err != nil {
		return err
	}
	kwok, err := cp.startKwok()
	if err != nil {
		return err
	}
	if manager != nil {
		if err := cp.await(ctx, "service account default/default", manager, func(ctx context.Context) error {
			_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
			return err
		}); err != nil {
			return err
		}
	}
	if kwok == nil {
		return nil
	}
	if _, err := client.CoreV1().Nodes().Create(ctx, fakeNode(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create node %s: %w", nodeName, err)
	}
	return cp.await(ctx, "ready node "+nodeName, kwok, func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return cp.nodeTakesPods(node)
	})
}

// nodeTakesPods returns nil if pods can run on a node. The server sets a taint on a
// new node that prevents that, and a controller removes the taint.
func (cp *ControlPlane) nodeTakesPods(node *corev1.Node) error {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Errorf("condition Ready is %s", c.Status)
		}
	}
	if len(node.Status.Conditions) == 0 {
		return fmt.Errorf("it has no conditions")
	}
	if len(node.Spec.Taints) > 0 && !cp.options.NoControllerManager {
		return fmt.Errorf("it has taint %s", node.Spec.Taints[0].Key)
	}
	return nil
}

// startEtcd starts etcd. Clients connect to a socket in the data folder, which other
// users cannot access and other processes cannot take. The kernel selects the port for
// peers, of which there are none.
func (cp *ControlPlane) startEtcd(ctx context.Context) error {
	p, err := cp.run("etcd",
		"--data-dir="+filepath.Join(cp.dir, "etcd"),
		"--listen-client-urls="+cp.etcdURL(),
		// The advertised address is not used, and etcd does not accept a socket here.
		"--advertise-client-urls=http://127.0.0.1:0",
		"--listen-peer-urls=http://127.0.0.1:0",
		"--unsafe-no-fsync",
		"--log-level=warn",
	)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", cp.socket())
	}}
	defer transport.CloseIdleConnections()
	return cp.await(ctx, "etcd's health", p, func(ctx context.Context) error {
		return getOK(ctx, &http.Client{Transport: transport}, "http://etcd/health")
	})
}

func (cp *ControlPlane) socket() string  { return filepath.Join(cp.dir, "etcd.sock") }
func (cp *ControlPlane) etcdURL() string { return "unix://" + cp.socket() }

// startAPIServer creates the keys and the administrator's access, and starts
// kube-apiserver.
func (cp *ControlPlane) startAPIServer(ctx context.Context) error {
	port, err := cp.options.port()
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	files, err := cp.writeKeys(port)
	if err != nil {
		return err
	}
	p, err := cp.run("kube-apiserver",
		"--etcd-servers="+cp.etcdURL(),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(port),
		"--cert-dir="+cp.dir,
		"--tls-cert-file="+files.serverCert,
		"--tls-private-key-file="+files.serverKey,
		"--client-ca-file="+files.clientCA,
		// These complete the aggregation layer: with them the server proves to an
		// aggregated server for which user it calls.
		"--requestheader-client-ca-file="+files.proxyCA,
		"--requestheader-allowed-names="+proxyName,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+files.proxyCert,
		"--proxy-client-key-file="+files.proxyKey,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+files.serviceAccountKey,
		"--service-account-signing-key-file="+files.serviceAccountKey,
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/16",
		// The validation of endpoints rejects the server's own address.
		"--endpoint-reconciler-type=none",
		"--allow-privileged=true",
	)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		return err
	}
	return cp.await(ctx, "kube-apiserver's /readyz", p, func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// noRateLimit raises the controllers' default limits of 20 and 50 requests per second,
// which protect the server for other clients. A benchmark of a thousand objects would
// measure these limits.
var noRateLimit = []string{"--kube-api-qps=5000", "--kube-api-burst=5000"}

func (cp *ControlPlane) startControllerManager() (*process.Process, error) {
	if cp.options.NoControllerManager {
		return nil, nil
	}
	kubeconfig, err := cp.componentKubeconfig("system:kube-controller-manager")
	if err != nil {
		return nil, err
	}
	return cp.run("kube-controller-manager", append([]string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--service-account-private-key-file=" + filepath.Join(cp.dir, serviceAccountKeyFile),
		"--root-ca-file=" + filepath.Join(cp.dir, clientCAFile),
		// The period also delays the first evaluation of a HorizontalPodAutoscaler.
		"--horizontal-pod-autoscaler-sync-period=1s",
	}, noRateLimit...)...)
}

func (cp *ControlPlane) startScheduler() error {
	if cp.options.NoScheduler {
		return nil
	}
	kubeconfig, err := cp.componentKubeconfig("system:kube-scheduler")
	if err != nil {
		return err
	}
	_, err = cp.run("kube-scheduler", append([]string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
	}, noRateLimit...)...)
	return err
}

func (cp *ControlPlane) startKwok() (*process.Process, error) {
	if cp.options.NoKwok {
		return nil, nil
	}
	kubeconfig, err := cp.componentKubeconfig("kwok")
	if err != nil {
		return nil, err
	}
	stages, err := cp.writeStages()
	if err != nil {
		return nil, err
	}
	return cp.run("kwok",
		"--kubeconfig="+kubeconfig,
		"--config="+stages,
		"--manage-all-nodes=true",
		// A node that renews no lease is no longer ready after 40 seconds.
		"--node-lease-duration-seconds=40",
		"--node-ip="+nodeAddress,
		"--cidr="+podAddresses,
	)
}

// freePort returns a port of the loopback address that is currently free.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// The limits of a wait. A wait of some seconds on an idle machine may take many times
// that during a build and with the race detector.
const (
	waitLimit     = 2 * time.Minute
	attemptLimit  = 10 * time.Second
	attemptPeriod = 25 * time.Millisecond
)

// await calls probe until it returns nil. It gives up when the context is done,
// after waitLimit, and when a program has ended. An error quotes the log of p, the
// program on which the condition depends.
func (cp *ControlPlane) await(ctx context.Context, what string, p *process.Process, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	// If another process listens on the port, it may never answer.
	defer context.AfterFunc(cp.life, cancel)()
	tick := time.NewTicker(attemptPeriod)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptLimit)
		err := probe(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := cp.Err(); cause != nil {
				return fmt.Errorf("wait for %s: %w", what, cause)
			}
			return fmt.Errorf("wait for %s: %w: last tried: %w; %s", what, ctx.Err(), err, p.Tail())
		}
	}
}

func getOK(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return nil
}
