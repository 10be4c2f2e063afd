// Command fluxcd is github.com/fluxcd/pkg/ssa. There is no rate limit, as with every
// configuration that controller-runtime loads.
package main

import (
	"bytes"
	"context"
	"flag"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/platformbus/platform/bench/contender/kube"
)

func main() {
	concurrency := flag.Int("concurrency", 0, "how many objects to compare at once; 0 leaves it as it comes, which is 1")
	kube.Main(func(config *rest.Config) (kube.Library, error) {
		log.SetLogger(logr.Discard())
		c, err := client.New(config, client.Options{})
		if err != nil {
			return kube.Library{}, err
		}
		manager := ssa.NewResourceManager(c, polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{}),
			ssa.Owner{Field: "bench", Group: "bench.example.org"})
		if *concurrency > 0 {
			manager.SetConcurrency(*concurrency)
		}
		return kube.Library{Sync: library{manager}.sync}, nil
	})
}

type library struct{ manager *ssa.ResourceManager }

// sync does the same as ApplyAllStaged, without its wait for the namespaces: they are ready
// as soon as they exist.
func (l library) sync(ctx context.Context, docs [][]byte) error {
	var definitions, others []*unstructured.Unstructured
	for _, doc := range docs {
		objects, err := utils.ReadObjects(bytes.NewReader(doc))
		if err != nil {
			return err
		}
		for _, o := range objects {
			if utils.IsClusterDefinition(o) {
				definitions = append(definitions, o)
			} else {
				others = append(others, o)
			}
		}
	}
	if _, err := l.manager.ApplyAll(ctx, definitions, ssa.DefaultApplyOptions()); err != nil {
		return err
	}
	_, err := l.manager.ApplyAll(ctx, others, ssa.DefaultApplyOptions())
	return err
}
