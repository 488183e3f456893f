package loader

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Privileges returns the capabilities, by their numbers in linux/capability.h, that a Loader takes after Attach:
//
//   - CAP_SYS_ADMIN, to enter namespaces and to load programs;
//   - CAP_NET_ADMIN, to attach to interfaces that come later, and to remove filters;
//   - CAP_SYS_PTRACE, where a namespace is found by a process, or who listens in it is asked;
//   - CAP_DAC_READ_SEARCH, where that process or a container's list may be another user's;
//   - CAP_DAC_OVERRIDE, with Options.Dynamic, to ask container engines of other users.
//
// CAP_NET_BROADCAST is not among them: the kernel asks whether who opened the socket had it.
func (l *Loader) Privileges() []uintptr {
	all := []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN}
	byProcess := l.roster != nil || l.opts.Listeners
	for _, ns := range l.namespaces {
		byProcess = byProcess || strings.HasPrefix(ns.Path, "/proc/") && ns.Path != ownNetns
	}
	if byProcess {
		all = append(all, unix.CAP_SYS_PTRACE)
	}
	if l.roster != nil || l.opts.Listeners {
		all = append(all, unix.CAP_DAC_READ_SEARCH)
	}
	if l.roster != nil {
		all = append(all, unix.CAP_DAC_OVERRIDE)
	}
	return all
}

// Freeze prepares for Follow without any privileges: it waits until what Attach began is done. What comes later is not watched
// then, which is logged and counted, and nothing more is told of listening sockets. Call it after Attach. It returns an error if
// privileges are needed to the end.
func (l *Loader) Freeze() error {
	if l.roster != nil {
		return errors.New("namespaces that come later can only be watched with privileges")
	}
	for _, ns := range l.namespaces {
		for _, i := range ns.sorted() {
			for _, p := range i.points {
				if p.hook == HookTC {
					return fmt.Errorf("%s in %s is watched by tc filters, which it takes CAP_NET_ADMIN to remove", i.name, ns.Name)
				}
			}
		}
	}
	l.learners.Wait()
	l.frozen = true
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ns := range l.namespaces {
		l.foldListens(ns)
		ns.listens = nil
	}
	return nil
}

// refuse tells that an interface which came after Freeze is not watched.
func (l *Loader) refuse(ns *namespace, i *iface) {
	if !i.first(refusedReason) {
		return
	}
	l.countError(ns, refusedReason)
	l.log.Warn("interface not watched: it came after netobs gave up its privileges; start netobs again to watch it", "netns", ns.Name,
		"interface", i.name)
}

// refusedReason is the reason of an AttachError.
const refusedReason = "no_privileges"
