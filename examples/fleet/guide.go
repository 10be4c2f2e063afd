package main

import (
	"fmt"
	"strings"

	"github.com/platformbus/platform/internal/controlplane"
)

// stalled is what west has from the beginning: a rollout that cannot succeed.
const stalled = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
spec:
  progressDeadlineSeconds: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: nginx:` + controlplane.MissingTag + `
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
spec:
  selector: {app: web}
  ports:
  - port: 80
`

// guide returns what there is to try. Each line that begins with four spaces is a command.
func (f *fleet) guide() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	api := f.service.URL + "/v1/instances"
	curl := fmt.Sprintf("    curl -sS -H @%s ", f.header())
	client := fmt.Sprintf(" --server %s --token-file %s", f.service.URL, f.token())

	line("east is well, a rollout in west is stalled, and south's API server is down.")
	line("\nThe service's HTTP API:")
	line("%s%s", curl, api)
	line("%s%s/south", curl, api)
	line("%s%s/west/services", curl, api)
	line("%s-F apply=@%[3]s/namespace.yaml -F apply=@%[3]s/cart.yaml %[2]s/east/sync", curl, api, f.manifests())
	line("%s%s/east/export", curl, api)
	line("\nThe same with the command line. The folder holds a small shop, yours to change:")
	line("    %s get instances%s", f.Binary(), client)
	line("    %s get services%s --instance west", f.Binary(), client)
	line("    %s plan %s%s --instance east", f.Binary(), f.manifests(), client)
	line("    %s sync %s%s --instance east", f.Binary(), f.manifests(), client)
	line("\nHealth and metrics: the service's, and the daemons' of %s:", strings.Join(instances, ", "))
	line("    curl -sS %s/healthz", f.service.URL)
	line("%s%s/metrics", curl, f.service.URL)
	for _, d := range f.daemons {
		line("    curl -sS %s/healthz", d.URL)
		line("    curl -sS %s/metrics", d.URL)
	}
	line("\nkubeconfigs of the control planes of east and west:")
	for _, c := range f.clusters {
		line("  %s", c.Kubeconfig())
	}
	line("\nThe logs:")
	line("    tail %s/*.log", f.Dir())
	line("\nKill the daemon of east; start another one, which also takes over from one that still runs:")
	line("    kill -KILL %d", f.daemons[0].PID())
	line("    %s daemon --listen 127.0.0.1:0 --instance east --kubeconfig %s %s",
		f.Binary(), f.clusters[0].Kubeconfig(), strings.Join(f.natsFlags("daemon-of-east", "east"), " "))
	line("\nCtrl-C ends all of it, and removes its files, but not daemons that you have started: end those yourself.")
	return b.String()
}
