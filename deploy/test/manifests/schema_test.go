package manifests_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// The schema refuses values that cannot be right, and names them.
func TestSchemaRefuses(t *testing.T) {
	_, err := render(t, required...)
	require.NoError(t, err)
	for _, tt := range []struct{ set, want string }{
		{`daemon.instance=""`, "/daemon/instance"},
		{`daemon.instance="a b"`, "/daemon/instance"},
		{`daemon.instance=1`, "/daemon/instance"},
		{`daemon.instnace="a"`, "instnace"},
		{`deamon={}`, "deamon"},
		{`nats.url=""`, "/nats/url"},
		{`nats.url="nats.example:4222"`, "/nats/url"},
		{`nats.url="tls://user:password@nats.example"`, "/nats/url"},
		{`nats.url="tls://a.example, tls://b.example"`, "/nats/url"},
		{`nats.password="secret"`, "password"},
		{`image="platform:1"`, "/image"},
		{`image.digest="1.0.0"`, "/image/digest"},
		{`image.pullPolicy="Sometimes"`, "/image/pullPolicy"},
		{`image.pullSecrets=["a"]`, "/image/pullSecrets/0"},
		{`fullnameOverride="A"`, "/fullnameOverride"},
		{`daemon.replicas=2`, "replicas"},
		{`daemon.enabled="yes"`, "/daemon/enabled"},
		{`daemon.config=["concurrency"]`, "/daemon/config"},
		{`daemon.config={"--concurrency": 1}`, "--concurrency"},
		{`daemon.config={"Concurrency": 1}`, "Concurrency"},
		{`daemon.config={"concurrency": {"a": 1}}`, "/daemon/config/concurrency"},
		{`daemon.config={"namespaces": [["a"]]}`, "/daemon/config/namespaces"},
		{`daemon.config={"instance": "b"}`, "instance"},
		{`daemon.config={"nats": "nats://a"}`, "nats"},
		{`daemon.config={"listen": ":1"}`, "listen"},
		{`daemon.nats.secret="Nats"`, "/daemon/nats/secret"},
		{`daemon.nats.credentials="../creds"`, "/daemon/nats/credentials"},
		{`daemon.nats.token="x"`, "token"},
		{`daemon.rbac.sync.namespaces="shop"`, "/daemon/rbac/sync/namespaces"},
		{`daemon.rbac.sync.namespaces=["Shop"]`, "/daemon/rbac/sync/namespaces/0"},
		{`daemon.rbac.sync.namespaces=["shop", "shop"]`, "/daemon/rbac/sync/namespaces"},
		{`daemon.rbac.sync.rules=[{"resources": ["jobs"], "verbs": ["get"]}]`, "apiGroups"},
		{`daemon.rbac.sync.extraRules=[{"apiGroups": [""], "resources": [], "verbs": ["get"]}]`, "/resources"},
		{`daemon.rbac.export="yes"`, "/daemon/rbac/export"},
		{`daemon.goMemLimit="450M"`, "/daemon/goMemLimit"},
		{`daemon.resources.limit={}`, "limit"},
		{`daemon.env=[{"name": "PLATFORM_INSTANCE", "value": "b"}]`, "/daemon/env/0/name"},
		{`daemon.env={"A": "b"}`, "/daemon/env"},
		{`daemon.terminationGracePeriodSeconds="630"`, "/daemon/terminationGracePeriodSeconds"},
		{`daemon.podLabels={"a": 1}`, "/daemon/podLabels/a"},
		{`service.replicas="2"`, "/service/replicas"},
		{`service.replicas=-1`, "/service/replicas"},
		{`service.port=0`, "/service/port"},
		{`service.type="ExternalName"`, "/service/type"},
		{`service.token.secret=""`, "/service/token/secret"},
		{`service.token.value="secret"`, "value"},
		{`service.config={"token-file": "/x"}`, "token-file"},
		{`service.config={"embedded-nats": true}`, "embedded-nats"},
		{`service.networkPolicy.from=[]`, "/service/networkPolicy/from"},
	} {
		_, err := render(t, append(slices.Clone(required), tt.set)...)
		if assert.Error(t, err, tt.set) {
			assert.Contains(t, err.Error(), tt.want, tt.set)
		}
	}
	for _, missing := range required {
		_, err := render(t, slices.DeleteFunc(slices.Clone(required), func(s string) bool { return s == missing })...)
		key, _, _ := strings.Cut(missing, "=")
		assert.ErrorContains(t, err, "/"+strings.ReplaceAll(key, ".", "/"))
	}
	// As part of another chart it gets that one's globals. Without a daemon there need be no instance.
	_, err = render(t, required[0], `daemon.enabled=false`, `global={"region": "x"}`)
	assert.NoError(t, err)
}

// Each value that the schema has is in values.yaml, which documents it.
func TestValuesAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	require.NoError(t, err)
	var schema map[string]any
	require.NoError(t, json.Unmarshal(text, &schema))
	text, err = os.ReadFile(filepath.Join(chart, "values.yaml"))
	require.NoError(t, err)
	var values map[string]any
	require.NoError(t, yaml.UnmarshalStrict(text, &values))

	defs := schema["$defs"].(map[string]any)
	var walk func(at string, schema, values map[string]any) int
	walk = func(at string, schema, values map[string]any) (count int) {
		if ref, ok := schema["$ref"].(string); ok {
			schema = defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			at := at + "." + name
			if at == ".global" || strings.HasSuffix(at, ".resources.claims") {
				continue
			}
			value, ok := values[name]
			assert.True(t, ok, "%s is in values.yaml", at)
			below, _ := value.(map[string]any)
			count += 1 + walk(at, property.(map[string]any), below)
		}
		return count
	}
	assert.Greater(t, walk("", schema, values), 80)
}
