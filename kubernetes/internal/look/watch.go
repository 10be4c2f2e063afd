package look

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/platformbus/platform/kubernetes/internal/api"
)

const (
	// maxWatches is how many places a Looker watches at once.
	maxWatches = 128
	// watchTimeout is for how long one watch request is made, in seconds. The next goes on where
	// it ended.
	watchTimeout = 10 * 60
)

// watches has the places that a Looker watches. The zero value watches none.
type watches struct {
	idle  time.Duration // for how long a place is watched that is not looked at
	ctx   context.Context
	stop  context.CancelFunc
	group sync.WaitGroup // of those that watch

	mu  sync.Mutex
	all map[place]*watched // guarded by mu
}

// A watched is a place that is watched from a list of it on.
type watched struct {
	place
	stop context.CancelFunc
	used chan struct{} // has room for one note that the place was looked at

	mu        sync.Mutex
	connected bool            // what happens is heard; guarded by mu
	objects   map[name]*heard // those that are looked for; guarded by mu
}

// heard is what was heard of an object since it was passed on.
type heard struct {
	known   bool // it was listed, or heard of, or cannot be there without being listed
	present bool
	news    *metav1.PartialObjectMetadata // how it is now, or was when it was deleted; nil if nothing was heard
}

// Close ends all watches.
func (l *Looker) Close() {
	if l.watches.stop == nil {
		return
	}
	l.watches.mu.Lock()
	l.watches.stop() // none begins from now on
	l.watches.mu.Unlock()
	l.watches.group.Wait()
}

// Watches says whether the Looker watches what it has listed.
func (l *Looker) Watches() bool { return l.watches.idle > 0 }

// Wrote notes that who looks has written an object, which got that resourceVersion: it is there,
// and known.
func (l *Looker) Wrote(resource schema.GroupVersionResource, namespace, object, version string) {
	l.watches.mu.Lock()
	defer l.watches.mu.Unlock()
	for at, w := range l.watches.all {
		if at.resource == resource && (at.namespace == "" || at.namespace == namespace) {
			w.wrote(name{namespace, object}, version)
		}
	}
}

// wrote is Wrote for one watch. News of another version may be of what happened after the write,
// and stays.
func (w *watched) wrote(n name, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.objects[n]; o != nil && o.known && (o.news == nil || o.news.ResourceVersion == version) {
		*o = heard{known: true, present: true}
	}
}

// hears passes on what is known of objects from a watch of the place, and returns the others.
func (s *search) hears(at place, left []int) []int {
	if s.Whole || s.Same == nil {
		return left
	}
	s.watches.mu.Lock()
	w := s.watches.all[at]
	s.watches.mu.Unlock()
	if w == nil {
		return left
	}
	select {
	case w.used <- struct{}{}:
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.connected {
		return left
	}
	var others []int
	for _, i := range left {
		o := w.objects[name{s.Objects[i].Namespace, s.Objects[i].Name}]
		switch {
		case o == nil || !o.known:
			others = append(others, i)
		case !o.present:
			s.set(i, Absent)
			o.news = nil
		case o.news != nil:
			s.see(i, o.news)
			o.news = nil
		case s.Same(i):
			s.set(i, Present)
		default:
			others = append(others, i)
		}
	}
	return others
}

// watch watches a place, of which a list that is complete has a version, for what happens to
// objects. It takes the place of an earlier watch.
func (s *search) watch(at place, version string, some []int) {
	ws := &s.watches
	if ws.idle == 0 || s.Same == nil || version == "" {
		return
	}
	w := &watched{place: at, used: make(chan struct{}, 1), objects: make(map[name]*heard, len(some))}
	s.mu.Lock()
	for _, i := range some {
		w.objects[name{s.Objects[i].Namespace, s.Objects[i].Name}] = &heard{known: s.found[i] != Unknown, present: s.found[i] == Present}
	}
	s.mu.Unlock()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if before := ws.all[at]; before != nil {
		before.stop()
	} else if len(ws.all) >= maxWatches {
		return
	}
	if ws.ctx.Err() != nil {
		return
	}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(ws.ctx)
	ws.all[at] = w
	ws.group.Go(func() {
		defer ws.forget(w)
		w.follow(ctx, s.client, version)
	})
	ws.group.Go(func() { w.expire(ctx, ws.idle) })
}

// forget ends a watch.
func (ws *watches) forget(w *watched) {
	w.stop()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all[w.place] == w {
		delete(ws.all, w.place)
	}
}

// expire ends the watch once the place was not looked at for some time.
func (w *watched) expire(ctx context.Context, idle time.Duration) {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.used:
			timer.Reset(idle)
		case <-timer.C:
			w.stop()
			return
		}
	}
}

// follow watches from a version on until ctx ends, or the API server does not know any more what
// happened since.
func (w *watched) follow(ctx context.Context, client *api.Client, version string) {
	for wait := api.MinBackoff; ctx.Err() == nil; wait = min(2*wait, api.MaxBackoff) {
		before := version
		if !w.once(ctx, client, &version) {
			return
		}
		if version != before {
			wait = api.MinBackoff
		}
		if api.Sleep(ctx, wait) != nil {
			return
		}
	}
}

// once makes one watch request, and moves version on. It says whether another can go on there.
func (w *watched) once(ctx context.Context, client *api.Client, version *string) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := w.options()
	options.ResourceVersion, options.AllowWatchBookmarks, options.TimeoutSeconds = *version, true, new(int64(watchTimeout))
	events, err := client.Metadata(w.resource, w.namespace).Watch(ctx, options)
	if err != nil {
		return api.IsTransient(err)
	}
	defer events.Stop()
	w.setConnected(true)
	defer w.setConnected(false)
	for {
		select {
		case <-ctx.Done():
			return false
		case event, open := <-events.ResultChan():
			if !open {
				return true
			}
			meta, ok := event.Object.(*metav1.PartialObjectMetadata)
			if event.Type == watch.Error || !ok {
				err := apierrors.FromObject(event.Object)
				return api.IsTransient(err) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err)
			}
			*version = meta.ResourceVersion
			if event.Type != watch.Bookmark {
				w.hear(event.Type, meta)
			}
		}
	}
}

func (w *watched) setConnected(connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected = connected
}

// hear takes note of what happened to an object.
func (w *watched) hear(what watch.EventType, meta *metav1.PartialObjectMetadata) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.objects[name{meta.Namespace, meta.Name}]
	switch {
	case o == nil: // nobody looks for it
	case what == watch.Deleted && w.selector != "": // perhaps it has but lost a label
		*o = heard{}
	case what == watch.Deleted:
		*o = heard{known: true, news: meta}
	default:
		*o = heard{known: true, present: true, news: meta}
	}
}
