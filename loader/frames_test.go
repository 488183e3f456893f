package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// rawFrame is an Ethernet frame, sent as it is.
type rawFrame struct {
	name    string
	bytes   []byte
	segment bool   // is TCP, and to be counted
	port    uint16 // of TCP over IPv4 without options or VLAN tag: the destination; else 0
}

// The sender of all raw frames, by which the receiver knows them.
var rawSource = net.HardwareAddr{2, 0, 0, 'n', 'o', 'b'}

// rawFrames returns frames of many shapes to an Ethernet address: such as a bridge passes with and without br_netfilter,
// which cuts padding off and drops what is no good IP packet.
func rawFrames(t *testing.T, to net.HardwareAddr) (frames []rawFrame) {
	t.Helper()
	eth := func(kind layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: rawSource, DstMAC: to, EthernetType: kind}
	}
	v4 := func(protocol layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IP{10, 9, 0, 1}, DstIP: net.IP{10, 9, 0, 2}}
	}
	v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: net.ParseIP("fd09::1"),
		DstIP: net.ParseIP("fd09::2")}
	tcp := func(port uint16, flags byte) *layers.TCP {
		return &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), Seq: 1000, Ack: 2000, Window: 512,
			SYN: flags&2 != 0, ACK: flags&16 != 0, PSH: flags&8 != 0, FIN: flags&1 != 0, RST: flags&4 != 0}
	}
	add := func(f rawFrame, all ...gopacket.SerializableLayer) {
		t.Helper()
		var ip gopacket.NetworkLayer
		for _, layer := range all {
			if n, ok := layer.(gopacket.NetworkLayer); ok {
				ip = n
			}
			if c, ok := layer.(interface {
				SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
			}); ok {
				if err := c.SetNetworkLayerForChecksum(ip); err != nil {
					t.Fatal(err)
				}
			}
		}
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		f.bytes = slices.Clone(buf.Bytes())
		frames = append(frames, f)
	}
	const syn, ack, psh, fin, rst = 2, 16, 8, 1, 4
	payload := gopacket.Payload("to be carried unchanged")
	for _, port := range []uint16{80, 81} {
		for flags, name := range map[byte]string{syn: "SYN", syn | ack: "SYN-ACK", ack: "ACK", ack | psh: "data", ack | fin: "FIN", rst: "RST"} {
			add(rawFrame{fmt.Sprintf("%s to %d", name, port), nil, true, port},
				eth(layers.EthernetTypeIPv4), v4(layers.IPProtocolTCP), tcp(port, flags), payload)
		}
	}
	add(rawFrame{name: "IPv6", segment: true}, eth(layers.EthernetTypeIPv6), v6, tcp(80, syn))
	options := v4(layers.IPProtocolTCP)
	options.Options = []layers.IPv4Option{{OptionType: 1, OptionLength: 1}, {OptionType: 1, OptionLength: 1},
		{OptionType: 1, OptionLength: 1}, {OptionType: 0, OptionLength: 1}}
	add(rawFrame{name: "IPv4 options", segment: true}, eth(layers.EthernetTypeIPv4), options, tcp(80, ack), payload)
	add(rawFrame{name: "VLAN", segment: true}, eth(layers.EthernetTypeDot1Q),
		&layers.Dot1Q{VLANIdentifier: 7, Priority: 3, Type: layers.EthernetTypeIPv4}, v4(layers.IPProtocolTCP), tcp(80, syn), payload)
	add(rawFrame{name: "QinQ", segment: true}, eth(layers.EthernetTypeQinQ),
		&layers.Dot1Q{VLANIdentifier: 8, Type: layers.EthernetTypeDot1Q}, &layers.Dot1Q{VLANIdentifier: 9, Type: layers.EthernetTypeIPv6},
		v6, tcp(80, ack), payload)
	fragment := v4(layers.IPProtocolTCP)
	fragment.FragOffset = 3
	add(rawFrame{name: "later fragment"}, eth(layers.EthernetTypeIPv4), fragment, payload, payload)
	add(rawFrame{name: "UDP"}, eth(layers.EthernetTypeIPv4), v4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 53, DstPort: 53}, payload)
	add(rawFrame{name: "unknown"}, eth(0x88b5), payload)
	return frames
}

// sendRaw sends frames out of an interface, as they are.
func sendRaw(ns *nettest.NS, name string, frames ...rawFrame) {
	index := ns.Index(name)
	ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f.bytes, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return fmt.Errorf("send %s: %w", f.name, err)
			}
		}
		return nil
	})
}

// rawReceiver reads what sendRaw sent when it arrives at an interface.
type rawReceiver struct {
	t  *testing.T
	fd int
}

func receiveRaw(t *testing.T, ns *nettest.NS, name string) *rawReceiver {
	t.Helper()
	index := ns.Index(name)
	r := &rawReceiver{t: t}
	ns.Do(func() (err error) {
		if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		patience := unix.NsecToTimeval(int64(20 * time.Millisecond))
		return errors.Join(
			unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
			unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}),
		)
	})
	t.Cleanup(func() { unix.Close(r.fd) })
	return r
}

// next returns the next frame, or nil if there is none for now.
func (r *rawReceiver) next() []byte {
	r.t.Helper()
	frame, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, oobn, _, _, err := unix.Recvmsg(r.fd, frame, oob, 0)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			r.t.Fatal(err)
		}
		if err == nil && n >= 14 && slices.Equal(frame[6:12], rawSource) {
			return withTag(frame[:n], oob[:oobn])
		}
	}
}

// withTag puts the VLAN tag, which the kernel tells beside the frame, back into it: struct tpacket_auxdata.
func withTag(frame, oob []byte) []byte {
	cmsgs, _ := unix.ParseSocketControlMessage(oob)
	for _, c := range cmsgs {
		if c.Header.Level != unix.SOL_PACKET || c.Header.Type != unix.PACKET_AUXDATA || len(c.Data) < 20 {
			continue
		}
		if status := binary.NativeEndian.Uint32(c.Data); status&unix.TP_STATUS_VLAN_VALID != 0 {
			tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(c.Data[18:]))
			tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(c.Data[16:]))
			return slices.Concat(frame[:12], tag, frame[12:])
		}
	}
	return frame
}

// want waits until the frames arrived, and checks that they are unchanged and that no others came.
func (r *rawReceiver) want(frames []rawFrame) {
	r.t.Helper()
	missing := make(map[string]string) // name, by bytes
	for _, f := range frames {
		missing[string(f.bytes)] = f.name
	}
	if len(missing) != len(frames) {
		r.t.Fatal("two frames are equal")
	}
	deadline := time.Now().Add(5 * time.Second)
	for len(missing) > 0 && time.Now().Before(deadline) {
		if got := r.next(); got != nil {
			if _, ok := missing[string(got)]; !ok {
				r.t.Errorf("arrived, and was not sent or was to be dropped: %x", got)
			}
			delete(missing, string(got))
		}
	}
	for _, name := range missing {
		r.t.Errorf("%s did not arrive unchanged", name)
	}
	if got := r.next(); got != nil {
		r.t.Errorf("arrived beyond what was sent: %x", got)
	}
}
