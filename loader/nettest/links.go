package nettest

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// link calls f with an interface, on a thread in the namespace.
func (ns *NS) link(name string, f func(netlink.Link) error) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s in %s: %w", name, ns.Name, err)
		}
		return f(l)
	})
}

// Enslave makes an interface a port of a bridge of the namespace.
func (ns *NS) Enslave(port, bridge string) {
	ns.tb.Helper()
	ns.link(bridge, func(master netlink.Link) error {
		l, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, master)
	})
}

// FlushFDB makes a bridge forget where addresses are: it floods the next frames to all of its ports.
func (ns *NS) FlushFDB(bridge string) {
	ns.tb.Helper()
	ns.link(bridge, func(l netlink.Link) error {
		const bridgeFDBFlush = 21 // IFLA_BR_FDB_FLUSH
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(l.Attrs().Index)
		req.AddData(msg)
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
		info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(bridgeFDBFlush, nil)
		req.AddData(info)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

// Macvlan makes an interface on top of parent, in bridge mode, and puts it into another namespace, or the same; up.
func (ns *NS) Macvlan(parent, name string, in *NS) {
	ns.tb.Helper()
	ns.link(parent, func(l netlink.Link) error {
		handle, err := netns.GetFromName(in.Name)
		if err != nil {
			return err
		}
		defer handle.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex, attrs.Namespace = name, l.Attrs().Index, netlink.NsFd(handle)
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	})
	in.Up(name)
}

// Vxlan makes a tunnel between two addresses, up.
func (ns *NS) Vxlan(name, local, remote string) {
	ns.tb.Helper()
	ns.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return netlink.LinkAdd(&netlink.Vxlan{
			LinkAttrs: attrs,
			VxlanId:   42,
			Group:     net.ParseIP(remote),
			SrcAddr:   net.ParseIP(local),
			Port:      4789,
			Learning:  true,
		})
	})
	ns.Up(name)
}

// MAC returns the hardware address of an interface.
func (ns *NS) MAC(name string) string {
	ns.tb.Helper()
	var mac string
	ns.link(name, func(l netlink.Link) error {
		mac = l.Attrs().HardwareAddr.String()
		return nil
	})
	return mac
}

// SetMAC gives an interface another hardware address.
func (ns *NS) SetMAC(name, mac string) {
	ns.tb.Helper()
	ns.link(name, func(l netlink.Link) error {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(l, hw)
	})
}

// Know gives both namespaces permanent neighbour entries for each other, so that no ARP comes before the first segment.
func Know(a *NS, aLink, aIP string, b *NS, bLink, bIP string) {
	a.tb.Helper()
	a.Neighbour(aLink, bIP, b.MAC(bLink))
	b.Neighbour(bLink, aIP, a.MAC(aLink))
}

// Route sends packets to a network through a gateway, whatever the way was before.
func (ns *NS) Route(cidr, gateway string) {
	ns.tb.Helper()
	ns.RouteVia(cidr, gateway, "")
}

// RouteVia is Route with an address to send from, for who has none to choose; "" leaves that to the kernel.
func (ns *NS) RouteVia(cidr, gateway, from string) {
	ns.tb.Helper()
	ns.Do(func() error {
		_, dst, err := net.ParseCIDR(cidr)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(gateway), Src: net.ParseIP(from)})
	})
}

// NFT applies rules as nft -f does. Without the program, the test is skipped, or fails where NETOBS_TEST_PRIVILEGED=1.
func (ns *NS) NFT(rules string) {
	ns.tb.Helper()
	NeedProgram(ns.tb, "nft")
	ns.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
}

// IPTables runs a program of iptables, such as iptables or iptables-save, and returns what it says. Without the program, the
// test is skipped, or fails where NETOBS_TEST_PRIVILEGED=1.
func (ns *NS) IPTables(program string, args ...string) (says string) {
	ns.tb.Helper()
	NeedProgram(ns.tb, program)
	ns.Do(func() error {
		out, err := exec.Command(program, args...).Output()
		if err != nil {
			return fmt.Errorf("%s %q: %w", program, args, err)
		}
		says = string(out)
		return nil
	})
	return says
}

// Offload switches what the kernel does with large segments at an interface: tso, whether it sends them uncut; gro,
// whether it joins what it receives.
func (ns *NS) Offload(name string, tso, gro bool) {
	ns.tb.Helper()
	set := func(fd int, cmd uint32, on bool) error {
		value := struct{ cmd, data uint32 }{cmd: cmd}
		if on {
			value.data = 1
		}
		var req struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			pad  [16]byte
		}
		copy(req.name[:], name)
		req.data = unsafe.Pointer(&value)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
		if errno != 0 {
			return fmt.Errorf("ethtool command %#x on %s: %w", cmd, name, errno)
		}
		return nil
	}
	ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		const setTSO, setGSO, setGRO = 0x1f, 0x24, 0x2c // ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO
		return errors.Join(set(fd, setTSO, tso), set(fd, setGSO, tso), set(fd, setGRO, gro))
	})
}
