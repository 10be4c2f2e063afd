// Package contender is what the programs below it have in common: each is one library
// that takes part, and nothing else, so that its memory is what a program pays that uses
// it. The benchmark starts it, and tells it over its standard input what to do.
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

// An Order says what to do next.
type Order struct {
	Phase string // what to call it
	Dir   string // the folder of the manifests; empty where there are none
	Size  int    // how much of it; 0 where it says nothing
}

// A Reply says what came of it.
type Reply struct {
	Measurement
	Error string
}

// Obey has do carry out the orders on the standard input until there are no more.
func Obey(do func(context.Context, Order) (Measurement, error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := obey(ctx, do)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

func obey(ctx context.Context, do func(context.Context, Order) (Measurement, error)) error {
	orders, replies := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o Order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
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
