// Command floor is the minimal cost of server-side apply without skipping objects: it parses
// the manifests and sends the namespaces and then the rest, 16 at a time, without other
// requests to the API server, and ignores the bodies of its answers.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform/bench/contender/kube"
)

func main() {
	kube.Main(func(config *rest.Config) (kube.Library, error) {
		config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
		c, err := rest.UnversionedRESTClientFor(config)
		return kube.Library{Sync: library{c}.sync}, err
	})
}

type library struct{ client *rest.RESTClient }

type object struct {
	APIVersion string
	Kind       string
	Metadata   struct{ Namespace, Name string }
	body       []byte
}

func (l library) sync(ctx context.Context, docs [][]byte) error {
	objects := make([]object, len(docs))
	var parsing errgroup.Group
	parsing.SetLimit(runtime.GOMAXPROCS(0))
	for i, doc := range docs {
		parsing.Go(func() (err error) {
			o := &objects[i]
			if o.body, err = yaml.YAMLToJSON(doc); err != nil {
				return err
			}
			return json.Unmarshal(o.body, o)
		})
	}
	if err := parsing.Wait(); err != nil {
		return err
	}
	for _, namespaces := range []bool{true, false} {
		patching, ctx := errgroup.WithContext(ctx)
		patching.SetLimit(16)
		for i := range objects {
			if o := &objects[i]; (o.Kind == "Namespace") == namespaces {
				patching.Go(func() error { return l.patch(ctx, o) })
			}
		}
		if err := patching.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func (l library) patch(ctx context.Context, o *object) error {
	url := path.Join("/apis", o.APIVersion)
	if o.APIVersion == "v1" {
		url = "/api/v1"
	}
	if o.Metadata.Namespace != "" {
		url = path.Join(url, "namespaces", o.Metadata.Namespace)
	}
	err := l.client.Patch(types.ApplyPatchType).AbsPath(url, plural(o.Kind), o.Metadata.Name).
		Param("fieldManager", "bench").Param("force", "true").Body(o.body).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("%s %s/%s: %w", o.Kind, o.Metadata.Namespace, o.Metadata.Name, err)
	}
	return nil
}

// plural is correct for the kinds of the manifests.
func plural(kind string) string {
	kind = strings.ToLower(kind)
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		return stem + "ies"
	}
	return kind + "s"
}
