package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"netobs/decode"
	"netobs/decode/pcap"
	"netobs/loader/nettest"
)

// verdictsOf returns a line for each handshake and each connection in JSON, sorted: what must be the same when a capture is read. The role
// is not in a capture; when it is read, and which packets were lost, is another matter.
func verdictsOf(tb testing.TB, objects string) []string {
	tb.Helper()
	var all []string
	for dec := json.NewDecoder(strings.NewReader(objects)); dec.More(); {
		var o map[string]any
		if err := dec.Decode(&o); err != nil {
			tb.Fatal(err)
		}
		if o["type"] != "segment" {
			for _, field := range []string{"role", "responder_process", "interface"} {
				delete(o, field)
			}
			all = append(all, fmt.Sprint(o))
		}
	}
	slices.Sort(all)
	return all
}

// TestWriteReadsBack watches three namespaces that connections cross, writes a capture, and reads it: verdicts are those that were
// given live, in each namespace, with numbers and times.
func TestWriteReadsBack(t *testing.T) {
	for _, segments := range []string{segmentsControl, segmentsAll} {
		t.Run(segments, func(t *testing.T) {
			a, b, h := topology(t)
			file := filepath.Join(t.TempDir(), "all.pcapng")
			s := startWatch(t, "--netns", a.Name, "--netns", b.Name, "--netns", h.Name, "--segments", segments, "--write", file, "--print",
				"--output", "json")
			l := load{clients: 4, each: 25, refused: 10, reset: 10, serverFirst: 5, halfClosed: 5}
			l.run(t, a, b, "10.9.0.2")
			want := 3 * (2*l.completed() + l.refused)
			nettest.Eventually(t, 20*time.Second, func() error {
				if n := strings.Count(s.stdout.String(), "\n") - strings.Count(s.stdout.String(), `"type":"segment"`); n != want {
					return fmt.Errorf("%d verdicts, want %d", n, want)
				}
				return nil
			})
			s.end()
			checkSchema(t, mustCompileSchema(t, true), s.stdout.String())
			code, stdout, stderr := runHere(t, "read", "--output", "json", file)
			if code != 0 {
				t.Fatal(stderr)
			}
			live, read := verdictsOf(t, s.stdout.String()), verdictsOf(t, stdout)
			for i := range max(len(live), len(read)) {
				if i >= len(live) || i >= len(read) || live[i] != read[i] {
					t.Fatalf("%d verdicts live, %d read; the first that differs:\n%s\n%s", len(live), len(read), live[min(i, len(live)-1)],
						read[min(i, len(read)-1)])
				}
			}
		})
	}
}

// TestWriteTshark holds a capture of one namespace against tshark: it takes it without complaint, finds as many connections and the same
// kinds of segments in them; comments are on the segments that decide.
func TestWriteTshark(t *testing.T) {
	ns := loNS(t, "write")
	file := filepath.Join(t.TempDir(), "lo.pcapng")
	s := startWatch(t, "--netns", ns.Name, "--segments", "all", "--write", file)
	l := load{clients: 2, each: 25, refused: 10, reset: 10, serverFirst: 5, halfClosed: 5}
	l.run(t, ns, ns, "127.0.0.1")
	nettest.Eventually(t, 20*time.Second, func() error { return has(file, l.completed(), l.refused) })
	if said := s.end(); !strings.Contains(said, "0 lost") || s.stdout.String() != "" {
		t.Errorf("stderr %q, stdout %q", said, s.stdout.String())
	}
	ours := make(map[string]decode.Completeness) // by both ports
	tracker := decode.NewTracker(decode.TrackerOptions{EverySegment: true, OnConnection: func(c *decode.Connection) {
		ours[fmt.Sprint(c.Originator.Port(), c.Responder.Port())] = c.Completeness
	}})
	stepCapture(t, file, func(seg *decode.Segment) { tracker.Step(seg) })

	cmd := exec.Command("tshark", "-n", "-r", file, "-o", "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=|", "-e", "tcp.stream",
		"-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "tcp.completeness", "-e", "frame.comment", "-e", "frame.interface_name",
		"-e", "ip.checksum.status", "-e", "tcp.flags.str", "-e", "_ws.malformed")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil || strings.Count(complaint.String(), "\n") > 1 { // it does not like root
		t.Fatalf("tshark: %v: %s", err, complaint.String())
	}
	streams, checked, refused := make(map[string]bool), 0, 0
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		streams[f[0]] = true
		if f[5] != ns.Name+"/lo" || f[6] != "1" || f[8] != "" {
			t.Fatalf("interface, checksum or more is wrong: %s", line)
		}
		if strings.Contains(f[4], "refused") {
			refused++
			if !strings.Contains(f[7], "R") {
				t.Errorf("the comment is not on the RST: %s", line)
			}
		}
		if !strings.Contains(f[4], "teardown") {
			continue
		}
		want, ok := ours[f[2]+" "+f[1]]
		if !ok {
			want = ours[f[1]+" "+f[2]]
		}
		got, _ := strconv.Atoi(f[3])
		const rst = 1 << 5 // may come late, which is no part of our connection
		if got&^rst != int(want)&^rst {
			t.Errorf("completeness %d, tshark says %d: %s", want, got, line)
		}
		checked++
	}
	if len(streams) != l.completed()+l.refused || checked != l.completed() || refused != l.refused {
		t.Errorf("tshark has %d streams, %d with a teardown, %d refused; want %d, %d, %d", len(streams), checked, refused,
			l.completed()+l.refused, l.completed(), l.refused)
	}
}

// has reports whether a capture has comments on so many ends of connections and refusals.
func has(file string, teardowns, refused int) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if t, r := bytes.Count(content, []byte("teardown ")), bytes.Count(content, []byte("handshake refused")); t != teardowns || r != refused {
		return fmt.Errorf("%d teardowns and %d refused in the file, want %d and %d", t, r, teardowns, refused)
	}
	return nil
}

func stepCapture(tb testing.TB, file string, step func(*decode.Segment)) {
	tb.Helper()
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f, file, pcap.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	for {
		var seg decode.Segment
		if err := r.Next(&seg); err == io.EOF {
			return
		} else if err != nil {
			tb.Fatal(err)
		}
		step(&seg)
	}
}

// TestWritePipe checks that a capture on standard output is there as soon as something happened, and is whole at the end.
func TestWritePipe(t *testing.T) {
	ns := loNS(t, "pipe")
	s := startWatch(t, "--netns", ns.Name, "--write", "-")
	converse(t, ns)
	nettest.Eventually(t, 20*time.Second, func() error {
		if out := s.stdout.String(); !strings.Contains(out, "teardown ") || !strings.Contains(out, "handshake refused") {
			return errors.New("not all is written")
		}
		return nil
	})
	s.end()
	inDir(t, map[string][]byte{"piped": []byte(s.stdout.String())})
	code, stdout, stderr := runHere(t, "read", "piped")
	if code != 0 || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, ns.Name+"  lo") {
		t.Errorf("code %d, stderr %s, stdout\n%s", code, stderr, stdout)
	}
}

// TestWriteRotates checks names and contents of rotated files: all segments, each once, in files that are whole and follow each other.
func TestWriteRotates(t *testing.T) {
	point := &decode.Point{NetnsID: 1, Netns: "test", Interface: "lo", Direction: decode.Egress}
	segments := func(c *capture) {
		for i := range 100 {
			seg := decode.Segment{Time: 1_700_000_000e9 + int64(i)*1e8, Point: point, Src: netip.MustParseAddrPort("10.0.0.1:1"),
				Dst: netip.MustParseAddrPort("10.0.0.2:2"), Flags: decode.SYN, Seq: decode.Seq(i)}
			c.place(&seg, decode.Place{})
			if err := c.flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.finish(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		opts captureOptions
		want string // files
	}{
		{"size", captureOptions{file: "c.pcapng", bytes: 4000}, "c.pcapng c.pcapng1 c.pcapng2"},
		{"time", captureOptions{file: "c.pcapng", every: 4 * time.Second}, "c.pcapng c.pcapng1 c.pcapng2"},
		{"names", captureOptions{file: "%s.pcapng", every: 4 * time.Second}, "NOW.pcapng 1700000004.pcapng 1700000008.pcapng"},
		{"neither", captureOptions{file: "%s"}, "%s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inDir(t, nil)
			c, err := newCapture(tc.opts, nil)
			if err != nil {
				t.Fatal(err)
			}
			files := strings.Split(strings.ReplaceAll(tc.want, "NOW.pcapng", c.name), " ")
			segments(c)
			next := decode.Seq(0)
			for _, file := range files {
				stepCapture(t, file, func(seg *decode.Segment) {
					if seg.Seq != next {
						t.Fatalf("%s: segment %d, want %d", file, seg.Seq, next)
					}
					next++
				})
				if info, err := os.Stat(file); err != nil || tc.opts.bytes > 0 && info.Size() > tc.opts.bytes+200 {
					t.Errorf("%s has %d bytes, %v", file, info.Size(), err)
				}
			}
			if there, _ := filepath.Glob("*"); next != 100 || len(there) != len(files) {
				t.Errorf("%d segments in %v, want 100 in %v", next, there, files)
			}
		})
	}
}

func TestWriteBadInput(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--rotate-size", "1M"}, "--write"},
		{[]string{"--write", "x", "--rotate-size", "1T"}, `"1T"`},
		{[]string{"--write", "x", "--rotate-size", "0"}, `"0"`},
		{[]string{"--write", "x", "--rotate-size", "9999999999G"}, `"9999999999G"`},
		{[]string{"--write", "-", "--rotate-every", "1h"}, "--write FILE"},
		{[]string{"--write", "x", "--rotate-every", "-1h"}, "--rotate-every"},
		{[]string{"--write", "-", "--print"}, "--write FILE"},
		{[]string{"--print"}, "--write FILE"},
		{[]string{"--write", "x", "--output", "json"}, "--print"},
		{[]string{"--output", "xml"}, `"xml"`},
		{[]string{"--ladder", "--output", "json"}, "--ladder"},
		{[]string{"--connection", "1"}, "--ladder"},
	} {
		checkRefused(t, exitUsage, []string{tc.want}, append([]string{"watch", "--netns", "host"}, tc.args...)...)
	}
	checkRefused(t, exitFailed, []string{"/nowhere/x"}, "watch", "--netns", "host", "--write", "/nowhere/x")
}

// TestWatchLadder draws a live connection.
func TestWatchLadder(t *testing.T) {
	ns := loNS(t, "ladder")
	s := startWatch(t, "--netns", ns.Name, "--segments", "all", "--ladder")
	converse(t, ns)
	nettest.Eventually(t, 20*time.Second, func() error {
		for _, want := range []string{ns.Name + "  lo", "[SYN] seq 0", "legs: ", "seq 1:79 ack 1", "seq 1:156 ack 79", "FIN-WAIT-1", "teardown fin",
			"78 B →, ← 155 B", "handshake refused"} {
			if !strings.Contains(s.stdout.String(), want) {
				return fmt.Errorf("lacks %q:\n%s", want, s.stdout.String())
			}
		}
		return nil
	})
}
