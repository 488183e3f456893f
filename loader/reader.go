package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"netobs/bpf"
	"netobs/decode"
)

// DefaultLatency is how long records may wait in the ring when traffic is low. With what it takes to be scheduled, a
// line is out within 100 ms.
const DefaultLatency = 80 * time.Millisecond

// After a long silence the reader sleeps for longer, and the first record wakes it. All verdicts on what came before are
// given by then.
const (
	longSilence = 5 * time.Second
	longSleep   = time.Second
)

// ErrDrained is returned by Reader.Next each time it found the ring empty. See Reader.Now.
var ErrDrained = errors.New("ring is empty")

// ErrFlushed is returned by Reader.Next after Reader.Flush, when all records were read.
var ErrFlushed = errors.New("ring is read to its end")

// A Reader takes the records of the fronts from the ring buffer. It belongs to one goroutine; only Flush and Close may be
// called by others.
//
// It sleeps only when the ring is empty: until the fill crosses bpf.Options.WakeupBytes, at most for the latency, after a long
// silence for longer. So a busy host costs few wake-ups, each for many records, a quiet one twelve a second, an idle one one.
type Reader struct {
	l       *Loader
	ring    *ring
	bell    *doorbell
	latency time.Duration
	silence time.Duration // longSilence
	flushed atomic.Bool
	closed  atomic.Bool
	known   known
	clock   clock

	epoch  int64  // CLOCK_REALTIME less CLOCK_MONOTONIC, in ns
	now    int64  // when the ring was last found empty, on the clock of segments
	idle   bool   // nothing was read since
	quiet  int64  // since when nothing is read, on the clock of records; 0: not yet found empty
	read   uint64 // records not yet told to the Loader
	lost   uint64
	jumped bool // the clock of segments was set since Lost was last asked
}

// NewReader returns the reader of l, which has only one. The caller closes it. latency is how long a record may wait in
// the ring; 0 means DefaultLatency.
func (l *Loader) NewReader(latency time.Duration) (*Reader, error) {
	ring, err := newRing(l.progs.Ring)
	if err != nil {
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	bell, err := newDoorbell(l.progs.Ring, func() bool { return ring.fill() > 0 })
	if err != nil {
		return nil, fmt.Errorf("wait for ring buffer: %w", err)
	}
	if latency == 0 {
		latency = DefaultLatency
	}
	r := &Reader{l: l, ring: ring, bell: bell, latency: latency, silence: longSilence, clock: newClock()}
	r.epoch = r.clock.epoch()
	r.known.of(l)
	r.now = r.epoch + r.clock.monotonic()
	l.mu.Lock()
	l.wakeReader = func() { bell.ring() } // at the latest it looks by itself
	l.mu.Unlock()
	return r, nil
}

// clock tells the time of the records, CLOCK_MONOTONIC, without a system call: as what Go's clock, which is the same one,
// has advanced since it was asked.
type clock struct {
	asked time.Time
	ns    int64 // when asked
}

func newClock() clock {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail for this clock
	return clock{time.Now(), ts.Nano()}
}

// monotonic returns CLOCK_MONOTONIC in ns.
func (c *clock) monotonic() int64 { return c.ns + int64(time.Since(c.asked)) }

// epoch returns the difference between the clock of people and that of the records.
func (c *clock) epoch() int64 {
	now := time.Now()
	return now.UnixNano() - (c.ns + int64(now.Sub(c.asked)))
}

// followClock notices that the machine slept, or that its clock was set, since it was last called.
func (r *Reader) followClock() {
	const most = int64(time.Second)
	if now := r.clock.epoch(); now-r.epoch > most || r.epoch-now > most {
		r.epoch, r.jumped = now, true
	}
}

// Next waits for a segment and fills seg. It returns ErrDrained each time when all that was in the ring is read, at least
// once per latency when there is nothing; ErrFlushed after Flush, and os.ErrClosed after Close. seg.Options are valid until
// the next call.
func (r *Reader) Next(seg *decode.Segment) error {
	for {
		record := r.ring.take()
		if record == nil {
			// The time before the look, not after: this goroutine may be stopped in between.
			now := r.clock.monotonic()
			if record = r.ring.take(); record == nil {
				if err := r.empty(now); err != nil {
					return err
				}
				continue
			}
		}
		r.idle, r.quiet = false, 0
		if r.read++; r.read == 1024 {
			r.tell()
		}
		if r.segment(record, seg) {
			return nil
		}
	}
}

// empty is called when the ring was found empty at a time. It returns what to tell the caller of Next; nil after a wait.
func (r *Reader) empty(now int64) error {
	switch {
	case r.closed.Load():
		return os.ErrClosed
	case r.idle:
		r.idle = false
		err := r.sleep(now-r.quiet >= int64(r.silence))
		if r.closed.Load() {
			return os.ErrClosed
		}
		if err != nil {
			return fmt.Errorf("wait for ring buffer: %w", err)
		}
		return nil
	}
	r.idle = true
	if r.quiet == 0 {
		r.quiet = now
	}
	r.ring.free()
	r.tell()
	r.followClock()
	r.now = r.epoch + now
	r.settle()
	if r.flushed.Load() {
		return ErrFlushed
	}
	return ErrDrained
}

// sleep waits for the bell, at most for the latency, or after a long silence for longer.
func (r *Reader) sleep(long bool) error {
	atMost := r.latency
	if long && longSleep > atMost {
		atMost = longSleep
		if err := r.l.progs.SetReaderIdle(true); err != nil {
			return err
		}
		defer r.l.progs.SetReaderIdle(false)
	}
	if err := r.bell.set(time.Now().Add(atMost)); err != nil {
		return err
	}
	if r.flushed.Load() { // and rang, perhaps before the bell was set
		return nil
	}
	if err := r.bell.wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// tell counts the records read, for those who scrape.
func (r *Reader) tell() {
	r.l.read.Add(r.read)
	r.read = 0
}

// settle forgets points whose last records were read. Call it when the ring was found empty.
func (r *Reader) settle() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.gone.drained()
	r.l.retired.drained()
	for _, id := range r.l.retired.take() {
		delete(r.l.points, id)
		delete(r.l.carriers, id)
		delete(r.known.points, id)
		delete(r.known.carriers, id)
	}
}

// Now is the time, in ns since the Unix epoch, up to which all records were read when Next returned ErrDrained.
func (r *Reader) Now() int64 { return r.now }

// Lost reports whether records were lost since it was last asked, and the time up to which that may have been: now, as it
// may be long since the ring was empty. A clock that was set is a loss, too: nobody knows how long a silence before was.
// It is cheap enough to be asked for each segment: a record that is read was written after the losses before it were
// counted.
func (r *Reader) Lost() (upTo int64, more bool) {
	lost := r.l.progs.RecordsLost()
	if lost == r.lost && !r.jumped {
		return 0, false
	}
	r.lost, r.jumped = lost, false
	return r.epoch + r.clock.monotonic(), true
}

// Gone returns the ids of the namespaces that ended and whose last records were read, once.
func (r *Reader) Gone() []uint32 {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return r.l.gone.take()
}

// Forgotten returns the names of namespaces that ended Options.Keep ago and that no other one has, once: what was counted under
// them is to be forgotten.
func (r *Reader) Forgotten() []string {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.l.forgetDeparted()
	names := r.l.forgotten
	r.l.forgotten = nil
	return names
}

// Flush makes Next return what is in the ring, and then ErrFlushed. Detach first.
func (r *Reader) Flush() error {
	r.flushed.Store(true)
	return r.bell.ring()
}

// Close makes Next return os.ErrClosed when it has nothing else, also one that waits.
func (r *Reader) Close() error {
	r.closed.Store(true)
	return r.bell.close()
}

// segment turns the record into seg. This is the only place that knows both. False: no such record kind.
func (r *Reader) segment(record []byte, seg *decode.Segment) bool {
	if len(record) < int(unsafe.Sizeof(bpf.SegmentRecord{})) {
		return false
	}
	rec := (*bpf.SegmentRecord)(unsafe.Pointer(&record[0])) // aligned: the kernel aligns records to eight bytes
	if rec.Kind != bpf.RecordSegment && rec.Kind != bpf.RecordWatched {
		return false
	}
	point := r.known.point(rec.Point)
	if point == nil {
		return false // cannot be: points are kept until their last record was read
	}
	dst := netip.AddrFrom16(rec.Dst).Unmap()
	*seg = decode.Segment{
		Time:      r.epoch + int64(rec.TimeNs),
		Point:     point,
		Src:       netip.AddrPortFrom(netip.AddrFrom16(rec.Src).Unmap(), rec.SrcPort),
		Dst:       netip.AddrPortFrom(dst, rec.DstPort),
		Seq:       decode.Seq(rec.Seq),
		Ack:       decode.Seq(rec.Ack),
		Payload:   rec.PayloadBytes,
		Wnd:       rec.Window,
		Flags:     decode.Flags(rec.Flags),
		TTL:       rec.Ttl,
		Forwarded: rec.Forwarded != 0,
		Completes: completes(rec.Completes),
	}
	if rec.OptionsBytes > 0 {
		options := record[unsafe.Sizeof(*rec):]
		seg.Options = decode.Options(options[:min(int(rec.OptionsBytes), len(options))])
	}
	if rec.Kind == bpf.RecordWatched {
		watched := (*bpf.WatchedRecord)(unsafe.Pointer(rec))
		seg.Urgent = watched.Urgent
		if n := int(watched.PayloadCopied); n > 0 {
			payload := record[unsafe.Sizeof(*watched):]
			seg.Data = payload[:min(n, len(payload))]
		}
	}
	// A connection may begin with these.
	if point.Direction == decode.Ingress && (seg.Flags&(decode.SYN|decode.RST) != 0 || seg.Completes != 0) {
		seg.ToLocal = r.known.isLocal(point.NetnsID, dst)
	}
	// The kernel does not say from which interface a packet of a macvlan came.
	if point.Direction == decode.Egress && r.known.carries(point.ID) && !r.known.isLocal(point.NetnsID, seg.Src.Addr()) {
		seg.Forwarded = true
	}
	return true
}

func completes(bits uint8) (a decode.Awaited) {
	if bits&bpf.CompletesHandshake != 0 {
		a |= decode.AwaitedSYNACK
	}
	if bits&bpf.CompletesTeardown != 0 {
		a |= decode.AwaitedFIN
	}
	return a
}
