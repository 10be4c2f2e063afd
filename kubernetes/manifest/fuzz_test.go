package manifest_test

import (
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// FuzzSetImages checks against what a parser gets: of the containers named the image
// changes, and nothing else in any object.
func FuzzSetImages(f *testing.F) {
	for _, seed := range []string{
		one("x:1"), one("'x'"), one(`"x"`), one("|-\n      x"), one(">\n      x"), one("&i x") + "    tty: *i\n", one("!!str &a x"),
		pod("  containers:\n  - {name: b, image: &i x}\n  - {name: a, image: *i}\n"),
		pod("  containers:\n  - &b\n    name: a\n    image: x\n  - <<: *b\n"),
		pod("  containers:\n  - &b\n    name: b\n    image: x\n  - &c {<<: [*b], name: a}\n  - name: c\n    <<: *c\n    <<: *b\n"),
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"image":"x","name":"a"}]}}`,
		"\ufeff" + one("x") + "---\n\ufeff" + one("x\r"),
	} {
		f.Add([]byte(seed), "a", "y:2")
		f.Add([]byte(seed), "a", `y'"\:`)
	}
	f.Fuzz(func(t *testing.T, definition []byte, name, image string) {
		images := map[string]string{name: image}
		given := string(definition)
		got, err := manifest.SetImages(definition, images)
		if string(definition) != given {
			t.Fatal("the argument is changed")
		}
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error runs over several lines: %q", err)
			}
			return
		}
		before, err := manifest.Parse(definition)
		if err != nil {
			t.Fatalf("what cannot be read is changed: %v", err)
		}
		after, err := manifest.Parse(got)
		if err != nil {
			t.Fatalf("the result cannot be read: %v", err)
		}
		if len(before) != len(after) {
			t.Fatalf("%d objects became %d", len(before), len(after))
		}
		for i := range before {
			setImage(before[i].Object, name, image)
			setImage(after[i].Object, name, image)
			if !reflect.DeepEqual(before[i].Object, after[i].Object) {
				t.Errorf("more than the image is changed:\n%q\n%q", definition, got)
			}
		}
		if again, err := manifest.SetImages(got, images); err != nil || string(again) != string(got) {
			t.Errorf("set again, %q became %q, %v", got, again, err)
		}
	})
}

// setImage sets the image of whatever has that name and an image.
func setImage(value any, name, image string) {
	switch v := value.(type) {
	case map[string]any:
		if _, ok := v["image"]; ok && v["name"] == name {
			v["image"] = image
		}
		for _, value := range v {
			setImage(value, name, image)
		}
	case []any:
		for _, value := range v {
			setImage(value, name, image)
		}
	}
}

// FuzzPlan checks that no value of a Secret is told, that a plan is complete, and that
// planning has no effect on what is planned.
func FuzzPlan(f *testing.F) {
	// What is secret is written so, and nothing else is.
	const sentinel = "TOPSECRET"
	encoded := base64.StdEncoding.EncodeToString([]byte("xTOPSECRETx"))
	hidden := strings.NewReplacer("hunter", sentinel, "aHVudGVyMg==", encoded).Replace(secret)
	for _, seed := range []string{"", data, deployment, docs(namespaceProd, widgetCRD, widget, claim), hidden, inSet(hidden), "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nDATA: TOPSECRET\n",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [null, {ports: [null]}]}}}\n"} {
		f.Add([]byte(seed), []byte(hidden))
		f.Add([]byte(hidden), []byte(seed))
		f.Add([]byte(seed), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, current, wanted []byte) {
		desired, err := manifest.Parse(wanted)
		if err != nil {
			return
		}
		def, report, err := manifest.Plan(current, desired, demo)
		text := fmt.Sprint(report, report.Add, report.Change, report.Unseen, report.Delete, err)
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("the error runs over several lines: %q", err)
		}
		if onlyInSecrets(current, sentinel, encoded) && onlyInSecrets(wanted, sentinel, encoded) &&
			(strings.Contains(text, sentinel) || strings.Contains(text, encoded)) {
			t.Errorf("a secret is told: %s", text)
		}
		if err != nil {
			return
		}
		if n := len(report.Add) + len(report.Change) + len(report.Unseen) + len(report.Delete); len(def.Actions) != n {
			t.Errorf("%d entries and %d actions", n, len(def.Actions))
		}
		seen := map[string]bool{}
		for _, a := range def.Actions {
			if seen[a.ResourceID] {
				t.Errorf("two actions are called %s", a.ResourceID)
			}
			seen[a.ResourceID] = true
			for _, text := range [][]byte{a.Apply, a.Delete} {
				if _, err := manifest.Parse(text); err != nil {
					t.Errorf("%s cannot be read: %v", text, err)
				}
			}
		}
		// What is applied to nothing is exported as it is; planned again it is unchanged.
		c := newCluster()
		if err := c.Sync(def); err != nil {
			t.Fatal(err)
		}
		exported, err := c.Export()
		if err != nil {
			t.Fatal(err)
		}
		_, again, err := manifest.Plan(exported, desired, demo)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range append(again.Add, again.Change...) {
			if seen[e.ID] {
				t.Errorf("planned again: %s", again)
			}
		}
	})
}

// FuzzPlanOfExport checks that, whatever somebody passes off as an Export, a plan deletes
// nothing but what carries the marks of its set, and says what is wrong in a short line.
func FuzzPlanOfExport(f *testing.F) {
	for _, seed := range []string{"", data, inSet(data), docs(namespaceProd, widgetCRD, widget, claim), inSet(docs(namespaceProd, data)),
		"kind: [", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ..}\n", "a: &a [*a]", "# Secrets left out: 9999999999999999999\n", "# Not exported: example.com/v1: a\n"} {
		f.Add([]byte(seed))
	}
	desired, err := manifest.Parse([]byte(cm("wanted")))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, export []byte) {
		def, report, err := manifest.Plan(export, desired, manifest.PlanOptions{SyncSet: "demo", DeleteBudget: 1 << 20, AllowDeleteNamespaces: true, AllowDeleteCRDs: true, AllowDeletePVCs: true})
		if err != nil {
			if len(err.Error()) > 4<<10 || strings.ContainsAny(err.Error(), "\n\r\x1b") {
				t.Errorf("not a short line: %q", err)
			}
			return
		}
		marked := 0
		objects, err := manifest.Parse(export)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			if o.GetLabels()[manifest.SyncSetLabel] == "demo" && o.GetAnnotations()[manifest.DefinitionHashAnnotation] != "" {
				marked++
			}
		}
		deletions := 0
		for _, a := range def.Actions {
			if len(a.Delete) > 0 {
				deletions++
			}
		}
		if deletions > marked || deletions != len(report.Delete) {
			t.Errorf("%d deletions, of %d objects that are marked: %s", deletions, marked, report)
		}
	})
}

// onlyInSecrets says whether the sentinels occur in nothing but values of Secrets.
func onlyInSecrets(text []byte, sentinels ...string) bool {
	objects, err := manifest.Parse(text)
	if err != nil {
		return false
	}
	for _, o := range objects {
		content := map[string]any{}
		for name, value := range o.Object {
			if o.GetKind() == "Secret" && name != "apiVersion" && name != "kind" && name != "metadata" && name != "type" && name != "immutable" {
				if m, ok := value.(map[string]any); ok { // the keys are shown
					keys := map[string]any{}
					for key := range m {
						keys[key] = true
					}
					value = keys
				} else {
					value = true
				}
			}
			content[name] = value
		}
		for _, s := range sentinels {
			if strings.Contains(strings.ToUpper(fmt.Sprint(content)), strings.ToUpper(s)) {
				return false
			}
		}
	}
	return true
}
