package bpf

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
)

// With Watch.All every segment is treated like a control segment, and comes with its options.
func TestWatchAll(t *testing.T) {
	w := newWorld(t, Options{Watch: &Watch{All: true}})
	options := []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			netns := w.namespace()
			points := []*point{w.point(t, netns, false), w.point(t, netns, true)}
			var steps []step
			for i, flags := range []uint16{syn, ack, psh | ack, ack, 0, psh, urg | ack, ack | ece | cwr | ae, fin | ack, rst} {
				pkt := f.conn
				pkt.flags, pkt.seq = flags, f.conn.seq+uint32(i)
				if i%2 == 0 {
					pkt.options = options
				}
				pkt.payload = make([]byte, i)
				steps = append(steps,
					step{at: 0, seg: pkt, want: reported},
					step{at: 1, seg: pkt, want: duplicate},
					step{at: 0, seg: pkt, want: reported})
			}
			play(t, points, steps, nil)
		})
	}
}

// Data is no news by itself: the point that sees it takes over only from a silent owner.
func TestWatchAllOfUnseenConnection(t *testing.T) {
	w := newWorld(t, Options{Watch: &Watch{All: true}})
	netns := w.namespace()
	points := []*point{w.point(t, netns, false), w.point(t, netns, true)}
	data := fromClient(psh|ack, 100, 300, 10)
	play(t, points, []step{
		{at: 1, seg: data, want: reported},
		{at: 0, seg: data, want: duplicate},
		{at: 0, seg: fromServer(ack, 300, 110, 0), want: reported},
		{at: 1, seg: fromServer(ack, 300, 110, 0), want: duplicate},
		{at: 0, seg: data, want: reported, idle: ownerSilent},
		{at: 1, seg: data, want: duplicate},
	}, nil)
}

// Other packets are as without it.
func TestWatchAllReportsOnlyTCP(t *testing.T) {
	w := newWorld(t, Options{Watch: &Watch{All: true}})
	p := w.point(t, w.namespace(), false)
	pkt := families[0].conn
	pkt.change = set16(etherType4, 0x0806)
	p.checkMoves(t, pkt, PointCounters{})
	pkt.change = set16(totalLength4, 39)
	p.checkMoves(t, pkt, unparsed(netobsUnparsedReasonUNPARSED_MALFORMED))
}

// Without Watch.All the same segments are reported as ever, with their options.
func TestWatchControl(t *testing.T) {
	w := newWorld(t, Options{Watch: new(Watch)})
	bothWays(t, w, func(t *testing.T, p *point, conn packet) {
		conn.options = []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}
		for _, c := range []struct {
			flags uint16
			want  Disposition
		}{{syn, reported}, {ack, ordinary}, {psh | ack, ordinary}, {fin | ack, reported}, {rst, reported}} {
			conn.flags = c.flags
			p.check(t, conn, c.want)
		}
	})
}

// watchedBy runs the front on a packet, and returns the one record that it made.
func watchedBy(tb testing.TB, p *point, pkt packet) (rec WatchedPayload, size int) {
	tb.Helper()
	p.run(tb, pkt)
	r, err := ringbuf.NewReader(p.w.Ring)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	r.SetDeadline(time.Now())
	raw, err := r.Read()
	if err != nil {
		tb.Fatal(err)
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&rec)), unsafe.Sizeof(rec)), raw.RawSample)
	if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		tb.Errorf("there is another record: %v", err)
	}
	return rec, len(raw.RawSample)
}

func TestWatchPayload(t *testing.T) {
	plain := newWorld(t, Options{Watch: &Watch{All: true}})
	w := newWorld(t, Options{Watch: &Watch{All: true, Payload: true}})
	payload := make([]byte, 3000)
	for i := range payload {
		payload[i] = byte(i + 1)
	}
	for _, hook := range []Hook{HookTC, HookXDP} {
		p := w.anyPoint(t, Point{Netns: w.namespace(), Hook: hook})
		without := plain.anyPoint(t, Point{Netns: plain.namespace(), Hook: hook})
		for _, f := range families {
			for _, n := range []int{0, 1, 2, 63, 64, 65, 3000} {
				pkt := f.conn
				pkt.flags, pkt.payload, pkt.options = psh|ack, payload[:n], bytes.Repeat([]byte{1}, n%11*4)
				rec, _ := watchedBy(t, p, pkt)
				want := payload[:min(n, len(rec.Payload))]
				if got := rec.Payload[:rec.Watched.PayloadCopied]; !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes: got %v", f.name, n, got)
				}
				if o := rec.Watched.Options[:rec.Watched.Segment.OptionsBytes]; !bytes.Equal(o, pkt.options) {
					t.Errorf("%s, %d bytes: options %v", f.name, n, o)
				}
				rec, size := watchedBy(t, without, pkt)
				if rec.Watched.PayloadCopied != 0 || size != int(unsafe.Sizeof(rec.Watched)) {
					t.Errorf("%s, %d bytes, none asked for: got %d in a record of %d", f.name, n, rec.Watched.PayloadCopied, size)
				}
			}
		}
	}
}

func TestWatchUrgent(t *testing.T) {
	w := newWorld(t, Options{Watch: &Watch{All: true}})
	p := w.point(t, w.namespace(), false)
	for _, flags := range []uint16{urg | ack, ack} {
		pkt := families[0].conn
		pkt.flags = flags
		pkt.change = set16(doff4+6, 0x1234)
		rec, _ := watchedBy(t, p, pkt)
		if want := uint16(0x1234) * (flags & urg / urg); rec.Watched.Urgent != want {
			t.Errorf("flags %x: urgent pointer %#x, want %#x", flags, rec.Watched.Urgent, want)
		}
	}
}

// someFilter has all that there is to ask.
var someFilter = Filter{
	Ports: []uint16{1}, NotPorts: []uint16{2},
	Hosts: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, NotHosts: []netip.Prefix{netip.MustParsePrefix("::1/128")},
}

// Both directions of a connection are wanted, or none, and what is not wanted is counted as a segment only.
func TestWatchFilter(t *testing.T) {
	prefixes := func(all ...string) (list []netip.Prefix) {
		for _, p := range all {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	client, server := client4.Addr().String(), server4.Addr().String()
	for _, c := range []struct {
		name   string
		filter Filter
		v4, v6 bool
	}{
		{name: "none", v4: true, v6: true},
		{name: "port", filter: Filter{Ports: []uint16{server4.Port()}}, v4: true, v6: server6.Port() == server4.Port()},
		{name: "other port", filter: Filter{Ports: []uint16{9}}},
		{name: "one of two ports", filter: Filter{Ports: []uint16{9, client4.Port()}}, v4: true, v6: client6.Port() == client4.Port()},
		{name: "not port", filter: Filter{NotPorts: []uint16{server4.Port()}}, v6: server6.Port() != server4.Port()},
		{name: "port, but not port", filter: Filter{Ports: []uint16{server4.Port()}, NotPorts: []uint16{client4.Port()}}},
		{name: "host", filter: Filter{Hosts: prefixes(client + "/32")}, v4: true},
		{name: "host 6", filter: Filter{Hosts: prefixes(server6.Addr().String() + "/128")}, v6: true},
		{name: "all of IPv4", filter: Filter{Hosts: prefixes("0.0.0.0/0")}, v4: true},
		{name: "all of IPv6", filter: Filter{Hosts: prefixes("::/0")}, v6: true},
		{name: "not all of IPv4", filter: Filter{NotHosts: prefixes("0.0.0.0/0")}, v6: true},
		{name: "not host in all", filter: Filter{Hosts: prefixes("0.0.0.0/0"), NotHosts: prefixes(server + "/32")}},
		{name: "host in not all", filter: Filter{Hosts: prefixes(client + "/32"), NotHosts: prefixes(client + "/24")}},
		{name: "host and port", filter: Filter{Hosts: prefixes(client + "/24"), Ports: []uint16{9}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Options{Watch: &Watch{All: true, Filter: c.filter}})
			bothWays(t, w, func(t *testing.T, p *point, conn packet) {
				wanted := c.v6
				if conn.src.Addr().Is4() {
					wanted = c.v4
				}
				for _, flags := range []uint16{syn, ack} {
					conn.flags = flags
					what := Disposition(ordinary)
					if wanted {
						what = reported
					}
					p.check(t, conn, what)
				}
			})
		})
	}
}
