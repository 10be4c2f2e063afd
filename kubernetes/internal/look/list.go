package look

import (
	"context"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

const (
	// peek is how many objects are asked for where nothing is known of a place that may hold
	// very many.
	peek = 8
	// maxContent is about how much of the content of objects is had at once, in bytes.
	maxContent = 2 << 20
	// getters is how many objects are asked for by name at once, at most.
	getters = 64
)

// A page is what was listed at once.
type page struct {
	metav1.ListInterface
	listed, wanted int // how many objects it has, and how many of them are looked for
}

// list lists one place, unless it is known to be crowded or closed. Where it turns out to be,
// the list is left unfinished. What is in a place without a selector, and is not in its list, is
// absent. It says whether the list is complete.
func (s *search) list(ctx context.Context, namespace, selector string, left []int) (complete bool, err error) {
	at := place{resource: s.Resource.GroupVersionResource, namespace: namespace, selector: selector}
	all := left
	if left = s.hears(at, left); len(left) == 0 {
		return true, nil
	}
	before, known := s.remembered(at)
	if known && (before.forbidden || before.isCrowded(len(left))) {
		return false, nil
	}
	others := max(before.others, before.held-len(left))
	isSecret := kinds.Of(s.Resource.GVK().GroupKind()).IsSecret
	if s.Whole && !isSecret && (known || selector != "" || s.isNamespaces()) && areFew(others, len(left)) {
		l := listing{search: s, place: at, wanted: left, all: all, ask: s.wholePage, first: min(s.pageSize(left), int64(len(left)+peek))}
		return l.run(ctx)
	}
	l := listing{search: s, place: at, wanted: left, all: all, first: min(api.PageSize, int64(Budget(len(left))))}
	if !known && (s.Whole || namespace == "" && s.Resource.Namespaced && selector == "") {
		l.first = peek
	}
	if !s.Whole {
		l.ask = s.seenPage
		return l.run(ctx)
	}
	l.ask = func(ctx context.Context, at place, options metav1.ListOptions) (page, error) {
		return s.metadataPage(ctx, at, options, func(i int, _ *metav1.PartialObjectMetadata) { l.seen = append(l.seen, i) })
	}
	// Where the first page tells that hardly anything else is there, the rest is had at once.
	l.enough = func(listed, wanted, others int) bool {
		return !isSecret && 2*wanted >= listed && areFew(others, len(left))
	}
	if complete, err = l.run(ctx); err != nil {
		return complete, err
	}
	if isSecret && l.others > 0 || !areFew(l.others, len(l.seen)) || len(l.seen) < 2 && complete || !complete && !l.stopped {
		return complete, s.get(ctx, l.seen)
	}
	whole := listing{search: s, place: at, wanted: left, all: all, ask: s.wholePage, first: s.pageSize(left)}
	return whole.run(ctx)
}

// areFew says whether the objects that are not looked for are so few, beside n that are, that
// they may be read too.
func areFew(others, n int) bool { return others <= n/4+1 }

// isCrowded says whether a place holds more than is to be listed for n objects.
func (c count) isCrowded(n int) bool { return c.held > Budget(n) }

// A listing lists a place page by page, until it turns out to be crowded.
type listing struct {
	*search
	place
	wanted []int // the objects that are looked for there
	all    []int // with those of which a watch of the place has told
	first  int64 // how many objects the first page may have
	ask    func(context.Context, place, metav1.ListOptions) (page, error)
	// enough, if set, stops it after the first page: listed and wanted say what that had,
	// and others how many objects that are not looked for the place holds.
	enough func(listed, wanted, others int) bool

	seen    []int // the objects that are there, as far as ask notes them
	held    int   // how many objects it was seen to hold, at least
	others  int   // how many of them are not looked for, at least
	stopped bool  // enough said so
}

// run says whether the list is complete.
func (l *listing) run(ctx context.Context) (complete bool, err error) {
	options := l.options()
	options.Limit = l.first
	listed, wanted, version := 0, 0, ""
	for {
		var p page
		err := l.client.Retry(ctx, func(ctx context.Context) (err error) {
			p, err = l.ask(ctx, l.place, options)
			return err
		})
		switch {
		case apierrors.IsResourceExpired(err) && options.Continue != "": // the rest is found otherwise
			return false, nil
		case isRefused(err):
			l.remember(l.place, count{forbidden: true})
			return false, nil
		case err != nil:
			return false, err
		}
		listed, wanted, version = listed+p.listed, wanted+p.wanted, p.GetResourceVersion()
		l.held, l.others = listed, listed-wanted
		if options.Continue = p.GetContinue(); options.Continue == "" {
			break
		}
		if remaining := p.GetRemainingItemCount(); remaining != nil {
			l.held += int(*remaining)
			l.others = max(l.others, l.held-len(l.wanted))
			if listed == p.listed && l.enough != nil && l.enough(listed, wanted, l.others) {
				l.stopped = true
				return false, nil
			}
		}
		budget := Budget(len(l.wanted))
		if l.others > budget-len(l.wanted) {
			l.remember(l.place, count{held: max(l.held, budget+1), others: l.others})
			return false, nil
		}
		// With one more than the budget it is crowded, whatever they are.
		options.Limit = min(l.pageSize(l.wanted), int64(max(1, budget+1-listed)))
	}
	l.remember(l.place, count{held: l.held, others: l.others})
	if l.selector == "" {
		l.absent(l.wanted, l.seen...)
	}
	l.watch(l.place, version, l.all)
	return true, nil
}

// pageSize returns how many of the objects are had at once.
func (s *search) pageSize(some []int) int64 {
	if !s.Whole {
		return api.PageSize
	}
	return max(1, min(api.PageSize, maxContent/s.averageSize(some)))
}

func (s *search) averageSize(some []int) int64 {
	size := int64(0)
	for _, i := range some {
		size += int64(s.Objects[i].Size)
	}
	return 1 + size/int64(max(1, len(some)))
}

// metadataPage lists metadata, and calls seen with what is looked for.
func (s *search) metadataPage(ctx context.Context, at place, options metav1.ListOptions, seen func(int, *metav1.PartialObjectMetadata)) (page, error) {
	list, err := s.client.Metadata(at.resource, at.namespace).List(ctx, options)
	if err != nil {
		return page{}, err
	}
	p := page{ListInterface: list, listed: len(list.Items)}
	for i := range list.Items {
		meta := &list.Items[i]
		if wanted, ok := s.index[name{meta.Namespace, meta.Name}]; ok {
			p.wanted++
			seen(wanted, meta)
		}
	}
	return p, nil
}

// seenPage lists metadata, and passes on what is looked for.
func (s *search) seenPage(ctx context.Context, at place, options metav1.ListOptions) (page, error) {
	return s.metadataPage(ctx, at, options, s.see)
}

// wholePage lists whole objects, and passes on what is looked for.
func (s *search) wholePage(ctx context.Context, at place, options metav1.ListOptions) (page, error) {
	of := api.Target{GroupVersionResource: at.resource, Namespace: at.namespace}
	list, err := s.client.ListSome(ctx, s.Resource.GVK(), of, options, func(namespace, object string) bool {
		_, ok := s.index[name{namespace, object}]
		return ok
	}, func(live *unstructured.Unstructured) {
		i := s.index[name{live.GetNamespace(), live.GetName()}]
		s.SeenWhole(i, live)
		s.set(i, Present)
	})
	if err != nil {
		return page{}, err
	}
	return page{list, list.Listed, list.Wanted}, nil
}

// one lists one object, by its name: unlike a request for the object itself, that is answered from
// the API server's memory.
func (s *search) one(ctx context.Context, i int) error {
	at := place{resource: s.Resource.GroupVersionResource, namespace: s.Objects[i].Namespace, name: s.Objects[i].Name}
	if len(s.hears(at, []int{i})) == 0 {
		return nil
	}
	ask := s.seenPage
	if s.Whole {
		ask = s.wholePage
	}
	version := ""
	err := s.client.Retry(ctx, func(ctx context.Context) error {
		p, err := ask(ctx, at, at.options())
		if err == nil {
			version = p.GetResourceVersion()
		}
		return err
	})
	if err == nil {
		s.absent([]int{i})
		s.watch(at, version, []int{i})
	}
	return err
}

func (s *search) see(i int, meta *metav1.PartialObjectMetadata) {
	s.Seen(i, meta)
	s.set(i, Present)
}

// absent notes that those of the objects which were not seen are not there.
func (s *search) absent(some []int, seen ...int) {
	there := make(map[int]bool, len(seen))
	for _, i := range seen {
		there[i] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range some {
		if s.found[i] == Unknown && !there[i] {
			s.found[i] = Absent
		}
	}
}

// get asks for each object by its name.
func (s *search) get(ctx context.Context, some []int) error {
	if len(some) == 0 {
		return nil
	}
	workers := min(len(some), getters)
	if s.Whole {
		workers = min(workers, int(max(1, maxContent/s.averageSize(some))))
	}
	var (
		next   atomic.Int64
		mu     sync.Mutex
		failed error // guarded by mu
		group  sync.WaitGroup
	)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for range workers {
		group.Go(func() {
			for n := int(next.Add(1)) - 1; n < len(some) && ctx.Err() == nil; n = int(next.Add(1)) - 1 {
				if err := s.getOne(ctx, some[n]); err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					mu.Unlock()
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return failed
}

func (s *search) getOne(ctx context.Context, i int) error {
	o := s.Objects[i]
	var (
		meta *metav1.PartialObjectMetadata
		live *unstructured.Unstructured
	)
	err := s.client.Retry(ctx, func(ctx context.Context) (err error) {
		if s.Whole {
			live, err = s.client.Objects(s.Resource.GroupVersionResource, o.Namespace).Get(ctx, o.Name)
		} else {
			meta, err = s.client.Metadata(s.Resource.GroupVersionResource, o.Namespace).Get(ctx, o.Name)
		}
		return err
	})
	switch {
	case apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse):
		s.set(i, Absent)
		return nil
	case isRefused(err): // perhaps lists are allowed
		if err = s.one(ctx, i); isRefused(err) {
			return nil
		}
		return err
	case err != nil:
		return err
	case s.Whole:
		s.SeenWhole(i, live)
		s.set(i, Present)
	default:
		s.see(i, meta)
	}
	return nil
}
