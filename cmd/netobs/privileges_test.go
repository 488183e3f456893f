package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

func asStarted() error { return nil }

// wantCapabilities checks that all threads of a process have exactly these capabilities, that what they would start can have no
// others, and that this cannot change.
func wantCapabilities(t *testing.T, pid int, capabilities ...int) {
	t.Helper()
	var want uint64
	for _, c := range capabilities {
		want |= 1 << c
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d threads, %v", len(files), err)
	}
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		set := make(map[string]uint64)
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if strings.HasPrefix(name, "Cap") || name == "NoNewPrivs" {
				if set[name], err = strconv.ParseUint(value, 16, 64); err != nil {
					t.Fatal(err)
				}
			}
		}
		if set["CapPrm"] != want || set["CapEff"] != want || set["CapBnd"] != want || set["CapInh"] != 0 || set["CapAmb"] != 0 ||
			set["NoNewPrivs"] != 1 || len(set) != 6 {
			t.Errorf("%s: %x, want %x", file, set, want)
		}
	}
}

// TestPrivileges: netobs keeps what it takes to follow, and follows with that.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	// Only its own: one that watches all must not be at what the others made.
	all := fmt.Sprintf("privall%dx", os.Getpid())
	follows := []int{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN}
	asksProcesses := append([]int{unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH}, follows...)
	for _, tt := range []struct {
		name string
		args func(ns *nettest.NS) []string
		keep []int
	}{
		{"fixed", func(ns *nettest.NS) []string { return []string{"--netns", ns.Name, "--output", "none"} }, follows},
		{"with processes", func(ns *nettest.NS) []string { return []string{"--netns", ns.Name} }, asksProcesses},
		{"all", func(*nettest.NS) []string {
			return append([]string{"--all", "--output", "none"}, excludeAllBut(all)...)
		},
			append([]int{unix.CAP_DAC_OVERRIDE}, asksProcesses...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			prefix := "priv"
			if tt.name == "all" {
				prefix = all
			}
			a, b := nettest.New(t, prefix), nettest.New(t, "other")
			a.Up("lo")
			w := startProcess(t, asStarted, tt.args(a)...)
			w.waitReady(a.Name + "/lo")
			wantCapabilities(t, w.cmd.Process.Pid, tt.keep...)
			nettest.Veth(a, "eth0", b, "eth0")
			a.Addr("eth0", "10.9.0.1/24")
			b.Addr("eth0", "10.9.0.2/24")
			w.waitReady(a.Name + "/eth0")
			client, _ := b.Connect(a.Listen("10.9.0.1:80"))
			w.session.waitFor(1, "handshakes_total", label("netns", a.Name), label("outcome", "completed"))
			client.Close()
			wantCapabilities(t, w.cmd.Process.Pid, tt.keep...)
			w.end()
			if n := a.Attached("eth0"); n != 0 {
				t.Errorf("%d programs are left", n)
			}
		})
	}
}

// TestDropPrivileges: a fixed set of interfaces can be watched without any privileges, to the end.
func TestDropPrivileges(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	a, b := twoOnVeth(t)
	w := startProcess(t, asStarted, "--netns", a.Name, "--drop-privileges", "--output", "json")
	w.waitReady(a.Name+"/lo", a.Name+"/eth0")
	wantCapabilities(t, w.cmd.Process.Pid)
	server := a.Listen("10.9.0.1:80")
	for range 5 {
		client, accepted := b.Connect(server)
		client.Close()
		accepted.Close()
	}
	w.session.waitFor(5, "handshakes_total", label("netns", a.Name), label("outcome", "completed"))
	if now := w.session.scrape(); now.sum("segments_total", label("interface", "eth0")) < 5*6 {
		t.Errorf("segments are not counted: %v", now)
	}
	nettest.Veth(a, "late", b, "late")
	w.wantComplaint("interface not watched", "netns="+a.Name+" ", "interface=late", "privileges")
	w.session.waitFor(1, "attach_errors_total", label("reason", "no_privileges"))
	b.Remove("eth0")
	w.session.waitFor(1, "observation_points") // lo
	wantCapabilities(t, w.cmd.Process.Pid)
	w.end()
	if n := a.Attached("lo"); n != 0 {
		t.Errorf("%d programs are left", n)
	}
}

// TestCannotDropPrivileges: where privileges are needed to the end, that is said, and nothing is left behind.
func TestCannotDropPrivileges(t *testing.T) {
	nettest.NeedPrivileges(t)
	ns := nettest.New(t, "tc")
	checkRefused(t, exitFailed, []string{"lo in " + ns.Name, "CAP_NET_ADMIN", "leave --drop-privileges out", "--hook tcx"},
		"attach", "--netns", ns.Name, "--hook", "tc", "--drop-privileges", "--listen", "")
	if n := ns.Attached("lo"); n != 0 {
		t.Errorf("%d programs are left", n)
	}
	for _, what := range []string{"--all", "--container=web"} {
		checkRefused(t, exitUsage, []string{"--drop-privileges goes with --netns"}, "attach", what, "--drop-privileges")
	}
}

// TestFewCapabilities: netobs works with those that the README names, and none else, from the start.
func TestFewCapabilities(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	ns := nettest.New(t, "few")
	needed := []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_BROADCAST}
	w := startProcess(t, func() error { return only(needed...) }, "--netns", ns.Name)
	w.waitReady(ns.Name + "/lo")
	nettest.Eventually(t, 10*time.Second, func() error {
		status, err := exec.Command("grep", "CapEff", fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid)).Output()
		if err == nil && !strings.HasSuffix(strings.TrimSpace(string(status)), "201000") {
			err = fmt.Errorf("netobs has %s", status)
		}
		return err
	})
}

// only takes all other capabilities away from the thread, and from what it starts.
func only(keep ...uintptr) error {
	for c := range uintptr(64) {
		kept := false
		for _, k := range keep {
			kept = kept || k == c
		}
		if on, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err == nil && on == 1 && !kept {
			if err := without(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestUnreadableWebConfig: a file that netobs could read as root, and cannot any more, is named before it is needed.
func TestUnreadableWebConfig(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	ns := nettest.New(t, "config")
	file := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(file, []byte("basic_auth_users: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "attach", "--netns", ns.Name, "--output", "none", "--listen", "127.0.0.1:0", "--web.config.file", file)
	cmd.Env = append(os.Environ(), asNetobs+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), file) || !strings.Contains(string(out), "read the files of others") {
		t.Errorf("%v: %s", err, out)
	}
	if n := ns.Attached("lo"); n != 0 {
		t.Errorf("%d programs are left", n)
	}
}
