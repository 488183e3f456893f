package loader

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A record in the ring has a header of eight bytes before it, of which the first four are its length and two bits, and is
// padded to eight bytes (struct bpf_ringbuf_hdr in kernel/bpf/ringbuf.c, BPF_RINGBUF_* in linux/bpf.h).
const (
	recordHeader  = 8
	recordBusy    = 1 << 31 // reserved, not yet submitted
	recordDiscard = 1 << 30 // given up
)

// ring is the memory of a BPF ring buffer, read in place: taking a record costs no copy, no allocation and no system
// call. Positions count bytes since the ring was made and never wrap around it; the kernel maps the records twice, one
// after the other, so that one that crosses the end is in one piece.
//
// Its memory is mapped as long as the ring can be reached, not longer: so whoever still reads while the Reader is closed
// reads nothing that is not there.
type ring struct {
	consumer *atomic.Uintptr // where the kernel may not write: what is behind is free
	producer *atomic.Uintptr // end of what is reserved
	records  unsafe.Pointer
	mask     uintptr // size - 1; a power of two

	next   uintptr // the next record
	freed  uintptr // what consumer says
	little uintptr // how far next may be ahead of freed: each time costs the producers a cache miss
}

func newRing(m *ebpf.Map) (*ring, error) {
	size, page := int(m.MaxEntries()), os.Getpagesize()
	consumer, err := unix.Mmap(m.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the reader's page: %w", err)
	}
	// The kernel offers the records twice, one after the other, so that none is in two pieces. Of the second a page does.
	producer, err := unix.Mmap(m.FD(), int64(page), page+size+page, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(consumer)
		return nil, fmt.Errorf("map %d bytes of records: %w", size, err)
	}
	r := &ring{
		consumer: (*atomic.Uintptr)(unsafe.Pointer(&consumer[0])),
		producer: (*atomic.Uintptr)(unsafe.Pointer(&producer[0])),
		records:  unsafe.Pointer(&producer[page]),
		mask:     uintptr(size - 1),
		little:   uintptr(size / 16),
	}
	r.next = r.consumer.Load()
	r.freed = r.next
	runtime.AddCleanup(r, func(maps [2][]byte) {
		unix.Munmap(maps[0])
		unix.Munmap(maps[1])
	}, [2][]byte{consumer, producer})
	return r, nil
}

// take returns the next record, nil if there is none. The record is valid until the next call of take or free.
//
// The order of memory accesses is the kernel's: the position of the producers is stored after the busy bit of what it
// covers, and that bit is cleared after the record is written.
func (r *ring) take() []byte {
	if r.next-r.freed >= r.little {
		r.free()
	}
	for r.next != r.producer.Load() {
		header := (*atomic.Uint32)(unsafe.Add(r.records, r.next&r.mask))
		length := header.Load()
		for spins := 0; length&recordBusy != 0; length = header.Load() {
			// Its CPU writes it right now, unless that was interrupted.
			if spins++; spins > 1000 {
				time.Sleep(20 * time.Microsecond)
			}
		}
		bytes := uintptr(length &^ (recordBusy | recordDiscard))
		r.next += (recordHeader + bytes + 7) &^ 7
		if length&recordDiscard == 0 {
			return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(header), recordHeader)), bytes)
		}
	}
	return nil
}

// free gives the memory of all records taken back to the producers.
func (r *ring) free() {
	if r.freed != r.next {
		r.freed = r.next
		r.consumer.Store(r.next)
	}
}

// fill returns how many bytes of records are not taken, those that are being written included.
func (r *ring) fill() uintptr { return r.producer.Load() - r.next }

// doorbell waits until the kernel wakes the reader of a ring. It is edge-triggered: what is in the ring does not ring it,
// only what the programs force does; level-triggered, a reader that has just emptied the ring would be woken by each
// record, as by poll(2). And it is the Go runtime that waits, for all that this process waits for at once: no thread is
// kept for it.
type doorbell struct {
	file   *os.File
	conn   syscall.RawConn
	enough func() bool
	waits  bool
}

// newDoorbell returns the doorbell of a ring. enough reports whether there is no need to wait for it.
func newDoorbell(m *ebpf.Map, enough func() bool) (*doorbell, error) {
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // os.NewFile asks for it; the ring has no read that could block
		unix.Close(fd)
		return nil, err
	}
	d := &doorbell{file: os.NewFile(uintptr(fd), "ring buffer"), enough: enough}
	d.conn, err = d.file.SyscallConn()
	if err := errors.Join(err, d.file.SetReadDeadline(time.Time{})); err != nil {
		d.file.Close()
		return nil, err
	}
	return d, nil
}

// set says when wait returns at the latest. It undoes ring.
func (d *doorbell) set(until time.Time) error { return d.file.SetReadDeadline(until) }

// wait returns when the bell rings, or at once if there is enough. The error is os.ErrDeadlineExceeded at the time set, and
// another after close.
func (d *doorbell) wait() error {
	d.waits = false
	return d.conn.Read(d.answer)
}

// answer is called by wait, first when from now on no ring is missed, then after each.
func (d *doorbell) answer(uintptr) bool {
	waited := d.waits
	d.waits = true
	return waited || d.enough()
}

// ring makes a wait under way return. May be called by anybody.
func (d *doorbell) ring() error { return d.file.SetReadDeadline(time.Unix(0, 1)) }

func (d *doorbell) close() error { return d.file.Close() }
