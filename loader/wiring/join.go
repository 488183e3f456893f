package wiring

import (
	"os"

	"github.com/vishvananda/netlink"

	"netobs/loader"
)

// sameNetns is the number of the own namespace where a link says in which its peer or parent is.
const sameNetns = -1

// end is an interface and where it is.
type end struct {
	ns *Namespace
	i  *Interface
}

// join finds the masters, parents and peers of all interfaces.
func (h *Host) join() {
	// The two ends of a veth say of each other that they are the peer, each by its index in its own namespace.
	type pair struct{ index, peer int }
	veths := make(map[pair][]end)
	for _, ns := range h.Namespaces {
		for _, i := range ns.Interfaces {
			if i.Kind == loader.KindVeth {
				veths[pair{i.Index, i.parentIndex}] = append(veths[pair{i.Index, i.parentIndex}], end{ns, i})
			}
		}
	}
	for _, ns := range h.Namespaces {
		var far []*Interface
		for _, i := range ns.Interfaces {
			if master := ns.at(i.masterIndex); master != nil {
				i.Master = master.Name
			}
			switch {
			case i.parentIndex == 0:
			case i.parentNsid != sameNetns && i.Kind == loader.KindVeth:
				far = append(far, i)
			case i.parentNsid != sameNetns: // its parent stayed in the namespace that it came from
			case i.Kind == loader.KindVeth:
				if peer := ns.at(i.parentIndex); peer != nil {
					i.Peer = peerOf(end{ns, peer})
				}
			case ns.at(i.parentIndex) != nil:
				i.Parent = ns.at(i.parentIndex).Name
			}
		}
		if len(far) == 0 {
			continue
		}
		// Pairs of indices repeat: that of the container, and that of what hosts it. The number tells.
		netns := loader.NetnsOf(&ns.found)
		_ = netns.Do(func() error { // what is gone has no peers
			for _, i := range far {
				for _, e := range veths[pair{i.parentIndex, i.Index}] {
					if e.ns != ns && e.ns.number() == i.parentNsid {
						i.Peer = peerOf(e)
					}
				}
			}
			return nil
		})
	}
}

// number returns the one that the namespace has in the one that the calling thread is in, or sameNetns.
func (ns *Namespace) number() int {
	for _, path := range ns.found.Open() {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		id, err := netlink.GetNetNsIdByFd(int(f.Fd()))
		if err != nil {
			return sameNetns
		}
		return id
	}
	return sameNetns
}

func peerOf(e end) *Peer {
	return &Peer{Netns: e.ns.Name, Inode: e.ns.Inode, Index: e.i.Index, Interface: e.i.Name}
}
