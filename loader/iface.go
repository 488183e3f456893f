package loader

import (
	"errors"
	"fmt"
	"net"
	"path"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kinds of interfaces that can be asked for. Others are named by the kernel's own word for them, such as vxlan.
const (
	KindLoopback = "loopback"
	KindVeth     = "veth"
	KindBridge   = "bridge"
	KindPhysical = "physical"
	KindAny      = "any"
	kindTap      = "tap" // the kernel calls both tun
	kindTun      = "tun"
)

// Kinds returns the kinds that Selection takes.
func Kinds() []string {
	return []string{KindLoopback, KindVeth, KindBridge, KindPhysical, kindTap, kindTun, "macvlan", "ipvlan", "netkit", "vlan",
		"bond", "vxlan", "wireguard", "gre", "ipip", "sit", KindAny}
}

// Selection says which interfaces are watched. The zero value means loopback, veth and bridge interfaces.
type Selection struct {
	// Kinds of interfaces. Optional: without, the three above, or all kinds if Names is given.
	Kinds []string
	// Names are globs as in path.Match; an interface must match one. Optional.
	Names []string
}

// Validate returns what is wrong with the globs.
func (s *Selection) Validate() error {
	var errs []error
	for _, glob := range s.Names {
		if _, err := path.Match(glob, ""); err != nil {
			errs = append(errs, fmt.Errorf("interface pattern %q: %w", glob, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Selection) wants(i *iface) bool {
	kinds := s.Kinds
	if len(kinds) == 0 {
		kinds = []string{KindLoopback, KindVeth, KindBridge}
		if len(s.Names) > 0 {
			kinds = []string{KindAny}
		}
	}
	if !slices.Contains(kinds, i.kind) && !slices.Contains(kinds, KindAny) {
		return false
	}
	return len(s.Names) == 0 || slices.ContainsFunc(s.Names, func(glob string) bool {
		ok, _ := path.Match(glob, i.name) // checked by Validate
		return ok
	})
}

// iface is what is known of one interface.
type iface struct {
	index       int
	name, kind  string
	up          bool
	header      header
	address     net.HardwareAddr
	masterIndex int    // of the bridge or bond it belongs to; 0 if none
	peerIndex   int    // of a veth, in the namespace peerNsid; 0 if not known
	peerNsid    int    // ownNsid: the same namespace
	under       int    // the interface that this one is on top of, in the same namespace; 0 if none
	carries     bool   // packets of others: see carrier.go
	label       string // in metrics
	points      []*point
	told        map[string]bool // what was logged about attempts to watch it, since one succeeded
}

// first reports whether what is to be said about an attempt to watch i was not said before: there is one with each event.
func (i *iface) first(what string) bool {
	if i.told[what] {
		return false
	}
	if i.told == nil {
		i.told = make(map[string]bool)
	}
	i.told[what] = true
	return true
}

func newIface(l netlink.Link) *iface {
	a := l.Attrs()
	i := &iface{
		index:       a.Index,
		name:        printable(a.Name),
		kind:        KindOf(l),
		up:          a.RawFlags&unix.IFF_UP != 0,
		header:      headerOf(a.EncapType),
		address:     a.HardwareAddr,
		masterIndex: a.MasterIndex,
		peerNsid:    a.NetNsID,
	}
	if i.kind == KindVeth {
		i.peerIndex = a.ParentIndex
	} else if i.peerNsid == ownNsid {
		i.under = a.ParentIndex
	}
	return i
}

// KindOf returns one of the kinds above, or the kernel's own word for another.
func KindOf(l netlink.Link) string {
	switch {
	case l.Attrs().EncapType == "loopback":
		return KindLoopback
	case l.Type() == "device":
		return KindPhysical
	case l.Type() == "tuntap" || l.Type() == "tun":
		if headerOf(l.Attrs().EncapType) == headerNone {
			return kindTun
		}
		return kindTap
	}
	return l.Type()
}

// header is what a packet begins with where the programs see it.
type header int

const (
	headerOther header = iota // none that is known
	headerEthernet
	headerNone // it begins with IP
)

// headerOf knows the kernel's types of interfaces (linux/if_arp.h) by the names that package netlink gives them: none is
// that of tun and wireguard, unknown519 and unknown823 are ARPHRD_RAWIP of modems and ARPHRD_IP6GRE.
func headerOf(encapType string) header {
	switch encapType {
	case "ether", "loopback":
		return headerEthernet
	case "none", "ppp", "ipip", "tunnel6", "sit", "gre", "unknown519", "unknown823":
		return headerNone
	}
	return headerOther
}
