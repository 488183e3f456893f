package loader

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"time"
)

// ListenCounts are what the kernel counts of the listening sockets of a namespace, since netobs watches it.
type ListenCounts struct {
	Overflows uint64 // connections that a full accept queue turned away: ListenOverflows
	Drops     uint64 // these, and SYNs that were dropped for other reasons: ListenDrops
}

func (c *ListenCounts) add(o ListenCounts) {
	c.Overflows += o.Overflows
	c.Drops += o.Drops
}

// since returns what was counted after base. The kernel's counters of a namespace only grow.
func (c ListenCounts) since(base ListenCounts) ListenCounts {
	return ListenCounts{c.Overflows - base.Overflows, c.Drops - base.Drops}
}

// listens are the counters of one namespace. The Loader's mu guards them.
type listens struct {
	at         Netns // a copy; guarded by Loader.listenMu
	base, last ListenCounts
	unreadable bool // now: better nothing is told than what once was
}

// listenEvery is how old counters may be that are told: to read them, each namespace is entered.
const listenEvery = time.Second

// netstat is where the kernel tells them, for the namespace of the thread.
const netstat = "/proc/thread-self/net/netstat"

// countListens reads the counters of all namespaces, unless it did so a moment ago. It is in each namespace only while it reads
// them, so it keeps none from ending. Of one that ended the last counters stay: it is about to be let go of.
func (l *Loader) countListens() {
	l.listenMu.Lock()
	defer l.listenMu.Unlock()
	if time.Since(l.listened) < listenEvery {
		return
	}
	var all []*listens
	l.mu.Lock()
	for _, ns := range l.namespaces {
		if ns.listens != nil {
			all = append(all, ns.listens)
		}
	}
	l.mu.Unlock()

	counts := make([]ListenCounts, len(all))
	errs := make([]error, len(all))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for i, ls := range all {
			if errs[i] = ls.at.enterThread(); errs[i] == nil {
				counts[i], errs[i] = readListens()
			}
		}
	}()
	<-done

	l.mu.Lock()
	defer l.mu.Unlock()
	for i, ls := range all {
		ls.unreadable = errs[i] != nil && !errors.Is(errs[i], fs.ErrNotExist)
		if errs[i] == nil {
			ls.last = counts[i]
		}
	}
	l.listened = time.Now()
}

// enterThread takes the calling thread into the namespace.
func (ns *Netns) enterThread() error {
	file, err := ns.open()
	if err != nil {
		return err
	}
	defer file.Close()
	return setns(file)
}

// beginListens notes what a namespace had counted before it is watched. The calling thread is in it. Where the kernel does not
// tell, there is nothing to count.
func (l *Loader) beginListens(ns *namespace) {
	counts, err := readListens()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && ns.listens == nil {
		ns.listens = &listens{at: ns.Netns, base: counts, last: counts}
	}
}

// foldListens moves what a namespace counted to what is kept of its name. The caller holds l.mu.
func (l *Loader) foldListens(ns *namespace) {
	if ns.listens == nil {
		return
	}
	sum := l.listenTotals[ns.Name]
	sum.add(ns.listens.last.since(ns.listens.base))
	l.listenTotals[ns.Name] = sum
	ns.listens.base = ns.listens.last
}

// listenStats returns the counters by name of namespace. The caller holds l.mu.
func (l *Loader) listenStats() map[string]ListenCounts {
	all := make(map[string]ListenCounts)
	for name, c := range l.listenTotals {
		all[name] = c
	}
	for _, ns := range l.namespaces {
		if ns.listens != nil && !ns.listens.unreadable {
			sum := all[ns.Name]
			sum.add(ns.listens.last.since(ns.listens.base))
			all[ns.Name] = sum
		}
	}
	return all
}

// readListens reads the counters of the namespace that the calling thread is in.
func readListens() (ListenCounts, error) {
	f, err := os.Open(netstat)
	if err != nil {
		return ListenCounts{}, err
	}
	defer f.Close()
	var text [16 << 10]byte // some 5 KiB are used; the kernel gives all in one piece
	n, err := f.Read(text[:])
	if err != nil {
		return ListenCounts{}, err
	}
	return parseNetstat(text[:n])
}

// parseNetstat finds the counters: a line of names, then one of values, each beginning with the name of the group.
func parseNetstat(text []byte) (c ListenCounts, err error) {
	var names [][]byte
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		switch {
		case len(fields) == 0 || string(fields[0]) != "TcpExt:":
		case names == nil:
			names = fields
		default:
			found := 0
			for i := range min(len(names), len(fields)) {
				var to *uint64
				switch string(names[i]) {
				case "ListenOverflows":
					to = &c.Overflows
				case "ListenDrops":
					to = &c.Drops
				default:
					continue
				}
				if *to, err = strconv.ParseUint(string(fields[i]), 10, 64); err != nil {
					return ListenCounts{}, fmt.Errorf("%s: %s: %w", netstat, names[i], err)
				}
				found++
			}
			if found == 2 {
				return c, nil
			}
		}
	}
	return ListenCounts{}, fmt.Errorf("%s: no ListenOverflows and ListenDrops", netstat)
}
