package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"netobs/decode"
	"netobs/decode/pcap"
)

// tcpdumpDiffers lists every file of the corpus in which lines of --segments are not tcpdump's: how many, and why that is right.
var tcpdumpDiffers = []struct {
	file   string
	lines  int
	reason string
}{
	{"pcapplusplus/many_interfaces-1.pcapng", 32, "two link types: tcpdump reads none of them"},
	{"tcpdump/bigtcp-ipv4.pcap", 1, "IPv4 total length 0, longer than 64 KiB: tcpdump 4.99.3 does not know BIG TCP"},
	{"tcpdump/bigtcp-ipv6.pcap", 1, "IPv6 payload length 0 without a jumbo option: tcpdump 4.99.3 does not know BIG TCP"},
	{"zeek/krb-kerberos_tso.pcapng", 7, "IPv4 total length 0: left to the network card (TSO), and bad for tcpdump"},
	{"zeek/ldap-missing_krbtgt_ldap_request.pcapng", 1, "IPv4 total length 0, as above"},
	{"zeek/ldap-missing_ldap_logs.pcapng", 11, "IPv4 total length 0 in three; tcpdump counts the rest from the segment behind one of them"},
	{"tcpdump/accecn_handshake.pcap", 4, "the AE flag: tcpdump 4.99.3 does not know it"},
	{"tcpdump/timestamp_invalid_micro.pcap", 2, "a million microseconds or more: no time of day"},
	{"zeek/tcp-truncated-header.pcap", 1, "the capture cut an option: a decode.Segment does not say that it was the capture"},
	{"tcpdump/tcp-auth-heapoverflow.pcap", 1, "the capture cut an option"},
	{"ndpi/reasm_crash_anon.pcapng", 1, "the capture cut all options; and the AE flag"},
	{"zeek/ipv4-fragmented-syn.pcap", 1, "the first fragment has a part of the options: tcpdump refuses the header"},
	{"sanders/tcp_dupack.pcapng", 1, "SACK in the first segment seen: tcpdump counts it from an acknowledgment that it prints whole"},
}

// corpus returns the captures of the corpus. If there are none, the test is skipped.
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
		t.Skipf("NOT TESTED: no capture corpus in %s (set NETOBS_CORPUS)", dir)
	}
	return files
}

// TestReadTcpdump holds each line of --segments against tcpdump -n, over the whole corpus. tcpdump may go on behind the length
// with what it makes of the payload.
func TestReadTcpdump(t *testing.T) {
	if testing.Short() {
		t.Skip("the corpus takes long under -race, and has nothing to do with it")
	}
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		if os.Getenv("NETOBS_CORPUS_REQUIRED") == "1" {
			t.Fatal("no tcpdump to compare with, but NETOBS_CORPUS_REQUIRED=1")
		}
		t.Skip("no tcpdump to compare with")
	}
	files := corpus(t)
	compared, differ := 0, map[string][]string{}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		ours, theirs := segmentsByFrame(t, file), tcpdumpByFrame(t, tcpdump, file)
		for _, frame := range slices.Sorted(maps.Keys(ours)) {
			compared++
			line := ours[frame]
			if rest, ok := strings.CutPrefix(theirs[frame], line); !ok || rest != "" && '0' <= rest[0] && rest[0] <= '9' {
				differ[name] = append(differ[name], fmt.Sprintf("frame %d\n\t got %s\n\twant %s", frame, line, theirs[frame]))
			}
			delete(theirs, frame)
		}
		for _, frame := range slices.Sorted(maps.Keys(theirs)) {
			if line := theirs[frame]; aSegment.MatchString(line) {
				differ[name] = append(differ[name], fmt.Sprintf("frame %d\n\t got nothing\n\twant %s", frame, line))
			}
		}
	}
	for _, d := range tcpdumpDiffers {
		if got := len(differ[d.file]); got != d.lines {
			t.Errorf("%s: %d lines differ, want %d: %s\n%s", d.file, got, d.lines, d.reason, strings.Join(differ[d.file], "\n"))
		}
		delete(differ, d.file)
	}
	for name, lines := range differ {
		t.Errorf("%s: %d lines differ that are not listed\n%s", name, len(lines), strings.Join(lines, "\n"))
	}
	t.Logf("%d lines of %d files compared", compared, len(files))
}

// aSegment matches what tcpdump prints of TCP.
var aSegment = regexp.MustCompile(`^\S+ IP6? \S+ > \S+: Flags \[`)

// tcpdumpSays lists what tcpdump says beside the segment, and --segments does not.
var tcpdumpSays = []struct {
	what    string
	pattern *regexp.Regexp
	without string
}{
	{"interface and direction of LINUX_SLL2", regexp.MustCompile(`^(\S+) \S+ +(?:In|Out|B|M|P) +IP`), "$1 IP"},
	{"headers that are taken off", regexp.MustCompile(`^(\S+) (?:PPPoE +\[ses 0x\w+\]|MPLS \([^)]*\)) IP`), "$1 IP"},
	{"the packet should be longer", regexp.MustCompile(`^(\S+ IP6? )truncated-ip6? - \d+ bytes missing! ?`), "$1"},
	{"IPv6 extension headers, ports behind them",
		regexp.MustCompile(`^(\S+ IP6) (\S+) > (\S+): (?:(?:HBH|DSTOPT|frag \(0\|\d+\)|RT6 \([^)]*\)) )+(\d+) > (\d+): `),
		"$1 $2.$4 > $3.$5: "},
}

// segmentsByFrame returns the lines of read --segments by number of the packet, without the interface's name.
func segmentsByFrame(t *testing.T, file string) map[int]string {
	t.Helper()
	code, stdout, stderr := runHere(t, "read", "--segments", file)
	if code != 0 && !strings.Contains(stderr, "unsupported link type") {
		t.Fatalf("%s: %s", file, stderr)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f, file, pcap.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines, all := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n"), map[int]string{}
	var seg decode.Segment
	for err = r.Next(&seg); err == nil; err = r.Next(&seg) {
		if len(lines) == 0 {
			t.Fatalf("%s: fewer lines than segments", file)
		}
		line := lines[0]
		if name := seg.Point.Interface; name != "" {
			line = strings.Replace(line, " "+name+" ", " ", 1)
		}
		stats := r.Stats()
		all[int(stats.Packets)] = line
		lines = lines[1:]
	}
	if err != io.EOF || len(strings.Join(lines, "")) > 0 {
		t.Fatalf("%s: %v, %d lines too many", file, err, len(lines))
	}
	return all
}

// tcpdumpByFrame returns the first line that tcpdump prints of each packet.
func tcpdumpByFrame(t *testing.T, tcpdump, file string) map[int]string {
	t.Helper()
	cmd := exec.Command(tcpdump, "-n", "-#", "-r", file)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Logf("%s: %s", file, stderr.String())
	}
	all := map[int]string{}
	for line := range strings.Lines(string(out)) {
		number, text, _ := strings.Cut(strings.TrimLeft(line, " "), "  ")
		if n, err := strconv.Atoi(number); err == nil {
			text = strings.TrimSuffix(text, "\n")
			for _, says := range tcpdumpSays {
				text = says.pattern.ReplaceAllString(text, says.without)
			}
			all[n] = text
		}
	}
	return all
}
