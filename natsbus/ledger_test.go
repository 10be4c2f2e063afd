package natsbus_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A ledger has what callers were told of each Apply and Sync, and what was carried out.
type ledger struct {
	names atomic.Int64

	mu      sync.Mutex
	ran     map[string]int    // guarded by mu; how often, by ID
	outcome map[string]string // guarded by mu; "ok", "unknown" or the error, by ID
}

func newLedger() *ledger { return &ledger{ran: map[string]int{}, outcome: map[string]string{}} }

// An entered platform enters in the ledger what it carries out.
type entered struct {
	platform.MockPlatform
	ledger *ledger
}

func (l *ledger) platform() *entered { return &entered{ledger: l} }

func (e *entered) Apply(defs []platform.ServiceDefinition) error {
	e.ledger.run(string(defs[0].ServiceID))
	return e.MockPlatform.Apply(defs)
}

func (e *entered) Sync(def platform.SyncDef) error {
	e.ledger.run(def.Actions[0].ResourceID)
	return e.MockPlatform.Sync(def)
}

func (l *ledger) run(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ran[id]++
}

// sync makes a Sync, and apply an Apply, with a body that cannot be compressed.
func (l *ledger) sync(h platform.Platform, data []byte) error {
	id := l.newID()
	return l.told(id, h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: id, Apply: data}}}))
}

func (l *ledger) apply(h platform.Platform, data []byte) error {
	id := l.newID()
	return l.told(id, h.Apply([]platform.ServiceDefinition{{ServiceID: flux.ServiceID(id), NewDefinition: data}}))
}

func (l *ledger) newID() string { return fmt.Sprint("default/", l.names.Add(1)) }

func (l *ledger) told(id string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.outcome[id] = "ok"
	case strings.Contains(err.Error(), "outcome is unknown"):
		l.outcome[id] = "unknown"
	default:
		l.outcome[id] = err.Error()
	}
	return err
}

// check fails the test if anything ran twice, was answered and did not run, or ran though
// its caller was told that it failed, and not that its outcome is unknown.
func (l *ledger) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	executions, ok, unknown, failed := 0, 0, 0, 0
	for id, n := range l.ran {
		executions += n
		assert.Equal(t, 1, n, "%s ran %d times", id, n)
	}
	for id, outcome := range l.outcome {
		switch outcome {
		case "ok":
			ok++
			assert.Equal(t, 1, l.ran[id], "%s was answered", id)
		case "unknown":
			unknown++
		default:
			failed++
			assert.Zero(t, l.ran[id], "%s ran, and its caller was told: %s", id, outcome)
		}
	}
	assert.LessOrEqual(t, ok, executions)
	assert.LessOrEqual(t, executions, ok+unknown)
	t.Logf("%d were carried out; callers were told of %d that they succeeded, of %d that the outcome is unknown, of %d that they were not begun", executions, ok, unknown, failed)
}

// noise returns bytes that cannot be compressed.
func noise(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // it never fails
	return data
}
