package service

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
)

const (
	jsonType = "application/json"
	webYAML  = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata: {sky: grey}\n"
	keyYAML  = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\nstringData: {password: hunter2}\n"
	planPath = "/v1/instances/a/plan"
)

// A counted is a platform whose Exports are counted, and whose Sync is what the next Export
// shows.
type counted struct {
	platform.MockPlatform
	export  string
	err     error
	exports int
}

func (c *counted) Export() ([]byte, error) {
	c.exports++
	return []byte(c.export), c.err
}

func (c *counted) Sync(def platform.SyncDef) error {
	c.export = ""
	for _, a := range def.Actions {
		c.export += "---\n" + string(a.Apply) + "\n"
	}
	return nil
}

// A planAnswer is the answer to a request for a plan.
type planAnswer struct {
	Set, Error                                    string
	Empty                                         bool
	Add, Change, Unseen, Delete, Refused, Ignored []jsonform.Entry
	Unchanged                                     int
	Notes                                         []string
	Definition                                    json.RawMessage
}

func askPlan(t *testing.T, url, body string, header ...string) (code int, p planAnswer, text string) {
	t.Helper()
	code, text = ask(t, "POST", url, body, header...)
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	return code, p, text
}

// A plan says what would change; synced, and planned again, nothing does.
func TestPlan(t *testing.T) {
	cluster := &counted{export: strings.Replace(webYAML, "grey", "blue", 1) + "---\n" + strings.Replace(webYAML, "name: web", "name: other", 1)}
	url := serve(t, cluster, "")
	body := webYAML + "---\n" + keyYAML
	code, p, text := askPlan(t, url+planPath+"?set=demo&definition=true", body)
	require.Equal(t, http.StatusOK, code, text)
	require.Len(t, p.Add, 1)
	assert.Equal(t, "shop:secret/key", p.Add[0].ID)
	assert.Equal(t, "request", p.Add[0].Source)
	assert.Equal(t, 5, p.Add[0].Line)
	require.Len(t, p.Change, 1)
	assert.Contains(t, p.Change[0].Diff, "-  sky: blue\n+  sky: grey\n")
	assert.Contains(t, p.Change[0].Why, "it is taken over")
	assert.Empty(t, p.Delete)
	assert.False(t, p.Empty)
	assert.Equal(t, "demo", p.Set)
	const encoded = "aHVudGVyMg=="
	assert.Contains(t, string(p.Definition), encoded, "what is to be applied has the values")
	before, _, _ := strings.Cut(text, `"definition"`)
	_, after, _ := strings.Cut(text, `"delete": []`)
	report := before + after
	assert.Contains(t, report, "shop:secret/key")
	assert.NotContains(t, report, "hunter2")
	assert.NotContains(t, report, encoded)

	code, text = ask(t, "POST", url+"/v1/instances/a/sync", string(p.Definition), "Content-Type", jsonType)
	require.Equal(t, http.StatusOK, code, text)
	code, p, text = askPlan(t, url+planPath+"?set=demo", body)
	assert.Equal(t, http.StatusOK, code)
	assert.True(t, p.Empty, text)
	assert.Equal(t, 2, p.Unchanged)
	assert.Empty(t, p.Definition)

	code, p, text = askPlan(t, url+planPath+"?set=demo&definition=true", keyYAML)
	assert.Equal(t, http.StatusOK, code, text)
	require.Len(t, p.Delete, 1)
	assert.Equal(t, "shop:configmap/web", p.Delete[0].ID)
	assert.JSONEq(t, `{"actions":[{"resourceID":"shop:configmap/web","delete":"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"web\",\"namespace\":\"shop\"}}\n"}]}`, string(p.Definition))
	assert.Equal(t, 3, cluster.exports)
}

// A plan takes manifests in the forms of a sync, and names the file of each object.
func TestPlanForms(t *testing.T) {
	url := serve(t, &counted{}, "") + planPath
	form := "--b\r\nContent-Disposition: form-data; name=apply; filename=web.yaml\r\n\r\n" + webYAML + "\r\n--b--\r\n"
	actions, err := json.Marshal(jsonform.Definition{Actions: []jsonform.Action{{ResourceID: "web.yaml", Apply: webYAML}}})
	require.NoError(t, err)
	for kind, body := range map[string]string{"multipart/form-data; boundary=b": form, jsonType: string(actions)} {
		code, p, text := askPlan(t, url, body, "Content-Type", kind)
		require.Equal(t, http.StatusOK, code, text)
		require.Len(t, p.Add, 1)
		assert.Equal(t, jsonform.Entry{ID: "shop:configmap/web", Source: "web.yaml", Line: 1, Diff: p.Add[0].Diff}, p.Add[0])
	}
}

// What is wrong with a request is refused before there is an Export.
func TestWrongPlansCostNoExport(t *testing.T) {
	cluster := &counted{}
	url := serve(t, cluster, "") + planPath
	form := "--b\r\nContent-Disposition: form-data; name=delete; filename=web.yaml\r\n\r\n" + webYAML + "\r\n--b--\r\n"
	for _, tt := range []struct{ query, kind, body, want string }{
		{"", "", "", "nothing to sync"},
		{"", "", "kind: A", "request: document at line 1: apiVersion is missing"},
		{"", "", webYAML + "---\n" + webYAML, "is defined a second time, first at request:1"},
		{"", "multipart/form-data; boundary=b", form, "web.yaml: it deletes something"},
		{"", jsonType, `{"actions":[{"resourceID":"x","apply":"","delete":"kind: A"}]}`, "x: it deletes something"},
		{"", jsonType, `{"actions":[{"Apply":"a"}]}`, "unknown field"},
		{"?set=a/b", "", webYAML, "the name of the sync set"},
		{"?namespace=A", "", webYAML, "the namespace"},
		{"?deleteBudget=many", "", webYAML, `parameter deleteBudget=\"many\": want a number from 0 to 1000000`},
		{"?deleteBudget=-1", "", webYAML, "parameter deleteBudget"},
		{"?allowDeleteCRDs=", "", webYAML, "parameter allowDeleteCRDs"},
		{"?allowDeletePVCs=1", "", webYAML, "parameter allowDeletePVCs"},
		{"?allowDeleteNamespaces=no", "", webYAML, "parameter allowDeleteNamespaces"},
		{"?definition=yes", "", webYAML, "parameter definition"},
	} {
		code, text := ask(t, "POST", url+tt.query, tt.body, "Content-Type", tt.kind)
		assert.Equal(t, http.StatusBadRequest, code, text)
		assert.Contains(t, text, tt.want)
	}
	assert.Zero(t, cluster.exports)
}

// The options of a plan reach it.
func TestPlanOptions(t *testing.T) {
	const (
		namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: old}\n"
		claim     = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: disk, namespace: shop}\nspec: {accessModes: [ReadWriteOnce]}\n"
		crd       = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com, scope: Namespaced, names: {kind: Thing, plural: things}, versions: []}\n"
	)
	cluster := &counted{}
	a := newAPI(cluster)
	a.maxBody = 1 << 16
	url := start(t, a, "")
	_, p, text := askPlan(t, url+planPath+"?set=demo&definition=true", strings.Join([]string{webYAML, namespace, claim, crd}, "---\n"))
	code, _ := ask(t, "POST", url+"/v1/instances/a/sync", string(p.Definition), "Content-Type", jsonType)
	require.Equal(t, http.StatusOK, code, text)

	for query, want := range map[string][2]int{ // refused and deleted
		"":                            {3, 0},
		"&allowDeleteNamespaces=true": {2, 1},
		"&allowDeleteCRDs=true":       {2, 1},
		"&allowDeletePVCs=true":       {2, 1},
		"&allowDeletePVCs=false":      {3, 0},
		"&allowDeletePVCs=true&allowDeleteCRDs=true&allowDeleteNamespaces=true": {0, 3},
	} {
		code, p, text := askPlan(t, url+planPath+"?set=demo"+query, webYAML)
		require.Equal(t, http.StatusOK, code, text)
		assert.Equal(t, want, [2]int{len(p.Refused), len(p.Delete)}, query)
	}
	for query, want := range map[string]int{"": 200, "&deleteBudget=0": 409, "&deleteBudget=1": 200} {
		code, p, text := askPlan(t, url+planPath+"?set=demo&allowDeletePVCs=true"+query, webYAML)
		assert.Equal(t, want, code, text)
		if code == http.StatusConflict {
			assert.Contains(t, p.Error, `1 of the 4 objects of sync set "demo" would be deleted, and the budget is 0: shop:persistentvolumeclaim/disk`)
			require.Len(t, p.Delete, 1, "the report is beside the error")
			assert.Empty(t, p.Definition)
		}
	}
	_, p, _ = askPlan(t, url+planPath+"?namespace=bank", strings.Replace(webYAML, ", namespace: shop", "", 1))
	assert.Equal(t, "bank:configmap/web", p.Add[0].ID)
}

// What could not be exported is said beside the plan that follows from the rest.
func TestPlanOfPartialExport(t *testing.T) {
	cluster := &counted{export: webYAML, err: platform.ClusterError(errors.New("secrets: forbidden"))}
	url := serve(t, cluster, "") + planPath
	code, p, text := askPlan(t, url+"?definition=true", webYAML)
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Equal(t, "secrets: forbidden", p.Error)
	assert.Len(t, p.Change, 1, text)
	assert.Contains(t, string(p.Definition), "grey")

	cluster.export = ""
	code, text = ask(t, "POST", url, webYAML)
	assert.Equal(t, http.StatusBadGateway, code)
	assert.NotContains(t, text, "change", "of nothing there is no plan")
}

// An Export that is malformed is the cluster's fault, and one that the request does not fit is a
// conflict.
func TestPlanThatFails(t *testing.T) {
	cluster := &counted{export: "a: ["}
	url := serve(t, cluster, "") + planPath
	code, text := ask(t, "POST", url, webYAML)
	assert.Equal(t, http.StatusBadGateway, code, text)
	assert.Contains(t, text, "the state of the cluster: document at line 1")

	cluster.export = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: other}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n" +
		"metadata: {name: things.example.com}\nspec: {group: example.com, scope: Cluster, names: {kind: Thing, plural: things}, versions: []}\n"
	const thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: one, namespace: %}\n"
	code, text = ask(t, "POST", url, strings.Replace(thing, "%", "a", 1)+"---\n"+strings.Replace(thing, "%", "b", 1))
	assert.Equal(t, http.StatusConflict, code, text)
	assert.Contains(t, text, "is defined a second time")
}

// An Export counts in the budget of the bodies.
func TestExportBudget(t *testing.T) {
	cluster := &counted{export: webYAML + "#" + strings.Repeat("x", 2000)}
	a := newAPI(cluster)
	a.bodies = newBudget(2500)
	url := start(t, a, "")
	code, text := ask(t, "GET", url+"/v1/instances/a/export", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, cluster.export, text)
	untilUsed(t, a, 0)

	conn := sendPart(t, a, url, 1000, 500)
	for _, tt := range [][3]string{{"GET", "export"}, {"POST", "plan", webYAML}} {
		code, text = ask(t, tt[0], url+"/v1/instances/a/"+tt[1], tt[2])
		assert.Equal(t, http.StatusServiceUnavailable, code, text)
		assert.Contains(t, text, "the export and the bodies of all requests in progress take more than 2500 bytes; try again")
		untilUsed(t, a, 500)
	}
	conn.Close()
	untilUsed(t, a, 0)
	code, text = ask(t, "POST", url+planPath, webYAML)
	assert.Equal(t, http.StatusOK, code, text)

	cluster.export += strings.Repeat("x", 2500)
	for _, tt := range [][3]string{{"GET", "export"}, {"POST", "plan", webYAML}} {
		code, text = ask(t, tt[0], url+"/v1/instances/a/"+tt[1], tt[2])
		assert.Equal(t, http.StatusInsufficientStorage, code, text)
		assert.Contains(t, text, "bytes, and the limit of all bodies together is 2500")
	}
	untilUsed(t, a, 0)
}

// The manifests of few requests are read at a time, and who waits for a turn obeys the request's
// context.
func TestPlansTakeTurns(t *testing.T) {
	a := newAPI(nil)
	for range maxPlans {
		a.reading <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := false
	read := func() error { called = true; return nil }
	require.ErrorIs(t, a.inTurn(ctx, read), context.Canceled)
	assert.False(t, called)
	<-a.reading
	require.NoError(t, a.inTurn(t.Context(), read))
	assert.True(t, called)
	assert.Len(t, a.reading, maxPlans-1, "the turn is over")
}
