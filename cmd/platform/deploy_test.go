package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// The daemon's manifests, applied unchanged, grant the permissions that they document and no
// others.
func TestDeploy(t *testing.T) {
	cp := controlplane.Require(t)
	admin, err := kubernetes.NewCluster(cp.Config(), kubernetes.Options{Timeout: limit})
	require.NoError(t, err)
	var def, undo platform.SyncDef
	for _, file := range []string{"base/namespace.yaml", "base/daemon/rbac.yaml", "base/daemon/daemon.yaml", "example/shop.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../deploy", file))
		require.NoError(t, err)
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: file, Apply: text})
		undo.Actions = append(undo.Actions, platform.SyncAction{ResourceID: file, Delete: text})
	}
	t.Cleanup(func() { assert.NoError(t, admin.Sync(undo)) })
	require.NoError(t, admin.Sync(def))

	// The pod is admitted, and refers to the Secret by the documented name.
	client, err := clientset.NewForConfig(cp.Config())
	require.NoError(t, err)
	_, err = client.CoreV1().Secrets("platform").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "platform-daemon-nats"}, StringData: map[string]string{"daemon.creds": "x"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		d, err := client.AppsV1().Deployments("platform").Get(t.Context(), "platform-daemon", metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == 1
	}, limit, 50*time.Millisecond, "the Deployment is available")

	s := startNATS(t)
	service := start(t, "service", credentials("service", s.Addr()), "--instance", "shop")
	daemon := startDaemon(t, s, tokenKubeconfig(t, client, cp), "1")
	daemon.untilHealth(200, "ok")

	// All seven methods: Ping and Version, Sync, Apply, SomeServices, AllServices, Export.
	require.Equal(t, 200, service.get(shop).code)
	syncApp(t, service, "shop")
	_, deployment := app("shop", "2")
	a := service.post(shop+"/apply?service=shop/web", deployment)
	require.Equal(t, 200, a.code, a.text)
	for _, query := range []string{"", "?namespace=shop", "?namespace=default", "?id=shop/web"} {
		a = service.get(shop + "/services" + query)
		require.Equal(t, 200, a.code, a.text)
	}
	config := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata: {a: b}\n"
	account := "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n"
	a = service.post(shop+"/sync", config+"---\n"+account)
	require.Equal(t, 200, a.code, a.text)

	// An export contains all objects that the daemon may read, and names the kinds it may not.
	a = service.get(shop + "/export")
	require.Equal(t, http.StatusBadGateway, a.code)
	export := a.json(t)
	for _, part := range []string{"kind: ConfigMap", "name: web", "kind: Deployment", "kind: Service\n", "web:2"} {
		assert.Contains(t, export["manifests"], part)
	}
	assert.NotContains(t, export["manifests"], "kind: Secret")
	assert.Contains(t, export["error"], "ingresses")
	assert.Contains(t, export["error"], "forbidden")
	assert.NotContains(t, export["error"], "configmaps")

	// Other requests are refused with an error that names the user, the verb and the resource.
	for _, tt := range []struct{ path, body, want string }{
		{"/sync", strings.ReplaceAll(config, "shop", "default"), `cannot patch resource "configmaps" in API group "" in the namespace "default"`},
		{"/sync", "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: shop}\n", `"secrets"`},
		{"/sync", "apiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n", `"namespaces"`},
		{"/apply?service=default/kubernetes", deployment, `cannot get resource "services" in API group "" in the namespace "default"`},
	} {
		a = service.post(shop+tt.path, tt.body)
		require.Equal(t, http.StatusBadGateway, a.code, a.text)
		problem := a.json(t)
		assert.Contains(t, problem["error"], "forbidden")
		assert.Contains(t, problem["error"], `User "system:serviceaccount:platform:platform-daemon"`)
		assert.Contains(t, problem["error"], tt.want)
		assert.Contains(t, problem["help"], "give the daemon's service\naccount the permission that it names")
	}

	// A deletion is part of Sync.
	request := `{"actions": [{"resourceID": "web", "delete": ` + strconv.Quote(config+"---\n"+account) + `}]}`
	a = service.post(shop+"/sync", request)
	require.Equal(t, 200, a.code, a.text)
	_, err = client.CoreV1().ConfigMaps("shop").Get(t.Context(), "web", metav1.GetOptions{})
	require.ErrorContains(t, err, "not found")
}

// tokenKubeconfig returns the path of a kubeconfig with the daemon's service account.
func tokenKubeconfig(t *testing.T, client clientset.Interface, cp *controlplane.ControlPlane) string {
	t.Helper()
	token, err := client.CoreV1().ServiceAccounts("platform").CreateToken(t.Context(), "platform-daemon", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	require.NoError(t, err)
	return kubeconfigOf(t, cp, &clientcmdapi.AuthInfo{Token: token.Status.Token})
}

// kubeconfigOf returns the path of a kubeconfig with these credentials.
func kubeconfigOf(t *testing.T, cp *controlplane.ControlPlane, user *clientcmdapi.AuthInfo) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["a"] = &clientcmdapi.Cluster{Server: cp.Config().Host, CertificateAuthorityData: cp.Config().CAData}
	config.AuthInfos["a"] = user
	config.Contexts["a"] = &clientcmdapi.Context{Cluster: "a", AuthInfo: "a"}
	config.CurrentContext = "a"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))
	return path
}
