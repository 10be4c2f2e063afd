package natsbus_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
)

// configured starts a server with a configuration in deploy/nats, of which some
// variables have values.
func configured(t *testing.T, name string, variables map[string]string) *server.Server {
	t.Helper()
	for name, value := range variables {
		t.Setenv(name, value)
	}
	options, err := server.ProcessConfigFile(filepath.Join("..", "deploy", "nats", name))
	require.NoError(t, err)
	options.Host, options.Port, options.NoLog, options.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	return natstest.Start(t, func(o *server.Options) { *o = *options })
}

var passwords = map[string]string{"SERVICE_PASSWORD": "of-the-service", "DAEMON_PASSWORD": "of-the-daemon"}

var (
	asService = nats.UserInfo("service", passwords["SERVICE_PASSWORD"])
	asDaemon  = nats.UserInfo("daemon-of-a", passwords["DAEMON_PASSWORD"])
)

// operates makes calls of every kind between a service and the daemon of instance a, and finds
// that the daemon can be that of no other. A server that is a leaf does not tell the daemon so.
func operates(t *testing.T, service, daemon *nats.Conn, isBehindLeaf bool) {
	t.Helper()
	callers, daemons := newBus(t, service, brisk), newBus(t, daemon, brisk)
	large, done := noise(1<<20), make(chan error, 1)
	var got []byte
	daemons.Subscribe("a", &platform.MockPlatform{ExportAnswer: large, SyncArgTest: func(def platform.SyncDef) error {
		got = def.Actions[0].Apply
		return nil
	}}, done)
	h := connect(t, callers)
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, h.Ping()) }, limit, time.Millisecond)
	exported, err := h.Export()
	require.NoError(t, err)
	assert.Equal(t, large, exported)
	require.NoError(t, h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "1", Apply: large}}}))
	assert.Equal(t, large, got)
	require.Empty(t, done)

	daemons.Subscribe("b", &platform.MockPlatform{}, done)
	require.ErrorIs(t, callers.Ping("b"), platform.ErrPlatformNotAvailable)
	if !isBehindLeaf {
		require.ErrorIs(t, within(t, done, "the denial"), nats.ErrPermissionViolation)
	}
}

func TestOperatingUsers(t *testing.T) {
	noLeaks(t)
	s := configured(t, "users.conf", passwords)
	operates(t, dial(t, s.ClientURL(), asService), dial(t, s.ClientURL(), asDaemon), false)
}

func TestOperatingSmallMessages(t *testing.T) {
	noLeaks(t)
	s := configured(t, "small.conf", passwords)
	operates(t, dial(t, s.ClientURL(), asService), dial(t, s.ClientURL(), asDaemon), false)
}

func TestOperatingWebsocket(t *testing.T) {
	noLeaks(t)
	s := configured(t, "websocket.conf", passwords)
	operates(t, dial(t, s.ClientURL(), asService), dial(t, s.WebsocketURL(), asDaemon), false)
}

func TestOperatingLeafNode(t *testing.T) {
	noLeaks(t)
	hub := configured(t, "hub.conf", passwords)
	leaf := configured(t, "leaf.conf", map[string]string{
		"HUB": fmt.Sprintf("nats-leaf://daemon-of-a:%s@127.0.0.1:%d", passwords["DAEMON_PASSWORD"], leafPort(t, hub)),
	})
	require.Eventually(t, func() bool { return leaf.NumLeafNodes() == 1 && hub.NumLeafNodes() == 1 }, limit, time.Millisecond)
	operates(t, dial(t, hub.ClientURL(), asService), dial(t, leaf.ClientURL()), true)
}

func leafPort(t *testing.T, s *server.Server) int {
	t.Helper()
	status, err := s.Varz(nil)
	require.NoError(t, err)
	return status.LeafNode.Port
}

func TestOperatingMutualTLS(t *testing.T) {
	noLeaks(t)
	ca := natstest.NewAuthority(t)
	serverCert, serverKey := ca.Issue(t, "server")
	s := configured(t, "mutual-tls.conf", map[string]string{"SERVER_CERT": serverCert, "SERVER_KEY": serverKey, "CA": ca.File})
	as := func(name string) []nats.Option {
		cert, key := ca.Issue(t, name)
		return []nats.Option{nats.ClientCert(cert, key), nats.RootCAs(ca.File)}
	}
	operates(t, dial(t, s.ClientURL(), as("service")...), dial(t, s.ClientURL(), as("daemon-of-a")...), false)
}

// With an operator's JWTs one scoped signing key issues the credentials of all daemons: their
// permissions have the user's name for the instance. A name of * would be that of all
// instances, so whoever issues it escapes it as a token.
func TestOperatingJWT(t *testing.T) {
	noLeaks(t)
	operator, account := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount)
	daemons, services := newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)

	claims := jwt.NewAccountClaims(account.public)
	scope := func(role string, key keyPair, publish, subscribe []string) {
		s := jwt.NewUserScope()
		s.Role, s.Key = role, key.public
		s.Template.Pub.Allow.Add(publish...)
		s.Template.Sub.Allow.Add(subscribe...)
		claims.SigningKeys.AddScopedSigner(s)
	}
	scope("service", services, []string{"flux.v1.*.rpc.*", "flux.v1.*.in.*.*"}, []string{"flux.v1.*.re.>"})
	scope("daemon", daemons, []string{"flux.v1.{{name()}}.re.>", "flux.v1.{{name()}}.rpc.claim.*"}, []string{"flux.v1.{{name()}}.rpc.>", "flux.v1.{{name()}}.in.*.*"})
	accountJWT, err := claims.Encode(operator.pair)
	require.NoError(t, err)
	trusted := jwt.NewOperatorClaims(operator.public)
	resolver := &server.MemAccResolver{}
	require.NoError(t, resolver.Store(account.public, accountJWT))
	s := natstest.Start(t, func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver = []*jwt.OperatorClaims{trusted}, resolver
	})

	as := func(name string, signer keyPair) nats.Option {
		user := newKey(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(user.public)
		claims.Name, claims.IssuerAccount = name, account.public
		claims.SetScoped(true)
		token, err := claims.Encode(signer.pair)
		require.NoError(t, err)
		seed, err := user.pair.Seed()
		require.NoError(t, err)
		return nats.UserJWTAndSeed(token, string(seed))
	}
	operates(t, dial(t, s.ClientURL(), as("service", services)), dial(t, s.ClientURL(), as("a", daemons)), false)
}

type keyPair struct {
	pair   nkeys.KeyPair
	public string
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) keyPair {
	pair, err := create()
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	return keyPair{pair, public}
}
