package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// newShared returns what calls share, with names and tickets that count.
func newShared() *Shared {
	names, tickets := 0, byte(0)
	return NewShared(Config{
		Subjects: wire.NewSubjects("flux"), Service: "service", Bus: "BUS",
		Beat: time.Second, Silence: 5 * time.Second,
		MaxBody: 1 << 20, MaxBytes: 4 << 20, MaxCalls: 9, MaxCallsPerInstance: 3, Window: 1 << 20,
		NewName:   func() string { names++; return fmt.Sprint("CALL", names) },
		NewTicket: func() wire.Ticket { tickets++; return wire.Ticket{tickets} },
		Random:    func(time.Duration) time.Duration { return 0 },
	})
}

// bodyOfSize returns one that cannot be mistaken for another of its size.
func bodyOfSize(size int) wire.Body {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(data) // it never fails
	return wire.Body{Data: wire.Buffers{data}, Raw: int64(size)}
}

func frames(messages []Message) (kinds []wire.Kind) {
	for _, m := range messages {
		kinds = append(kinds, m.Frame.Kind)
	}
	return kinds
}

var (
	mine  = wire.Ticket{7}
	other = wire.Ticket{8}
)

// from returns what a daemon says.
func from(kind wire.Kind, ticket wire.Ticket) Event {
	return Event{Kind: Received, Frame: &wire.Frame{Kind: kind, Session: "SESSION", Ticket: ticket, Last: kind == wire.Data, Body: []byte{0xa0}}}
}

func TestCaller(t *testing.T) {
	errOver := errors.New("over")
	accept := from(wire.Accept, mine)
	nextChunk := Event{Kind: -1} // stands for NextChunk
	for name, tt := range map[string]struct {
		read    bool
		events  []Event
		after   time.Duration // before the last event
		state   CallerState
		verdict Verdict
		sent    []wire.Kind // by the last event
		err     string
	}{
		"asks":                         {state: CallerOpening, sent: []wire.Kind{wire.Open}},
		"asks again":                   {events: []Event{{Kind: Tick}}, after: time.Second, state: CallerOpening, sent: []wire.Kind{wire.Open}},
		"does not ask too soon":        {events: []Event{{Kind: Tick}}, after: time.Second - 1, state: CallerOpening},
		"nobody":                       {events: []Event{{Kind: Nobody}}, state: CallerPausing},
		"nobody for long":              {events: []Event{{Kind: Nobody}, {Kind: Tick}, {Kind: Nobody}, {Kind: Tick}, {Kind: Nobody}, {Kind: Tick}, {Kind: Nobody}}, after: time.Second, state: CallerOver, verdict: NotBegun, err: "no daemon is connected"},
		"asks nobody again":            {events: []Event{{Kind: Nobody}, {Kind: Tick}}, after: 2 * time.Millisecond, state: CallerOpening, sent: []wire.Kind{wire.Open}},
		"silence before":               {events: []Event{{Kind: Tick}}, after: 6 * time.Second, state: CallerOver, verdict: NotBegun, err: "its daemon is not answering: nothing was heard of it for 5s"},
		"refused":                      {events: []Event{from(wire.Refuse, wire.Ticket{})}, state: CallerOver, verdict: Answered},
		"gone before":                  {events: []Event{from(wire.Gone, mine)}, state: CallerPausing},
		"disconnected before":          {events: []Event{{Kind: Disconnected, Err: errOver}}, state: CallerOver, verdict: NotBegun, err: "over"},
		"an answer before the request": {events: []Event{from(wire.Data, mine)}, state: CallerOpening},
		"accept without a ticket":      {events: []Event{from(wire.Accept, wire.Ticket{})}, state: CallerOpening},
		"accepted":                     {events: []Event{accept}, state: CallerSending},
		"accepted, by a beat":          {events: []Event{from(wire.Beat, mine)}, state: CallerSending},
		"accepted twice":               {events: []Event{accept, from(wire.Accept, other)}, state: CallerSending, sent: []wire.Kind{wire.End}},
		"lost while sending":           {events: []Event{accept, {Kind: Tick}}, after: 6 * time.Second, state: CallerOver, verdict: NotBegun, sent: []wire.Kind{wire.End}, err: "its daemon is not answering: nothing was heard of it for 5s"},
		"disconnected while sending":   {events: []Event{accept, {Kind: Disconnected, Err: errOver}}, state: CallerSending},
		"cancelled while sending":      {events: []Event{accept, {Kind: Cancelled, Err: errOver}}, state: CallerOver, verdict: NotBegun, sent: []wire.Kind{wire.End}, err: "over"},
		"gone while sending":           {events: []Event{accept, from(wire.Gone, mine)}, state: CallerPausing},
		"sent":                         {events: []Event{accept, nextChunk}, state: CallerWaiting, sent: []wire.Kind{wire.Data}},
		"beats":                        {events: []Event{accept, nextChunk, {Kind: Tick}}, after: time.Second, state: CallerWaiting, sent: []wire.Kind{wire.Beat}},
		"lost":                         {events: []Event{accept, nextChunk, {Kind: Tick}}, after: 6 * time.Second, state: CallerOver, verdict: Unknown, sent: []wire.Kind{wire.End}, err: "its daemon is not answering: nothing was heard of it for 5s"},
		"nobody there":                 {events: []Event{accept, nextChunk, {Kind: Nobody}, {Kind: Tick}}, after: 2500 * time.Millisecond, state: CallerOver, verdict: Unknown, sent: []wire.Kind{wire.End}, err: "its daemon is not answering: its connection is lost"},
		"failed":                       {events: []Event{accept, nextChunk, {Kind: Failed, Err: errOver}}, state: CallerOver, verdict: Unknown, sent: []wire.Kind{wire.End}, err: "over"},
		"gone":                         {events: []Event{accept, nextChunk, from(wire.Gone, mine)}, state: CallerPausing},
		"gone and gone":                {events: []Event{accept, nextChunk, from(wire.Gone, mine), {Kind: Tick}, from(wire.Accept, mine), from(wire.Gone, mine)}, after: 6 * time.Second, state: CallerOver, verdict: NotBegun, sent: []wire.Kind{wire.End}, err: "its daemon is being replaced"},
		"a forged gone":                {events: []Event{accept, nextChunk, from(wire.Gone, other)}, state: CallerWaiting},
		"a forged answer":              {events: []Event{accept, nextChunk, from(wire.Data, other)}, state: CallerWaiting, sent: []wire.Kind{wire.End}},
		"a forged refusal":             {events: []Event{accept, nextChunk, from(wire.Refuse, wire.Ticket{})}, state: CallerWaiting},
		"what a spy can say":           {events: []Event{accept, nextChunk, from(wire.Gone, mine.Hash())}, state: CallerWaiting},
		"answered":                     {events: []Event{accept, nextChunk, from(wire.Data, mine)}, state: CallerOver, verdict: Answered, sent: []wire.Kind{wire.End}},
		"back":                         {events: []Event{accept, nextChunk, {Kind: Resumed}}, state: CallerWaiting, sent: []wire.Kind{wire.Beat}},
		"back before":                  {events: []Event{{Kind: Resumed}}, state: CallerOpening, sent: []wire.Kind{wire.Open}},
		"over":                         {events: []Event{{Kind: Failed, Err: errOver}, {Kind: Resumed}}, state: CallerOver, verdict: Pending},

		"a read":                     {read: true, state: CallerOpening, sent: []wire.Kind{wire.Open}},
		"a read, answered":           {read: true, events: []Event{from(wire.Data, mine)}, state: CallerOver, verdict: Answered},
		"a read, at work":            {read: true, events: []Event{from(wire.Beat, mine)}, state: CallerWaiting},
		"a read, answered after all": {read: true, events: []Event{from(wire.Beat, mine), from(wire.Data, mine)}, state: CallerOver, verdict: Answered, sent: []wire.Kind{wire.End}},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewCaller(newShared(), Call{Token: "a", Method: "Sync", Write: !tt.read, Request: bodyOfSize(100), Settle: 250 * time.Millisecond})
			now := 10 * time.Second
			out := c.Step(Event{Kind: Start}, now)
			for i, e := range tt.events {
				if i == len(tt.events)-1 {
					now += tt.after
				} else if e.Kind == Tick {
					now += 50 * time.Millisecond
				}
				if e.Kind == nextChunk.Kind {
					m, ok := c.NextChunk(now)
					require.True(t, ok)
					require.Equal(t, mine.Hash(), m.Frame.Ticket)
					out = Output{Send: []Message{m}}
					continue
				}
				out = c.Step(e, now)
			}
			assert.Equal(t, tt.state, c.State(), "%v", c.State())
			assert.Equal(t, tt.verdict, out.Verdict, "%v", out.Verdict)
			assert.Equal(t, tt.sent, frames(out.Send))
			if tt.err == "" {
				assert.NoError(t, out.Err)
			} else {
				assert.EqualError(t, out.Err, tt.err)
			}
			assert.Equal(t, tt.state == CallerOver, c.due(now) == 0, "there is always a bound")
		})
	}
}

// A daemon whose connection is lost is taken for lost when that is due, and not at the next beat.
func TestLostWhenTheGraceEnds(t *testing.T) {
	c := NewCaller(newShared(), Call{Token: "a", Method: "Sync", Write: true, Request: bodyOfSize(1)})
	c.Step(Event{Kind: Start}, 0)
	c.Step(from(wire.Accept, mine), 0)
	c.Step(Event{Kind: Tick}, time.Second)
	out := c.Step(Event{Kind: Nobody}, time.Second+time.Millisecond)
	for range 2 {
		require.Equal(t, Pending, out.Verdict)
		out = c.Step(Event{Kind: Tick}, out.Due)
	}
	require.Equal(t, time.Second+time.Millisecond+2500*time.Millisecond, out.Due)
	out = c.Step(Event{Kind: Tick}, out.Due)
	require.Equal(t, NotBegun, out.Verdict)
}

// A call that is made again has a new name, and whoever was to do it before is told no more.
func TestCallerIsMadeAgain(t *testing.T) {
	s := newShared()
	c := NewCaller(s, Call{Token: "a", Method: "Sync", Write: true, Request: bodyOfSize(100)})
	c.Step(Event{Kind: Start}, 0)
	c.Step(from(wire.Accept, mine), 0)
	_, ok := c.NextChunk(0)
	require.True(t, ok)
	before := c.Name()
	out := c.Step(from(wire.Gone, mine), 0)
	require.Empty(t, out.Send)
	require.NotEqual(t, before, c.Name())
	require.Equal(t, replaced, out.Due)
	_, ok = c.NextChunk(0)
	require.False(t, ok, "nobody has accepted it")
	out = c.Step(Event{Kind: Tick}, replaced)
	require.Equal(t, []wire.Kind{wire.Open}, frames(out.Send))
	require.Equal(t, c.Name(), out.Send[0].Frame.Call)
	c.Step(from(wire.Gone, mine), replaced)
	require.Equal(t, CallerPausing, c.State())
}

// serve opens a call with a daemon.
func serve(s *Shared, write bool) (*Daemon, *Callee, CalleeOutput) {
	d := NewDaemon(s, "a", "SESSION")
	f := &wire.Frame{Kind: wire.Open, Version: 1, Call: "CALL", Service: "service", Bus: "BUS", Last: !write, Body: []byte{0xa0}}
	c, out := d.Open(Method{Name: "Sync", Known: true, Write: write}, f, false, 0)
	return d, c, out
}

func TestCallee(t *testing.T) {
	ticket := wire.Ticket{1} // the first that newShared gives
	said := func(kind wire.Kind, ticket wire.Ticket) Event {
		return Event{Kind: Received, Frame: &wire.Frame{Kind: kind, Ticket: ticket, Last: true, Body: []byte{0xa0}}}
	}
	request := said(wire.Data, ticket.Hash())
	const begin, answer, end = -1, -2, -3 // stand for Begin, Answer, and Daemon.End
	for name, tt := range map[string]struct {
		read   bool
		events []Event
		after  time.Duration // before the last event
		state  CalleeState
		task   Task
		sent   []wire.Kind
	}{
		"accepted":                   {state: CalleeAccepted, sent: []wire.Kind{wire.Accept}},
		"a read":                     {read: true, state: CalleeReady, task: Execute},
		"the request":                {events: []Event{request}, state: CalleeReady, task: Execute},
		"the request, twice":         {events: []Event{request, request}, state: CalleeReady, sent: []wire.Kind{wire.Ack}},
		"a request without a ticket": {events: []Event{said(wire.Data, wire.Ticket{})}, state: CalleeAccepted},
		"with the ticket itself":     {events: []Event{said(wire.Data, ticket)}, state: CalleeAccepted},
		"a forged end":               {events: []Event{request, said(wire.End, ticket)}, state: CalleeReady},
		"a late request":             {events: []Event{request}, after: 6 * time.Second, state: CalleeOver, sent: []wire.Kind{wire.Gone}},
		"ended before":               {events: []Event{said(wire.End, ticket.Hash())}, state: CalleeOver},
		"lost before":                {events: []Event{{Kind: Tick}}, after: 6 * time.Second, state: CalleeOver},
		"the registration ends":      {events: []Event{{Kind: end}}, state: CalleeOver, sent: []wire.Kind{wire.Gone}},
		"begins":                     {events: []Event{request, {Kind: begin}}, state: CalleeExecuting},
		"begins twice":               {events: []Event{request, {Kind: begin}, request}, state: CalleeExecuting, sent: []wire.Kind{wire.Ack}},
		"begins after the end":       {events: []Event{request, {Kind: end}, {Kind: begin}}, state: CalleeOver, sent: []wire.Kind{wire.Gone}},
		"begins late":                {events: []Event{request, {Kind: begin}}, after: 6 * time.Second, state: CalleeOver, sent: []wire.Kind{wire.Gone}},
		"goes on after the end":      {events: []Event{request, {Kind: begin}, {Kind: end}}, state: CalleeExecuting},
		"beats":                      {events: []Event{request, {Kind: begin}, {Kind: Tick}}, after: time.Second, state: CalleeExecuting, sent: []wire.Kind{wire.Beat}},
		"cancelled":                  {events: []Event{request, {Kind: begin}, said(wire.End, ticket.Hash())}, state: CalleeAbandoned, task: CancelRun},
		"lost":                       {events: []Event{request, {Kind: begin}, {Kind: Tick}}, after: 6 * time.Second, state: CalleeAbandoned, task: CancelRun},
		"cancelled and done":         {events: []Event{request, {Kind: begin}, said(wire.End, ticket.Hash()), {Kind: answer}}, state: CalleeOver},
		"answers":                    {events: []Event{request, {Kind: begin}, {Kind: answer}}, state: CalleeAnswering},
		"is answered":                {events: []Event{request, {Kind: begin}, {Kind: answer}, said(wire.End, ticket.Hash())}, state: CalleeOver, task: CancelRun},
		"an unreadable request":      {events: []Event{request, {Kind: answer}}, state: CalleeAnswering},
		"a read, answered":           {read: true, events: []Event{{Kind: begin}, {Kind: answer}}, state: CalleeOver, sent: []wire.Kind{wire.Data}},
		"a read, answered after a beat": {read: true, events: []Event{{Kind: begin}, {Kind: Tick}, {Kind: answer}},
			state: CalleeAnswering},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared()
			d, c, out := serve(s, !tt.read)
			now := time.Duration(0)
			for i, e := range tt.events {
				if i == len(tt.events)-1 {
					now += tt.after
				} else if e.Kind == Tick {
					now += time.Second
				}
				switch e.Kind {
				case begin:
					var ok bool
					ok, out = c.Begin(now)
					require.Equal(t, c.State() == CalleeExecuting, ok)
				case answer:
					var err error
					out, err = c.Answer(bodyOfSize(100), now)
					require.NoError(t, err)
				case end:
					out = d.End()
				default:
					out = c.Step(e, now)
				}
			}
			assert.Equal(t, tt.state, c.State(), "%v", c.State())
			assert.Equal(t, tt.task, out.Task)
			assert.Equal(t, tt.sent, frames(out.Send))
			free := tt.state == CalleeOver
			assert.Equal(t, free, d.Calls() == 0, "its place is free at once")
			assert.Equal(t, free, s.Served[Class(!tt.read)].Used() == 0)
		})
	}
}

// A daemon says why it does not accept a call.
func TestDaemonRefuses(t *testing.T) {
	s := newShared()
	d := NewDaemon(s, "a", "SESSION")
	open := func(d *Daemon, m Method, change func(*wire.Frame)) (text string) {
		f := &wire.Frame{Kind: wire.Open, Version: 1, Call: s.NewName(), Service: "service", Bus: "BUS"}
		if change != nil {
			change(f)
		}
		_, out := d.Open(m, f, false, 0)
		if len(out.Send) == 0 {
			return ""
		}
		answer := &out.Send[0].Frame
		if answer.Kind != wire.Refuse {
			return string(answer.Kind)
		}
		body, a := bodyOf(answer), wire.Answer{}
		require.NoError(t, body.Decode(&a, 1<<20, nil))
		return wire.DecodeError(a.Err).Error()
	}
	write, read := Method{Name: "Sync", Known: true, Write: true}, Method{Name: "Ping", Known: true}
	assert.Contains(t, open(d, Method{Name: "Rollback"}, nil), "the daemon does not know the method Rollback")
	assert.Contains(t, open(d, read, func(f *wire.Frame) { f.Version = 2 }), "the daemon knows version 1 of the protocol, and was asked in version 2")
	for _, change := range []func(*wire.Frame){func(f *wire.Frame) { f.Call = "" }, func(f *wire.Frame) { f.Bus = "" }, func(f *wire.Frame) { f.Service = "" }} {
		assert.Empty(t, open(d, read, change), "nobody can be answered")
	}
	for range 3 {
		assert.Equal(t, "accept", open(d, write, nil))
	}
	assert.Equal(t, `instance "a": Sync: 3 such calls are under way, which is the limit of its daemon`, open(d, write, nil))
	assert.Equal(t, "accept", open(d, read, nil), "reads do not wait for writes")
	for i := range 2 {
		for range 3 {
			assert.Equal(t, "accept", open(NewDaemon(s, flux.InstanceID(fmt.Sprint("other", i)), "SESSION"), write, nil))
		}
	}
	assert.Equal(t, `instance "d": Sync: 9 calls are under way, which is the limit of its daemon for all instances`, open(NewDaemon(s, "d", "SESSION"), write, nil))
	d.End()
	assert.Equal(t, "gone", open(d, read, nil))
}

func TestPoolIsShared(t *testing.T) {
	p := NewPool(900)
	for p.Take("greedy", 1) {
	}
	assert.EqualValues(t, 800, p.Used(), "alone it gets eight ninths")
	others := 0
	for i := range 50 {
		if p.Take(fmt.Sprint(i), 1) {
			others++
		}
	}
	assert.Equal(t, 50, others)
	assert.False(t, p.Take("large", 51))
	p.Give("greedy", 800)
	for i := range 50 {
		p.Give(fmt.Sprint(i), 1)
	}
	assert.Zero(t, p.Used())
	assert.Empty(t, p.held)
	assert.True(t, p.Take("large", 900), "what is there may be taken at once")
	assert.False(t, p.Take("large", 1))
	p.Give("large", 900)
	for p.Take("greedy", 300) {
	}
	assert.EqualValues(t, 600, p.Used(), "something is left, however much is taken at once")
	assert.True(t, p.Take("other", 300))
}

// end returns one end of a call.
func end(s *Shared, token string) *endpoint {
	return &endpoint{shared: s, token: token, to: "peer", peer: peer{chunk: wire.MaxChunk, window: 1 << 40}, Tag: token}
}

// drain returns the chunks that may be sent now.
func drain(e *endpoint, now time.Duration) (chunks []wire.Frame) {
	for f, ok := e.out.nextChunk(e, now); ok; f, ok = e.out.nextChunk(e, now) {
		chunks = append(chunks, f)
	}
	return chunks
}

func size(chunks []wire.Frame) (n int) {
	for _, f := range chunks {
		n += len(f.Body)
	}
	return n
}

// Chunks that come twice, or not in order, change nothing: what is missing is asked for, and
// the body is whole in the end, however its chunks overlap.
func TestChunksOutOfOrder(t *testing.T) {
	want := bodyOfSize(700_000)
	chance := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		s := newShared()
		sender, receiver := end(s, "a"), end(s, "b")
		sender.out.start(sender, want, 0)
		var late []wire.Frame
		now := time.Duration(0)
		for receiver.in.state != ReceiverComplete {
			now += s.Beat
			sender.peer.chunk = wire.MinChunk + chance.Int64N(wire.MaxChunk) // it has another connection
			chunks := append(drain(sender, now), late...)
			chance.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
			late = chunks[:len(chunks)/4]
			for _, f := range append(chunks, sender.beat(now)) {
				for _, ack := range receiver.onStream(&f, now) {
					sender.onStream(&ack, now)
				}
			}
			require.Less(t, now, 1000*s.Beat)
		}
		require.True(t, bytes.Equal(want.Data[0], bytes.Join(receiver.in.body.Data, nil)))
		require.NoError(t, receiver.in.body.Check())
		require.Equal(t, SenderDone, sender.out.state)
		sender.close()
		receiver.close()
		require.Zero(t, s.InFlight()+s.Memory.Used())
	}
}

func TestHostileChunks(t *testing.T) {
	chunk := make([]byte, wire.MinChunk)
	for name, tt := range map[string]struct {
		frames []wire.Frame
		want   string
	}{
		"longer than said":     {[]wire.Frame{{Length: 5000, Body: chunk}, {Offset: 4096, Body: chunk}}, "body does not have the 5000 bytes that it was said to have"},
		"shorter than said":    {[]wire.Frame{{Length: 9000, Body: chunk}, {Offset: 4096, Body: chunk, Last: true, Digest: chunk[:32]}}, "body does not have the 9000 bytes that it was said to have"},
		"over the limit":       {[]wire.Frame{{Length: 1<<20 + 1, Body: chunk}}, "body of 1048577 bytes is over the limit of 1048576"},
		"over it decompressed": {[]wire.Frame{{Length: 9000, Raw: 1 << 40, Zstd: true, Body: chunk}}, "body of 1099511627776 bytes is over the limit of 1048576"},
		"nothing in a chunk":   {[]wire.Frame{{Length: 9000}}, "body has a chunk of 0 bytes, which is too small"},
		"little in a chunk":    {[]wire.Frame{{Length: 9000, Body: chunk[1:]}}, "body has a chunk of 4095 bytes, which is too small"},
		"no digest":            {[]wire.Frame{{Length: 8192, Body: chunk}, {Offset: 4096, Body: chunk, Last: true}}, "body has no digest"},
	} {
		s := newShared()
		e := end(s, "a")
		for i := range tt.frames {
			e.in.onData(e, &tt.frames[i], 0)
			assert.Equal(t, i == len(tt.frames)-1, e.in.state == ReceiverFailed, name)
		}
		require.EqualError(t, e.in.err, tt.want, name)
		e.close()
		assert.Zero(t, s.Memory.Used(), name)
	}
}

// Memory is reserved as data arrives, not as its header declares, and an instance leaves some.
func TestLengthIsNotBelieved(t *testing.T) {
	s := newShared()
	s.MaxBody = 1 << 40
	first := make([]byte, wire.MinChunk)
	liar, other := end(s, "liar"), end(s, "other")
	liar.in.onData(liar, &wire.Frame{Length: 1 << 40, Body: first}, 0)
	assert.EqualValues(t, wire.MinChunk, s.Memory.Used())
	for liar.in.state == ReceiverPartial {
		liar.in.onData(liar, &wire.Frame{Offset: liar.in.have, Body: make([]byte, wire.MaxChunk)}, 0)
	}
	require.EqualError(t, liar.in.err, "body of 131072 bytes is over what is left of the limit of 4194304 for all calls together")
	other.in.onData(other, &wire.Frame{Length: 1 << 20, Body: make([]byte, wire.MaxChunk)}, 0)
	assert.Equal(t, ReceiverPartial, other.in.state, "it costs only its own instance")
	liar.close()
	other.close()
	assert.Zero(t, s.Memory.Used())
}

// Whatever others do with what they are sent, an instance is sent its own.
func TestStalledInstancesHoldUpNobody(t *testing.T) {
	s := newShared()
	for i := range 10 {
		e := end(s, fmt.Sprint("stalled ", i))
		e.out.start(e, bodyOfSize(1<<20), 0)
		assert.NotEmpty(t, drain(e, 0))
	}
	fast := end(s, "fast")
	fast.out.start(fast, bodyOfSize(1<<20), 0)
	rounds := 0
	for ; fast.out.state != SenderDone; rounds++ {
		chunks := drain(fast, 0)
		require.NotEmpty(t, chunks)
		last := chunks[len(chunks)-1]
		fast.onStream(&wire.Frame{Kind: wire.Ack, Offset: last.Offset + int64(len(last.Body))}, 0)
	}
	assert.LessOrEqual(t, rounds, 10)
}

// A server that knows of no daemon is asked again for a time, and some times in any case, if
// answers are late.
func TestNobodyIsAskedAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		settle, late time.Duration
		seen         bool
		want         int
	}{
		"alone":                  {25 * time.Millisecond, 0, false, 4},
		"alone, late":            {25 * time.Millisecond, 100 * time.Millisecond, false, 4},
		"alone, seen before":     {25 * time.Millisecond, 0, true, 2},
		"alone, seen, late":      {25 * time.Millisecond, 100 * time.Millisecond, true, 2},
		"in a cluster":           {250 * time.Millisecond, 0, false, 7},
		"in a cluster, late":     {250 * time.Millisecond, 100 * time.Millisecond, false, 4},
		"in a cluster, far away": {250 * time.Millisecond, time.Second, false, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShared()
			if tt.seen {
				s.seen.add("a")
			}
			c := NewCaller(s, Call{Token: "a", Method: "Sync", Write: true, Request: bodyOfSize(100), Settle: tt.settle})
			out, now := c.Step(Event{Kind: Start}, 0), time.Duration(0)
			asked := 0
			for out.Verdict == Pending {
				require.Equal(t, []wire.Kind{wire.Open}, frames(out.Send))
				asked++
				require.Less(t, asked, 20)
				now += tt.late
				if out = c.Step(Event{Kind: Nobody}, now); out.Verdict == Pending {
					now = out.Due
					out = c.Step(Event{Kind: Tick}, now)
				}
			}
			assert.Equal(t, NotBegun, out.Verdict)
			assert.Equal(t, tt.want, asked)
		})
	}
}

// The calls of an instance take turns, although who is acknowledged is always the first to try again.
func TestCallsTakeTurns(t *testing.T) {
	s := newShared()
	type chunk struct {
		to    *endpoint
		frame wire.Frame
	}
	var underWay []chunk
	served := map[*endpoint]int{} // the round
	round := 0
	send := func(e *endpoint) {
		for _, f := range drain(e, 0) {
			underWay = append(underWay, chunk{e, f})
			served[e] = round
		}
	}
	const n = 50
	var calls []*endpoint
	for i := range n {
		e := end(s, "a")
		e.Tag = e
		e.out.start(e, bodyOfSize(1<<20+i), 0)
		calls = append(calls, e)
		send(e)
	}
	for ; len(underWay) > 0; round++ {
		c := underWay[0]
		underWay = underWay[1:]
		c.to.onStream(&wire.Frame{Kind: wire.Ack, Offset: c.frame.Offset + int64(len(c.frame.Body))}, 0)
		send(c.to)
		for _, tag := range s.Unblocked() {
			send(tag.(*endpoint))
		}
		for i, e := range calls {
			require.True(t, e.out.state == SenderDone || round-served[e] <= 3*n, "%d waits since round %d", i, served[e])
		}
	}
	for _, e := range calls {
		require.Equal(t, SenderDone, e.out.state)
	}
	assert.Zero(t, s.InFlight())
	assert.Empty(t, s.window.waiting)
}

// Of one instance, a call for which there is no room is told when there is.
func TestBlockedCallIsTold(t *testing.T) {
	s := newShared()
	s.window.base = 1
	one, two := end(s, "a"), end(s, "a")
	one.out.start(one, bodyOfSize(1<<20), 0)
	two.out.start(two, bodyOfSize(1<<20), 0)
	drain(one, 0)
	drain(two, 0)
	require.Empty(t, s.Unblocked())
	one.close()
	require.Contains(t, s.Unblocked(), any("a"))
	require.Empty(t, s.Unblocked())
	require.NotEmpty(t, drain(two, 0))
}

// The window is large from the first chunk on where both ends know how far away their servers are.
func TestWindowOnAKnownPath(t *testing.T) {
	s := newShared()
	s.RTT = 75 * time.Millisecond
	e := end(s, "a")
	e.hear(&wire.Frame{RTT: 75}, 0)
	e.out.start(e, bodyOfSize(1<<20), 0)
	first, ok := e.out.nextChunk(e, 0)
	require.True(t, ok)
	assert.Len(t, first.Body, wire.MaxChunk)
	assert.EqualValues(t, 15, e.out.path.growth)

	e.hear(&wire.Frame{RTT: 1 << 40}, 0)
	e.out.start(e, bodyOfSize(1<<20), 0)
	_, ok = e.out.nextChunk(e, 0)
	require.True(t, ok)
	assert.EqualValues(t, maxGrowth, e.out.path.growth, "however far away it says to be")
	assert.LessOrEqual(t, e.out.path.base, s.RTT+maxRTT)
	s.RTT, e.peer.rtt = time.Millisecond, 0
	e.out.start(e, bodyOfSize(1<<20), 0)
	first, ok = e.out.nextChunk(e, 0)
	require.True(t, ok)
	assert.Len(t, first.Body, wire.MinChunk, "the first shows how long the path is")
}

// The window grows with the path, and not with a queue on it.
func TestWindowGrows(t *testing.T) {
	p := path{growth: 1}
	p.measure(time.Millisecond)
	assert.EqualValues(t, 1, p.growth)
	p = path{growth: 1}
	p.measure(150 * time.Millisecond)
	assert.EqualValues(t, 15, p.growth)
	p.measure(time.Second)
	assert.EqualValues(t, 7, p.growth)
	for range 10 {
		p.measure(time.Second)
	}
	assert.EqualValues(t, 1, p.growth)
	p.measure(160 * time.Millisecond)
	assert.EqualValues(t, 15, p.growth)
	p = path{growth: 1}
	p.measure(time.Hour)
	assert.EqualValues(t, maxGrowth, p.growth)
}

// Nor with the queue that another body to the same instance has made before, while it is being sent.
func TestPathIsShared(t *testing.T) {
	s := newShared()
	send := func(e *endpoint, took time.Duration) {
		e.out.start(e, bodyOfSize(1<<20), 0)
		first, ok := e.out.nextChunk(e, 0)
		require.True(t, ok)
		e.onStream(&wire.Frame{Kind: wire.Ack, Offset: int64(len(first.Body))}, took)
	}
	one, two, other := end(s, "a"), end(s, "a"), end(s, "b")
	send(one, 20*time.Millisecond)
	assert.EqualValues(t, 2, one.out.path.growth)
	send(two, time.Second)
	assert.EqualValues(t, 1, two.out.path.growth)
	send(other, time.Second)
	assert.EqualValues(t, maxGrowth, other.out.path.growth, "of another instance")
	one.close()
	send(two, time.Second)
	assert.EqualValues(t, maxGrowth, two.out.path.growth, "what nobody uses is forgotten")
	two.close()
	other.close()
	assert.Empty(t, s.paths)
	assert.Zero(t, s.InFlight())
}

// A receiver that says again and again that the same chunk is lost does not have all that was
// sent sent again each time.
func TestRewindsAreBounded(t *testing.T) {
	s := newShared()
	e := end(s, "a")
	e.out.start(e, bodyOfSize(1<<20), 0)
	first := size(drain(e, 0))
	again := 0
	for range 1000 {
		e.onStream(&wire.Frame{Kind: wire.Ack, Last: true}, 0)
		again += size(drain(e, 0))
	}
	assert.Positive(t, first)
	assert.Equal(t, first, again, "once, within a quarter of a beat")
	e.onStream(&wire.Frame{Kind: wire.Ack, Offset: wire.MinChunk, Last: true}, 0)
	assert.NotEmpty(t, drain(e, 0), "there was progress")
	e.close()
	assert.Zero(t, s.InFlight())
}

// Who acknowledges byte by byte makes no progress.
func TestTrickleIsAStall(t *testing.T) {
	s := newShared()
	e := end(s, "a")
	e.out.start(e, bodyOfSize(1<<20), 0)
	drain(e, 0)
	for i := range int64(31) {
		now := time.Duration(i) * s.Beat
		e.hear(&wire.Frame{Kind: wire.Beat}, now)
		e.onStream(&wire.Frame{Kind: wire.Ack, Offset: i + 1}, now)
		if i < 30 {
			require.NoError(t, e.alive(now))
		}
	}
	require.EqualError(t, e.alive(31*s.Beat), "no data came through for 30s")
}

// A receiver that has acknowledged all that it was sent is not to blame if there is no more room in
// the window.
func TestWaitingForRoomIsNoStall(t *testing.T) {
	s := newShared()
	s.window.base = 1
	one, two := end(s, "a"), end(s, "a")
	one.out.start(one, bodyOfSize(1<<20), 0)
	two.out.start(two, bodyOfSize(1<<20), 0)
	drain(one, 0)
	sent := int64(size(drain(two, 0)))
	two.onStream(&wire.Frame{Kind: wire.Ack, Offset: sent}, 0)
	require.Empty(t, drain(two, 0), "the other call has the window")
	now := 100 * s.Beat
	two.hear(&wire.Frame{Kind: wire.Beat}, now)
	require.NoError(t, two.alive(now))
	one.close()
	require.NotEmpty(t, drain(two, now))
	now += 30 * s.Beat
	two.hear(&wire.Frame{Kind: wire.Beat}, now)
	require.NoError(t, two.alive(now))
	require.EqualError(t, two.alive(now+1), "no data came through for 30s")
}
