package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A carrier is an interface under macvlan interfaces: it takes packets for their hardware addresses, too, and sends packets
// that their namespaces sent. For the namespace it is in, these are forwarded. What comes later is heard of where it is made
// in the namespace of its carrier; else it is found when netobs looks around, each companyEvery.

// canRide reports whether an interface of this kind has a hardware address of its own on another interface.
func canRide(kind string) bool { return kind == "macvlan" || kind == "macvtap" }

// noteRider marks the interface under i as a carrier, if i is one to be carried and both are in the same namespace.
// Carriers stay such: what they carry moves on to other namespaces, where nobody tells. The caller holds l.mu.
func (l *Loader) noteRider(ns *namespace, i *iface) {
	if under := ns.links[i.under]; canRide(i.kind) && under != nil {
		l.markCarrier(ns, under)
	}
}

// markCarrier tells the fronts of i and the reader. The caller holds l.mu.
func (l *Loader) markCarrier(ns *namespace, i *iface) {
	if i.carries {
		return
	}
	i.carries = true
	for _, p := range i.points {
		l.carriers[p.id] = true
	}
	l.updateBridgePorts(ns)
	l.changes.Add(1)
}

// listCarriers returns which interfaces of the thread's namespace take packets for unicast addresses that are not theirs.
func listCarriers() (map[int]bool, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	// Besides what bridges know, the kernel lists the addresses that each interface was told to take.
	entries, err := Dump(func() ([]netlink.Neigh, error) { return h.NeighList(0, unix.AF_BRIDGE) })
	if err != nil {
		return nil, fmt.Errorf("list hardware addresses: %w", err)
	}
	carriers := make(map[int]bool)
	for _, e := range entries {
		if e.Flags&netlink.NTF_SELF != 0 && isUnicast(e.HardwareAddr) && e.MasterIndex == 0 && e.IP == nil {
			carriers[e.LinkIndex] = true
		}
	}
	return carriers, nil
}

func isUnicast(hw net.HardwareAddr) bool { return len(hw) == 6 && hw[0]&1 == 0 }

// findCarriers marks the carriers of a namespace.
func (l *Loader) findCarriers(ns *namespace) {
	var carriers map[int]bool
	err := ns.Do(func() (err error) {
		carriers, err = listCarriers()
		return err
	})
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("cannot tell which interfaces have macvlan interfaces on top", "netns", ns.Name, "err", err)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for index := range carriers {
		if i := ns.links[index]; i != nil && i.kind != "vxlan" && i.kind != KindBridge {
			l.markCarrier(ns, i)
		}
	}
}
