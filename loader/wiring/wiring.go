package wiring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"netobs/loader"
	"netobs/loader/inventory"
)

// A Host is the networks of one host as they were when they were looked at. It is also the JSON that netobs prints.
type Host struct {
	Namespaces []*Namespace `json:"namespaces"` // the host's first, then by name
	// Skipped are processes whose namespace is not known, by reason.
	Skipped map[inventory.Skip]int `json:"skipped,omitempty"`
}

// A Namespace is a network namespace.
type Namespace struct {
	Name      string     `json:"name"` // as it is called in the label netns; may not be the only one of that name
	Inode     uint64     `json:"inode"`
	Host      bool       `json:"host,omitempty"`
	Paths     []string   `json:"paths,omitempty"`   // where it has a name
	Pid       int        `json:"pid,omitempty"`     // of its oldest process; absent for the host
	Process   string     `json:"process,omitempty"` // the name of that
	Container *Container `json:"container,omitempty"`
	// Guests are other containers in it: of a pod, or such as use the network of Container.
	Guests []Container `json:"guests,omitempty"`
	// Error is why the interfaces are not known.
	Error      string       `json:"error,omitempty"`
	Interfaces []*Interface `json:"interfaces"` // by index

	found inventory.Namespace
}

// A Container is what the namespace belongs to.
type Container struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Short is the name, or without it the first digits of the id, as Docker shows them.
func (c Container) Short() string { return cmp.Or(c.Name, c.ID[:min(12, len(c.ID))]) }

// An Interface is one of a namespace.
type Interface struct {
	Index     int            `json:"index"`
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`  // as --kind has it
	State     string         `json:"state"` // up, down (set so) or no carrier
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Master    string         `json:"master,omitempty"` // the bridge or bond that it is a port of
	Parent    string         `json:"parent,omitempty"` // what a VLAN, macvlan or the like sits on
	Peer      *Peer          `json:"peer,omitempty"`   // the other end of a veth; absent if it is in no namespace that was found
	Programs  []Program      `json:"programs,omitempty"`

	parentIndex, parentNsid int
	masterIndex             int
}

// A Peer is the other end of a veth pair.
type Peer struct {
	Netns     string `json:"netns"`
	Inode     uint64 `json:"inode"` // of that namespace
	Index     int    `json:"index"`
	Interface string `json:"interface"`
}

// A Program is an attached BPF program.
type Program struct {
	Hook      string `json:"hook"`      // tcx, tc or xdp
	Direction string `json:"direction"` // ingress or egress
	ID        uint32 `json:"id"`
	Name      string `json:"name,omitempty"` // of the program, or of the tc filter
	// Holders are the processes that have it or its link open.
	Holders []Holder `json:"holders,omitempty"`
}

// A Holder is a process.
type Holder struct {
	Pid     int    `json:"pid"`
	Process string `json:"process"`
}

// Look looks at all namespaces. One that cannot be entered says so; one that ended meanwhile is left out.
func Look(ctx context.Context) (*Host, error) {
	found, err := inventory.Scan(ctx)
	if err != nil {
		return nil, err
	}
	h := &Host{Skipped: found.Skipped}
	for _, n := range found.Namespaces {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ns := newNamespace(n)
		netns := loader.NetnsOf(&n)
		err := netns.Do(func() (err error) {
			ns.Interfaces, err = listInterfaces()
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			ns.Error = err.Error()
		}
		h.Namespaces = append(h.Namespaces, ns)
	}
	slices.SortStableFunc(h.Namespaces, func(a, b *Namespace) int {
		switch {
		case a.Host == b.Host:
			return 0
		case a.Host:
			return -1
		}
		return 1
	})
	h.join()
	h.findHolders()
	return h, nil
}

func newNamespace(n inventory.Namespace) *Namespace {
	ns := &Namespace{
		Name:       n.Label,
		Inode:      n.Ino,
		Host:       n.Host,
		Interfaces: []*Interface{}, // in JSON a list in any case
		found:      n,
	}
	for _, path := range n.Paths {
		ns.Paths = append(ns.Paths, inventory.Printable(path))
	}
	if !n.Host {
		ns.Pid, ns.Process = n.Pid, inventory.Printable(n.Process)
	}
	if n.Container.ID != "" {
		ns.Container = &Container{n.Container.ID, inventory.Printable(n.Container.Name)}
	}
	for _, c := range n.Guests {
		ns.Guests = append(ns.Guests, Container{c.ID, inventory.Printable(c.Name)})
	}
	return ns
}

// at returns the interface with an index, nil if there is none.
func (ns *Namespace) at(index int) *Interface {
	i, ok := slices.BinarySearchFunc(ns.Interfaces, index, func(i *Interface, index int) int { return cmp.Compare(i.Index, index) })
	if !ok {
		return nil
	}
	return ns.Interfaces[i]
}

// String is how people are told of a peer.
func (p *Peer) String() string { return fmt.Sprintf("%s/%s", p.Netns, p.Interface) }
