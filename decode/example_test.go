package decode_test

import (
	"fmt"
	"net/netip"
	"time"

	"netobs/decode"
)

func ExampleTracker() {
	tracker := decode.NewTracker(decode.TrackerOptions{
		OnHandshake: func(h *decode.Handshake) {
			fmt.Println(h.Outcome, h.Role, h.Originator, "→", h.Responder, h.Total.First)
		},
		OnConnection: func(c *decode.Connection) {
			fmt.Println(c.Teardown, "closed by", c.Closer, "after", c.Duration(), c.History)
		},
	})
	lo := &decode.Point{Netns: "test", Interface: "lo", Direction: decode.Egress, Loopback: true}
	client, server := netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("127.0.0.1:8080")
	for i, s := range []decode.Segment{
		{Src: client, Dst: server, Flags: decode.SYN, Seq: 100},
		{Src: server, Dst: client, Flags: decode.SYN | decode.ACK, Seq: 300, Ack: 101},
		{Src: client, Dst: server, Flags: decode.ACK, Seq: 101, Ack: 301},
		{Src: client, Dst: server, Flags: decode.FIN | decode.ACK, Seq: 178, Ack: 1301},
		{Src: server, Dst: client, Flags: decode.FIN | decode.ACK, Seq: 1301, Ack: 179},
		{Src: client, Dst: server, Flags: decode.ACK, Seq: 179, Ack: 1302},
	} {
		s.Point, s.Time = lo, int64(i)*int64(time.Millisecond)
		fmt.Println(tracker.Step(&s))
	}
	// Output:
	// originator, handshake 1 of 3: asks for a connection
	// responder, handshake 2 of 3: agrees
	// completed local 127.0.0.1:40000 → 127.0.0.1:8080 2ms
	// originator, handshake 3 of 3: completes, the connection is established
	// originator, teardown: has nothing more to send
	// responder, teardown: has nothing more to send either
	// fin closed by originator after 5ms ShADdFf
	// originator, teardown: the last acknowledgment, the connection is closed
}
