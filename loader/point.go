package loader

import (
	"errors"
	"io"

	"github.com/cilium/ebpf"

	"netobs/bpf"
	"netobs/decode"
)

// point is an attached observation point.
type point struct {
	id, slot uint32
	place
	front  *ebpf.Program
	at     io.Closer         // the attachment
	base   bpf.PointCounters // what the slot had counted for its former points
	labels pointLabels       // how it is counted now
	ahead  map[ebpf.ProgramID]bool
	ran    BPFRuns // when last asked
	closed bool    // front is, or is about to be
}

// pointLabels are the metric labels of a point's counters.
type pointLabels struct {
	netns, iface string
	direction    decode.Direction
}

// AttachError is a kind of failure to watch an interface, for metrics.
type AttachError struct {
	Netns  string
	Reason string // enter, load, attach, too_many_points, not_ethernet; no_namespace; permission, hidden; no_privileges
}

// attachFailure is an error with the Reason of an AttachError.
type attachFailure struct {
	reason string
	err    error
}

func (f *attachFailure) Error() string { return f.err.Error() }
func (f *attachFailure) Unwrap() error { return f.err }

// attach loads a front and attaches it. The calling thread is in the namespace of the interface. On error nothing is left.
func (l *Loader) attach(p *point, ns *namespace, i *iface) (mode string, err error) {
	if p.front, err = l.progs.NewFront(bpf.Point{
		ID:      p.id,
		Slot:    p.slot,
		Netns:   ns.id,
		Egress:  p.direction == decode.Egress,
		Hook:    bpfHook(p.hook),
		L3:      i.header == headerNone,
		Address: i.address,
	}); err != nil {
		return "", &attachFailure{"load", err}
	}
	if p.at, mode, err = l.attachProgram(ns, i, p.place, p.front); err != nil {
		p.front.Close()
		return "", &attachFailure{"attach", err}
	}
	return mode, nil
}

func bpfHook(hook string) bpf.Hook {
	if hook == HookXDP {
		return bpf.HookXDP
	}
	return bpf.HookTC
}

// closePoint detaches a point. An interface that is gone took the attachment along, which is no error.
func (l *Loader) closePoint(p *point) error {
	err := p.at.Close()
	l.noteLastRuns(p)
	return errors.Join(err, l.pacer.close(p.front))
}

// slots hands out indices of counters.
type slots struct {
	next uint32
	free []uint32
}

// take returns false if all are in use.
func (s *slots) take() (uint32, bool) {
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot, true
	}
	if s.next == bpf.MaxPoints {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

func (s *slots) give(slot uint32) { s.free = append(s.free, slot) }
