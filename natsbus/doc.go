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
// call that it serves. Close waits for all of them, except for calls that it cuts off.
//
// # Errors
//
// What the daemon's Platform returned arrives as it was: an ApplyError or SyncError with
// every entry, an UnavailableError, an UpgradeNeededError, a FatalError; any other error in
// a ClusterError with the same text. The errors that package platform and package context
// name are found with errors.Is, those inside entries too. Besides:
//
//   - UnavailableError: no daemon is connected, it was lost, the connection is down, a limit
//     was reached or the server denies the subject; the text says which. If an Apply or Sync
//     may have been begun, it says that the outcome is unknown.
//   - UpgradeNeededError: the daemon does not know the method or the protocol's version.
//   - An error that names size and limit: the request's body is too large.
//   - The cause of a context that has ended.
//
// A subscription ends with platform.ErrKicked as soon as another takes its place. Calls in
// progress continue; a daemon that is about to exit calls Close, which waits for them. Other
// causes are the FatalError of its Platform; an error that matches one of the nats package, if the
// server denies the subscription or the connection is closed; and ErrClosed. A subscription
// does not end while the connection is down. A server that accepts no more subscriptions does not
// say which one it has refused: those of this bus end that may be among them, which are those
// made in the last two beats, or all if the connection has just been restored.
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
// The subject of an answer is made from the token of the subject that is answered, and never
// taken from a message's reply address.
//
// A message is a frame followed by a chunk of the body. Package internal/wire has both, and a
// golden frame of each kind. A body of several chunks ends with its SHA-256. A chunk has 128 KiB,
// or less if the server or the account of either end takes less, which a bus learns when it
// connects. Unknown fields are ignored, missing ones are zero.
//
// # Delivery
//
// Package internal/protocol has the states of both ends, and their transitions, as tables.
//
// A small read is one message each way. For all other calls the caller sends open until a daemon
// answers accept, with a ticket of 128 random bits. The caller sends the request to the first
// daemon that accepts, and to no other; its last chunk begins the call. A daemon begins a call only
// for a ticket that it has issued, and once for each. So a message that arrives late or twice
// begins nothing, however late it is, and no list of past calls is kept. The daemon keeps the
// answer until the caller sends end, which also cancels the call. A daemon that sends gone did not
// begin the call and never will: the caller starts again under a new name.
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
// The daemon shows the ticket itself, the caller its hash. So a client that may hear what is
// sent to a daemon cannot answer in its place.
//
// Both ends of a call send a beat every Options.Beat, which says how much they have sent. A peer
// that sends nothing for Options.Silence is lost. If the server knows of no daemon, it may not have
// heard of one yet, so it is asked again: for up to 250 ms if it is in a cluster, and otherwise for
// up to 25 ms, but at least three times; for a fifth of that, and at least once, if the instance
// has answered this bus before.
//
// An instance has one daemon. A daemon that subscribes claims the instance, with the time in
// milliseconds or one more than the holder's claim; a daemon that receives a later claim ends its
// subscription. Since clocks differ, a daemon that still waits for the holder's answer wins over a
// later claim of one that does not. Claims are repeated every 5 to 15 beats. While two daemons
// hold an instance, an Apply or Sync still goes to one of them.
//
// Package internal/simulate runs this protocol under millions of seeds (make simulate), with
// messages that are lost, late, repeated and forged, and processes that freeze and crash.
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
// Daemons may publish nothing that callers publish, and a service makes no claims. A client with
// the credentials of a daemon can claim the instance, which ends the current daemon's subscription,
// and accept its calls. It cannot answer, end or repeat a call that another daemon has accepted.
//
// With these permissions each service can hear what daemons send to the others. To prevent that,
// give each service a name (Options.Service), and permit it flux.v1.*.re.<name>.> instead. Each
// service can still call every instance.
//
// Do not use allow_responses: a tenant that may both publish and subscribe to some subject can use
// it to be granted another tenant's. Do not permit a daemon flux.v1.a.*.* to cover calls and claims:
// a server compares a permission with a subscription as if the latter had no wildcards, so
// flux.v1.a.re.> would be permitted too.
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
// Metrics to watch are flux_natsbus_calls_total with outcome "unavailable" (daemons that are not
// there) and "refused" (too much in progress), flux_natsbus_reconnects_total (connections),
// flux_natsbus_chunks_resent_total (loss), and flux_bus_kick_total (two daemons with one ID). The
// repository's docs/metrics.md lists all, and deploy/dashboards has alerts. Of the server's own
// metrics, watch slow consumers and the memory of subscriptions.
//
// Each instance costs a subscription of 2.3 KB on every server of a cluster, some 500 bytes at its
// bus, and a claim every 10 beats; each bus three goroutines and a subscription for answers; each
// connection a ping every 5 seconds; each call that a daemon serves a goroutine, and the bodies
// that have arrived. When all servers have restarted, connections return within 15 seconds, and
// claims are made over the 10 beats that follow.
//
// By calculation, a million instances of 1,000 buses make 100,000 claims a second, which a cluster
// of three servers carries, as it does the pings of 1,000 services' connections. The first limit
// is a restart of all servers, which takes 200 seconds of their processors to subscribe again; the
// next is their memory, 2.3 GB each. Before that, divide the instances among clusters of servers,
// with a bus for each.
//
// # Limits
//
// See Options. Beyond a limit a call fails at once. Instances share what is limited: each may
// hold eight times what is free, so one alone gets eight ninths; its large bodies are sent in
// turns. A daemon that accepts calls and stalls, or begins a large answer and never ends it,
// affects its own instance only. Memory is reserved as data arrives, not as its header declares. A
// body has at most 2,097,152 values. Of several chunks all but the last have 4 KiB or more, and the
// head of a frame has 1 KiB or less.
//
// The bytes of a large Export are sent from where they are, so a Platform must not change
// those it has returned.
package natsbus
