package bpf

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// A wire takes frames that Program.Run does not make: packets that are not linear, and such as end before their IP
// header does. It is the loopback interface of a network namespace of its own, with a point at its egress.
type wire struct {
	*point
	socket int
}

const loIndex = 1

func newWire(t *testing.T, w *world) *wire {
	t.Helper()
	return newWireOf(t, w.point(t, w.namespace(), true), nil)
}

// newWireOf makes a wire of a point, and runs a program at generic XDP, if there is one.
func newWireOf(t *testing.T, p *point, xdp *ebpf.Program) *wire {
	t.Helper()
	r := &wire{point: p, socket: -1}
	hook := ebpf.AttachTCXIngress
	if p.Egress {
		hook = ebpf.AttachTCXEgress
	}
	var l, x link.Link
	err := inNewNamespace(func() (err error) {
		if r.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptInt(r.socket, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		lo, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		lo.SetUint16(unix.IFF_UP)
		if err := unix.IoctlIfreq(r.socket, unix.SIOCSIFFLAGS, lo); err != nil {
			return os.NewSyscallError("SIOCSIFFLAGS", err)
		}
		if xdp != nil {
			x, err = link.AttachXDP(link.XDPOptions{Interface: loIndex, Program: xdp, Flags: link.XDPGenericMode})
			if err != nil {
				return err
			}
		}
		l, err = link.AttachTCX(link.TCXOptions{Interface: loIndex, Program: r.front, Attach: hook})
		return err
	})
	t.Cleanup(func() {
		for _, l := range []link.Link{l, x} {
			if l != nil {
				l.Close()
			}
		}
		unix.Close(r.socket)
	})
	if errors.Is(err, link.ErrNotSupported) {
		t.Skip("needs TCX (Linux 6.6)")
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inNewNamespace runs f in a new network namespace, which lives as long as what f opens there.
func inNewNamespace(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- os.NewSyscallError("unshare", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// send sends a frame of which so many bytes are linear, or all of a short one.
func (r *wire) send(frame []byte, linear int) error {
	const vnetHeader, hdrLen = 10, 2 // struct virtio_net_hdr
	buf := make([]byte, vnetHeader, vnetHeader+len(frame))
	binary.NativeEndian.PutUint16(buf[hdrLen:], uint16(linear))
	return unix.Sendto(r.socket, append(buf, frame...), 0, &unix.SockaddrLinklayer{Ifindex: loIndex})
}

// check sends a frame of which so many bytes are linear, or all of a short one, and checks counters and records. The
// front has run when the send returns.
func (r *wire) check(t *testing.T, frame []byte, linear int, want PointCounters, wantRecords ...SegmentRecordOptions) {
	t.Helper()
	before := r.mustCounters(t)
	if err := r.send(frame, linear); err != nil {
		t.Fatalf("send %d bytes, %d linear: %v", len(frame), linear, err)
	}
	got := r.mustCounters(t)
	got.Sub(&before)
	for deadline := time.Now().Add(10 * time.Second); !r.Egress && got == (PointCounters{}) && time.Now().Before(deadline); {
		got = r.mustCounters(t) // ingress comes by a softirq, now or soon
		got.Sub(&before)
	}
	if got != want {
		t.Errorf("%d bytes, %d linear: counters that moved:\n got %s\nwant %s", len(frame), linear, moves(got), moves(want))
	}
	records := drain(t, r.w.Programs)
	for i := range records {
		records[i].Segment.TimeNs = 0
	}
	checkRecords(t, records, wantRecords)
}

// Wherever the part that can be read directly ends, the segment is the same.
func TestNotLinear(t *testing.T) {
	w := newWorld(t, Options{})
	r := newWire(t, w)
	inParts := func(t *testing.T, pkt packet) {
		t.Helper()
		pkt.options = []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}
		pkt.payload = make([]byte, os.Getpagesize()) // shorter ones are made linear
		frame := pkt.frame()
		for linear := 14; linear <= len(frame)-len(pkt.payload); linear++ {
			pkt.flags = ack
			r.check(t, pkt.frame(), linear, counted(pkt, ordinary))
			pkt.flags = syn
			r.check(t, pkt.frame(), linear, counted(pkt, reported), r.record(pkt))
		}
	}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) { inParts(t, f.conn) })
	}
	t.Run("VLAN", func(t *testing.T) {
		pkt := families[0].conn
		pkt.change = tagged(0x8100)
		inParts(t, pkt)
	})
	t.Run("IPv4 options", func(t *testing.T) {
		pkt := families[0].conn
		pkt.ipOptions = make([]byte, 40)
		inParts(t, pkt)
	})
	t.Run("IPv6 extension", func(t *testing.T) {
		pkt := families[1].conn
		pkt.change = extended(60, hopByHop(16))
		inParts(t, pkt)
	})
	t.Run("neither IPv4 nor IPv6", func(t *testing.T) {
		pkt := families[0].conn
		pkt.payload, pkt.change = make([]byte, os.Getpagesize()), set16(etherType4, 0x0806)
		r.check(t, pkt.frame(), 14, PointCounters{})
	})
}

// At ingress the kernel has taken the outer tag out of the packet already (skb->vlan_tci).
func TestVLANTagOutsideThePacket(t *testing.T) {
	w := newWorld(t, Options{})
	r := newWireOf(t, w.point(t, w.namespace(), false), nil)
	for _, f := range families {
		for _, tag := range []func([]byte) []byte{
			tagged(0x8100),
			func(frame []byte) []byte { return tagged(0x88a8)(tagged(0x8100)(frame)) },
		} {
			pkt := f.conn
			pkt.change, pkt.payload = tag, []byte("payload")
			pkt.flags = ack
			r.check(t, pkt.frame(), 0, counted(pkt, ordinary))
			pkt.flags = syn
			r.check(t, pkt.frame(), 0, counted(pkt, reported), r.record(pkt))
		}
	}
}

// Behind a program at generic XDP a packet may come without its Ethernet header: where the program takes packets in parts, the
// kernel makes a new one and forgets how long the header is (skb_pp_cow_data).
func TestBehindGenericXDP(t *testing.T) {
	for _, flags := range []uint32{0, unix.BPF_F_XDP_HAS_FRAGS} {
		testBehindGenericXDP(t, flags)
	}
}

func testBehindGenericXDP(t *testing.T, flags uint32) {
	w := newWorld(t, Options{})
	r := newWireOf(t, w.point(t, w.namespace(), false), empty(t, ebpf.XDP, xdpPass, flags))
	for _, f := range families {
		for _, payload := range []int{0, 100, 2 * os.Getpagesize()} {
			pkt := f.conn
			pkt.options, pkt.payload = []byte{2, 4, 5, 180}, make([]byte, payload)
			for _, flags := range []uint16{ack, psh | ack} {
				pkt.flags = flags
				r.check(t, pkt.frame(), 0, counted(pkt, ordinary))
			}
			for _, flags := range []uint16{syn, fin | ack, rst} {
				pkt.flags = flags
				r.check(t, pkt.frame(), 0, counted(pkt, reported), r.record(pkt))
			}
		}
	}
}

// What is not TCP is not, either way.
func TestOthersBehindGenericXDP(t *testing.T) {
	w := newWorld(t, Options{})
	r := newWireOf(t, w.point(t, w.namespace(), false), empty(t, ebpf.XDP, xdpPass, unix.BPF_F_XDP_HAS_FRAGS))
	pkt := families[0].conn
	pkt.flags = ack
	want := counted(pkt, ordinary)
	pkt.change = protocol(17)
	before := r.mustCounters(t)
	if err := r.send(pkt.frame(), 0); err != nil {
		t.Fatal(err)
	}
	pkt.change = nil // comes after it
	if err := r.send(pkt.frame(), 0); err != nil {
		t.Fatal(err)
	}
	var got PointCounters
	for deadline := time.Now().Add(10 * time.Second); got == (PointCounters{}) && time.Now().Before(deadline); {
		got = r.mustCounters(t)
		got.Sub(&before)
	}
	if got != want {
		t.Errorf("counters that moved:\n got %s\nwant %s", moves(got), moves(want))
	}
}

func TestTruncatedBeforeTheEndOfTheIPHeader(t *testing.T) {
	w := newWorld(t, Options{})
	r := newWire(t, w)
	for _, f := range families {
		for n := 15; n < 54; n++ {
			r.check(t, f.conn.frame()[:n], 0, unparsed(netobsUnparsedReasonUNPARSED_TRUNCATED))
		}
	}
}
