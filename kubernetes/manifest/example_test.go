package manifest_test

import (
	"fmt"
	"log"
	"testing/fstest"

	"github.com/platformbus/platform/kubernetes/manifest"
)

func ExampleLoad() {
	// In earnest: os.DirFS("deploy"), or an embed.FS.
	folder := fstest.MapFS{
		"README.md":      {Data: []byte("# The shop")},
		"values.yaml":    {Data: []byte("replicas: 3\n")},
		"shop/web.yaml":  {Data: []byte("# The front end\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n")},
		"namespace.json": {Data: []byte(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}`)},
	}
	objects, ignored, err := manifest.Load(folder)
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range objects {
		fmt.Printf("%s:%d: %s %s\n", o.Source, o.Line, o.GetKind(), o.GetName())
	}
	for _, i := range ignored {
		fmt.Println("ignored", i)
	}
	// Output:
	// namespace.json:1: Namespace shop
	// shop/web.yaml:2: Service web
	// ignored values.yaml: no document has two of apiVersion, kind and metadata
}

// One round of a GitOps loop, on any platform.Platform.
func ExamplePlan() {
	cluster := newCluster() // stands for a *kubernetes.Cluster, or what a bus's Connect returns
	folder := fstest.MapFS{"app.yaml": {Data: []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: colours}
data: {sky: blue, grass: green}
`)}}
	round := func() {
		desired, _, err := manifest.Load(folder)
		if err != nil {
			log.Fatal(err)
		}
		current, err := cluster.Export()
		if err != nil {
			log.Fatal(err)
		}
		def, report, err := manifest.Plan(current, desired, manifest.PlanOptions{SyncSet: "demo"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(report)
		if err := cluster.Sync(def); err != nil {
			log.Fatal(err)
		}
	}
	round()
	folder["app.yaml"].Data = []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: colours}
data: {sky: grey, grass: green}
`)
	round()
	round()
	// Output:
	// sync set "demo": 1 to add, 0 to change, 0 to delete, 0 unchanged
	//
	// Add:
	// + default:configmap/colours (app.yaml:1)
	//
	// --- default:configmap/colours (cluster)
	// +++ default:configmap/colours (app.yaml:1)
	// @@ -0,0 +1,10 @@
	// +apiVersion: v1
	// +data:
	// +  grass: green
	// +  sky: blue
	// +kind: ConfigMap
	// +metadata:
	// +  labels:
	// +    platform/sync-set: demo
	// +  name: colours
	// +  namespace: default
	//
	// sync set "demo": 0 to add, 1 to change, 0 to delete, 0 unchanged
	//
	// Change:
	// ~ default:configmap/colours (app.yaml:1)
	//
	// --- default:configmap/colours (cluster)
	// +++ default:configmap/colours (app.yaml:1)
	// @@ -1,7 +1,7 @@
	//  apiVersion: v1
	//  data:
	//    grass: green
	// -  sky: blue
	// +  sky: grey
	//  kind: ConfigMap
	//  metadata:
	//    labels:
	//
	// sync set "demo": 0 to add, 0 to change, 0 to delete, 1 unchanged
}

func ExampleSetImages() {
	definition := []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - name: web   # the front end
        image: "nginx:1.28"
      - {name: proxy, image: envoy:1.35}
`)
	released, err := manifest.SetImages(definition, map[string]string{"web": "nginx:1.29"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(released))
	// Output:
	// apiVersion: apps/v1
	// kind: Deployment
	// metadata: {name: web}
	// spec:
	//   template:
	//     spec:
	//       containers:
	//       - name: web   # the front end
	//         image: "nginx:1.29"
	//       - {name: proxy, image: envoy:1.35}
}
