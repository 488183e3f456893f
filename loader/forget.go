package loader

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"netobs/bpf"
)

// keepFor is the default of Options.Keep: for some scrapes.
const keepFor = 5 * time.Minute

// depart notes that a name may not be in use any more. The caller holds l.mu.
func (l *Loader) depart(name string) {
	if l.roster != nil {
		l.departed[name] = time.Now()
	}
}

// forgetDeparted drops what was counted under names that nobody has any more, and notes those of namespaces for
// Reader.Forgotten. Else a host would have more series with each container. The caller holds l.mu.
func (l *Loader) forgetDeparted() {
	for name, at := range l.departed {
		if !l.isOver(at) {
			continue
		}
		delete(l.departed, name)
		if slices.ContainsFunc(l.namespaces, func(ns *namespace) bool { return ns.Name == name }) {
			continue
		}
		l.forget(func(of interfaceLabel) bool { return of.netns == name })
		maps.DeleteFunc(l.errors, func(e AttachError, _ uint64) bool { return e.Netns == name })
		delete(l.listenTotals, name)
		l.forgotten = append(l.forgotten, name)
	}
	l.forgetUnused()
}

// isOver reports whether what ended then was told for long enough.
func (l *Loader) isOver(at time.Time) bool { return time.Since(at) >= cmp.Or(l.opts.Keep, keepFor) }

// interfaceLabel is what the counters of the points of an interface have in common.
type interfaceLabel struct{ netns, iface string }

func (p pointLabels) ofInterface() interfaceLabel { return interfaceLabel{p.netns, p.iface} }

// forgetUnused drops what was counted in namespaces that are there at interfaces that are not. The caller holds l.mu.
func (l *Loader) forgetUnused() {
	there := make(map[string]bool)
	used := make(map[interfaceLabel]bool)
	for _, ns := range l.namespaces {
		there[ns.Name] = true
		for _, i := range ns.links {
			used[interfaceLabel{ns.Name, i.label}] = true
			for _, p := range i.points {
				used[p.labels.ofInterface()] = true
			}
		}
	}
	for labels := range l.totals {
		of := labels.ofInterface()
		if used[of] || !there[of.netns] {
			delete(l.unused, of)
		} else if _, known := l.unused[of]; !known {
			l.unused[of] = time.Now()
		}
	}
	l.forget(func(of interfaceLabel) bool {
		at, unused := l.unused[of]
		return unused && l.isOver(at)
	})
	maps.DeleteFunc(l.unused, func(_ interfaceLabel, at time.Time) bool { return l.isOver(at) })
}

// forget drops what points that are gone have counted, but from the sum. The caller holds l.mu.
func (l *Loader) forget(which func(interfaceLabel) bool) {
	maps.DeleteFunc(l.totals, func(labels pointLabels, c bpf.PointCounters) bool {
		if !which(labels.ofInterface()) {
			return false
		}
		l.dropped.Add(&c)
		return true
	})
}

// Total returns what all points have counted since netobs started, also where Stats tells nothing of it any more. May be
// called concurrently, until Close.
func (l *Loader) Total() (bpf.PointCounters, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := l.dropped
	for _, c := range l.totals {
		sum.Add(&c)
	}
	var errs []error
	for _, ns := range l.namespaces {
		for _, i := range ns.links {
			for _, p := range i.points {
				c, err := l.counted(p)
				errs = append(errs, err)
				sum.Add(&c)
			}
		}
	}
	return sum, errors.Join(errs...)
}
