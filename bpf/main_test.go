package bpf

import (
	"errors"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"netobs/loader/nettest"
)

func mustLoad(tb testing.TB, opts Options) *Programs {
	tb.Helper()
	nettest.NeedPrivileges(tb)
	p, err := Load(opts)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func mustFront(tb testing.TB, p *Programs, point Point) *ebpf.Program {
	tb.Helper()
	front, err := p.NewFront(point)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(func() { front.Close() })
	return front
}

// drain takes all records from the ring.
func drain(tb testing.TB, p *Programs) []SegmentRecordOptions {
	tb.Helper()
	r, err := ringbuf.NewReader(p.Ring)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	r.SetDeadline(time.Now())
	var records []SegmentRecordOptions
	for {
		raw, err := r.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return records
		}
		if err != nil {
			tb.Fatal(err)
		}
		var rec SegmentRecordOptions
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&rec)), unsafe.Sizeof(rec)), raw.RawSample)
		clear(rec.Options[rec.Segment.OptionsBytes:])
		records = append(records, rec)
	}
}
