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

// maxLine is the maximum length of a line of the protocol: INFO lists every server.
const maxLine = 64 << 10

// loss drops messages.
type loss struct {
	seed uint64

	mu       sync.Mutex
	fraction float64 // guarded by mu
	passed   int     // guarded by mu
	dropped  int     // guarded by mu
}

// Drop drops the fraction given, from 0 to 1, of the messages published and delivered in
// the NATS protocol. It drops whole messages (PUB, HPUB, MSG and HMSG), so that the rest
// of the stream stays valid. It applies to connections without TLS that are made after the
// first call; later calls change the fraction for these connections too, and keep the
// seed. Which messages of a connection are dropped depends only on the seed, the
// connection's number, and the message's number in its direction.
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

// Dropped returns the numbers of messages that passed and that were dropped since the
// first call of Drop.
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

// next decides whether the next message is dropped, by a number from chance, and counts it.
func (l *loss) next(chance *rand.Rand) bool {
	n := chance.Float64() // one for each message, independent of the fraction
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

// copy forwards the stream of a client or a server, without the messages that are dropped.
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
		if message && l.next(chance) {
			_, err = io.CopyN(io.Discard, in, size)
		} else if _, err = to.Write(line); err == nil {
			_, err = io.CopyN(to, struct{ io.Reader }{in}, size)
		}
		if errors.Is(err, io.EOF) {
			return nil // the connection was cut
		}
		if err != nil {
			return err
		}
	}
}

// payload reports whether a line begins a message, and how many bytes of it follow.
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
