package pcap

import (
	"fmt"
	"io"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"netobs/decode"
)

// WriterOptions say what a capture says of itself.
type WriterOptions struct {
	// Version of the program.
	Version string
	// ControlOnly says that there are only those segments that begin or end something. A [Reader] tells it again.
	ControlOnly bool
}

// A Writer writes segments into a pcapng file: an interface for each observation point, which tells its namespace, and packets with
// all that a segment holds (see [decode.Segment.AppendPacket]), cut behind what is known of their payload. A [Reader] finds the namespaces again,
// so that connections of several are kept apart.
type Writer struct {
	w      io.Writer
	opts   WriterOptions
	ng     *pcapgo.NgWriter // nil before the first interface: there must be one
	ifaces map[*decode.Point]int
	frame  []byte
	length int64
}

const (
	// dataMost is how much payload of a packet is written, if there is any.
	dataMost = 156
	// snapLength is the longest that a packet may be: an IPv6 header, a TCP header with all options, and that.
	snapLength = 40 + 60 + dataMost
)

// application begins what a file says of the program that wrote it.
const application = "netobs "

const controlOnly = "only segments that begin or end something: SYN, FIN, RST, and the acknowledgments that complete"

// NewWriter returns a Writer. The caller closes it.
func NewWriter(w io.Writer, opts WriterOptions) *Writer {
	return &Writer{w: w, opts: opts, ifaces: make(map[*decode.Point]int)}
}

// Write writes a segment, with comments on it.
func (w *Writer) Write(seg *decode.Segment, comments ...string) error {
	on, ok := w.ifaces[seg.Point]
	if !ok {
		var err error
		if on, err = w.add(seg.Point); err != nil {
			return err
		}
	}
	w.frame = seg.AppendPacket(w.frame[:0])
	length := len(w.frame) + int(seg.Payload)
	w.frame = append(w.frame, seg.Data[:min(len(seg.Data), dataMost)]...)
	info := gopacket.CaptureInfo{Timestamp: time.Unix(0, seg.Time), CaptureLength: len(w.frame), Length: length, InterfaceIndex: on}
	var flags pcapgo.NgEpbFlags
	switch seg.Point.Direction {
	case decode.Ingress:
		flags.Direction = pcapgo.NgEpbFlagDirectionInbound
	case decode.Egress:
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	return w.ng.WritePacketWithOptions(info, w.frame, pcapgo.NgPacketOptions{Comments: comments, Flags: &flags})
}

// add adds an interface.
func (w *Writer) add(p *decode.Point) (int, error) {
	on := pcapgo.NgInterface{
		Name:        strings.TrimPrefix(p.Netns+"/"+p.Interface, "/"),
		Description: describe(p),
		OS:          runtime.GOOS,
		LinkType:    layers.LinkTypeRaw,
		SnapLength:  snapLength,
	}
	w.ifaces[p] = len(w.ifaces)
	if w.ng != nil {
		return w.ng.AddInterface(on)
	}
	return 0, w.begin(on)
}

// begin writes what comes before all packets.
func (w *Writer) begin(on pcapgo.NgInterface) (err error) {
	section := pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: application + w.opts.Version}
	if w.opts.ControlOnly {
		section.Comment = controlOnly
	}
	w.ng, err = pcapgo.NewNgWriterInterface(w.counted(), on, pcapgo.NgWriterOptions{SectionInfo: section})
	return err
}

func (w *Writer) counted() io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		n, err := w.w.Write(b)
		w.length += int64(n)
		return n, err
	})
}

// writerFunc is a function that is an [io.Writer].
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Flush writes what is still in a buffer.
func (w *Writer) Flush() error {
	if w.ng == nil {
		return nil
	}
	return w.ng.Flush()
}

// Close ends the capture, and leaves the file open. One without segments gets an interface, else it would be no capture.
func (w *Writer) Close() error {
	if w.ng == nil {
		if err := w.begin(pcapgo.NgInterface{Name: "none", LinkType: layers.LinkTypeRaw, SnapLength: snapLength}); err != nil {
			return err
		}
	}
	return w.Flush()
}

// Length returns how many bytes were written, up to the last Flush or some time later.
func (w *Writer) Length() int64 { return w.length }

// describe says in words where a point is; described reads them.
func describe(p *decode.Point) string {
	return fmt.Sprintf("interface %s, %s, of network namespace %s (number %d here)", p.Interface, p.Direction, p.Netns, p.NetnsID)
}

var description = regexp.MustCompile(`^interface (.+), \w+, of network namespace (.*) \(number (\d+) here\)$`)

// described makes a point what the description of its interface says, if netobs wrote it. Its direction is left unknown: with that alone
// no role can be told.
func described(p *decode.Point, text string) {
	m := description.FindStringSubmatch(text)
	if m == nil {
		return
	}
	n, err := strconv.ParseUint(m[3], 10, 32)
	if err != nil {
		return
	}
	p.Interface, p.Netns, p.NetnsID = m[1], m[2], uint32(n)
}
