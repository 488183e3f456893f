package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/vishvananda/netlink"

	"netobs/loader/inventory"
)

// hasEnded reports whether a namespace is no more: it has not the number any more under which its events are heard. One that
// ended has none, nor has a new one that got its inode. The error says why nobody can tell.
func (ns *namespace) hasEnded() (bool, error) {
	if ns.nsid == ownNsid {
		return false, nil
	}
	file, err := ns.open()
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	id, err := netlink.GetNetNsIdByFd(int(file.Fd()))
	if err != nil {
		return false, fmt.Errorf("ask for the number of the namespace: %w", err)
	}
	return id != ns.nsid, nil
}

// letGoIfEnded is for a namespace that is said to have ended. Where nobody can tell, it is kept until checkCompany looks again.
func (l *Loader) letGoIfEnded(ns *namespace) (ended bool) {
	ended, err := ns.hasEnded()
	if err != nil {
		l.log.Warn("cannot tell whether a network namespace has ended", "netns", ns.Name, "err", err)
	}
	if ended {
		l.ended(ns)
	}
	return ended
}

// relistOrLetGo is for a namespace that was watched before.
func (l *Loader) relistOrLetGo(ns *namespace) {
	ended, err := ns.hasEnded()
	if err == nil && !ended {
		err = l.relist(ns)
	}
	switch {
	case ended || errors.Is(err, fs.ErrNotExist):
		l.ended(ns)
	case err != nil:
		l.countError(ns, "enter")
		l.log.Error("cannot list interfaces again", "netns", ns.Name, "err", err)
	}
}

// letGo forgets a namespace that ended, or is not wanted any more.
func (l *Loader) letGo(ns *namespace) {
	for _, i := range ns.sorted() {
		l.removeLink(ns, i.index)
	}
	delete(l.pending, ns)
	l.mu.Lock()
	l.namespaces = slices.DeleteFunc(slices.Clone(l.namespaces), func(o *namespace) bool { return o == ns })
	l.gone.add(ns.id)
	l.forgetCensus(ns)
	l.foldListens(ns)
	l.depart(ns.Name)
	l.mu.Unlock()
	l.processes.forget(ns.id)
	if ns.fixed {
		l.log.Warn("network namespace is gone; to watch a new one of that name, start netobs again", "netns", ns.Name)
		return
	}
	l.log.Info("network namespace is gone", "netns", ns.Name)
}

// ended lets go of a namespace of which the kernel says that it is no more. There may be a new one that got its inode.
func (l *Loader) ended(ns *namespace) {
	l.letGo(ns)
	if l.roster != nil {
		l.roster.watcher.Forget(inventory.ID{Dev: ns.dev, Ino: ns.ino})
	}
}
