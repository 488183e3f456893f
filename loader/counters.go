package loader

import (
	"cmp"
	"errors"
	"slices"

	"netobs/bpf"
)

// HookTCX is the one hook there is yet.
const HookTCX = "tcx"

// PointCounters are the kernel's counters of all points with the same labels, since netobs started. They only grow.
type PointCounters struct {
	Netns, Interface, Direction string
	bpf.PointCounters
}

// Stats is what a Loader tells at scrape time.
type Stats struct {
	Points       []PointCounters // ordered by labels
	Attached     map[string]int  // points that are live, by namespace
	AttachErrors map[AttachError]uint64
	RecordsRead  uint64 // taken from the ring
	RecordsLost  uint64 // that found the ring full
}

// Stats reads the counters in the kernel without stopping anything. May be called concurrently, until Close.
func (l *Loader) Stats() (Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Attached:     make(map[string]int),
		AttachErrors: make(map[AttachError]uint64),
		RecordsRead:  l.read,
		RecordsLost:  l.progs.RecordsLost(),
	}
	for e, n := range l.errors {
		s.AttachErrors[e] = n
	}
	sums := make(map[pointLabels]bpf.PointCounters)
	for labels, c := range l.totals {
		sums[labels] = c
	}
	var errs []error
	for _, ns := range l.namespaces {
		if !ns.gone {
			s.Attached[ns.Name] += 0
		}
		for _, i := range ns.links {
			for _, p := range i.points {
				c, err := l.counted(p)
				errs = append(errs, err)
				sum := sums[p.labels]
				sum.Add(&c)
				sums[p.labels] = sum
				if p.live {
					s.Attached[ns.Name]++
				}
			}
		}
	}
	for labels, c := range sums {
		s.Points = append(s.Points, PointCounters{labels.netns, labels.iface, labels.direction.String(), c})
	}
	slices.SortFunc(s.Points, func(a, b PointCounters) int {
		return cmp.Or(cmp.Compare(a.Netns, b.Netns), cmp.Compare(a.Interface, b.Interface),
			cmp.Compare(a.Direction, b.Direction))
	})
	return s, errors.Join(errs...)
}

// counted returns what a point has counted. The caller holds l.mu.
func (l *Loader) counted(p *point) (bpf.PointCounters, error) {
	c, err := l.progs.Counters(p.slot)
	if err != nil {
		return bpf.PointCounters{}, err
	}
	c.Sub(&p.base)
	return c, nil
}

// retire keeps what a closed point has counted and frees its slot. The caller holds l.mu.
func (l *Loader) retire(p *point) error {
	c, err := l.counted(p)
	sum := l.totals[p.labels]
	sum.Add(&c)
	l.totals[p.labels] = sum
	l.slots.give(p.slot)
	l.retired.add(p.id)
	return err
}

// relabel makes the labels of all points true. Ends of veth pairs in the host's namespace are named by their peer,
// because their own names are made up and never come back. The caller holds l.mu.
func (l *Loader) relabel() {
	for _, ns := range l.namespaces {
		for _, i := range ns.links {
			for _, p := range i.points {
				p.labels = pointLabels{ns.Name, l.label(ns, i), l.points[p.id].Direction}
			}
		}
	}
}

func (l *Loader) label(ns *namespace, i *iface) string {
	if ns.Name != HostName || i.kind != KindVeth {
		return i.name
	}
	for _, peer := range l.namespaces {
		// The number is the host's for the peer: it is ours too if netobs runs there.
		if ns.nsid != ownNsid || peer.gone || peer.nsid != i.peerNsid {
			continue
		}
		if end := peer.links[i.peerIndex]; end != nil && peer != ns {
			return "veth→" + peer.Name + "/" + end.name
		}
	}
	return KindVeth
}

// Interface is an interface of a watched namespace.
type Interface struct {
	Netns, Name, Kind string
	Up, Watched       bool // watched in all directions
}

// Interfaces returns the interfaces of all watched namespaces. May be called concurrently.
func (l *Loader) Interfaces() []Interface {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Interface
	for _, ns := range l.namespaces {
		for _, i := range ns.sorted() {
			all = append(all, Interface{ns.Name, i.name, i.kind, i.up, i.isLive()})
		}
	}
	return all
}

// isLive reports whether all points of the interface are attached.
func (i *iface) isLive() bool {
	live := len(i.points) == len(i.directions())
	for _, p := range i.points {
		live = live && p.live
	}
	return live
}
