package nettest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floodBatch is how many frames go into one system call.
const floodBatch = 64

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	sent   uint32
}

// Flood sends n SYNs out of an interface, as fast as it goes, to a TCP socket whose hardware address is mac. Each is from
// another socket of 198.18.0.0/15, the network for benchmarks, with right checksums. Frames that the kernel refuses are sent
// again; those that a queue drops are not. The sockets are in no order, or with series count up.
func (ns *NS) Flood(name, mac string, to netip.AddrPort, n int, series bool) {
	ns.tb.Helper()
	ns.Do(func() error {
		dst, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		l, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // receives nothing
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Index}); err != nil {
			return err
		}
		var frames [floodBatch][]byte
		var vectors [floodBatch]unix.Iovec
		var messages [floodBatch]message
		for i := range frames {
			frames[i] = synFrame(l.HardwareAddr, dst, to)
			vectors[i].Base = &frames[i][0]
			vectors[i].SetLen(len(frames[i]))
			messages[i].header.Iov = &vectors[i]
			messages[i].header.SetIovlen(1)
		}
		for sent := 0; sent < n; {
			batch := min(floodBatch, n-sent)
			for i := range batch {
				setSource(frames[i], uint32(sent+i), series)
			}
			done, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])),
				uintptr(batch), 0, 0, 0)
			switch errno {
			case 0:
				sent += int(done)
			case unix.EINTR, unix.EAGAIN, unix.ENOBUFS:
			default:
				return errno
			}
		}
		return nil
	})
}

// Offsets in a frame of Flood.
const (
	floodIP  = 14
	floodTCP = floodIP + 20
)

// synFrame returns a SYN with one option, an MSS of 1460, without source and checksums.
func synFrame(src, dst net.HardwareAddr, to netip.AddrPort) []byte {
	const bytes = 24
	frame := append(append(append([]byte{}, dst...), src...), 8, 0)
	frame = append(frame, 0x45, 0, 0, 20+bytes, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0, 198, 18, 0, 0)
	frame = append(frame, to.Addr().AsSlice()...)
	frame = append(frame, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, to.Port())
	return append(frame, 0, 0, 0, 0, 0, 0, 0, 0, bytes/4<<4, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 1460>>8, 1460&0xff)
}

// setSource makes the frame that of the i-th of 2^32 sockets and sets its checksums.
func setSource(frame []byte, i uint32, series bool) {
	if !series {
		// The last step of MurmurHash3: no two numbers become the same.
		i = (i ^ i>>16) * 0x85ebca6b
		i = (i ^ i>>13) * 0xc2b2ae35
		i ^= i >> 16
	}
	be := binary.BigEndian
	ip, tcp := frame[floodIP:floodTCP], frame[floodTCP:]
	be.PutUint32(ip[12:], 198<<24|18<<16|i&0x1ffff)
	be.PutUint16(tcp, uint16(1024+i>>17))
	be.PutUint32(tcp[4:], i*2654435761) // a sequence number
	be.PutUint16(ip[10:], 0)
	be.PutUint16(ip[10:], checksum(0, ip))
	be.PutUint16(tcp[16:], 0)
	be.PutUint16(tcp[16:], checksum(uint32(unix.IPPROTO_TCP+len(tcp)), ip[12:20], tcp))
}

// checksum is that of RFC 1071 over parts of even length, and a number.
func checksum(sum uint32, parts ...[]byte) uint16 {
	for _, p := range parts {
		for ; len(p) > 0; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
