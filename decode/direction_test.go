package decode

import (
	"net/netip"
	"testing"
)

// A capture does not say which way a segment went, so nothing is known about roles. Above all it is not "forwarded".
func TestUnknownDirection(t *testing.T) {
	point := &Point{Interface: "eth0", Direction: DirectionUnknown}
	a, b := netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.2:80")
	var handshakes []Role
	tracker := NewTracker(TrackerOptions{
		OnHandshake: func(h *Handshake) { handshakes = append(handshakes, h.Role) },
	})
	for i, seg := range []Segment{
		{Src: a, Dst: b, Flags: SYN, Seq: 100},
		{Src: b, Dst: a, Flags: SYN | ACK, Seq: 900, Ack: 101},
		{Src: a, Dst: b, Flags: ACK, Seq: 101, Ack: 901},
	} {
		seg.Time, seg.Point = int64(i), point
		tracker.Step(&seg)
	}
	if len(handshakes) != 1 || handshakes[0] != RoleUnknown {
		t.Errorf("got roles %v, want [unknown]", handshakes)
	}
}
