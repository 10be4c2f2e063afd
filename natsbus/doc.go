// Package natsbus is a platform.MessageBus between processes: daemons subscribe their
// clusters from wherever they can dial out to a NATS server, and any number of services
// reach them. It needs core NATS only, no JetStream.
//
//	conn, err := nats.Connect(url, natsbus.ConnectOptions()...)
//	bus, err := natsbus.New(conn, natsbus.Options{})
//	bus.Subscribe("my-cluster", cluster, done)   // the daemon
//	cluster, err := bus.Connect("my-cluster")    // the service
//
// # Concurrency
//
// A Bus, and each handle that Connect returns, may be used by many goroutines at once.
// A bus has three goroutines, however many instances are subscribed, and one for each
// call that it serves. Close waits for all of them, but for calls that it cuts off.
//
// # Errors
//
// What the daemon's Platform returned arrives as it was: an ApplyError or SyncError with
// every entry, an UnavailableError, an UpgradeNeededError, a FatalError; any other error in
// a ClusterError with the same text. The errors that package platform and package context
// name are found with errors.Is, those inside entries too. Besides:
//
//   - UnavailableError: no daemon is connected, it was lost, the connection is down, a limit
//     was met or the server denies it; the text says which. If an Apply or Sync may have
//     been begun, it says that the outcome is unknown.
//   - UpgradeNeededError: the daemon does not know the method or the protocol's version.
//   - An error that names size and limit: the request's body is too large.
//   - The cause of a context that has ended.
//
// A subscription ends with platform.ErrKicked as soon as another takes its place: calls
// that are under way go on, and a daemon that is about to exit calls Close, which waits
// for them. It ends with the FatalError of its Platform, with an error that matches the
// nats package's if the server denies it or the connection is closed, and with ErrClosed.
// While the connection is down it stays. A server that takes no more subscriptions does not
// say which it has refused: all of this bus end that may be among them, which are those made
// in the last two beats, or all if the connection has just come back.
//
// # Wire format
//
// In subjects, tok is the instance ID with every byte outside [a-z0-9_-] as "=" and two
// hexadecimal digits, or "=h" and its SHA-256 if that is longer than 200; service is
// Options.Service, escaped in the same way. Buses and calls have random names; sessions have
// one that is random for the bus, and a number.
//
//	flux.v1.<tok>.rpc.<Method>                caller to daemon
//	flux.v1.<tok>.rpc.claim.<session or all>  daemons to each other
//	flux.v1.<tok>.re.<service>.<bus>.<call>   daemon to caller
//	flux.v1.<tok>.in.<session>.<call>         caller to daemon during a call
//
// Where a frame is sent to is made from the token of the subject that it answers, and
// never taken from a message's reply address.
//
// A message is a frame, and right behind it a chunk of the body; package internal/wire has
// both, and a golden frame of each kind. A body in several chunks ends with its SHA-256. A
// chunk has 128 KiB, or what the smaller of both ends' servers, or their accounts, take; that
// is learned when a connection is made. Unknown fields are ignored, missing ones are zero.
//
// # Delivery
//
// Package internal/protocol has the states of both ends, and what leads from one to the
// next, as tables. In short: a small read is one message each way. For all else the caller
// sends open, until a daemon answers accept with a ticket of 128 random bits. It sends the
// request to the first that does, and to no other. The last chunk begins the call. A daemon
// begins a call only for a ticket it has given, and once for each. So a message that comes
// late or twice begins nothing, for however long, and no list of past calls is kept. The
// daemon keeps the answer until the caller says end, which also cancels. If the daemon says
// gone, it never began the call and never will, and the caller starts again under a new name.
//
//	the caller   opening    has asked, and nobody has accepted     not begun if it ends here
//	             sending    accepted, a part of the request sent   not begun
//	             waiting    all of it sent                         outcome unknown
//	             receiving  a part of the answer has come          outcome unknown
//	the daemon   accepted   waits for the request                  never begins without all of it
//	             ready      is decoding it                         never begins if the caller is lost
//	             executing  the Platform is at work                goes on; abandoned once nobody waits
//	             answering  keeps the answer until it has come
//	a claim      asking     waits for what the holder says         outbids who is not asking
//	             fresh      is repeated, up to three times         lost to a later one
//	             settled    is repeated now and then               lost to a later one
//
// The daemon shows the ticket itself, the caller its hash. Whoever may hear what a daemon
// is told can therefore not answer in its place.
//
// Both sides beat, every Options.Beat, and say how much they have sent. A peer that says
// nothing for Options.Silence is lost. A server that knows of no daemon is asked again for up
// to 250 ms if it is in a cluster, and else for up to 25 ms, but at least three times, for it
// may only not have heard of it yet; for a fifth of that, and at least once, if the instance
// has answered this bus before.
//
// There is one daemon for an instance: who subscribes claims it, with the time in
// milliseconds or one more than the holder's claim, and whoever hears a later claim ends.
// Clocks differ, so who is still asking outbids a later claim of who is not. Claims are
// repeated, every 5 to 15 beats. While two hold it, an Apply or Sync still goes to one.
//
// Package internal/simulate runs all that under millions of seeds (make simulate), with
// messages lost, late, twice and forged, and processes that freeze and crash.
//
// # Traces and callers
//
// A call carries the OpenTelemetry span that is in its context, as W3C Trace Context, and the
// name of platform.ContextWithCaller. The daemon's Platform has both in the context of the call:
// with platform.Trace at both ends a call is one trace. Nothing verifies either: whoever may make
// calls can name anybody, and say that a trace is sampled. What is malformed is ignored, and a
// trace state for which there is no room in the head of a frame is left out: 300 bytes always fit.
//
// # Permissions
//
//	service      publish    flux.v1.*.rpc.*  flux.v1.*.in.*.*
//	service      subscribe  flux.v1.*.re.>
//	daemon of a  publish    flux.v1.a.re.>  flux.v1.a.rpc.claim.*
//	daemon of a  subscribe  flux.v1.a.rpc.>  flux.v1.a.in.*.*
//
// Daemons may publish nothing that callers do, and a service makes no claims. Whoever has
// the credentials of a daemon is one: it can claim the instance, which ends the one that is
// there, and accept calls of it. It cannot answer, end or repeat a call that another has
// accepted.
//
// With these, each service can hear what daemons send to the others. To wall them off from
// each other give each a name, and permit it flux.v1.*.re.<name>.> instead. Whoever may make
// calls can still call every instance.
//
// Do not use allow_responses: with any subject that a tenant may both publish and
// subscribe to, it can have itself granted another tenant's. And do not permit a daemon
// flux.v1.a.*.*, which looks like calls and claims: a server compares it with what is to be
// subscribed as if that had no wildcards, so flux.v1.a.re.> is permitted too.
//
// # Operating
//
// The repository's deploy/nats has configurations of servers, each of which a test runs: users
// with passwords (users.conf), certificates (mutual-tls.conf), daemons that can dial HTTPS only
// (websocket.conf), a server in the daemon's cluster (hub.conf and leaf.conf), and messages of at
// most 64 KB (small.conf). With an operator's JWTs one scoped signing key serves all daemons: the
// permissions in its template have {{name()}} for the instance. Whoever issues users then
// escapes their names as tok is, since one called * would be a daemon of every instance.
//
// Of the metrics, flux_natsbus_calls_total with outcome "unavailable" tells of daemons that are
// not there, and with "refused" of those with too much under way, flux_natsbus_reconnects_total of
// connections, flux_natsbus_chunks_resent_total of loss, and flux_bus_kick_total of two daemons
// with one ID, of which neither would otherwise say so. The repository's docs/metrics.md has all,
// deploy/dashboards alerts for them. Of the server's own, watch slow consumers, and the memory
// that subscriptions take.
//
// What grows: with each instance a subscription of 2.3 KB on every server of a cluster, some 500
// bytes at its bus, and a claim every 10 beats; with each bus three goroutines and a subscription
// for answers; with each connection a ping every 5 seconds; with each call of a daemon a
// goroutine, and the bodies that have come. When all servers have restarted, connections
// come back within 15 seconds, and claims are made over the 10 beats that follow.
//
// On paper, a million instances of 1,000 buses make 100,000 claims a second, which a cluster of
// three carries, as it does the pings of 1,000 services' connections. The first wall is a restart
// of all servers, 200 seconds of their processors to subscribe again; the next their memory,
// 2.3 GB each. Before either, divide instances among clusters of servers, each with a bus.
//
// # Limits
//
// See Options. Beyond a limit a call fails at once. Instances share what is limited: each may
// hold eight times what is free, so one alone gets eight ninths, and a daemon that accepts
// and stalls, or begins a large answer and never ends it, costs its own instance only. Memory
// is reserved as data arrives, not as its header declares. A body has at most 2,097,152
// values. Of several chunks all but the last have 4 KiB or more, and the head of a frame has
// 1 KiB or less.
//
// The bytes of a large Export are sent from where they are, so a Platform must not change
// those it has returned.
package natsbus
