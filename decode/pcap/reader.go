package pcap

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"netobs/decode"
)

// Options say how a [Reader] looks at packets.
type Options struct {
	// Decap looks for TCP in tunnels: IP in IP, GRE, VXLAN, Geneve, GTP-U. Without it they are not TCP.
	Decap bool

	careful bool // leave every packet to pcapgo: for tests
}

// A Reader reads the TCP segments of one capture. It needs no Close; the file is the caller's.
type Reader struct {
	name    string
	opts    Options
	file    counter
	content *counter      // file, or what gzip makes of it
	buf     *bufio.Reader // of content
	packets packets

	order    order  // of a pcap file
	fraction uint32 // of a pcap file: nanoseconds in its smallest unit of time

	blocks *blocks          // nil: a pcap file
	ng     *pcapgo.NgReader // of blocks

	ours, controlOnly bool // what the first section says

	ifaces []iface // of the current section; the only one of a pcap file
	points uint32
	now    int64 // time of the last packet that had one
	stats  Stats
	peeler peeler
	err    error // for ever
}

// packets is a reader of pcapgo.
type packets interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// An iface is an interface that packets were captured on.
type iface struct {
	link  decode.LinkType
	point *decode.Point

	// For plainBlock: nanoseconds of a tick, and the most ticks that it understands.
	tick, mostTicks uint64
}

// bufferSize is how much is read at once. With less than 4096 pcapgo would put a buffer of its own on top.
const bufferSize = 1 << 18

// NewReader reads the beginning of a capture. name is for errors, which are of type [*Error].
func NewReader(r io.Reader, name string, opts Options) (*Reader, error) {
	p := &Reader{name: name, opts: opts, file: counter{r: r}}
	p.content = &p.file
	p.buf = bufio.NewReaderSize(p.content, bufferSize)
	if err := p.open(); err != nil {
		if e := new(Error); errors.As(err, &e) { // of a later block
			return nil, e
		}
		return nil, p.fail(0, err)
	}
	return p, nil
}

// open finds out what the file is.
func (p *Reader) open() error {
	magic, err := p.magic()
	if err == nil && magic>>16 == 0x1f8b { // RFC 1952 §2.3.1
		var z *gzip.Reader
		if z, err = gzip.NewReader(p.buf); err == nil {
			p.content = &counter{r: z}
			p.buf = bufio.NewReaderSize(p.content, bufferSize)
			magic, err = p.magic()
		}
	}
	if err != nil {
		return err
	}
	switch magic {
	case blockSection:
		return p.openNg()
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1: // microseconds and nanoseconds, each in both byte orders
		return p.openPcap(magic)
	}
	if by := compressedBy(magic); by != "" {
		return fmt.Errorf("%w: it is compressed by %[2]s; pipe it in: %[2]s -dc FILE | netobs read -", ErrNotCapture, by)
	}
	return fmt.Errorf("%w: it begins with %08x", ErrNotCapture, magic)
}

// compressedBy names the program that compressed a file with these first bytes in a way not read here.
func compressedBy(magic uint32) string {
	switch {
	case magic == 0x28b52ffd: // RFC 8878 §3.1.1
		return "zstd"
	case magic == 0xfd377a58:
		return "xz"
	case magic == 0x04224d18:
		return "lz4"
	case magic>>8 == 0x425a68:
		return "bzip2"
	}
	return ""
}

// magic returns the first four bytes, and leaves them.
func (p *Reader) magic() (uint32, error) {
	magic, err := p.buf.Peek(4)
	switch {
	case err == io.EOF && len(magic) == 0:
		return 0, ErrEmpty
	case err == io.EOF:
		return 0, ErrNotCapture
	case err != nil:
		return 0, err
	}
	return binary.BigEndian.Uint32(magic), nil
}

// openPcap begins to read a pcap file with these first bytes.
func (p *Reader) openPcap(magic uint32) error {
	r, err := pcapgo.NewReader(p.buf)
	if err != nil {
		return whole(err)
	}
	// Many writers do not keep the length they declare.
	r.SetSnaplen(maxBlock)
	p.order.big, p.fraction = magic == 0xa1b2c3d4 || magic == 0xa1b23c4d, 1000
	if magic == 0xa1b23c4d || magic == 0x4d3cb2a1 {
		p.fraction = 1
	}
	p.packets = r
	p.ifaces = []iface{{link: decode.LinkType(r.LinkType()), point: p.newPoint("")}}
	return nil
}

// ControlOnly reports whether the capture, written by a [Writer], has only segments that begin or end something.
func (p *Reader) ControlOnly() bool { return p.controlOnly }

// newPoint returns a point for an interface. Its direction is unknown, and its namespace the one without a name: only a [Writer] tells.
func (p *Reader) newPoint(name string) *decode.Point {
	p.points++
	return &decode.Point{ID: p.points, Interface: name, Direction: decode.DirectionUnknown}
}

// Next reads the next TCP segment into seg. At the end of the file it returns [io.EOF], where the file is truncated or
// damaged an [*Error]; the same again if called again. seg.Options are valid until the next call, seg.Point for ever.
func (p *Reader) Next(seg *decode.Segment) error {
	for p.err == nil {
		c, ok := p.plain()
		if !ok {
			if c, p.err = p.unusual(); p.err != nil {
				break
			}
		}
		p.stats.Packets++
		p.stats.Bytes += int64(max(c.length, len(c.frame)))
		*seg = decode.Segment{Time: p.now, Point: c.iface.point}
		if p.parse(c.iface.link, c.frame, c.length, seg) {
			return nil
		}
	}
	return p.err
}

// unusual reads the next packet by pcapgo.
func (p *Reader) unusual() (captured, error) {
	start := p.position()
	frame, ci, err := p.packets.ZeroCopyReadPacketData()
	if err != nil && p.blocks == nil && ci.CaptureLength > ci.Length && ci.CaptureLength <= maxBlock {
		frame, err = p.longer(ci.CaptureLength)
	}
	if err != nil {
		return captured{}, p.end(start, err)
	}
	on, err := p.iface(ci.InterfaceIndex)
	if err != nil {
		return captured{}, p.fail(start, err)
	}
	if !ci.Timestamp.IsZero() { // a Simple Packet Block has no time
		p.now = ci.Timestamp.UnixNano()
	}
	return captured{frame, ci.Length, on}, nil
}

// longer reads the data of a pcap record that says it captured more than there was. pcapgo refuses it after its header; other
// readers do not mind.
func (p *Reader) longer(n int) ([]byte, error) {
	var frame bytes.Buffer // grows with what there is
	_, err := io.CopyN(&frame, p.buf, int64(n))
	return frame.Bytes(), err
}

// end says why there is no packet at an offset.
func (p *Reader) end(offset int64, err error) error {
	if p.blocks != nil {
		return p.endNg(offset, err)
	}
	// pcapgo also calls it the end of the file if all of a record's data are missing.
	if err == io.EOF && p.position() == offset {
		return io.EOF
	}
	return p.fail(offset, whole(err))
}

// fail returns err as an Error.
func (p *Reader) fail(offset int64, err error) *Error {
	return &Error{Name: p.name, Offset: offset, Gzip: p.content != &p.file, Err: err}
}

// position is how many bytes of the content were handed out.
func (p *Reader) position() int64 {
	if p.blocks != nil {
		return p.blocks.next // pcapgo is through with a block when it returns
	}
	return p.content.n - int64(p.buf.Buffered())
}

// parse reads one frame, and counts what it was.
func (p *Reader) parse(link decode.LinkType, frame []byte, wireLen int, seg *decode.Segment) bool {
	parsed := decode.ParseFrame(link, frame, wireLen, seg)
	if parsed == decode.ParsedOther || parsed == decode.ParsedNotTCP && p.opts.Decap {
		if first := firstDecoder(link); first != nil {
			parsed = p.peeler.peel(first, frame, wireLen, p.opts.Decap, seg)
		} else if parsed == decode.ParsedOther {
			p.stats.unsupported(link)
		}
	}
	p.stats.Parsed[parsed]++
	return parsed == decode.ParsedSegment
}

// A counter counts the bytes read through it. It keeps its first error: a bufio.Reader tells one only once, also to those who
// only look.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(b []byte) (n int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	n, c.err = c.r.Read(b)
	c.n += int64(n)
	return n, c.err
}
