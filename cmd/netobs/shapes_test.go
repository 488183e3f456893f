package main

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// TestTun: packets without Ethernet header, at each hook.
func TestTun(t *testing.T) {
	for _, hook := range []string{"tcx", "tc", "xdp"} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			a, b := nettest.New(t, "a"), nettest.New(t, "b")
			nettest.Tun(a, "tun0", b, "tun0")
			for _, ip := range []string{"10.9.0.%d/24", "fd09::%d/64"} {
				a.Addr("tun0", fmt.Sprintf(ip, 1))
				b.Addr("tun0", fmt.Sprintf(ip, 2))
			}
			for _, ip := range []string{"10.9.0.2", "fd09::2"} {
				s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "none", "--kind", "tun", "--hook", hook)
				s.waitFor(4, "observation_points")
				l := smallLoad()
				l.run(t, a, b, ip)
				l.check(t, s, a.Name, "originator")
				l.check(t, s, b.Name, "responder")
				s.end()
			}
		})
	}
}

// shape makes a frame of a TCP segment.
type shape func(t *testing.T, src, dst net.HardwareAddr, forth bool, tcp layers.TCP) []byte

func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func ipv4(forth bool) *layers.IPv4 {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{10, 9, 0, 1}, DstIP: net.IP{10, 9, 0, 2}}
	if !forth {
		ip.SrcIP, ip.DstIP = ip.DstIP, ip.SrcIP
	}
	return ip
}

func ipv6(forth bool, next layers.IPProtocol) *layers.IPv6 {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP("fd09::1"), DstIP: net.ParseIP("fd09::2")}
	if !forth {
		ip.SrcIP, ip.DstIP = ip.DstIP, ip.SrcIP
	}
	return ip
}

// tagged has VLAN tags of the given types.
func tagged(types ...layers.EthernetType) shape {
	return func(t *testing.T, src, dst net.HardwareAddr, forth bool, tcp layers.TCP) []byte {
		eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: types[0]}
		all := []gopacket.SerializableLayer{eth}
		for i := range types {
			next := layers.EthernetTypeIPv4
			if i+1 < len(types) {
				next = types[i+1]
			}
			all = append(all, &layers.Dot1Q{VLANIdentifier: uint16(7 + i), Type: next})
		}
		return serialize(t, append(all, ipv4(forth), &tcp)...)
	}
}

// extended has IPv6 extension headers, of 8 bytes with padding.
func extended(headers ...layers.IPProtocol) shape {
	return func(t *testing.T, src, dst net.HardwareAddr, forth bool, tcp layers.TCP) []byte {
		var extensions []byte
		for i := range headers {
			next := layers.IPProtocolTCP
			if i+1 < len(headers) {
				next = headers[i+1]
			}
			const padN, four = 1, 4
			extensions = append(extensions, byte(next), 0, padN, four, 0, 0, 0, 0)
		}
		eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv6}
		payload := append(extensions, serialize(t, &tcp)...)
		return serialize(t, eth, ipv6(forth, headers[0]), gopacket.Payload(payload))
	}
}

// withOptions has IPv4 options.
func withOptions(t *testing.T, src, dst net.HardwareAddr, forth bool, tcp layers.TCP) []byte {
	ip := ipv4(forth)
	nop := layers.IPv4Option{OptionType: 1, OptionLength: 1}
	ip.Options = slices.Repeat([]layers.IPv4Option{nop}, 40)
	return serialize(t, &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}, ip, &tcp)
}

// TestShapes: a connection of frames that the kernel takes for nobody's is decoded at both ends, at each hook.
func TestShapes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		frame shape
	}{
		{"vlan", tagged(layers.EthernetTypeDot1Q)},
		{"qinq", tagged(layers.EthernetTypeQinQ, layers.EthernetTypeDot1Q)},
		{"ipv6 hop by hop, destination", extended(layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Destination)},
		{"ipv6 destination, routing, destination",
			extended(layers.IPProtocolIPv6Destination, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination)},
		{"ipv4 options", withOptions},
	} {
		hooks := []string{"tcx", "tc", "xdp"}
		if testing.Short() {
			hooks = []string{"tcx"}
		}
		for _, hook := range hooks {
			t.Run(tc.name+" "+hook, func(t *testing.T) {
				t.Parallel()
				testShape(t, tc.frame, hook)
			})
		}
	}
}

func testShape(t *testing.T, frame shape, hook string) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	for _, ns := range []*nettest.NS{a, b} {
		ns.Sysctl("net/ipv6/conf/default/disable_ipv6", "1") // no packets of the kernel's own
	}
	nettest.Veth(a, "eth0", b, "eth0")
	s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "none", "--hook", hook)
	mac := map[*nettest.NS]net.HardwareAddr{a: mustMAC(t, a), b: mustMAC(t, b)}
	segment := func(flags uint16, seq, ack uint32) layers.TCP {
		return layers.TCP{Seq: seq, Ack: ack, Window: 100, DataOffset: 5, SYN: flags&2 != 0, ACK: flags&16 != 0, FIN: flags&1 != 0}
	}
	const syn, ack, fin = 2, 16, 1
	for i, step := range []struct {
		from, to *nettest.NS
		tcp      layers.TCP
	}{
		{a, b, segment(syn, 100, 0)},
		{b, a, segment(syn|ack, 500, 101)},
		{a, b, segment(ack, 101, 501)},
		{a, b, segment(fin|ack, 101, 501)},
		{b, a, segment(fin|ack, 501, 102)},
		{a, b, segment(ack, 102, 502)},
	} {
		step.tcp.SrcPort, step.tcp.DstPort = 40000, 80
		if step.from == b {
			step.tcp.SrcPort, step.tcp.DstPort = 80, 40000
		}
		sendFrame(step.from, frame(t, mac[step.from], mac[step.to], step.from == a, step.tcp))
		for _, ns := range []*nettest.NS{a, b} {
			s.waitFor(float64(i+1), "segments_total", label("netns", ns.Name))
		}
	}
	for ns, role := range map[*nettest.NS]string{a: "originator", b: "responder"} {
		s.waitFor(1, "teardowns_total", label("netns", ns.Name), label("role", role), label("teardown", "fin"))
		if got := s.scrape().sum("handshakes_total", label("netns", ns.Name), label("role", role), label("outcome", "completed")); got != 1 {
			t.Errorf("%v handshakes completed in %s, want 1", got, ns.Name)
		}
	}
	m := s.scrape()
	if got := m.sum("unparsed_packets_total"); got != 0 {
		t.Errorf("%v packets unparsed", got)
	}
	checkIdentities(t, m)
}

func mustMAC(t *testing.T, ns *nettest.NS) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(ns.MAC("eth0"))
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// sendFrame sends an Ethernet frame out of eth0 as it is.
func sendFrame(ns *nettest.NS, frame []byte) {
	index := ns.Index("eth0")
	ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index})
	})
}
