package loader

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Modes of XDP, for people.
const (
	xdpDriver  = "driver"  // in the driver, before there is an skb
	xdpGeneric = "generic" // in the network stack, where the driver has no XDP
)

// attachXDP attaches to what arrives at an interface, in the driver if that can do it. There is room for one program.
func attachXDP(index int, front *ebpf.Program) (at io.Closer, mode string, err error) {
	at, err = link.AttachXDP(link.XDPOptions{Program: front, Interface: index, Flags: link.XDPDriverMode})
	if err == nil {
		return at, xdpDriver, nil
	}
	// Not all drivers say EOPNOTSUPP when they cannot: veth says ERANGE when its MTU is too large.
	if !isXDPTaken(err) && !errors.Is(err, unix.ENODEV) {
		at, err = link.AttachXDP(link.XDPOptions{Program: front, Interface: index, Flags: link.XDPGenericMode})
	}
	if isXDPTaken(err) {
		err = fmt.Errorf("%w: another XDP program is there, and an interface has room for one: stop it, or choose another hook, "+
			"which --hook xdp,auto does for such interfaces", err)
	}
	if err != nil {
		return nil, "", err
	}
	return at, xdpGeneric, nil
}

// isXDPTaken reports whether attaching failed because of another XDP program (dev_xdp_attach): EBUSY in the same mode,
// EEXIST in another.
func isXDPTaken(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

// isXDPAttached reports whether the link still has its interface.
func isXDPAttached(at io.Closer) (bool, error) {
	info, err := at.(link.Link).Info()
	if err != nil {
		return false, err
	}
	xdp := info.XDP()
	return xdp != nil && xdp.Ifindex != 0, nil
}
