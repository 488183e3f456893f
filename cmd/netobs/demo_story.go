package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"netobs/decode"
)

// Where the words of the story stand.
const (
	storyWidth  = 100
	labelColumn = 2
	textColumn  = labelColumn + len("handshake 1 of 3") + 2
)

// story prints a recording for people who have just learned what a SYN is.
type story struct {
	w      *bufio.Writer
	colour bool
}

func newStory(w io.Writer, colour bool) *story { return &story{newBuffer(w), colour} }

// introduce says what was made and what is watched.
func (s *story) introduce() error {
	s.heading("netobs demo: the life of a TCP connection")
	s.entry("made for this", "", "A network of its own inside this machine (a network namespace), with nothing in it but a "+
		"loopback interface, lo. In it run an HTTP server on "+demoServer.String()+" and a client.")
	s.entry("watched", "", "Every segment on lo, by a small BPF program that the kernel runs for each (hook: TCX, egress). "+
		"It only looks: no segment is changed, held up or sent elsewhere.")
	s.entry("how to read it", "", "Each segment stands in the notation of tcpdump, its meaning below. In Flags, S is SYN, F is "+
		"FIN, R is RST, P is PSH (hand the data to the program now) and the dot is ACK. Long lines go on at their "+
		"options.")
	return s.w.Flush()
}

// tell prints all that came after the introduction.
func (s *story) tell(r *recording) error {
	s.heading("1  A page is fetched: handshake, data, teardown")
	s.conversation(r, &narrator{server: demoServer, teach: true})
	s.heading("2  Nobody listens: a connection is refused")
	s.conversation(r, &narrator{server: demoClosed})
	s.heading("3  What `netobs attach` prints of the two")
	s.paragraph("One line for each handshake and each teardown. The client is the originator (it sent the first SYN),\n" +
		"the server the responder; both are in this namespace, so the role is local. The legs of a handshake\n" +
		"are how long the responder, and then the originator, took to answer. The history of a connection has\n" +
		"a letter for each kind of segment, capitals for the originator's: S SYN, H SYN-ACK, A ACK, D data,\n" +
		"F FIN, R RST.\n")
	if err := s.verdicts(r); err != nil {
		return err
	}
	s.heading("4  What remains: metrics")
	s.paragraph("While `netobs attach` runs, Prometheus gets them at http://" + defaultListen + "/metrics. These are the\n" +
		"lines that tell of the two connections; zeros and the buckets of histograms are left out.\n")
	s.metrics(r.exposition)
	s.heading("5  Next")
	s.paragraph("All that was made for this is removed again. To watch a network namespace of your own, try\n" +
		"`netobs attach --netns NAME`, or `--netns host` for that of this machine.")
	return s.w.Flush()
}

// conversation prints the segments to and from a server, each with its meaning.
func (s *story) conversation(r *recording, n *narrator) {
	first := true
	for i := range r.steps {
		st := &r.steps[i]
		if st.Src != n.server && st.Dst != n.server {
			continue
		}
		if !first {
			fmt.Fprintln(s.w)
		}
		first = false
		s.segment(n, &st.Segment)
		label, colour, text := n.explain(st)
		s.entry(label, colour, text)
	}
}

// segment prints what tcpdump would, folded before the options if it is long.
func (s *story) segment(n *narrator, seg *decode.Segment) {
	seqBase, ackBase := n.bases(seg, n.sender(seg))
	at := timeOfDay()
	line := appendSegment(nil, &at, seg, [2]string{seg.Point.Interface}, seqBase, ackBase)
	const fold = " options ["
	head, tail, ok := bytes.Cut(line, []byte(fold))
	if len(line) <= storyWidth || !ok {
		fmt.Fprintf(s.w, "%s\n", line)
		return
	}
	fmt.Fprintf(s.w, "%s\n%*s%s\n", head, textColumn, "", s.painted(dim, strings.TrimSpace(fold)+string(tail)))
}

// verdicts prints the lines of attach.
func (s *story) verdicts(r *recording) error {
	t := newText(s.w, s.colour)
	t.width = [len(t.width)]int{} // as narrow as these lines allow
	for i := range r.handshakes {
		t.handshake(&r.handshakes[i])
		for j := range r.connections {
			if c := &r.connections[j]; c.Originator == r.handshakes[i].Originator {
				t.connection(c)
			}
		}
	}
	return t.flush()
}

func (s *story) heading(text string) {
	fmt.Fprintf(s.w, "\n%s\n\n", s.painted(bold, text))
}

// paragraph prints text that ends its lines itself.
func (s *story) paragraph(lines string) { fmt.Fprintf(s.w, "%s\n", lines) }

// entry prints a label and beside it a text.
func (s *story) entry(label, colour, text string) {
	label = fmt.Sprintf("%-*s", textColumn-labelColumn, label)
	if colour != "" {
		label = s.painted(colour, label)
	}
	fmt.Fprintf(s.w, "%*s%s", labelColumn, "", label)
	for i, line := range wrap(text, storyWidth-textColumn) {
		if i > 0 {
			fmt.Fprintf(s.w, "%*s", textColumn, "")
		}
		fmt.Fprintln(s.w, line)
	}
}

func (s *story) painted(colour, text string) string {
	if !s.colour {
		return text
	}
	return colour + text + plain
}

// bold is not among the colours of text, which has no headings.
const bold = "\x1b[1m"

// wrap breaks text into lines of at most width characters, between words.
func wrap(text string, width int) []string {
	var lines []string
	var line strings.Builder
	used := 0
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > width {
			lines = append(lines, line.String())
			line.Reset()
			used = 0
		}
		if used > 0 {
			line.WriteByte(' ')
			used++
		}
		line.WriteString(word)
		used += n
	}
	return append(lines, line.String())
}
