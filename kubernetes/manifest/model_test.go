package manifest_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// A cluster is a small model of one: it applies as server-side apply does, fills in
// defaults, writes values in its own form, and exports without what only it sets.
type cluster struct {
	platform.MockPlatform
	live    map[string]map[string]any // by kind, namespace and name
	applied map[string]map[string]any // the definition last applied
	secrets bool                      // Export shows them
}

func newCluster() *cluster {
	return &cluster{live: map[string]map[string]any{}, applied: map[string]map[string]any{}, secrets: true}
}

func id(o manifest.Object) string {
	return o.GroupVersionKind().GroupKind().String() + " " + o.GetNamespace() + "/" + o.GetName()
}

func (c *cluster) Sync(def platform.SyncDef) error {
	for _, action := range def.Actions {
		deletes, err := manifest.Parse(action.Delete)
		if err != nil {
			return err
		}
		for _, o := range deletes {
			delete(c.live, id(o))
			delete(c.applied, id(o))
		}
		applies, err := manifest.Parse(action.Apply)
		if err != nil {
			return err
		}
		for _, o := range applies {
			live := c.live[id(o)]
			if live == nil {
				live = map[string]any{}
			}
			remove(live, c.applied[id(o)], o.Object)
			overlay(live, o.Object)
			if o.GroupVersionKind().GroupKind().String() == "Deployment.apps" {
				fillIn(live)
			}
			c.live[id(o)], c.applied[id(o)] = live, o.Object
		}
	}
	return nil
}

func (c *cluster) Export() ([]byte, error) {
	var b bytes.Buffer
	if n := c.count("Secret"); !c.secrets && n > 0 {
		fmt.Fprintf(&b, "# Secrets left out: %d\n", n)
	}
	for _, id := range slices.Sorted(maps.Keys(c.live)) {
		if !c.secrets && strings.HasPrefix(id, "Secret ") {
			continue
		}
		text, err := yaml.Marshal(c.live[id])
		if err != nil {
			return nil, err
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.Bytes(), nil
}

func (c *cluster) count(kind string) int {
	n := 0
	for id := range c.live {
		if strings.HasPrefix(id, kind+" ") {
			n++
		}
	}
	return n
}

// remove takes from live what the old definition set and the new one does not.
func remove(live, before, now map[string]any) {
	for name, old := range before {
		value, still := now[name]
		if !still {
			delete(live, name)
			continue
		}
		l, ok1 := live[name].(map[string]any)
		o, ok2 := old.(map[string]any)
		n, ok3 := value.(map[string]any)
		if ok1 && ok2 && ok3 {
			remove(l, o, n)
		}
	}
}

// overlay sets in live what the definition sets. Lists are replaced as a whole.
func overlay(live, definition map[string]any) {
	for name, value := range definition {
		l, ok1 := live[name].(map[string]any)
		d, ok2 := value.(map[string]any)
		switch {
		case ok1 && ok2:
			overlay(l, d)
		case ok2:
			live[name] = map[string]any{}
			overlay(live[name].(map[string]any), d)
		default:
			live[name] = value
		}
	}
}

// fillIn does to an object what the API server does: defaults, canonical quantities,
// nothing empty where Go's zero value would be.
func fillIn(content map[string]any) {
	spec, _ := content["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	pod, ok := template["spec"].(map[string]any)
	if !ok {
		return
	}
	pod["dnsPolicy"] = "ClusterFirst"
	spec["progressDeadlineSeconds"] = int64(600)
	containers, _ := pod["containers"].([]any)
	for _, item := range containers {
		container, ok := item.(map[string]any)
		if !ok {
			continue // the API server would refuse it
		}
		container["imagePullPolicy"] = "Always"
		if env, ok := container["env"].([]any); ok && len(env) == 0 {
			delete(container, "env")
		}
		resources, _ := container["resources"].(map[string]any)
		limits, _ := resources["limits"].(map[string]any)
		if limits["cpu"] == "1000m" {
			limits["cpu"] = "1"
		}
		ports, _ := container["ports"].([]any)
		for _, p := range ports {
			if port, ok := p.(map[string]any); ok && port["protocol"] == nil {
				port["protocol"] = "TCP"
			}
		}
	}
}
