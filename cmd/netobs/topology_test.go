package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
	"netobs/metrics"
)

// lab is a netobs that watches namespaces, and beside it an observer that shares nothing with it: a packet socket in each
// of them. What both saw is compared to the segment.
type lab struct {
	tb       testing.TB
	loader   *loader.Loader
	pipeline *pipeline
	captures map[string]*nettest.Capture // by name of the namespace
	stop     func()                      // netobs; what is in the ring is read

	mu          sync.Mutex
	segments    []decode.Segment
	handshakes  []decode.Handshake
	connections []decode.Connection
}

// lab is the sink of its pipeline.

func (l *lab) handshake(h *decode.Handshake) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handshakes = append(l.handshakes, *h)
}

func (l *lab) connection(c *decode.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connections = append(l.connections, *c)
}

func (l *lab) flush() error { return nil }

// newLab watches all interfaces of namespaces, until the end of the test.
func newLab(tb testing.TB, watched ...*nettest.NS) *lab {
	tb.Helper()
	return newLabWith(tb, loader.Options{}, watched...)
}

// newLabWith watches namespaces with other options than those of newLab.
func newLabWith(tb testing.TB, opts loader.Options, watched ...*nettest.NS) *lab {
	tb.Helper()
	l := &lab{tb: tb, captures: make(map[string]*nettest.Capture)}
	opts.Select.Kinds = []string{loader.KindAny}
	opts.BPF.RingBytes = 1 << 20
	var log buffer
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of netobs:\n%s", log.String())
		}
	})
	for _, ns := range watched {
		found, err := loader.FindNetns(ns.Name)
		if err != nil {
			tb.Fatal(err)
		}
		opts.Netns = append(opts.Netns, found)
		l.captures[ns.Name] = ns.Capture()
	}
	var err error
	if l.loader, err = loader.New(opts); err != nil {
		tb.Fatal(err)
	}
	if l.pipeline, err = newPipeline(l.loader, l, 0, metrics.Options{}); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := l.loader.Attach(ctx); err != nil {
		tb.Fatal(err)
	}
	for _, i := range l.loader.Interfaces() {
		if i.Up && !i.Watched {
			tb.Errorf("%s in %s is not watched", i.Name, i.Netns)
		}
	}
	read, followed := make(chan error, 1), make(chan error, 1)
	go func() { read <- l.pipeline.run() }()
	go func() { followed <- l.loader.Follow(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		err := errors.Join(<-followed, l.pipeline.reader.Flush())
		if err := errors.Join(err, <-read); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		l.stop()
		if err := errors.Join(l.pipeline.close(), l.loader.Close()); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func (l *lab) place(seg *decode.Segment, _ decode.Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := *seg
	s.Options = nil
	l.segments = append(l.segments, s)
}

// waitWatched waits until an interface that appeared is watched.
func (l *lab) waitWatched(ns *nettest.NS, name string) {
	l.tb.Helper()
	nettest.Eventually(l.tb, 20*time.Second, func() error {
		for _, i := range l.loader.Interfaces() {
			if i.Netns == ns.Name && i.Name == name && i.Watched {
				return nil
			}
		}
		return fmt.Errorf("%s in %s is not watched", name, ns.Name)
	})
}

// seen returns what netobs said of a namespace so far.
func (l *lab) seen(ns *nettest.NS) (segs []decode.Segment, hs []decode.Handshake, cs []decode.Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.Point.Netns == ns.Name {
			segs = append(segs, s)
		}
	}
	for _, h := range l.handshakes {
		if h.Point.Netns == ns.Name {
			hs = append(hs, h)
		}
	}
	for _, c := range l.connections {
		if c.Point.Netns == ns.Name {
			cs = append(cs, c)
		}
	}
	return segs, hs, cs
}

// wait waits until netobs has said so much of a namespace.
func (l *lab) wait(ns *nettest.NS, handshakes, connections int) {
	l.tb.Helper()
	defer func() {
		if l.tb.Failed() {
			l.show(ns)
		}
	}()
	nettest.Eventually(l.tb, 30*time.Second, func() error {
		_, hs, cs := l.seen(ns)
		if len(hs) < handshakes || len(cs) < connections {
			return fmt.Errorf("in %s %d of %d handshakes, %d of %d connections", ns.Name,
				len(hs), handshakes, len(cs), connections)
		}
		return nil
	})
}

// show logs what netobs has said of a namespace, its counters there, and one connection that is not over.
func (l *lab) show(ns *nettest.NS) {
	l.tb.Helper()
	handshakes, connections := l.tellsOf(ns)
	l.tb.Logf("%s: handshakes %s; connections %s", ns.Name, counts(handshakes), counts(connections))
	if exposition, err := scrape(l.pipeline.metrics); err == nil {
		for _, line := range strings.Split(string(exposition), "\n") {
			if strings.Contains(line, ns.Name) && !strings.HasSuffix(line, " 0") && !strings.Contains(line, "_bucket") {
				l.tb.Log(line)
			}
		}
	}
	over := make(map[pair]bool)
	segments, hs, cs := l.seen(ns)
	for _, h := range hs {
		over[pair{h.Originator, h.Responder}] = h.Outcome == decode.OutcomeRefused
	}
	for _, c := range cs {
		over[pair{c.Originator, c.Responder}] = true
	}
	for i := range segments {
		s := &segments[i]
		if !over[pair{s.Src, s.Dst}] && !over[pair{s.Dst, s.Src}] {
			l.tb.Logf("not over:\n%s", l.trace(ns, s.Src.String()+" "+s.Dst.String()))
			return
		}
	}
}

// settle waits until nothing passes any more for so long, stops netobs and checks the identities.
func (l *lab) settle(quiet time.Duration) {
	l.tb.Helper()
	nettest.AtRest(l.tb, 30*time.Second, quiet, slices.Collect(maps.Values(l.captures))...)
	l.stop()
	exposition, err := scrape(l.pipeline.metrics)
	if err != nil {
		l.tb.Fatal(err)
	}
	m := parseSamples(l.tb, exposition)
	checkIdentities(l.tb, m)
	if lost := m.sum("control_segments_total", label("disposition", "ring_full")); lost != 0 {
		l.tb.Errorf("%v records lost: this proves nothing", lost)
	}
}

// A view is what a namespace has to do with the connections made.
type view struct {
	ns   *nettest.NS
	role decode.Role
	// Where each transmission of a segment passes exactly once, whatever else it passes: "in NAME" or "out NAME".
	passes []string
	// How many connections of this namespace one that was made is: 2 where it is translated. 0 means 1.
	times int
}

// identity is what tells control segments apart: all but time and place. at is where a FIN is, which cutting does not
// move, else the sequence number.
type identity struct {
	src, dst netip.AddrPort
	flags    decode.Flags
	at, ack  decode.Seq
}

func identify(s *decode.Segment) identity {
	const control = decode.SYN | decode.FIN | decode.RST
	id := identity{s.Src, s.Dst, s.Flags & (control | decode.ACK), s.Seq, s.Ack}
	if s.Has(decode.FIN) {
		id.at = s.Seq.Add(s.Payload)
	}
	return id
}

func (id identity) String() string {
	return fmt.Sprintf("%s > %s %s %d ack %d", id.src, id.dst, id.flags, id.at, id.ack)
}

func (id identity) isControl() bool { return id.flags&(decode.SYN|decode.FIN|decode.RST) != 0 }

// passed returns how often each segment passed the namespace.
func (l *lab) passed(v view) map[identity]int {
	n := make(map[identity]int)
	frames := l.captures[v.ns.Name].Frames()
	for i := range frames {
		way := "in "
		if frames[i].Outgoing {
			way = "out "
		}
		if slices.Contains(v.passes, way+frames[i].Interface) {
			n[identify(&frames[i].Segment)]++
		}
	}
	return n
}

// checkOnce compares the segments reported in a namespace with those that passed it: each control segment as often as it
// was transmitted, and acknowledgments at most so often.
func (l *lab) checkOnce(v view) {
	l.tb.Helper()
	passed, reported := l.passed(v), make(map[identity]int)
	segments, _, _ := l.seen(v.ns)
	for i := range segments {
		reported[identify(&segments[i])]++
	}
	var wrong []string
	for id, n := range passed {
		if id.isControl() && reported[id] != n {
			wrong = append(wrong, fmt.Sprintf("%s: passed %d times, reported %d times", id, n, reported[id]))
		}
	}
	for id, n := range reported {
		if passed[id] < n && (!id.isControl() || passed[id] == 0) {
			wrong = append(wrong, fmt.Sprintf("%s: passed %d times, reported %d times", id, passed[id], n))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		l.tb.Errorf("%s: %d segments of %d not reported as they passed:\n%s\n%s", v.ns.Name, len(wrong), len(passed),
			strings.Join(wrong[:min(len(wrong), 5)], "\n"), l.trace(v.ns, wrong[0]))
	}
}

// trace shows all that the two observers saw of the connection that a line names.
func (l *lab) trace(ns *nettest.NS, of string) string {
	var b strings.Builder
	line := func(s *decode.Segment, who, where string) {
		if strings.Contains(of, s.Src.String()) && strings.Contains(of, s.Dst.String()) {
			fmt.Fprintf(&b, "  %s %-8s %-10s %s > %s %s seq %d payload %d ack %d\n", time.Unix(0, s.Time).UTC().
				Format("05.000000"), who, where, s.Src, s.Dst, s.Flags, s.Seq, s.Payload, s.Ack)
		}
	}
	frames := l.captures[ns.Name].Frames()
	for i := range frames {
		way := "in "
		if frames[i].Outgoing {
			way = "out "
		}
		line(&frames[i].Segment, "passed", way+frames[i].Interface)
	}
	segments, _, _ := l.seen(ns)
	for i := range segments {
		line(&segments[i], "reported", segments[i].Point.Direction.String()+" "+segments[i].Point.Interface)
	}
	return b.String()
}

// pair is a connection's socket pair, the originator's end first.
type pair struct{ originator, responder netip.AddrPort }

// tellsOf counts what netobs said of connections, by a description, and fails the test where it spoke twice of one.
func (l *lab) tellsOf(ns *nettest.NS) (handshakes, connections map[string]int) {
	l.tb.Helper()
	segments, hs, cs := l.seen(ns)
	at := make(map[pair]map[int64]bool)
	for i := range segments {
		s := &segments[i]
		for _, p := range []pair{{s.Src, s.Dst}, {s.Dst, s.Src}} {
			if at[p] == nil {
				at[p] = make(map[int64]bool)
			}
			at[p][s.Time] = true
		}
	}
	handshakes, connections = make(map[string]int), make(map[string]int)
	known := make(map[pair]bool)
	for _, h := range hs {
		p := pair{h.Originator, h.Responder}
		if known[p] {
			l.tb.Errorf("%s: two handshakes of %v", ns.Name, p)
		}
		known[p] = true
		handshakes[h.Role.String()+" "+h.Outcome.String()]++
	}
	known = make(map[pair]bool)
	for _, c := range cs {
		p := pair{c.Originator, c.Responder}
		if known[p] {
			l.tb.Errorf("%s: two ends of %v", ns.Name, p)
		}
		known[p] = true
		what := c.Role.String() + " " + c.Teardown.String()
		if c.Unseen {
			what += " unseen"
		}
		if c.Teardown != decode.TeardownFIN {
			what += " by " + c.Closer.String()
		}
		if !at[p][c.End] {
			what += " of the clock" // its last segment was not reported
			l.tb.Logf("ended by the clock:\n%s", l.trace(ns, p.originator.String()+" "+p.responder.String()))
		}
		connections[what]++
	}
	return handshakes, connections
}

// check waits until netobs has said of each namespace all there is to say about a load, stops it, and holds it against
// what was made and what passed.
func (l *lab) check(made load, views ...view) {
	l.tb.Helper()
	for _, v := range views {
		n := max(v.times, 1)
		l.wait(v.ns, n*(made.completed()+made.refused), n*made.completed())
	}
	l.settle(100 * time.Millisecond)
	l.checkLoad(made, views...)
}

// checkLoad is check for a lab at rest.
func (l *lab) checkLoad(made load, views ...view) {
	l.tb.Helper()
	for _, v := range views {
		n, role := max(v.times, 1), v.role.String()
		handshakes, connections := l.tellsOf(v.ns)
		l.compare(v.ns, "handshakes", handshakes, map[string]int{
			role + " completed": n * made.completed(),
			role + " refused":   n * made.refused,
		})
		l.compare(v.ns, "connections", connections, map[string]int{
			role + " fin":               n * (made.completed() - made.reset),
			role + " rst by originator": n * made.reset,
		})
		l.checkOnce(v)
	}
}

// compare fails the test if counts differ; a count of 0 is none.
func (l *lab) compare(ns *nettest.NS, what string, got, want map[string]int) {
	l.tb.Helper()
	maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
	if !maps.Equal(got, want) {
		l.tb.Errorf("%s in %s:\n got %s\nwant %s", what, ns.Name, counts(got), counts(want))
	}
}

func counts(m map[string]int) string {
	var all []string
	for _, k := range slices.SortedFunc(maps.Keys(m), cmp.Compare) {
		all = append(all, fmt.Sprintf("%d %s", m[k], k))
	}
	return strings.Join(all, ", ")
}

// someLoad is a mix in which each kind of connection is there.
func someLoad() load {
	return load{clients: 2, each: 20, refused: 4, reset: 4, serverFirst: 4, halfClosed: 4}
}
