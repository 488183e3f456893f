package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"netobs/loader/nettest"
)

func TestFindNetns(t *testing.T) {
	ns := nettest.New(t, "find")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, arg string
		pid       int
		want, err string // name, or part of the error
	}{
		{name: "name", arg: ns.Name, want: ns.Name},
		{name: "host", arg: "host", want: "host"},
		{name: "path gets its name", arg: "/run/netns/" + ns.Name, want: ns.Name},
		{name: "path of the host", arg: "/proc/self/ns/net", want: "host"},
		{name: "pid of the host", pid: os.Getpid(), want: "host"},
		{name: "near name", arg: ns.Name + "x", err: "did you mean " + ns.Name + "?"},
		{name: "unknown name", arg: "nothing-like-this", err: "no network namespace \"nothing-like-this\" under /run/netns; there"},
		{name: "no namespace", arg: file, err: file + " is no network namespace: give a name"},
		{name: "other namespace", arg: "/proc/self/ns/mnt", err: "is no network namespace"},
		{name: "missing path", arg: "/proc/self/nothing", err: "no such file"},
		{name: "empty", arg: "", err: "empty"},
		{name: "ended process", pid: ended.Process.Pid, err: fmt.Sprintf("no process with pid %d", ended.Process.Pid)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := FindNetns(tc.arg)
			if tc.pid != 0 {
				got, err = FindPid(tc.pid)
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want one with %q", err, tc.err)
				}
				return
			}
			if err != nil || got.Name != tc.want {
				t.Errorf("%q, %v, want %q", got.Name, err, tc.want)
			}
		})
	}
}

// TestPathThatMeansAnotherNamespace: what was found is looked for elsewhere, and nothing else is taken for it.
func TestPathThatMeansAnotherNamespace(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	ns := mustFind(t, a.Name)
	ns.Path = "/run/netns/" + b.Name
	if err := ns.Do(func() error { return nil }); err != nil || ns.Path != "/run/netns/"+a.Name {
		t.Errorf("path %s, error %v, want that of %s", ns.Path, err, a.Name)
	}
	ns.Path = "/run/netns/" + b.Name
	a.Delete()
	err := ns.Do(func() error { return nil })
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "means another namespace now") {
		t.Errorf("error %v, want that the path means another namespace", err)
	}
}

// TestProcessEnds: a namespace found by a process is known by its name, which lasts longer.
func TestProcessEnds(t *testing.T) {
	a := nettest.New(t, "a")
	process := exec.Command("sleep", "60")
	a.Do(process.Start)
	ns, err := FindPid(process.Process.Pid)
	process.Process.Kill()
	process.Wait()
	if err != nil || ns.Name != a.Name {
		t.Fatalf("namespace %q, %v, want %s", ns.Name, err, a.Name)
	}
	if err := ns.Do(func() error { return nil }); err != nil {
		t.Errorf("after the process ended: %v", err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"eth0": "eth0", "veth→a": "veth→a", "a\"b": "a\"b", "\x1b[31mX\a": `\x1b[31mX\a`, "\xff": `\xff`} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"test", "test", 0}, {"tset", "test", 2}, {"tst", "test", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
