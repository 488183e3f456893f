package loader

import (
	"fmt"
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

func TestPathThatMeansAnotherNamespace(t *testing.T) {
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	ns := mustFind(t, a.Name)
	ns.Path = "/run/netns/" + b.Name
	err := ns.Do(func() error { return nil })
	if err == nil || !strings.Contains(err.Error(), "means another namespace now") {
		t.Errorf("error %v, want that the path means another namespace", err)
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
