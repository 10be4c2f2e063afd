package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform/internal/controlplane"
)

// A cluster is the cluster on which the demo runs.
type cluster struct {
	config     *rest.Config
	kubeconfig string // path of a kubeconfig for the cluster
	foreign    bool   // it belongs to the user, and must be left as it was
	hasKinds   bool   // it had the kinds of kindsFile before the demo, which must not remove them

	// deadline is the line of a definition that sets when a rollout has failed. It is longer
	// than the time in which the cluster notices that an image is missing.
	deadline string

	close func() error // ends the control plane, or removes what was made in a foreign cluster
	died  func(context.CancelCauseFunc) (stop func())
}

// open starts a control plane or, if a kubeconfig is given, asks whether to use its cluster.
func open(ctx context.Context, n *narrator, person io.Reader, kubeconfig string) (*cluster, error) {
	if kubeconfig == "" {
		n.step("A Kubernetes control plane starts on loopback")
		return startOwn(ctx, n)
	}
	n.step("A cluster of yours, from DEMO_KUBECONFIG")
	return useForeign(ctx, n, person, kubeconfig)
}

// startOwn starts a control plane of the demo's own.
func startOwn(ctx context.Context, n *narrator) (*cluster, error) {
	cp, err := controlplane.Start(ctx, controlplane.Options{})
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	n.say("etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok, which plays")
	n.say("the kubelet: everything is real but the containers. It answers at %s.", cp.Config().Host)
	return &cluster{
		config:     cp.Config(),
		kubeconfig: cp.Kubeconfig(),
		deadline:   "progressDeadlineSeconds: 3",
		close: func() error {
			if err := cp.Stop(); err != nil {
				return err
			}
			n.say("The control plane has ended, and its files are gone.")
			return nil
		},
		died: func(cancel context.CancelCauseFunc) func() {
			stopped := make(chan struct{})
			go func() {
				select {
				case <-cp.Done():
					cancel(cp.Err())
				case <-stopped:
				}
			}()
			return func() { close(stopped) }
		},
	}, nil
}

// cancelOnFailure calls cancel when the control plane ends by itself, until stop is called.
func (c *cluster) cancelOnFailure(cancel context.CancelCauseFunc) (stop func()) {
	if c.died == nil {
		return func() {}
	}
	return c.died(cancel)
}

// reachLimit bounds the first requests to a foreign cluster, before the user is asked.
const reachLimit = 15 * time.Second

// useForeign asks the user before it creates anything. The cluster's close removes the
// objects that the demo created, and no others.
func useForeign(ctx context.Context, n *narrator, person io.Reader, kubeconfig string) (*cluster, error) {
	path, err := filepath.Abs(kubeconfig) // the daemon may have another working directory
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("DEMO_KUBECONFIG=%s: %w", kubeconfig, err)
	}
	made, err := newDemoObjects(config)
	if err != nil {
		return nil, fmt.Errorf("DEMO_KUBECONFIG=%s: %w", kubeconfig, err)
	}
	reach, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	hasNamespace, hasKind, err := made.present(reach)
	switch {
	case err != nil:
		return nil, fmt.Errorf("DEMO_KUBECONFIG=%s: %w", kubeconfig, err)
	case hasNamespace:
		return nil, fmt.Errorf("the cluster at %s has a namespace %s already: the demo uses only one that it has made itself", config.Host, namespace)
	}
	n.say("The cluster at %s. The demo will", config.Host)
	n.say("  - make the namespace %s, and a small application in it;", namespace)
	if hasKind {
		n.say("  - use the CustomResourceDefinition %s, which is there, as it is;", kindName)
	} else {
		n.say("  - make the CustomResourceDefinition %s, cluster-wide;", kindName)
	}
	n.say("  - read, for an export, whatever these credentials may list;")
	n.say("  - remove what it has made.")
	if err := agreed(ctx, n, person); err != nil {
		return nil, err
	}
	return &cluster{
		config:     config,
		kubeconfig: path,
		foreign:    true,
		hasKinds:   hasKind,
		deadline:   "progressDeadlineSeconds: 10",
		close: func() error {
			n.say("(a second Ctrl-C leaves namespace %s where it is)", namespace)
			if err := made.remove(context.WithoutCancel(ctx), !hasKind); err != nil {
				return err
			}
			n.say("The cluster is as it was.")
			return nil
		},
	}, nil
}

var errNotAgreed = errors.New("not without a y at a terminal: nothing was done")

// agreed returns nil if the user answers yes. A missing terminal or answer means no.
func agreed(ctx context.Context, n *narrator, person io.Reader) error {
	if person == nil {
		return errNotAgreed
	}
	fmt.Fprint(n.out, "   Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() { // may still wait for a line when the process ends
		line, _ := bufio.NewReader(person).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		if text != "y" && text != "yes" {
			return errNotAgreed
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// terminal returns a reader of the terminal's input, or nil if there is no terminal.
func terminal() io.Reader {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil // /dev/null is a character device too, and has no answer
	}
	return os.Stdin
}
