// Package contender is what the programs below it have in common: each is one library
// that takes part, and nothing else, so that its memory is what a program pays that uses
// it. The benchmark starts it, and tells it over its standard input what to do.
package contender

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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

// A Library makes a cluster what documents say. It keeps what it likes between calls.
type Library interface {
	Sync(ctx context.Context, docs [][]byte) error
}

// Main is the main function of a contender that makes a cluster what manifests say: it
// obeys orders until there are no more. New is called within the time of the first.
func Main(newLibrary func(*rest.Config) (Library, error)) {
	profile := flag.String("profile", "", "`folder` for profiles of each phase")
	flag.Parse()
	var lib Library
	Obey(func(ctx context.Context, o Order) (m Measurement, err error) {
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(KubeconfigVariable))
		if err != nil {
			return m, err
		}
		config.QPS = -1
		docs, err := readAll(o.Dir)
		if err != nil {
			return m, err
		}
		stop, err := startProfile(*profile, fmt.Sprintf("%s-%d-%s", filepath.Base(os.Args[0]), len(docs), o.Phase))
		if err != nil {
			return m, err
		}
		m, err = Measure(func() (err error) {
			if lib == nil {
				if lib, err = newLibrary(config); err != nil {
					return err
				}
			}
			return lib.Sync(ctx, docs)
		})
		return m, errors.Join(err, stop())
	})
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

// readAll returns the contents of the files in a folder, in the order of their names.
func readAll(dir string) ([][]byte, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	docs := make([][]byte, len(files))
	for i, file := range files {
		if docs[i], err = os.ReadFile(filepath.Join(dir, file.Name())); err != nil {
			return nil, err
		}
	}
	return docs, nil
}
