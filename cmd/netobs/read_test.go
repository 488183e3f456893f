package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"netobs/decode"
)

// storyOfAll is a capture with one of each: a connection that ends, one that is refused, one that is reset, one without an
// answer, one that is still open, one from before, and a handshake that is unfinished.
func storyOfAll(tb testing.TB) []packet {
	return slices.Concat(
		newDialog(tb, "127.0.0.1:40001", "127.0.0.1:8080").opens(0).asks(ms).closes(5*ms).packets,
		newDialog(tb, "[::1]:40002", "[::1]:81").refuses(10*ms).packets,
		newDialog(tb, "10.0.0.1:40003", "10.0.0.2:8080").opens(20*ms).asks(21*ms).
			sends(23*ms, client, decode.RST|ack, 6, 8, "").packets,
		newDialog(tb, "10.0.0.1:40004", "10.0.0.3:80").sends(30*ms, client, decode.SYN, 0, 0, "").
			sends(1030*ms, client, decode.SYN, 0, 0, "").packets,
		newDialog(tb, "10.0.0.1:40005", "10.0.0.2:8080").sends(1100*ms, server, decode.PSH|ack, 70, 80, "old").
			sends(1110*ms, client, ack, 80, 73, "").sends(1120*ms, server, decode.RST|ack, 73, 80, "").packets,
		newDialog(tb, "10.0.0.1:40006", "10.0.0.2:8080").opens(9000*ms).asks(9001*ms).packets,
		newDialog(tb, "10.0.0.1:40007", "10.0.0.2:8080").sends(9500*ms, client, decode.SYN, 0, 0, "").packets,
	)
}

func TestReadOutput(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	long := newDialog(t, "10.0.0.1:40001", "10.0.0.2:8080").opens(0).asks(ms).closes(2000 * ms).packets
	two := newDialog(t, "10.0.0.1:40002", "10.0.0.2:8080")
	two.iface = 1
	two.opens(ms).asks(3 * ms).closes(5 * ms)
	three := newDialog(t, "10.0.0.1:40003", "10.0.0.2:8080")
	three.iface = 2
	tunnelled := newDialog(t, "10.1.0.1:40003", "10.1.0.2:8080")
	tunnelled.tunnel = true
	inDir(t, map[string][]byte{
		"all.pcap": mustPcap(t, storyOfAll(t)),
		"rot0":     mustPcap(t, long[:4]),
		"rot1":     mustPcap(t, long[4:]),
		"other":    mustPcap(t, newDialog(t, "10.0.0.9:40001", "10.0.0.2:8080").opens(ms).asks(2*ms).closes(3*ms).packets),
		"if.pcapng": mustPcapng(t, slices.Concat(long[:3], two.packets[:3], three.opens(2*ms).packets, long[3:5],
			two.packets[3:], long[5:]), []string{"eth0", "veth1", "wlan0"},
			[]layers.LinkType{layers.LinkTypeEthernet, layers.LinkTypeEthernet, layers.LinkType(200)}),
		"gre.pcap":  mustPcap(t, tunnelled.opens(0).asks(ms).closes(5*ms).packets),
		"none.pcap": mustPcap(t, nil),
		"cut.pcap":  mustPcap(t, long)[:500],
	})
	for _, tc := range []struct {
		name string
		args []string
		code int
	}{
		{"lines", []string{"all.pcap"}, 0},
		{"json", []string{"--output", "json", "all.pcap"}, 0},
		{"summary", []string{"--summary", "all.pcap"}, 0},
		{"summary-json", []string{"--summary", "--output", "json", "all.pcap"}, 0},
		{"segments", []string{"--segments", "all.pcap"}, 0},
		{"segments-json", []string{"--segments", "--output", "json", "all.pcap"}, 0},
		{"none", []string{"--output", "none", "all.pcap"}, 0},
		{"ladder", []string{"--ladder", "all.pcap"}, 0},
		{"ladder-svg", []string{"--ladder", "--output", "svg", "all.pcap", "--connection", "1-3"}, 0},
		{"ladder-of-one", []string{"--ladder", "--connection", "10.0.0.2:8080-10.0.0.1:40003", "all.pcap"}, 0},
		{"ladder-of-none", []string{"--ladder", "--connection", "10.0.0.9:1", "all.pcap"}, 0},
		{"ladder-of-two-places", []string{"--ladder", "rot0", "other", "rot1"}, 0},
		{"rotated", []string{"rot0", "rot1"}, 0},
		{"rotated-json", []string{"rot0", "rot1", "--output", "json"}, 0},
		{"wrong-order", []string{"rot1", "rot0"}, 0},
		{"two-places", []string{"rot0", "other", "rot1"}, 0},
		{"segments-of-two", []string{"--segments", "rot0", "rot1"}, 0},
		{"interfaces", []string{"if.pcapng"}, 1},
		{"interfaces-segments", []string{"--segments", "if.pcapng"}, 1},
		{"tunnel", []string{"--summary", "gre.pcap"}, 0},
		{"tunnel-decap", []string{"--summary", "--decap", "gre.pcap"}, 0},
		{"no-packets", []string{"--summary", "none.pcap"}, 0},
		{"damaged", []string{"cut.pcap", "missing", "other"}, 1},
		{"damaged-summary", []string{"--summary", "cut.pcap", "missing", "other"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := runHere(t, append([]string{"read"}, tc.args...)...)
			if code != tc.code {
				t.Errorf("code %d, want %d", code, tc.code)
			}
			checkGolden(t, dir, "read-"+tc.name+".txt", stdout+"---- stderr\n"+stderr)
		})
	}
}

// TestReadBadInput checks that each mistake gives one line on stderr that says what is wrong with what.
func TestReadBadInput(t *testing.T) {
	all := storyOfAll(t)
	last := all[len(all)-1]
	good := mustPcap(t, all)
	inDir(t, map[string][]byte{
		"good":   good,
		"text":   []byte("hello, world\n"),
		"zst":    {0x28, 0xb5, 0x2f, 0xfd, 4, 0},
		"short":  {0xd4, 0xc3},
		"empty":  nil,
		"header": good[:20],
		"cut":    good[:len(good)-1],
		"dlt":    mustPcapng(t, all[:1], []string{"wlan0"}, []layers.LinkType{layers.LinkType(200)}),
		"big":    slices.Concat(good[:24], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f}),
	})
	if err := os.Mkdir("dir", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want []string // parts of stderr
	}{
		{"no file", nil, 2, []string{"FILE", "netobs read --help"}},
		{"stdin twice", []string{"-", "x", "-"}, 2, []string{"twice"}},
		{"output", []string{"--output", "xml", "x"}, 2, []string{`"xml"`}},
		{"summary and segments", []string{"--summary", "--segments", "x"}, 2, []string{"--summary", "--segments"}},
		{"ladder as json", []string{"--ladder", "--output", "json", "x"}, 2, []string{"--ladder", "json"}},
		{"ladder and summary", []string{"--ladder", "--summary", "x"}, 2, []string{"--ladder", "--summary"}},
		{"connection without ladder", []string{"--connection", "1", "x"}, 2, []string{"--ladder"}},
		{"connection", []string{"--ladder", "--output", "text", "--connection", "2-1", "x"}, 2, []string{"--connection", `"2-1"`}},
		{"unknown flag", []string{"--sumary", "x"}, 2, []string{"unknown flag: --sumary"}},
		{"missing", []string{"missing"}, 1, []string{"missing: no such file or directory"}},
		{"directory", []string{"dir"}, 1, []string{"dir: is a directory"}},
		{"not a capture", []string{"text"}, 1, []string{"text: not a capture file"}},
		{"compressed otherwise", []string{"zst"}, 1, []string{"zst: not a capture file", "zstd -dc FILE | netobs read -"}},
		{"shorter than its magic", []string{"short"}, 1, []string{"short: not a capture file"}},
		{"empty", []string{"empty"}, 1, []string{"empty: empty file"}},
		{"header cut", []string{"header"}, 1, []string{"header: ", "byte 0"}},
		{"record cut", []string{"cut"}, 1, []string{"cut: ", fmt.Sprintf("byte %d", len(good)-16-len(last.frame))}},
		{"length without sense", []string{"big"}, 1, []string{"big: ", "byte 24"}},
		{"link type", []string{"dlt"}, 1, []string{"dlt: unsupported link type", "200", "1 packet"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkRefused(t, tc.code, tc.want, append([]string{"read", "--output", "none"}, tc.args...)...)
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		if err := os.Chmod("good", 0); err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if os.Getuid() == 0 { // root reads everything; files are opened by this thread
			if err := unix.Setfsuid(65534); err != nil {
				t.Fatal(err)
			}
			defer unix.Setfsuid(0)
		}
		code, _, stderr := runHere(t, "read", "good")
		if want := "netobs: good: permission denied\n"; code != 1 || stderr != want {
			t.Errorf("code %d, stderr %q, want 1 and %q", code, stderr, want)
		}
	})
}

// TestReadDiskFull checks that output that cannot be written ends it all.
func TestReadDiskFull(t *testing.T) {
	inDir(t, map[string][]byte{"a": mustPcap(t, storyOfAll(t))})
	for _, args := range [][]string{nil, {"--output", "json"}, {"--segments"}, {"--summary"}, {"--summary", "--output", "json"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			var stderr bytes.Buffer
			code := run(t.Context(), append([]string{"read", "a", "missing"}, args...), full, &stderr)
			want := "netobs: write /dev/full: no space left on device\n"
			if slices.Contains(args, "--summary") { // it is written last
				want = "netobs: missing: no such file or directory\n" + want
			}
			if code != 1 || stderr.String() != want {
				t.Errorf("code %d, stderr %q, want 1 and %q", code, stderr.String(), want)
			}
		})
	}
}

// TestReadDiskFullLive checks that netobs does not wait for more input when it cannot print what it has.
func TestReadDiskFullLive(t *testing.T) {
	w := asStdin(t)
	if _, err := w.Write(mustPcap(t, storyOfAll(t))); err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stderr bytes.Buffer
	code := run(ctx, []string{"read", "-"}, full, &stderr)
	if want := "netobs: write /dev/full: no space left on device\n"; code != 1 || stderr.String() != want || ctx.Err() != nil {
		t.Errorf("code %d, stderr %q, %v, want 1 and %q at once", code, stderr.String(), ctx.Err(), want)
	}
}

// asStdin makes a pipe standard input until the test ends, and returns its other end.
func asStdin(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdin
	os.Stdin = r
	t.Cleanup(func() {
		os.Stdin = before
		r.Close()
		w.Close()
	})
	return w
}

func TestReadStdin(t *testing.T) {
	capture := mustPcap(t, storyOfAll(t))
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(capture)
	z.Close()
	inDir(t, map[string][]byte{"a": capture})
	_, want, _ := runHere(t, "read", "a")
	for _, tc := range []struct {
		name    string
		content []byte
		code    int
		all     bool // of the output
		stderr  string
	}{
		{"whole", capture, 0, true, ""},
		{"gzip", gz.Bytes(), 0, true, ""},
		{"closed early", capture[:len(capture)-60], 1, false, "netobs: standard input: "},
		{"closed at once", nil, 1, false, "netobs: standard input: empty file\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := asStdin(t)
			go func() {
				w.Write(tc.content)
				w.Close()
			}()
			code, stdout, stderr := runHere(t, "read", "-")
			if code != tc.code || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("code %d, stderr %q, want %d and %q", code, stderr, tc.code, tc.stderr)
			}
			if tc.all && stdout != want {
				t.Errorf("got\n%s\nwant\n%s", stdout, want)
			}
			if !strings.HasPrefix(want, stdout) {
				t.Errorf("got\n%s\nwant a part of\n%s", stdout, want)
			}
		})
	}
}

// TestReadLive checks that lines come while a pipe has nothing more to say, and that Ctrl-C ends the wait.
func TestReadLive(t *testing.T) {
	w := asStdin(t)
	if _, err := w.Write(mustPcap(t, storyOfAll(t))); err != nil {
		t.Fatal(err)
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stderr bytes.Buffer
	code := make(chan int)
	go func() { code <- run(ctx, []string{"read", "-"}, out, &stderr) }()
	var first [20]byte
	if _, err := io.ReadFull(stdout, first[:]); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("lines came only when the input ended")
	}
	cancel()
	if got := <-code; got != 1 || !strings.HasPrefix(stderr.String(), "netobs: standard input: interrupted at byte ") {
		t.Errorf("code %d, stderr %q, want 1 and where it was interrupted", got, stderr.String())
	}
	if !strings.Contains(stderr.String(), "handshakes   5") {
		t.Errorf("stderr %q lacks what was read", stderr.String())
	}
}

// manyRefused are 5000 connections refused, 10 000 segments.
func manyRefused(tb testing.TB) []packet {
	var all []packet
	for i := range 5000 {
		d := newDialog(tb, fmt.Sprintf("10.0.0.1:%d", 10000+i), "10.0.0.2:80")
		all = append(all, d.refuses(time.Duration(i)*ms).packets...)
	}
	return all
}

// TestReadClock checks that it is said when time ran backwards.
func TestReadClock(t *testing.T) {
	d := newDialog(t, "10.0.0.1:40001", "10.0.0.2:80").sends(100*us, client, decode.SYN, 0, 0, "").
		sends(20*us, server, decode.SYN|ack, 0, 1, "").sends(130*us, client, ack, 1, 1, "")
	inDir(t, map[string][]byte{"a": mustPcap(t, d.packets)})
	_, stdout, _ := runHere(t, "read", "--summary", "a")
	if want := "\nclock     ran backwards: 2 intervals taken as 0\n"; !strings.Contains(stdout, want) {
		t.Errorf("got\n%s\nwant %q in it", stdout, want)
	}
}

// TestReadMany checks that what is read ahead stays what and where it was.
func TestReadMany(t *testing.T) {
	inDir(t, map[string][]byte{"a": mustPcap(t, manyRefused(t))})
	var want strings.Builder
	for i := range 5000 {
		at, port := captureStart.Add(time.Duration(i)*ms), 10000+i
		fmt.Fprintf(&want, "%s IP 10.0.0.1.%d > 10.0.0.2.80: Flags [S], seq 1000, win 64240, options [mss 1460], length 0\n",
			at.Format(clockFormat), port)
		fmt.Fprintf(&want, "%s IP 10.0.0.2.80 > 10.0.0.1.%d: Flags [R.], seq 0, ack 1001, win 64240, length 0\n",
			at.Add(15*us).Format(clockFormat), port)
	}
	if code, stdout, stderr := runHere(t, "read", "--segments", "a"); code != 0 || stderr != "" || stdout != want.String() {
		t.Errorf("code %d, stderr %q, %d bytes, want 0, nothing and %d bytes", code, stderr, len(stdout), want.Len())
	}
}

// TestReadHead checks that netobs ends without a word when nobody reads on.
func TestReadHead(t *testing.T) {
	inDir(t, map[string][]byte{"a": mustPcap(t, manyRefused(t))})
	cmd := exec.Command("/proc/self/exe", "read", "a")
	cmd.Env = append(os.Environ(), asNetobs+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	stdout.Close()
	cmd.Wait()
	if got := cmd.ProcessState.Sys().(syscall.WaitStatus); !got.Signaled() || got.Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v, want SIGPIPE", cmd.ProcessState)
	}
	if stderr.Len() != 0 {
		t.Errorf("stderr is %q, want nothing", stderr.String())
	}
}

// TestReadBreak checks that silence between files that are far apart is no verdict.
func TestReadBreak(t *testing.T) {
	syn := newDialog(t, "10.0.0.1:40001", "10.0.0.2:80").sends(0, client, decode.SYN, 0, 0, "").packets
	for _, tc := range []struct {
		after time.Duration
		want  string
	}{
		{3 * time.Second, "handshake unanswered"},
		{time.Minute, "handshake unknown"},
	} {
		later := newDialog(t, "10.0.0.1:40002", "10.0.0.2:80").refuses(tc.after).refuses(tc.after + 2*time.Second).packets
		inDir(t, map[string][]byte{"a": mustPcap(t, syn), "b": mustPcap(t, later)})
		if _, stdout, _ := runHere(t, "read", "a", "b"); !strings.Contains(stdout, tc.want) {
			t.Errorf("after %v: got\n%s\nwant %q in it", tc.after, stdout, tc.want)
		}
	}
}

func TestProgress(t *testing.T) {
	dir := t.TempDir()
	name := func(size int64) string {
		f := filepath.Join(dir, fmt.Sprint(size))
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(f, size); err != nil {
			t.Fatal(err)
		}
		return f
	}
	large, small := name(progressFrom), name(progressFrom-1)
	terminal := mustTerminal(t)
	for _, tc := range []struct {
		name   string
		stderr io.Writer
		o      readOptions
		stdout bool // is a terminal
		want   bool
	}{
		{"large", terminal, readOptions{files: []string{large}}, false, true},
		{"large in all", terminal, readOptions{files: []string{small, small, "-"}}, false, true},
		{"small", terminal, readOptions{files: []string{small}}, false, false},
		{"no terminal", new(bytes.Buffer), readOptions{files: []string{large}}, false, false},
		{"lines on the same terminal", terminal, readOptions{files: []string{large}}, true, false},
		{"summary on the same terminal", terminal, readOptions{files: []string{large}, summary: true}, true, true},
	} {
		if got := newProgress(tc.stderr, tc.o, tc.stdout) != nil; got != tc.want {
			t.Errorf("%s: bar %v, want %v", tc.name, got, tc.want)
		}
	}
	var got bytes.Buffer
	bar := &progress{w: &got, total: 64 << 20}
	bar.add(16 << 20)
	bar.add(1)
	bar.erase()
	bar.erase()
	want := "\r" + strings.Repeat("█", 10) + strings.Repeat("░", 30) + "  25% of 67.1 MB\r\x1b[K"
	if got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

// mustTerminal returns a terminal.
func mustTerminal(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q quantiles
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(r.ExpFloat64() * float64(ms) * float64(uint(1)<<r.UintN(20)))
		q.add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, p := range []float64{0.001, 0.5, 0.9, 0.99, 1} {
		got, want := q.at(p), all[max(int(p*10_000)-1, 0)]
		if off := max(got-want, want-got); off > want/1000 {
			t.Errorf("quantile %v is %v, want %v", p, got, want)
		}
	}
	if q.longest() != all[len(all)-1] {
		t.Errorf("longest is %v, want %v", q.longest(), all[len(all)-1])
	}
	var ends quantiles
	ends.add(1<<63 - 1)
	ends.add(-1)
	if got := []time.Duration{ends.at(0.5), ends.at(1)}; !slices.Equal(got, []time.Duration{0, 1<<63 - 1}) {
		t.Errorf("got %v", got)
	}
}

func TestRespondersForget(t *testing.T) {
	r := responders{most: 10, all: make(map[netip.AddrPort]*responder)}
	busy := netip.MustParseAddrPort("10.0.0.1:80")
	for i := range 1000 {
		r.add(busy, decode.OutcomeCompleted)
		r.add(netip.AddrPortFrom(busy.Addr(), uint16(1000+i)), decode.OutcomeRefused)
	}
	if top := r.top(1)[0]; top.addr != busy || top.attempts != 1000 || len(r.all) > 10 || r.forgotten < 990 {
		t.Errorf("top is %v, %d known, %d forgotten", top, len(r.all), r.forgotten)
	}
}

// TestNumberingForgets checks that numbers of a connection in use are never forgotten, and others are.
func TestNumberingForgets(t *testing.T) {
	var n numbering
	seg := func(port int, seq decode.Seq) *decode.Segment {
		return &decode.Segment{Point: new(decode.Point), Src: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port)),
			Dst: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port>>16+1)), Seq: seq, Ack: 500, Flags: decode.ACK}
	}
	n.bases(seg(7, 100))
	for i := range 3 * numberedMost {
		n.bases(seg(i+10, 1))
		if seq, ack := n.bases(seg(7, 200)); seq != 100 || ack != 499 {
			t.Fatalf("after %d others the bases are %d and %d, want 100 and 499", i, seq, ack)
		}
	}
	if got := len(n.recent) + len(n.older); got > 2*numberedMost {
		t.Errorf("%d remembered", got)
	}
}
