package nettest

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// vnetHeader is the length of struct virtio_net_hdr, which says what is left to do for a frame: checksums and cutting.
const vnetHeader = 10

// A held frame and when it goes on.
type held struct {
	frame []byte
	due   time.Time
}

// Wire carries frames between two interfaces of the namespace, both ways, and holds each for the delay: a link with a
// queue. Frames keep their order, and pass as the kernel would pass them, not yet cut and without checksums. It is cut at
// the end of the test.
func (ns *NS) Wire(a, b string, delay time.Duration) {
	ns.tb.Helper()
	ns.wire(a, b, delay, nil, nil)
}

// Trunk carries frames between two interfaces of the namespace, both ways, at once. At the second one they have VLAN tags,
// the outer one first. It is cut at the end of the test.
func (ns *NS) Trunk(plain, tagged string, vids ...uint16) {
	ns.tb.Helper()
	tag := func(frame []byte) []byte {
		var tags []byte
		for i, vid := range vids {
			ethertype := uint16(unix.ETH_P_8021Q)
			if i < len(vids)-1 {
				ethertype = unix.ETH_P_8021AD
			}
			tags = binary.BigEndian.AppendUint16(tags, ethertype)
			tags = binary.BigEndian.AppendUint16(tags, vid)
		}
		shiftChecksum(frame, len(tags))
		return slices.Insert(frame, vnetHeader+macs, tags...)
	}
	// The packet socket has taken the outer tag off.
	untag := func(frame []byte) []byte {
		for {
			switch binary.BigEndian.Uint16(frame[vnetHeader+macs:]) {
			case unix.ETH_P_8021Q, unix.ETH_P_8021AD:
				frame = slices.Delete(frame, vnetHeader+macs, vnetHeader+macs+4)
				shiftChecksum(frame, -4)
			default:
				return frame
			}
		}
	}
	ns.wire(plain, tagged, 0, tag, untag)
}

// macs is the length of the two hardware addresses of an Ethernet header.
const macs = 12

// shiftChecksum tells struct virtio_net_hdr that headers in front of the transport header grew.
func shiftChecksum(frame []byte, by int) {
	const needsChecksum, headersAt, startAt = 1, 2, 6
	if frame[0]&needsChecksum == 0 {
		return
	}
	for _, at := range []int{headersAt, startAt} {
		if n := binary.NativeEndian.Uint16(frame[at:]); n != 0 {
			binary.NativeEndian.PutUint16(frame[at:], uint16(int(n)+by))
		}
	}
}

// wire carries frames; each way has a function that changes them, which may be nil.
func (ns *NS) wire(a, b string, delay time.Duration, there, back func([]byte) []byte) {
	ns.tb.Helper()
	var fd [2]int
	ns.Do(func() (err error) {
		for i, name := range []string{a, b} {
			l, err := net.InterfaceByName(name)
			if err != nil {
				return err
			}
			if fd[i], err = packetSocket(l.Index); err != nil {
				return err
			}
			if err := errors.Join(
				unix.SetsockoptInt(fd[i], unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
				unix.SetsockoptInt(fd[i], unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
			); err != nil {
				return err
			}
		}
		return nil
	})
	stop, done := make(chan struct{}), make(chan error, 2)
	for i, change := range []func([]byte) []byte{there, back} {
		go func() { done <- carry(fd[i], fd[1-i], delay, change, stop) }()
	}
	ns.tb.Cleanup(func() {
		close(stop)
		if err := errors.Join(<-done, <-done); err != nil {
			ns.tb.Errorf("wire %s to %s in %s: %v", a, b, ns.Name, err)
		}
		unix.Close(fd[0])
		unix.Close(fd[1])
	})
}

// carry reads frames from one socket and writes them to another later, until stop is closed.
func carry(from, to int, delay time.Duration, change func([]byte) []byte, stop <-chan struct{}) error {
	queue := make(chan held, 1<<16)
	sent := make(chan error, 1)
	go func() {
		var failed error
		for h := range queue {
			select {
			case <-time.After(time.Until(h.due)):
			case <-stop:
				continue // whatever waits is lost
			}
			// The interface may be going away.
			if _, err := unix.Write(to, h.frame); err != nil && !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENXIO) {
				failed = err
			}
		}
		sent <- failed
	}()
	var failed error
	buf := make([]byte, vnetHeader+14+4+64<<10)
	for failed == nil {
		n, err := unix.Read(from, buf)
		switch {
		case err == nil:
			frame := slices.Clone(buf[:n])
			if change != nil {
				frame = change(frame)
			}
			queue <- held{frame, time.Now().Add(delay)}
			continue
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN):
			failed = err
		}
		select {
		case <-stop:
			close(queue)
			return <-sent
		default:
		}
	}
	close(queue)
	return errors.Join(failed, <-sent)
}
