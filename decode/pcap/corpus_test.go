package pcap

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"netobs/decode"
)

// accepted lists every difference between us and the corpus' NAME.pkts.tsv, which tshark made: in how many packets of a file
// a field differs, and why that is right. Field "missing" is a packet that only tshark calls TCP, "extra" one that only we do.
var accepted = []struct {
	file, field string
	packets     int
	reason      string
}{
	{"tcpdump/tcp-auth-heapoverflow.pcap", "hdrlen", 1, "the capture cuts the options; we hold what is there"},
	{"tcpdump/tcp-auth-heapoverflow.pcap", "opts", 1, "the capture cuts the first option; tshark names it"},
	{"zeek/tcp-truncated-header.pcap", "hdrlen", 1, "the capture cuts the options; we hold what is there"},
	{"ndpi/reasm_crash_anon.pcapng", "hdrlen", 1, "the frame ends before the options"},
	{"zeek/ipv4-fragmented-syn.pcap", "hdrlen", 1, "the rest of the options is in the next fragment"},

	// The IP header promises more than the frame holds: we believe it, as tcpdump does; tshark does not (INDEX.md, rule 13).
	{"ndpi/reasm_crash_anon.pcapng", "len", 8, "fuzzed IP lengths"},
	{"zeek/pppoe-over-qinq.pcap", "len", 6, "frames without their last 6 bytes"},
	{"zeek/tcp-reassembly.pcap", "len", 5, "frames without their last 8 or 20 bytes"},

	{"tcpdump/mptcp-dss-oobr.pcap", "opts", 1, "tshark stops at a malformed MPTCP option; its length is sound, so we go on"},
	{"tcpdump/timestamp_invalid_micro.pcap", "time", 1, "1 000 000 microseconds are a second (INDEX.md, rule 12)"},
	{"tcpdump/bigtcp-ipv6.pcap", "extra", 1, "tshark 4.0 cannot read BIG TCP, tcpdump can (INDEX.md, rule 7): TestBigTCP"},
}

// fields are the columns of NAME.pkts.tsv that are compared; src and dst with their ports.
var fields = []string{"time", "src", "dst", "flags", "seq", "ack", "len", "win", "hdrlen", "opts", "mss", "wscale", "tsval", "tsecr"}

// corpus returns the capture files of the corpus.
func corpus(t *testing.T) []string {
	t.Helper()
	dir := cmp.Or(os.Getenv("NETOBS_CORPUS"), "../../../shared/corpus")
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.pcap*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		if os.Getenv("NETOBS_CORPUS_REQUIRED") == "1" {
			t.Fatalf("no captures in %s, but NETOBS_CORPUS_REQUIRED=1", dir)
		}
		t.Skipf("NOT TESTED against the capture corpus: there is none in %s (set NETOBS_CORPUS)", dir)
	}
	return files
}

func TestCorpus(t *testing.T) {
	type place struct{ file, field string }
	var packets int
	found, examples := map[place]int{}, map[place]string{}
	for _, file := range corpus(t) {
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		got, want := segments(t, file, true), truth(t, file)
		packets += len(want)
		for _, frame := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[frame]; !ok {
				found[place{name, "extra"}]++
			}
		}
		plain := segments(t, file, false)
		for _, frame := range slices.Sorted(maps.Keys(want)) {
			w, g := want[frame], got[frame]
			if g == nil {
				found[place{name, "missing"}]++
				continue
			}
			for _, f := range fields {
				if g[f] != w[f] {
					found[place{name, f}]++
					examples[place{name, f}] += fmt.Sprintf("\n\tframe %d: got %s, want %s", frame, g[f], w[f])
				}
			}
			if _, ok := plain[frame]; ok == tunnelled(w["protocols"]) {
				t.Errorf("%s: frame %d (%s): read without Decap is %v", name, frame, w["protocols"], ok)
			}
		}
	}
	t.Logf("%d packets compared in %d fields each", packets, len(fields))
	for _, a := range accepted {
		p := place{a.file, a.field}
		if n := found[p]; n != a.packets {
			t.Errorf("%s: %s: listed as differing in %d packets, differs in %d (%s)%s", a.file, a.field, a.packets, n, a.reason, examples[p])
		}
		delete(found, p)
	}
	for p, n := range found {
		t.Errorf("%s: %s differs in %d packets%s", p.file, p.field, n, examples[p])
	}
}

// TestBigTCP compares with tcpdump what tshark cannot read.
func TestBigTCP(t *testing.T) {
	for _, file := range corpus(t) {
		if !strings.HasSuffix(file, "tcpdump/bigtcp-ipv6.pcap") {
			continue
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := NewReader(f, file, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var seg decode.Segment
		if err := r.Next(&seg); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".pcap") + ".tcpdump.txt")
		if err != nil {
			t.Fatal(err)
		}
		got := string(seg.AppendTcpdump(nil, 0, 0))
		// With -v tcpdump also prints the checksum.
		if got = strings.Replace(got, ", seq", ", cksum 0xc8cb (incorrect -> 0x2ab4), seq", 1); !strings.Contains(string(want), got) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// tunnelled reports whether tshark's list of protocols is that of a tunnel.
func tunnelled(protocols string) bool {
	for _, p := range []string{"gre", "vxlan", "geneve", "gtp", "ip:ip", "ipv6:ip", "ip:ipv6", "ipv6:ipv6"} {
		if strings.Contains(":"+protocols+":", ":"+p+":") {
			return true
		}
	}
	return false
}

// truth reads the NAME.pkts.tsv of a capture: its rows by frame number.
func truth(t *testing.T, file string) map[int]map[string]string {
	t.Helper()
	f, err := os.Open(strings.TrimSuffix(file, filepath.Ext(file)) + ".pkts.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var columns []string
	rows := map[int]map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		values := strings.Split(lines.Text(), "\t")
		if columns == nil {
			columns = values
			continue
		}
		row := map[string]string{}
		for i, c := range columns {
			row[c] = values[i]
		}
		// A list of options ends at the first zero; tshark lists the padding that follows (RFC 9293 §3.1).
		for strings.HasSuffix(row["opts"], ",0,0") {
			row["opts"] = strings.TrimSuffix(row["opts"], ",0")
		}
		// tshark's flags include three reserved bits (RFC 9293 §3.1).
		flags, err := strconv.ParseUint(row["flags"], 0, 16)
		if err != nil {
			t.Fatal(err)
		}
		row["flags"] = fmt.Sprintf("0x%03x", flags&0x1ff)
		row["src"], row["dst"] = socket(t, row["src"], row["sport"]), socket(t, row["dst"], row["dport"])
		frame, err := strconv.Atoi(row["frame"])
		if err != nil {
			t.Fatal(err)
		}
		rows[frame] = row
	}
	return rows
}

func socket(t *testing.T, addr, port string) string {
	t.Helper()
	a, err := netip.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(a, uint16(p)).String()
}

// segments reads a capture: the segments by frame number, in the notation of truth.
func segments(t *testing.T, file string, decap bool) map[int]map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f, file, Options{Decap: decap})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int]map[string]string{}
	var seg decode.Segment
	for {
		if err := r.Next(&seg); err == io.EOF {
			return rows
		} else if err != nil {
			t.Fatal(err)
		}
		rows[int(r.stats.Packets)] = row(&seg)
	}
}

func row(s *decode.Segment) map[string]string {
	num := func(n uint64) string { return strconv.FormatUint(n, 10) }
	row := map[string]string{
		"time":   fmt.Sprintf("%d.%09d", s.Time/1e9, s.Time%1e9),
		"src":    s.Src.String(),
		"dst":    s.Dst.String(),
		"flags":  fmt.Sprintf("0x%03x", uint16(s.Flags)),
		"seq":    num(uint64(s.Seq)),
		"ack":    num(uint64(s.Ack)),
		"len":    num(uint64(s.Payload)),
		"win":    num(uint64(s.Wnd)),
		"hdrlen": num(uint64(20 + len(s.Options))),
	}
	var kinds []string
	for kind := range s.Options.All() {
		kinds = append(kinds, num(uint64(kind)))
	}
	row["opts"] = strings.Join(kinds, ",")
	if v, ok := s.Options.MSS(); ok {
		row["mss"] = num(uint64(v))
	}
	if v, ok := s.Options.WindowScale(); ok {
		row["wscale"] = num(uint64(v))
	}
	if val, ecr, ok := s.Options.Timestamps(); ok {
		row["tsval"], row["tsecr"] = num(uint64(val)), num(uint64(ecr))
	}
	return row
}
