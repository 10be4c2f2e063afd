package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pkg/errors"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/apply"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A readAction is what the definitions of an action say.
type readAction struct {
	delete, apply []*apply.Definition
}

// size estimates how many bytes a holds.
func (a *readAction) size() int {
	n := 400 // without the definitions
	for _, d := range slices.Concat(a.delete, a.apply) {
		n += d.Size()
	}
	return n
}

// An action is one of a Sync that could be read.
type action struct {
	index int // in SyncDef.Actions
	*readAction
}

// readAll reads the definitions of all actions. Where it cannot, it sets the action's error in
// failed. Definitions that were read before come as summaries. It fails as a whole if ctx ends,
// or if there are too many objects.
func (c *core) readAll(ctx context.Context, actions []platform.SyncAction, failed []error) ([]action, error) {
	limits := parse.NewLimits(sizeOf(actions), c.options.MaxObjects)
	read := make([]*readAction, len(actions))
	keys := make([][sha256.Size]byte, len(actions))
	inParallel(len(actions), func(i int) { keys[i] = hashOf(actions[i]) })
	first := make(map[[sha256.Size]byte]int, len(actions)) // of those that say the same
	distinct := make([]int, 0, len(actions))
	for i, key := range keys {
		if _, ok := first[key]; !ok {
			first[key] = i
			distinct = append(distinct, i)
		}
	}
	inParallel(len(distinct), func(n int) {
		i := distinct[n]
		read[i], failed[i] = c.readOne(ctx, keys[i], actions[i], limits)
	})
	for i, key := range keys {
		read[i], failed[i] = read[first[key]], failed[first[key]]
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	all := make([]action, 0, len(actions))
	objects := 0
	for i, r := range read {
		if errors.Is(failed[i], parse.ErrTooManyObjects) {
			objects = math.MaxInt
			break
		}
		if failed[i] == nil {
			all = append(all, action{i, r})
			objects += len(r.delete) + len(r.apply)
		}
	}
	if objects > c.options.MaxObjects { // some may have been read before
		return nil, fmt.Errorf("the definitions hold more than %d objects, see Options.MaxObjects", c.options.MaxObjects)
	}
	return all, nil
}

// sizeOf returns how large the definitions of all actions are together, in bytes.
func sizeOf(actions []platform.SyncAction) int {
	size := 0
	for _, a := range actions {
		size += len(a.Delete) + len(a.Apply)
	}
	return size
}

// inParallel calls do for 0 to n-1, on all processors, and returns when all calls have.
func inParallel(n int, do func(i int)) {
	var (
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for range min(n, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	workers.Wait()
}

func (c *core) readOne(ctx context.Context, key [sha256.Size]byte, a platform.SyncAction, limits *parse.Limits) (*readAction, error) {
	if known, ok := c.read.Get(key); ok {
		return known, nil
	}
	full, err := parseAction(ctx, a, limits)
	if err != nil {
		return nil, err
	}
	c.read.Put(key, &readAction{delete: summaries(full.delete), apply: summaries(full.apply)})
	return full, nil
}

// hashOf returns a hash of an action's definitions.
func hashOf(a platform.SyncAction) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(a.Delete))))
	h.Write(a.Delete)
	h.Write(a.Apply)
	h.Sum(sum[:0])
	return sum
}

func parseAction(ctx context.Context, a platform.SyncAction, limits *parse.Limits) (*readAction, error) {
	var (
		full       readAction
		err1, err2 error
	)
	if full.delete, err1 = parseDefinitions(ctx, a.Delete, limits); err1 != nil {
		err1 = fmt.Errorf("read the definition to delete: %w", err1)
	}
	if full.apply, err2 = parseDefinitions(ctx, a.Apply, limits); err2 != nil {
		err2 = fmt.Errorf("read the definition to apply: %w", err2)
	}
	return &full, redact.Join(err1, err2)
}

func parseDefinitions(ctx context.Context, data []byte, limits *parse.Limits) ([]*apply.Definition, error) {
	var defs []*apply.Definition
	err := parse.Each(ctx, data, limits, func(object parse.Object) error {
		d, err := apply.NewDefinition(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		defs = append(defs, d)
		return nil
	})
	return defs, err
}

func summaries(defs []*apply.Definition) []*apply.Definition {
	kept := make([]*apply.Definition, len(defs))
	for i, d := range defs {
		kept[i] = d.Summary()
	}
	return kept
}

// load replaces the summaries in the steps that are to be taken by the full definitions. Where it
// cannot read an action again, it sets the action's error in failed, and leaves out its steps. It
// fails as a whole only if ctx ends.
func load(ctx context.Context, steps []*apply.Step, actions []platform.SyncAction, failed []error) ([]*apply.Step, error) {
	lacking := map[int][]*apply.Step{} // by action
	for _, s := range steps {
		if s.Object.IsSummary() {
			lacking[s.Action] = append(lacking[s.Action], s)
		}
	}
	// An action may have been read beside larger ones, within limits that allow for more than those
	// of these actions do.
	limits := parse.NewLimits(sizeOf(actions), parse.AnyNumber)
	for _, i := range slices.Sorted(maps.Keys(lacking)) {
		full, err := parseAction(ctx, actions[i], limits)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if failed[i] = err; err != nil {
			continue
		}
		for _, s := range lacking[i] {
			half := full.apply
			if s.Delete {
				half = full.delete
			}
			s.Object.Definition = half[s.Index]
		}
	}
	return slices.DeleteFunc(steps, func(s *apply.Step) bool { return failed[s.Action] != nil }), nil
}
