package simulate

import (
	"errors"
	"fmt"
	"time"

	"github.com/platformbus/platform/natsbus/internal/protocol"
)

// A history is what happened, and which promises were broken.
type history struct {
	world      *world
	verbose    bool
	lines      []string
	violations []string
	calls      []*call
	holders    []*registration
	runs       int
}

// maxLines bounds the history of a seed.
const maxLines = 20_000

// note takes down what happens.
func (h *history) note(format string, args ...any) {
	if h.verbose && len(h.lines) < maxLines {
		h.lines = append(h.lines, fmt.Sprintf("%12v  ", h.world.now)+fmt.Sprintf(format, args...))
	}
}

// violate takes down that a promise was broken.
func (h *history) violate(format string, args ...any) {
	h.note("VIOLATION: "+format, args...)
	h.violations = append(h.violations, fmt.Sprintf("after %v: ", h.world.now)+fmt.Sprintf(format, args...))
}

// A call is one that a service makes, as the world sees it.
type call struct {
	id      string
	inst    string
	write   bool
	size    int
	answer  int // the size of the answer
	caller  *protocol.Caller
	by      *process
	verdict protocol.Verdict
	refused bool
	err     error
	ended   time.Duration
	runs    int
}

// begin is called when a Platform is asked to carry out a call.
func (h *history) begin(id string, at *registration) *call {
	h.runs++
	for _, c := range h.calls {
		if c.id != id {
			continue
		}
		c.runs++
		h.note("%s begins %s", at.name, id)
		silence := at.process.shared.Silence
		switch {
		case c.runs > 1 && c.write:
			h.violate("%s is carried out %d times", id, c.runs)
		case c.verdict == protocol.NotBegun && c.write:
			h.violate("%s begins after its caller was told that it never will: %v", id, c.err)
		case c.verdict != protocol.Pending && c.write && h.world.now > c.ended+2*silence:
			h.violate("%s begins %v after its caller has returned", id, h.world.now-c.ended)
		case at.over:
			h.violate("%s begins at %s after its subscription has ended", id, at.name)
		}
		return c
	}
	h.violate("a call that nobody has made begins: %q", id)
	return nil
}

// end is called when a call has returned.
func (h *history) end(c *call, o protocol.Outcome) {
	h.note("%s of %s: %v %v", c.id, c.by.name, o.Verdict, o.Err)
	if c.verdict != protocol.Pending {
		h.violate("%s returns twice", c.id)
	}
	c.verdict, c.err, c.ended = o.Verdict, o.Err, h.world.now
	switch o.Verdict {
	case protocol.Answered:
		text, err := open(&o.Answer)
		switch {
		case errors.Is(err, errDamaged):
			c.verdict = protocol.Unknown // as a caller is told
		case err != nil:
			h.violate("%s: its answer is wrong: %v", c.id, err)
		case text == refusal:
			c.refused = true
			if c.runs > 0 && c.write {
				h.violate("%s was refused, and was carried out", c.id)
			}
		case text == unread:
		case text != "answer to "+c.id:
			h.violate("%s is given what is the %s", c.id, text)
		case c.runs == 0:
			h.violate("%s is answered, and was not carried out", c.id)
		}
	case protocol.NotBegun:
		if c.runs > 0 && c.write {
			h.violate("%s was carried out, and its caller is told that it was not begun: %v", c.id, o.Err)
		}
	}
}

// check looks at what is left when it has been quiet for long.
func (h *history) check() {
	for _, c := range h.calls {
		if c.verdict == protocol.Pending && !c.by.dead {
			h.violate("%s never ends: it is %v", c.id, c.caller.State())
		}
	}
	for _, p := range h.world.processes {
		if p.dead {
			continue
		}
		if used := p.shared.Memory.Used() + p.shared.InFlight(); used != 0 {
			h.violate("%s still holds %d bytes", p.name, used)
		}
		for i := range p.shared.Served {
			if n := p.shared.Served[i].Used(); n != 0 {
				h.violate("%s still has %d calls that it serves", p.name, n)
			}
		}
	}
	for _, inst := range instances {
		var names []string
		for _, r := range h.holders {
			if r.inst == inst && !r.over && !r.process.dead {
				names = append(names, r.name)
			}
		}
		if len(names) > 1 {
			h.violate("instance %s is held by each of %v", inst, names)
		}
	}
}

// bounded checks that no more is taken than is allowed.
func (h *history) bounded(p *process) {
	if used := p.shared.Memory.Used(); used > p.shared.MaxBytes {
		h.violate("%s takes %d bytes of %d", p.name, used, p.shared.MaxBytes)
	}
	for i := range p.shared.Served {
		if n := p.shared.Served[i].Used(); n > int64(p.shared.MaxCalls) {
			h.violate("%s serves %d calls", p.name, n)
		}
	}
}

// lost is called when a registration ends since another daemon holds the instance.
func (h *history) lost(r *registration) {
	h.note("%s is kicked", r.name)
	if r.over {
		h.violate("%s is told twice that it has ended", r.name)
	}
	r.over = true
}
