package bpf

import "testing"

// With ReportAll every segment is treated like a control segment, and comes with its options.
func TestReportAll(t *testing.T) {
	w := newWorld(t, Options{ReportAll: true})
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
func TestReportAllOfUnseenConnection(t *testing.T) {
	w := newWorld(t, Options{ReportAll: true})
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
func TestReportAllReportsOnlyTCP(t *testing.T) {
	w := newWorld(t, Options{ReportAll: true})
	p := w.point(t, w.namespace(), false)
	pkt := families[0].conn
	pkt.change = set16(etherType4, 0x0806)
	p.checkMoves(t, pkt, PointCounters{})
	pkt.change = set16(totalLength4, 39)
	p.checkMoves(t, pkt, unparsed(netobsUnparsedReasonUNPARSED_MALFORMED))
}
