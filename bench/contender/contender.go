// Package contender is the common part of the programs below it. Each program uses only one
// of the libraries that are compared, so that its memory is that of a program with the
// library. The benchmark starts the programs, and sends them requests over standard input.
package contender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// KubeconfigVariable names the file with the access to the cluster.
const KubeconfigVariable = "KUBECONFIG"

// Stalled is the number of instances, from number 0 on, whose daemons are behind a link that hardly
// moves, in the case bus-unfair.
const Stalled = 10

// A Request asks a contender to do the work of one phase.
type Request struct {
	Phase string // name of the phase
	Dir   string // the folder of the manifests; empty if there are none
	Size  int    // the amount of work; 0 if it has no meaning
}

// A Reply is the result of a Request.
type Reply struct {
	Measurement
	Error string
}

// Serve has do carry out the requests on the standard input until there are no more.
func Serve(do func(context.Context, Request) (Measurement, error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, do)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, do func(context.Context, Request) (Measurement, error)) error {
	requests, replies := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o Request
		if err := requests.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r Reply
		var err error
		if r.Measurement, err = do(ctx, o); err != nil {
			r.Error = err.Error()
		}
		if err := replies.Encode(r); err != nil {
			return err
		}
	}
}
