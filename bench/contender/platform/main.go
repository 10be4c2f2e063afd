// Command platform uses this library as a daemon does, with one action for each object.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"strconv"
	"time"

	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/bench/contender/kube"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

func main() {
	watches := flag.Bool("watch", false, "watch what was listed")
	kube.Main(func(config *rest.Config) (kube.Library, error) {
		var options kubernetes.Options
		if *watches {
			options.Watch = time.Hour
		}
		c, err := kubernetes.NewCluster(config, options)
		l := &library{cluster: c}
		return kube.Library{Sync: l.sync, Other: map[string]func(context.Context, [][]byte) (int, error){
			"some-services": l.someServices,
			"export":        l.export,
			"plan":          l.plan,
		}, Prepare: map[string]func([][]byte) error{
			"export": func([][]byte) error { return nil },
			"plan":   l.parse,
		}}, err
	})
}

type library struct {
	cluster  *kubernetes.Cluster
	exported []byte            // the last Export; nil if there was none
	desired  []manifest.Object // what the documents for a plan define
	given    int               // the size of those documents
}

func (l *library) sync(ctx context.Context, docs [][]byte) error {
	var def platform.SyncDef
	for i, doc := range docs {
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: strconv.Itoa(i), Apply: doc})
	}
	return l.cluster.WithContext(ctx).Sync(def)
}

// someServices asks for the first three services of the documents.
func (l *library) someServices(ctx context.Context, docs [][]byte) (int, error) {
	const wanted = 3
	var ids []flux.ServiceID
	for _, doc := range docs {
		if len(ids) == wanted || !bytes.Contains(doc, []byte("\nkind: Service\n")) {
			continue
		}
		objects, err := manifest.Parse(doc)
		if err != nil {
			return 0, err
		}
		ids = append(ids, flux.MakeServiceID(objects[0].GetNamespace(), objects[0].GetName()))
	}
	services, err := l.cluster.WithContext(ctx).SomeServices(ids)
	if err == nil && len(services) != wanted {
		err = fmt.Errorf("found %d services, want %d", len(services), wanted)
	}
	return 0, err
}

func (l *library) export(ctx context.Context, _ [][]byte) (int, error) {
	var err error
	l.exported, err = l.cluster.WithContext(ctx).Export()
	return len(l.exported), err
}

func (l *library) parse(docs [][]byte) error {
	l.desired, l.given = nil, 0
	for _, doc := range docs {
		l.given += len(doc)
		objects, err := manifest.Parse(doc)
		if err != nil {
			return err
		}
		l.desired = append(l.desired, objects...)
	}
	return nil
}

// plan compares what the documents define with the last Export. If there was none, it exports
// first. Its size is that of both.
func (l *library) plan(ctx context.Context, docs [][]byte) (int, error) {
	if l.exported == nil {
		if _, err := l.export(ctx, nil); err != nil {
			return 0, err
		}
	}
	_, _, err := manifest.Plan(l.exported, l.desired, manifest.PlanOptions{SyncSet: "set"})
	return len(l.exported) + l.given, err
}
