package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// waiter waits for programs that run. To exchange a map inside another one, the kernel waits until no program can be using the
// one before (maybe_wait_bpf_programs): the only call for everybody that does.
type waiter struct{ outer, inner *ebpf.Map }

func newWaiter() (w waiter, err error) {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if w.inner, err = ebpf.NewMap(inner); err != nil {
		return waiter{}, fmt.Errorf("make a map to wait with: %w", permission(err))
	}
	w.outer, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner})
	if err != nil {
		w.inner.Close()
		return waiter{}, fmt.Errorf("make a map to wait with: %w", permission(err))
	}
	return w, nil
}

func (w waiter) close() error { return errors.Join(w.outer.Close(), w.inner.Close()) }

// WaitForRuns returns when all programs that were running when it was called have ended: some 10 ms later, or much earlier
// while the kernel hurries (rcu_expedited). May be called concurrently.
func (p *Programs) WaitForRuns() error {
	if err := p.waiter.outer.Put(uint32(0), p.waiter.inner); err != nil {
		return fmt.Errorf("wait for the ends of BPF programs: %w", err)
	}
	return nil
}
