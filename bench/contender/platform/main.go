// Command platform uses this library as a daemon does, with one action for each object.
package main

import (
	"context"
	"strconv"

	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/bench/contender/kube"
	"github.com/platformbus/platform/kubernetes"
)

func main() {
	kube.Main(func(config *rest.Config) (kube.Library, error) {
		c, err := kubernetes.NewCluster(config, kubernetes.Options{})
		return library{c}, err
	})
}

type library struct{ *kubernetes.Cluster }

func (l library) Sync(ctx context.Context, docs [][]byte) error {
	var def platform.SyncDef
	for i, doc := range docs {
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: strconv.Itoa(i), Apply: doc})
	}
	return l.WithContext(ctx).Sync(def)
}
