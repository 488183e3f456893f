package nettest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// A Frame is a TCP segment as a packet socket saw it pass an interface.
type Frame struct {
	decode.Segment // Time, in ns since the Unix epoch, is when it was read; Point and Options are not set
	Interface      string
	Outgoing       bool // sent by the interface, not received
}

// A Capture is a packet socket that sees what passes all interfaces of a namespace: an observer that shares nothing with
// the BPF programs.
type Capture struct {
	ns   *NS
	fd   int
	stop chan struct{}
	done chan error // of the reader

	mu     sync.Mutex
	frames []Frame
	idle   time.Duration // how long there was nothing to read
}

// patience is how long a read waits.
const patience = 20 * time.Millisecond

// captured is how much of a frame is looked at: the headers.
const captured = 256

// Capture begins to capture, until the end of the test. It fails the test if frames were lost.
func (ns *NS) Capture() *Capture {
	ns.tb.Helper()
	c := &Capture{ns: ns, stop: make(chan struct{}), done: make(chan error, 1)}
	started := make(chan error)
	go func() { c.done <- c.read(started) }()
	if err := <-started; err != nil {
		ns.tb.Fatalf("capture in %s: %v", ns.Name, err)
	}
	ns.tb.Cleanup(func() {
		close(c.stop)
		if err := <-c.done; err != nil {
			ns.tb.Errorf("capture in %s: %v", ns.Name, err)
		}
	})
	return c
}

// Frames returns what was captured so far, in the order in which it was.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Frame(nil), c.frames...)
}

// Len returns how many frames were captured so far.
func (c *Capture) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.frames)
}

// read reads on a thread that is in the namespace, to ask for names there, and ends with it.
func (c *Capture) read(started chan<- error) error {
	runtime.LockOSThread()
	err := func() error {
		handle, err := netns.GetFromName(c.ns.Name)
		if err != nil {
			return err
		}
		defer handle.Close()
		if err := netns.Set(handle); err != nil {
			return err
		}
		c.fd, err = packetSocket(0)
		return err
	}()
	started <- err
	if err != nil {
		return nil // said above
	}
	defer unix.Close(c.fd)
	names := make(map[int]string)
	frame := make([]byte, captured)
	for {
		n, from, err := unix.Recvfrom(c.fd, frame, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			c.mu.Lock()
			c.idle += patience
			c.mu.Unlock()
			select {
			case <-c.stop:
				return c.lost()
			default:
			}
		case err != nil:
			return err
		default:
			c.add(frame[:min(n, captured)], n, from.(*unix.SockaddrLinklayer), names)
		}
	}
}

func (c *Capture) add(frame []byte, wireLen int, from *unix.SockaddrLinklayer, names map[int]string) {
	f := Frame{Outgoing: from.Pkttype == unix.PACKET_OUTGOING}
	if decode.ParseFrame(decode.LinkEthernet, frame, wireLen, &f.Segment) != decode.ParsedSegment {
		return
	}
	f.Time, f.Options = time.Now().UnixNano(), nil
	if names[from.Ifindex] == "" {
		names[from.Ifindex] = fmt.Sprintf("interface %d", from.Ifindex)
		if l, err := net.InterfaceByIndex(from.Ifindex); err == nil {
			names[from.Ifindex] = l.Name
		}
	}
	f.Interface = names[from.Ifindex]
	c.mu.Lock()
	c.frames = append(c.frames, f)
	c.idle = 0
	c.mu.Unlock()
}

func (c *Capture) lost() error {
	stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("%d frames of %d lost", stats.Drops, stats.Packets)
	}
	return err
}

// packetSocket opens a packet socket for all protocols on an interface, or on all if ifindex is 0. Its reads end with
// EAGAIN when nothing comes.
func packetSocket(ifindex int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	wait := unix.NsecToTimeval(int64(patience))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: ifindex}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bigEndian returns n as a big-endian number has it in memory.
func bigEndian(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// AtRest waits until all of the captures have read what there was, and for so long nothing more, and fails the test after
// the deadline.
func AtRest(tb testing.TB, deadline, quiet time.Duration, captures ...*Capture) {
	tb.Helper()
	for _, c := range captures {
		c.mu.Lock()
		c.idle = 0
		c.mu.Unlock()
	}
	Eventually(tb, deadline, func() error {
		for _, c := range captures {
			c.mu.Lock()
			idle := c.idle
			c.mu.Unlock()
			if idle < quiet {
				return fmt.Errorf("segments still pass in %s", c.ns.Name)
			}
		}
		return nil
	})
}
