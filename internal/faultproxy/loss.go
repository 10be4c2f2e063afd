package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
)

// maxLine is how long a line of the protocol may be: INFO lists every server there is.
const maxLine = 64 << 10

// loss loses messages.
type loss struct {
	seed uint64

	mu       sync.Mutex
	fraction float64 // guarded by mu
	passed   int     // guarded by mu
	dropped  int     // guarded by mu
}

// Drop loses the fraction given, from 0 to 1, of what is published and delivered in the
// NATS protocol: whole messages (PUB, HPUB, MSG and HMSG), so that what is left is still
// valid. It is for connections between a client and a server without TLS that are made
// after it was called first; called again, it changes the fraction for those too, and
// leaves the seed. Which messages of a connection are lost depends on the seed, the
// connection's number, and the message's in its direction only.
func (p *Proxy) Drop(fraction float64, seed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loss == nil {
		p.loss = &loss{seed: seed}
	}
	p.loss.mu.Lock()
	defer p.loss.mu.Unlock()
	p.loss.fraction = fraction
}

// Dropped returns how many messages passed, and how many were lost, since Drop was
// called first.
func (p *Proxy) Dropped() (passed, dropped int) {
	p.mu.Lock()
	l := p.loss
	p.mu.Unlock()
	if l == nil {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed, l.dropped
}

// drops says whether the next message is lost, for which chance has a number.
func (l *loss) drops(chance *rand.Rand) bool {
	n := chance.Float64() // for each message one, whatever the fraction
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < l.fraction {
		l.dropped++
		return true
	}
	l.passed++
	return false
}

var errLine = errors.New("faultproxy: a line of the NATS protocol is too long")

// copy passes on what comes from a client or a server, but for what is lost.
func (l *loss) copy(to io.Writer, from io.Reader, stream uint64) error {
	chance := rand.New(rand.NewPCG(l.seed, stream))
	in := bufio.NewReaderSize(from, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return errLine
		case errors.Is(err, io.EOF):
			_, err := to.Write(line)
			return err
		case err != nil:
			return err
		}
		size, message, err := payload(line)
		if err != nil {
			return err
		}
		if message && l.drops(chance) {
			_, err = io.CopyN(io.Discard, in, size)
		} else if _, err = to.Write(line); err == nil {
			_, err = io.CopyN(to, struct{ io.Reader }{in}, size)
		}
		if errors.Is(err, io.EOF) {
			return nil // it has been cut
		}
		if err != nil {
			return err
		}
	}
}

// payload says whether a line begins a message, and how many bytes of it follow.
func payload(line []byte) (size int64, message bool, err error) {
	words := bytes.Fields(line)
	if len(words) == 0 {
		return 0, false, nil
	}
	switch string(bytes.ToUpper(words[0])) {
	case "PUB", "HPUB", "MSG", "HMSG":
		size, err := strconv.ParseInt(string(words[len(words)-1]), 10, 64)
		if err != nil || size < 0 {
			return 0, false, fmt.Errorf("faultproxy: line %q of the NATS protocol has no length", line)
		}
		return size + 2, true, nil // and the end of the line
	}
	return 0, false, nil
}
