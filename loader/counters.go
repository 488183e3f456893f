package loader

import (
	"cmp"
	"errors"
	"slices"

	"netobs/bpf"
)

// PointCounters are the kernel's counters of all points with the same labels, since netobs started. They only grow.
type PointCounters struct {
	Netns, Interface, Direction string
	bpf.PointCounters
}

// Attachment says where points are attached.
type Attachment struct{ Netns, Hook string }

// Stats is what a Loader tells at scrape time.
type Stats struct {
	Points       []PointCounters    // ordered by labels
	Attached     map[Attachment]int // points that are live
	AttachErrors map[AttachError]uint64
	RecordsRead  uint64 // taken from the ring
	RecordsLost  uint64 // that found the ring full, or were above the rate limit

	Listens map[string]ListenCounts // by namespace, at most a second old
	Runs    map[string]BPFRuns      // by hook; nil where the kernel keeps no statistics of BPF programs
}

// Stats reads the counters in the kernel without stopping anything. May be called concurrently, until Close.
func (l *Loader) Stats() (Stats, error) {
	l.countListens()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetDeparted()
	s := Stats{
		Attached:     make(map[Attachment]int),
		AttachErrors: make(map[AttachError]uint64),
		RecordsRead:  l.read.Load(),
		RecordsLost:  l.progs.RecordsLost(),
		Listens:      l.listenStats(),
		Runs:         l.runStats(),
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
		s.Attached[Attachment{ns.Name, l.opts.hook()}] += 0
		for _, i := range ns.links {
			for _, p := range i.points {
				c, err := l.counted(p)
				errs = append(errs, err)
				sum := sums[p.labels]
				sum.Add(&c)
				sums[p.labels] = sum
				s.Attached[Attachment{ns.Name, p.hook}]++
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

// fold moves what a point has counted to the totals. The caller holds l.mu.
func (l *Loader) fold(p *point) error {
	c, err := l.counted(p)
	if err != nil {
		return err
	}
	sum := l.totals[p.labels]
	sum.Add(&c)
	l.totals[p.labels] = sum
	p.base.Add(&c)
	return nil
}

// retire keeps what a closed point has counted and frees its slot. The caller holds l.mu.
func (l *Loader) retire(p *point) error {
	err := l.fold(p)
	sum := l.ran[p.hook]
	sum.add(p.ran)
	l.ran[p.hook] = sum
	l.drop(p)
	return err
}

// drop frees the slot of a point that never was, or is no more. The caller holds l.mu.
func (l *Loader) drop(p *point) {
	l.slots.give(p.slot)
	l.retired.add(p.id)
}

// relabel gives an interface its metric label, and its veth peers in the host's namespace theirs: those are named by their
// peer, because their own names are made up and never come back. The caller holds l.mu.
func (l *Loader) relabel(ns *namespace, i *iface) {
	l.setLabel(i, l.label(ns, i))
	for _, host := range l.namespaces {
		if host == ns || host.Name != HostName || host.nsid != ownNsid {
			continue
		}
		for _, end := range host.links {
			if end.kind == KindVeth && end.peerNsid == ns.nsid && end.peerIndex == i.index {
				l.setLabel(end, peerLabel(ns, i))
			}
		}
	}
}

// label returns the label of an interface. A veth whose peer is gone keeps the one it had: it is about to go, too.
func (l *Loader) label(ns *namespace, i *iface) string {
	if ns.Name != HostName || i.kind != KindVeth {
		return i.name
	}
	// The peer's number is one of the host's namespace: it is ours too if netobs runs there.
	for _, peer := range l.namespaces {
		if ns.nsid == ownNsid && peer != ns && peer.nsid == i.peerNsid {
			if end := peer.links[i.peerIndex]; end != nil {
				return peerLabel(peer, end)
			}
		}
	}
	if i.label != "" {
		return i.label
	}
	return KindVeth
}

func peerLabel(ns *namespace, i *iface) string { return peerPrefix(ns.Name) + i.name }

func peerPrefix(netns string) string { return "veth→" + netns + "/" }

// setLabel changes the label under which the points of an interface are counted from now on. What they counted before
// stays where it was, as counters only grow. The caller holds l.mu.
func (l *Loader) setLabel(i *iface, label string) {
	if i.label == label {
		return
	}
	i.label = label
	for _, p := range i.points {
		if err := l.fold(p); err != nil {
			l.log.Error("cannot count under a new label", "label", label, "was", p.labels.iface, "err", err)
			continue
		}
		p.labels.iface = label
	}
}

// Interface is an interface of a watched namespace.
type Interface struct {
	Netns, Name, Kind string
	Up                bool
	Selected          bool // to be watched
	Watched           bool // in all directions; not if Selected could not be
}

// Interfaces returns the interfaces of all watched namespaces. May be called concurrently.
func (l *Loader) Interfaces() []Interface {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Interface
	for _, ns := range l.namespaces {
		for _, i := range ns.sorted() {
			all = append(all, Interface{ns.Name, i.name, i.kind, i.up, l.opts.Select.wants(i), i.isLive(l.opts.Hooks)})
		}
	}
	return all
}

// isLive reports whether all points of the interface are attached.
func (i *iface) isLive(hooks []string) bool { return len(i.points) == len(i.ladders(hooks)) }
