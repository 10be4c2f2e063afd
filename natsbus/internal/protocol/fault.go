package protocol

// A Fault is one way to break the protocol. Package simulate shows with them that its
// checker finds what each rule is there to prevent.
type Fault int

// The faults. Each is looked at in the one place where its rule is.
const (
	NoFault            Fault = iota
	RetryOnSilence           // the caller makes a write again whose daemon is silent
	RetryUnknown             // the caller makes a write again that was lost after it was sent
	AcceptTwice              // the caller sends the request to the second who accepts, too
	BelieveAnyGone           // the caller takes gone from anybody
	BelieveAnyAnswer         // the caller takes an answer from anybody
	IgnoreDigest             // a body is taken without comparing its digest
	IgnoreGaps               // a receiver takes chunks in whatever order they come
	AckBeforeReceipt         // a receiver acknowledges what it was only told of
	BeginWithoutTicket       // the daemon takes a request from who was not accepted
	ReuseTickets             // the daemon gives all calls the same ticket
	BeginTwice               // the daemon begins a call for each last chunk that comes
	BeginAfterEnd            // the daemon begins calls though its registration has ended
	BeginLate                // the daemon begins a call whose caller was lost meanwhile
	ForgetAnswer             // the daemon does not keep the answer until it is acknowledged
	ExecuteGone              // the daemon begins a call after it said that it never will
	NeverRepeatClaims        // a claim is made once
	LowerClaimWins           // the earlier of two claims wins
	NeverOutbid              // a claim does not exceed those it has seen
	HoldersOutbid            // a daemon that has settled outbids one that still asks
	NoTimeLimit              // a silent peer is waited for
	CompareAges              // of two claims the older one ends, by the age that it had when it was sent
	lastFault
)

// Faults returns all of them.
func Faults() (all []Fault) {
	for f := NoFault + 1; f < lastFault; f++ {
		all = append(all, f)
	}
	return all
}
