package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/internal/controlplane/programs"
	"github.com/platformbus/platform/internal/process"
)

// Options configure which programs a control plane leaves out. The zero value leaves
// out none.
type Options struct {
	// NoControllerManager leaves out kube-controller-manager: nothing acts on
	// Deployments, deleted Namespaces never disappear, and no namespace gets the
	// service account that it needs to admit pods.
	NoControllerManager bool

	// NoScheduler leaves out kube-scheduler: a pod runs only if its spec names a
	// node.
	NoScheduler bool

	// NoKwok leaves out kwok and its node: every pod stays pending.
	NoKwok bool

	port func() (int, error) // replaces freePort in tests
}

// programs returns the names of the programs to run.
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
	folder   *process.Folder
	clients  *authority
	admin    *rest.Config

	// life ends when a program has ended by itself, which is its cause, or with Stop.
	// Only the first cause counts: when one program has ended, others may end
	// because of it.
	life context.Context
	fail context.CancelCauseFunc

	stop func() error // the body of Stop, once

	mu       sync.Mutex
	running  []*process.Process // guarded by mu: in the order in which they were started
	stopping bool               // guarded by mu: set before Stop ends the programs
}

// portAttempts bounds the attempts to start on a free port. Another process may take
// the port between freePort and the start of kube-apiserver.
const portAttempts = 5

// Start starts a control plane and returns when it is ready to use: the server is
// ready, namespace default has its service account and the node accepts pods, unless
// the options leave out the programs that this needs. The context bounds only the
// start. If the programs are not built, the error is a programs.MissingError. After
// an error no process is left.
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

// StartAll starts several control planes at once, one for each of the options. After an error
// none is left.
func StartAll(ctx context.Context, options ...Options) ([]*ControlPlane, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started, errs := make([]*ControlPlane, len(options)), make([]error, len(options))
	var wait sync.WaitGroup
	for i := range options {
		wait.Go(func() {
			if started[i], errs[i] = Start(ctx, options[i]); errs[i] != nil {
				cancel() // the others are of no use
			}
		})
	}
	wait.Wait()
	err := errors.Join(errs...)
	if err == nil {
		return started, nil
	}
	for _, cp := range started {
		if cp != nil {
			err = errors.Join(err, cp.Stop())
		}
	}
	return nil, err
}

func start(ctx context.Context, folder string, options Options) (cp *ControlPlane, err error) {
	// The name is short because some systems limit the path of a socket to 104 bytes,
	// and half of these are the path of the temporary folder.
	dir, err := process.MkdirTemp("controlplane-")
	if err != nil {
		return nil, err
	}
	cp = &ControlPlane{options: options, programs: folder, dir: dir.Path(), folder: dir}
	cp.life, cp.fail = context.WithCancelCause(context.Background())
	cp.stop = sync.OnceValue(cp.stopAll)
	defer func() {
		if err != nil {
			err = errors.Join(err, cp.Stop())
			cp = nil
		}
	}()
	return cp, cp.launch(ctx)
}

var errStopped = errors.New("the control plane was stopped")

// Stop ends all programs, the last started first, and removes their files. It
// returns when no process is left, or with an error if a process does not end. Later
// calls wait for the first call and return its result.
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
	errs = append(errs, cp.folder.Remove())
	cp.fail(errStopped)
	return errors.Join(errs...)
}

// Done returns a channel that is closed when the control plane has been stopped,
// or when one of its programs has ended by itself. In both cases Stop must still be
// called.
func (cp *ControlPlane) Done() <-chan struct{} { return cp.life.Done() }

// Err returns nil until Done is closed, and then the reason: the program that ended,
// its exit status, and the end of its log.
func (cp *ControlPlane) Err() error { return context.Cause(cp.life) }

// run starts one of the programs. The arguments must not contain secrets.
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
