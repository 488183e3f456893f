package decode

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

// TestAppendPacket makes packets of random segments, and segments of the packets: nothing is lost. Checksums are right where all of
// the segment is there.
func TestAppendPacket(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	addr := func(wide bool) netip.Addr {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		if wide {
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte(b[:]))
	}
	for range 5000 {
		wide := r.IntN(2) == 0
		want := Segment{Src: netip.AddrPortFrom(addr(wide), uint16(r.Uint32())), Dst: netip.AddrPortFrom(addr(wide), uint16(r.Uint32())),
			Seq: Seq(r.Uint32()), Ack: Seq(r.Uint32()), Wnd: uint16(r.Uint32()), Flags: Flags(r.Uint32N(uint32(AE) << 1)), TTL: uint8(r.Uint32()),
			Payload: [...]uint32{0, 0, 1, 1460, 65000, 200_000}[r.IntN(6)]}
		for range r.IntN(11) * 4 {
			want.Options = append(want.Options, byte(r.Uint32()))
		}
		frame := want.AppendPacket([]byte("before"))[len("before"):]
		var got Segment
		if parsed := ParseFrame(LinkRaw, frame, len(frame)+int(want.Payload), &got); parsed != ParsedSegment {
			t.Fatalf("%+v: parsed as %s", want, parsed)
		}
		if !bytes.Equal(got.Options, want.Options) {
			t.Fatalf("options %x, want %x", got.Options, want.Options)
		}
		got.Options, want.Options = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		// Over all that it covers, a right checksum makes the sum 0.
		if !wide && fold(sum16(frame[:20])) != 0 {
			t.Fatalf("IPv4 checksum of %x", frame)
		}
		tcp, addresses := frame[20:], frame[12:20]
		if wide {
			tcp, addresses = frame[40:], frame[8:40]
		}
		if sum := fold(sum16(addresses) + protoTCP + uint32(len(tcp)) + sum16(tcp)); want.Payload == 0 && sum != 0 {
			t.Fatalf("TCP checksum of %x", frame)
		}
		if want.Payload > 0 && (tcp[16] != 0 || tcp[17] != 0) {
			t.Fatalf("TCP checksum of %x, of which the payload is missing", frame)
		}
	}
}
