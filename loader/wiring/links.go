package wiring

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/inventory"
)

// listInterfaces returns those of the namespace that the calling thread is in, by index.
func listInterfaces() ([]*Interface, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	links, err := loader.Dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := loader.Dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []*Interface
	for _, l := range links {
		i := newInterface(l)
		for _, a := range addrs {
			if ip, ok := netip.AddrFromSlice(a.IP); ok && a.LinkIndex == i.Index {
				bits, _ := a.Mask.Size()
				i.Addresses = append(i.Addresses, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		i.Programs = listPrograms(h, l)
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *Interface) int { return cmp.Compare(a.Index, b.Index) })
	return all, nil
}

func newInterface(l netlink.Link) *Interface {
	a := l.Attrs()
	i := &Interface{
		Index:       a.Index,
		Name:        inventory.Printable(a.Name),
		Kind:        loader.KindOf(l),
		State:       "up",
		MTU:         a.MTU,
		parentIndex: a.ParentIndex,
		parentNsid:  a.NetNsID,
		masterIndex: a.MasterIndex,
	}
	if i.Kind != loader.KindLoopback {
		i.MAC = a.HardwareAddr.String()
	}
	// Operstate tells less: it is unknown where there is nothing like a carrier (lo, tun, wireguard), and comes late.
	switch {
	case a.RawFlags&unix.IFF_UP == 0:
		i.State = "down"
	case a.RawFlags&unix.IFF_LOWER_UP == 0:
		i.State = "no carrier"
	}
	return i
}

// listPrograms returns what is attached to an interface, in the order in which it runs: XDP, TCX, tc. What cannot be asked
// for, as the kernel has no TCX or the interface is gone, is not there.
func listPrograms(h *netlink.Handle, l netlink.Link) []Program {
	var all []Program
	a := l.Attrs()
	if a.Xdp != nil && a.Xdp.Attached {
		all = append(all, Program{Hook: loader.HookXDP, Direction: decode.Ingress.String(), ID: a.Xdp.ProgId})
	}
	for _, d := range []struct {
		direction decode.Direction
		tcx       ebpf.AttachType
		parent    uint32
	}{
		{decode.Ingress, ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS},
		{decode.Egress, ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS},
	} {
		if res, err := link.QueryPrograms(link.QueryOptions{Target: a.Index, Attach: d.tcx}); err == nil {
			for _, p := range res.Programs {
				all = append(all, Program{Hook: loader.HookTCX, Direction: d.direction.String(), ID: uint32(p.ID)})
			}
		}
		filters, _ := loader.Dump(func() ([]netlink.Filter, error) { return h.FilterList(l, d.parent) })
		for _, f := range filters {
			// Each priority comes first with an entry of its own, without handle.
			if b, ok := f.(*netlink.BpfFilter); ok && b.Handle != 0 {
				all = append(all, Program{Hook: loader.HookTC, Direction: d.direction.String(), ID: uint32(b.Id), Name: inventory.Printable(b.Name)})
			}
		}
	}
	for i := range all {
		all[i].Name = cmp.Or(all[i].Name, programName(ebpf.ProgramID(all[i].ID)))
	}
	return all
}

// programName is empty if the program is gone or may not be looked at.
func programName(id ebpf.ProgramID) string {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return ""
	}
	return inventory.Printable(info.Name)
}
