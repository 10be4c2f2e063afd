// Command hostile calls one method with the input on standard input, and tells what it
// answered and how much memory that took. It is a process of its own, which may not have more
// than 4 GiB, and is built without the race detector, which multiplies memory.
//
//	hostile parse|load|plan-current|plan-desired|images|sync|sync-many|apply <input
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing/fstest"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

const maxAddressSpace = 4 << 30

// A report is what became of a call.
type report struct {
	Error   string  `json:"error"`   // of the call, or of its only or last entry
	Entries int     `json:"entries"` // how many failed by name
	KB      int     `json:"kb"`      // peak of memory, above what was there before
	Seconds float64 `json:"seconds"`
}

func main() {
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: maxAddressSpace, Max: maxAddressSpace}); err != nil {
		panic(err)
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	before, begin := peak(), time.Now()
	err = call(os.Args[1], input)
	r := report{KB: peak() - before, Seconds: time.Since(begin).Seconds()}
	r.Error, r.Entries = text(err)
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

func call(method string, input []byte) error {
	switch method {
	case "parse":
		_, err := manifest.Parse(input)
		return err
	case "load":
		_, ignored, err := manifest.Load(fstest.MapFS{"a.yaml": {Data: input}})
		for _, i := range ignored {
			err = errors.Join(err, errors.New(i.Why))
		}
		return err
	case "plan-current":
		_, _, err := manifest.Plan(input, nil, manifest.PlanOptions{SyncSet: "a"})
		return err
	case "plan-desired":
		objects, err := manifest.Parse(input)
		if err != nil {
			return err
		}
		_, _, err = manifest.Plan(nil, objects, manifest.PlanOptions{SyncSet: "a"})
		return err
	case "images":
		_, err := manifest.SetImages(input, map[string]string{"c7": "example.com/new:1"})
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	cluster, err := kubernetes.NewCluster(config, kubernetes.Options{Timeout: 6 * time.Second, Namespace: os.Getenv("NAMESPACE")})
	if err != nil {
		return err
	}
	switch method {
	case "sync":
		return cluster.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "a", Apply: input}}})
	case "sync-many": // one action for each line, all under one ID
		var def platform.SyncDef
		for line := range strings.Lines(string(input)) {
			def.Actions = append(def.Actions, platform.SyncAction{ResourceID: "a", Apply: []byte(line)})
		}
		return cluster.Sync(def)
	case "apply":
		return cluster.Apply([]platform.ServiceDefinition{{ServiceID: flux.MakeServiceID(os.Getenv("NAMESPACE"), "web"), NewDefinition: input}})
	}
	return fmt.Errorf("there is no method %q", method)
}

func text(err error) (string, int) {
	var (
		sync  platform.SyncError
		apply platform.ApplyError
	)
	switch {
	case errors.As(err, &sync):
		for _, err := range sync {
			return err.Error(), len(sync)
		}
	case errors.As(err, &apply):
		for _, err := range apply {
			return err.Error(), len(apply)
		}
	case err != nil:
		return err.Error(), 0
	}
	return "", 0
}

// peak returns the most memory that the process has had so far, in KiB.
func peak() (kb int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscanf(rest, "%d", &kb); err != nil {
				panic(err)
			}
		}
	}
	return kb
}
