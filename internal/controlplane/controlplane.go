package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/internal/controlplane/programs"
	"github.com/platformbus/platform/internal/process"
)

// Options say what a control plane leaves out. The zero value leaves out nothing.
type Options struct {
	// NoControllerManager leaves out kube-controller-manager: nothing acts on
	// Deployments, Namespaces are never gone, and no namespace gets the service
	// account without which it admits no pods.
	NoControllerManager bool

	// NoScheduler leaves out kube-scheduler: a pod runs only where its spec names
	// the node.
	NoScheduler bool

	// NoKwok leaves out kwok and its node: every pod stays pending.
	NoKwok bool

	port func() (int, error) // replaces freePort in tests
}

// programs returns the names of the programs that are to run.
func (o Options) programs() []string {
	names := []string{"etcd", "kube-apiserver"}
	if !o.NoControllerManager {
		names = append(names, "kube-controller-manager")
	}
	if !o.NoScheduler {
		names = append(names, "kube-scheduler")
	}
	if !o.NoKwok {
		names = append(names, "kwok")
	}
	return names
}

// A ControlPlane is a running control plane.
type ControlPlane struct {
	options  Options
	programs string // folder of the programs
	dir      string // everything it writes
	guard    *guard
	clients  *authority
	admin    *rest.Config

	// life ends with its cause when a program has ended by itself, or with Stop.
	// Only the first cause counts: when one program has ended, others may end
	// because of it.
	life context.Context
	fail context.CancelCauseFunc

	stop func() error // the body of Stop, once

	mu       sync.Mutex
	running  []*process.Process // guarded by mu: in the order in which they were started
	stopping bool               // guarded by mu: from here on programs end because they were told to
}

// portAttempts is how often Start tries to get a port that no one else takes
// between our finding it free and kube-apiserver's listening on it.
const portAttempts = 5

// Start starts a control plane and returns when it can be used: the server is
// ready, namespace default has its service account and the node takes pods, as
// far as the options have them run. The context bounds the start, not the life of
// what was started. If the programs are not built, the error is a
// programs.MissingError. After an error nothing is left running.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	if !process.Supported {
		return nil, fmt.Errorf("start control plane: %w on %s", errors.ErrUnsupported, runtime.GOOS)
	}
	folder, err := programs.Locate(options.programs()...)
	if err != nil {
		return nil, err
	}
	if options.port == nil {
		options.port = freePort
	}
	for attempt := 1; ; attempt++ {
		cp, err := start(ctx, folder, options)
		if err == nil {
			return cp, nil
		}
		if attempt == portAttempts || !process.IsPortTaken(err) {
			return nil, fmt.Errorf("start control plane: %w", err)
		}
	}
}

func start(ctx context.Context, folder string, options Options) (cp *ControlPlane, err error) {
	// The name is short because the path of a socket may have 104 bytes on some
	// systems, half of which are the temporary folder's there.
	dir, err := os.MkdirTemp("", "controlplane-") // mode 0700
	if err != nil {
		return nil, err
	}
	cp = &ControlPlane{options: options, programs: folder, dir: dir}
	cp.life, cp.fail = context.WithCancelCause(context.Background())
	cp.stop = sync.OnceValue(cp.stopAll)
	defer func() {
		if err != nil {
			err = errors.Join(err, cp.Stop())
			cp = nil
		}
	}()
	if cp.guard, err = startGuard(dir); err != nil {
		return cp, err
	}
	return cp, cp.launch(ctx)
}

var errStopped = errors.New("the control plane was stopped")

// Stop ends every program, the last started first, and removes all they wrote. It
// returns when no process is left, with an error if that could not be brought
// about. Later calls wait for the first and return what it returned.
func (cp *ControlPlane) Stop() error { return cp.stop() }

func (cp *ControlPlane) stopAll() error {
	cp.mu.Lock()
	cp.stopping = true
	running := cp.running
	cp.mu.Unlock()

	var errs []error
	for i := len(running) - 1; i >= 0; i-- {
		errs = append(errs, running[i].Stop())
	}
	errs = append(errs, os.RemoveAll(cp.dir))
	if cp.guard != nil {
		errs = append(errs, cp.guard.stop())
	}
	cp.fail(errStopped)
	return errors.Join(errs...)
}

// Done returns a channel that is closed when the control plane has been stopped,
// or when one of its programs has ended by itself. Either way Stop is still to be
// called.
func (cp *ControlPlane) Done() <-chan struct{} { return cp.life.Done() }

// Err returns nil until Done is closed, and then the reason: which program ended,
// how, and the end of its log.
func (cp *ControlPlane) Err() error { return context.Cause(cp.life) }

// run starts one of the programs with arguments that hold no secrets.
func (cp *ControlPlane) run(name string, args ...string) (*process.Process, error) {
	p, err := process.Start(process.Program{
		Name: name, Dir: cp.dir, Path: filepath.Join(cp.programs, name), Args: args, Ended: cp.ended,
	})
	if err != nil {
		return nil, err
	}
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.running = append(cp.running, p)
	return p, nil
}

// ended is called when a program has ended, for whatever reason.
func (cp *ControlPlane) ended(p *process.Process) {
	cp.mu.Lock()
	stopping := cp.stopping
	cp.mu.Unlock()
	if !stopping {
		cp.fail(p.ExitError())
	}
}
