package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// companyEvery is how often netobs looks who else is attached where it is.
const companyEvery = time.Minute

// checkCompany looks whether the points are still there, and first: programs that came to stand before them may end the
// chain, and then netobs does not see what passes. Who came is logged, once; netobs does not push ahead again, as that could
// go on for ever. A point that somebody removed is attached again.
func (l *Loader) checkCompany() {
	l.mu.Lock()
	l.forgetDeparted() // also if nobody asks for metrics
	l.mu.Unlock()
	for _, ns := range l.namespaces {
		if l.letGoIfEnded(ns) { // which an event told when nobody could look
			continue
		}
		if l.frozen {
			continue
		}
		l.findCarriers(ns)
		var removed []*iface
		err := ns.Do(func() (err error) {
			removed, err = l.checkCompanyIn(ns)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("cannot look who else is attached", "netns", ns.Name, "err", err)
		}
		for _, i := range removed {
			l.log.Warn("somebody removed netobs from an interface: attaching again; segments that passed meanwhile were not seen",
				"netns", ns.Name, "interface", i.name)
			l.detachIface(ns, i)
			if err := l.attachWanted(ns, i); err != nil {
				l.attachFailed(ns, i, err)
			}
		}
	}
}

// checkCompanyIn returns the interfaces of which a point was removed. The calling thread is in the namespace.
func (l *Loader) checkCompanyIn(ns *namespace) (removed []*iface, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	for _, i := range ns.links {
		there := true
		for _, p := range i.points {
			ahead, found, err := p.chain(h, i.index)
			if errors.Is(err, unix.ENODEV) {
				continue // the interface went: an event will tell
			}
			if err != nil {
				return removed, fmt.Errorf("%s: %w", i.name, err)
			}
			there = there && found
			for _, id := range ahead {
				l.noteAhead(ns, i, p, id)
			}
		}
		if !there {
			removed = append(removed, i)
		}
	}
	return removed, nil
}

// chain returns the programs that run before the point, and whether it is there.
func (p *point) chain(h *netlink.Handle, index int) (ahead []ebpf.ProgramID, found bool, err error) {
	info, err := p.front.Info()
	if err != nil {
		return nil, false, err
	}
	self, _ := info.ID()
	if p.hook == HookXDP {
		found, err = isXDPAttached(p.at)
		return nil, found, err // the only one
	}
	// TCX runs before the qdisc.
	res, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: p.tcxType()})
	switch {
	case err == nil:
		for _, prog := range res.Programs {
			if prog.ID == self {
				return ahead, true, nil
			}
			ahead = append(ahead, prog.ID)
		}
	case p.hook == HookTC && (errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL)):
		// no TCX in this kernel
	default:
		return nil, false, err
	}
	if p.hook == HookTCX {
		return nil, false, nil
	}
	filters, err := listFilters(h, index, tcParent(p.direction))
	if err != nil {
		return nil, false, err
	}
	for _, f := range filters {
		b, isBPF := f.(*netlink.BpfFilter)
		if isBPF && ebpf.ProgramID(b.Id) == self {
			return ahead, true, nil
		}
		// Entries without handle are the priorities themselves; id 0 is no program, but a filter of another kind.
		if f.Attrs().Handle != 0 && inFirstChain(f.Attrs()) {
			id := ebpf.ProgramID(0)
			if isBPF {
				id = ebpf.ProgramID(b.Id)
			}
			ahead = append(ahead, id)
		}
	}
	return nil, false, nil
}

// noteAhead logs a program in front of a point, once, unless it is another netobs.
func (l *Loader) noteAhead(ns *namespace, i *iface, p *point, id ebpf.ProgramID) {
	if p.ahead[id] {
		return
	}
	if p.ahead == nil {
		p.ahead = make(map[ebpf.ProgramID]bool)
	}
	p.ahead[id] = true
	who := "a filter that is no BPF program"
	if id != 0 {
		name, tag, err := programName(id)
		if err != nil {
			return // gone again
		}
		if own, err := p.front.Info(); err == nil && own.Tag == tag {
			return
		}
		who = fmt.Sprintf("BPF program %s (id %d)", name, id)
	}
	l.log.Warn("somebody is attached before netobs: packets that it decides about may not be seen; netobs goes first again "+
		"when it is started again", "netns", ns.Name, "interface", i.name, "direction", p.direction.String(), "hook", p.hook,
		"first", who)
}

// programName also returns the tag, which is the same for all copies of one program.
func programName(id ebpf.ProgramID) (name, tag string, err error) {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", "", err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return "", "", err
	}
	return printable(info.Name), info.Tag, nil
}
