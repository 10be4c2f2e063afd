// Package kube is the common part of the contenders that use a cluster.
package kube

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform/bench/contender"
)

// A Library applies documents to a cluster. It may keep state between calls.
type Library interface {
	Sync(ctx context.Context, docs [][]byte) error
}

// Main is the main function of a contender that applies manifests to a cluster: it serves
// requests until standard input ends. The first request includes newLibrary.
func Main(newLibrary func(*rest.Config) (Library, error)) {
	profile := flag.String("profile", "", "`folder` for profiles of each phase")
	flag.Parse()
	var lib Library
	contender.Serve(func(ctx context.Context, o contender.Request) (m contender.Measurement, err error) {
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(contender.KubeconfigVariable))
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
		m, err = contender.Measure(func() (err error) {
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
