package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ownNsid stands for netobs' own namespace, whose events carry no number.
const (
	ownNsid = -1
	noNsid  = -2 // not known yet
)

// errOverflow says that events were lost: list again.
var errOverflow = errors.New("rtnetlink events were lost")

// monitor hears about links, addresses and namespaces, in its own namespace and in all that have a number there.
type monitor struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte

	queue      []linkEvent // received, and not yet returned
	overflowed bool        // some were lost, which was not yet returned
	err        error       // of the socket
}

// localAddr is an address of an interface. Two interfaces may have the same one.
type localAddr struct {
	index int
	netip.Addr
}

// linkEvent is one change. Exactly one of link and addr is set, unless the namespace is gone.
type linkEvent struct {
	nsid    int
	gone    bool // the namespace ended
	link    netlink.Link
	addr    localAddr
	removed bool // the link or the address
}

// newMonitor needs CAP_NET_BROADCAST. The caller closes it.
func newMonitor() (*monitor, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "rtnetlink")
	// Overflow is not an error, so a smaller buffer will do where this much is not allowed.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	for _, group := range []int{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_NSID} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listen to rtnetlink events of all namespaces: %w", err)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("listen to rtnetlink events of all namespaces: %w", err)
	}
	return &monitor{file: file, conn: conn, buf: make([]byte, 1<<16)}, nil
}

// stop makes a receive that waits, and all later ones, return os.ErrDeadlineExceeded. May be called concurrently.
func (m *monitor) stop() error { return m.file.SetReadDeadline(time.Unix(1, 0)) }

// wakeAt makes a receive that waits return os.ErrDeadlineExceeded then. It undoes stop.
func (m *monitor) wakeAt(t time.Time) error { return m.file.SetReadDeadline(t) }

func (m *monitor) close() error { return m.file.Close() }

// receive waits for an event. It returns errOverflow when some were lost.
func (m *monitor) receive() (linkEvent, error) {
	for len(m.queue) == 0 {
		if m.overflowed {
			m.overflowed = false
			return linkEvent{}, errOverflow
		}
		waitErr := m.conn.Read(func(fd uintptr) bool { return m.take(fd) != unix.EAGAIN })
		if waitErr != nil {
			return linkEvent{}, waitErr
		}
		if m.err != nil {
			return linkEvent{}, fmt.Errorf("receive rtnetlink events: %w", m.err)
		}
	}
	ev := m.queue[0]
	m.queue = m.queue[1:]
	return ev, nil
}

// queued reports whether receive would return at once.
func (m *monitor) queued() bool {
	if len(m.queue) == 0 && !m.overflowed {
		m.conn.Control(func(fd uintptr) { m.take(fd) })
	}
	return len(m.queue) > 0 || m.overflowed || m.err != nil
}

// forget drops what was heard of the namespace with this number until now. A number is used again: some of it may be about
// a former namespace. What is listed after this call is true, and what is heard after it is newer. That a namespace with
// the number ended is kept, for it may be another one that is still to be let go.
func (m *monitor) forget(nsid int) {
	m.conn.Control(func(fd uintptr) {
		for m.take(fd) == nil {
		}
	})
	m.queue = slices.DeleteFunc(m.queue, func(ev linkEvent) bool { return ev.nsid == nsid && !ev.gone })
}

// take receives a message and queues its events. It returns unix.EAGAIN if there is none; other errors are noted in m.
func (m *monitor) take(fd uintptr) error {
	oob := make([]byte, 64)
	n, oobn, _, _, err := unix.Recvmsg(int(fd), m.buf, oob, 0)
	switch {
	case err == unix.EINTR:
		return nil
	case err == unix.EAGAIN:
		return err
	case err == unix.ENOBUFS:
		return m.overflow(fd)
	case err != nil:
		m.err = err
		return err
	}
	msgs, err := syscall.ParseNetlinkMessage(m.buf[:n])
	if err != nil {
		return m.overflow(fd) // cut off: what is missing can be listed
	}
	nsid := nsidOf(oob[:oobn])
	for _, msg := range msgs {
		if ev, ok := parseEvent(nsid, msg); ok {
			m.queue = append(m.queue, ev)
		}
	}
	return nil
}

// overflow throws away the events that are queued: they are older than the list that will be made, and must not be applied
// after it.
func (m *monitor) overflow(fd uintptr) error {
	m.queue, m.overflowed = nil, true
	for {
		_, _, err := unix.Recvfrom(int(fd), m.buf, 0)
		if err != nil && err != unix.EINTR && err != unix.ENOBUFS {
			return errOverflow // EAGAIN: none is left
		}
	}
}

// nsidOf returns the number of the namespace that a message is about.
func nsidOf(oob []byte) int {
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return ownNsid
	}
	for _, c := range cmsgs {
		if c.Header.Level == unix.SOL_NETLINK && c.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(c.Data) >= 4 {
			return int(*(*int32)(unsafe.Pointer(&c.Data[0])))
		}
	}
	return ownNsid
}

func parseEvent(nsid int, msg syscall.NetlinkMessage) (linkEvent, bool) {
	ev := linkEvent{nsid: nsid}
	switch msg.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(msg.Data) < unix.SizeofIfInfomsg || nl.DeserializeIfInfomsg(msg.Data).Family != unix.AF_UNSPEC {
			return ev, false // a bridge's view of its port, AF_BRIDGE
		}
		hdr := unix.NlMsghdr(msg.Header)
		link, err := netlink.LinkDeserialize(&hdr, msg.Data)
		if err != nil {
			return ev, false
		}
		// A part of the buffer, which the next message overwrites.
		link.Attrs().HardwareAddr = slices.Clone(link.Attrs().HardwareAddr)
		ev.link, ev.removed = link, msg.Header.Type == unix.RTM_DELLINK
		return ev, true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		ev.removed = msg.Header.Type == unix.RTM_DELADDR
		ev.addr = addrOf(msg.Data)
		return ev, ev.addr.IsValid()
	case unix.RTM_DELNSID:
		if nsid != ownNsid {
			return ev, false // a number that another namespace gave
		}
		const rtgenmsgAligned = 4 // struct rtgenmsg is one byte, NLMSG_ALIGN makes it 4
		attrs, err := nl.ParseRouteAttr(msg.Data[min(rtgenmsgAligned, len(msg.Data)):])
		if err != nil {
			return ev, false
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.NETNSA_NSID && len(a.Value) >= 4 {
				ev.nsid, ev.gone = int(*(*int32)(unsafe.Pointer(&a.Value[0]))), true
			}
		}
		return ev, ev.gone
	}
	return ev, false
}

// addrOf returns the local address of an RTM_NEWADDR or RTM_DELADDR message: IFA_LOCAL, or for IPv6 IFA_ADDRESS.
func addrOf(data []byte) localAddr {
	if len(data) < unix.SizeofIfAddrmsg {
		return localAddr{}
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return localAddr{}
	}
	index := int(nl.DeserializeIfAddrmsg(data).Index)
	var local, addr netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(a.Value)
		}
	}
	if local.IsValid() {
		addr = local
	}
	return localAddr{index, addr}
}

// numberNetns makes sure that the namespace has a number here, so that its events are heard, and returns it: ownNsid for
// netobs' own namespace.
func numberNetns(fd int, own bool) (int, error) {
	if own {
		return ownNsid, nil
	}
	if id, err := netlink.GetNetNsIdByFd(fd); err == nil && id >= 0 {
		return id, nil
	}
	// Somebody may number it between the calls: asking again tells. -1 lets the kernel choose.
	setErr := netlink.SetNetNsIdByFd(fd, -1)
	id, err := netlink.GetNetNsIdByFd(fd)
	if err == nil && id < 0 {
		err = setErr
	}
	if err != nil {
		return 0, fmt.Errorf("assign the namespace a number: %w", err)
	}
	return id, nil
}

// Dump reads a list of the kernel's, and reads it again, some times, if the kernel says that it changed meanwhile.
func Dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// list returns all links and local addresses of the namespace that the calling thread is in.
func list() ([]netlink.Link, []localAddr, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	defer h.Close()
	links, err := Dump(h.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := Dump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, nil, fmt.Errorf("list addresses: %w", err)
	}
	var local []localAddr
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			local = append(local, localAddr{a.LinkIndex, ip.Unmap()})
		}
	}
	return links, local, nil
}
