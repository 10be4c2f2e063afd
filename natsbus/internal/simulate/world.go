package simulate

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A world is everything that happens under one seed.
type world struct {
	seed    uint64
	chance  *rand.Rand
	now     time.Duration
	events  events
	planned int
	weather weather

	servers   []*server
	processes []*process
	history   history
}

// The weather is how bad things are.
type weather struct {
	latency time.Duration // of a hop, on average
	loss    float64       // of a message, on a hop
	double  float64       // chance that a message comes again, some time later
	corrupt float64       // chance that a byte of a chunk of several changes
}

// An event is something that happens at a time.
type event struct {
	at    time.Duration
	order int // among those at the same time
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// after has something happen after a time.
func (w *world) after(d time.Duration, do func()) {
	w.planned++
	heap.Push(&w.events, event{w.now + max(0, d), w.planned, do})
}

// runUntil has all happen that happens before a time.
func (w *world) runUntil(end time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// between returns a time between two.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.chance.Int64N(int64(to-from)+1))
}

func (w *world) happens(chance float64) bool { return chance > 0 && w.chance.Float64() < chance }

// A server passes messages on to those who have subscribed. It knows at once of its own
// clients, and of those of its peers some time later.
type server struct {
	world   *world
	number  int
	clients map[string]map[*process]bool // by what they have subscribed to
	routes  map[*server]*route           // to its peers
}

// A route is one direction between two servers.
type route struct {
	to    *server
	known map[string]int // how many of the peer's clients have subscribed to it, as far as is known
	cut   bool
	last  time.Duration // when what was sent last arrives
}

// A parcel is a message on its way.
type parcel struct {
	subject string
	back    string
	data    []byte
	nobody  bool // the server says that there is nobody
}

// interest returns what a subject is subscribed to by.
func interest(a wire.Address) []string {
	switch a.Direction {
	case wire.Calls:
		return []string{"instance " + a.Token}
	case wire.Claims:
		return []string{"instance " + a.Token, "claimant " + a.Session}
	case wire.InCall:
		return []string{"session " + a.Session}
	default:
		return []string{"bus " + a.Bus}
	}
}

// pass takes a message from a client of the server, or from a peer.
func (s *server) pass(p parcel, from *process) {
	w := s.world
	address, ok := subjects.Parse(p.subject)
	if !ok {
		w.history.violate("a message to %q, which is no subject", p.subject)
		return
	}
	reached := false
	for _, pattern := range interest(address) {
		for _, client := range w.processes { // in an order that the seed gives
			if s.clients[pattern][client] {
				reached = true
				client.deliver(p)
			}
		}
		if from == nil {
			continue
		}
		for _, peer := range w.servers {
			if r := s.routes[peer]; r != nil && r.known[pattern] > 0 {
				reached = true
				r.send(w, func() { peer.pass(p, nil) })
			}
		}
	}
	if !reached && p.back != "" && from != nil {
		from.deliver(parcel{subject: p.back, nobody: true})
	}
}

// send has something happen at the peer, after what was sent before.
func (r *route) send(w *world, do func()) {
	if r.cut {
		return
	}
	r.last = max(r.last, w.now+w.between(w.weather.latency/2, 2*w.weather.latency))
	w.after(r.last-w.now, func() {
		if !r.cut {
			do()
		}
	})
}

// change notes that a client has subscribed, or no longer has, and tells the peers.
func (s *server) change(client *process, pattern string, subscribed bool) {
	if s.clients[pattern] == nil {
		s.clients[pattern] = map[*process]bool{}
	}
	if s.clients[pattern][client] == subscribed {
		return
	}
	s.clients[pattern][client] = subscribed
	by := 1
	if !subscribed {
		by = -1
	}
	for _, peer := range s.world.servers {
		if r := peer.routes[s]; r != nil {
			s.routes[peer].send(s.world, func() { r.known[pattern] += by })
		}
	}
}

// part cuts or heals the routes of a server. When they are healed, peers tell each other what
// their clients have subscribed to.
func (s *server) part(cut bool) {
	for _, peer := range s.world.servers {
		if peer == s {
			continue
		}
		for _, r := range []*route{s.routes[peer], peer.routes[s]} {
			r.cut = cut
			r.known = map[string]int{}
			if cut {
				continue
			}
			for pattern, clients := range r.to.clients {
				for _, subscribed := range clients {
					if subscribed {
						r.known[pattern]++
					}
				}
			}
		}
	}
}

func newServers(w *world, n int) {
	for i := range n {
		w.servers = append(w.servers, &server{world: w, number: i, clients: map[string]map[*process]bool{}, routes: map[*server]*route{}})
	}
	for _, s := range w.servers {
		for _, peer := range w.servers {
			if peer != s {
				s.routes[peer] = &route{to: peer, known: map[string]int{}}
			}
		}
	}
}

// describe returns what is in a message, for the history.
func describe(p parcel) string {
	if p.nobody {
		return "nobody: " + shorten(p.subject)
	}
	f, err := wire.Parse(p.data)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s %s", f.Kind, shorten(p.subject))
	if f.Offset > 0 || f.Last {
		text += fmt.Sprintf(" offset %d last %t", f.Offset, f.Last)
	}
	if f.Epoch > 0 {
		text += fmt.Sprintf(" epoch %d age %d asking %t", f.Epoch, f.Age, f.Asking)
	}
	return text
}

func shorten(subject string) string { return strings.TrimPrefix(subject, "flux.v1.") }
