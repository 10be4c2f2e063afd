package protocol

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A DaemonState says what a daemon may do.
type DaemonState int

// The states of a daemon. Calls that have begun go on in each of them.
const (
	DaemonServing DaemonState = iota // calls begin
	DaemonEnded                      // none does any more
)

func (s DaemonState) String() string { return [...]string{"serving", "ended"}[s] }

// A Daemon has the calls that one registration of an instance serves.
type Daemon struct {
	shared  *Shared
	inst    flux.InstanceID
	token   string
	session string
	state   DaemonState
	calls   map[string]*Callee
	classes [2]int // how many calls are reads, and writes
}

// NewDaemon returns a daemon with no calls.
func NewDaemon(s *Shared, inst flux.InstanceID, session string) *Daemon {
	return &Daemon{shared: s, inst: inst, token: wire.Token(inst), session: session, calls: map[string]*Callee{}}
}

// Calls returns how many calls there are.
func (d *Daemon) Calls() int { return len(d.calls) }

// Call returns a call by its name, or nil.
func (d *Daemon) Call(name string) *Callee { return d.calls[name] }

// All returns all calls, by their names.
func (d *Daemon) All() []*Callee {
	return slices.SortedFunc(maps.Values(d.calls), func(a, b *Callee) int { return cmp.Compare(a.call, b.call) })
}

// End has nothing begin any more, and callers whose calls have not begun told so.
func (d *Daemon) End() (out CalleeOutput) {
	d.state = DaemonEnded
	for _, c := range d.All() {
		if c.state == CalleeAccepted && d.shared.Fault != BeginAfterEnd {
			c.refuse(&out)
		}
	}
	return out
}

// A Method is what a daemon must know of one to accept a call of it.
type Method struct {
	Name  string
	Known bool
	Write bool
}

// Open begins a call, or says why it does not, if there is time for that. It is asked again
// until the caller has heard of it, so what is there already answers again. The callee is nil
// if there is none.
func (d *Daemon) Open(m Method, f *wire.Frame, overloaded bool, now time.Duration) (c *Callee, out CalleeOutput) {
	if f.Call == "" || f.Bus == "" || f.Service == "" {
		return nil, out
	}
	if d.state != DaemonServing {
		out.Send = []Message{GoneFor(d.shared, d.token, f)}
		return nil, out
	}
	if c = d.calls[f.Call]; c != nil {
		c.onOpen(&out, f, now)
		return c, out
	}
	if overloaded && d.classes[Class(m.Write)] >= d.shared.MaxCallsPerInstance {
		return nil, out
	}
	if err := d.admit(m, f); err != nil {
		out.Send = d.refuse(f, err)
		return nil, out
	}
	ticket := d.shared.NewTicket()
	if d.shared.Fault == ReuseTickets {
		ticket = wire.Ticket{1}
	}
	c = &Callee{
		endpoint: endpoint{
			shared: d.shared, token: d.token, call: f.Call,
			to:     d.shared.Subjects.Reply(d.token, f.Service, f.Bus, f.Call),
			back:   d.shared.Subjects.InCall(d.token, d.session, f.Call),
			peer:   newPeer(now),
			beatAt: now + d.shared.Beat,
		},
		Method: m.Name, daemon: d, write: m.Write, inline: f.Last && !m.Write, quiet: true, ticket: ticket, proof: ticket.Hash(),
	}
	d.calls[f.Call] = c
	if !c.inline {
		c.onOpen(&out, f, now)
		return c, out
	}
	c.hear(f, now)
	c.in.onData(&c.endpoint, f, now)
	c.state, out.Task = CalleeReady, Execute
	return c, out
}

// admit notes one more call, if there is room for it. Reads and writes have limits of their
// own, so that reads never wait for writes.
func (d *Daemon) admit(m Method, f *wire.Frame) error {
	switch {
	case f.Version > wire.Version:
		return platform.UpgradeNeededError(fmt.Errorf("the daemon knows version %d of the protocol, and was asked in version %d", wire.Version, f.Version))
	case !m.Known:
		return platform.UpgradeNeededError(fmt.Errorf("the daemon does not know the method %s", m.Name))
	}
	i := Class(m.Write)
	switch limits := &d.shared.Config; {
	case d.classes[i] >= limits.MaxCallsPerInstance:
		return unavailable(d.inst, m.Name, fmt.Errorf("%d such calls are under way, which is the limit of its daemon", limits.MaxCallsPerInstance))
	case !d.shared.Served[i].Take(d.token, 1):
		return unavailable(d.inst, m.Name, fmt.Errorf("%d calls are under way, which is the limit of its daemon for all instances", limits.MaxCalls))
	}
	d.classes[i]++
	return nil
}

// remove frees the place of a call.
func (d *Daemon) remove(c *Callee) {
	if d.calls[c.call] == c {
		delete(d.calls, c.call)
		d.classes[Class(c.write)]--
		d.shared.Served[Class(c.write)].Give(d.token, 1)
	}
}

// refuse answers a call that is not begun.
func (d *Daemon) refuse(f *wire.Frame, err error) []Message {
	body, encodeErr := wire.Encode(wire.Answer{Err: wire.EncodeError(err)}, 0, d.shared.MaxBody)
	if encodeErr != nil {
		return nil
	}
	answer := body.Frame(0, wire.MaxChunk)
	answer.Kind = wire.Refuse
	return []Message{{To: d.shared.Subjects.Reply(d.token, f.Service, f.Bus, f.Call), Frame: answer}}
}

// GoneFor returns what tells the caller that has sent f that nothing is begun here.
func GoneFor(s *Shared, token string, f *wire.Frame) Message {
	return Message{To: s.Subjects.Reply(token, f.Service, f.Bus, f.Call), Frame: wire.Frame{Kind: wire.Gone}}
}

func unavailable(inst flux.InstanceID, method string, err error) error {
	return platform.UnavailableError(fmt.Errorf("instance %q: %w", string(inst), fmt.Errorf("%s: %w", method, err)))
}
