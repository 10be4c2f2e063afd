package simulate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

const (
	refusal = "refused"
	unread  = "unread"
)

var errDamaged = errors.New("damaged")

// body returns one that says something, and is of a size.
func body(text string, size int) wire.Body {
	data := append([]byte(text), '\n')
	for i := 0; len(data) < size; i++ {
		data = append(data, text[i%len(text)], byte(i), byte(i>>8))
	}
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
	if want := body(text, len(data)); !found || !bytes.Equal(want.Data[0][:len(data)], data) {
		return "", fmt.Errorf("%d bytes that nobody has sent", len(data))
	}
	return text, nil
}
