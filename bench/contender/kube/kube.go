// Package kube is the common part of the contenders that use a cluster.
package kube

import (
	"cmp"
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

// A Library does the work of the phases with documents. It may keep state between calls.
type Library struct {
	// Sync applies documents to a cluster. It is every phase that Other has not.
	Sync func(ctx context.Context, docs [][]byte) error
	// Other maps other phases to what they do. Each returns the size in bytes of its result,
	// or 0 if that has none.
	Other map[string]func(ctx context.Context, docs [][]byte) (size int, err error)
	// Prepare maps phases to what comes before them, and is not measured. They are not the first
	// of a process, and get no documents themselves.
	Prepare map[string]func(docs [][]byte) error
}

// do does the work of a phase. It returns the size of its result, or 0 if that has none.
func (l *Library) do(ctx context.Context, phase string, docs [][]byte) (size int, err error) {
	if other, ok := l.Other[phase]; ok {
		return other(ctx, docs)
	}
	return 0, l.Sync(ctx, docs)
}

// Main is the main function of a contender that applies manifests to a cluster: it serves
// requests until standard input ends. The first request includes newLibrary.
func Main(newLibrary func(*rest.Config) (Library, error)) {
	var (
		profile = flag.String("profile", "", "`folder` for profiles of each phase")
		settle  = flag.Bool("settle", false, "free memory before each phase, and measure what is left, and the size of the documents")
		lib     *Library
		network meter
	)
	flag.Parse()
	contender.Serve(func(ctx context.Context, o contender.Request) (m contender.Measurement, err error) {
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(contender.KubeconfigVariable))
		if err != nil {
			return m, err
		}
		config.QPS = -1
		config.Dial = network.dial
		docs, err := readAll(o.Dir)
		if err != nil {
			return m, err
		}
		given := 0 // bytes
		for _, doc := range docs {
			given += len(doc)
		}
		name := fmt.Sprintf("%s-%d-%s", filepath.Base(os.Args[0]), len(docs), o.Phase)
		if lib != nil && lib.Prepare[o.Phase] != nil {
			if err := lib.Prepare[o.Phase](docs); err != nil {
				return m, err
			}
			docs = nil // they would be counted as memory that is in use
		}
		before := 0.0
		if *settle {
			if before, err = contender.SettledRSS(); err != nil {
				return m, err
			}
		}
		stop, err := startProfile(*profile, name)
		if err != nil {
			return m, err
		}
		size := 0
		received := network.received.Load()
		m, err = contender.Measure(func() (err error) {
			if lib == nil {
				l, err := newLibrary(config)
				if err != nil {
					return err
				}
				lib = &l
			}
			size, err = lib.do(ctx, o.Phase, docs)
			return err
		})
		if *settle {
			m.RSSBeforeMB, m.YAMLMB = before, float64(cmp.Or(size, given))/(1<<20)
		}
		m.ReadKB = float64(network.received.Load()-received) / 1024
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
