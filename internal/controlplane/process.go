package controlplane

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The limits of a stop. Nothing in the data folder is worth waiting for, but a
// program that ends in good order tells the others so, and they do not retry.
const (
	termLimit = 3 * time.Second // from SIGTERM to SIGKILL
	killLimit = 5 * time.Second // from SIGKILL to giving up
)

// A process is a program in a process group of its own that ends, with the whole
// group, at the latest when its lifeline is closed: by stop, or by the kernel
// when our process ends in whatever way.
//
// startProcess starts its only goroutine, which waits for the program.
type process struct {
	name     string
	log      string // path of what it writes to standard output and error
	cmd      *exec.Cmd
	lifeline io.Closer
	group    *os.File // at its end once no process of the group is left

	exited chan struct{} // closed when the program has ended and ended has returned
	state  error         // why it ended; read it after exited is closed
}

// startProcess starts a program that works in dir and logs to a file there. It
// calls ended once the program has ended.
func startProcess(name, dir, path string, args []string, ended func(*process)) (*process, error) {
	p := &process{
		name:   name,
		log:    filepath.Join(dir, name+".log"),
		exited: make(chan struct{}),
	}
	if err := p.start(dir, path, args); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.state = p.cmd.Wait()
		p.lifeline.Close() // ends what the program has left of its group
		ended(p)
		close(p.exited)
	}()
	return p, nil
}

func (p *process) start(dir, path string, args []string) error {
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

	p.cmd = groupCommand(path, args, hold, member)
	p.cmd.Dir = dir
	// The programs must not depend on what the user has set, such as a proxy or a
	// kubeconfig, and kwok reads its defaults from the home folder.
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		lifeline.Close()
		group.Close()
		return err
	}
	p.lifeline, p.group = lifeline, group
	return nil
}

// stop ends the process and its group. It returns an error only if some of them
// would not go.
func (p *process) stop() error {
	defer p.group.Close()
	p.terminate()
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
	if err := p.group.SetReadDeadline(time.Now().Add(killLimit)); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	if _, err := p.group.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("stop %s: a process of group %d does not end: %w", p.name, p.cmd.Process.Pid, err)
	}
	return nil
}

func (p *process) waitExit(limit time.Duration) bool {
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

// exitError may be called once the program has ended.
func (p *process) exitError() error {
	return &exitError{p.name, p.state, p.tail()}
}

func (e *exitError) Error() string {
	state := "exit status 0"
	if e.state != nil {
		state = e.state.Error()
	}
	return fmt.Sprintf("%s ended unexpectedly: %s; %s", e.program, state, e.log)
}

func (e *exitError) Unwrap() error { return e.state }

// isPortTaken tells whether a program ended because someone else listens on the
// port that it was told to use.
func isPortTaken(err error) bool {
	var exit *exitError
	return errors.As(err, &exit) && strings.Contains(exit.log, "address already in use")
}

// How much of a log an error quotes.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// tail returns the end of the log, introduced, for the end of an error message.
func (p *process) tail() string {
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
