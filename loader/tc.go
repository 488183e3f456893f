package loader

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// Filters on the clsact qdisc outlive the process that made them, so they say whose they are: the name is one of the two
// below, the handle tcHandleMark with the id of the owner's map. The kernel numbers filters that ask for no handle from 1
// to 2^31 - 1, so that the mark keeps ours out of their way.
const (
	tcName = "netobs"
	// The qdisc was made by netobs, too: the last netobs to leave removes it. Said by the name of each filter, as a qdisc
	// has no place for it.
	tcNameOwnQdisc = "netobs+clsact"
	tcHandleMark   = 1 << 31
)

// tcParents are the two sides of a clsact qdisc.
var tcParents = [...]uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS}

func tcParent(d decode.Direction) uint32 {
	if d == decode.Egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// tcFilter is an attached filter.
type tcFilter struct {
	ns *namespace
	f  *netlink.BpfFilter
}

// Close removes the filter, and the qdisc if netobs made it and nothing is left on it. What went with its interface or
// namespace is no error.
func (t *tcFilter) Close() error {
	err := t.ns.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open rtnetlink socket: %w", err)
		}
		defer h.Close()
		return removeFilters(h, t.f.LinkIndex, []*netlink.BpfFilter{t.f})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// attachTC adds a filter that runs before those that are there. The calling thread is in the namespace.
func (l *Loader) attachTC(ns *namespace, i *iface, direction decode.Direction, front *ebpf.Program) (io.Closer, error) {
	handle, err := l.tcHandle()
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	made, err := addClsact(h, i.index)
	if err != nil {
		return nil, err
	}
	f, err := addFilter(h, i.index, tcParent(direction), handle, front, made)
	if err != nil {
		if made {
			err = errors.Join(err, removeClsactIfEmpty(h, i.index))
		}
		return nil, err
	}
	return &tcFilter{ns, f}, nil
}

// tcHandle returns the handle of this loader's filters.
func (l *Loader) tcHandle() (uint32, error) {
	owner, err := l.owner()
	if err != nil {
		return 0, err
	}
	id, err := owner.id()
	return tcHandleMark | id, err
}

func clsact(index int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

// addClsact returns whether it had to make the qdisc. The older ingress qdisc can be in its place: it takes filters for
// both sides, and runs all of them at ingress.
func addClsact(h *netlink.Handle, index int) (made bool, err error) {
	err = h.QdiscAdd(clsact(index))
	if !errors.Is(err, unix.EEXIST) {
		return err == nil, explainQdisc(err)
	}
	qdiscs, err := listQdiscs(h, deviceAt(index))
	if err != nil {
		return false, err
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_CLSACT && q.Type() != "clsact" {
			return false, fmt.Errorf("an %s qdisc is there, which has no egress: replace it by clsact, which has both", q.Type())
		}
	}
	return false, nil
}

// listQdiscs returns the qdiscs of an interface, or of all if it is nil.
func listQdiscs(h *netlink.Handle, of netlink.Link) ([]netlink.Qdisc, error) {
	qdiscs, err := Dump(func() ([]netlink.Qdisc, error) { return h.QdiscList(of) })
	if err != nil {
		return nil, fmt.Errorf("list qdiscs: %w", err)
	}
	return qdiscs, nil
}

// explainQdisc says what the kernel means by "no such file": it has no such kind of qdisc.
func explainQdisc(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: the kernel has no clsact qdisc (CONFIG_NET_SCH_INGRESS, module sch_ingress)", ebpf.ErrNotSupported)
	}
	if err != nil {
		return fmt.Errorf("add clsact qdisc: %w", err)
	}
	return nil
}

func addFilter(h *netlink.Handle, index int, parent, handle uint32, front *ebpf.Program, made bool) (*netlink.BpfFilter, error) {
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index,
			Parent:    parent,
			Handle:    handle,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           front.FD(),
		Name:         tcName,
		DirectAction: true,
	}
	for _, side := range tcParents {
		filters, err := listFilters(h, index, side)
		if err != nil {
			return nil, err
		}
		if side == parent {
			f.Priority = tcPriority(filters)
		}
		for _, other := range filters {
			b, ok := other.(*netlink.BpfFilter)
			made = made || ok && isOurs(b) && b.Name == tcNameOwnQdisc
		}
	}
	if made {
		f.Name = tcNameOwnQdisc
	}
	switch err := h.FilterAdd(f); {
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("%w: the kernel has no bpf filter (CONFIG_NET_CLS_BPF, module cls_bpf)", ebpf.ErrNotSupported)
	case err != nil:
		return nil, fmt.Errorf("add tc filter: %w", err)
	}
	return f, nil
}

// tcPriority returns the lowest priority, which runs first, where ours can be: one that nobody uses, or that has bpf
// filters for all protocols; among those, the kernel puts the latest first (cls_bpf_change). A priority has filters of
// one kind and protocol.
func tcPriority(filters []netlink.Filter) uint16 {
	for priority := uint16(1); ; priority++ {
		usable := true
		for _, f := range filters {
			_, isBPF := f.(*netlink.BpfFilter)
			a := f.Attrs()
			if inFirstChain(a) && a.Priority == priority {
				usable = usable && isBPF && a.Protocol == unix.ETH_P_ALL
			}
		}
		if usable {
			return priority
		}
	}
}

// inFirstChain: packets come to the others only if a filter there sends them.
func inFirstChain(a *netlink.FilterAttrs) bool { return a.Chain == nil || *a.Chain == 0 }

// listFilters returns the filters of one side in the order in which they run. Each priority comes first with an entry of
// its own, without handle.
func listFilters(h *netlink.Handle, index int, parent uint32) ([]netlink.Filter, error) {
	filters, err := Dump(func() ([]netlink.Filter, error) { return h.FilterList(deviceAt(index), parent) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // no such qdisc, or none with this side
	}
	if err != nil {
		return nil, fmt.Errorf("list tc filters: %w", err)
	}
	return filters, nil
}

func deviceAt(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// isOurs reports whether a filter is netobs', of this process or another.
func isOurs(f *netlink.BpfFilter) bool {
	return f.Handle&tcHandleMark != 0 && (f.Name == tcName || f.Name == tcNameOwnQdisc)
}

// removeFilters removes filters of an interface, and the qdisc if one of them says that netobs made it and nothing is left
// on it.
func removeFilters(h *netlink.Handle, index int, filters []*netlink.BpfFilter) error {
	ownQdisc := false
	for _, f := range filters {
		ownQdisc = ownQdisc || f.Name == tcNameOwnQdisc
		f.Fd = -1 // not needed for this
		err := h.FilterDel(f)
		// Filter, qdisc or interface are gone.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove tc filter: %w", err)
		}
	}
	if ownQdisc {
		return removeClsactIfEmpty(h, index)
	}
	return nil
}

// removeClsactIfEmpty: a filter that somebody adds between the look and the removal would go, too; the kernel has no way
// to do both at once.
func removeClsactIfEmpty(h *netlink.Handle, index int) error {
	for _, parent := range tcParents {
		filters, err := listFilters(h, index, parent)
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil || len(filters) > 0 {
			return err
		}
	}
	err := h.QdiscDel(clsact(index))
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove clsact qdisc: %w", err)
	}
	return nil
}
