package inventory

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// connector hears of each exec on the host: linux/connector.h, linux/cn_proc.h.
type connector struct {
	fd  int
	buf []byte
}

// Sizes and offsets of a message: struct nlmsghdr, struct cn_msg, struct proc_event.
const (
	cnMsgAt   = unix.SizeofNlMsghdr
	eventAt   = cnMsgAt + 20
	execTgid  = eventAt + 20 // proc_event.event_data.exec.process_tgid
	eventSize = execTgid + 4

	cnIdxProc       = 1
	cnValProc       = 1
	procMcastListen = 1
	procEventExec   = 2
)

// errConnectorOverflow says that execs were missed.
var errConnectorOverflow = errors.New("events of the process connector were lost")

// newConnector returns an error where there is no connector for us: in a pid, user or network namespace that is not the
// initial one, or without CAP_NET_ADMIN. The caller closes it.
func newConnector() (*connector, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("open process connector: %w", err)
	}
	// Forks, exits and all else end in the kernel, before they wake us.
	be := func(v uint32) uint32 { // as a filter loads it
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], v)
		return binary.BigEndian.Uint32(b[:])
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: eventAt}, // proc_event.what
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: be(procEventExec), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc})
	}
	if err == nil {
		err = unix.Sendto(fd, listenRequest(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen to process connector: %w", err)
	}
	return &connector{fd: fd, buf: make([]byte, 4096)}, nil
}

// listenRequest asks the kernel to send events. It does while somebody who asked listens.
func listenRequest() []byte {
	const size = eventAt + 4
	b := make([]byte, size)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], size)
	ne.PutUint16(b[4:], unix.NLMSG_DONE)
	ne.PutUint32(b[cnMsgAt:], cnIdxProc)
	ne.PutUint32(b[cnMsgAt+4:], cnValProc)
	ne.PutUint16(b[cnMsgAt+16:], 4) // length of what follows
	ne.PutUint32(b[eventAt:], procMcastListen)
	return b
}

// receive returns the processes that called exec and are queued. It does not wait. It returns errConnectorOverflow, with
// those that are left, if some were lost.
func (c *connector) receive() (pids []int, err error) {
	for {
		n, _, e := unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case e == unix.EINTR:
		case e == unix.ENOBUFS:
			err = errConnectorOverflow
		case e != nil: // EAGAIN: none is left
			return pids, err
		case n >= eventSize && binary.NativeEndian.Uint32(c.buf[eventAt:]) == procEventExec:
			pids = append(pids, int(binary.NativeEndian.Uint32(c.buf[execTgid:])))
		}
	}
}

func (c *connector) close() error { return unix.Close(c.fd) }
