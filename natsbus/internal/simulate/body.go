package simulate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

const (
	refusal = "refused"
	unread  = "unread"
)

var errDamaged = errors.New("damaged")

// content returns bytes that say something, and differ everywhere from those that say anything
// else.
func content(text string, size int) []byte {
	data := make([]byte, max(size, len(text)+1))
	n := copy(data, text)
	data[n] = '\n'
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(text))).Read(data[n+1:]) // it never fails
	return data
}

// body returns one that says something, and is of a size.
func body(text string, size int) wire.Body {
	data := content(text, size)
	b := wire.Body{Data: wire.Buffers{data}, Raw: int64(len(data))}
	if len(data) > 4096 {
		sum := sha256.Sum256(data)
		b.Digest = sum[:]
	}
	return b
}

// open returns what a body says.
func open(b *wire.Body) (string, error) {
	if b.Check() != nil {
		return "", errDamaged
	}
	data := bytes.Join(b.Data, nil)
	if len(data) > 0 && data[0]>>5 == 5 { // an answer that the daemon itself has made
		return refusal, nil
	}
	text, _, found := strings.Cut(string(data), "\n")
	if !found || !bytes.Equal(content(text, len(data)), data) {
		return "", fmt.Errorf("%d bytes that nobody has sent", len(data))
	}
	return text, nil
}
