package nettest

import (
	"errors"
	"net"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// SendSegments sends TCP segments over IPv4 from the namespace, one right after the other, as they are: no socket knows
// of them. The kernel routes them. Of each Src, Dst, Seq, Ack, Flags (the lower eight), Payload and Wnd are used.
func (ns *NS) SendSegments(segments ...decode.Segment) {
	ns.tb.Helper()
	packets := make([][]byte, len(segments))
	for i := range segments {
		var err error
		if packets[i], err = packet(&segments[i]); err != nil {
			ns.tb.Fatal(err)
		}
	}
	ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for i := range packets {
			to := unix.SockaddrInet4{Addr: segments[i].Dst.Addr().As4()}
			err = errors.Join(err, unix.Sendto(fd, packets[i], 0, &to))
		}
		return err
	})
}

func packet(s *decode.Segment) ([]byte, error) {
	addr := func(ap netip.AddrPort) net.IP { return ap.Addr().AsSlice() }
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: addr(s.Src), DstIP: addr(s.Dst)}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(s.Src.Port()),
		DstPort: layers.TCPPort(s.Dst.Port()),
		Seq:     uint32(s.Seq),
		Ack:     uint32(s.Ack),
		Window:  s.Wnd,
		FIN:     s.Has(decode.FIN),
		SYN:     s.Has(decode.SYN),
		RST:     s.Has(decode.RST),
		PSH:     s.Has(decode.PSH),
		ACK:     s.Has(decode.ACK),
		URG:     s.Has(decode.URG),
		ECE:     s.Has(decode.ECE),
		CWR:     s.Has(decode.CWR),
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		ip, tcp, gopacket.Payload(make([]byte, s.Payload)))
	return buf.Bytes(), err
}
