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
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/controlplane"
)

// A cluster is the instance east, on which most of the story takes place. With it comes west.
type cluster struct {
	config     *rest.Config
	kubeconfig string // path of a kubeconfig for the cluster
	foreign    bool   // it belongs to the user, and must be left as it was
	hasKinds   bool   // it had the kinds of kindsFile before the demo, which must not remove them

	// deadline is the line of a definition that sets when a rollout has failed. It is longer
	// than the time in which the cluster notices that an image is missing.
	deadline string

	remove func() error                 // removes what was made in a foreign cluster; else nil
	own    []*controlplane.ControlPlane // the control planes of the demo's own; the last one is west
}

// access returns the access to the cluster of an instance.
func (c *cluster) access(inst flux.InstanceID) (config *rest.Config, kubeconfig string) {
	if inst == west {
		cp := c.own[len(c.own)-1]
		return cp.Config(), cp.Kubeconfig()
	}
	return c.config, c.kubeconfig
}

// open starts two control planes or, if a kubeconfig is given, asks whether to use its cluster
// and starts one.
func open(ctx context.Context, n *narrator, person io.Reader, kubeconfig string) (*cluster, error) {
	const hard = "nothing of them may stay, neither after Ctrl-C nor after SIGKILL of this process"
	c, own := new(cluster), make([]controlplane.Options, 2)
	if kubeconfig == "" {
		n.step("Two Kubernetes clusters start on loopback: east and west", hard)
	} else {
		n.step("The cluster of DEMO_KUBECONFIG is east, and another one starts on loopback: west", hard)
		var err error
		if c, err = useForeign(ctx, n, person, kubeconfig); err != nil {
			return nil, err
		}
		own = own[1:]
	}
	var err error
	if c.own, err = controlplane.StartAll(ctx, own...); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	if !c.foreign {
		c.config, c.kubeconfig = c.own[0].Config(), c.own[0].Kubeconfig()
		c.deadline = "progressDeadlineSeconds: 3"
	}
	n.say("etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok, which plays")
	n.say("the kubelet: everything is real but the containers.")
	return c, nil
}

// close removes what was made in a foreign cluster, and ends the control planes.
func (c *cluster) close(n *narrator) error {
	var failed error
	if c.remove != nil {
		failed = c.remove()
	}
	errs := make([]error, len(c.own))
	var wait sync.WaitGroup
	for i, cp := range c.own {
		wait.Go(func() { errs[i] = cp.Stop() })
	}
	wait.Wait()
	err := errors.Join(errs...)
	if err == nil {
		n.say("The control planes have ended, and their files are gone.")
	}
	return errors.Join(failed, err)
}

// cancelOnFailure calls cancel when a control plane ends by itself, until stop is called.
func (c *cluster) cancelOnFailure(cancel context.CancelCauseFunc) (stop func()) {
	stopped := make(chan struct{})
	for _, cp := range c.own {
		go func() {
			select {
			case <-cp.Done():
				cancel(cp.Err())
			case <-stopped:
			}
		}()
	}
	return func() { close(stopped) }
}

// reachLimit bounds the first requests to a foreign cluster, before the user is asked.
const reachLimit = 15 * time.Second

// useForeign asks the user before it creates anything. The cluster's remove removes the
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
		return nil, fmt.Errorf("the cluster at %s has a namespace %s already: the demo uses only one that it has made itself; "+
			"if a demo that was killed has left it: kubectl delete namespace/%s crd/%s", config.Host, namespace, namespace, kindName)
	}
	n.say("The cluster at %s. The demo will", config.Host)
	n.say("  - make the namespace %s, and a small application in it;", namespace)
	if hasKind {
		n.say("  - use the CustomResourceDefinition %s, which is there, as it is;", kindName)
	} else {
		n.say("  - make the CustomResourceDefinition %s, cluster-wide;", kindName)
	}
	n.say("  - read, for an export, whatever these credentials may list;")
	n.say("  - remove what it has made, unless it is killed.")
	if err := agreed(ctx, n, person); err != nil {
		return nil, err
	}
	return &cluster{
		config:     config,
		kubeconfig: path,
		foreign:    true,
		hasKinds:   hasKind,
		deadline:   "progressDeadlineSeconds: 10",
		remove: func() error {
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
