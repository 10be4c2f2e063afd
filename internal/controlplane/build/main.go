// Command build builds the programs of the control plane that the tests, the
// benchmarks and the demo run against: etcd, four programs of Kubernetes and kwok.
// Run it from the repository's root:
//
//	go run ./internal/controlplane/build         # make controlplane
//	go run ./internal/controlplane/build -print  # print the folder of the programs
//
// A complete program is renamed into its folder, so that neither an interrupted
// builder nor two concurrent ones leave an incomplete program.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

func main() {
	printFolder := flag.Bool("print", false, "print the folder of the programs and build nothing")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *printFolder)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, printFolder bool) error {
	folder, err := programs.Locate(programs.Names()...)
	var missing *programs.MissingError
	switch {
	case err == nil && printFolder:
		fmt.Fprintln(out, folder)
		return nil
	case err == nil:
		fmt.Fprintln(out, "the control plane's programs are all there:", folder)
		return nil
	case !errors.As(err, &missing):
		return err
	}
	folder, err = programs.CacheFolder()
	if err != nil {
		return err
	}
	if printFolder {
		fmt.Fprintln(out, folder)
		return nil
	}
	return buildAll(ctx, out, folder, missing.Programs)
}

// buildAll builds the named programs into folder sequentially: each build uses all
// cores.
func buildAll(ctx context.Context, out io.Writer, folder string, names []string) error {
	fmt.Fprintf(out, "building the control plane's programs into %s\n", folder)
	fmt.Fprintln(out, "the first time this takes about 8 to 12 minutes on 2 cores, later it takes seconds")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	removeAbandoned(folder)
	all := slices.DeleteFunc(programs.All(), func(p programs.Program) bool {
		return !slices.Contains(names, p.Name)
	})
	for i, p := range all {
		if _, err := os.Stat(filepath.Join(p.Module, "go.mod")); err != nil {
			return fmt.Errorf("%w: this must run in the root of the repository", err)
		}
		prefix := fmt.Sprintf("[%d/%d] %s", i+1, len(all), p.Name)
		fmt.Fprintf(out, "%s %s: building, about %v the first time\n", prefix, p.Version, p.FirstBuild)
		start := time.Now()
		stop := reportProgress(out, prefix, start)
		size, err := build(ctx, p, folder)
		stop()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: built in %v, %d MB\n", prefix, time.Since(start).Round(100*time.Millisecond), size>>20)
	}
	return nil
}

// reportProgress says each minute that a build has not ended, until stop is called: on a busy
// machine one may take several times FirstBuild, and the go command says nothing meanwhile.
func reportProgress(out io.Writer, prefix string, start time.Time) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{}) // closed by stop, and by the goroutine
	go func() {
		defer close(done)
		minute := time.NewTicker(time.Minute)
		defer minute.Stop()
		for {
			select {
			case <-minute.C:
				fmt.Fprintf(out, "%s: still building, after %v\n", prefix, time.Since(start).Round(time.Second))
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-done }
}

// temporary is the prefix of the folders in which programs are built. They are below
// the final folder, so that the rename stays within one file system.
const temporary = ".building-"

// build builds one program and returns its size.
func build(ctx context.Context, p programs.Program, folder string) (size int64, err error) {
	tmp, err := os.MkdirTemp(folder, temporary)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()

	file := filepath.Join(tmp, p.Name)
	cmd := exec.CommandContext(ctx, "go", "build", "-C", p.Module, "-ldflags", p.LDFlags, "-o", file, p.Package)
	// The user's build settings must neither break this build nor prevent the use of
	// the build cache. Empty values are not sufficient: the go command then reads
	// those that `go env -w` stored.
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// The go command removes its temporary files when it is interrupted, but not when
	// it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return 0, fmt.Errorf("build %s: interrupted", p.Name)
		}
		return 0, fmt.Errorf("build %s: %w\n%s", p.Name, err, strings.TrimSpace(output.String()))
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(file, filepath.Join(folder, p.Name))
}

// removeAbandoned removes the temporary folders of builders that were killed. A
// folder less than a day old may still be in use.
func removeAbandoned(folder string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return // the removal is optional
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), temporary) && time.Since(info.ModTime()) > 24*time.Hour {
			os.RemoveAll(filepath.Join(folder, e.Name()))
		}
	}
}
