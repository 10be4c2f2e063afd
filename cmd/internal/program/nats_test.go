package program_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/internal/natstest"
)

// Each kind of credentials leads into a server that wants it, and none other does.
func TestNATSCredentials(t *testing.T) {
	ca := natstest.NewAuthority(t)
	cert, key := ca.Issue(t, "server")
	tlsConfig, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cert, KeyFile: key, CaFile: ca.File, Verify: true})
	require.NoError(t, err)
	user, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := user.PublicKey()
	require.NoError(t, err)
	seed, err := user.Seed()
	require.NoError(t, err)
	s := natstest.Start(t, func(o *server.Options) {
		o.TLSConfig, o.TLSVerify, o.TLSTimeout = tlsConfig, true, 10
		o.Users = []*server.User{{Username: "a", Password: "of-a"}}
		o.Nkeys = []*server.NkeyUser{{Nkey: public}}
	})
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	clientCert, clientKey := ca.Issue(t, "client")
	with := func(change func(*program.NATS)) program.NATS {
		n := program.NATS{URL: "tls://" + s.Addr().String(), CA: ca.File, Certificate: clientCert, Key: clientKey}
		change(&n)
		return n
	}
	for name, tt := range map[string]struct {
		settings program.NATS
		want     string // of the log
	}{
		"password":       {with(func(n *program.NATS) { n.User, n.PasswordFile = "a", write("password", "of-a\n") }), "connected to nats"},
		"NKey":           {with(func(n *program.NATS) { n.Seed = write("seed", string(seed)) }), "connected to nats"},
		"wrong password": {with(func(n *program.NATS) { n.User, n.PasswordFile = "a", write("wrong", "of-b") }), "authorization violation"},
		"no certificate": {with(func(n *program.NATS) {
			n.Certificate, n.Key, n.User, n.PasswordFile = "", "", "a", write("password", "of-a")
		}), "nats cannot be reached"}, // the server's reason may come too late to be read
		"another CA": {with(func(n *program.NATS) {
			n.CA, n.User, n.PasswordFile = natstest.NewAuthority(t).File, "a", write("password", "of-a")
		}), "certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			var log lockedBuffer
			conn, _, err := tt.settings.Connect("test", slog.New(slog.NewTextHandler(&log, nil)))
			require.NoError(t, err)
			defer conn.Close()
			assert.Eventually(t, func() bool { return strings.Contains(strings.ToLower(log.String()), tt.want) }, time.Minute, time.Millisecond, "%v", &log)
			assert.Equal(t, tt.want == "connected to nats", conn.IsConnected())
		})
	}
}

// A lockedBuffer is a buffer that several goroutines may use.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Settings that do not go together are named, without a secret.
func TestNATSSettings(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	const url = "nats://127.0.0.1:1"
	for want, settings := range map[string]program.NATS{
		"there are 2":                 {URL: url, User: "a", Credentials: "x"},
		"of --nats-creds, --nats-nke": {URL: url, Seed: "x", Credentials: "x"},
		"one of them is not set":      {URL: url, User: "a"},
		"--nats-cert and --nats-key":  {URL: url, Certificate: "x"},
		"nats-password-file: open /n": {URL: url, User: "a", PasswordFile: "/nowhere"},
		"is empty":                    {URL: url, User: "a", PasswordFile: empty},
		"no seed of an NKey":          {URL: url, Seed: empty},
		"contains no user key":        {URL: url, Credentials: empty},
		"holds credentials":           {URL: "nats://user:hidden@127.0.0.1:1"},
		"cannot be read":              {URL: "nats://hidden:%zz@127.0.0.1"},
		"is invalid":                  {URL: "127.0.0.1"},
	} {
		_, _, err := settings.Connect("test", slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "hidden")
	}
}
