// Package process runs programs that end with us, however we end: see [Process].
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// The limits of a stop. Nothing in the data folder is worth waiting for, but a
// program that ends in good order tells the others so, and they do not retry.
const (
	termLimit = 3 * time.Second // from SIGTERM to SIGKILL
	killLimit = 5 * time.Second // from SIGKILL to giving up
)

// A Process is a program in a process group of its own that ends, with the whole
// group, at the latest when its lifeline is closed: by Stop, or by the kernel
// when our process ends in whatever way. Its methods may be called by many
// goroutines at once.
//
// Start starts its only goroutine, which waits for the program.
type Process struct {
	name     string
	log      string // path of what it writes to standard output and error
	cmd      *exec.Cmd
	lifeline io.Closer
	group    *os.File // at its end once no process of the group is left

	exited chan struct{} // closed when the program has ended and Ended has returned
	state  error         // why it ended; read it after exited is closed
}

// A Program says what to run.
type Program struct {
	// Name is for messages, and for the name of the log.
	Name string
	// Dir is where it works, and where its log is.
	Dir string
	// Path is that of the program.
	Path string
	// Args are its arguments, which others can read: they hold no secrets.
	Args []string
	// Env is added to its environment, which is PATH, and Dir for HOME and TMPDIR.
	Env []string
	// Ended, if set, is called once the program has ended.
	Ended func(*Process)
}

// ErrUnsupported says that this system has no means to keep programs from outliving us.
var ErrUnsupported = fmt.Errorf("processes that end with us: %w on %s", errors.ErrUnsupported, runtime.GOOS)

// Start starts a program. It has started when Start returns, and is not waited for.
func Start(program Program) (*Process, error) {
	if !Supported {
		return nil, ErrUnsupported
	}
	p := &Process{
		name:   program.Name,
		log:    filepath.Join(program.Dir, program.Name+".log"),
		exited: make(chan struct{}),
	}
	if err := p.start(program); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.state = p.cmd.Wait()
		p.lifeline.Close() // ends what the program has left of its group
		if program.Ended != nil {
			program.Ended(p)
		}
		close(p.exited)
	}()
	return p, nil
}

// Name returns the program's name.
func (p *Process) Name() string { return p.name }

// PID returns the number of the process, and of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program alone. The error says that it has ended.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Exited returns a channel that is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State returns nil if the program ended with status 0, and how it ended otherwise, an
// *exec.ExitError. Call it when Exited is closed.
func (p *Process) State() error { return p.state }

func (p *Process) start(program Program) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	hold, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hold.Close()
	group, member, err := os.Pipe()
	if err != nil {
		lifeline.Close()
		return err
	}
	defer member.Close()

	p.cmd = groupCommand(program.Path, program.Args, hold, member)
	p.cmd.Dir = program.Dir
	// The programs must not depend on what the user has set, such as a proxy or a
	// kubeconfig, and kwok reads its defaults from the home folder.
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + program.Dir, "TMPDIR=" + program.Dir}, program.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		lifeline.Close()
		group.Close()
		return err
	}
	p.lifeline, p.group = lifeline, group
	return nil
}

// Stop ends the process and its group: it asks the program to, and soon does not ask
// any more. It returns an error only if some of them would not go. It may be called
// again, also when the program has ended by itself.
func (p *Process) Stop() error {
	defer p.group.Close()
	terminate(p.cmd.Process)
	if !p.waitExit(termLimit) {
		p.lifeline.Close()
		if !p.waitExit(killLimit) {
			p.cmd.Process.Kill() // the shell that watches the lifeline must be gone
		}
	}
	if !p.waitExit(killLimit) {
		return fmt.Errorf("stop %s: process %d does not end", p.name, p.cmd.Process.Pid)
	}
	// Every process of the group holds the other end of this pipe.
	if err := p.group.SetReadDeadline(time.Now().Add(killLimit)); errors.Is(err, os.ErrClosed) {
		return nil // it was stopped before
	} else if err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	if _, err := p.group.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("stop %s: a process of group %d does not end: %w", p.name, p.cmd.Process.Pid, err)
	}
	return nil
}

func (p *Process) waitExit(limit time.Duration) bool {
	select {
	case <-p.exited:
		return true
	case <-time.After(limit):
		return false
	}
}

// An exitError says that a program ended which should not have.
type exitError struct {
	program string
	state   error // nil if it ended with status 0
	log     string
}

// ExitError returns an error that says how the program ended and what it logged last. Call
// it when the program has ended.
func (p *Process) ExitError() error {
	return &exitError{p.name, p.state, p.Tail()}
}

func (e *exitError) Error() string {
	state := "exit status 0"
	if e.state != nil {
		state = e.state.Error()
	}
	return fmt.Sprintf("%s ended unexpectedly: %s; %s", e.program, state, e.log)
}

func (e *exitError) Unwrap() error { return e.state }

// IsPortTaken tells whether a program ended because someone else listens on the
// port that it was told to use.
func IsPortTaken(err error) bool {
	var exit *exitError
	return errors.As(err, &exit) && strings.Contains(exit.log, "address already in use")
}

// How much of a log an error quotes.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// Tail returns the end of the log, introduced, for the end of an error message.
func (p *Process) Tail() string {
	text, err := readTail(p.log)
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if lines[0] == "" {
		return "its log is empty"
	}
	lines = lines[max(0, len(lines)-tailLines):]
	return fmt.Sprintf("the end of the log of %s:\n\t%s", p.name, strings.Join(lines, "\n\t"))
}

func readTail(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, from, tailBytes))
	return string(text), err
}

// How often AwaitLine looks at the log, and how much of it.
const (
	linePeriod = 10 * time.Millisecond
	logBytes   = 4 << 20
)

// AwaitLine returns the first match of a pattern, with its groups, in what the program has
// logged so far or logs until ctx ends. It also gives up when the program has ended.
func (p *Process) AwaitLine(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	tick := time.NewTicker(linePeriod)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-p.exited: // and look once more
			ended = true
		default:
		}
		text, err := p.Log()
		if err != nil {
			return nil, err
		}
		if match := pattern.FindStringSubmatch(text); match != nil {
			return match, nil
		}
		if ended {
			return nil, p.ExitError()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait until %s logs %q: %w; %s", p.name, pattern, context.Cause(ctx), p.Tail())
		}
	}
}

// Log returns what the program has logged so far, up to 4 MiB.
func (p *Process) Log() (string, error) {
	f, err := os.Open(p.log)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, logBytes))
	return string(text), err
}
