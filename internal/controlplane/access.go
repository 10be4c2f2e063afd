package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// mastersGroup may do everything, whatever the RBAC rules are.
const mastersGroup = "system:masters"

// Config returns a configuration of one's own for clients that may do everything.
// It has no rate limit.
func (cp *ControlPlane) Config() *rest.Config { return rest.CopyConfig(cp.admin) }

// ConfigFor returns a configuration for clients that are a certain user in certain
// groups, and so may do what RBAC allows these: at first nothing but discovery.
// The server knows the user by a certificate, as it would know a person.
func (cp *ControlPlane) ConfigFor(user string, groups ...string) (*rest.Config, error) {
	return cp.configFor(cp.admin.Host, user, groups...)
}

func (cp *ControlPlane) configFor(host, user string, groups ...string) (*rest.Config, error) {
	cert, key, err := cp.clients.issueClient(user, groups...)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate to user %q: %w", user, err)
	}
	return &rest.Config{
		Host:            host,
		TLSClientConfig: rest.TLSClientConfig{CAData: cp.clients.pem, CertData: cert, KeyData: key},
		QPS:             -1,
	}, nil
}

// Kubeconfig returns the path of a kubeconfig file for programs that may do
// everything. It is there until Stop.
func (cp *ControlPlane) Kubeconfig() string { return filepath.Join(cp.dir, "admin.kubeconfig") }

// WriteKubeconfig writes a kubeconfig file, readable by its owner only, for
// programs that are to have the access that a configuration of [ControlPlane.Config]
// or [ControlPlane.ConfigFor] gives.
func WriteKubeconfig(path string, config *rest.Config) error {
	const name = "controlplane"
	k := clientcmdapi.NewConfig()
	k.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	k.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	k.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	k.CurrentContext = name
	if err := clientcmd.WriteToFile(*k, path); err != nil { // mode 0600
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// componentKubeconfig writes a kubeconfig file for one of the programs. Each is a
// user of its own, so that the managed fields and events of objects tell them
// apart.
func (cp *ControlPlane) componentKubeconfig(user string) (string, error) {
	config, err := cp.ConfigFor(user, mastersGroup)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cp.dir, strings.ReplaceAll(user, ":", "-")+".kubeconfig")
	return path, WriteKubeconfig(path, config)
}

// Names of files in the data folder that more than one program reads.
const (
	clientCAFile          = "client-ca.crt"
	serviceAccountKeyFile = "service-account.key"
)

// proxyName is who the server is to an aggregated server.
const proxyName = "front-proxy"

// keyFiles are the paths of what kube-apiserver needs.
type keyFiles struct {
	clientCA, serverCert, serverKey string
	proxyCA, proxyCert, proxyKey    string
	serviceAccountKey               string
}

// writeKeys makes the authorities, the keys and the certificates, and the access
// of the administrator to the server that will listen on a port.
func (cp *ControlPlane) writeKeys(port int) (*keyFiles, error) {
	clients, err := newAuthority("controlplane")
	if err != nil {
		return nil, err
	}
	// Its own authority: were it that of the clients, each of them could claim to
	// be the server acting for someone else.
	proxies, err := newAuthority("controlplane-proxy")
	if err != nil {
		return nil, err
	}
	serverCert, serverKey, err := clients.issueServer()
	if err != nil {
		return nil, err
	}
	proxyCert, proxyKey, err := proxies.issueClient(proxyName)
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serviceAccountKey, err := encodeKey(private)
	if err != nil {
		return nil, err
	}

	var errs []error
	write := func(name string, data []byte) string {
		path := filepath.Join(cp.dir, name)
		errs = append(errs, os.WriteFile(path, data, 0o600))
		return path
	}
	files := &keyFiles{
		clientCA:          write(clientCAFile, clients.pem),
		serverCert:        write("server.crt", serverCert),
		serverKey:         write("server.key", serverKey),
		proxyCA:           write("proxy-ca.crt", proxies.pem),
		proxyCert:         write("proxy.crt", proxyCert),
		proxyKey:          write("proxy.key", proxyKey),
		serviceAccountKey: write(serviceAccountKeyFile, serviceAccountKey),
	}
	cp.clients = clients
	cp.admin, err = cp.configFor(fmt.Sprintf("https://127.0.0.1:%d", port), "admin", mastersGroup)
	errs = append(errs, err)
	if err == nil {
		errs = append(errs, WriteKubeconfig(cp.Kubeconfig(), cp.admin))
	}
	return files, errors.Join(errs...)
}
