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

// A cluster is where the story takes place.
type cluster struct {
	config     *rest.Config
	kubeconfig string // leads there too
	foreign    bool   // somebody else's, of which we leave all as it was
	hasKinds   bool   // it has the kinds of kindsFile, which are not ours then

	// deadline is the line of a definition that says when a rollout has failed: after the
	// time in which the cluster notices that an image is missing.
	deadline string

	close func() error // ends the control plane, or removes what was made in a foreign cluster
	died  func(context.CancelCauseFunc) (stop func())
}

// open starts a control plane or, if a kubeconfig is given, asks whether to use the
// cluster it leads to.
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
			over := make(chan struct{})
			go func() {
				select {
				case <-cp.Done():
					cancel(cp.Err())
				case <-over:
				}
			}()
			return func() { close(over) }
		},
	}, nil
}

// watch has a context end when the control plane ends by itself, until the function is
// called that it returns.
func (c *cluster) watch(cancel context.CancelCauseFunc) (stop func()) {
	if c.died == nil {
		return func() {}
	}
	return c.died(cancel)
}

// reachLimit is how long a foreign cluster may take to answer before anything is asked.
const reachLimit = 15 * time.Second

// useForeign asks the person before anything is made. What was not there is removed by
// close; what was, is not touched.
func useForeign(ctx context.Context, n *narrator, person io.Reader, kubeconfig string) (*cluster, error) {
	path, err := filepath.Abs(kubeconfig) // the daemon may be elsewhere
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("DEMO_KUBECONFIG=%s: %w", kubeconfig, err)
	}
	t, err := newTraces(config)
	if err != nil {
		return nil, fmt.Errorf("DEMO_KUBECONFIG=%s: %w", kubeconfig, err)
	}
	reach, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	hasNamespace, hasKind, err := t.present(reach)
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
			if err := t.remove(context.WithoutCancel(ctx), !hasKind); err != nil {
				return err
			}
			n.say("The cluster is as it was.")
			return nil
		},
	}, nil
}

var errNotAgreed = errors.New("not without a y at a terminal: nothing was done")

// agreed returns nil if the person says yes. Nobody, and no answer, mean no.
func agreed(ctx context.Context, n *narrator, person io.Reader) error {
	if person == nil {
		return errNotAgreed
	}
	fmt.Fprint(n.out, "   Go on? [y/N] ")
	answer := make(chan string, 1)
	go func() { // may be left waiting for its line when we end
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

// terminal returns where to read what the person at the terminal says, or nil if there is
// none.
func terminal() io.Reader {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil // nor does it help to be /dev/null, which has no answer
	}
	return os.Stdin
}
