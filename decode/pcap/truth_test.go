package pcap

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netobs/decode"
)

// verdicts says what we call what the oracle's handshake classes describe (corpus/INDEX.md, Definitions). "unfinished" is a
// handshake that still waits when the capture ends.
var verdicts = map[string][]string{
	"full":         {"completed"},
	"refused":      {"refused"},
	"both-syn":     {"completed", "reset", "aborted", "unfinished"}, // simultaneous open; a split handshake
	"no-final-ack": {"half_open", "reset", "aborted", "unfinished"},
	// Also SYNs that the client itself resets.
	"syn-unanswered":   {"unanswered", "unfinished", "aborted"},
	"synack-wrong-ack": {"unanswered", "unfinished", "aborted"},
	// The client goes on, so it was answered.
	"client-side-only": {"completed"},
	// As above if the client goes on; else a bare ACK is no answer.
	"syn-without-synack": {"completed", "unanswered", "unfinished", "aborted"},
	"synack-without-syn": {"unseen"},
	"midstream":          {"unseen"},
}

// endings says what we call the oracle's closes. "open" and "half_closed" wait when the capture ends; "expired" did so before.
// A handshake that did not complete has its outcome for an ending.
var endings = map[string][]string{
	"open":             {"open", "expired", "unanswered", "half_open", "unfinished"},
	"fin-one":          {"half_closed", "expired"},
	"fin-both":         {"fin"},
	"fin-both-unacked": {"fin", "half_closed"},
	"rst":              {"rst", "refused", "aborted", "reset"},
	"fin+rst":          {"fin_rst", "fin"}, // fin if the RST is late
	"rst+fin":          {"rst"},            // the FIN is late
}

// acceptedTruth lists every difference between the tracker and NAME.tshark.tsv or NAME.zeek.tsv: in how many streams of a file
// a field differs, and why that is right. Field "lives" is a socket pair with another number of connections.
var acceptedTruth = []struct {
	file, field string
	streams     int
	reason      string
}{
	// What TCP does with a segment: the oracle counts flags, we follow RFC 9293.
	{"suricata/bug-3844.pcap", "handshake", 1, "an RST without ACK in SYN-SENT is dropped, it refuses nothing (§3.10.7.3)"},
	{"suricata/bug-3844.pcap", "close", 1, "the same RST"},
	{"suricata/bug-3844.pcap", "closer", 1, "the same RST"},
	{"suricata/bug-3286-02-linux-evasion.pcap", "handshake", 1, "a forged RST that TCP accepts, as it acknowledges the SYN (§3.10.7.3); only its client knew better"},
	{"suricata/bug-3286-02-linux-evasion.pcap", "close", 1, "the same RST"},
	{"suricata/bug-3286-02-linux-evasion.pcap", "rtt_synack", 1, "the same RST is the answer"},
	{"suricata/bug-3286-02-linux-evasion.pcap", "rtt_ack", 1, "the same RST: nothing completed"},
	{"suricata/bug-3286-02-linux-evasion.pcap", "rtt_total", 1, "the same RST: nothing completed"},
	{"zeek/tcp-syn-then-rst.pcap", "close", 1, "the RST has the SYN's number, not the next one: dropped (RFC 5961 §3.2)"},
	{"zeek/tcp-syn-then-rst.pcap", "closer", 1, "the same RST"},
	{"zeek/tcp-syn-then-ack-then-rst.pcap", "close", 1, "the RST has the SYN's number, not the next one: dropped (RFC 5961 §3.2)"},
	{"zeek/tcp-syn-then-ack-then-rst.pcap", "closer", 1, "the same RST"},
	{"zeek/tcp-fin_retransmission.pcap", "close", 1, "the first FIN has no ACK, the second the SYN's number: dropped (§3.10.7.4); so the RST resets a handshake"},
	{"zeek/tcp-fin_retransmission.pcap", "closer", 1, "the same FINs"},
	{"ndpi/tcp_scan.pcapng", "close", 2, "Xmas and FIN scans have no ACK: dropped (§3.10.7.4, fifth); what is left is the RST"},
	{"ndpi/tcp_scan.pcapng", "closer", 2, "the same scans"},
	{"sanders/activeosfingerprinting.pcapng", "lives", 3, "one packet each, without ACK, or SYN with FIN: dropped (§3.10.7.4)"},
	{"suricata/bug-4571-03.pcap", "lives", 1, "one packet without any flag: dropped (§3.10.7.4)"},
	{"tcpdump/tcp_eight_lowest_weight_flags_set.pcap", "close", 1, "FIN and RST in one segment: the RST is looked at first (§3.10.7.4, second)"},
	{"ndpi/reasm_crash_anon.pcapng", "close", 1, "fuzzed: an acknowledgment of what was not sent makes a later RST look old"},
	{"ndpi/reasm_crash_anon.pcapng", "closer", 1, "the same RST"},

	// What is one connection (INDEX.md, rule 2): we have a clock, tshark has none.
	{"ndpi/tls_multiple_synack_different_seq.pcapng", "lives", 1, "SYN-ACKs with different ISNs, 12 and 15 s apart: each was given up before the next"},
	{"tcpdump/tfo-5c1fa7f9ae91.pcap", "handshake", 1, "a SYN, 10 s of silence, a FIN: unanswered after 3 s"},
	{"tcpdump/tfo-5c1fa7f9ae91.pcap", "lives", 1, "the FIN comes when the SYN is forgotten"},
	{"zeek/modbus-modbus-and-non-modbus-p502.pcap", "lives", 1, "data 16 s after the RST that ended the handshake"},
	{"zeek/pop3-pop3.pcap", "zeek", 2, "SYNs with one ISN, each refused: one attempt for us and tshark, three for zeek"},
	{"zeek/ssh-ssh.client-side-half-duplex.pcap", "zeek", 5, "a SYN never answered: zeek gives up after 5 s, and takes what follows for another connection"},
	{"zeek/globus-url-copy.pcap", "zeek", 1, "a script tells zeek not to look at the data channel (INDEX.md, rule 6)"},

	// What cannot be known in time, or from what was captured.
	{"arkime/tcp-reassembly-synthetic.pcap", "handshake", 1, "the SYN comes after the end of its connection"},
	{"arkime/tcp-reassembly-synthetic.pcap", "bytes", 1, "the client acknowledges a byte that the capture does not have"},
	{"ptcpdump/curl-thread.pcapng", "bytes", 2, "the client acknowledges a FIN that the capture does not have: looks like a byte (two comparisons)"},

	// tshark's own.
	{"arkime/tcp-reassembly-synthetic.pcap", "completeness", 1, "tshark forgets a SYN that comes after its SYN-ACK"},
	{"arkime/tcp_handshake_synthetic.pcap", "completeness", 1, "tshark forgets a SYN that comes after its SYN-ACK"},
	{"zeek/ipv6-http-atomic-frag.pcap", "completeness", 1, "tshark forgets a SYN that comes after its SYN-ACK"},
	{"tcpdump/bigtcp-ipv6.pcap", "lives", 1, "tshark 4.0 cannot read BIG TCP (INDEX.md, rule 7)"},
}

// A truth collects differences.
type truthDiffs struct {
	file            string
	found           map[[2]string]int // by file and field
	examples        map[[2]string]string
	streams, equal  int
	compared, zeeks int
}

// differ notes that a field differs.
func (d *truthDiffs) differ(field, who string, got, want any) {
	k := [2]string{d.file, field}
	d.found[k]++
	d.examples[k] += fmt.Sprintf("\n\t%s: got %v, want %v", who, got, want)
}

// total is how many differences there are.
func (d *truthDiffs) total() (n int) {
	for k, m := range d.found {
		if k[0] == d.file {
			n += m
		}
	}
	return n
}

// TestTruth compares the tracker with what tshark and zeek say of every connection in the corpus.
func TestTruth(t *testing.T) {
	d := truthDiffs{found: map[[2]string]int{}, examples: map[[2]string]string{}}
	for _, file := range corpus(t) {
		d.file = filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		p, all := replayCapture(t, file, true), streams(t, file)
		for _, k := range slices.SortedFunc(maps.Keys(p.lives), func(a, b [2]netip.AddrPort) int { return cmp.Compare(p.lives[a][0].start, p.lives[b][0].start) }) {
			if all[k] == nil {
				d.differ("lives", fmt.Sprint(k), len(p.lives[k]), 0)
			}
		}
		for _, k := range slices.SortedFunc(maps.Keys(all), func(a, b [2]netip.AddrPort) int { return all[a][0].frames[0] - all[b][0].frames[0] }) {
			d.comparePair(t, p, all[k], p.lives[k])
		}
		for k, rows := range zeek(t, file) {
			d.compareZeek(p, k, rows)
		}
	}
	t.Logf("%d streams, %d equal in all of %d fields compared; %d connections compared with zeek", d.streams, d.equal, d.compared, d.zeeks)
	for _, a := range acceptedTruth {
		k := [2]string{a.file, a.field}
		if n := d.found[k]; n != a.streams {
			t.Errorf("%s: %s: listed as differing in %d streams, differs in %d (%s)%s", a.file, a.field, a.streams, n, a.reason, d.examples[k])
		}
		delete(d.found, k)
	}
	for _, k := range slices.SortedFunc(maps.Keys(d.found), func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }) {
		t.Errorf("%s: %s differs in %d streams%s", k[0], k[1], d.found[k], d.examples[k])
	}
}

// comparePair compares the connections of one socket pair. Where their number differs, tshark's last stream has all the lives
// that are too many, and is compared with the first of them as far as its handshake goes.
func (d *truthDiffs) comparePair(t *testing.T, p *replay, ss []*stream, ls []*life) {
	d.streams += len(ss)
	if len(ss) != len(ls) {
		d.differ("lives", fmt.Sprint("stream ", ss[len(ss)-1].row["stream"]), len(ls), len(ss))
	}
	for i, s := range ss[:min(len(ss), len(ls))] {
		before := d.total()
		who := fmt.Sprintf("stream %s (%s, %s)", s.row["stream"], s.row["handshake"], s.row["close"])
		d.compareHandshake(t, p, who, s, ls[i])
		if len(ss) == len(ls) {
			d.compareEnd(t, p, who, s, ls[i])
			if d.total() == before {
				d.equal++
			}
		}
	}
}

// same notes a difference if there is one.
func (d *truthDiffs) same(field, who string, got, want any) {
	d.compared++
	if fmt.Sprint(got) != fmt.Sprint(want) {
		d.differ(field, who, got, want)
	}
}

// among notes a difference if got is not in want.
func (d *truthDiffs) among(field, who, got string, want []string) {
	d.compared++
	if !slices.Contains(want, got) {
		d.differ(field, who, got, want)
	}
}

// compareHandshake compares what was said when the handshake was over.
func (d *truthDiffs) compareHandshake(t *testing.T, p *replay, who string, s *stream, l *life) {
	d.among("handshake", who, l.verdict(), verdicts[s.row["handshake"]])
	guess := strings.HasPrefix(s.row["client_by"], "first") // INDEX.md, rule 15
	d.same("sides known", who, l.known, !guess)
	if !guess {
		d.same("client", who, l.originator, s.client)
	}

	syns, synACKs := 0, 0 // until the handshake was over
	for _, frame := range s.frames {
		st, ok := p.steps[frame]
		if !ok || frame > l.decided || l.handshake != nil && st.seg.Time > l.handshake.End {
			continue
		}
		seg := &st.seg
		switch seg.Flags & (decode.SYN | decode.ACK | decode.RST | decode.FIN) {
		case decode.SYN:
			if seg.Src == l.originator {
				syns++
			}
		case decode.SYN | decode.ACK:
			if seg.Src == l.responder && s.row["handshake"] != "synack-wrong-ack" {
				synACKs++
			}
		}
	}
	switch {
	case l.handshake != nil:
		d.same("SYNs", who, int(l.handshake.SYNs)+1, syns)
		d.same("SYN-ACKs", who, int(l.handshake.SYNACKs), max(synACKs-1, 0))
	case !l.unseen:
		d.same("SYNs", who, int(l.pending.SYNs)+1, syns)
		d.same("SYN-ACKs", who, int(l.pending.SYNACKs), max(synACKs-1, 0))
	}

	if s.row["handshake"] != "full" || s.row["rtt_ambiguous"] != "0" || l.handshake == nil {
		return
	}
	for _, leg := range []struct {
		column string
		got    decode.Leg
	}{{"rtt_synack", l.handshake.ResponderLeg}, {"rtt_ack", l.handshake.OriginatorLeg}, {"rtt_total", l.handshake.Total}} {
		want := time.Duration(0) // where time runs backwards
		if v := s.row[leg.column]; v != "" {
			var err error
			if want, err = time.ParseDuration(v + "s"); err != nil {
				t.Fatal(err)
			}
		}
		d.same(leg.column, who, leg.got, decode.Leg{Known: true, First: want, Last: want})
	}
}

// compareEnd compares what was said at the end, or could be said of what was pending.
func (d *truthDiffs) compareEnd(t *testing.T, p *replay, who string, s *stream, l *life) {
	d.among("close", who, l.ending(), endings[s.row["close"]])
	guess := strings.HasPrefix(s.row["client_by"], "first")
	got, want := l.closer(), s.row["first_closer"]
	if guess {
		_, got, _ = strings.Cut(got, ":")
		_, want, _ = strings.Cut(want, ":")
	}
	d.same("closer", who, got, want)
	if c := l.connection; c != nil && c.Teardown == decode.TeardownFIN {
		d.same("crossed", who, c.FINsCrossed, s.row["fin_crossed"] == "1")
	}
	bytes, known, seen, _, ok := l.so()
	if !ok {
		return
	}

	var late bool
	var reach, inRST [2]uint32 // how far the segments of a side reach; bytes in its RSTs, which are none of the stream
	for _, frame := range s.frames {
		st, ok := p.steps[frame]
		if !ok {
			continue
		}
		seg, side := &st.seg, 0
		if seg.Src != s.client {
			side = 1
		}
		if st.place.Kind == decode.PlaceLate {
			late = true
			seen |= seenIn(seg)
		}
		if seg.Has(decode.RST) {
			inRST[side] += seg.Payload
			continue
		}
		isn, err := strconv.ParseUint(s.row[[...]string{"isn_c", "isn_s"}[side]], 10, 32)
		fins := s.num(t, [...]string{"fin_c", "fin_s"}[side])
		if err != nil || st.place.Kind == decode.PlaceIgnored || seg.Payload == 0 && !seg.Has(decode.FIN) && fins > 0 {
			continue
		}
		to := seg.Seq.Add(seg.Payload)
		if !seg.Has(decode.SYN) {
			to--
		}
		if n := to.From(decode.Seq(isn)); n < 1<<31 {
			reach[side] = max(reach[side], n)
		}
	}
	// tshark sees nothing in a stream of one packet that is no SYN.
	if c := s.num(t, "completeness"); c != 0 || len(s.frames) > 1 {
		d.same("completeness", who, seen, decode.Completeness(c))
	}
	for i, side := range []string{"c", "s"} {
		if guess || late || s.row["isn_"+side] == "" {
			continue
		}
		if known[i] {
			d.same("bytes", who+" "+side, bytes[i], reach[i])
		}
		odd := s.num(t, "fragments")
		for _, column := range []string{"retx_", "ooo_", "lost_", "keepalive_"} {
			odd += s.num(t, column+side)
		}
		if n := uint32(s.num(t, "bytes_"+side)) - inRST[i]; s.row["handshake"] == "full" && l.verdict() == "completed" && odd == 0 && n > 0 {
			d.same("bytes", who+" "+side, bytes[i], n)
		}
	}
}

// compareZeek compares the connections of one socket pair with zeek's, in any order.
func (d *truthDiffs) compareZeek(p *replay, k [2]netip.AddrPort, rows []zeekRow) {
	var got, want []string
	for _, r := range rows {
		d.zeeks++
		want = append(want, r.state+" "+r.history)
	}
	lives := p.lives[k]
	for i, l := range lives {
		_, _, _, history, ok := l.so()
		from, to := l.start, int64(1<<63-1)
		if i+1 < len(lives) {
			to = lives[i+1].start
		}
		for _, frame := range slices.Sorted(maps.Keys(p.steps)) {
			st := p.steps[frame]
			if pair(st.seg.Src, st.seg.Dst) != k || st.seg.Time < from || st.seg.Time >= to || ok && st.place.Kind != decode.PlaceLate {
				continue
			}
			history = withLetter(history, &st.seg, st.seg.Src == l.originator)
		}
		state := l.zeekState(history)
		if len(rows) > 0 && rows[0].originator != l.originator {
			history = strings.Map(func(r rune) rune { return r ^ 0x20 }, history)
		}
		got = append(got, state+" "+history)
	}
	slices.Sort(got)
	slices.Sort(want)
	d.same("zeek", fmt.Sprint(k), got, want)
}

// withLetter adds the letter of a segment to a history.
func withLetter(history string, seg *decode.Segment, originator bool) string {
	letter := ""
	switch seg.Flags & (decode.SYN | decode.FIN | decode.RST) {
	case decode.SYN:
		if letter = "S"; seg.Has(decode.ACK) {
			letter = "H"
		}
	case decode.FIN:
		letter = "F"
	case decode.RST:
		letter = "R"
	case 0:
		if letter = "A"; seg.Payload > 0 {
			letter = "D"
		}
	}
	if !originator {
		letter = strings.ToLower(letter)
	}
	if strings.Contains(history, letter) {
		return history
	}
	return history + letter
}

// seenIn returns the completeness of one segment, by tshark's rules.
func seenIn(seg *decode.Segment) (c decode.Completeness) {
	for _, bit := range []struct {
		on  bool
		bit decode.Completeness
	}{
		{seg.Has(decode.SYN) && !seg.Has(decode.ACK), decode.SeenSYN},
		{seg.Has(decode.SYN | decode.ACK), decode.SeenSYNACK},
		{seg.Has(decode.ACK) && !seg.Has(decode.SYN) && seg.Payload == 0, decode.SeenACK},
		{seg.Payload > 0, decode.SeenData},
		{seg.Has(decode.FIN), decode.SeenFIN},
		{seg.Has(decode.RST), decode.SeenRST},
	} {
		if bit.on {
			c |= bit.bit
		}
	}
	return c
}

// TestEverySegment: what the tracker says of a capture does not depend on its being told that it is one, but for what it infers.
func TestEverySegment(t *testing.T) {
	for _, file := range corpus(t) {
		told, not := replayCapture(t, file, true), replayCapture(t, file, false)
		for k, ls := range told.lives {
			var got, want []string
			for _, l := range not.lives[k] {
				got = append(got, fmt.Sprint(l.start, l.originator, l.verdict(), l.ending(), l.closer()))
			}
			for _, l := range ls {
				want = append(want, fmt.Sprint(l.start, l.originator, l.verdict(), l.ending(), l.closer()))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v: got %v, want %v", file, k, got, want)
			}
		}
	}
}
