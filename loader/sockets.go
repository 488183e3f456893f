package loader

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// socket is what the kernel says of a TCP socket (sock_diag(7)).
type socket struct {
	local, remote netip.AddrPort // IPv4 as 4-byte addresses, in IPv6 sockets, too
	state         uint8          // as in include/net/tcp_states.h
	ifindex       int            // what it is bound to, as those of link-local addresses are; 0 if nothing
	idle          time.Duration  // since its last segment; so it is at least as old
	opener        opener
}

// opener says whether a socket sent the SYN of its connection.
type opener uint8

const (
	openerUnknown opener = iota
	opened
	accepted
)

// openerOf reads it off what the kernel counted. Bytes_acked counts numbers that were acknowledged, with the SYN if the socket
// began with one: what accept returns begins behind it (tcp_snd_una_update, tcp_create_openreq_child). The rest is payload, which
// was sent and, as nothing is in flight, acknowledged.
func openerOf(state uint8, info *netlink.TCPInfo) opener {
	if info.Unacked != 0 || state != netlink.TCP_ESTABLISHED && state != netlink.TCP_CLOSE_WAIT {
		return openerUnknown // or it sent a FIN, which counts, too
	}
	switch int64(info.Bytes_acked - (info.Bytes_sent - info.Bytes_retrans)) {
	case 0:
		return accepted
	case 1:
		return opened
	}
	return openerUnknown // such as after a socket option TCP_REPAIR
}

// listSockets returns the TCP sockets of the calling thread's namespace.
func listSockets() ([]socket, error) {
	var all []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.SocketDiagTCPInfo(family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what is told then is true, too
			return nil, err
		}
		all = slices.Grow(all, len(list))
		for _, s := range list {
			all = append(all, socketOf(s))
		}
	}
	return all, nil
}

func socketOf(r *netlink.InetDiagTCPInfoResp) socket {
	id := &r.InetDiagMsg.ID
	s := socket{
		local:   addrPort(id.Source, id.SourcePort),
		remote:  addrPort(id.Destination, id.DestinationPort),
		state:   r.InetDiagMsg.State,
		ifindex: int(id.Interface),
	}
	if i := r.TCPInfo; i != nil {
		s.idle = time.Duration(max(i.Last_data_sent, i.Last_data_recv, i.Last_ack_recv)) * time.Millisecond
		s.opener = openerOf(s.state, i)
	}
	return s
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// open reports whether the connection of s is open, and one FIN at most was sent.
func (s *socket) open() bool {
	switch s.state {
	case netlink.TCP_ESTABLISHED, netlink.TCP_CLOSE_WAIT, netlink.TCP_FIN_WAIT1, netlink.TCP_FIN_WAIT2:
		return true
	}
	return false
}

// listeners are the addresses that are listened on, by port.
type listeners map[uint16][]netip.Addr

func (l listeners) has(s netip.AddrPort) bool {
	return slices.ContainsFunc(l[s.Port()], func(a netip.Addr) bool { return a.IsUnspecified() || a == s.Addr() })
}

// beginning reports whether the handshake of s goes on.
func (s *socket) beginning() bool {
	switch s.state {
	case netlink.TCP_SYN_SENT, netlink.TCP_SYN_RECV, netlink.TCP_NEW_SYN_REC:
		return true
	}
	return false
}

// connection is one that sockets of a namespace are the ends of. With both in the namespace it has one or two, and other is the
// one of remote.
type connection struct {
	socket
	other *socket
	local bool // both ends are in the namespace
}

// connectionsOf finds the connections that are open.
func connectionsOf(sockets []socket) ([]connection, listeners) {
	type pair struct{ local, remote netip.AddrPort }
	listening := make(listeners)
	ends := make(map[pair]*socket)
	for i := range sockets {
		s := &sockets[i]
		if s.state == netlink.TCP_LISTEN {
			listening[s.local.Port()] = append(listening[s.local.Port()], s.local.Addr())
		} else {
			ends[pair{s.local, s.remote}] = s
		}
	}
	var all []connection
	for i := range sockets {
		s := &sockets[i]
		if !s.open() {
			continue
		}
		other := ends[pair{s.remote, s.local}]
		if other == s { // a socket that connected to itself
			other = nil
		}
		if other != nil && (!other.open() || compareSockets(s.local, s.remote) > 0) {
			continue // over; or it is that one's turn
		}
		all = append(all, connection{*s, other, other != nil || s.remote.Addr().IsLoopback() || s.remote.Addr() == s.local.Addr()})
	}
	return all, listening
}

func compareSockets(a, b netip.AddrPort) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
}

// responder tells which end is the responder: that on whose port somebody listens, or else which the kernel knows not to have
// sent the SYN. Where it does not, as data is in flight, the end without listener is believed to be the originator, if there
// is but one: who listens seldom stops before the connections do.
func (c *connection) responder(l listeners) (local, known bool) {
	here, there := l.has(c.socket.local), c.local && l.has(c.remote)
	by := c.opener
	if by == openerUnknown && c.other != nil {
		by = [...]opener{openerUnknown, accepted, opened}[c.other.opener]
	}
	switch {
	case here != there:
		return here, true
	case by != openerUnknown:
		return by == accepted, true
	}
	return here, !c.local
}

// closer tells which end sent a FIN.
func (c *connection) closer() (local, remote bool) {
	local, remote = c.socket.closer()
	if c.other != nil {
		r, l := c.other.closer()
		local, remote = local || l, remote || r
	}
	return local, remote
}

func (s *socket) closer() (local, remote bool) {
	return s.state == netlink.TCP_FIN_WAIT1 || s.state == netlink.TCP_FIN_WAIT2, s.state == netlink.TCP_CLOSE_WAIT
}

// known returns c for the tracker; false if it is as good as over. Times are those of the clock of now.
func (c *connection) known(l listeners, now int64) (decode.Known, bool) {
	k := decode.Known{Start: now - int64(c.idle), Originator: c.socket.local, Responder: c.remote, Closer: decode.SideUnknown}
	if c.other != nil {
		k.Start = min(k.Start, now-int64(c.other.idle))
	}
	here, there := decode.Originator, decode.Responder
	local, known := c.responder(l)
	if k.OriginatorKnown = known; local && known {
		here, there = there, here
		k.Originator, k.Responder = k.Responder, k.Originator
	}
	k.Local[here], k.Local[there] = true, c.local
	switch localFIN, remoteFIN := c.closer(); {
	case localFIN && remoteFIN:
		return decode.Known{}, false
	case localFIN:
		k.Closer = here
	case remoteFIN:
		k.Closer = there
	}
	return k, true
}
