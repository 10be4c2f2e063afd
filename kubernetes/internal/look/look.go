// Package look finds objects in a cluster by their names, at a cost that follows how many are
// looked for, whatever else the cluster holds.
package look

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/recent"
)

// A Query looks for objects of one resource.
type Query struct {
	Resource api.Resource
	// Objects are those that are looked for, each once.
	Objects []Object
	// Whole says that their content is needed, not their metadata alone.
	Whole bool
	// Named says that they are to be asked for by name where they are few: the places that they
	// are in are likely to hold much else.
	Named bool
	// Seen is called with the metadata of an object, by its index. It may be called for several
	// objects at once, and again for one that was seen before. It is not called if Whole is set.
	Seen func(i int, meta *metav1.PartialObjectMetadata)
	// SeenWhole is called likewise with whole objects, if Whole is set.
	SeenWhole func(i int, live *unstructured.Unstructured)
	// Same is called with the index of an object that is watched, if nothing was heard of it
	// since it was last passed on. It says whether that is all that has to be known. It may be nil.
	Same func(i int) bool
}

// An Object is one that is looked for.
type Object struct {
	Namespace, Name string
	// Labels are those that it is expected to have. They only make the look cheaper: one that
	// does not have them is found all the same.
	Labels map[string]string
	// Size is about how large it is, in bytes. It bounds how many are had at once.
	Size int
}

// A Finding is what a look says of one object.
type Finding int

const (
	// Unknown says that it may not be seen, or that the API server could not show it.
	Unknown Finding = iota
	// Absent says that it is not there.
	Absent
	// Present says that it is there, and was passed on.
	Present
)

// A Looker looks for objects. It chooses between lists of all namespaces, of one, of what has
// certain labels, and requests for single objects, by what is looked for and by what was there
// when it looked before. Lists are left where they turn out to hold much else. It may be used
// by many goroutines at once.
type Looker struct {
	client  *api.Client
	census  *recent.Cache[place, count]
	watches watches
}

// A place is what one list may hold.
type place struct {
	resource  schema.GroupVersionResource
	namespace string // empty for all
	selector  string // of labels; empty for all
	name      string // of one object; empty for all
}

// options returns the options of a list or a watch of the place.
func (p place) options() metav1.ListOptions {
	options := metav1.ListOptions{LabelSelector: p.selector}
	if p.name != "" {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", p.name).String()
	}
	return options
}

// A count is what is remembered of a place.
type count struct {
	held      int  // how many objects it held, at least
	others    int  // how many of them were not looked for, at least; that depends on who looked
	forbidden bool // it may not be listed
	at        time.Time
}

const (
	// censusLimit is how many places are remembered.
	censusLimit = 20_000
	// censusAge is for how long a count holds. A place that has changed since costs more than it
	// need, and no more than bounded lists do.
	censusAge = 10 * time.Minute
)

// New returns a Looker that has seen nothing yet. If idle is not 0, it watches the places that it
// has listed, until it has not looked at them for that long, or is closed.
func New(client *api.Client, idle time.Duration) *Looker {
	l := &Looker{client: client, census: recent.New[place](censusLimit, func(count) int { return 1 })}
	if idle > 0 {
		l.watches.idle, l.watches.all = idle, map[place]*watched{}
		l.watches.ctx, l.watches.stop = context.WithCancel(context.Background())
	}
	return l
}

func (l *Looker) remembered(p place) (count, bool) {
	if c, ok := l.census.Get(p); ok && time.Since(c.at) < censusAge {
		return c, true
	}
	return count{}, false
}

// remember notes what a place holds.
func (l *Looker) remember(p place, c count) {
	c.at = time.Now()
	l.census.Put(p, c)
}

// few is how many objects of a namespace are asked for by name if they are Named.
const few = 4

// IsCrowded says whether the Looker remembers that all of a resource in a namespace is more than
// is to be listed for n objects.
func (l *Looker) IsCrowded(resource schema.GroupVersionResource, namespace string, n int) bool {
	before, known := l.remembered(place{resource: resource, namespace: namespace})
	return known && before.isCrowded(n)
}

// Holds notes that a namespace holds at least so many objects of a resource.
func (l *Looker) Holds(resource schema.GroupVersionResource, namespace string, held int) {
	l.remember(place{resource: resource, namespace: namespace}, count{held: held, others: held})
}

// Budget is how many objects a list may hold, for one of n that are looked for to be better
// than n requests.
func Budget(n int) int { return 2*n + 8 }

// Look looks for the objects of a query, and returns what it finds of each, in their order. It
// fails only if the API server cannot be reached at all, or if ctx ends.
func (l *Looker) Look(ctx context.Context, q Query) ([]Finding, error) {
	ctx = api.ForGroup(ctx, q.Resource.Group)
	s := &search{Looker: l, Query: q, index: make(map[name]int, len(q.Objects)), found: make([]Finding, len(q.Objects))}
	left := make([]int, len(q.Objects))
	for i, o := range q.Objects {
		s.index[name{o.Namespace, o.Name}] = i
		left[i] = i
	}
	err := s.everywhere(ctx, left)
	if err != nil && (api.IsUnreachable(err) || ctx.Err() != nil) {
		return nil, fmt.Errorf("look at the %s that are there: %w", q.Resource.GroupResource(), err)
	}
	return s.found, nil
}

// A search is one query under way.
type search struct {
	*Looker
	Query
	index map[name]int

	mu    sync.Mutex
	found []Finding // guarded by mu
}

type name struct{ namespace, name string }

func (s *search) set(i int, f Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found[i] = f
}

// unknown returns those of the objects of which nothing is known yet.
func (s *search) unknown(some []int) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []int
	for _, i := range some {
		if s.found[i] == Unknown {
			left = append(left, i)
		}
	}
	return left
}

// everywhere looks in all namespaces at once as far as that is cheap, and then in each.
func (s *search) everywhere(ctx context.Context, left []int) error {
	byLabel := true // a list by the expected labels may show what is left
	if namespaces := len(s.byNamespace(left)); namespaces > 1 && !s.isVast(namespaces) {
		if selector := s.selectorFor(left); selector != "" {
			complete, err := s.list(ctx, "", selector, left)
			if err != nil {
				return err
			}
			byLabel = !complete
			left = s.unknown(left)
		}
		if len(s.byNamespace(left)) > 1 {
			if _, err := s.list(ctx, "", "", left); err != nil {
				return err
			}
			left = s.unknown(left)
		}
	}
	var (
		mu     sync.Mutex
		failed error // guarded by mu
		group  sync.WaitGroup
	)
	for namespace, some := range s.byNamespace(left) {
		group.Go(func() {
			if err := s.in(ctx, namespace, some, byLabel); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	group.Wait()
	return failed
}

const (
	// manyObjects is so many that for the API server to pass over them costs as much as another
	// request.
	manyObjects = 350
	// manyNamespaces is how many namespaces are likely to hold that many of one kind.
	manyNamespaces = 25
)

// isVast says whether the cluster is known, or likely, to hold so much of the resource that a
// list for each of the namespaces costs less than one of all.
func (s *search) isVast(namespaces int) bool {
	more := namespaces - 1 // requests
	if before, known := s.remembered(place{resource: s.Resource.GroupVersionResource}); known {
		return before.forbidden || before.others > manyObjects*more
	}
	return s.others(place{resource: namespacesResource}) > manyNamespaces*more
}

// others returns how many objects that were not looked for a place is remembered to hold.
func (l *Looker) others(p place) int {
	before, _ := l.remembered(p)
	return before.others
}

// IsLarge says whether the cluster is known to have many namespaces beside those that are looked
// for.
func (l *Looker) IsLarge() bool {
	return l.others(place{resource: namespacesResource}) > manyNamespaces
}

// namespacesResource is looked for before others, by who looks for it: how many namespaces there
// are tells how large the cluster is.
var namespacesResource = corev1.SchemeGroupVersion.WithResource("namespaces")

func (s *search) isNamespaces() bool { return s.Resource.GroupVersionResource == namespacesResource }

// IsFirst says whether a query of the resource, for n objects, is to be made before those of others.
// One Namespace is had by its name, which tells nothing of others.
func (l *Looker) IsFirst(r api.Resource, n int) bool {
	_, known := l.remembered(place{resource: namespacesResource})
	return !known && n > 1 && r.GroupVersionResource == namespacesResource
}

func (s *search) byNamespace(some []int) map[string][]int {
	groups := map[string][]int{}
	for _, i := range some {
		groups[s.Objects[i].Namespace] = append(groups[s.Objects[i].Namespace], i)
	}
	return groups
}

// in looks in one namespace, or for objects that are in none. byLabel says whether a list by the
// expected labels may show some of them.
func (s *search) in(ctx context.Context, namespace string, left []int, byLabel bool) error {
	if len(left) == 1 {
		if err := s.one(ctx, left[0]); !isRefused(err) {
			return err
		}
	}
	for _, selector := range s.selectors(left, byLabel) {
		if len(left) > 1 {
			if _, err := s.list(ctx, namespace, selector, left); err != nil {
				return err
			}
			left = s.unknown(left)
		}
	}
	return s.get(ctx, left)
}

// selectors returns those by which objects of one namespace are to be listed, in this order.
func (s *search) selectors(left []int, byLabel bool) (all []string) {
	if s.isNamespaces() { // how many there are matters to others; once they are too many, all are not listed
		all = append(all, "")
		if _, known := s.remembered(place{resource: namespacesResource}); !known && !s.Watches() {
			return all // a list by label does not tell what is absent
		}
	}
	if selector := s.selectorFor(left); selector != "" && byLabel {
		all = append(all, selector)
	}
	if !s.isNamespaces() && (!s.Named || len(left) > few) {
		all = append(all, "")
	}
	return all
}

// isRefused says whether what a request asks for is not allowed, or nowhere.
func isRefused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err)
}
