package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

// RequireVariable is the environment variable that, if set to 1, makes tests fail
// that need a control plane and do not find its programs. Otherwise they are skipped.
const RequireVariable = "PLATFORM_REQUIRE_CLUSTER"

// shared is the control plane of the tests of this binary.
var shared struct {
	mu      sync.Mutex
	started bool          // guarded by mu
	cp      *ControlPlane // guarded by mu
	err     error         // guarded by mu: why the only start failed
}

// Require returns the control plane that the tests of this binary share. The first
// call starts it and [Main] stops it. If its programs are not built the test is
// skipped, or fails if PLATFORM_REQUIRE_CLUSTER is 1. Tests use a namespace each so
// that they do not affect each other: see [ControlPlane.Namespace].
func Require(t testing.TB) *ControlPlane {
	t.Helper()
	cp, err := share()
	if err != nil {
		endWithout(t, err)
	}
	return cp
}

// endWithout skips or fails a test because there is no control plane.
func endWithout(t testing.TB, err error) {
	t.Helper()
	var missing *programs.MissingError
	switch {
	case !errors.As(err, &missing) && !errors.Is(err, errors.ErrUnsupported):
		t.Fatal(err)
	case os.Getenv(RequireVariable) == "1":
		t.Fatalf("%s needs a control plane, and %s is 1: %v", t.Name(), RequireVariable, err)
	default:
		t.Skipf("%s needs a control plane: %v", t.Name(), err)
	}
}

// share returns the shared control plane, and starts it on the first call.
func share() (*ControlPlane, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.started {
		shared.started = true
		shared.cp, shared.err = Start(context.Background(), Options{})
	}
	if shared.err != nil {
		return nil, shared.err
	}
	if err := shared.cp.Err(); err != nil {
		return nil, fmt.Errorf("the shared control plane has failed: %w", err)
	}
	return shared.cp, nil
}

// Main runs the tests of a binary, stops the control plane if one of them required
// it, and returns the exit code:
//
//	func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }
//
// Without Main the control plane also ends with the process, but a part of it that
// does not end is not reported.
func Main(m *testing.M) int {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cp == nil {
		return code
	}
	if err := shared.cp.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared control plane:", err)
		return max(code, 1)
	}
	return code
}

// Program returns the path of one of the programs, such as kubectl. The error is a
// programs.MissingError if the program is not built.
func Program(name string) (string, error) {
	folder, err := programs.Locate(name)
	return filepath.Join(folder, name), err
}

// namespaceLimit bounds the time until a namespace admits pods.
const namespaceLimit = time.Minute

// Namespace creates a namespace for a test, deletes it at the test's end, and returns
// its name, which begins with the test's name. The namespace has its service account
// when Namespace returns, so that it admits pods.
func (cp *ControlPlane) Namespace(t testing.TB) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), namespaceLimit)
	defer cancel()
	made, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: namespacePrefix(t.Name())},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), namespaceLimit)
		defer cancel()
		if err := client.CoreV1().Namespaces().Delete(ctx, made.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete namespace %s: %v", made.Name, err)
		}
	})
	if cp.options.NoControllerManager {
		return made.Name
	}
	tick := time.NewTicker(attemptPeriod)
	defer tick.Stop()
	for {
		_, err := client.CoreV1().ServiceAccounts(made.Name).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return made.Name
		}
		select {
		case <-ctx.Done():
			t.Fatalf("wait for the service account of namespace %s: %v", made.Name, err)
		case <-tick.C:
		}
	}
}

// namespacePrefix derives the prefix of a namespace's name from the name of a test.
// The name has at most 63 characters, of which the server adds five.
func namespacePrefix(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '-'
		}
	}, strings.TrimPrefix(test, "Test"))
	return "t-" + name[:min(len(name), 50)] + "-"
}
