package manifest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

const kustomizeGroup = "kustomize.config.k8s.io"

// Why documents are ignored.
const (
	whyNoObject      = "it holds no object"
	whyNoManifest    = "it has fewer than two of apiVersion, kind and metadata"
	whyNoneManifest  = "no document has two of apiVersion, kind and metadata"
	whyKustomization = "it is a kustomization, which is not built here"
)

// maxReported is how many documents of one file are reported as ignored, and as wrong.
const maxReported = 100

// A fileLoad takes in the documents of one file.
type fileLoad struct {
	*loader
	name          string
	named         bool  // as a kustomization is
	kustomization bool  // a document is one
	manifest      bool  // a document is one
	found         int   // how many objects are
	malformed     error // of the first document that cannot be read and looks like no object
	refused       []error
	omitted       []omission // the first of them
	omissions     int        // how many they are
}

// An omission is a document, or an object of one, that is no part of what is desired.
type omission struct {
	line int
	why  string
}

func (f *fileLoad) omit(line int, why string) {
	if f.omissions++; f.omissions <= maxReported {
		f.omitted = append(f.omitted, omission{line, why})
	}
}

func (f *fileLoad) refuse(err error) {
	if len(f.refused) < maxReported {
		f.refused = append(f.refused, err)
	}
}

// file takes in the objects of one file. The error it returns ends the walk.
func (l *loader) file(name string, data []byte) error {
	l.limits.Add(len(data))
	if parse.IsUTF16(data) { // nobody can tell what it is
		l.fail(name, parse.ErrUTF16)
		return nil
	}
	base := strings.ToLower(strings.TrimSuffix(path.Base(name), path.Ext(name)))
	f := fileLoad{loader: l, name: name, named: base == "kustomization"}
	docs := parse.Split(data)
	for _, doc := range docs {
		if err := f.document(doc); err != nil {
			return err
		}
	}
	if !f.manifest {
		f.ignoreAll(len(docs))
		return nil
	}
	for _, err := range f.refused {
		l.fail(name, err)
	}
	f.reportOmitted(len(docs))
	if f.found+len(f.refused) == 0 {
		l.ignore(name, whyNoObject) // but Lists of nothing
	}
	return nil
}

// document takes in the objects of one document. The error it returns ends the walk.
func (f *fileLoad) document(doc parse.Document) error {
	value, err := doc.Value(context.Background(), f.limits)
	switch {
	case err != nil && looksLikeObject(doc.Text):
		f.manifest = true
		f.refuse(err)
		return nil
	case err != nil:
		if f.malformed == nil {
			f.malformed = err
		}
		f.refuse(err) // which counts if another document is a manifest
		return nil
	case f.isKustomization(value):
		f.kustomization = true
		f.omit(doc.Line, whyKustomization)
		return nil
	case !isManifest(value):
		f.omit(doc.Line, whyNoManifest)
		return nil
	}
	f.manifest = true
	err = doc.Objects(value, f.limits, func(o parse.Object) error {
		f.add(Object{Unstructured: o.Unstructured, Source: f.name, Line: o.Line})
		return nil
	})
	if errors.Is(err, parse.ErrTooManyObjects) {
		return fmt.Errorf("%s: the files have more than %d objects together", redact.Name(f.name), maxObjects)
	}
	if err != nil {
		f.refuse(err)
	}
	return nil
}

// add takes in one object.
func (f *fileLoad) add(o Object) {
	f.found++
	k := keyOf(o.Unstructured)
	shown := redact.Name(k.Kind) + " " + redact.Name(path.Join(k.namespace, k.name))
	if value, ok := o.GetAnnotations()[localConfig]; ok && value != "false" {
		f.omit(o.Line, fmt.Sprintf("%s is not for the cluster, by its annotation %s", shown, localConfig))
		return
	}
	if first, twice := f.locations[k]; twice {
		f.failed = append(f.failed, fmt.Errorf("%s: %s is defined a second time, first at %s", o.location(), shown, first))
		return
	}
	f.locations[k] = o.location()
	f.objects = append(f.objects, o)
}

// ignoreAll reports a file without a manifest.
func (f *fileLoad) ignoreAll(docs int) {
	switch {
	case f.named || f.kustomization:
		f.ignore(f.name, whyKustomization)
	case docs == 0:
		f.ignore(f.name, whyNoObject)
	case f.malformed != nil:
		f.ignore(f.name, fmt.Sprintf("no document looks like an object, and it cannot be read: %v", f.malformed))
	default:
		f.ignore(f.name, whyNoneManifest)
	}
}

// reportOmitted reports what is left out of a file with a manifest.
func (f *fileLoad) reportOmitted(docs int) {
	for _, o := range f.omitted {
		location := f.name
		if docs > 1 {
			location = fmt.Sprintf("%s:%d", f.name, o.line)
		}
		f.ignore(location, o.why)
	}
	if more := f.omissions - len(f.omitted); more > 0 {
		f.ignore(f.name, fmt.Sprintf("%d more of its documents and objects are left out", more))
	}
}

// telling finds, in a document that cannot be read, the keys that tell an object.
var telling = regexp.MustCompile(`(?:^|[{,\s])["']?(apiVersion|kind|metadata)["']?[ \t]*:`)

// looksLikeObject says whether a document that cannot be read may be an object.
func looksLikeObject(text []byte) bool {
	found := map[string]bool{}
	for _, match := range telling.FindAllSubmatch(text, -1) {
		found[string(match[1])] = true
	}
	return len(found) >= 2
}

// isManifest says whether a document has at least two of the fields that each object has.
func isManifest(value any) bool {
	content, _ := value.(map[string]any)
	found := 0
	for _, name := range []string{"apiVersion", "kind", "metadata"} {
		if _, ok := content[name]; ok {
			found++
		}
	}
	return found >= 2
}

// isKustomization says whether a document is one. Only in a file of that name may it leave
// out its apiVersion.
func (f *fileLoad) isKustomization(value any) bool {
	content, _ := value.(map[string]any)
	apiVersion, _ := content["apiVersion"].(string)
	if strings.HasPrefix(apiVersion, kustomizeGroup+"/") {
		return true
	}
	kind, _ := content["kind"].(string)
	return f.named && content["apiVersion"] == nil && (kind == "Kustomization" || kind == "Component")
}
