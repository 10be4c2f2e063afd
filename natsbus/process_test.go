package natsbus_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/natsbus"
)

// These make this test binary a process of its own, in a role, at a server.
const (
	roleVariable = "NATSBUS_TEST_ROLE"
	urlVariable  = "NATSBUS_TEST_URL"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		runAtOnce(8)
		os.Exit(m.Run())
	default:
		if err := child(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// runAtOnce has more tests run at one time than there are processors, since most of them wait, if
// -parallel says nothing else.
func runAtOnce(n int) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err)
	}
}

// child is a daemon of the instance "a", or a caller of it, until its standard input ends. It
// says on its standard output what happens.
func child(role string) error {
	conn, err := nats.Connect(os.Getenv(urlVariable), natsbus.ConnectOptions()...)
	if err != nil {
		return err
	}
	bus, err := natsbus.New(conn, natsbus.Options{})
	if err != nil {
		return err
	}
	if role == "caller" {
		h, err := bus.Connect("a")
		if err != nil {
			return err
		}
		go func() {
			fmt.Println("returned", h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "wait"}}}))
		}()
	} else {
		done := make(chan error, 1)
		bus.Subscribe("a", &talkative{ctx: context.Background()}, done)
		go func() { fmt.Println("done", <-done) }()
		fmt.Println("ready")
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// A talkative platform says what it carries out. A Sync of "wait" waits for its context.
type talkative struct {
	platform.MockPlatform
	ctx context.Context
}

func (p *talkative) WithContext(ctx context.Context) platform.Platform { return &talkative{ctx: ctx} }

func (p *talkative) Sync(def platform.SyncDef) error {
	for _, action := range def.Actions {
		fmt.Println("ran", action.ResourceID)
		if action.ResourceID == "wait" {
			<-p.ctx.Done()
			fmt.Println("cancelled", action.ResourceID)
		}
	}
	return context.Cause(p.ctx)
}

// A process is a child.
type process struct {
	*os.Process
	lines chan string // closed when it has ended
}

// startChild starts a process, which is killed with the test.
func startChild(t *testing.T, role, url string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, urlVariable+"="+url)
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe() // which it outlives not
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd.Process, make(chan string, 10_000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(p.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.lines <- in.Text()
		}
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return p
}

// freeze stops the process, and returns when all of it has stopped.
func (p *process) freeze(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Signal(syscall.SIGSTOP))
	var state syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.Pid, &state, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		require.NoError(t, err)
		require.True(t, state.Stopped())
		return
	}
}

// says waits for a line that begins with what is given, and returns what came before it.
func (p *process) says(t *testing.T, what string) (before []string) {
	t.Helper()
	for {
		line := within(t, p.lines, what)
		if strings.HasPrefix(line, what) {
			return before
		}
		require.NotEmpty(t, line, "the process ended before it said %q", what)
		before = append(before, line)
	}
}
