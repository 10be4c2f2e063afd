//go:build unix

package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// childVariable makes this test binary a process that starts a control plane, prints
// its processes and folder, and waits to be killed.
const childVariable = "CONTROLPLANE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "1" {
		child()
	}
	os.Exit(Main(m))
}

// remains lists the folder and process groups that a control plane must not leave.
type remains struct {
	Dir    string
	Groups map[string]int // process groups by program
}

func remainsOf(cp *ControlPlane) remains {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	r := remains{cp.dir, map[string]int{"guard": cp.folder.Guard()}}
	for _, p := range cp.running {
		r.Groups[p.Name()] = p.PID()
	}
	return r
}

func child() {
	cp, err := Start(context.Background(), Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(remainsOf(cp)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}
