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

// mastersGroup is a group that is allowed everything, regardless of RBAC rules.
const mastersGroup = "system:masters"

// Config returns a configuration for clients that are allowed everything. The caller
// may modify it. It has no rate limit.
func (cp *ControlPlane) Config() *rest.Config { return rest.CopyConfig(cp.admin) }

// ConfigFor returns a configuration for clients that authenticate as a user in
// groups, with the permissions that RBAC grants these: at first only discovery. The
// client authenticates by a certificate.
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

// Kubeconfig returns the path of a kubeconfig file for programs that are allowed
// everything. The file exists until Stop.
func (cp *ControlPlane) Kubeconfig() string { return filepath.Join(cp.dir, "admin.kubeconfig") }

// WriteKubeconfig writes a kubeconfig file, readable only by its owner, with the
// access of a configuration from [ControlPlane.Config] or [ControlPlane.ConfigFor].
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

// componentKubeconfig writes a kubeconfig file for one of the programs. Each program
// is a user of its own, so that managed fields and events show which one acted.
func (cp *ControlPlane) componentKubeconfig(user string) (string, error) {
	config, err := cp.ConfigFor(user, mastersGroup)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cp.dir, strings.ReplaceAll(user, ":", "-")+".kubeconfig")
	return path, WriteKubeconfig(path, config)
}

// Names of files in the data folder that several programs read.
const (
	clientCAFile          = "client-ca.crt"
	serviceAccountKeyFile = "service-account.key"
)

// proxyName is the name of the server's client certificate for aggregated servers.
const proxyName = "front-proxy"

// keyFiles holds the paths of the keys and certificates of kube-apiserver.
type keyFiles struct {
	clientCA, serverCert, serverKey string
	proxyCA, proxyCert, proxyKey    string
	serviceAccountKey               string
}

// writeKeys creates the authorities, keys and certificates, and the administrator's
// access to the server that will listen on the port.
func (cp *ControlPlane) writeKeys(port int) (*keyFiles, error) {
	clients, err := newAuthority("controlplane")
	if err != nil {
		return nil, err
	}
	// A separate authority: if it were that of the clients, each client could claim
	// to be the server acting for another user.
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
