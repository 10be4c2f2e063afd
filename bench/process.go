package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/platformbus/platform/bench/contender"
)

// buildContenders builds the programs of the contenders that are libraries, without cgo, as
// for a container image. The working directory must be that of this program's source.
func buildContenders(ctx context.Context, dir string) error {
	command := exec.CommandContext(ctx, "go", "build", "-o", dir, "./contender/...")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("build the contenders: %w", err)
	}
	return nil
}

// A process is a running program of a contender.
type process struct {
	command  *exec.Cmd
	stdin    io.WriteCloser
	requests *json.Encoder
	replies  *json.Decoder
}

// startProcess starts the program of a library. It ends on close, or when this process ends.
func startProcess(ctx context.Context, a access, program string, args ...string) (*process, error) {
	command := exec.CommandContext(ctx, filepath.Join(a.programs, program), append(args, "-profile", a.profile)...)
	command.Env = append(os.Environ(), contender.KubeconfigVariable+"="+a.kubeconfig)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	return &process{command, stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)}, nil
}

func (p *process) do(_ context.Context, phase, dir string) (contender.Measurement, error) {
	return p.call(contender.Request{Phase: phase, Dir: dir})
}

// call sends a request to the process and waits for the reply.
func (p *process) call(o contender.Request) (contender.Measurement, error) {
	if err := p.requests.Encode(o); err != nil {
		return contender.Measurement{}, err
	}
	var r contender.Reply
	if err := p.replies.Decode(&r); err != nil {
		return contender.Measurement{}, fmt.Errorf("the process ended: %w", err)
	}
	if r.Error != "" {
		return contender.Measurement{}, errors.New(r.Error)
	}
	return r.Measurement, nil
}

// kill ends a process that does not end by itself.
func (p *process) kill() error {
	err := p.command.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	_ = p.command.Wait() // its error is that it was killed
	return err
}

func (p *process) close() error { return errors.Join(p.stdin.Close(), p.command.Wait()) }
