// Package launch runs cmd/platform's daemons and services as processes, for the examples. They
// end, and their logs are removed, when this process ends for any reason.
package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/platformbus/platform/internal/process"
)

// startLimit bounds the time until a program serves.
const startLimit = time.Minute

// A Group is a number of programs, with a folder that holds their logs. Its methods may be
// called by one goroutine at a time.
type Group struct {
	binary string
	folder *process.Folder
	ended  func(*process.Process)

	running []*process.Process

	mu       sync.Mutex
	expected map[*process.Process]bool // guarded by mu: those whose end was asked for
	stopping bool                      // guarded by mu
}

// A Program is a running daemon or service.
type Program struct {
	*process.Process
	// URL is the URL at which it serves HTTP.
	URL string
}

// NewGroup returns a group without programs. They will run the program platform in the folder
// binaries. ended is called with each that ends and was not asked to.
func NewGroup(binaries string, ended func(*process.Process)) (*Group, error) {
	binary := filepath.Join(binaries, "platform")
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: make demo and make fleet build it", err)
	}
	folder, err := process.MkdirTemp("platform-")
	if err != nil {
		return nil, err
	}
	return &Group{binary: binary, folder: folder, ended: ended, expected: map[*process.Process]bool{}}, nil
}

// Dir returns the folder that holds the logs. Stop removes it.
func (g *Group) Dir() string { return g.folder.Path() }

// Binary returns the path of the program.
func (g *Group) Binary() string { return g.binary }

var servesHTTP = regexp.MustCompile(`msg="serving HTTP" addr=(\S+)`)

// Start starts a daemon or a service, as the command says, with a log of that name, and waits
// until it serves HTTP on a free port of loopback. Its environment is this process's, without
// the settings of such programs: a kubeconfig may depend on it.
func (g *Group) Start(ctx context.Context, command, name string, args ...string) (Program, error) {
	env := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "PLATFORM_") })
	p, err := process.Start(process.Program{
		Name: name, Dir: g.Dir(), Path: g.binary, Env: env, Ended: g.onEnd,
		Args: append([]string{command, "--listen", "127.0.0.1:0"}, args...),
	})
	if err != nil {
		return Program{}, err
	}
	g.running = append(g.running, p)
	match, err := Await(ctx, p, servesHTTP)
	if err != nil {
		return Program{}, err
	}
	return Program{p, "http://" + match[1]}, nil
}

// Await waits for a line of a program's log, for a minute at most.
func Await(ctx context.Context, p *process.Process, line *regexp.Regexp) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return p.AwaitLine(ctx, line)
}

func (g *Group) onEnd(p *process.Process) {
	g.mu.Lock()
	expected := g.stopping || g.expected[p]
	g.mu.Unlock()
	if !expected {
		g.ended(p)
	}
}

// Kill kills a program, and returns when it has ended.
func (g *Group) Kill(p *process.Process) error {
	g.mu.Lock()
	g.expected[p] = true
	g.mu.Unlock()
	err := p.Signal(os.Kill)
	if err == nil {
		<-p.Exited()
	}
	return err
}

// Stop ends the programs, the last started first, and removes their logs.
func (g *Group) Stop() error {
	g.mu.Lock()
	g.stopping = true
	g.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(g.running) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(append(errs, g.folder.Remove())...)
}
