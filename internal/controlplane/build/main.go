// Command build builds the programs of the control plane that the tests, the
// benchmarks and the demo run against: etcd, four programs of Kubernetes and kwok.
// Run it from the repository's root:
//
//	go run ./internal/controlplane/build         # make controlplane
//	go run ./internal/controlplane/build -print  # the folder they are in
//
// A program appears in its folder under its name only when it is complete, by a
// rename, so that neither an interrupted builder nor a second one at the same
// time leaves half a program behind.
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

// buildAll builds the named programs into folder, one after the other: each
// build uses all cores by itself.
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
		size, err := build(ctx, p, folder)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: built in %v, %d MB\n", prefix, time.Since(start).Round(100*time.Millisecond), size>>20)
	}
	return nil
}

// temporary is how the names of the folders begin that programs are built in,
// beside their place, so that the rename stays within one file system.
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
	// What the user has set for their own builds must neither break this one nor
	// keep it from what the build cache already holds. An empty value would not
	// do: the go command then reads the one that `go env -w` stored.
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	// The go command removes its temporary files when it is interrupted, not when
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

// removeAbandoned removes what builders that were killed have left. One that
// was begun less than a day ago may still be at work.
func removeAbandoned(folder string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return // nothing depends on it
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), temporary) && time.Since(info.ModTime()) > 24*time.Hour {
			os.RemoveAll(filepath.Join(folder, e.Name()))
		}
	}
}
