package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Typical manifests: some applications in each namespace, each a Deployment with its
// dependencies, one object in each document.
var (
	//go:embed namespace.yaml
	namespaceYAML string
	//go:embed app.yaml
	appYAML string

	namespaceTemplate = template.Must(template.New("namespace.yaml").Parse(namespaceYAML))
	appTemplates      = parseAll(appYAML)
)

func parseAll(text string) []*template.Template {
	var all []*template.Template
	for doc := range strings.SplitSeq(text, "---\n") {
		all = append(all, template.Must(template.New("app.yaml").Parse(doc)))
	}
	return all
}

// resources has the plural and the version of each kind that the manifests have.
var resources = map[string]schema.GroupVersionResource{
	"Namespace":           {Version: "v1", Resource: "namespaces"},
	"ServiceAccount":      {Version: "v1", Resource: "serviceaccounts"},
	"ConfigMap":           {Version: "v1", Resource: "configmaps"},
	"Role":                {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	"RoleBinding":         {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"Service":             {Version: "v1", Resource: "services"},
	"Deployment":          {Group: "apps", Version: "v1", Resource: "deployments"},
	"NetworkPolicy":       {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	"PodDisruptionBudget": {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},

	"Secret":                   {Version: "v1", Resource: "secrets"},
	"CustomResourceDefinition": definitions,
}

// The label of all objects, and the label with the release of a Deployment.
const (
	ourLabel     = "app.kubernetes.io/part-of=bench"
	versionLabel = "app.kubernetes.io/version"
	oldVersion   = "1.4.0"
	newVersion   = "1.5.0"
)

// manifests returns n objects of all the templates, with a namespace for each 25 objects.
func manifests(prefix string, n, changed int) ([][]byte, error) {
	return manifestsOf(appTemplates, prefix, max(1, n/25), n, changed)
}

// manifestsOf returns n objects of templates. They begin with the namespaces, whose names
// begin with prefix. The first changed applications have the new version.
func manifestsOf(templates []*template.Template, prefix string, namespaces, n, changed int) ([][]byte, error) {
	docs := make([][]byte, 0, n)
	add := func(t *template.Template, app int) error {
		version := oldVersion
		if app < changed {
			version = newVersion
		}
		var b bytes.Buffer
		err := t.Execute(&b, map[string]string{
			"Namespace": namespaceName(prefix, app%namespaces),
			"Name":      fmt.Sprintf("app-%04d", app),
			"Version":   version,
		})
		docs = append(docs, b.Bytes())
		return err
	}
	for i := range namespaces {
		if err := add(namespaceTemplate, i); err != nil {
			return nil, err
		}
	}
	for i := range n - namespaces {
		if err := add(templates[i%len(templates)], i/len(templates)); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func namespaceName(prefix string, i int) string { return fmt.Sprintf("%s-%03d", prefix, i) }

// writeFiles creates a folder with a file for each document, in order.
func writeFiles(dir string, docs [][]byte) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i, doc := range docs {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.yaml", i)), doc, 0o644); err != nil {
			return err
		}
	}
	return nil
}
