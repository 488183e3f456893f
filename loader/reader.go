package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"netobs/bpf"
	"netobs/decode"
)

// DefaultTick is how long records may wait in the ring when traffic is low.
const DefaultTick = 100 * time.Millisecond

// ErrDrained is returned by Reader.Next when it found the ring empty at a tick. See Reader.Now.
var ErrDrained = errors.New("ring is empty")

// ErrFlushed is returned by Reader.Next after Reader.Flush, when all records were read.
var ErrFlushed = errors.New("ring is read to its end")

// A Reader takes the records of the fronts from the ring buffer. It belongs to one goroutine; only Flush may be called
// by others.
type Reader struct {
	l      *Loader
	ring   *ringbuf.Reader
	record ringbuf.Record
	tick   time.Duration
	epoch  int64 // CLOCK_REALTIME less CLOCK_MONOTONIC, in ns
	due    int64 // CLOCK_MONOTONIC of the next tick
	now    int64 // of the last tick, on the clock of segments
	lost   uint64
	jumped bool // the clock of segments was set since Lost was last asked
}

// NewReader returns the reader of l, which has only one. The caller closes it. A tick of 0 means DefaultTick.
func (l *Loader) NewReader(tick time.Duration) (*Reader, error) {
	ring, err := ringbuf.NewReader(l.progs.Ring)
	if err != nil {
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	if tick == 0 {
		tick = DefaultTick
	}
	r := &Reader{l: l, ring: ring, tick: tick, epoch: epoch()}
	r.now = r.epoch + monotonic()
	r.schedule()
	return r, nil
}

// epoch returns the difference between the clock of people and that of the records.
func epoch() int64 { return time.Now().UnixNano() - monotonic() }

// monotonic returns CLOCK_MONOTONIC, the clock of the records, in ns.
func monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return ts.Nano()
}

// schedule sets the time of the next tick.
func (r *Reader) schedule() {
	r.due = monotonic() + int64(r.tick)
	r.ring.SetDeadline(time.Now().Add(r.tick))
}

// followClock notices that the machine slept, or that its clock was set, since the last tick.
func (r *Reader) followClock() {
	const most = int64(time.Second)
	if now := epoch(); now-r.epoch > most || r.epoch-now > most {
		r.epoch, r.jumped = now, true
	}
}

// Next waits for a segment and fills seg. It returns ErrDrained at each tick, when all that was in the ring is read, and
// ErrFlushed after Flush. seg.Options are valid until the next call.
func (r *Reader) Next(seg *decode.Segment) error {
	for {
		err := r.ring.ReadInto(&r.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The time that was due, not the present one: the ring was found empty between the two, and this goroutine
			// may have been stopped since.
			r.followClock()
			r.now = r.epoch + r.due
			r.settle()
			r.schedule()
			return ErrDrained
		case errors.Is(err, ringbuf.ErrFlushed):
			r.settle()
			return ErrFlushed
		case err != nil:
			return fmt.Errorf("read ring buffer: %w", err)
		}
		r.l.read.Add(1)
		if r.segment(seg) {
			return nil
		}
	}
}

// settle forgets points whose last records were read. Call it when the ring was found empty.
func (r *Reader) settle() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.gone.drained()
	r.l.retired.drained()
	for _, id := range r.l.retired.take() {
		delete(r.l.points, id)
	}
}

// Now is the time, in ns since the Unix epoch, up to which all records were read when Next returned ErrDrained.
func (r *Reader) Now() int64 { return r.now }

// Lost reports whether records were lost since it was last asked, and the time up to which that may have been: now, as it
// may be long since the last tick. A clock that was set is a loss, too: nobody knows how long a silence before was.
func (r *Reader) Lost() (upTo int64, more bool) {
	lost := r.l.progs.RecordsLost()
	more = lost != r.lost || r.jumped
	r.lost, r.jumped = lost, false
	return r.epoch + monotonic(), more
}

// Gone returns the ids of the namespaces that ended and whose last records were read, once.
func (r *Reader) Gone() []uint32 {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return r.l.gone.take()
}

// Flush makes Next return what is in the ring, and then ErrFlushed. Detach first.
func (r *Reader) Flush() error { return r.ring.Flush() }

// Close releases the ring's memory. A Next that waits returns.
func (r *Reader) Close() error { return r.ring.Close() }

// segment turns the record into seg. This is the only place that knows both. False: no such record kind.
func (r *Reader) segment(seg *decode.Segment) bool {
	raw := r.record.RawSample
	if len(raw) < int(unsafe.Sizeof(bpf.SegmentRecord{})) {
		return false
	}
	rec := (*bpf.SegmentRecord)(unsafe.Pointer(&raw[0])) // aligned: the slice is the reader's own allocation
	if rec.Kind != bpf.RecordSegment {
		return false
	}
	dst := netip.AddrFrom16(rec.Dst).Unmap()
	*seg = decode.Segment{
		Time:      r.epoch + int64(rec.TimeNs),
		Src:       netip.AddrPortFrom(netip.AddrFrom16(rec.Src).Unmap(), rec.SrcPort),
		Dst:       netip.AddrPortFrom(dst, rec.DstPort),
		Seq:       decode.Seq(rec.Seq),
		Ack:       decode.Seq(rec.Ack),
		Payload:   rec.PayloadBytes,
		Wnd:       rec.Window,
		Flags:     decode.Flags(rec.Flags),
		TTL:       rec.Ttl,
		Forwarded: rec.Forwarded != 0,
	}
	if rec.OptionsBytes > 0 {
		options := raw[unsafe.Sizeof(*rec):]
		seg.Options = decode.Options(options[:min(int(rec.OptionsBytes), len(options))])
	}
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	seg.Point = r.l.points[rec.Point]
	if seg.Point == nil {
		return false // cannot be: points are kept until their last record was read
	}
	if seg.Point.Direction == decode.Ingress && seg.Has(decode.SYN) {
		seg.ToLocal = r.l.isLocal(seg.Point.NetnsID, dst)
	}
	return true
}

// isLocal reports whether addr is an address of the namespace. The caller holds l.mu.
func (l *Loader) isLocal(netnsID uint32, addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	ns := l.namespaces[netnsID-1] // ids count from 1, in order
	for index := range ns.links {
		if ns.local[localAddr{index, addr}] {
			return true
		}
	}
	return false
}
