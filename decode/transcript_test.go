package decode

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/rfc9293")

// TestTranscripts runs testdata/rfc9293. A file has comments (#), input, a line of dashes, and the output expected. Input
// lines are a time, and then a segment:
//
//	10ms A>B S. seq 300 ack 101 len 0 via in
//
// with tcpdump's flag letters, and "awaited syn-ack" or "awaited fin" for what its acknowledgment completes; or one of "advance", "loss", "detach", "connections", or what is
// learned:
//
//	10ms learn A>B originator
//
// with the ends that are local, or both, "unsure" if it may be the other way round, and "closed-originator" or
// "closed-responder" if that one sent a FIN; or of "over" with the sockets whose connections are. "via" says how the observation point saw it: lo (until
// another is given), in, out, through (out, but from another interface), local (in, for an address of the namespace). A
// socket is a letter, A to F for IPv4 and X to Z for IPv6, and optionally a port, as in A:5. A line "options" sets options.
// Output is a line for what each segment meant, with indented lines for what was reported, and the tallies.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc9293/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts:", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(text), "----\n")
			got := runTranscript(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+"----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", file, got, want)
			}
		})
	}
}

func runTranscript(t *testing.T, input string) string {
	if !strings.HasPrefix(input, "# RFC ") && !strings.HasPrefix(input, "# DESIGN ") {
		t.Error("the first line must name the section")
	}
	var opts TrackerOptions
	var out strings.Builder
	var tr *Tracker
	laws := newLaws(t)
	via := "lo"
	for i, line := range strings.Split(input, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		fail := func(err error) {
			if err != nil {
				t.Fatalf("line %d: %s: %v", i+1, line, err)
			}
		}
		if f[0] == "options" {
			fail(parseOptions(&opts, f[1:]))
			continue
		}
		if tr == nil {
			var results strings.Builder
			tr = laws.tracker(opts, func(s string) { fmt.Fprintf(&results, "    %s\n", s) })
			defer func() { out.WriteString(results.String()) }()
			laws.flush = func() { out.WriteString(results.String()); results.Reset() }
		}
		at, err := time.ParseDuration(f[0])
		fail(err)
		now := int64(at)
		switch f[1] {
		case "advance":
			tr.Advance(now)
		case "loss":
			tr.Loss(now)
		case "detach":
			tr.Detach(1)
		case "learn":
			k, err := parseKnown(now, f[2:])
			fail(err)
			if tr.Learn(&Census{Time: now, Point: nowhere, Open: []Known{k}}) != 1 {
				fmt.Fprintf(&out, "%-8s not learned\n", at)
			}
		case "over":
			gone := make(map[netip.AddrPort]bool)
			for _, s := range f[2:] {
				gone[socket(s)] = true
			}
			tr.Learn(&Census{Time: now, Point: nowhere, Over: func(a, b netip.AddrPort) bool { return gone[a] || gone[b] }})
		case "connections":
			for p := range tr.Connections() {
				fmt.Fprintf(&out, "%-8s %s\n", at, formatPending(p))
			}
		default:
			seg, v, err := parseSegment(now, f[1:], via)
			fail(err)
			via = v
			place := tr.Step(seg)
			fmt.Fprintf(&out, "%-8s %s\n", at, place)
		}
		laws.check(tr)
		laws.flush()
	}
	fmt.Fprint(&out, formatTallies(tr.Tallies()))
	return out.String()
}

func parseOptions(opts *TrackerOptions, f []string) error {
	for _, o := range f {
		k, v, _ := strings.Cut(o, "=")
		if k == "every" {
			opts.EverySegment = true
			continue
		}
		d, err := time.ParseDuration(v)
		switch k {
		case "capacity":
			opts.Capacity, err = strconv.Atoi(v)
		case "idle":
			opts.IdleLimit = d
		case "quiet":
			opts.QuietLimit = d
		default:
			err = errors.New("no such option")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var points = map[string]*Point{
	"lo":  {ID: 1, NetnsID: 1, Netns: "test", Interface: "lo", Direction: Egress, Loopback: true},
	"in":  {ID: 2, NetnsID: 1, Netns: "test", Interface: "eth0", Direction: Ingress},
	"out": {ID: 3, NetnsID: 1, Netns: "test", Interface: "eth0", Direction: Egress},
}

func init() { points["through"], points["local"] = points["out"], points["in"] }

func parseSegment(now int64, f []string, via string) (*Segment, string, error) {
	src, dst, ok := strings.Cut(f[0], ">")
	if !ok || len(f) < 2 {
		return nil, via, errors.New("want SRC>DST FLAGS")
	}
	seg := &Segment{Time: now, Src: socket(src), Dst: socket(dst)}
	if f[1] != "none" {
		for _, l := range f[1] {
			i := strings.IndexRune(flagLetters, l)
			if i < 0 {
				return nil, via, errors.New("no such flag")
			}
			seg.Flags |= 1 << i
		}
	}
	for f = f[2:]; len(f) >= 2; f = f[2:] {
		n, err := strconv.ParseUint(f[1], 10, 32)
		switch f[0] {
		case "seq":
			seg.Seq = Seq(n)
		case "ack":
			seg.Ack = Seq(n)
		case "len":
			seg.Payload = uint32(n)
		case "awaited":
			seg.Completes, err = map[string]Awaited{"syn-ack": AwaitedSYNACK, "fin": AwaitedFIN}[f[1]], nil
		case "via":
			via, err = f[1], nil
		default:
			err = errors.New("no such field")
		}
		if err != nil {
			return nil, via, err
		}
	}
	seg.Point = points[via]
	if seg.Point == nil {
		return nil, via, errors.New("no such point")
	}
	seg.Forwarded, seg.ToLocal = via == "through", via == "local"
	return seg, via, nil
}

var nowhere = &Point{NetnsID: 1, Netns: "test"}

func parseKnown(now int64, f []string) (k Known, err error) {
	src, dst, ok := strings.Cut(f[0], ">")
	if !ok {
		return k, errors.New("want SRC>DST")
	}
	k = Known{Start: now - int64(time.Minute), Originator: socket(src), Responder: socket(dst), OriginatorKnown: true,
		Closer: SideUnknown}
	for f = f[1:]; len(f) > 0; f = f[1:] {
		switch f[0] {
		case "originator":
			k.Local[Originator] = true
		case "responder":
			k.Local[Responder] = true
		case "both":
			k.Local = [2]bool{true, true}
		case "unsure":
			k.OriginatorKnown = false
		case "closed-originator":
			k.Closer = Originator
		case "closed-responder":
			k.Closer = Responder
		default:
			return k, errors.New("no such word")
		}
	}
	return k, nil
}

// socket returns the socket called s: A is 10.0.0.1:1000, B 10.0.0.2:1000, X 2001:db8::1, and so on.
func socket(s string) netip.AddrPort {
	port := uint64(1000)
	if name, p, ok := strings.Cut(s, ":"); ok {
		port, _ = strconv.ParseUint(p, 10, 16)
		s = name
	}
	addr := netip.AddrFrom4([4]byte{10, 0, 0, s[0] - 'A' + 1})
	if s[0] >= 'X' {
		addr = netip.MustParseAddr("2001:db8::" + string(s[0]-'X'+'1'))
	}
	return netip.AddrPortFrom(addr, uint16(port))
}

func formatHandshake(h *Handshake) string {
	var b strings.Builder
	fmt.Fprintf(&b, "handshake %s: %s, from %s to %s, %s to %s", h.Outcome, h.Role, h.Originator, h.Responder,
		time.Duration(h.Start), time.Duration(h.End))
	for _, leg := range []struct {
		name string
		Leg
	}{{"responder", h.ResponderLeg}, {"originator", h.OriginatorLeg}, {"total", h.Total}} {
		if leg.Known {
			fmt.Fprintf(&b, ", %s leg %s", leg.name, leg.First)
			if leg.First != leg.Last {
				fmt.Fprintf(&b, " (last %s)", leg.Last)
			}
		}
	}
	if h.SYNs+h.SYNACKs > 0 {
		fmt.Fprintf(&b, ", again %d SYN %d SYN-ACK", h.SYNs, h.SYNACKs)
	}
	return b.String()
}

func formatConnection(c *Connection) string {
	var b strings.Builder
	fmt.Fprintf(&b, "connection %s: %s, from %s to %s, closer %s, %s to %s", c.Teardown, c.Role, c.Originator,
		c.Responder, c.Closer, time.Duration(c.Start), time.Duration(c.End))
	for i, known := range c.BytesKnown {
		if known {
			fmt.Fprintf(&b, ", %s bytes %d", Side(i), c.Bytes[i])
		}
	}
	if c.Unseen {
		b.WriteString(", unseen")
	}
	if c.FINsCrossed {
		b.WriteString(", FINs crossed")
	}
	return b.String() + ", " + c.History + ", seen " + c.Completeness.String()
}

func formatPending(p *Pending) string {
	var b strings.Builder
	fmt.Fprintf(&b, "pending %s: %s, from %s to %s, %s to %s", p.State, p.Role, p.Originator, p.Responder,
		time.Duration(p.Start), time.Duration(p.Seen))
	if p.SYNs+p.SYNACKs > 0 {
		fmt.Fprintf(&b, ", again %d SYN %d SYN-ACK", p.SYNs, p.SYNACKs)
	}
	for i, known := range p.BytesKnown {
		if known {
			fmt.Fprintf(&b, ", %s bytes %d", Side(i), p.Bytes[i])
		}
	}
	if p.Unseen {
		b.WriteString(", unseen")
	}
	if p.Closer != SideUnknown {
		fmt.Fprintf(&b, ", closer %s", p.Closer)
	}
	return b.String() + ", " + p.History + ", seen " + p.Completeness.String()
}

func formatTallies(s Tallies) string {
	var b strings.Builder
	for _, n := range s.Netns {
		fmt.Fprintf(&b, "tally %s:", n.Netns)
		for _, r := range Roles() {
			for _, st := range States() {
				if k := n.Open[r][st]; k != 0 {
					fmt.Fprintf(&b, " %s %s %d", r, st, k)
				}
			}
			if k := n.Unseen[r]; k != 0 {
				fmt.Fprintf(&b, " %s unseen %d", r, k)
			}
			if k := n.SYNACKsAfterACK[r]; k != 0 {
				fmt.Fprintf(&b, " %s syn_ack_after_ack %d", r, k)
			}
		}
		fmt.Fprintf(&b, " late %d\n", n.Late)
	}
	if s.Evictions+s.NegativeIntervals > 0 {
		fmt.Fprintf(&b, "evictions %d, negative intervals %d\n", s.Evictions, s.NegativeIntervals)
	}
	return b.String()
}

// laws checks what must hold after every step, whatever the input.
type laws struct {
	tb        testing.TB
	flush     func()
	completed map[uint32][numRoles]uint64
	ended     map[uint32][numRoles]uint64
	last      int64 // end of what Advance may still report
}

func newLaws(tb testing.TB) *laws {
	return &laws{tb: tb, flush: func() {}, completed: map[uint32][numRoles]uint64{}, ended: map[uint32][numRoles]uint64{}, last: math.MinInt64}
}

// tracker returns a tracker whose results are counted, and described to say.
func (l *laws) tracker(opts TrackerOptions, say func(string)) *Tracker {
	opts.OnHandshake = func(h *Handshake) {
		if h.Outcome == OutcomeCompleted {
			n := l.completed[h.Point.NetnsID]
			n[h.Role]++
			l.completed[h.Point.NetnsID] = n
		}
		for _, leg := range []Leg{h.ResponderLeg, h.OriginatorLeg, h.Total} {
			if leg.First < 0 || leg.Last < 0 {
				l.tb.Errorf("negative leg: %+v", h)
			}
		}
		say(formatHandshake(h))
	}
	opts.OnConnection = func(c *Connection) {
		n := l.ended[c.Point.NetnsID]
		n[c.Role]++
		l.ended[c.Point.NetnsID] = n
		say(formatConnection(c))
	}
	return NewTracker(opts)
}

// check compares completed + unseen with connections ended + open, for each namespace and role, and the memory with its
// bound. It reads the tallies in place: a snapshot would forget detached namespaces.
func (l *laws) check(tr *Tracker) {
	l.tb.Helper()
	open := 0
	for _, n := range tr.netns {
		if n.Detached {
			continue
		}
		for _, r := range Roles() {
			began := l.completed[n.NetnsID][r] + n.Unseen[r]
			now := l.ended[n.NetnsID][r] + uint64(n.Open[r][StateEstablished]+n.Open[r][StateHalfClosed])
			if began != now {
				l.tb.Fatalf("namespace %d, %s: %d began, %d ended or are open", n.NetnsID, r, began, now)
			}
			for _, s := range States() {
				if n.Open[r][s] < 0 {
					l.tb.Fatalf("namespace %d: %d connections %s %s", n.NetnsID, n.Open[r][s], r, s)
				}
				open += n.Open[r][s]
			}
		}
	}
	if open > tr.table.live || tr.table.live > tr.table.capacity {
		l.tb.Fatalf("%d open, %d in memory, capacity %d", open, tr.table.live, tr.table.capacity)
	}
}

func init() {
	checkPhase = func(old, new phase) {
		for _, p := range from[new] {
			if p == old {
				return
			}
		}
		panic(fmt.Sprintf("phase %d cannot follow %d", new, old))
	}
}
