package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// watcher is a netobs attach --all that runs as a process of its own, and what it holds.
type watcher struct {
	t       *testing.T
	cmd     *exec.Cmd
	session *session // for its metrics
	stdout  buffer
	ended   bool

	mu       sync.Mutex
	line     []byte // of stderr, unfinished
	ready    map[string]bool
	bad      []string // logged at a level that needs somebody's attention
	routines int      // as it said last
	told     int      // how often it said

	objects map[string]bool // all BPF objects it was seen to hold: "prog 12"
}

// tally is what connections of one kind are counted by: in a namespace, with a role, by outcome of the handshake or by
// teardown.
type tally struct{ netns, role, outcome string }

// tellGoroutines makes a netobs that runs as a process of its own say on stderr, when asked by SIGUSR1, how many goroutines
// it has.
func tellGoroutines() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			fmt.Fprintln(os.Stderr, "goroutines", runtime.NumGoroutine())
		}
	}()
}

// startWatcher watches the namespaces whose names begin with prefix, which is of letters and digits.
func startWatcher(t *testing.T, prefix string) *watcher {
	t.Helper()
	return startWatcherIn(t, prefix, func() error { return nil })
}

// startWatcherIn is startWatcher where prepare changes the thread that netobs is started from, and whose namespaces and
// capabilities it gets.
func startWatcherIn(t *testing.T, prefix string, prepare func() error) *watcher {
	t.Helper()
	return startProcess(t, prepare, append([]string{"--all", "--output", "json"}, excludeAllBut(prefix)...)...)
}

// startProcess runs netobs attach with args as a process of its own, and returns when it watches.
func startProcess(t *testing.T, prepare func() error, args ...string) *watcher {
	t.Helper()
	w := &watcher{t: t, ready: make(map[string]bool), objects: make(map[string]bool)}
	w.session = &session{tb: t}
	w.cmd = exec.Command("/proc/self/exe", append([]string{"attach", "--listen", "127.0.0.1:0", "--log-level", "info"}, args...)...)
	w.cmd.Env = append(os.Environ(), asNetobs+"=1")
	w.cmd.Stdout, w.cmd.Stderr = &w.stdout, w
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := prepare(); err != nil {
			started <- err
			return
		}
		started <- w.cmd.Start()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.end)
	nettest.Eventually(t, 60*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.session.addr == "" {
			return errors.New("netobs does not watch yet")
		}
		return nil
	})
	return w
}

// allBut are globs of all names that do not begin with prefix, which is of letters and digits.
func allBut(prefix string) (globs []string) {
	for i := range prefix {
		globs = append(globs, prefix[:i]+"[^"+prefix[i:i+1]+"]*", prefix[:i])
	}
	return globs
}

func excludeAllBut(prefix string) (args []string) {
	for _, glob := range allBut(prefix) {
		args = append(args, "--exclude-netns", glob)
	}
	return args
}

var watchingLine = regexp.MustCompile(`msg=watching netns=(\S+) interface=(\S+)`)

// Write takes what netobs writes to stderr.
func (w *watcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line = append(w.line, b...)
	for {
		line, rest, whole := bytes.Cut(w.line, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		w.take(string(line))
		w.line = rest
	}
}

func (w *watcher) take(line string) {
	if m := watchingLine.FindStringSubmatch(line); m != nil {
		w.ready[m[1]+"/"+m[2]] = true
	}
	if m := metricsAddr.FindStringSubmatch(line); m != nil {
		w.session.addr = m[1]
	}
	if n, err := fmt.Sscanf(line, "goroutines %d", &w.routines); n == 1 && err == nil {
		w.told++
	}
	if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.HasPrefix(line, "netobs: ") ||
		strings.Contains(line, "panic") {
		w.bad = append(w.bad, line)
	}
}

// end stops netobs as Ctrl-C does. It must have nothing to complain about, and the kernel nothing left of it.
func (w *watcher) end() {
	w.t.Helper()
	if w.ended {
		return
	}
	w.ended = true
	w.cmd.Process.Signal(os.Interrupt)
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("netobs: %v", err)
	}
	for _, line := range w.bad {
		w.t.Errorf("netobs logged: %s", line)
	}
	nettest.Eventually(w.t, 20*time.Second, func() error {
		for object := range w.objects {
			if objectExists(w.t, object) {
				return fmt.Errorf("%s is still there", object)
			}
		}
		return nil
	})
}

// wantComplaint waits for a line that has all parts, and takes all such lines away.
func (w *watcher) wantComplaint(parts ...string) {
	w.t.Helper()
	has := func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	}
	nettest.Eventually(w.t, 30*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !slices.ContainsFunc(w.bad, has) {
			return fmt.Errorf("no complaint about %q among %q", parts, w.bad)
		}
		w.bad = slices.DeleteFunc(w.bad, has)
		return nil
	})
}

// waitReady waits until interfaces, NETNS/INTERFACE each, are watched.
func (w *watcher) waitReady(all ...string) {
	w.t.Helper()
	nettest.Eventually(w.t, 60*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, name := range all {
			if !w.ready[name] {
				return fmt.Errorf("%s is not watched; netobs complained: %q", name, w.bad)
			}
		}
		return nil
	})
	w.noteObjects()
}

// wantPoints waits until so many points are attached in all.
func (w *watcher) wantPoints(n float64) {
	w.t.Helper()
	w.session.waitFor(n, "observation_points")
}

// atRest returns what netobs holds when that has not changed for a while: what serves a connection for metrics ends only
// after the connection.
func (w *watcher) atRest() map[string]int {
	w.t.Helper()
	last, same := w.holdings(), 0
	nettest.Eventually(w.t, 20*time.Second, func() error {
		time.Sleep(50 * time.Millisecond)
		now := w.holdings()
		if same++; !maps.Equal(now, last) {
			last, same = now, 0
		}
		if same < 10 {
			return fmt.Errorf("what netobs holds changes all the time, now it is %v", now)
		}
		return nil
	})
	return last
}

// holdings returns what netobs holds: file descriptors by kind, goroutines.
func (w *watcher) holdings() map[string]int {
	w.t.Helper()
	http.DefaultClient.CloseIdleConnections() // else there is one for the connection that was used for metrics
	h := w.noteObjects()
	w.mu.Lock()
	told := w.told
	w.mu.Unlock()
	w.cmd.Process.Signal(syscall.SIGUSR1)
	nettest.Eventually(w.t, 10*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.told == told {
			return errors.New("netobs does not say how many goroutines it has")
		}
		h["goroutines"] = w.routines
		return nil
	})
	return h
}

// wantHoldings waits until netobs holds what it held before.
func (w *watcher) wantHoldings(before map[string]int) {
	w.t.Helper()
	nettest.Eventually(w.t, 20*time.Second, func() error {
		if now := w.holdings(); !maps.Equal(now, before) {
			return fmt.Errorf("netobs holds %v, before %v", now, before)
		}
		return nil
	})
	w.t.Logf("netobs holds, as before: %v", before)
	// No thread of it is in a namespace that it entered.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/net", w.cmd.Process.Pid))
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil || len(tasks) == 0 {
		w.t.Fatalf("no threads of netobs, %v", err)
	}
	for _, task := range tasks {
		if in, err := os.Readlink(task); err == nil && in != own {
			w.t.Errorf("a thread is in %s, netobs in %s", in, own)
		}
	}
}

// noteObjects returns the open file descriptors by kind, and remembers the BPF objects among them.
func (w *watcher) noteObjects() map[string]int {
	dir := fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.t.Error(err)
	}
	kinds := make(map[string]int)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind, _, _ := strings.Cut(target, "[")
		kinds[kind]++
		if !strings.Contains(target, "bpf") {
			continue
		}
		info, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", w.cmd.Process.Pid, e.Name()))
		for line := range strings.Lines(string(info)) {
			// A link says also which program it attaches.
			if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[0], "_id:") {
				w.mu.Lock()
				w.objects[strings.TrimSuffix(f[0], "_id:")+" "+f[1]] = true
				w.mu.Unlock()
			}
		}
	}
	return kinds
}

// objectExists reports whether the kernel has a BPF object. It asks for the next number only: to open a map that is about to
// go may keep it for ever, as prog_array_map_clear in kernel/bpf/arraymap.c takes a reference each time the last file
// descriptor is closed, and gives back one if its work is still waiting.
func objectExists(t *testing.T, object string) bool {
	kind, number, _ := strings.Cut(object, " ")
	nextID, ok := map[string]uintptr{
		"prog": unix.BPF_PROG_GET_NEXT_ID,
		"map":  unix.BPF_MAP_GET_NEXT_ID,
		"link": unix.BPF_LINK_GET_NEXT_ID,
	}[kind]
	id, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return false // of something else, such as BTF
	}
	attr := struct{ start, next, flags uint32 }{start: uint32(id) - 1}
	_, _, errno := unix.Syscall(unix.SYS_BPF, nextID, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 && errno != unix.ENOENT {
		t.Errorf("%s: %v", object, errno)
	}
	return errno == 0 && attr.next == uint32(id)
}

// tallies returns what netobs printed of the counted ports.
func (w *watcher) tallies() map[tally]int {
	w.t.Helper()
	got := make(map[tally]int)
	for line := range strings.Lines(w.stdout.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var l struct{ Netns, Role, Outcome, Teardown, Responder string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		if _, port, _ := net.SplitHostPort(l.Responder); port == portCounted || port == portNobody {
			got[tally{l.Netns, l.Role, l.Outcome + l.Teardown}]++
		}
	}
	return got
}

// wantTallies waits until all that was counted is what was done, and nothing else.
func (w *watcher) wantTallies(want map[tally]int) {
	w.t.Helper()
	nettest.Eventually(w.t, 20*time.Second, func() error {
		got := w.tallies()
		if maps.Equal(got, want) {
			return nil
		}
		var wrong []string
		for _, all := range []map[tally]int{got, want} {
			for k := range all {
				if got[k] != want[k] {
					wrong = append(wrong, fmt.Sprintf("%v: %d, want %d", k, got[k], want[k]))
				}
			}
		}
		return errors.New(strings.Join(wrong, "\n"))
	})
}

// wantTotals holds the metrics against each other and against the lines. All namespaces but the hub have ended.
func (w *watcher) wantTotals(hub string) {
	w.t.Helper()
	lines := make(map[string]int)
	for line := range strings.Lines(w.stdout.String()) {
		var l struct{ Type, Netns, Role, Outcome string }
		if err := json.Unmarshal([]byte(line), &l); err == nil && l.Type == "handshake" {
			lines[l.Netns]++
		}
	}
	for netns := range lines {
		if netns != hub { // where one may wait for its peer, which is gone
			w.session.waitFor(0, "connections", label("netns", netns))
		}
	}
	m := w.session.scrape()
	for netns, n := range lines {
		if got := m.sum("handshakes_total", label("netns", netns)); got != float64(n) {
			w.t.Errorf("%s: handshakes_total is %v, %d lines", netns, got, n)
		}
	}
	if got := m.sum("attach_errors_total"); got != 0 {
		w.t.Errorf("attach_errors_total is %v, want 0", got)
	}
	checkIdentities(w.t, m)
}
