package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The picture is XML that shows each line, whatever it holds.
func TestWrite(t *testing.T) {
	lines, err := read(strings.NewReader("1. A <title> & more\n\n  - old\n  + new\n"+strings.Repeat("é", 200)+"\n"), io.Discard)
	require.NoError(t, err)
	require.Len(t, lines, 5)
	assert.GreaterOrEqual(t, lines[1].at-lines[0].at, step, "there is time to read a step")
	for i := range 2 * rows {
		lines = append(lines, line{"more", lines[4].at + time.Duration(i+1)*shortest})
	}

	var picture bytes.Buffer
	require.NoError(t, write(&picture, lines))
	var texts []string
	for d := xml.NewDecoder(&picture); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "text" {
			var text string
			require.NoError(t, d.DecodeElement(&text, &start))
			texts = append(texts, text)
		}
	}
	require.Len(t, texts, len(lines)-1, "but the empty one")
	assert.Equal(t, "1. A <title> & more", texts[0])
	assert.Equal(t, columns, len([]rune(texts[3])))
	require.Error(t, write(&picture, nil))
}
