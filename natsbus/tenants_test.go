package natsbus_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// permissions are those of the package comment, by who has them.
var permissions = sync.OnceValue(func() map[string]*server.Permissions {
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		panic(err)
	}
	all := map[string]*server.Permissions{}
	for _, row := range regexp.MustCompile(`(?m)^//\t(service|daemon) .*(publish|subscribe)  +(.*)$`).FindAllStringSubmatch(string(comment), -1) {
		who, what, subjects := row[1], row[2], strings.Fields(row[3])
		if all[who] == nil {
			all[who] = &server.Permissions{}
		}
		allowed := &server.SubjectPermission{Allow: subjects}
		if what == "publish" {
			all[who].Publish = allowed
		} else {
			all[who].Subscribe = allowed
		}
	}
	return all
})

// permitted returns what somebody is permitted, a daemon for an instance.
func permitted(who, inst string) *server.Permissions {
	p := permissions()[who]
	of := func(subjects []string) (all []string) {
		for _, subject := range subjects {
			all = append(all, strings.Replace(subject, ".a.", "."+inst+".", 1))
		}
		return all
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: of(p.Publish.Allow)},
		Subscribe: &server.SubjectPermission{Allow: of(p.Subscribe.Allow)},
	}
}

// withTenants sets the permissions of the package comment.
func withTenants(o *server.Options) {
	user := func(name, who string) *server.User {
		return &server.User{Username: name, Password: name, Permissions: permitted(who, name)}
	}
	o.Users = []*server.User{
		user("service", "service"), user("a", "daemon"), user("b", "daemon"),
		{Username: "admin", Password: "admin"},
	}
}

func as(name string) nats.Option { return nats.UserInfo(name, name) }

// A hostile client with the credentials of a's daemon.
func TestTenantsAreDenied(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	said := make(chan error, 16)
	hostile := dial(t, s.ClientURL(), as("a"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err }))
	for _, subject := range []string{
		"flux.v1.b.rpc.*", "flux.v1.b.in.>", "flux.v1.*.rpc.*", "flux.v1.>", ">", "*.*.*.rpc.*", // listen to b's calls
		"flux.v1.a.re.>", "flux.v1.*.re.>", "flux.v1.b.re.>", // listen to answers
		"_INBOX.>", "$SYS.>",
	} {
		_, err := hostile.SubscribeSync(subject)
		require.NoError(t, err)
		require.ErrorIs(t, within(t, said, "the denial of "+subject), nats.ErrPermissionViolation)
	}
	for _, subject := range []string{
		"flux.v1.b.re.service.BUS.CALL", // answer for b, forge replies to the service
		"flux.v1.b.rpc.claim.all",       // kick b
		"flux.v1.a.rpc.Kick",            // as the first daemons did
		"flux.v1.a.in.SESSION.ID",       // say what a caller says, if only to another daemon of a
		"flux.v1.b.rpc.Apply",           // call b
		"flux.v1.a.rpc.Apply",           // be a service, if only for itself
		"flux.v1.b.in.SESSION.ID",       // join b's calls
		"flux.v1.=2a.re.service.BUS.CALL", "$SYS.REQ.SERVER.PING",
	} {
		require.NoError(t, hostile.Publish(subject, nil))
		require.ErrorIs(t, within(t, said, "the denial of "+subject), nats.ErrPermissionViolation)
	}
}

// Somebody with the credentials of a service cannot be a daemon.
func TestServiceIsNoDaemon(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	said := make(chan error, 16)
	hostile := dial(t, s.ClientURL(), as("service"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err }))
	for _, subject := range []string{"flux.v1.a.rpc.*", "flux.v1.*.rpc.>", "flux.v1.a.in.>", ">"} {
		_, err := hostile.SubscribeSync(subject)
		require.NoError(t, err)
		require.ErrorIs(t, within(t, said, "the denial of "+subject), nats.ErrPermissionViolation)
	}
	require.NoError(t, hostile.Publish("flux.v1.a.re.service.BUS.CALL", nil))
	require.ErrorIs(t, within(t, said, "the denial"), nats.ErrPermissionViolation)

	done := make(chan error, 1)
	newBus(t, dial(t, s.ClientURL(), as("service")), brisk).Subscribe("a", &platform.MockPlatform{}, done)
	require.ErrorIs(t, within(t, done, "the denial"), nats.ErrPermissionViolation)
}

// What a permits is enough, and what it denies is said by name.
func TestBusWithPermissions(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	daemonA, callers := newBus(t, dial(t, s.ClientURL(), as("a")), brisk), newBus(t, dial(t, s.ClientURL(), as("service")), brisk)
	done := make(chan error, 2)
	large := make([]byte, 1<<20)
	for i := range large {
		large[i] = byte(i * i >> 7)
	}
	daemonA.Subscribe("a", &platform.MockPlatform{VersionAnswer: "A", ExportAnswer: large}, done)
	h := connect(t, callers)
	version, err := h.Version()
	require.NoError(t, err)
	assert.Equal(t, "A", version)
	require.NoError(t, h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{Apply: large}}}))
	exported, err := h.Export()
	require.NoError(t, err)
	assert.Equal(t, large, exported)

	for _, inst := range []flux.InstanceID{"b", "*", ">", "a.b"} {
		daemonA.Subscribe(inst, &platform.MockPlatform{}, done)
		err = within(t, done, "the denial")
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
		require.ErrorContains(t, err, "subscription ended: the NATS server denies it")
	}
	require.ErrorIs(t, callers.Ping("*"), platform.ErrPlatformNotAvailable)

	err = daemonA.Ping("a") // a daemon is no service
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorIs(t, err, nats.ErrPermissionViolation)
	require.NoError(t, h.Ping())
	require.Empty(t, done)
}

// The service is neither fooled by a's answers to b's calls, nor used to reach b.
func TestServiceIsNoDeputy(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	service := dial(t, s.ClientURL(), as("service"))
	callers := newBus(t, service, natsbus.Options{Beat: time.Minute}) // it does not ask b again
	hostile, honest, admin := dial(t, s.ClientURL(), as("a")), dial(t, s.ClientURL(), as("b")), dial(t, s.ClientURL(), as("admin"))
	calls := listen(t, honest, "flux.v1.b.rpc.*")

	version := make(chan string, 1)
	go func() {
		v, err := callers.Version("b")
		assert.NoError(t, err)
		version <- v
	}()
	open, err := calls.NextMsg(limit)
	require.NoError(t, err)
	head := headOf(t, open.Data)
	bus, call := head[4], head[3]
	answer := func(conn *nats.Conn, tok, kind, text string) {
		body, err := cbor.Marshal(map[int]string{2: text})
		require.NoError(t, err)
		m := nats.NewMsg(fmt.Sprintf("flux.v1.%s.re.service.%s.%s", tok, bus, call))
		m.Reply = "flux.v1.b.rpc.Apply"
		m.Data = append(headed(t, map[int]any{1: kind, 2: 1, 3: call, 5: "SESSION", 6: ticket, 8: true}), body...)
		require.NoError(t, conn.PublishMsg(m))
		require.NoError(t, conn.Flush())
	}
	toB := listen(t, admin, "flux.v1.b.>")
	toA := listen(t, admin, "flux.v1.a.in.>")
	for _, kind := range []string{"data", "accept", "beat"} {
		answer(hostile, "a", kind, "forged")
		m, err := toA.NextMsg(limit)
		require.NoError(t, err, "what the service says to a goes to a")
		assert.Equal(t, "end", headOf(t, m.Data)[1])
	}
	for _, kind := range []string{"gone", "refuse", "ack", "end", "claim", "held", "ended", "new"} {
		answer(hostile, "a", kind, "forged")
	}
	nobody := nats.NewMsg(fmt.Sprintf("flux.v1.a.re.service.%s.%s", bus, call))
	nobody.Header.Set("Status", "503") // as the server says that there is no daemon
	require.NoError(t, hostile.PublishMsg(nobody))
	require.NoError(t, hostile.Flush())
	answer(honest, "b", "data", "honest")
	assert.Equal(t, "honest", within(t, version, "the answer"))
	require.NoError(t, service.Flush()) // what was said to the forged frames is at the server
	require.NoError(t, admin.Flush())
	m, err := toB.NextMsg(limit)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("flux.v1.b.re.service.%v.%v", bus, call), m.Subject, "the honest answer")
	sent, _, err := toB.Pending()
	require.NoError(t, err)
	assert.Zero(t, sent, "nothing is said to b")
}

// ticket is one that a daemon might have given.
var ticket = []byte("0123456789abcdef")

func headed(t *testing.T, head map[int]any) []byte {
	data, err := cbor.Marshal(head)
	require.NoError(t, err)
	return data
}

func headOf(t *testing.T, data []byte) (head map[int]any) {
	_, err := cbor.UnmarshalFirst(data, &head)
	require.NoError(t, err)
	return head
}

// What a later service may ask is answered so that it understands.
func TestLaterProtocol(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	conn := dial(t, s.ClientURL())
	replies := listen(t, conn, "flux.v1.a.re.service.BUS.*")
	for _, tt := range []struct {
		method  string
		version int
		want    string
	}{
		{"Rollback", 1, "the daemon does not know the method Rollback"},
		{"Ping", 2, "the daemon knows version 1 of the protocol, and was asked in version 2"},
	} {
		m := nats.NewMsg("flux.v1.a.rpc." + tt.method)
		m.Data = headed(t, map[int]any{1: "open", 2: tt.version, 3: "CALL", 4: "BUS", 8: true, 16: "service", 99: "new"})
		require.NoError(t, conn.PublishMsg(m))
		reply, err := replies.NextMsg(limit)
		require.NoError(t, err)
		assert.Contains(t, string(reply.Data), tt.want)
		var loose map[int]any
		var head map[int]any
		body, err := cbor.UnmarshalFirst(reply.Data, &head)
		require.NoError(t, err)
		require.NoError(t, cbor.Unmarshal(body, &loose))
		failed, ok := loose[4].(map[any]any)
		require.True(t, ok)
		assert.Equal(t, []any{"upgrade needed"}, failed[uint64(4)], "what it matches")
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := natsbus.New(nil, natsbus.Options{})
	require.Error(t, err)
	noLeaks(t)
	conn := dial(t, natstest.Start(t, nil).ClientURL())
	_, err = natsbus.New(conn, natsbus.Options{Prefix: "a.>"})
	require.ErrorContains(t, err, `prefix "a.>"`)
	_, err = natsbus.New(conn, natsbus.Options{MaxBody: -1})
	require.ErrorContains(t, err, "negative")
	_, err = natsbus.New(conn, natsbus.Options{Beat: 1})
	require.ErrorContains(t, err, "beat of 1ns")
	_, err = natsbus.New(conn, natsbus.Options{Silence: time.Second})
	require.ErrorContains(t, err, "silence of 1s is less than two beats of 1s")
}
