package bpf

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Watch says what netobs watch shows: each record is a WatchedRecord then. Other programs stand in the place of the slow ones,
// which have nothing of this.
type Watch struct {
	// Report every segment, not only control segments: all go the way through the slow program, and into the ring.
	All bool
	// Copy the first bytes of the payload, too.
	Payload bool
	// Of which connections. Optional.
	Filter Filter
}

// Filter says which connections are reported: those with an end among Ports, if there are any, and one among Hosts, if there
// are any, and none among the others. The kernel keeps no account of those that are not.
type Filter struct {
	Ports, NotPorts []uint16
	Hosts, NotHosts []netip.Prefix
}

// FiltersMax is how many ports, or hosts, a Filter has at most.
const FiltersMax = 4096

// Bits of what the maps of a filter say.
const (
	filterOnly = uint8(netobsFilterFILTER_ONLY)
	filterNot  = uint8(netobsFilterFILTER_NOT)
)

// constants returns what the programs are told, the filter apart.
func (w *Watch) constants() (c netobsWatching) {
	c.All, c.Payload = uint32(flag(w.All)), uint32(flag(w.Payload))
	either := func(only, not int) (bits uint32) {
		return uint32(flag(only > 0)*filterOnly | flag(not > 0)*filterNot)
	}
	c.Ports = either(len(w.Filter.Ports), len(w.Filter.NotPorts))
	c.Hosts = either(len(w.Filter.Hosts), len(w.Filter.NotHosts))
	return c
}

// ports returns what is said of each port.
func (f *Filter) ports() map[uint16]uint8 {
	says := make(map[uint16]uint8)
	for _, port := range f.Ports {
		says[port] |= filterOnly
	}
	for _, port := range f.NotPorts {
		says[port] |= filterNot
	}
	return says
}

// hosts returns what is said of each prefix, and of those that it is a part of: the kernel asks the longest only.
func (f *Filter) hosts() map[netip.Prefix]uint8 {
	says := make(map[netip.Prefix]uint8)
	for i, list := range [...][]netip.Prefix{f.Hosts, f.NotHosts} {
		for _, prefix := range list {
			says[prefix.Masked()] |= [...]uint8{filterOnly, filterNot}[i]
		}
	}
	if len(says) > 0 {
		says[netip.PrefixFrom(netip.IPv4Unspecified(), 0)] |= 0 // so that no prefix of IPv6 says anything of IPv4
	}
	whole := make(map[netip.Prefix]uint8, len(says))
	for prefix := range says {
		for wider, bits := range says {
			if wider.Bits() <= prefix.Bits() && wider.Contains(prefix.Addr()) {
				whole[prefix] |= bits
			}
		}
	}
	return whole
}

// put enters f into the maps of the programs.
func (f *Filter) put(maps map[string]*ebpf.Map) error {
	for port, says := range f.ports() {
		if err := maps[netobsMapWatchPorts].Put(port, says); err != nil {
			return fmt.Errorf("enter port %d into the filter: %w", port, err)
		}
	}
	for prefix, says := range f.hosts() {
		if err := maps[netobsMapWatchHosts].Put(hostPrefix(prefix), says); err != nil {
			return fmt.Errorf("enter %s into the filter: %w", prefix, err)
		}
	}
	return nil
}

// hostPrefix is the key of a prefix: the number of bits in host byte order, and the address as in records.
func hostPrefix(p netip.Prefix) (key struct {
	Bits    uint32
	Address [16]byte
}) {
	key.Bits, key.Address = uint32(p.Bits()), p.Addr().As16()
	if p.Addr().Is4() {
		key.Bits += 128 - 32
	}
	return key
}
