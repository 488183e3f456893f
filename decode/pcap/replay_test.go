package pcap

import (
	"bufio"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"netobs/decode"
)

// A life is what the tracker reports of one connection: a handshake, its end, or that it is pending when the capture ends.
type life struct {
	handshake  *decode.Handshake
	connection *decode.Connection
	pending    *decode.Pending

	originator, responder netip.AddrPort
	start                 int64
	known, unseen         bool
	decided               int // frame with which the handshake was over
}

// A step is one segment and what the tracker said of it.
type step struct {
	seg   decode.Segment
	place decode.Place
}

// A replay is a capture as the tracker sees it.
type replay struct {
	lives map[[2]netip.AddrPort][]*life
	steps map[int]step // by frame number
}

// pair returns the sockets of a connection in an order that does not depend on its direction.
func pair(a, b netip.AddrPort) [2]netip.AddrPort {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return [2]netip.AddrPort{a, b}
}

// replayCapture gives a capture to a tracker, which is told or not that it gets every segment.
func replayCapture(t *testing.T, file string, every bool) *replay {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f, file, Options{Decap: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &replay{lives: map[[2]netip.AddrPort][]*life{}, steps: map[int]step{}}
	add := func(l *life) {
		k := pair(l.originator, l.responder)
		p.lives[k] = append(p.lives[k], l)
	}
	// begun returns the life whose handshake completed. No two of a socket pair are open at a time.
	begun := func(o, r netip.AddrPort) *life {
		for _, l := range p.lives[pair(o, r)] {
			if l.handshake != nil && l.handshake.Outcome == decode.OutcomeCompleted && l.connection == nil && l.pending == nil {
				return l
			}
		}
		t.Fatalf("%s: %s > %s: no handshake completed, but it is not unseen", file, o, r)
		return nil
	}
	tracker := decode.NewTracker(decode.TrackerOptions{
		EverySegment: every,
		OnHandshake: func(h *decode.Handshake) {
			h2 := *h
			add(&life{handshake: &h2, originator: h.Originator, responder: h.Responder, start: h.Start, known: true,
				decided: int(r.stats.Packets)})
		},
		OnConnection: func(c *decode.Connection) {
			c2 := *c
			if c.Unseen {
				add(&life{connection: &c2, originator: c.Originator, responder: c.Responder, start: c.Start, known: c.OriginatorKnown,
					unseen: true})
				return
			}
			begun(c.Originator, c.Responder).connection = &c2
		},
	})
	var seg decode.Segment
	for {
		if err := r.Next(&seg); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		place := tracker.Step(&seg)
		seg.Options = nil
		p.steps[int(r.stats.Packets)] = step{seg, place}
	}
	for c := range tracker.Connections() {
		c2 := *c
		if c.State != decode.StateHandshake && !c.Unseen {
			begun(c.Originator, c.Responder).pending = &c2
			continue
		}
		add(&life{pending: &c2, originator: c.Originator, responder: c.Responder, start: c.Start, known: c.OriginatorKnown,
			unseen: c.Unseen, decided: math.MaxInt})
	}
	for _, lives := range p.lives {
		slices.SortStableFunc(lives, func(a, b *life) int { return int(a.start - b.start) })
	}
	return p
}

// verdict returns what became of the handshake.
func (l *life) verdict() string {
	switch {
	case l.handshake != nil:
		return l.handshake.Outcome.String()
	case l.unseen:
		return "unseen"
	}
	return "unfinished"
}

// ending returns what became of the connection.
func (l *life) ending() string {
	switch {
	case l.connection != nil:
		return l.connection.Teardown.String()
	case l.pending == nil:
		return l.verdict()
	case l.pending.State == decode.StateHandshake && !l.unseen:
		return "unfinished"
	case l.pending.State == decode.StateHalfClosed:
		return "half_closed"
	}
	return "open"
}

// closer returns who began to close and how, in the oracle's words.
func (l *life) closer() string {
	side, kind := decode.SideUnknown, "FIN"
	switch e := l.ending(); e {
	case "rst":
		side, kind = l.connection.Closer, "RST"
	case "aborted":
		return "client:RST"
	case "refused", "reset":
		return "server:RST"
	case "fin", "fin_rst":
		side = l.connection.Closer
	case "half_closed":
		side = l.pending.Closer
	case "expired":
		if side = l.connection.Closer; !strings.ContainsAny(l.connection.History, "Ff") {
			return ""
		}
	default:
		return ""
	}
	return [...]string{"client", "server", "unknown"}[side] + ":" + kind
}

// so returns bytes, completeness and history of a connection, over or pending. ok is false if there was none.
func (l *life) so() (bytes [2]uint32, known [2]bool, seen decode.Completeness, history string, ok bool) {
	switch {
	case l.connection != nil:
		c := l.connection
		return c.Bytes, c.BytesKnown, c.Completeness, c.History, true
	case l.pending != nil:
		c := l.pending
		return c.Bytes, c.BytesKnown, c.Completeness, c.History, true
	}
	return bytes, known, 0, "", false
}

// A stream is one row of NAME.tshark.tsv with the frames it is of.
type stream struct {
	row            map[string]string
	client, server netip.AddrPort
	frames         []int
}

func (s *stream) num(t *testing.T, column string) int {
	t.Helper()
	n, err := strconv.Atoi(s.row[column])
	if err != nil {
		t.Fatal(column, err)
	}
	return n
}

// readTSV reads a table with a head line.
func readTSV(t *testing.T, file string) []map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var columns []string
	var rows []map[string]string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		values := strings.Split(lines.Text(), "\t")
		switch {
		case strings.HasPrefix(lines.Text(), "#") || len(columns) > 0 && len(values) != len(columns):
		case columns == nil:
			columns = values
		default:
			row := map[string]string{}
			for i, c := range columns {
				row[c] = values[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// streams reads what tshark says about a capture, by socket pair.
func streams(t *testing.T, file string) map[[2]netip.AddrPort][]*stream {
	t.Helper()
	base := strings.TrimSuffix(file, filepath.Ext(file))
	frames := map[string][]int{}
	for _, row := range readTSV(t, base+".pkts.tsv") {
		n, err := strconv.Atoi(row["frame"])
		if err != nil {
			t.Fatal(err)
		}
		frames[row["stream"]] = append(frames[row["stream"]], n)
	}
	all := map[[2]netip.AddrPort][]*stream{}
	for _, row := range readTSV(t, base+".tshark.tsv") {
		s := &stream{row: row, frames: frames[row["stream"]]}
		s.client, s.server = mustSocket(t, row["client"], row["cport"]), mustSocket(t, row["server"], row["sport"])
		k := pair(s.client, s.server)
		all[k] = append(all[k], s)
	}
	return all
}

func mustSocket(t *testing.T, addr, port string) netip.AddrPort {
	t.Helper()
	return netip.MustParseAddrPort(socket(t, addr, port))
}

// A zeekRow is a connection of NAME.zeek.tsv.
type zeekRow struct {
	originator     netip.AddrPort
	state, history string
}

// zeek reads the TCP connections that zeek found in a capture, by socket pair; nil if the corpus does not have them.
func zeek(t *testing.T, file string) map[[2]netip.AddrPort][]zeekRow {
	t.Helper()
	file = strings.TrimSuffix(file, filepath.Ext(file)) + ".zeek.tsv"
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	all := map[[2]netip.AddrPort][]zeekRow{}
	for _, row := range readTSV(t, file) {
		if row["proto"] != "tcp" {
			continue
		}
		o, r := mustSocket(t, row["id.orig_h"], row["id.orig_p"]), mustSocket(t, row["id.resp_h"], row["id.resp_p"])
		// Not ours: ^ roles exchanged, C checksum, T retransmission, W window of zero, G gap.
		history := strings.Map(func(r rune) rune {
			if strings.ContainsRune("^CcTtWwGg", r) {
				return -1
			}
			return r
		}, row["history"])
		all[pair(o, r)] = append(all[pair(o, r)], zeekRow{o, row["conn_state"], history})
	}
	return all
}

// zeekState returns what zeek would call l, by conn_state in its scripts/base/protocols/conn/main.zeek.
func (l *life) zeekState(history string) string {
	heard := strings.ContainsAny(history, "hadfrsiq") // the responder
	switch l.verdict() {
	case "refused", "reset":
		return "REJ"
	case "aborted":
		if heard {
			return "RSTO"
		}
		return "RSTOS0"
	case "unanswered", "unfinished", "half_open":
		if heard {
			return "OTH"
		}
		return "S0"
	}
	spoke := strings.ContainsAny(history, "SHADFRIQ") // the originator
	whole := !l.unseen || l.known && spoke
	switch l.ending() {
	case "fin":
		return "SF"
	case "rst", "fin_rst":
		switch o := strings.IndexByte(history, 'R'); {
		case strings.Contains(history, "F") && strings.Contains(history, "f"): // INDEX.md, rule 6
			return "SF"
		case o >= 0 && whole:
			return "RSTO"
		case o >= 0:
			return "RSTOS0"
		case whole:
			return "RSTR"
		}
		return "RSTRH"
	case "half_closed", "expired":
		f, g := strings.Contains(history, "F"), strings.Contains(history, "f")
		switch {
		case f && g:
			return "SF"
		case f && heard:
			return "S2"
		case f:
			return "SH"
		case g && spoke:
			return "S3"
		case g:
			return "SHR"
		}
	}
	switch {
	case !whole:
		return "OTH"
	case !heard:
		return "S0"
	}
	return "S1"
}
