// Package process runs programs that end when this process ends, also when it is killed: see
// [Process].
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
	"sync"
	"time"
)

// The limits of a stop. Nothing in the data folder is worth waiting for, but a
// program that shuts down gracefully notifies the others, and they do not retry.
const (
	termLimit = 3 * time.Second // from SIGTERM to SIGKILL
	killLimit = 5 * time.Second // from SIGKILL to giving up
)

// A Process is a program in a process group of its own. The whole group ends at the
// latest when the lifeline is closed: by Stop, or by the kernel when this process
// ends for any reason. Its methods may be called by many goroutines at once.
//
// Start starts its only goroutine, which waits for the program.
type Process struct {
	name     string
	log      string // path of what it writes to standard output and error
	cmd      *exec.Cmd
	lifeline io.Closer
	group    *os.File // reads end of file once no process of the group is left

	exited chan struct{} // closed when the program has ended and Ended has returned
	state  error         // why it ended; read it after exited is closed

	stop func() error // the body of Stop, once
}

// A Program configures a Process.
type Program struct {
	// Name is used in messages and in the name of the log.
	Name string
	// Dir is the working directory, which also holds the log.
	Dir string
	// Path is the path of the program.
	Path string
	// Args are its arguments. Other users can read them: they must not hold secrets.
	Args []string
	// Env is added to the environment, which is PATH, and Dir as HOME and TMPDIR.
	Env []string
	// Ended, if set, is called once the program has ended.
	Ended func(*Process)
}

// ErrUnsupported reports that programs could outlive this process on this system.
var ErrUnsupported = fmt.Errorf("processes that end with us: %w on %s", errors.ErrUnsupported, runtime.GOOS)

// Start starts a program. It returns when the program has started, and does not wait until
// the program is ready.
func Start(program Program) (*Process, error) {
	if !Supported {
		return nil, ErrUnsupported
	}
	p := &Process{
		name:   program.Name,
		log:    filepath.Join(program.Dir, program.Name+".log"),
		exited: make(chan struct{}),
	}
	p.stop = sync.OnceValue(p.end)
	if err := p.start(program); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		p.state = p.cmd.Wait()
		p.lifeline.Close() // ends the rest of the program's group
		if program.Ended != nil {
			program.Ended(p)
		}
		close(p.exited)
	}()
	return p, nil
}

// Name returns the program's name.
func (p *Process) Name() string { return p.name }

// PID returns the ID of the process and of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program alone. It returns an error if the program has ended.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Exited returns a channel that is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State returns nil if the program ended with status 0, and an *exec.ExitError otherwise. It
// must be called only after Exited is closed.
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
	// The programs must not depend on the user's settings, such as a proxy or a
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

// Stop ends the process and its group: it asks the program to end, and kills the group
// after a time limit. It returns an error only if a process does not end. It may also be
// called after the program has ended by itself. Later calls wait for the first one, and
// return its result.
func (p *Process) Stop() error { return p.stop() }

func (p *Process) end() error {
	defer p.group.Close()
	terminate(p.cmd.Process)
	if !p.waitExit(termLimit) {
		p.lifeline.Close()
		if !p.waitExit(killLimit) {
			p.cmd.Process.Kill() // the shell that watches the lifeline must have exited
		}
	}
	if !p.waitExit(killLimit) {
		return fmt.Errorf("stop %s: process %d does not end", p.name, p.cmd.Process.Pid)
	}
	// Every process of the group holds the other end of this pipe.
	if err := p.group.SetReadDeadline(time.Now().Add(killLimit)); err != nil {
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

// An exitError reports that a program ended unexpectedly.
type exitError struct {
	program string
	state   error // nil if it ended with status 0
	log     string
}

// ExitError returns an error with the exit status of the program and the end of its log. It
// must be called only after the program has ended.
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

// IsPortTaken reports whether a program ended because its port is in use.
func IsPortTaken(err error) bool {
	var exit *exitError
	return errors.As(err, &exit) && strings.Contains(exit.log, "address already in use")
}

// The part of a log that an error quotes.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// Tail returns the end of the log, with an introduction, as the last part of an error
// message.
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

// AwaitLine reads the log once in each linePeriod, up to logBytes.
const (
	linePeriod = 10 * time.Millisecond
	logBytes   = 4 << 20
)

// AwaitLine waits until the complete lines of the log match a pattern, and returns the first
// match with its groups. It fails if ctx or the program ends before.
func (p *Process) AwaitLine(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	tick := time.NewTicker(linePeriod)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-p.exited: // read the log once more
			ended = true
		default:
		}
		text, err := p.Log()
		if err != nil {
			return nil, err
		}
		if !ended { // the last line may be written in parts
			text = text[:strings.LastIndexByte(text, '\n')+1]
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

// Log returns the log of the program so far, up to 4 MiB.
func (p *Process) Log() (string, error) {
	f, err := os.Open(p.log)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, logBytes))
	return string(text), err
}
