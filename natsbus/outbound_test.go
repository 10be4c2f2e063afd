package natsbus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus/internal/protocol"
)

// A denial of replies that comes before a call has begun, and after it has found that replies
// are heard, ends the call.
func TestDenialBeforeACallBegins(t *testing.T) {
	conn, err := nats.Connect(natstest.Start(t, nil).ClientURL())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	b, err := New(conn, Options{Beat: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close(context.Background())) })
	o := &b.outbound
	m := &method{name: "Ping"}
	replies, err := o.begin("a", m)
	require.NoError(t, err)
	denied := errors.New("denied")
	o.forgetReplies(denied)
	outcome := o.run(t.Context(), replies, protocol.Call{Token: "a", Method: m.name})
	o.finish("a", m)
	assert.Equal(t, protocol.NotBegun, outcome.Verdict)
	assert.ErrorIs(t, outcome.Err, denied)
}
