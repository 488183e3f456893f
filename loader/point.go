package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"netobs/bpf"
	"netobs/decode"
)

// point is an attached observation point.
type point struct {
	id, slot uint32
	front    *ebpf.Program
	link     link.Link
	base     bpf.PointCounters // what the slot had counted for its former points
	labels   pointLabels       // how it is counted now
	live     bool              // attached; guarded by Loader.mu
}

// pointLabels are the metric labels of a point's counters.
type pointLabels struct {
	netns, iface string
	direction    decode.Direction
}

// AttachError is a kind of failure to watch an interface, for metrics.
type AttachError struct {
	Netns  string
	Reason string // enter, load, attach, too_many_points, not_ethernet
}

// attachFailure is an error with the Reason of an AttachError.
type attachFailure struct {
	reason string
	err    error
}

func (f *attachFailure) Error() string { return f.err.Error() }
func (f *attachFailure) Unwrap() error { return f.err }

// attach loads a front and attaches it at the head of the TCX chain, so that it sees what programs in front of it
// would hide. The calling thread is in the namespace of the interface.
func (p *point) attach(progs *bpf.Programs, ns *namespace, i *iface, direction decode.Direction) error {
	front, err := progs.NewFront(bpf.Point{
		ID:     p.id,
		Slot:   p.slot,
		Netns:  ns.id,
		Egress: direction == decode.Egress,
	})
	if err != nil {
		return &attachFailure{"load", err}
	}
	hook := ebpf.AttachTCXIngress
	if direction == decode.Egress {
		hook = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: i.index,
		Program:   front,
		Attach:    hook,
		Anchor:    link.Head(),
	})
	if err != nil {
		front.Close()
		return &attachFailure{"attach", fmt.Errorf("attach tcx %s to %s in %s: %w", direction, i.name, ns.Name, err)}
	}
	p.front, p.link = front, l
	return nil
}

// close detaches the point. An interface that is gone took its link along, which is no error.
func (p *point) close() error {
	if p.link == nil {
		return nil
	}
	return errors.Join(p.link.Close(), p.front.Close())
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
