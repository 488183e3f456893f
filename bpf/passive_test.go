package bpf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"netobs/decode"
)

// maxFrame is how much of a packet Program.Run is given: what it takes everywhere.
const maxFrame = 2048

// corpus calls f with each packet of the capture corpus, cut to maxFrame and with an Ethernet header, and the length that it
// had on the wire.
func corpus(t *testing.T, f func(file string, frame []byte, wire int)) {
	t.Helper()
	dir := cmp.Or(os.Getenv("NETOBS_CORPUS"), "../../shared/corpus")
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcap*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if os.Getenv("NETOBS_CORPUS_REQUIRED") == "1" {
			t.Fatalf("no captures in %s, but NETOBS_CORPUS_REQUIRED=1", dir)
		}
		t.Skipf("NOT TESTED with the capture corpus: there is none in %s (set NETOBS_CORPUS)", dir)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for link, packet := range packets(raw) {
			frame, wire := ethernet(link, packet.data), packet.wire-len(packet.data)
			wire += len(frame)
			f(name, frame[:min(len(frame), maxFrame)], wire)
		}
	}
}

type captured struct {
	data []byte
	wire int
}

// packets reads a capture as far as it can be read: some are broken on purpose.
func packets(raw []byte) func(yield func(layers.LinkType, captured) bool) {
	return func(yield func(layers.LinkType, captured) bool) {
		if r, err := pcapgo.NewReader(bytes.NewReader(raw)); err == nil {
			for {
				data, info, err := r.ReadPacketData()
				if err != nil || !yield(r.LinkType(), captured{data, info.Length}) {
					return
				}
			}
		}
		r, err := pcapgo.NewNgReader(bytes.NewReader(raw), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return
		}
		for {
			data, info, err := r.ReadPacketData()
			if errors.Is(err, io.EOF) || err != nil {
				return
			}
			ng, err := r.Interface(info.InterfaceIndex)
			if err != nil || !yield(ng.LinkType, captured{data, info.Length}) {
				return
			}
		}
	}
}

// ethernet puts an Ethernet header before what is no Ethernet frame.
func ethernet(link layers.LinkType, data []byte) []byte {
	if link == layers.LinkTypeEthernet {
		return data
	}
	etherType, skip := uint16(0x0800), 0
	switch link {
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		skip = 4
	case layers.LinkTypeLinuxSLL:
		skip = 16
	case 276: // Linux cooked capture, version 2
		skip = 20
	}
	data = data[min(skip, len(data)):]
	if len(data) > 0 && data[0]>>4 == 6 {
		etherType = 0x86dd
	}
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), etherType), data...)
}

// runnable says whether Program.Run takes a frame: the kernel refuses such as end before their IP header does.
func runnable(frame []byte) bool {
	need := 15
	if len(frame) >= 14 {
		switch binary.BigEndian.Uint16(frame[12:]) {
		case 0x0800:
			need = 14 + 20
		case 0x86dd:
			need = 14 + 40
		}
	}
	return len(frame) >= need
}

// Every program, whatever it is given, says "go on", and leaves the packet as it is. The packets of the tests are checked in
// the same way where they are used; see point.run.
func TestPassiveOverTheCorpus(t *testing.T) {
	w := newWorld(t, Options{RingBytes: 1 << 20})
	type program struct {
		name string
		*ebpf.Program
		want uint32
	}
	var programs []program
	for _, p := range []struct {
		name string
		Point
	}{
		{"ingress", Point{}},
		{"egress", Point{Egress: true}},
		{"xdp", Point{Hook: HookXDP}},
		{"ingress without Ethernet", Point{L3: true}},
		{"xdp without Ethernet", Point{Hook: HookXDP, L3: true}},
	} {
		p.Netns = w.namespace()
		point := w.anyPoint(t, p.Point)
		want := next
		if p.Hook == HookXDP {
			want = xdpPass
		}
		programs = append(programs, program{p.name, point.front, want})
	}
	programs = append(programs,
		program{"slow", w.hooks[HookTC].slowProg, next},
		program{"slow xdp", w.hooks[HookXDP].slowProg, xdpPass})

	runs := 0
	out := make([]byte, maxFrame+256)
	corpus(t, func(file string, frame []byte, _ int) {
		if !runnable(frame) {
			return
		}
		given := slices.Clone(frame)
		for _, p := range programs {
			opts := ebpf.RunOptions{Data: given, DataOut: out}
			got, err := p.Run(&opts)
			if err != nil {
				t.Fatalf("%s of %s: %v: %x", p.name, file, err, frame)
			}
			if got != p.want {
				t.Errorf("%s of %s: return code %d, want %d: %x", p.name, file, int32(got), int32(p.want), frame)
			}
			if !bytes.Equal(opts.DataOut, frame) {
				t.Errorf("%s of %s: packet was changed:\n got %x\nwant %x", p.name, file, opts.DataOut, frame)
			}
			if runs++; runs%5000 == 0 {
				drain(t, w.Programs)
			}
		}
	})
	t.Logf("%d runs", runs)
}

// The programs and the reader of captures agree on what every packet of the corpus is.
func TestParserAgreesWithDecode(t *testing.T) {
	w := newWorld(t, Options{RingBytes: 1 << 20})
	points := []*point{
		w.anyPoint(t, Point{Netns: w.namespace(), Egress: true}),
		w.anyPoint(t, Point{Netns: w.namespace(), Hook: HookXDP}),
	}
	reasons := map[decode.Parsed]UnparsedReason{
		decode.ParsedVLAN:          netobsUnparsedReasonUNPARSED_VLAN,
		decode.ParsedFragment:      netobsUnparsedReasonUNPARSED_FRAGMENT,
		decode.ParsedIPv6Extension: netobsUnparsedReasonUNPARSED_IPV6EXTENSION,
		decode.ParsedTruncated:     netobsUnparsedReasonUNPARSED_TRUNCATED,
		decode.ParsedMalformed:     netobsUnparsedReasonUNPARSED_MALFORMED,
	}
	var segments, others int
	corpus(t, func(file string, frame []byte, wire int) {
		if !runnable(frame) {
			return
		}
		clear(frame[:12]) // for us
		var seg decode.Segment
		parsed := decode.ParseFrame(decode.LinkEthernet, frame, wire, &seg)
		var want PointCounters
		be := binary.BigEndian
		switch etherType := be.Uint16(frame[12:]); {
		case etherType == 0x0800 && be.Uint16(frame[totalLength4:]) == 0 && frame[14+9] == 6,
			etherType == 0x86dd && be.Uint16(frame[payloadLength6:]) == 0 && frame[nextHeader6] == 6:
			parsed = decode.ParsedMalformed // a capture may have it of a card that segments; the kernel knows what it has
		case be.Uint16(frame[12:]) == 0x8100 && be.Uint16(frame[16:]) == 0x8100 && be.Uint16(frame[20:]) == 0x8100:
			parsed = decode.ParsedVLAN // three tags
		}
		switch parsed {
		case decode.ParsedSegment:
			segments++
			want.SegmentBytesTotal = uint64(seg.Payload)
		case decode.ParsedNotTCP, decode.ParsedOther:
		default:
			others++
			want = unparsed(reasons[parsed])
		}
		for _, p := range points {
			before := p.mustCounters(t)
			if _, err := p.front.Run(&ebpf.RunOptions{Data: frame}); err != nil {
				t.Fatal(err)
			}
			got := p.mustCounters(t)
			got.Sub(&before)
			n := got.Segments()
			flags := got.Flags()
			got.SegmentsTotalAck, got.SegmentsTotalOther, got.FlagsTotal = [2]uint64{}, 0, [8]uint64{}
			got.ControlSegmentsSeenTotal, got.ControlSegmentsTotal = 0, [4]uint64{}
			if (n == 1) != (parsed == decode.ParsedSegment) || got != want {
				t.Errorf("%s: decode says %v: got %s, %d segments, want %s: %x", file, parsed, moves(got), n, moves(want), frame)
			}
			for i := range flags {
				if n == 1 && flags[i] != uint64(seg.Flags>>i&1) {
					t.Errorf("%s: flags: got %d, want %v: %x", file, flags, seg.Flags, frame)
				}
			}
		}
	})
	drain(t, w.Programs)
	t.Logf("%d segments, %d unparsed", segments, others)
}
