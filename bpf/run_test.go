package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A world is one load of the programs; tests ask it for points.
type world struct {
	*Programs
	opts   Options
	points uint32
	netns  uint32
}

func newWorld(tb testing.TB, opts Options) *world {
	tb.Helper()
	if opts.Flows == 0 {
		opts.Flows = 4096 // the default takes its time
	}
	return &world{Programs: mustLoad(tb, opts), opts: opts}
}

// namespace returns the id of a namespace that nobody else has.
func (w *world) namespace() uint32 {
	w.netns++
	return w.netns
}

// A point is an observation point that sees what it is given.
type point struct {
	Point
	w     *world
	front *ebpf.Program
}

// point makes a point of TCX.
func (w *world) point(tb testing.TB, netns uint32, egress bool) *point {
	tb.Helper()
	return w.anyPoint(tb, Point{Netns: netns, Egress: egress})
}

// anyPoint makes a point. Its id and its slot differ, so that a mix-up shows.
func (w *world) anyPoint(tb testing.TB, p Point) *point {
	tb.Helper()
	w.points++
	p.ID, p.Slot = 1000+w.points, w.points
	return &point{Point: p, w: w, front: mustFront(tb, w.Programs, p)}
}

// Codes of "go on with the next program", and "go on".
const (
	next    = ^uint32(0) // TCX_NEXT
	xdpPass = 2
)

// Offsets in struct __sk_buff of <linux/bpf.h>.
const (
	skbMark           = 8
	skbPriority       = 32
	skbIngressIfindex = 36
	skbGSOSize        = 176
	skbSize           = 192
)

// run runs the front on a packet, and checks that it leaves the packet alone.
func (p *point) run(tb testing.TB, pkt packet) {
	tb.Helper()
	frame := pkt.frame()
	opts := ebpf.RunOptions{Data: bytes.Clone(frame), DataOut: make([]byte, len(frame)+256)}
	want := uint32(xdpPass)
	var in, out [skbSize]byte
	if p.Hook == HookTC {
		want = next
		ne := binary.NativeEndian
		ne.PutUint32(in[skbMark:], 0x1234)
		ne.PutUint32(in[skbPriority:], 0x5678)
		ne.PutUint32(in[skbIngressIfindex:], pkt.ifindex)
		ne.PutUint32(in[skbGSOSize:], pkt.gso)
		opts.Context, opts.ContextOut = &in, &out
	}
	got, err := p.front.Run(&opts)
	if err != nil {
		tb.Fatalf("run on %d bytes: %v", len(frame), err)
	}
	if got != want {
		tb.Errorf("return code: got %d, want %d", int32(got), int32(want))
	}
	if !bytes.Equal(opts.DataOut, frame) {
		tb.Errorf("packet was changed:\n got %x\nwant %x", opts.DataOut, frame)
	}
	for _, field := range []int{skbMark, skbPriority} {
		if got, want := out[field:field+4], in[field:field+4]; !bytes.Equal(got, want) {
			tb.Errorf("context at %d was changed: got %x, want %x", field, got, want)
		}
	}
}

func (p *point) mustCounters(tb testing.TB) PointCounters {
	tb.Helper()
	c, err := p.w.Counters(p.Slot)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// see runs the front on a packet, and returns how the counters moved and what was reported.
func (p *point) see(tb testing.TB, pkt packet) (PointCounters, []SegmentRecordOptions) {
	tb.Helper()
	before := p.mustCounters(tb)
	start := monotonic(tb)
	p.run(tb, pkt)
	end := monotonic(tb)
	moved := p.mustCounters(tb)
	moved.Sub(&before)
	records := drain(tb, p.w.Programs)
	for i := range records {
		t := &records[i].Segment.TimeNs
		if *t < start || *t > end {
			tb.Errorf("record is of %d ns, outside %d to %d", *t, start, end)
		}
		*t = 0
	}
	return moved, records
}

// ordinary is a segment that is not a control segment.
const ordinary = netobsDispositionDISPOSITION_LEN

// Short names of dispositions, for tables.
const (
	reported  = netobsDispositionDISPOSITION_REPORTED
	duplicate = netobsDispositionDISPOSITION_DUPLICATE
)

// Reported segments whose acknowledgment was awaited: that of a SYN-ACK, of a FIN, or of both.
const (
	opens = ordinary + 1 + iota
	closes
	opensAndCloses
)

// check runs the front on a valid segment, and checks counters and report.
func (p *point) check(tb testing.TB, pkt packet, want Disposition) {
	tb.Helper()
	var records []SegmentRecordOptions
	var completes uint8
	switch want {
	case opens:
		want, completes = reported, CompletesHandshake
	case closes:
		want, completes = reported, CompletesTeardown
	case opensAndCloses:
		want, completes = reported, CompletesHandshake|CompletesTeardown
	}
	if want == reported {
		r := p.record(pkt)
		r.Segment.Completes = completes
		records = append(records, r)
	}
	p.checkMoves(tb, pkt, counted(pkt, want), records...)
}

// checkMoves runs the front on a packet, and checks that exactly the wanted counters move, and the records.
func (p *point) checkMoves(tb testing.TB, pkt packet, want PointCounters, wantRecords ...SegmentRecordOptions) {
	tb.Helper()
	got, records := p.see(tb, pkt)
	if got != want {
		tb.Errorf("counters that moved:\n got %s\nwant %s", moves(got), moves(want))
	}
	checkRecords(tb, records, wantRecords)
}

func checkRecords(tb testing.TB, got, want []SegmentRecordOptions) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("records:\n got %+v\nwant %+v", got, want)
	}
}

// counted returns how a valid segment moves the counters.
func counted(pkt packet, what Disposition) PointCounters {
	c := PointCounters{SegmentBytesTotal: uint64(len(pkt.payload))}
	switch pkt.flags &^ ae {
	case ack:
		c.SegmentsTotalAck[0] = 1
	case ack | psh:
		c.SegmentsTotalAck[1] = 1
	default:
		c.SegmentsTotalOther = 1
		for i := range c.FlagsTotal {
			c.FlagsTotal[i] = uint64(pkt.flags >> i & 1)
		}
	}
	if what != ordinary {
		c.ControlSegmentsSeenTotal = 1
		c.ControlSegmentsTotal[what] = 1
	}
	return c
}

// unparsed returns how a packet that is not counted as a segment moves the counters.
func unparsed(why UnparsedReason) (c PointCounters) {
	c.UnparsedPacketsTotal[why] = 1
	return c
}

// record returns the record of a segment at a point, without its time.
func (p *point) record(pkt packet) (r SegmentRecordOptions) {
	r.Segment = SegmentRecord{
		Src:          pkt.src.Addr().As16(),
		Dst:          pkt.dst.Addr().As16(),
		Point:        p.ID,
		Seq:          pkt.seq,
		Ack:          pkt.ack,
		PayloadBytes: uint32(len(pkt.payload)),
		SrcPort:      pkt.src.Port(),
		DstPort:      pkt.dst.Port(),
		Window:       pkt.window,
		Flags:        pkt.flags,
		Kind:         RecordSegment,
		IpVersion:    6,
		Ttl:          64,
	}
	if pkt.src.Addr().Is4() {
		r.Segment.IpVersion = 4
	}
	if pkt.ttl != 0 {
		r.Segment.Ttl = pkt.ttl
	}
	if p.Egress && pkt.ifindex != 0 {
		r.Segment.Forwarded = 1
	}
	if p.w.opts.Watch != nil {
		r.Segment.Kind = RecordWatched
	}
	if pkt.flags&syn != 0 || p.w.opts.Watch != nil {
		r.Segment.OptionsBytes = uint8(copy(r.Options[:], pkt.options))
	}
	return r
}

// moves prints the counters that are not 0.
func moves(c PointCounters) string {
	var b strings.Builder
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if f := v.Field(i); !f.IsZero() {
			fmt.Fprintf(&b, "%s:%v ", v.Type().Field(i).Name, f)
		}
	}
	return "{" + strings.TrimSpace(b.String()) + "}"
}

// monotonic returns the time as the programs see it.
func monotonic(tb testing.TB) uint64 {
	tb.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		tb.Fatal(err)
	}
	return uint64(ts.Nano())
}

// flows returns all flow entries.
func (w *world) flows(tb testing.TB) map[netobsFlowKey]netobsFlow {
	tb.Helper()
	all := make(map[netobsFlowKey]netobsFlow)
	var (
		key  netobsFlowKey
		flow netobsFlow
	)
	it := w.shared[netobsMapFlows].Iterate()
	for it.Next(&key, &flow) {
		all[key] = flow
	}
	if err := it.Err(); err != nil {
		tb.Fatal(err)
	}
	return all
}

// setIdle makes all flow entries say that their last report was so long ago. A negative time makes a test independent
// of how slow the machine is, and is what a CPU sees whose clock was read before another one's.
func (w *world) setIdle(tb testing.TB, d time.Duration) {
	tb.Helper()
	at := monotonic(tb) - uint64(d)
	for key, flow := range w.flows(tb) {
		for i := range flow.Half {
			if flow.Half[i].ReportedNs != 0 {
				flow.Half[i].ReportedNs = at
			}
		}
		if err := w.shared[netobsMapFlows].Update(key, flow, ebpf.UpdateExist); err != nil {
			tb.Fatal(err)
		}
	}
}
