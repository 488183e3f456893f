package loader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// namespace is a watched namespace and what is known of it.
type namespace struct {
	Netns
	id      uint32         // counts up; in records and in decode.Point
	nsid    int            // its number in netobs' own namespace, or ownNsid
	fixed   bool           // of Options.Netns
	learned bool           // its connections were asked for
	links   map[int]*iface // by ifindex
	local   map[localAddr]bool
	listens *listens // nil if the kernel does not tell
}

// addNamespace makes a namespace known. The host's is the last: the ends inside the others go live first, so that a
// connection is seen from where it begins.
func (l *Loader) addNamespace(netns Netns) *namespace {
	l.lastNetns++
	ns := &namespace{
		Netns: netns,
		id:    l.lastNetns,
		nsid:  noNsid,
		links: make(map[int]*iface),
		local: make(map[localAddr]bool),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.namespaces)
	if at > 0 && l.namespaces[at-1].Name == HostName {
		at--
	}
	l.namespaces = slices.Insert(slices.Clone(l.namespaces), at, ns)
	return ns
}

// Attach lists the interfaces of all namespaces and attaches to those that are selected. It returns an error only when
// nothing can work: the kernel has none of the hooks, a namespace of Options.Netns cannot be entered, a container is not
// there. When it returns, the points are live, unless ctx is done: then it stops early.
func (l *Loader) Attach(ctx context.Context) error {
	return l.hurryIf(l.opts.FastAttach, func() error {
		for _, ns := range l.namespaces {
			if err := l.relist(ns); err != nil {
				return fmt.Errorf("watch network namespace %s: %w", ns.Name, err)
			}
		}
		if err := l.findFirst(ctx); err != nil {
			return err
		}
		for len(l.pending) > 0 && ctx.Err() == nil {
			if err := l.attachNext(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Follow attaches and detaches as interfaces come and go, until ctx is done; then it detaches everything. Call it after
// Attach. It begins by putting right what RestoreSettings does.
func (l *Loader) Follow(ctx context.Context) error {
	l.restoreSettings()
	stop := context.AfterFunc(ctx, func() { l.monitor.stop() })
	defer stop()
	look := time.Now().Add(l.companyEvery)
	for {
		l.monitor.wakeAt(look)
		if ctx.Err() != nil { // looked at, as the roster is, after wakeAt, which may have undone the stop
			return l.detachAll()
		}
		if !time.Now().Before(look) {
			l.checkCompany()
			look = time.Now().Add(l.companyEvery)
			continue
		}
		// First what changed, then who is there, then what takes long: an interface that is to be attached to may have moved
		// meanwhile, and that a namespace ended is heard before another one gets its inode.
		if !l.monitor.queued() {
			update, ok, err := l.roster.next()
			switch {
			case err != nil:
				return errors.Join(err, l.detachAll())
			case ok:
				l.apply(update)
				continue
			case len(l.pending) > 0:
				if err := l.hurryIf(l.opts.FastAttach, l.attachNext); err != nil {
					l.log.Error("cannot watch any more", "err", err)
				}
				continue
			}
		}
		ev, err := l.monitor.receive()
		switch {
		case ctx.Err() != nil:
			return l.detachAll()
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, errOverflow):
			l.log.Warn("interface events were lost: listing again")
			for _, ns := range l.namespaces {
				l.relistOrLetGo(ns)
			}
			continue
		case err != nil:
			return errors.Join(err, l.detachAll())
		}
		l.handle(ev)
	}
}

func (l *Loader) handle(ev linkEvent) {
	for _, ns := range l.namespaces {
		if ns.nsid != ev.nsid {
			continue
		}
		switch {
		case ev.gone:
			// Numbers are used again: this may be about a former namespace with the same one.
			l.letGoIfEnded(ns)
		case ev.link != nil && ev.removed:
			l.removeLink(ns, ev.link.Attrs().Index)
		case ev.link != nil:
			l.want(ns, l.updateLink(ns, ev.link))
		case ev.addr.IsValid():
			l.mu.Lock()
			if ev.removed {
				delete(ns.local, ev.addr)
			} else {
				ns.local[ev.addr] = true
			}
			l.changes.Add(1)
			l.mu.Unlock()
		}
	}
}

// relist makes what is known of a namespace true, and notes what is to be attached to.
func (l *Loader) relist(ns *namespace) error {
	file, err := ns.open()
	if err != nil {
		return err
	}
	defer file.Close()
	own, err := findPath(ownNetns, "own")
	if err != nil {
		return err
	}
	// First numbered, then listed: what happens in between is heard. What was heard before is older than the list, and
	// may be of another namespace that had the number. The number is one of netobs' own namespace.
	nsid, err := numberNetns(int(file.Fd()), ns.Same(&own))
	if err != nil {
		return err
	}
	var links []netlink.Link
	var addrs []localAddr
	l.monitor.forget(nsid)
	var left []Leftovers
	var leftErr error
	err = enter(file, func() (err error) {
		links, addrs, err = list()
		left, leftErr = removeLeftovers()
		l.beginListens(ns)
		return err
	})
	if err != nil {
		return err
	}
	l.noteLeftovers(ns, left, leftErr)
	file.Close() // attaching takes long
	l.mu.Lock()
	ns.nsid = nsid
	clear(ns.local)
	for _, a := range addrs {
		ns.local[a] = true
	}
	l.changes.Add(1)
	l.mu.Unlock()

	listed := make(map[int]bool)
	for _, link := range links {
		listed[link.Attrs().Index] = true
		l.updateLink(ns, link)
	}
	for index := range ns.links {
		if !listed[index] {
			l.removeLink(ns, index)
		}
	}
	l.findCarriers(ns)
	for _, i := range ns.links {
		l.want(ns, i)
	}
	return nil
}

// want notes that an interface is to be attached to, if it is selected and not watched.
func (l *Loader) want(ns *namespace, i *iface) {
	if len(i.points) > 0 || !l.opts.Select.wants(i) {
		return
	}
	if l.frozen {
		l.refuse(ns, i)
		return
	}
	if l.pending[ns] == nil {
		l.pending[ns] = make(map[int]bool)
	}
	l.pending[ns][i.index] = true
}

// attachNext attaches to one interface: the host's after all others, in a namespace the first one first, which is lo. It
// returns an error only if no other one could be watched either.
func (l *Loader) attachNext() error {
	for _, ns := range l.namespaces {
		indices := l.pending[ns]
		if indices == nil {
			continue
		}
		index := slices.Min(slices.Collect(maps.Keys(indices)))
		if delete(indices, index); len(indices) == 0 {
			delete(l.pending, ns)
		}
		if i := ns.links[index]; i != nil {
			err := l.attachWanted(ns, i)
			if err != nil && (ns.fixed || errors.Is(err, ebpf.ErrNotSupported)) {
				return fmt.Errorf("watch network namespace %s: %w", ns.Name, err)
			}
			if err != nil {
				l.attachFailed(ns, i, err)
			}
		}
		if l.pending[ns] == nil {
			l.learn(ns)
		}
		return nil
	}
	clear(l.pending) // of namespaces that are gone
	return nil
}

func (l *Loader) noteLeftovers(ns *namespace, left []Leftovers, err error) {
	for _, i := range left {
		if i.Removed > 0 {
			l.log.Warn("removed what a netobs that was killed had left", "netns", ns.Name, "interface", i.Interface,
				"filters", i.Removed)
		}
	}
	if err != nil {
		l.log.Warn("cannot look for what a netobs that was killed may have left", "netns", ns.Name, "err", err)
	}
}

// attachWanted attaches to an interface if it is selected and not watched. What concerns this interface alone is counted
// and logged; it returns an error only if no other one could be watched either.
func (l *Loader) attachWanted(ns *namespace, i *iface) error {
	if len(i.points) > 0 || !l.opts.Select.wants(i) {
		return nil
	}
	err := ns.Do(func() error { return l.attachIface(ns, i) })
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM) {
		return err
	}
	if err != nil {
		l.attachFailed(ns, i, err)
	}
	return nil
}

// sorted returns the interfaces by index: lo first, as the kernel made them.
func (ns *namespace) sorted() []*iface {
	var all []*iface
	for _, i := range ns.links {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *iface) int { return cmp.Compare(a.index, b.index) })
	return all
}

// updateLink notes what an interface is now. A new name detaches if it is not wanted any more; else the points go on.
func (l *Loader) updateLink(ns *namespace, link netlink.Link) *iface {
	now := newIface(link)
	l.mu.Lock()
	old := ns.links[now.index]
	renamed := false
	if old != nil {
		now.points, now.label, now.carries, now.told = old.points, old.label, old.carries, old.told
		renamed = old.name != now.name
	}
	ns.links[now.index] = now
	if renamed {
		for _, p := range now.points {
			moved := *l.points[p.id]
			moved.Interface = now.name
			l.points[p.id] = &moved
		}
	}
	if renamed || old == nil {
		l.changes.Add(1)
	}
	if old != nil && !slices.Equal(old.address, now.address) {
		l.updateAddress(ns, now)
	}
	if old == nil || old.masterIndex != now.masterIndex || old.kind != now.kind {
		l.updateBridgePorts(ns)
	}
	l.noteRider(ns, now)
	l.relabel(ns, now)
	l.mu.Unlock()
	if renamed {
		l.log.Info("interface renamed", "netns", ns.Name, "interface", now.name, "was", old.name)
		if len(now.points) > 0 && !l.opts.Select.wants(now) {
			l.detachIface(ns, now)
		}
	}
	return now
}

// updateAddress tells the fronts at XDP, which must know by themselves for whom a packet is.
func (l *Loader) updateAddress(ns *namespace, i *iface) {
	for _, p := range i.points {
		if p.hook != HookXDP {
			continue
		}
		if err := l.progs.SetAddress(p.slot, i.address); err != nil {
			l.log.Error("cannot note the address", "netns", ns.Name, "interface", i.name, "err", err)
		}
	}
}

// updateBridgePorts tells the fronts which interfaces get packets for others, to pass them on. The caller holds l.mu.
func (l *Loader) updateBridgePorts(ns *namespace) {
	for _, i := range ns.links {
		for _, p := range i.points {
			if err := l.progs.SetBridgePort(p.slot, ns.passesOn(i)); err != nil {
				l.log.Error("cannot mark bridge port", "netns", ns.Name, "interface", i.name, "err", err)
			}
		}
	}
}

// passesOn reports whether packets for others are no mistake at an interface: a port of a bridge, or a carrier.
func (ns *namespace) passesOn(i *iface) bool {
	master := ns.links[i.masterIndex]
	return i.carries || master != nil && master.kind == KindBridge
}

func (l *Loader) removeLink(ns *namespace, index int) {
	i := ns.links[index]
	if i == nil {
		return
	}
	l.detachIface(ns, i)
	l.mu.Lock()
	delete(ns.links, index)
	l.changes.Add(1)
	l.mu.Unlock()
}

// attachIface attaches all points of an interface or none. The calling thread is in its namespace.
func (l *Loader) attachIface(ns *namespace, i *iface) (err error) {
	if i.header == headerOther {
		return &attachFailure{"not_ethernet",
			fmt.Errorf("attach to %s in %s: its packets begin neither with an Ethernet header nor with IP", i.name, ns.Name)}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.closePoints(i))
		}
	}()
	line := []any{"netns", ns.Name, "interface", i.name, "kind", i.kind}
	for _, ladder := range i.ladders(l.opts.Hooks) {
		p, mode, err := l.climb(ns, i, ladder)
		if err != nil {
			return err
		}
		hook := p.hook
		if mode != "" {
			hook += " " + mode
		}
		line = append(line, p.direction.String(), hook)
	}
	i.told = nil
	l.log.Info("watching", line...)
	return nil
}

// climb attaches a point at the first place of the ladder that takes it.
func (l *Loader) climb(ns *namespace, i *iface, ladder []place) (p *point, mode string, err error) {
	for _, pl := range ladder {
		if p, mode, err = l.attachPoint(ns, i, pl); err == nil || !pl.yields(err) {
			return p, mode, err
		}
		if i.first(pl.hook + " " + pl.direction.String()) {
			l.log.Info("hook not available", "netns", ns.Name, "interface", i.name, "direction", pl.direction.String(),
				"hook", pl.hook, "err", err)
		}
	}
	return nil, "", err
}

func (l *Loader) attachPoint(ns *namespace, i *iface, pl place) (*point, string, error) {
	p, err := l.newPoint(ns, i, pl)
	if err != nil {
		return nil, "", err
	}
	mode, err := l.attach(p, ns, i)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.drop(p)
		return nil, "", err
	}
	i.points = append(i.points, p)
	return p, mode, nil
}

// newPoint makes a point known before it is attached: its first record may come at once.
func (l *Loader) newPoint(ns *namespace, i *iface, pl place) (*point, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	slot, ok := l.slots.take()
	if !ok {
		return nil, &attachFailure{"too_many_points",
			fmt.Errorf("attach to %s in %s: %d observation points are in use, and there are no more", i.name, ns.Name,
				len(l.points))}
	}
	base, err := l.progs.Counters(slot)
	if err == nil {
		err = l.progs.SetBridgePort(slot, ns.passesOn(i))
	}
	if err != nil {
		l.slots.give(slot)
		return nil, &attachFailure{"load", err}
	}
	l.lastPoint++
	p := &point{id: l.lastPoint, slot: slot, place: pl, base: base}
	l.points[p.id] = &decode.Point{
		ID:        p.id,
		NetnsID:   ns.id,
		Netns:     ns.Name,
		Interface: i.name,
		Direction: pl.direction,
		Loopback:  i.kind == KindLoopback,
	}
	if i.carries {
		l.carriers[p.id] = true
	}
	p.labels = pointLabels{ns.Name, i.label, pl.direction}
	return p, nil
}

// detachIface closes the points of an interface and keeps what they counted.
func (l *Loader) detachIface(ns *namespace, i *iface) error {
	if len(i.points) == 0 {
		return nil
	}
	err := l.closePoints(i)
	if err != nil {
		l.log.Error("cannot detach cleanly", "netns", ns.Name, "interface", i.name, "err", err)
	} else {
		l.log.Info("no longer watching", "netns", ns.Name, "interface", i.name)
	}
	return err
}

// closePoints detaches an interface. What its programs counted is final, and their slots are free, when none of them is running
// any more: closing a link of TCX waits for that, those of XDP and filters of tc do not.
func (l *Loader) closePoints(i *iface) error {
	var errs []error
	for _, p := range slices.Backward(i.points) {
		errs = append(errs, l.closePoint(p))
	}
	if slices.ContainsFunc(i.points, func(p *point) bool { return p.hook != HookTCX }) {
		errs = append(errs, l.waitForRuns())
	}
	l.mu.Lock()
	for _, p := range i.points {
		errs = append(errs, l.retire(p))
	}
	i.points = nil
	l.mu.Unlock()
	return errors.Join(errs...)
}

// attachFailed counts a failure, and logs it if it is the first one of its kind; an interface or a namespace that is gone
// again is no failure.
func (l *Loader) attachFailed(ns *namespace, i *iface, err error) {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) {
		l.log.Debug("interface gone before it was watched", "netns", ns.Name, "interface", i.name)
		return
	}
	reason := "enter"
	var failure *attachFailure
	if errors.As(err, &failure) {
		reason = failure.reason
	}
	l.countError(ns, reason)
	if i.first(reason) {
		l.log.Error("interface not watched", "netns", ns.Name, "interface", i.name, "err", err)
	}
}

func (l *Loader) countError(ns *namespace, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors[AttachError{ns.Name, reason}]++
}
