package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"netobs/decode"
)

// ipFrame is an IPv4 packet with a SYN from 10.0.0.1:1000 to 10.0.0.2:80 with an MSS option and 3 bytes of data.
func ipFrame() []byte {
	return []byte{
		0x45, 0, 0, 47, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
		3, 232, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x60, 2, 4, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4, 'a', 'b', 'c',
	}
}

func ethernet(ether uint16, payload ...[]byte) []byte {
	return slices.Concat(make([]byte, 12), binary.BigEndian.AppendUint16(nil, ether), slices.Concat(payload...))
}

// A recorder writes capture files. Only what the reader looks at is right.
type recorder struct {
	binary.AppendByteOrder
	file   []byte
	starts []int // of the packets' records
}

func (w *recorder) u16(v ...uint16) {
	for _, v := range v {
		w.file = w.AppendUint16(w.file, v)
	}
}

func (w *recorder) u32(v ...uint32) {
	for _, v := range v {
		w.file = w.AppendUint32(w.file, v)
	}
}

func (w *recorder) pcapHeader(magic uint32, link decode.LinkType) {
	w.u32(magic)
	w.u16(2, 4)
	w.u32(0, 0, 65535, uint32(link))
}

func (w *recorder) pcapPacket(sec, frac uint32, frame []byte) {
	w.starts = append(w.starts, len(w.file))
	w.u32(sec, frac, uint32(len(frame)), uint32(len(frame)))
	w.file = append(w.file, frame...)
}

// block writes a pcapng block; write is called for its body, which is padded.
func (w *recorder) block(typ uint32, write func()) {
	start := len(w.file)
	w.u32(typ, 0)
	write()
	w.file = append(w.file, make([]byte, -len(w.file)&3)...)
	length := uint32(len(w.file) - start + 4)
	w.u32(length)
	w.PutUint32(w.file[start+4:], length)
}

func (w *recorder) PutUint32(b []byte, v uint32) { copy(b, w.AppendUint32(nil, v)) }

func (w *recorder) section() {
	w.block(blockSection, func() {
		w.u32(0x1a2b3c4d)
		w.u16(1, 0)
		w.u32(0xffffffff, 0xffffffff)
	})
}

func (w *recorder) iface(link decode.LinkType, name string, resolution uint8) {
	w.block(1, func() {
		w.u16(uint16(link), 0)
		w.u32(0)
		w.u16(2, uint16(len(name)))
		w.file = append(w.file, name...)
		w.file = append(w.file, make([]byte, -len(name)&3)...)
		w.u16(9, 1)
		w.file = append(w.file, resolution, 0, 0, 0)
		w.u16(0, 0)
	})
}

func (w *recorder) packet(iface uint32, ticks uint64, frame []byte) {
	w.starts = append(w.starts, len(w.file))
	w.block(6, func() {
		w.u32(iface, uint32(ticks>>32), uint32(ticks), uint32(len(frame)), uint32(len(frame)))
		w.file = append(w.file, frame...)
	})
}

// statistics writes an Interface Statistics Block, of an interface that does not exist: nobody needs to know.
func (w *recorder) statistics() { w.block(5, func() { w.u32(99, 0, 0) }) }

// readAll reads a file to its end, and returns what it says about each segment.
func readAll(file []byte, opts Options) (segments []string, stats Stats, err error) {
	r, err := NewReader(bytes.NewReader(file), "x", opts)
	if err != nil {
		return nil, Stats{}, err
	}
	for {
		var seg decode.Segment
		if err := r.Next(&seg); err != nil {
			if again := r.Next(&seg); again != err {
				return nil, Stats{}, fmt.Errorf("first %w, then %w", err, again)
			}
			return segments, r.Stats(), err
		}
		segments = append(segments, fmt.Sprintf("%d.%09d %q %v > %v: %s", seg.Time/1e9, seg.Time%1e9, seg.Point.Interface,
			seg.Src, seg.Dst, seg.AppendTcpdump(nil, 0, 0)))
	}
}

const syn = "10.0.0.1:1000 > 10.0.0.2:80: Flags [S], seq 9:12, win 1024, options [mss 1460], length 3"

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\ngot  %s\nwant %s", what, g, w)
	}
}

var orders = []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}

func pcapFile(order binary.AppendByteOrder, magic, frac uint32) *recorder {
	w := &recorder{AppendByteOrder: order}
	w.pcapHeader(magic, decode.LinkEthernet)
	w.pcapPacket(1700000000, 1, ethernet(0x0806, make([]byte, 28)))
	w.pcapPacket(1700000000, frac, ethernet(0x0800, ipFrame()))
	w.pcapPacket(1700000001, 0, ethernet(0x0800, ipFrame()))
	return w
}

func TestPcap(t *testing.T) {
	for _, order := range orders {
		for magic, frac := range map[uint32]uint32{0xa1b2c3d4: 250_000, 0xa1b23c4d: 250_000_000} {
			segments, stats, err := readAll(pcapFile(order, magic, frac).file, Options{})
			if err != io.EOF {
				t.Errorf("%v: %v", order, err)
			}
			equal(t, "segments", strings.Join(segments, "\n"), `1700000000.250000000 "" `+syn+"\n"+`1700000001.000000000 "" `+syn)
			if stats.Packets != 3 || stats.Segments() != 2 || stats.Parsed[decode.ParsedNotTCP] != 1 || stats.Bytes != 42+2*61 {
				t.Errorf("stats: %+v", stats)
			}
		}
	}
}

// ngFile has two sections, the first with three interfaces: Ethernet and nanoseconds, raw IP and microseconds, and one
// that nobody can read.
func ngFile(order, second binary.AppendByteOrder) *recorder {
	w := &recorder{AppendByteOrder: order}
	w.section()
	w.iface(decode.LinkEthernet, "eth0", 9)
	w.iface(decode.LinkRaw, "tun0", 6)
	w.packet(0, 1700000000_000000001, ethernet(0x0800, ipFrame()))
	w.block(0x0bad, func() { w.u32(1, 2, 3) }) // unknown: skipped
	w.iface(147, "usr0", 6)
	w.packet(2, 1700000001_000000, []byte("anything"))
	w.packet(1, 1700000002_000000, ipFrame())
	w.starts = append(w.starts, len(w.file))
	w.block(3, func() { // a Simple Packet Block: of the first interface, without a time
		frame := ethernet(0x0800, ipFrame())
		w.u32(uint32(len(frame)))
		w.file = append(w.file, frame...)
	})
	w.statistics()
	w.AppendByteOrder = second
	w.section()
	w.iface(decode.LinkIPv4, "tun1", 6)
	w.packet(0, 1700000003_000000, ipFrame())
	w.statistics()
	return w
}

var ngSegments = []string{
	`1700000000.000000001 "eth0" ` + syn,
	`1700000002.000000000 "tun0" ` + syn,
	`1700000002.000000000 "eth0" ` + syn,
	`1700000003.000000000 "tun1" ` + syn,
}

func TestPcapng(t *testing.T) {
	for _, order := range orders {
		for _, second := range orders {
			segments, stats, err := readAll(ngFile(order, second).file, Options{})
			if err != io.EOF {
				t.Errorf("%v: %v", order, err)
			}
			equal(t, "segments", strings.Join(segments, "\n"), strings.Join(ngSegments, "\n"))
			equal(t, "unsupported", stats.Unsupported(), "[{147 1}]")
			if stats.Packets != 5 || stats.Segments() != 4 || stats.Parsed[decode.ParsedOther] != 1 {
				t.Errorf("stats: %+v", stats)
			}
		}
	}
}

func TestPoints(t *testing.T) {
	r, err := NewReader(bytes.NewReader(ngFile(orders[0], orders[1]).file), "x", Options{})
	if err != nil {
		t.Fatal(err)
	}
	points := map[*decode.Point]bool{}
	ids := map[uint32]bool{}
	var seg decode.Segment
	for r.Next(&seg) == nil {
		points[seg.Point], ids[seg.Point.ID] = true, true
		if seg.Point.Direction != decode.DirectionUnknown {
			t.Errorf("direction %v", seg.Point.Direction)
		}
	}
	if len(points) != 3 || len(ids) != 3 {
		t.Errorf("%d points with %d ids, want 3: one for each interface", len(points), len(ids))
	}
}

func compress(file []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(file)
	z.Close()
	return b.Bytes()
}

// A section cannot have more interfaces than fit in memory.
func TestManyInterfaces(t *testing.T) {
	w := &recorder{AppendByteOrder: orders[0]}
	w.section()
	for range maxIfaces {
		w.iface(decode.LinkRaw, "", 6)
	}
	w.packet(maxIfaces-1, 0, ipFrame())
	end := len(w.file)
	w.iface(decode.LinkRaw, "", 6)
	w.packet(0, 0, ipFrame())
	segments, _, err := readAll(w.file, Options{})
	equal(t, "segments", len(segments), 1)
	equal(t, "error", err, fmt.Sprintf("x: damaged at byte %d: more than 65536 interfaces", end))
}

func TestGzip(t *testing.T) {
	for _, w := range []*recorder{pcapFile(orders[0], 0xa1b2c3d4, 0), ngFile(orders[0], orders[0])} {
		plain, _, _ := readAll(w.file, Options{})
		segments, _, err := readAll(compress(w.file), Options{})
		if err != io.EOF {
			t.Error(err)
		}
		equal(t, "segments", strings.Join(segments, "\n"), strings.Join(plain, "\n"))

		zipped := compress(w.file)
		_, _, err = readAll(zipped[:len(zipped)-12], Options{})
		if e := new(Error); !errors.As(err, &e) || !e.Gzip || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("truncated: got %v", err)
		}
		zipped[len(zipped)-5] ^= 1 // of the checksum
		if segments, _, err = readAll(zipped, Options{}); !errors.Is(err, gzip.ErrChecksum) || len(segments) != len(plain) {
			t.Errorf("damaged: got %d segments and %v", len(segments), err)
		}
	}
}

// A file cut anywhere gives what came before the cut, and the place of the record that it cut.
func TestTruncated(t *testing.T) {
	for name, w := range map[string]*recorder{"pcap": pcapFile(orders[0], 0xa1b2c3d4, 0), "pcapng": ngFile(orders[0], orders[1])} {
		whole, _, _ := readAll(w.file, Options{})
		records := recordsOf(w.file)
		for n := range w.file {
			segments, stats, err := readAll(w.file[:n], Options{})
			packets := 0
			for i, start := range w.starts {
				if end, _ := slices.BinarySearch(records, start+1); n >= records[end] {
					packets = i + 1
				}
			}
			if int(stats.Packets) != packets || len(segments) > len(whole) || !slices.Equal(segments, whole[:len(segments)]) {
				t.Errorf("%s: first %d bytes: %d packets, want %d", name, n, stats.Packets, packets)
			}
			var e *Error
			at, clean := slices.BinarySearch(records, n)
			switch {
			case n == 0:
				if !errors.Is(err, ErrEmpty) {
					t.Errorf("%s: first %d bytes: got %v", name, n, err)
				}
			case n < 4:
				if !errors.Is(err, ErrNotCapture) {
					t.Errorf("%s: first %d bytes: got %v", name, n, err)
				}
			case clean:
				if err != io.EOF {
					t.Errorf("%s: first %d bytes: got %v, want a clean end", name, n, err)
				}
			case !errors.As(err, &e), !errors.Is(err, io.ErrUnexpectedEOF):
				t.Errorf("%s: first %d bytes: got %v", name, n, err)
			case e.Offset != int64(records[at-1]):
				t.Errorf("%s: first %d bytes: the error is at %d, want %d", name, n, e.Offset, records[at-1])
			}
		}
	}
}

// recordsOf returns the offsets of the records of a file, and its end.
func recordsOf(file []byte) []int {
	if binary.BigEndian.Uint32(file) != blockSection {
		offsets := []int{0, 24}
		for at := 24; at < len(file); {
			at += 16 + int(binary.LittleEndian.Uint32(file[at+8:]))
			offsets = append(offsets, at)
		}
		return offsets
	}
	offsets := []int{0}
	order := binary.ByteOrder(binary.LittleEndian)
	for at := 0; at < len(file); {
		if binary.BigEndian.Uint32(file[at:]) == blockSection {
			order = binary.LittleEndian
			if binary.BigEndian.Uint32(file[at+8:]) == 0x1a2b3c4d {
				order = binary.BigEndian
			}
		}
		at += int(order.Uint32(file[at+4:]))
		offsets = append(offsets, at)
	}
	return offsets
}

func onlySection() *recorder {
	w := &recorder{AppendByteOrder: orders[0]}
	w.section()
	return w
}

func TestDamaged(t *testing.T) {
	pcapFile := func() *recorder { return pcapFile(orders[0], 0xa1b2c3d4, 0) }
	ngFile := func() *recorder { return ngFile(orders[0], orders[0]) }
	third := ngFile().starts[2] // a packet of tun0
	tests := []struct {
		name     string
		file     *recorder
		at       int // what is damaged
		with     []byte
		segments int
		want     string
	}{
		{"nothing here", &recorder{}, 0, nil, 0, "x: empty file"},
		{"text", &recorder{file: []byte("hello, world")}, 0, nil, 0, "x: not a capture file (pcap or pcapng): it begins with 68656c6c"},
		{"unknown version", pcapFile(), 4, []byte{3}, 0, "x: damaged at byte 0: Unknown major version 3"},
		{"packet of 4 GB", pcapFile(), pcapFile().starts[2] + 8, []byte{255, 255, 255, 255}, 1,
			"x: damaged at byte 159: capture length exceeds snap length: 4294967295 > 16777216"},
		{"more captured than there was", pcapFile(), pcapFile().starts[1] + 12, []byte{1}, 2, "EOF"},
		{"byte-order magic", ngFile(), 8, []byte{0}, 0, "x: damaged at byte 0: section header with byte-order magic 003c2b1a"},
		{"unknown version of the first section", ngFile(), 12, []byte{2}, 1, "EOF"},
		{"unknown version of the only section", onlySection(), 12, []byte{2}, 0, "x: damaged at byte 0: no section has a known version"},
		{"block without length", ngFile(), third + 4, make([]byte, 4), 1,
			fmt.Sprintf("x: damaged at byte %d: block of type 0x6 with a length of 0", third)},
		{"block of odd length", ngFile(), third + 4, []byte{81}, 1,
			fmt.Sprintf("x: damaged at byte %d: block of type 0x6 with a length of 81", third)},
		{"block of 4 GB", ngFile(), third + 4, []byte{252, 255, 255, 255}, 1,
			fmt.Sprintf("x: damaged at byte %d: block of type 0x6 with a length of 4294967292", third)},
		{"unknown interface", ngFile(), third + 8, []byte{9}, 1,
			fmt.Sprintf("x: damaged at byte %d: Interface id 9 not present in section (have only 3 interfaces)", third)},
		{"packet longer than its block", ngFile(), third + 20, []byte{255, 255}, 1,
			fmt.Sprintf("x: damaged at byte %d: the content of a block is longer than the block", third)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			copy(tt.file.file[tt.at:], tt.with)
			segments, _, err := readAll(tt.file.file, Options{})
			equal(t, "error", err, tt.want)
			equal(t, "segments", len(segments), tt.segments)
			if e := new(Error); err != io.EOF && (!errors.As(err, &e) || e.Name != "x") {
				t.Errorf("got a %T", err)
			}
		})
	}
}

// An error of the source itself is passed on, with what came before it.
func TestReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, w := range []*recorder{pcapFile(orders[0], 0xa1b2c3d4, 0), ngFile(orders[0], orders[0])} {
		whole, _, _ := readAll(w.file, Options{})
		r, err := NewReader(io.MultiReader(iotest.OneByteReader(bytes.NewReader(w.file)), iotest.ErrReader(broken)), "x", Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		var seg decode.Segment
		for err == nil {
			if err = r.Next(&seg); err == nil {
				n++
			}
		}
		if n != len(whole) || !errors.Is(err, broken) {
			t.Errorf("got %d segments and %v, want %d and %v", n, err, len(whole), broken)
		}
		if r.file.n != int64(len(w.file)) {
			t.Errorf("offset %d, want %d", r.file.n, len(w.file))
		}
	}
}

// endless repeats the packets of a pcap file.
type endless struct{ head, packets, rest []byte }

func (e *endless) Read(b []byte) (int, error) {
	if len(e.head) == 0 && len(e.rest) == 0 {
		e.rest = e.packets
	}
	from := &e.rest
	if len(e.head) > 0 {
		from = &e.head
	}
	n := copy(b, *from)
	*from = (*from)[n:]
	return n, nil
}

func endlessReader(tb testing.TB) *Reader {
	file := pcapFile(orders[0], 0xa1b2c3d4, 0).file
	r, err := NewReader(&endless{head: file[:24], packets: bytes.Repeat(file[24:], 1000)}, "x", Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestNextAllocatesNothing(t *testing.T) {
	r := endlessReader(t)
	var seg decode.Segment
	n := testing.AllocsPerRun(10000, func() {
		if err := r.Next(&seg); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("got %v allocations a segment, want 0", n)
	}
}

func BenchmarkNext(b *testing.B) {
	b.ReportAllocs()
	r := endlessReader(b)
	var seg decode.Segment
	for b.Loop() {
		if err := r.Next(&seg); err != nil {
			b.Fatal(err)
		}
	}
}
