package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"netobs/decode"
)

// packet is one of a capture made for a test.
type packet struct {
	at    time.Duration // after captureStart
	iface int           // of pcapng
	frame []byte
}

var captureStart = time.Date(2026, 1, 2, 15, 3, 42, 0, time.UTC)

// dialog writes the packets of one connection. Sequence numbers are as tcpdump shows them: its two sides start at 1000 and
// at 5000.
type dialog struct {
	tb             testing.TB
	client, server netip.AddrPort
	iface          int
	ttl            uint8
	tunnel         bool // within GRE
	packets        []packet
}

func newDialog(tb testing.TB, client, server string) *dialog {
	return &dialog{tb: tb, client: netip.MustParseAddrPort(client), server: netip.MustParseAddrPort(server), ttl: 64}
}

// sends adds a segment. seq and ack count from the ISNs, without wrap.
func (d *dialog) sends(at time.Duration, from decode.Side, flags decode.Flags, seq, ack uint32, data string) *dialog {
	src, dst, seqBase, ackBase := d.client, d.server, uint32(1000), uint32(5000)
	if from == decode.Responder {
		src, dst, seqBase, ackBase = dst, src, ackBase, seqBase
	}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: seq + seqBase, Window: 64240,
		SYN: flags&decode.SYN != 0, ACK: flags&decode.ACK != 0, FIN: flags&decode.FIN != 0, RST: flags&decode.RST != 0,
		PSH: flags&decode.PSH != 0,
	}
	if tcp.ACK {
		tcp.Ack = ack + ackBase
	}
	if tcp.SYN {
		tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}}
	}
	ether := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv6}
	stack := []gopacket.SerializableLayer{ether}
	if d.tunnel {
		ether.EthernetType = layers.EthernetTypeIPv4
		stack = append(stack, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolGRE, SrcIP: []byte{192, 0, 2, 1},
			DstIP: []byte{192, 0, 2, 2}}, &layers.GRE{Protocol: layers.EthernetTypeIPv4})
	}
	if src.Addr().Is4() {
		ether.EthernetType = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TTL: d.ttl, Protocol: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(),
			DstIP: dst.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip)
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: d.ttl, NextHeader: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(),
			DstIP: dst.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, append(stack, tcp, gopacket.Payload(data))...); err != nil {
		d.tb.Fatal(err)
	}
	d.packets = append(d.packets, packet{at, d.iface, buf.Bytes()})
	return d
}

const (
	us = time.Microsecond
	ms = time.Millisecond

	client = decode.Originator
	server = decode.Responder
	ack    = decode.ACK

	noSeq = 1<<32 - 5000 // makes a sequence number 0 of the server
)

// opens adds a handshake.
func (d *dialog) opens(at time.Duration) *dialog {
	return d.sends(at, client, decode.SYN, 0, 0, "").sends(at+20*us, server, decode.SYN|ack, 0, 1, "").
		sends(at+30*us, client, ack, 1, 1, "")
}

// asks adds a request and its answer.
func (d *dialog) asks(at time.Duration) *dialog {
	return d.sends(at, client, decode.PSH|ack, 1, 1, "GET /").sends(at+ms, server, decode.PSH|ack, 1, 6, "welcome")
}

// closes adds FINs after asks, the server's first.
func (d *dialog) closes(at time.Duration) *dialog {
	return d.sends(at, server, decode.FIN|ack, 8, 6, "").sends(at+10*us, client, decode.FIN|ack, 6, 9, "").
		sends(at+20*us, server, ack, 9, 7, "")
}

// refuses adds a SYN and the RST that answers it.
func (d *dialog) refuses(at time.Duration) *dialog {
	return d.sends(at, client, decode.SYN, 0, 0, "").sends(at+15*us, server, decode.RST|ack, noSeq, 1, "")
}

// mustPcap returns a pcap file.
func mustPcap(tb testing.TB, packets []packet) []byte {
	tb.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		tb.Fatal(err)
	}
	for _, p := range packets {
		if err := w.WritePacket(info(p), p.frame); err != nil {
			tb.Fatal(err)
		}
	}
	return file.Bytes()
}

// mustPcapng returns a pcapng file with interfaces of these names and link types.
func mustPcapng(tb testing.TB, packets []packet, names []string, links []layers.LinkType) []byte {
	tb.Helper()
	var file bytes.Buffer
	ifaces := make([]pcapgo.NgInterface, len(names))
	for i := range names {
		ifaces[i] = pcapgo.NgInterface{Name: names[i], LinkType: links[i], TimestampResolution: 9}
	}
	w, err := pcapgo.NewNgWriterInterface(&file, ifaces[0], pcapgo.NgWriterOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, i := range ifaces[1:] {
		if _, err := w.AddInterface(i); err != nil {
			tb.Fatal(err)
		}
	}
	for _, p := range packets {
		if err := w.WritePacket(info(p), p.frame); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

func info(p packet) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: captureStart.Add(p.at), CaptureLength: len(p.frame), Length: len(p.frame),
		InterfaceIndex: p.iface}
}

// inDir makes files of these contents the only ones in the current directory, so that output does not depend on where
// that is.
func inDir(t *testing.T, files map[string][]byte) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range files {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// checkGolden compares with a file in testdata; dir is that of the package.
func checkGolden(t *testing.T, dir, name, got string) {
	t.Helper()
	golden := filepath.Join(dir, "testdata", name)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
