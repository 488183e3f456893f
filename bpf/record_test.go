package bpf

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
)

func TestRecordFields(t *testing.T) {
	w := newWorld(t, Options{})
	p := w.point(t, w.namespace(), false)
	addrPort := netip.MustParseAddrPort
	cases := []packet{
		{src: client4, dst: server4, flags: syn},
		{src: server4, dst: client4, flags: syn | ack},
		{src: client6, dst: server6, flags: syn},
		{src: server6, dst: client6, flags: syn | ack},
		{src: addrPort("1.2.3.4:258"), dst: addrPort("253.254.255.252:65280"), flags: syn | ae | ece | cwr,
			seq: 0x01020304, ack: 0xfffefdfc, window: 0x1234, ttl: 1, payload: []byte("fast open")},
		{src: addrPort("[102:304:506:708:90a:b0c:d0e:f10]:258"),
			dst: addrPort("[1112:1314:1516:1718:191a:1b1c:1d1e:1f20]:65280"), flags: fin | ack | psh | urg,
			seq: 0x01020304, ack: 0xfffefdfc, window: 0x1234, ttl: 255, payload: make([]byte, 3000)},
		{src: addrPort("127.0.0.1:1"), dst: addrPort("127.0.0.1:2"), flags: rst, seq: 1<<32 - 1},
		{src: addrPort("[::1]:2"), dst: addrPort("[::1]:1"), flags: rst | ack, window: 0xffff},
		// Everything set.
		{src: client4, dst: addrPort("10.0.0.2:81"), flags: fin | syn | rst | psh | ack | urg | ece | cwr | ae},
		// Other bits of the byte of AE are reserved, and are not reported.
		{src: client4, dst: addrPort("10.0.0.2:82"), flags: syn | ae, change: func(f []byte) []byte {
			f[doff4] |= 0x0e
			return f
		}},
	}
	for i, pkt := range cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) { p.check(t, pkt, reported) })
	}
}

func TestRecordSaysForwarded(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.flags = syn
		p.check(t, conn, reported)
		conn.ifindex = 7
		p.check(t, conn, reported) // forwarded at egress only
	})
}

func TestOptionsAreCopied(t *testing.T) {
	w := newWorld(t, Options{})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		for n := 0; n <= 40; n += 4 {
			options := make([]byte, n)
			for i := range options {
				options[i] = byte(0x80 + i)
			}
			for _, flags := range []uint16{syn, syn | ack, fin | ack, rst} { // the last two without
				pkt := conn
				pkt.flags, pkt.options, pkt.payload = flags, options, []byte("not an option")
				p.check(t, pkt, reported)
				if pkt.src.Addr().Is4() { // far behind a long IP header
					pkt.ipOptions = bytes.Repeat([]byte{1}, 40)
					p.check(t, pkt, reported)
				}
			}
		}
	})
}
