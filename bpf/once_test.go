package bpf

import (
	"testing"
	"time"
)

// A step is one segment at one point, and what becomes of it there. The reports before it are of just now, unless idle
// says that they are as old as that.
type step struct {
	at   int
	seg  packet
	want Disposition
	idle time.Duration
}

// Longer than an owner may be silent, and shorter by so much that the machine may stall between two steps.
const (
	ownerSilent = 3001 * time.Millisecond
	ownerQuiet  = 2 * time.Second
)

// Segments of one connection: from the client and from the server.
func fromClient(flags uint16, seq, ack uint32, payload int) packet {
	return packet{src: client4, dst: server4, flags: flags, seq: seq, ack: ack, payload: make([]byte, payload)}
}

func fromServer(flags uint16, seq, ack uint32, payload int) packet {
	return packet{src: server4, dst: client4, flags: flags, seq: seq, ack: ack, payload: make([]byte, payload)}
}

// play shows the steps to the points. After each it calls then, which may be nil.
func play(t *testing.T, points []*point, steps []step, then func(i int)) {
	t.Helper()
	for i, s := range steps {
		if s.idle == 0 {
			s.idle = -time.Hour
		}
		p := points[s.at]
		p.w.setIdle(t, s.idle)
		p.check(t, s.seg, s.want)
		if then != nil {
			then(i)
		}
		if t.Failed() {
			t.Fatalf("in step %d: at %d %+v", i, s.at, s.seg)
		}
	}
}

// The report-once rule. Points 0, 1 and 3 are of one namespace, 2 is of another one.
func TestReportOnce(t *testing.T) {
	c, s := fromClient, fromServer
	cases := []struct {
		name  string
		steps []step
	}{
		{"a copy at the next point is a duplicate", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: duplicate},
			{at: 0, seg: c(ack, 101, 301, 0), want: opens},
			{at: 1, seg: c(ack, 101, 301, 0), want: ordinary},
			{at: 0, seg: c(fin|ack, 101, 301, 0), want: reported},
			{at: 1, seg: c(fin|ack, 101, 301, 0), want: duplicate},
			{at: 1, seg: s(fin|ack, 301, 102, 0), want: reported},
			{at: 0, seg: s(fin|ack, 301, 102, 0), want: duplicate},
			{at: 0, seg: c(ack, 102, 302, 0), want: closes},
			{at: 1, seg: c(ack, 102, 302, 0), want: ordinary},
		}},
		{"a retransmission is reported by the owner", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported, idle: time.Second},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
		}},
		{"a retransmission may be in flight with the first", []step{
			{at: 0, seg: c(fin|ack, 100, 1, 0), want: reported},
			{at: 0, seg: c(fin|ack, 100, 1, 0), want: reported},
			{at: 1, seg: c(fin|ack, 100, 1, 0), want: duplicate},
			{at: 1, seg: c(fin|ack, 100, 1, 0), want: duplicate},
		}},
		{"a new SYN is news at any point", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 101, 0, 0), want: reported},
			{at: 0, seg: c(syn, 101, 0, 0), want: duplicate},
		}},
		{"a new SYN-ACK is news at any point", []step{
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 1, seg: s(syn|ack, 301, 101, 0), want: reported},
			{at: 0, seg: s(syn|ack, 301, 101, 0), want: duplicate},
		}},
		{"SYN and SYN-ACK of one sequence number are two", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn|ack, 100, 301, 0), want: reported},
			{at: 0, seg: c(syn|ack, 100, 301, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: duplicate},
		}},
		{"ACK and FIN in flight together", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: c(ack, 101, 301, 0), want: opens},
			{at: 0, seg: c(fin|ack, 101, 301, 0), want: reported},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: duplicate},
			{at: 1, seg: c(ack, 101, 301, 0), want: ordinary},
			{at: 1, seg: c(fin|ack, 101, 301, 0), want: duplicate},
		}},
		{"two FINs in flight with the ACKs between", []step{
			{at: 0, seg: c(fin|ack, 101, 301, 0), want: reported},
			{at: 0, seg: s(fin|ack, 301, 102, 0), want: reported},
			{at: 0, seg: c(ack, 102, 302, 0), want: closes},
			{at: 1, seg: c(fin|ack, 101, 301, 0), want: duplicate},
			{at: 1, seg: s(fin|ack, 301, 102, 0), want: duplicate},
			{at: 1, seg: c(ack, 102, 302, 0), want: ordinary},
		}},
		{"a FIN is where its payload ends", []step{
			{at: 0, seg: c(fin|ack, 100, 1, 1000), want: reported},
			{at: 1, seg: c(fin|ack, 600, 1, 500), want: duplicate}, // cut differently
			{at: 0, seg: c(fin|ack, 100, 1, 1000), want: reported},
			{at: 1, seg: c(fin|psh|ack, 1100, 9, 0), want: duplicate},
			{at: 1, seg: c(fin|ack, 100, 1, 1001), want: reported},
		}},
		{"a FIN beyond the end of sequence space", []step{
			{at: 0, seg: c(fin|ack, 1<<32-10, 1, 20), want: reported},
			{at: 1, seg: c(fin|ack, 5, 1, 5), want: duplicate},
		}},
		{"acknowledgment and other flags are no part of the identity", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn|ece|cwr|ae|psh, 100, 7, 5), want: duplicate},
		}},
		{"an RST is one, wherever it is", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(rst, 101, 0, 0), want: reported},
			{at: 0, seg: c(rst, 101, 0, 0), want: duplicate},
			{at: 1, seg: c(rst, 999, 0, 0), want: reported},
			{at: 0, seg: c(rst|ack, 999, 5, 0), want: duplicate},
		}},
		{"FIN and RST in one segment are news if one of them is", []step{
			{at: 0, seg: c(fin|ack, 100, 1, 0), want: reported},
			{at: 1, seg: c(fin|rst|ack, 100, 1, 0), want: reported},
			{at: 0, seg: c(fin|rst|ack, 100, 1, 0), want: duplicate},
		}},
		{"the directions have owners of their own", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: s(rst|ack, 0, 101, 0), want: reported},
			{at: 0, seg: s(rst|ack, 0, 101, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: s(rst|ack, 0, 101, 0), want: reported},
		}},
		{"a silent owner is replaced", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate, idle: ownerQuiet},
			{at: 1, seg: c(syn, 100, 0, 0), want: reported, idle: ownerSilent},
			{at: 0, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 100, 0, 0), want: reported},
		}},
		{"a queue between two points lags by any number of copies", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported, idle: ownerQuiet},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported, idle: ownerQuiet},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate, idle: ownerQuiet},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate, idle: ownerQuiet},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported, idle: ownerQuiet},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate, idle: ownerQuiet},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate, idle: ownerQuiet},
		}},
		{"the rival takes over when it sees more copies than the owner", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: duplicate}, // copies that a queue held back
			{at: 1, seg: c(fin|ack, 200, 1, 0), want: reported},
			{at: 0, seg: c(fin|ack, 200, 1, 0), want: duplicate},
		}},
		{"a rival that comes late", []step{
			{at: 0, seg: c(fin|ack, 100, 1, 0), want: reported},
			{at: 0, seg: c(fin|ack, 100, 1, 0), want: reported},
			{at: 1, seg: c(fin|ack, 100, 1, 0), want: duplicate},
			{at: 1, seg: c(fin|ack, 100, 1, 0), want: duplicate},
			{at: 1, seg: c(fin|ack, 100, 1, 0), want: reported},
		}},
		{"there is one rival", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 3, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 3, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 3, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 100, 0, 0), want: reported},
		}},
		{"copies are those of the current segment", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 0, seg: c(rst, 101, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(rst, 101, 0, 0), want: duplicate},
			{at: 1, seg: c(rst, 101, 0, 0), want: reported},
		}},
		{"namespaces are told apart", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 2, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 2, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: c(ack, 101, 301, 0), want: ordinary},
			{at: 2, seg: c(ack, 101, 301, 0), want: opens},
		}},
		{"connections are told apart", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: packet{src: client4, dst: client4, flags: syn, seq: 100}, want: reported},
			{at: 1, seg: packet{src: client6, dst: server6, flags: syn, seq: 100}, want: reported},
			{at: 0, seg: packet{src: client6, dst: server6, flags: syn, seq: 100}, want: duplicate},
			{at: 0, seg: packet{src: server6, dst: client6, flags: syn | ack, seq: 100}, want: reported},
			{at: 1, seg: packet{src: client6, dst: server6, flags: syn, seq: 100}, want: reported},
		}},
		{"a new SYN forgets both directions", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: c(rst, 101, 0, 0), want: reported},
			{at: 0, seg: s(fin|ack, 300, 101, 0), want: reported},
			{at: 0, seg: c(syn, 200, 0, 0), want: reported},
			{at: 1, seg: c(rst, 201, 0, 0), want: reported},
			{at: 1, seg: s(fin|ack, 300, 101, 0), want: reported},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: reported},
		}},
		{"two attempts in a queue between two points", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: c(syn, 200, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 200, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 200, 0, 0), want: reported}, // more copies than the owner saw
			{at: 0, seg: c(syn, 200, 0, 0), want: duplicate},
			{at: 1, seg: c(syn, 300, 0, 0), want: reported},
			{at: 0, seg: c(syn, 200, 0, 0), want: duplicate},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported}, // one is remembered
		}},
		{"two attempts and their answers in a queue", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: c(syn, 200, 0, 0), want: reported},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: duplicate},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: duplicate, idle: ownerQuiet},
			{at: 1, seg: s(syn|ack, 400, 201, 0), want: reported},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: duplicate},
			{at: 0, seg: s(syn|ack, 400, 201, 0), want: duplicate},
			{at: 0, seg: c(ack, 201, 401, 0), want: opens},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 1, seg: c(syn|rst, 100, 0, 0), want: reported}, // an RST is news
		}},
		{"two answers of the peer in a queue", []step{
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: s(syn|ack, 400, 101, 0), want: reported},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: duplicate},
			{at: 1, seg: s(syn|ack, 400, 101, 0), want: duplicate},
		}},
		{"a FIN takes the place of the attempt before", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: c(syn, 200, 0, 0), want: reported},
			{at: 0, seg: c(fin|ack, 99, 1, 1), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: reported},
		}},
		{"but not the peer's SYN of a simultaneous open", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: s(syn, 300, 0, 0), want: reported},
			{at: 1, seg: c(syn, 100, 0, 0), want: duplicate},
			{at: 0, seg: s(syn, 300, 0, 0), want: duplicate},
			{at: 0, seg: c(syn|ack, 100, 301, 0), want: reported},
			{at: 1, seg: c(syn|ack, 100, 301, 0), want: duplicate},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: opens},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: duplicate},
		}},
		{"a retransmitted SYN forgets nothing", []step{
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 0, seg: s(syn|ack, 300, 101, 0), want: reported},
			{at: 0, seg: c(syn, 100, 0, 0), want: reported},
			{at: 1, seg: s(syn|ack, 300, 101, 0), want: duplicate},
		}},
	}
	w := newWorld(t, Options{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			netns := w.namespace()
			play(t, []*point{
				w.point(t, netns, false), w.point(t, netns, true), w.point(t, w.namespace(), true),
				w.point(t, netns, true),
			}, c.steps, nil)
		})
	}
}

// An owner that has its slot, but not its id, from an earlier point is not that point.
func TestOwnerIsAPointNotASlot(t *testing.T) {
	w := newWorld(t, Options{})
	netns := w.namespace()
	before := w.point(t, netns, true)
	after := *before
	after.ID++
	after.front = mustFront(t, w.Programs, after.Point)
	play(t, []*point{before, &after}, []step{
		{at: 0, seg: fromClient(syn, 100, 0, 0), want: reported},
		{at: 1, seg: fromClient(syn, 100, 0, 0), want: duplicate},
	}, nil)
}

// The owner's silence is measured from its last report, whatever the others saw since.
func TestSilenceOfTheOwner(t *testing.T) {
	w := newWorld(t, Options{})
	netns := w.namespace()
	a, b := w.point(t, netns, false), w.point(t, netns, true)
	syn := fromClient(syn, 100, 0, 0)
	a.check(t, syn, reported)
	reportedAt := func() (at uint64) {
		for _, flow := range w.flows(t) {
			at = max(flow.Half[0].ReportedNs, flow.Half[1].ReportedNs)
		}
		return at
	}
	w.setIdle(t, ownerSilent)
	a.check(t, syn, reported)
	before := reportedAt()
	b.check(t, syn, duplicate)
	if got := reportedAt(); got != before {
		t.Errorf("time of the last report after a duplicate: got %d, want %d", got, before)
	}
}
