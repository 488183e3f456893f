package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// A namespace may have connections when netobs comes. Those that end in it have sockets, of which its kernel tells
// (sock_diag(7)); so it is known who opened them. It is asked once, when the namespace is ready: as all points are live, no
// end is missed of what it tells. And it may tell of connections whose beginning was reported. The rules that make the count right:
//
//   - A census is handed on when all records were read that are older than its end. A connection that began at live points is
//     in it only after its SYN was reported, so the tracker knows it by then, and learns nothing new.
//   - One that ends after it was found is reported to end. If that was read before, the tracker remembers: it does for longer
//     than a census may take. So nothing is learned that is over.
//   - What is about to end, with both FINs sent, is not told.
//   - Points go live one after another. Of a connection that began or ended meanwhile half was reported. If it is open, it is in
//     the census, and if not, it is over, unless it is only forwarded: then it has no socket here. So a connection that the
//     tracker takes for open, with an address of the namespace, ends if it is not in the census and no segment came since.
//   - Connections that pass no watched interface are not learned: nobody would hear of their end.
//   - A namespace that is let go of takes with it what was not handed on.
//
// Connections that are only forwarded are seen when they end, as before.

// census is what a namespace told. Times are CLOCK_MONOTONIC, in ns, also those in open.
type census struct {
	ns          *namespace
	began, done int64
	open        []decode.Known
	over        func(a, b netip.AddrPort) bool // nil if not all was told
}

// learnWithin is how long a census may take: less than the tracker remembers an end.
const learnWithin = 2 * time.Second

// learn asks for the connections of a namespace that is ready, beside all that goes on.
func (l *Loader) learn(ns *namespace) {
	if ns.learned {
		return
	}
	at, paths, local := ns.Netns, l.pathsOf(ns), ns.addresses()
	if paths.none() {
		return // not yet
	}
	ns.learned = true
	l.learners.Go(func() {
		l.learning <- struct{}{} // one at a time
		defer func() { <-l.learning }()
		found, err := takeCensus(&at, paths, local)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it is gone again
			l.log.Warn("connections that were open before are not all known", "netns", at.Name, "err", err)
		}
		found.ns = ns
		l.tellCensus(found)
		if l.opts.Listeners {
			l.processes.mu.Lock()
			defer l.processes.mu.Unlock()
			l.processes.ask(ns.id)
		}
	})
}

// addresses returns those of the namespace.
func (ns *namespace) addresses() map[netip.Addr]bool {
	all := make(map[netip.Addr]bool)
	for a := range ns.local {
		all[a.Addr] = true
	}
	return all
}

// tellCensus hands on what was found, unless the namespace was let go of.
func (l *Loader) tellCensus(found census) {
	l.mu.Lock()
	wanted, wake := slices.Contains(l.namespaces, found.ns), l.wakeReader
	if wanted {
		l.censuses = append(l.censuses, found)
		l.polled.Store(true)
	}
	l.mu.Unlock()
	if wanted && wake != nil {
		wake()
	}
}

// takeCensuses returns those that were done before a time on CLOCK_MONOTONIC.
func (l *Loader) takeCensuses(upTo int64) (taken []decode.Census) {
	if !l.polled.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.censuses = slices.DeleteFunc(l.censuses, func(c census) bool {
		if c.done > upTo {
			return false
		}
		point := &decode.Point{NetnsID: c.ns.id, Netns: c.ns.Name}
		taken = append(taken, decode.Census{Time: c.began, Point: point, Open: c.open, Over: c.over})
		return true
	})
	l.polled.Store(len(l.censuses) > 0)
	return taken
}

// forgetCensus drops what was found in a namespace. The caller holds l.mu.
func (l *Loader) forgetCensus(ns *namespace) {
	l.censuses = slices.DeleteFunc(l.censuses, func(c census) bool { return c.ns == ns })
}

// Learned returns which connections were open when namespaces became ready, once for each, when all records were read that are
// older than the finding. upTo is up to when all were read, on the clock of segments.
func (r *Reader) Learned(upTo int64) []decode.Census {
	all := r.l.takeCensuses(upTo - r.epoch)
	for i := range all {
		all[i].Time += r.epoch
		for k := range all[i].Open {
			all[i].Open[k].Start += r.epoch
		}
	}
	return all
}

// takeCensus asks for the connections of a namespace, of which local are the addresses. With an error, there may be more. It
// wraps fs.ErrNotExist if the namespace is gone.
func takeCensus(ns *Netns, p paths, local map[netip.Addr]bool) (found census, err error) {
	err = ns.Do(func() error {
		clock := newClock()
		found.began = clock.monotonic()
		sockets, err := listSockets()
		found.done = clock.monotonic()
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("the kernel has no tcp_diag") // the namespace is there
		}
		if err != nil {
			return fmt.Errorf("list the sockets of %s: %w", ns.Name, err)
		}
		if err := p.begin(); err != nil {
			return fmt.Errorf("ask for routes in %s: %w", ns.Name, err)
		}
		defer p.end()
		conns, listening := connectionsOf(sockets)
		open := make(map[ends]bool)
		for i := range sockets {
			if s := &sockets[i]; s.beginning() {
				open[endsOf(s.local, s.remote)] = true
			}
		}
		for i := range conns {
			c := &conns[i]
			k, ok := c.known(listening, found.began)
			if !ok {
				continue
			}
			open[endsOf(c.socket.local, c.remote)] = true
			if clock.monotonic()-found.began > int64(learnWithin) {
				return fmt.Errorf("to find out which interfaces all %d pass takes longer than %s", len(conns), learnWithin)
			}
			if p.pass(c) {
				found.open = append(found.open, k)
			}
		}
		found.over = func(a, b netip.AddrPort) bool {
			here := local[a.Addr()] || local[b.Addr()] || a.Addr().IsLoopback() || b.Addr().IsLoopback()
			return here && !open[endsOf(a, b)]
		}
		return nil
	})
	return found, err
}

// ends are those of a connection, the lower one first.
type ends [2]netip.AddrPort

func endsOf(a, b netip.AddrPort) ends {
	if compareSockets(a, b) > 0 {
		a, b = b, a
	}
	return ends{a, b}
}

// paths tells which connections of a namespace pass a watched interface.
type paths struct {
	watched map[int]bool // indices of interfaces whose packets pass a point
	all     bool         // there is no other one, so nobody needs to ask
	routes  *netlink.Handle
	known   map[route]bool
}

type route struct{ local, remote netip.Addr }

// pathsOf looks which interfaces of ns are watched, now.
func (l *Loader) pathsOf(ns *namespace) paths {
	p := paths{watched: make(map[int]bool), all: true}
	for _, i := range ns.links {
		if len(i.points) == 0 {
			continue
		}
		p.watched[i.index] = true
		if i.masterIndex != 0 { // what a bridge or bond sends and gets passes a port
			p.watched[i.masterIndex] = true
		}
	}
	for _, i := range ns.sorted() { // one that is on top of others is younger, mostly
		p.watched[i.index] = p.watched[i.index] || p.watched[i.under]
		p.all = p.all && (p.watched[i.index] || !i.up)
	}
	return p
}

func (p *paths) none() bool {
	for _, watched := range p.watched {
		if watched {
			return false
		}
	}
	return true
}

func (p *paths) begin() (err error) {
	if p.all {
		return nil
	}
	p.known = make(map[route]bool)
	p.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	return err
}

func (p *paths) end() {
	if p.routes != nil {
		p.routes.Close()
	}
}

// pass reports whether the segments of c pass a watched interface, as far as the way out tells.
func (p *paths) pass(c *connection) bool {
	if p.all {
		return true
	}
	if c.ifindex != 0 {
		return p.watched[c.ifindex]
	}
	to := route{c.socket.local.Addr(), c.remote.Addr()}
	pass, ok := p.known[to]
	if !ok {
		routes, err := p.routes.RouteGetWithOptions(to.remote.AsSlice(), &netlink.RouteGetOptions{SrcAddr: to.local.AsSlice()})
		pass = err == nil && len(routes) > 0 && p.watched[routes[0].LinkIndex]
		p.known[to] = pass
	}
	return pass
}
