package pcap

import (
	"fmt"
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

// An argusFlow is what argus says of a socket pair, in one row or several: it reports a long flow in pieces.
type argusFlow struct {
	src   netip.AddrPort
	state string    // of the last row
	legs  [2]string // SynAck and AckDat of the first row that has them, in seconds
}

// argus reads NAME.argus.tsv by socket pair; nil if the corpus does not have it.
func argus(t *testing.T, file string) map[[2]netip.AddrPort]*argusFlow {
	t.Helper()
	file = strings.TrimSuffix(file, filepath.Ext(file)) + ".argus.tsv"
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	all := map[[2]netip.AddrPort]*argusFlow{}
	for _, row := range readTSV(t, file) {
		src, dst := mustSocket(t, row["SrcAddr"], row["Sport"]), mustSocket(t, row["DstAddr"], row["Dport"])
		k := pair(src, dst)
		f := all[k]
		if f == nil {
			f = &argusFlow{src: src}
			all[k] = f
		}
		f.state = row["State"]
		if rtt, _ := strconv.ParseFloat(row["TcpRtt"], 64); rtt > 0 && f.legs[0] == "" {
			f.legs = [2]string{row["SynAck"], row["AckDat"]}
		}
	}
	return all
}

// argusStates says what we call argus' states: handshake and end of a connection.
var argusStates = map[string][]string{
	"REQ": {"unanswered", "unfinished"},
	"ACC": {"half_open", "unfinished", "unseen open"}, // accepted: a SYN-ACK
	"CON": {"completed open", "unseen open"},
	"FIN": {"completed fin", "completed half_closed", "unseen fin", "unseen half_closed"},
	"RST": {"completed rst", "completed fin_rst", "aborted", "refused", "reset"},
}

// acceptedArgus lists every difference between the tracker and NAME.argus.tsv, as acceptedTruth does. Fields: state, originator,
// and the legs.
var acceptedArgus = []struct {
	file, field string
	flows       int
	reason      string
}{
	{"sanders/activeosfingerprinting.pcapng", "originator", 2, "a SYN-ACK comes first: argus calls its sender the source"},
	{"zeek/wikipedia.pcap", "originator", 1, "a SYN-ACK is all there is: argus calls its sender the source"},
	{"zeek/ipv6-http-atomic-frag.pcap", "originator", 1, "the SYN-ACK was captured before the SYN, which has an extension header"},
	{"zeek/redis-almost-resp.pcap", "state", 1, "argus reports the RST that refuses in a row of its own"},
	{"zeek/krb-optional-service-name.pcap", "state", 1, "no FIN and no RST is there: it is open"},
	{"suricata/drop-protocol-change.pcap", "state", 1, "the header with the RST is malformed: 8 bytes long"},
	{"ndpi/reasm_crash_anon.pcapng", "state", 1, "fuzzed: an acknowledgment of what was not sent makes a later RST look old"},
	{"suricata/bug-7264-tcp-3whs-ack-data-tls-01.pcap", "originator leg", 1, "argus takes no ACK with data (INDEX.md, rule 4)"},
	{"suricata/tcp-fastopen-10-syn-data-ignore.pcap", "originator leg", 1, "argus takes no ACK with data (INDEX.md, rule 4)"},
	{"zeek/tcp-tcp-fast-open.pcap", "originator leg", 1, "argus takes no ACK with data (INDEX.md, rule 4)"},
	{"tcpdump/timestamp_invalid_micro.pcap", "originator leg", 1, "record headers without sense (INDEX.md, rule 12)"},
}

// TestArgus compares the tracker with argus where a socket pair has one connection: state, who began, and the legs to the
// microsecond.
func TestArgus(t *testing.T) {
	type place struct{ file, field string }
	found, examples, flows, legs := map[place]int{}, map[place]string{}, 0, 0
	for _, file := range corpus(t) {
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		differ := func(field string, k [2]netip.AddrPort, got, want any) {
			found[place{name, field}]++
			examples[place{name, field}] += fmt.Sprintf("\n\t%v: got %v, want %v", k, got, want)
		}
		p, all := replayCapture(t, file, true), streams(t, file)
		for k, f := range argus(t, file) {
			if len(p.lives[k]) != 1 || len(all[k]) != 1 {
				continue
			}
			l := p.lives[k][0]
			flows++
			so := l.verdict()
			if so == "completed" || so == "unseen" {
				so += " " + l.ending()
			}
			if !slices.Contains(argusStates[f.state], so) {
				differ("state", k, so, f.state)
			}
			if l.known && f.src != l.originator {
				differ("originator", k, l.originator, f.src)
			}
			if f.legs[0] == "" || l.verdict() != "completed" {
				continue
			}
			for i, leg := range []decode.Leg{l.handshake.ResponderLeg, l.handshake.OriginatorLeg} {
				legs++
				if got, want := leg.Last.Microseconds(), micros(t, f.legs[i]); max(got-want, want-got) > 1 {
					differ([]string{"responder leg", "originator leg"}[i], k, leg.Last, f.legs[i])
				}
			}
		}
	}
	for _, a := range acceptedArgus {
		k := place{a.file, a.field}
		if found[k] != a.flows {
			t.Errorf("%s: %s: listed as differing in %d flows, differs in %d (%s)%s", a.file, a.field, a.flows, found[k], a.reason, examples[k])
		}
		delete(found, k)
	}
	for k, n := range found {
		t.Errorf("%s: %s differs in %d flows%s", k.file, k.field, n, examples[k])
	}
	t.Logf("%d flows and %d legs compared with argus", flows, legs)
}

// micros returns seconds as microseconds, argus' resolution.
func micros(t *testing.T, seconds string) int64 {
	t.Helper()
	v, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(math.Round(v * 1e6))
}
