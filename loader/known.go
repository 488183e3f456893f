package loader

import (
	"net/netip"
	"slices"

	"netobs/decode"
)

// known is what the reader remembers of what it asked the Loader: so that a segment costs neither a lock, behind which a
// scrape may take long, nor a search for its address. It belongs to the reader's goroutine.
type known struct {
	l      *Loader
	change uint64 // what is remembered is as of this one of Loader.changes
	points map[uint32]*decode.Point
	local  map[netnsAddr]bool

	carriers map[uint32]bool // by id of point
}

type netnsAddr struct {
	netnsID uint32
	addr    netip.Addr
}

// knownAddrs is how many addresses are remembered at most: a scan must not fill the memory.
const knownAddrs = 4096

func (k *known) of(l *Loader) {
	k.l = l
	k.points = make(map[uint32]*decode.Point)
	k.local = make(map[netnsAddr]bool)
	k.carriers = make(map[uint32]bool)
}

// point returns the observation point with an id, nil if there is none.
func (k *known) point(id uint32) *decode.Point {
	if change := k.l.changes.Load(); change != k.change {
		k.change = change
		clear(k.points)
		clear(k.local)
		clear(k.carriers)
	}
	p := k.points[id]
	if p == nil {
		k.l.mu.Lock()
		p = k.l.points[id]
		k.l.mu.Unlock()
		if p != nil {
			k.points[id] = p
		}
	}
	return p
}

// carries reports whether a point is at an interface that carries others. Call it after point.
func (k *known) carries(id uint32) bool {
	carries, ok := k.carriers[id]
	if !ok {
		k.l.mu.Lock()
		carries = k.l.carriers[id]
		k.l.mu.Unlock()
		k.carriers[id] = carries
	}
	return carries
}

// isLocal reports whether addr is an address of the namespace. Call it after point.
func (k *known) isLocal(netnsID uint32, addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	q := netnsAddr{netnsID, addr}
	local, ok := k.local[q]
	if !ok {
		k.l.mu.Lock()
		local = k.l.isLocal(netnsID, addr)
		k.l.mu.Unlock()
		if len(k.local) >= knownAddrs {
			clear(k.local)
		}
		k.local[q] = local
	}
	return local
}

// isLocal reports whether addr is an address of the namespace. The caller holds l.mu.
func (l *Loader) isLocal(netnsID uint32, addr netip.Addr) bool {
	k := slices.IndexFunc(l.namespaces, func(ns *namespace) bool { return ns.id == netnsID })
	if k < 0 {
		return false // it ended
	}
	ns := l.namespaces[k]
	for index := range ns.links {
		if ns.local[localAddr{index, addr}] {
			return true
		}
	}
	return false
}
