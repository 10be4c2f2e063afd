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
// A bus has four goroutines, however many instances are subscribed, and one for each
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
// While the connection is down it stays.
//
// # Wire format
//
// In subjects, tok is the instance ID with every byte outside [a-z0-9_-] as "=" and two
// hexadecimal digits, or "=h" and its SHA-256 if that is longer than 200. Buses and calls
// have random names; sessions have one that is random for the bus, and a number.
//
//	flux.v1.<tok>.rpc.<Method>           caller to daemon; daemons to each other, as Kick
//	flux.v1.<tok>.re.<bus>.<call>        daemon to caller
//	flux.v1.<tok>.in.<session>.<call>    caller to daemon during a call, daemon to claimant
//
// Where a frame is sent to is made from the token of the subject that it answers, and
// never taken from a message's reply address.
//
// A message is a frame: a CBOR map with small integers for keys, which says what it is
// for, and right behind it a chunk of the body. The fields are those of type frame, with
// the keys in head.go, the kinds those of type kind. A body is a CBOR map again, see request
// and answer, above 4 KiB compressed with zstd. In chunks of 128 KiB, the first has the
// lengths, and the last the SHA-256 of what was sent. Unknown fields are ignored, missing
// ones are zero. testdata/v1 has a frame of each kind.
//
// # Delivery
//
// A read whose arguments fit into one frame is one message each way. It is sent again, with the same
// name, if nothing is heard for a beat; a daemon that is at work on it does not begin it
// again.
//
// For all else the caller sends open, until a daemon answers accept with its session and
// a ticket. It sends the request, in chunks, to the first that does, and to no other. The
// last chunk begins the call. A daemon begins a call only for a ticket it has given,
// and once for each; it gives a new one whenever it hears of a call that it does not
// know. So a message that comes late or twice begins nothing, for however long, and no
// list of past calls is kept. The daemon keeps the answer until the caller says end, which
// also cancels. If the daemon says gone, it never began the call and never will, and the
// caller starts again under a new name.
//
// Both sides beat, and say how much they have sent. A receiver that sees a gap, in
// chunks or against a beat, has the sender go back. There is no other timer. Beats carry
// a reply address, on which the server says if nobody listens; that takes the place of a
// probe.
//
// There is one daemon for an instance: who subscribes claims it, with the time in
// milliseconds or one more than the holder's claim, and whoever hears a later claim ends.
// Clocks differ, so a claim says how old it is, and who has just come outbids a later one
// that is older. Claims are repeated. While two hold it, an Apply or Sync still goes to one.
//
// # Permissions
//
//	               publish                                        subscribe
//	service        flux.v1.*.rpc.*  flux.v1.*.in.>                flux.v1.*.re.>
//	daemon of a    flux.v1.a.re.>  flux.v1.a.rpc.Kick             flux.v1.a.rpc.*
//	               flux.v1.a.in.>                                 flux.v1.a.in.>
//
// Do not use allow_responses: with any subject that a tenant may both publish and
// subscribe to, it can have itself granted another tenant's.
//
// # Limits
//
// See Options. Beyond a limit a call fails at once. A body is not paid for before it
// comes, whatever it says of its length, and has at most 2,097,152 values. Of several
// chunks all but the last have 4 KiB or more, and the head of a frame has 1 KiB or less.
//
// The bytes of a large Export are sent from where they are, so a Platform must not change
// those it has returned.
package natsbus
