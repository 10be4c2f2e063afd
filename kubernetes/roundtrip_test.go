package kubernetes_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// emptyCluster returns a cluster with nothing in it but what Kubernetes puts there itself.
func emptyCluster(t *testing.T) *kubernetes.Cluster {
	t.Helper()
	controlplane.Require(t) // for its rules about what is missing
	cp, err := controlplane.Start(t.Context(), controlplane.Options{NoScheduler: true, NoKwok: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cp.Stop()) })
	c, err := kubernetes.NewCluster(cp.Config(), kubernetes.Options{ExportSecrets: true, Timeout: time.Minute})
	require.NoError(t, err)
	return c
}

// What is exported from one cluster and synced into an empty one gives the same cluster:
// exported again, the same bytes.
func TestExportRoundTrip(t *testing.T) {
	from, to := emptyCluster(t), emptyCluster(t)
	files, err := filepath.Glob("testdata/operators/*.yaml")
	require.NoError(t, err)
	demo, err := filepath.Glob("../examples/demo/manifests/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	require.NotEmpty(t, demo)
	var install []platform.SyncAction
	for _, file := range append(files, demo...) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		install = append(install, platform.SyncAction{ResourceID: file, Apply: data})
	}
	require.NoError(t, from.Sync(def(install...)))
	require.NoError(t, from.Sync(def(randomObjects(rand.New(rand.NewPCG(1, 2)), 300)...)))

	first, err := from.Export()
	require.NoError(t, err)
	require.NoError(t, to.Sync(def(platform.SyncAction{ResourceID: "export", Apply: first})))
	second, err := to.Export()
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
}

// randomObjects returns actions that make n objects in a few namespaces.
func randomObjects(r *rand.Rand, n int) []platform.SyncAction {
	const kind = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.random.example.com"},"spec":{
		"group":"random.example.com","scope":"Namespaced","names":{"kind":"Thing","plural":"things","singular":"thing"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`
	actions := []platform.SyncAction{{ResourceID: "kind", Apply: []byte(kind)}}
	for i := range 3 {
		actions = append(actions, object("v1", "Namespace", "", fmt.Sprintf("random-%d", i), nil))
	}
	for i := range n {
		namespace, name := fmt.Sprintf("random-%d", r.IntN(3)), fmt.Sprintf("r%d", i)
		switch r.IntN(4) {
		case 0:
			data, binary := map[string]any{}, map[string]any{}
			for j := range r.IntN(5) {
				data[fmt.Sprintf("k%d", j)] = randomText(r)
				binary[fmt.Sprintf("b%d", j)] = base64.StdEncoding.EncodeToString([]byte(randomText(r)))
			}
			actions = append(actions, object("v1", "ConfigMap", namespace, name, map[string]any{"data": data, "binaryData": binary}))
		case 1:
			port := map[string]any{"port": 1 + r.IntN(65000)}
			spec := map[string]any{"type": []string{"ClusterIP", "NodePort", "LoadBalancer"}[r.IntN(3)], "ports": []any{port}}
			if r.IntN(2) == 0 {
				spec["selector"] = map[string]any{"app": name}
			}
			actions = append(actions, object("v1", "Service", namespace, name, map[string]any{"spec": spec}))
		case 2:
			policy := map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress"}}
			if r.IntN(2) == 0 {
				policy["ingress"] = []any{map[string]any{}}
			}
			actions = append(actions, object("networking.k8s.io/v1", "NetworkPolicy", namespace, name, map[string]any{"spec": policy}))
		default:
			actions = append(actions, object("random.example.com/v1", "Thing", namespace, name, map[string]any{"content": map[string]any{"value": randomValue(r, 4)}}))
		}
	}
	return actions
}

func object(apiVersion, kind, namespace, name string, content map[string]any) platform.SyncAction {
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": namespace}}
	for field, value := range content {
		o[field] = value
	}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // it is made of what JSON can say
	}
	return platform.SyncAction{ResourceID: namespace + "/" + kind + "/" + name, Apply: data}
}

// randomText returns text that a careless writer of YAML would lose or change.
func randomText(r *rand.Rand) string {
	pieces := []string{"yes", "no", "0x1f", "010", "1e3", "1_000", ".5", "null", "~", "- ", ": ", " #", "\n", "\n\n", "  ", "\t", "'", `"`, "\\", "|", ">", "{", "[",
		"&a", "*a", "!!str", "%", "@", "`", "---", "...", "2001-01-01", "12:30", "é", "世", "\u00a0", "\u2028", "\u0085", "\ufeff", "a", "b", "=", "<<", "on", "True"}
	text := ""
	for range r.IntN(6) {
		text += pieces[r.IntN(len(pieces))]
	}
	return text
}

func randomValue(r *rand.Rand, depth int) any {
	if depth == 0 {
		return randomText(r)
	}
	switch r.IntN(8) {
	case 0:
		m := map[string]any{}
		for range r.IntN(4) {
			m[randomText(r)] = randomValue(r, depth-1)
		}
		return m
	case 1:
		list := []any{}
		for range r.IntN(4) {
			list = append(list, randomValue(r, depth-1))
		}
		return list
	case 2:
		return r.Int64() - r.Int64()
	case 3:
		return r.NormFloat64() * 1e10
	case 4:
		return r.IntN(2) == 0
	default:
		return randomText(r)
	}
}
