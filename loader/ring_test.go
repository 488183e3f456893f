package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader/nettest"
)

// fakeRing is a ring in this process's memory, written as the kernel writes (kernel/bpf/ringbuf.c).
type fakeRing struct {
	consumer, producer atomic.Uintptr
	records            []uint64
	size               int
}

func newFakeRing(size int) (*fakeRing, *ring) {
	f := &fakeRing{records: make([]uint64, size/8), size: size}
	return f, &ring{
		consumer: &f.consumer,
		producer: &f.producer,
		records:  unsafe.Pointer(&f.records[0]),
		mask:     uintptr(size - 1),
		little:   uintptr(size / 16),
	}
}

// reserve makes room for a record that does not cross the end: there is no second mapping here.
func (f *fakeRing) reserve(bytes int) (header *atomic.Uint32, record []byte) {
	for {
		at := f.producer.Load()
		offset := int(at) % f.size
		all := (recordHeader + bytes + 7) &^ 7
		discarded := 0
		if offset+all > f.size { // fill the rest with a record that is given up
			discarded = f.size - offset
			all = discarded
		}
		for int(at-f.consumer.Load())+all >= f.size {
			runtime.Gosched()
		}
		header = (*atomic.Uint32)(unsafe.Pointer(&f.records[offset/8]))
		if discarded > 0 {
			header.Store(uint32(discarded-recordHeader) | recordDiscard)
			f.producer.Store(at + uintptr(all))
			continue
		}
		header.Store(uint32(bytes) | recordBusy)
		f.producer.Store(at + uintptr(all))
		return header, unsafe.Slice((*byte)(unsafe.Pointer(&f.records[offset/8+1])), bytes)
	}
}

// TestRing: what comes out of a ring is what was put in, in order, whatever the sizes, with others that were given up
// between, and while both sides are at work. The race detector sees whether the order of memory accesses is right.
func TestRing(t *testing.T) {
	records := 50_000
	if testing.Short() {
		records = 10_000
	}
	f, r := newFakeRing(4096)
	length := func(i int) int { return 8 + i*7%113 }
	go func() {
		random := rand.New(rand.NewPCG(1, 2))
		for i := range records {
			if random.IntN(10) == 0 {
				header, _ := f.reserve(random.IntN(100))
				header.Store(header.Load()&^recordBusy | recordDiscard)
			}
			header, record := f.reserve(length(i))
			if random.IntN(100) == 0 {
				runtime.Gosched() // a reader that does not wait for the submission sees the record before
			}
			binary.NativeEndian.PutUint64(record, uint64(i))
			for k := 8; k < len(record); k++ {
				record[k] = byte(i)
			}
			header.Store(uint32(len(record)))
		}
	}()
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; i < records; {
		record := r.take()
		if record == nil {
			r.free()
			if time.Now().After(deadline) {
				t.Fatalf("record %d does not come", i)
			}
			runtime.Gosched()
			continue
		}
		if len(record) != length(i) || binary.NativeEndian.Uint64(record) != uint64(i) {
			t.Fatalf("record %d of %d bytes: % x, want %d bytes", i, len(record), record, length(i))
		}
		for _, b := range record[8:] {
			if b != byte(i) {
				t.Fatalf("record %d is overwritten: % x", i, record)
			}
		}
		i++
	}
	if allocs := testing.AllocsPerRun(100, func() { r.take() }); allocs != 0 {
		t.Errorf("%v allocations to take a record", allocs)
	}
}

// quiet returns a reader of a namespace with lo, and how to make it two records: of a SYN, and of the RST that refuses it.
func quiet(t *testing.T, opts bpf.Options, latency time.Duration) (r *Reader, refused func()) {
	ns := nettest.New(t, "quiet")
	ns.Up("lo")
	l, err := New(Options{Netns: []Netns{mustFind(t, ns.Name)}, BPF: opts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err = l.NewReader(latency); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, func() {
		if c, err := ns.Dial("127.0.0.1:9"); err == nil {
			c.Close()
			t.Error("somebody listens")
		}
	}
}

// bytes of the two records with their headers
const refusedBytes = unsafe.Sizeof(bpf.SegmentRecordOptions{}) + unsafe.Sizeof(bpf.SegmentRecord{}) + 2*recordHeader

// read is what a call of Next returned.
type read struct {
	flags decode.Flags
	err   error
}

// follow calls Next until it fails, and passes on all but ErrDrained.
func follow(r *Reader) <-chan read {
	c := make(chan read, 1024)
	go func() {
		defer close(c)
		for {
			var seg decode.Segment
			err := r.Next(&seg)
			if errors.Is(err, ErrDrained) {
				continue
			}
			c <- read{seg.Flags, err}
			if err != nil {
				return
			}
		}
	}()
	return c
}

// expect takes from c what comes within ten seconds.
func expect(t *testing.T, c <-chan read, want ...read) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-c:
			if got.flags != w.flags || !errors.Is(got.err, w.err) {
				t.Fatalf("got %v, %v, want %v, %v", got.flags, got.err, w.flags, w.err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing comes, want %v, %v", w.flags, w.err)
		}
	}
}

// TestDoorbell: a few records do not ring, more do, and then few do not again.
func TestDoorbell(t *testing.T) {
	const few = 5
	const threshold = few*refusedBytes + 1
	r, refused := quiet(t, bpf.Options{RingBytes: 1 << 16, WakeupBytes: uint32(threshold)}, 0)
	bell, err := newDoorbell(r.l.progs.Ring, func() bool { return r.ring.fill() >= threshold })
	if err != nil {
		t.Fatal(err)
	}
	defer bell.close()
	wait := func(atMost time.Duration) error {
		if err := bell.set(time.Now().Add(atMost)); err != nil {
			t.Fatal(err)
		}
		return bell.wait()
	}
	wait(time.Millisecond) // that it can be read is told once from the beginning
	for range 3 {
		for range few {
			refused()
		}
		if err := wait(50 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("below the threshold: %v, want no ring", err)
		}
		refused() // the SYN crosses it
		if err := wait(10 * time.Second); err != nil {
			t.Fatalf("above the threshold: %v, want a ring", err)
		}
		records := 0
		nettest.Eventually(t, 10*time.Second, func() error {
			for r.ring.take() != nil {
				records++
			}
			if r.ring.free(); records != 2*(few+1) {
				return fmt.Errorf("%d records", records)
			}
			return nil
		})
		wait(time.Millisecond) // records close above the threshold ring, too
	}
}

// TestReaderFlush: a reader that sleeps for an hour is woken to read the last records.
func TestReaderFlush(t *testing.T) {
	r, refused := quiet(t, bpf.Options{}, time.Hour)
	c := follow(r)
	refused()
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, read{decode.SYN, nil}, read{decode.RST | decode.ACK, nil}, read{0, ErrFlushed})
}

// TestReaderLatency: a single record is there within the latency.
func TestReaderLatency(t *testing.T) {
	r, refused := quiet(t, bpf.Options{}, time.Millisecond)
	c := follow(r)
	refused()
	expect(t, c, read{decode.SYN, nil}, read{decode.RST | decode.ACK, nil})
}

// TestReaderLongSleep: after a long silence a single record wakes the reader. The shortest long silence is none.
func TestReaderLongSleep(t *testing.T) {
	r, refused := quiet(t, bpf.Options{}, time.Millisecond)
	r.silence = 0
	var seg decode.Segment
	next := func() (took time.Duration) {
		start := time.Now()
		if err := r.Next(&seg); err != nil && !errors.Is(err, ErrDrained) {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	nettest.Eventually(t, 10*time.Second, func() error { // the bell may have been rung before
		if took := next(); took < longSleep {
			return fmt.Errorf("awake after %s", took)
		}
		return nil
	})
	nettest.Eventually(t, 10*time.Second, func() error {
		for r.Next(&seg) == nil {
		}
		seg = decode.Segment{}
		go refused()
		if took := next(); !seg.Has(decode.SYN) || took > longSleep*9/10 {
			return fmt.Errorf("%v was read after %s, want SYN at once", seg.Flags, took)
		}
		return nil
	})
}

// TestReaderIdle: who has nothing to read is woken once per latency.
func TestReaderIdle(t *testing.T) {
	const latency, span = 20 * time.Millisecond, 400 * time.Millisecond
	r, _ := quiet(t, bpf.Options{}, latency)
	var seg decode.Segment
	n := 0
	for end := time.Now().Add(span); time.Now().Before(end); n++ {
		if err := r.Next(&seg); !errors.Is(err, ErrDrained) {
			t.Fatal(err)
		}
		if before := time.Now().UnixNano(); r.Now() > before {
			t.Fatalf("the ring was empty at %d, and it is %d", r.Now(), before)
		}
	}
	if most := int(span/latency) + 2; n > most {
		t.Errorf("%d times awake in %s, want at most %d", n, span, most)
	}
}

// TestReaderClosed: a reader that waits returns when it is closed, and each call after that.
func TestReaderClosed(t *testing.T) {
	r, refused := quiet(t, bpf.Options{}, time.Hour)
	c := follow(r)
	refused()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for got := range c {
		if got.err != nil && !errors.Is(got.err, os.ErrClosed) {
			t.Errorf("%v, want %v", got.err, os.ErrClosed)
		}
	}
	var seg decode.Segment
	for i := 0; ; i++ {
		if err := r.Next(&seg); errors.Is(err, os.ErrClosed) {
			break
		} else if i > 2 {
			t.Fatalf("%v after Close", err)
		}
	}
}
