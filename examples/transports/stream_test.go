package transports

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/platformbus/platform"
)

// An encoding turns frames into bytes.
type encoding struct {
	marshal   func(any) ([]byte, error)
	unmarshal func([]byte, any) error
}

var (
	// Errors and IDs may be any bytes; by default CBOR refuses text that is not UTF-8.
	cborDecoder, _ = cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode()

	inCBOR    = encoding{cbor.Marshal, cborDecoder.Unmarshal}
	inMsgpack = encoding{msgpack.Marshal, msgpack.Unmarshal}
	inGob     = encoding{
		func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
		func(data []byte, v any) error { return gob.NewDecoder(bytes.NewReader(data)).Decode(v) },
	}
)

func TestCBOR(t *testing.T) { overPipe(t, inCBOR) }

func TestMsgpack(t *testing.T) { overPipe(t, inMsgpack) }

func overPipe(t *testing.T, e encoding) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		near, far := net.Pipe()
		var served sync.WaitGroup
		served.Go(func() { serveStream(e, far, p) })
		s := newStream(e, near)
		t.Cleanup(func() {
			s.close()
			served.Wait()
		})
		return newClient(s.send)
	})
}

// The child process calls back: it is a daemon whose cluster is the battery's.
func TestChildProcess(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childVariable+"=1")
		child.Stderr = os.Stderr
		toChild, err := child.StdinPipe()
		assert.NoError(t, err)
		fromChild, err := child.StdoutPipe()
		assert.NoError(t, err)
		callsRead, callsWrite, err := os.Pipe()
		assert.NoError(t, err)
		repliesRead, repliesWrite, err := os.Pipe()
		assert.NoError(t, err)
		child.ExtraFiles = []*os.File{repliesRead, callsWrite}
		assert.NoError(t, child.Start())
		callsWrite.Close()
		repliesRead.Close()
		var served sync.WaitGroup
		served.Go(func() { serveStream(inGob, duplex{callsRead, repliesWrite}, p) })
		s := newStream(inGob, duplex{fromChild, toChild})
		t.Cleanup(func() {
			toChild.Close() // upon which the child ends
			assert.NoError(t, child.Wait())
			s.close()
			served.Wait()
		})
		return newClient(s.send)
	})
}

func TestStreamRefusesAFrameThatIsTooLarge(t *testing.T) {
	header := bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff})
	w := &wire{encoding: inCBOR, conn: duplex{io.NopCloser(header), nil}}
	_, err := w.read()
	assert.ErrorContains(t, err, "the limit is")
}

// The far end learns that nobody reads what it writes.
func TestStreamEndsAtAFrameThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		s := newStream(inCBOR, near)
		defer s.close()
		_, err := far.Write([]byte{0, 0, 0, 1, 0xff})
		assert.NoError(t, err)
		_, err = far.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
	})
}

const childVariable = "TRANSPORTS_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	s := newStream(inGob, duplex{os.NewFile(3, "replies"), os.NewFile(4, "calls")})
	serveStream(inGob, duplex{os.Stdin, os.Stdout}, newClient(s.send))
	s.close()
}

type duplex struct {
	io.ReadCloser
	w io.WriteCloser
}

func (d duplex) Write(b []byte) (int, error) { return d.w.Write(b) }
func (d duplex) Close() error                { return errors.Join(d.w.Close(), d.ReadCloser.Close()) }

// A frame is one message on a stream. The reply to a call has its ID.
type frame struct {
	ID      uint64
	Request *Request
	Reply   *Reply
}

// A wire writes and reads frames, each behind its length.
type wire struct {
	encoding
	conn io.ReadWriteCloser
	mu   sync.Mutex // held while a frame is written
}

func (w *wire) write(f frame) error {
	data, err := w.marshal(f)
	if err != nil {
		return err
	}
	if len(data) > maxBody {
		return tooLarge(int64(len(data)))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

func (w *wire) read() (f frame, err error) {
	var size [4]byte
	if _, err := io.ReadFull(w.conn, size[:]); err != nil {
		return f, err
	}
	n := int64(binary.BigEndian.Uint32(size[:]))
	if n > maxBody {
		return f, tooLarge(n)
	}
	var data bytes.Buffer // grows as data arrives, not as the size declares
	if _, err := io.CopyN(&data, w.conn, n); err != nil {
		return f, err
	}
	return f, w.unmarshal(data.Bytes(), &f)
}

func tooLarge(size int64) error {
	return fmt.Errorf("a message of %d bytes, and the limit is %d", size, maxBody)
}

// serveStream serves p until the stream ends, and all calls have.
func serveStream(e encoding, conn io.ReadWriteCloser, p platform.Platform) {
	w := &wire{encoding: e, conn: conn}
	var calls sync.WaitGroup
	defer calls.Wait()
	defer conn.Close()
	for {
		f, err := w.read()
		if err != nil || f.Request == nil {
			return
		}
		calls.Go(func() {
			reply := serve(p, *f.Request)
			if err := w.write(frame{ID: f.ID, Reply: &reply}); err != nil {
				failed := Reply{Error: codec.Encode(platform.ClusterError(err))}
				w.write(frame{ID: f.ID, Reply: &failed}) //nolint:errcheck // it fails too if the stream has ended
			}
		})
	}
}

// A stream is the near end: newStream starts its only goroutine, which close ends.
type stream struct {
	w    *wire
	done chan struct{} // closed when the goroutine has returned

	mu      sync.Mutex
	last    uint64                // guarded by mu
	waiting map[uint64]chan Reply // guarded by mu
}

func newStream(e encoding, conn io.ReadWriteCloser) *stream {
	s := &stream{w: &wire{encoding: e, conn: conn}, done: make(chan struct{}), waiting: map[uint64]chan Reply{}}
	go s.receive()
	return s
}

func (s *stream) close() {
	s.w.conn.Close()
	<-s.done
}

func (s *stream) receive() {
	defer close(s.done)
	defer s.w.conn.Close() // the far end would wait for its replies to be read
	for {
		f, err := s.w.read()
		if err != nil || f.Reply == nil {
			return
		}
		s.mu.Lock()
		if to := s.waiting[f.ID]; to != nil {
			to <- *f.Reply // has room for it
			delete(s.waiting, f.ID)
		}
		s.mu.Unlock()
	}
}

func (s *stream) send(ctx context.Context, r Request) (Reply, error) {
	own := make(chan Reply, 1)
	s.mu.Lock()
	s.last++
	id := s.last
	s.waiting[id] = own
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.waiting, id)
	}()
	if err := s.w.write(frame{ID: id, Request: &r}); err != nil {
		return Reply{}, err
	}
	select {
	case reply := <-own:
		return reply, nil
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	case <-s.done:
		return Reply{}, errors.New("the connection was lost")
	}
}
