package decode

// A Place says what a segment meant for its connection: returned by Tracker.Step, for people who want to follow along.
type Place struct {
	Kind  PlaceKind
	Side  Side // who sent it; SideUnknown where nothing told the sides apart
	Again bool // a retransmission, a copy that reached us twice, or a segment that others overtook
}

// PlaceKind is a segment's place in the life of its connection.
type PlaceKind uint8

// Places, in the order of a life.
const (
	PlaceIgnored       PlaceKind = iota // not acceptable, or not a segment that TCP sends
	PlaceSYN                            // handshake, 1 of 3
	PlaceSYNACK                         // handshake, 2 of 3
	PlaceCompletes                      // handshake, 3 of 3: alone, with data or with FIN
	PlaceRefused                        // RST that answers the SYN
	PlaceAborted                        // RST of the originator before it completed
	PlaceReset                          // RST of the responder after its SYN-ACK
	PlaceUnseen                         // first segment of a connection whose beginning was not seen
	PlaceData                           // carries payload
	PlaceKeepAlive                      // repeats the last number sent, to be answered (RFC 9293 §3.8.4)
	PlaceACK                            // acknowledges, nothing else
	PlaceFirstFIN                       // teardown: this side has sent everything
	PlaceFirstFINAcked                  // teardown: acknowledges the first FIN
	PlaceSecondFIN                      // teardown: the other side has sent everything, too
	PlaceFINAcked                       // teardown: acknowledges a FIN after both were seen, but not the last
	PlaceFinished                       // teardown: the last acknowledgment
	PlaceRST                            // teardown by RST
	PlaceLate                           // belongs to a finished connection
	numPlaces
)

var placeNames = [numPlaces]string{
	PlaceIgnored:       "not acceptable, ignored",
	PlaceSYN:           "handshake 1 of 3: asks for a connection",
	PlaceSYNACK:        "handshake 2 of 3: agrees",
	PlaceCompletes:     "handshake 3 of 3: completes, the connection is established",
	PlaceRefused:       "handshake: refuses, nobody listens on this port",
	PlaceAborted:       "handshake: gives up before completing",
	PlaceReset:         "handshake: resets after having agreed",
	PlaceUnseen:        "first segment seen of an older connection",
	PlaceData:          "data",
	PlaceKeepAlive:     "keep-alive: is the other side still there?",
	PlaceACK:           "acknowledgment",
	PlaceFirstFIN:      "teardown: has nothing more to send",
	PlaceFirstFINAcked: "teardown: acknowledges the FIN, may go on sending",
	PlaceSecondFIN:     "teardown: has nothing more to send either",
	PlaceFINAcked:      "teardown: acknowledges the FIN",
	PlaceFinished:      "teardown: the last acknowledgment, the connection is closed",
	PlaceRST:           "teardown: resets the connection",
	PlaceLate:          "late, the connection is already closed",
}

// String returns k in plain words.
func (k PlaceKind) String() string { return nameOf(placeNames[:], k) }

// String returns p in plain words.
func (p Place) String() string {
	s := p.Kind.String()
	if p.Side != SideUnknown {
		s = p.Side.String() + ", " + s
	}
	if p.Again {
		s += " (again)"
	}
	return s
}
