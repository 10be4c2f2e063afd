// Package protocol is how the ends of a natsbus talk, as state machines: what happens
// goes in with the time, and what is to be sent, when to look again, and what is certain
// comes out. There is no goroutine, clock, lock or connection in it, and nothing random
// that is not injected. Package natsbus drives it on NATS, package simulate in a virtual
// world that loses, delays, repeats and forges.
//
// Times are durations since any moment, which never go back.
//
// # A call, where it is made
//
// A [Caller] asks whoever has subscribed, gives its request to the first daemon that
// accepts, and to no other, and knows at each moment whether the call may have begun.
//
//	state      event                                  next
//	new        Start: sends open                      opening
//	opening    accept, or beat, with a ticket         sending; of a small read waiting
//	           data, of a small read                  receiving, or over: answered
//	           refuse                                 over: answered
//	           gone                                   pausing
//	           Nobody, within the bound               pausing
//	           Nobody                                 over: not begun
//	           Tick, after a beat: sends open again   opening
//	           Disconnected, Failed, silence          over: not begun
//	pausing    Tick: sends open again                 opening
//	sending    NextChunk returns the last chunk       waiting
//	           gone with the ticket                   pausing, under a new name
//	           silence, Failed, Cancelled             over: not begun
//	waiting    data                                   receiving, or over: answered
//	           gone with the ticket                   pausing, under a new name
//	           silence, Failed, Cancelled             over: unknown
//	receiving  data, the last                         over: answered
//	           silence, Failed, Cancelled             over: unknown
//
// What comes without the ticket of the daemon that was accepted changes nothing from then
// on. Every state ends: a peer that is silent for longer than Config.Silence, is absent for
// half of it, or sends no data for six times of it though it must, is lost.
//
// # A call, where it is served
//
// A [Callee] begins once, for a caller that shows the hash of its ticket, and only while the
// [Daemon] holds the instance. No list of past calls is needed for that: a message that comes
// late finds no callee, and its ticket fits no other.
//
//	state      event                                  next
//	           open, of a small read                  ready
//	           open: sends accept                     accepted
//	accepted   data, the last                         ready
//	           end, silence                           over
//	           the registration ends: sends gone      over
//	ready      Begin                                  executing
//	           Begin, but the registration has ended,
//	           or the caller is lost: sends gone      over
//	           end, silence                           over
//	executing  Answer                                 answering; of a small read over
//	           end, silence: cancels                  abandoned
//	abandoned  Answer                                 over
//	answering  end, silence                           over
//
// # Streams
//
// Each end sends one body, in chunks that both ends can take. Loss is seen by a gap, or from
// a beat that says how much was sent; the sender then goes back. What is sent and not
// acknowledged is bounded by a window, and what has come by a memory; instances share both
// so that none can take all, see [Pool].
//
// # Who holds an instance
//
// See [Claim].
//
//	state      event                                  next
//	asking     ended, or Nobody, or nothing for long  fresh
//	           claim, later                           asking; repeats itself, or outbids
//	           held, later, by who is not asking      asking; outbids
//	           held, later                            lost
//	fresh      claim or held, later and far older     fresh; outbids
//	           claim or held, later                   lost
//	           it was repeated three times            settled
//	settled    claim or held, later                   lost
//	any        claim, earlier                         the same; answers held
package protocol
