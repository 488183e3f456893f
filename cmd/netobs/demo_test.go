package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"netobs/loader/nettest"
)

// demoStory is the order of the story, with white space made one blank each.
var demoStory = regexp.MustCompile(`^netobs demo: .* made for this .* watched .* how to read it .*` +
	` 1 A page is fetched` +
	`.* Flags \[S\], seq (\d+), win \d+, options \[mss \d+,sackOK,TS val \d+ ecr 0,nop,wscale \d+\], length 0` +
	` handshake 1 of 3 The client asks .* \(SYN\)\. Seq = (\d+) is where` +
	`.* Flags \[S\.\], seq (\d+), ack (\d+), .* length 0` +
	` handshake 2 of 3 The server agrees .* Seq = (\d+) .* Ack = the client's Seq \+ 1 = (\d+) is` +
	`.* Flags \[\.\], ack 1, .* handshake 3 of 3 .* Ack = the server's Seq \+ 1 = (\d+)\.` +
	`.* established after \S+s\.` +
	`.* data The client sends \d+ bytes: its HTTP request` +
	`.* data The server sends \d+ bytes: its HTTP response` +
	`.* FIN 1 of 2 The (?:client|server) is the first to close` +
	`.* FIN 2 of 2 The (?:client|server) closes, too .* over after` +
	`.* 2 Nobody listens` +
	`.* Flags \[S\], seq (\d+), .* handshake 1 of 3 The client asks for a connection to port 8081` +
	`.* Flags \[R\.\], seq 0, ack (\d+), .* refused \(RST\) .* Ack = the client's Seq \+ 1 = (\d+) says` +
	`.* 3 What .netobs attach. prints` +
	`.* demo lo 127\.0\.0\.1:\d+ > 127\.0\.0\.1:8080 local handshake completed ` +
	`.* teardown fin closed first by (?:originator|responder) ` +
	`.* demo lo 127\.0\.0\.1:\d+ > 127\.0\.0\.1:8081 local handshake refused ` +
	`.* 4 What remains: metrics .* 5 Next .*netobs attach --netns NAME`)

func TestDemo(t *testing.T) {
	var stdout bytes.Buffer
	code, stderr := runDemo(t, context.Background(), &stdout)
	if code != 0 || stderr != "" {
		t.Fatalf("netobs demo returned %d, stderr:\n%s", code, stderr)
	}
	out := stdout.String()
	match := demoStory.FindStringSubmatch(strings.Join(strings.Fields(out), " "))
	if match == nil {
		t.Fatalf("not the story it should be:\n%s", out)
	}
	n := make([]uint32, len(match))
	for i := 1; i < len(match); i++ {
		v, err := strconv.ParseUint(match[i], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		n[i] = uint32(v)
	}
	client, server, refused := n[1], n[3], n[8]
	want := []uint32{0, client, client, server, client + 1, server, client + 1, server + 1, refused, refused + 1, refused + 1}
	if fmt.Sprint(n) != fmt.Sprint(want) {
		t.Errorf("numbers in the story are %d, want %d", n, want)
	}

	const labels = `{netns="demo",outcome="%s",role="local"}`
	for _, outcome := range []string{"completed", "refused"} {
		if got := metricIn(out, "handshakes_total"+fmt.Sprintf(labels, outcome)); got != 1 {
			t.Errorf("%v handshakes %s, want 1", got, outcome)
		}
	}
	if got := strings.Count(out, "netobs_handshakes_total{"); got != 2 {
		t.Errorf("%d outcomes in the metrics, want 2", got)
	}
	if got := strings.Count(out, `teardown="fin"} `); got != 1 || strings.Count(out, "netobs_teardowns_total{") != 1 {
		t.Errorf("%d fin teardowns in the metrics, want nothing but 1", got)
	}
	// The metrics count exactly the segments that were told.
	const point = `{direction="egress",interface="lo",netns="demo"}`
	segments, payload := 0, 0
	for _, m := range regexp.MustCompile(`(?m), length (\d+)$`).FindAllStringSubmatch(out, -1) {
		length, _ := strconv.Atoi(m[1])
		segments, payload = segments+1, payload+length
	}
	if got := metricIn(out, "segments_total"+point); got != float64(segments) {
		t.Errorf("segments_total is %v, but %d were told", got, segments)
	}
	if got := metricIn(out, "segment_bytes_total"+point); got != float64(payload) {
		t.Errorf("segment_bytes_total is %v, but %d were told", got, payload)
	}

	for line := range strings.Lines(out) {
		most := 115
		if strings.Contains(line, "  demo  lo  ") { // of attach
			most = 190
		}
		if got := utf8.RuneCountInString(line); got > most {
			t.Errorf("line of %d columns, want at most %d: %s", got, most, line)
		}
	}
}

// metricIn returns the value of a series in the text format, or -1.
func metricIn(out, series string) float64 {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "netobs_"+series {
			v, _ := strconv.ParseFloat(f[1], 64)
			return v
		}
	}
	return -1
}

func TestDemoInterruptedMidway(t *testing.T) {
	nettest.NeedPrivileges(t)
	ctx, cancel := context.WithCancel(context.Background())
	var stdout bytes.Buffer
	// What is written first is the introduction, when everything is made and watched.
	code, stderr := runDemo(t, ctx, writerFunc(func(p []byte) (int, error) {
		cancel()
		return stdout.Write(p)
	}))
	if want := "netobs: " + errInterrupted.Error() + "\n"; code != exitFailed || stderr != want {
		t.Errorf("netobs demo returned %d, want %d; stderr %q, want %q", code, exitFailed, stderr, want)
	}
	if out := stdout.String(); !strings.Contains(out, "made for this") || strings.Contains(out, "Flags [S]") {
		t.Errorf("want the introduction and nothing more:\n%s", out)
	}
}

// TestDemoInterrupted ends the demo wherever it is at different times.
func TestDemoInterrupted(t *testing.T) {
	nettest.NeedPrivileges(t)
	for after := time.Duration(0); after < 300*time.Millisecond; after += after/2 + time.Millisecond {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		code, stderr := runDemo(t, ctx, io.Discard)
		cancel()
		interrupted := code == exitFailed && stderr == "netobs: "+errInterrupted.Error()+"\n"
		if done := code == 0 && stderr == ""; !interrupted && !done {
			t.Errorf("interrupted after %s: returned %d, stderr %q", after, code, stderr)
		}
	}
}

func TestDemoCannotWrite(t *testing.T) {
	nettest.NeedPrivileges(t)
	code, stderr := runDemo(t, context.Background(), writerFunc(func([]byte) (int, error) {
		return 0, errors.New("disk is full")
	}))
	if code != exitFailed || stderr != "netobs: disk is full\n" {
		t.Errorf("netobs demo returned %d, stderr %q", code, stderr)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// runDemo runs the demo and checks that it leaves nothing behind.
func runDemo(t *testing.T, ctx context.Context, stdout io.Writer) (code int, stderr string) {
	t.Helper()
	nettest.NeedPrivileges(t)
	before, goroutines := holdings(t), runtime.NumGoroutine()
	var made map[string]bool // while the introduction is printed
	var errOut bytes.Buffer
	code = run(ctx, []string{"demo"}, writerFunc(func(p []byte) (int, error) {
		if made == nil {
			made = holdings(t)
			for h := range before {
				delete(made, h)
			}
			checkMade(t, made)
		}
		return stdout.Write(p)
	}), &errOut)
	// A thread and what the kernel frees after a grace period take a moment to go.
	nettest.Eventually(t, 10*time.Second, func() error {
		runtime.GC() // ebpf.Memory has no Close: the garbage collector unmaps it, and the map goes with it
		for h := range holdings(t) {
			if !before[h] {
				return fmt.Errorf("left behind: %s", h)
			}
		}
		for h := range made {
			if exists(t, h) {
				return fmt.Errorf("still in the kernel: %s", h)
			}
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			return fmt.Errorf("%d goroutines, %d before", n, goroutines)
		}
		return nil
	})
	return code, errOut.String()
}

// checkMade makes sure that the check for what is left behind has something to look for.
func checkMade(t *testing.T, made map[string]bool) {
	t.Helper()
	count := make(map[string]int)
	for h := range made {
		kind, _, _ := strings.Cut(h, " ")
		count[kind]++
	}
	if count["netns"] != 1 || count["link_id"] != 1 || count["prog_id"] < 2 || count["map_id"] == 0 {
		t.Errorf("the demo holds %v, want one network namespace, one link, programs and maps", count)
	}
}

// holdings returns what this process holds: the network namespaces of its threads, and file descriptors of BPF, sockets
// and namespaces. Other tests may run beside in their own processes.
func holdings(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if netns, err := os.Readlink(task); err == nil { // else the thread has ended
			all["netns "+netns] = true
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		switch kind, _, _ := strings.Cut(target, ":"); kind {
		case "net":
			all["netns "+target] = true
		case "socket":
			all[target] = true
		case "anon_inode":
			info, _ := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
			for line := range strings.Lines(string(info)) {
				if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[0], "_id:") {
					all[strings.TrimSuffix(f[0], ":")+" "+f[1]] = true
				}
			}
		}
	}
	return all
}

// exists reports whether the kernel still has a BPF program, link or map, whoever holds it. Maps are not opened for that:
// the last file descriptor of a program array that goes clears it, and if that happens twice in a row, the kernel (6.18)
// keeps the map for ever.
func exists(t *testing.T, holding string) bool {
	t.Helper()
	kind, number, _ := strings.Cut(holding, " ")
	id, _ := strconv.Atoi(number)
	found := false
	var err error
	switch kind {
	case "prog_id":
		var next ebpf.ProgramID
		next, err = ebpf.ProgramGetNextID(ebpf.ProgramID(id - 1))
		found = next == ebpf.ProgramID(id)
	case "map_id":
		var next ebpf.MapID
		next, err = ebpf.MapGetNextID(ebpf.MapID(id - 1))
		found = next == ebpf.MapID(id)
	case "link_id":
		var l link.Link
		if l, err = link.NewFromID(link.ID(id)); err == nil {
			found = true
			l.Close()
		}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("look for %s: %v", holding, err)
	}
	return found
}
