// Command fleet starts a small fleet to try things on, and runs it until Ctrl-C: two clusters, a
// NATS server with a user for each program, three daemons, and a service with a token. A rollout
// in one cluster is stalled, and the third daemon's API server is down.
//
//	make fleet
//
// It prints commands to try. Nothing is left of it when it ends, in whatever way.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/launch"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/process"
	"github.com/platformbus/platform/kubernetes"
)

// instances are the names of the clusters. South has no control plane: see kubeconfigs.
var instances = []string{"east", "west", "south"}

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGPIPE) // the clean-up continues if nobody reads the output
		restore()                      // a second Ctrl-C does not wait for the clean-up
	})
	manifests := flag.String("manifests", "examples/demo/manifests", "`folder` of the manifests to copy for experiments")
	flag.Parse()
	self, err := os.Executable()
	switch {
	case flag.NArg() > 0:
		fmt.Fprintf(os.Stderr, "fleet: it takes no arguments, and has %q\n", flag.Args())
		flag.Usage()
		os.Exit(2)
	case err == nil:
		err = run(ctx, os.Stdout, filepath.Dir(self), *manifests)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// A fleet is what run has started.
type fleet struct {
	*launch.Group
	clusters []*controlplane.ControlPlane // east's and west's
	nats     *server.Server
	service  launch.Program
	daemons  []launch.Program // one for each instance
}

// run starts the fleet, prints what to try, and ends all when ctx ends or a control plane does.
func run(ctx context.Context, out io.Writer, binaries, manifests string) (err error) {
	fmt.Fprintln(out, "Two control planes, a NATS server, three daemons and a service are starting.")
	began := time.Now()
	f := new(fleet)
	defer func() {
		fmt.Fprintln(out, "\nEnding.")
		if err = errors.Join(err, f.close()); err == nil {
			fmt.Fprintln(out, "No process and no file is left.")
		}
	}()
	err = f.start(ctx, out, binaries, manifests)
	if ctx.Err() != nil {
		return nil // Ctrl-C, as intended
	} else if err != nil {
		return err
	}
	fmt.Fprintf(out, "They have started, in %v.\n\n%s", time.Since(began).Round(100*time.Millisecond), f.guide())
	select {
	case <-ctx.Done():
		return nil
	case <-f.clusters[0].Done():
		return f.clusters[0].Err()
	case <-f.clusters[1].Done():
		return f.clusters[1].Err()
	}
}

func (f *fleet) start(ctx context.Context, out io.Writer, binaries, manifests string) (err error) {
	f.Group, err = launch.NewGroup(binaries, func(p *process.Process) { // such as by kill, which is one thing to try
		fmt.Fprintf(out, "\n%s has ended, and the others go on: %v\n", p.Name(), p.ExitError())
	})
	if err != nil {
		return err
	}
	if err := os.CopyFS(f.manifests(), os.DirFS(manifests)); err != nil {
		return fmt.Errorf("copy the manifests: %w", err)
	}
	if f.clusters, err = controlplane.StartAll(ctx, controlplane.Options{}, controlplane.Options{}); err != nil {
		return err
	}
	kubeconfigs, err := f.kubeconfigs()
	if err != nil {
		return err
	}
	passwords := map[string]string{}
	for _, user := range append([]string{"service"}, instances...) {
		passwords[user] = rand.Text()
		if err := os.WriteFile(f.password(user), []byte(passwords[user]), 0o600); err != nil {
			return err
		}
	}
	if f.nats, err = startNATS(passwords); err != nil {
		return err
	}
	token := rand.Text()
	err = errors.Join(os.WriteFile(f.token(), []byte(token), 0o600),
		os.WriteFile(f.header(), []byte("Authorization: Bearer "+token), 0o600))
	if err != nil {
		return err
	}
	f.service, err = f.Start(ctx, "service", "service", append(f.natsFlags("service", "service"),
		"--token-file", f.token(), "--instance", strings.Join(instances, ","))...)
	if err != nil {
		return err
	}
	for i, instance := range instances {
		d, err := f.Start(ctx, "daemon", "daemon-"+instance, append(f.natsFlags("daemon-of-"+instance, instance),
			"--instance", instance, "--kubeconfig", kubeconfigs[i], "--announce", "fleet-1")...)
		if err != nil {
			return err
		}
		f.daemons = append(f.daemons, d)
	}
	return f.stall(ctx)
}

// kubeconfigs returns the paths of kubeconfigs for the instances. That of south has an address
// where nothing listens, as if its API server were down.
func (f *fleet) kubeconfigs() ([]string, error) {
	down := f.clusters[0].Config()
	down.Host = "https://127.0.0.1:1" // a port of a service that is long out of use
	path := filepath.Join(f.Dir(), "south.kubeconfig")
	return []string{f.clusters[0].Kubeconfig(), f.clusters[1].Kubeconfig(), path}, controlplane.WriteKubeconfig(path, down)
}

// stall syncs a Deployment to west whose image does not exist.
func (f *fleet) stall(ctx context.Context) error {
	cluster, err := kubernetes.NewCluster(f.clusters[1].Config(), kubernetes.Options{Timeout: time.Minute})
	if err != nil {
		return err
	}
	defer cluster.Close()
	return platform.WithContext(ctx, cluster).Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "stalled", Apply: []byte(stalled)}}})
}

// close ends what was started, and removes its files.
func (f *fleet) close() error {
	errs := make([]error, len(f.clusters))
	if f.Group != nil {
		errs = append(errs, f.Stop())
	}
	if f.nats != nil {
		f.nats.Shutdown()
		f.nats.WaitForShutdown()
	}
	var wait sync.WaitGroup
	for i, cp := range f.clusters {
		wait.Go(func() { errs[i] = cp.Stop() })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (f *fleet) manifests() string           { return filepath.Join(f.Dir(), "manifests") }
func (f *fleet) token() string               { return filepath.Join(f.Dir(), "token") }
func (f *fleet) header() string              { return filepath.Join(f.Dir(), "header") } // for curl -H @
func (f *fleet) password(user string) string { return filepath.Join(f.Dir(), user+".password") }
