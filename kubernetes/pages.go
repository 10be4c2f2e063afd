package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
	"github.com/platformbus/platform/kubernetes/internal/render"
)

const (
	// peekSize is how many objects of a kind are asked for at first. Few kinds have more, so
	// that those that have few can be asked for at once.
	peekSize = 50
	// fullPages is how many pages after the first are in memory at once: one that the API
	// server is asked for, and one that is being written.
	fullPages = 2
	// pageBytes is how large a page should be. 500 objects, the most that are asked for, are
	// that large with 4 KiB each.
	pageBytes = 2 << 20
	// maxGrowth is how many times as many objects a page has as the one before.
	maxGrowth = 10
)

// firstPage returns how many objects of a kind are asked for at first: few of those that may
// have a megabyte each.
func firstPage(kind schema.GroupKind) int {
	switch kind {
	case kinds.CustomResourceDefinition:
		return 4
	case kinds.ConfigMap, kinds.Secret:
		return 16
	}
	return peekSize
}

// mostOnPage returns how many objects of a kind are on a page. Definitions of kinds are of any
// size, whatever the size of those before.
func mostOnPage(kind schema.GroupKind) int {
	if kind == kinds.CustomResourceDefinition {
		return 16
	}
	return api.PageSize
}

// A paging says how many objects to ask for, of one kind. It may be used by many goroutines at
// once.
type paging struct {
	kind schema.GroupKind

	mu   sync.Mutex
	next map[string]int // by namespace: how many objects the next page has; guarded by mu
}

func newPaging(kind schema.GroupKind) *paging { return &paging{kind: kind, next: map[string]int{}} }

// limit returns how many objects the page after those that note has been told of has.
func (p *paging) limit(namespace string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.next[namespace]; n > 0 {
		return n
	}
	return firstPage(p.kind)
}

// note is told of a page, how many objects it has and how large it is.
func (p *paging) note(namespace string, objects, size int) {
	if objects == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fit := pageBytes / (size/objects + 1)
	p.next[namespace] = max(1, min(fit, maxGrowth*objects, mostOnPage(p.kind)))
}

// forget begins anew.
func (p *paging) forget(namespace string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.next, namespace)
}

// An exportPage is what is written of the objects of one page, in the order of their
// namespaces and names, which is that of the API server's pages too.
type exportPage struct {
	first  string // the sort key of its first object
	size   int    // of the text
	packed []byte // the text, compressed
}

const (
	// partObjects and partBytes bound what is decoded and written on one processor in one go.
	partObjects = 32
	partBytes   = 256 << 10
)

// writing has a token for each object of more than partBytes that is being written: a process has no
// more than two of them in memory as maps.
var writing = make(chan struct{}, 2)

// A textPart is what is written of some of the objects of a page.
type textPart struct {
	text    *bytes.Buffer
	objects []writtenObject
	err     error
}

// A writtenObject is the text of one object.
type writtenObject struct {
	key  string // to sort by
	text []byte // of the part's, once that is whole
	end  int    // in that text
}

// writePage returns one page with what of the list is exported, or none if nothing is.
func (c *core) writePage(res api.Resource, list *api.RawList) ([]exportPage, error) {
	var parts [][]json.RawMessage
	for from := 0; from < len(list.Items); {
		to, size := from, 0
		for to < len(list.Items) && to-from < partObjects && (to == from || size+len(list.Items[to]) <= partBytes) {
			size += len(list.Items[to])
			to++
		}
		parts, from = append(parts, list.Items[from:to]), to
	}
	texts := make([]textPart, len(parts))
	inParallel(len(parts), func(i int) { texts[i] = c.writePart(res, parts[i]) })
	var (
		objects []writtenObject
		errs    []error
		size    int
	)
	for _, part := range texts {
		defer putBuffer(part.text)
		objects, errs, size = append(objects, part.objects...), append(errs, part.err), size+part.text.Len()
	}
	if err := redact.Join(errs...); err != nil || len(objects) == 0 {
		return nil, err
	}
	slices.SortStableFunc(objects, func(a, b writtenObject) int { return strings.Compare(a.key, b.key) })
	whole := getBuffer()
	defer putBuffer(whole)
	for _, o := range objects {
		whole.Write(o.text)
	}
	return []exportPage{{objects[0].key, size, packing().EncodeAll(whole.Bytes(), nil)}}, nil
}

// writePart writes objects one after another.
func (c *core) writePart(res api.Resource, items []json.RawMessage) textPart {
	part := textPart{text: getBuffer()}
	to := render.NewWriter(part.text)
	for _, item := range items {
		if part.err = c.writeObject(res, item, to, &part); part.err != nil {
			return part
		}
	}
	from := 0
	for i := range part.objects {
		o := &part.objects[i]
		o.text, from = part.text.Bytes()[from:o.end], o.end
	}
	return part
}

func (c *core) writeObject(res api.Resource, item []byte, to *render.Writer, part *textPart) error {
	if len(item) > partBytes {
		writing <- struct{}{}
		defer func() { <-writing }()
	}
	var object unstructured.Unstructured
	if err := kjson.Unmarshal(item, &object.Object); err != nil {
		return fmt.Errorf("read the API server's answer: %w", err)
	}
	object.SetGroupVersionKind(res.GVK()) // which lists of built-in kinds leave out
	if !c.exports(&object) {
		return nil
	}
	key := sortKey(&object)
	kinds.Strip(&object)
	if err := to.Write(object.Object); err != nil {
		return err
	}
	part.objects = append(part.objects, writtenObject{key: key, end: part.text.Len()})
	return nil
}

// sortKey orders objects of a kind as the API server does.
func sortKey(object *unstructured.Unstructured) string {
	return object.GetNamespace() + "/" + object.GetName()
}

// buffers has buffers that are not in use.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// maxKept is the size of the largest buffer that is kept.
const maxKept = 4 << 20

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxKept {
		b.Reset()
		buffers.Put(b)
	}
}

// packing compresses text that has to be kept until it is known how large the result is.
// It shrinks to a twentieth, where a slice that grows takes twice the room.
var packing = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // it depends on the options only
	}
	return e
})

// joinPages returns the text of the pages after the comments. It is never nil, which not every
// transport would tell from no answer.
func joinPages(pages []exportPage, comments string) ([]byte, error) {
	size := len(comments)
	for _, page := range pages {
		size += page.size
	}
	unpacking, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return []byte{}, err
	}
	defer unpacking.Close()
	out := append(make([]byte, 0, size), comments...)
	for _, page := range pages {
		if out, err = unpacking.DecodeAll(page.packed, out); err != nil {
			return out, err
		}
	}
	return out, nil
}
