package bpf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The identity of DESIGN 3, after random segments of few connections at few points, with a ring that is mostly full.
func TestAccounting(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t, Options{RingBytes: uint32(os.Getpagesize())})
			var points []*point
			for range 2 {
				netns := w.namespace()
				points = append(points, w.point(t, netns, false), w.point(t, netns, true))
			}
			flags := []uint16{syn, syn, syn | ack, ack, ack, ack | psh, fin | ack, fin | psh | ack, rst, rst | ack,
				fin | syn, 0, ack | urg}
			var sent, control, read uint64
			for range 10_000 {
				pkt := families[random.IntN(2)].conn
				if random.IntN(2) == 0 {
					pkt.src, pkt.dst = pkt.dst, pkt.src
				}
				pkt.flags = flags[random.IntN(len(flags))]
				pkt.seq, pkt.ack = random.Uint32N(4)<<30, random.Uint32N(4)<<30+1
				pkt.options = make([]byte, random.IntN(11)*4)
				points[random.IntN(len(points))].run(t, pkt)
				sent++
				if pkt.flags&(syn|fin|rst) != 0 {
					control++
				}
				if random.IntN(60) == 0 {
					read += uint64(len(drain(t, w.Programs)))
				}
			}
			read += uint64(len(drain(t, w.Programs)))

			sum := checkAccounting(t, w, points, read)
			if got := sum.Segments(); got != sent {
				t.Errorf("segments: got %d, want %d", got, sent)
			}
			if seen := sum.ControlSegmentsSeenTotal; seen <= control {
				t.Errorf("control segments seen: got %d, want more than the %d with SYN, FIN or RST", seen, control)
			}
			became := sum.ControlSegmentsTotal
			if became[reported] == 0 || became[duplicate] == 0 || became[netobsDispositionDISPOSITION_RING_FULL] == 0 {
				t.Errorf("dispositions: got %d, want some of the first three", became)
			}
		})
	}
}

// The same with all points at work at once; races may cost reports, but no accounts.
func TestAccountingOfConcurrentPoints(t *testing.T) {
	const rounds, repeat = 50, 100
	w := newWorld(t, Options{RingBytes: uint32(os.Getpagesize())})
	netns := w.namespace()
	var points []*point
	for i := range 4 {
		points = append(points, w.point(t, netns, i%2 == 0))
	}
	synAck, completing := fromServer(syn|ack, 300, 101, 0).frame(), fromClient(ack, 101, 301, 0).frame()
	done := make(chan error, len(points))
	for _, p := range points {
		go func() {
			var err error
			for i := 0; i < rounds && err == nil; i++ {
				_, err = p.front.Run(&ebpf.RunOptions{Data: synAck, Repeat: repeat})
				if err == nil {
					_, err = p.front.Run(&ebpf.RunOptions{Data: completing, Repeat: repeat})
				}
			}
			done <- err
		}()
	}
	var read uint64
	for running := len(points); running > 0; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			running--
		default:
			read += uint64(len(drain(t, w.Programs)))
		}
	}
	read += uint64(len(drain(t, w.Programs)))
	sum := checkAccounting(t, w, points, read)
	if got, want := sum.Segments(), uint64(len(points)*rounds*repeat*2); got < want { // Run may repeat more often
		t.Errorf("segments: got %d, want at least %d", got, want)
	}
}

// checkAccounting checks the identity, and returns the sum of the points' counters.
func checkAccounting(t *testing.T, w *world, points []*point, read uint64) (sum PointCounters) {
	t.Helper()
	for _, p := range points {
		c := p.mustCounters(t)
		sum.Add(&c)
	}
	var became uint64
	for _, n := range sum.ControlSegmentsTotal {
		became += n
	}
	if got, want := became, sum.ControlSegmentsSeenTotal; got != want {
		t.Errorf("sum of dispositions: got %d, want those seen, %d, in %s", got, want, moves(sum))
	}
	if got, want := read, sum.ControlSegmentsTotal[reported]; got != want {
		t.Errorf("records read: got %d, want those reported, %d", got, want)
	}
	if got, want := w.RecordsLost(), sum.ControlSegmentsTotal[netobsDispositionDISPOSITION_RING_FULL]; got != want {
		t.Errorf("records lost: got %d, want those that found the ring full, %d", got, want)
	}
	if got, want := sum.UnparsedPacketsTotal, (PointCounters{}).UnparsedPacketsTotal; got != want {
		t.Errorf("unparsed: got %d, want none", got)
	}
	return sum
}

// A record that finds the ring full is lost once: the next point does not report it again.
func TestRingFull(t *testing.T) {
	w := newWorld(t, Options{RingBytes: uint32(os.Getpagesize())})
	netns := w.namespace()
	a, b := w.point(t, netns, false), w.point(t, netns, true)
	lost := func(p *point, pkt packet, want Disposition) {
		t.Helper()
		before := p.mustCounters(t)
		p.run(t, pkt)
		got := p.mustCounters(t)
		got.Sub(&before)
		if got != counted(pkt, want) {
			t.Errorf("counters that moved:\n got %s\nwant %s", moves(got), moves(counted(pkt, want)))
		}
	}
	n := 0
	for ; w.RecordsLost() == 0; n++ { // the SYNs of another connection
		if n > os.Getpagesize()/80 {
			t.Fatal("the ring does not get full")
		}
		a.run(t, packet{src: client6, dst: server6, flags: syn})
	}
	lost(a, fromClient(syn, 100, 0, 0), netobsDispositionDISPOSITION_RING_FULL)
	withOptions := fromServer(syn|ack, 300, 101, 0)
	withOptions.options = make([]byte, 40)
	lost(a, withOptions, netobsDispositionDISPOSITION_RING_FULL)
	lost(a, fromClient(ack, 101, 301, 0), netobsDispositionDISPOSITION_RING_FULL)
	lost(b, fromClient(ack, 101, 301, 0), ordinary)
	w.setIdle(t, -1e9)
	lost(b, fromClient(syn, 100, 0, 0), duplicate)
	if got := w.RecordsLost(); got != 4 {
		t.Errorf("records lost: got %d, want 4", got)
	}
	if got := len(drain(t, w.Programs)); got != n-1 {
		t.Errorf("records read: got %d, want %d", got, n-1)
	}
	a.check(t, fromClient(fin|ack, 101, 301, 0), reported) // there is room again
}

// The reader is woken when the ring's fill crosses the threshold, and not below or above.
func TestWakeup(t *testing.T) {
	const recordBytes = 72 + 8 // with the header of the ring
	const margin = 16 * 112
	const below = 30 // records
	w := newWorld(t, Options{RingBytes: uint32(4 * os.Getpagesize()), WakeupBytes: below*recordBytes + 1})
	p := w.point(t, w.namespace(), true)
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(epoll) })
	// Edge-triggered: it tells of wake-ups, not of fill.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, w.Ring.FD(), &event); err != nil {
		t.Fatal(err)
	}
	woken := func(timeoutMilliseconds int) bool {
		t.Helper()
		for {
			n, err := unix.EpollWait(epoll, make([]unix.EpollEvent, 1), timeoutMilliseconds)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			return n > 0
		}
	}
	fill := func(records int) {
		for range records {
			p.run(t, fromClient(syn, 1, 0, 0))
		}
	}
	fill(below)
	if woken(0) {
		t.Fatal("woken below the threshold")
	}
	fill(1)
	if !woken(10_000) {
		t.Fatal("not woken at the threshold")
	}
	fill(margin / recordBytes)
	woken(100) // perhaps some more
	fill(below)
	if woken(0) {
		t.Fatal("woken above the threshold")
	}
	drain(t, w.Programs)
	fill(below)
	if woken(0) {
		t.Fatal("woken below the threshold, the second time")
	}
	fill(1)
	if !woken(10_000) {
		t.Fatal("not woken at the threshold, the second time")
	}
}
