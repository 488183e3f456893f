package main

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// without takes a capability away from the thread, and from what it starts.
func without(capability uintptr) error { return unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0) }

// TestNoNamespaces: files that have names of namespaces and are none are named, each once, and counted; all others are
// watched.
func TestNoNamespaces(t *testing.T) {
	t.Parallel()
	prefix := fmt.Sprintf("stray%dx", os.Getpid())
	good := nettest.New(t, prefix)
	path := func(name string) string {
		path := "/run/netns/" + prefix + name
		t.Cleanup(func() {
			unix.Unmount(path, unix.MNT_DETACH)
			os.Remove(path)
		})
		return path
	}
	plain, link, other, later := path("plain"), path("link"), path("other"), path("later")
	for _, file := range []string{plain, other} {
		if err := os.WriteFile(file, nil, 0o000); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/proc/4194305/ns/net", link); err != nil { // no process has such an id
		t.Fatal(err)
	}
	if err := unix.Mount("/proc/self/ns/uts", other, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	w := startWatcher(t, prefix)
	w.waitReady(good.Name + "/lo")
	w.wantComplaint("no network namespace", "netns="+prefix+"plain ", "path="+plain)
	w.wantComplaint("no network namespace", "netns="+prefix+"link ", "path="+link)
	w.wantComplaint("not watched", "netns="+prefix+"other ", "a namespace of another kind", "remove it")
	if err := os.WriteFile(later, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.wantComplaint("no network namespace", "path="+later)
	for name, reason := range map[string]string{"plain": "no_namespace", "link": "no_namespace", "later": "no_namespace", "other": "enter"} {
		w.session.waitFor(1, "attach_errors_total", label("netns", prefix+name), label("reason", reason))
	}
	w.session.waitFor(4, "attach_errors_total")
	after := nettest.New(t, prefix)
	w.waitReady(after.Name + "/lo")
}

// TestHiddenProcesses: where /proc hides processes of others, namespaces with names are watched, and it is said what may be
// missing.
func TestHiddenProcesses(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	prefix := fmt.Sprintf("hidden%dx", os.Getpid())
	ns := nettest.New(t, prefix)
	w := startWatcherIn(t, prefix, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return err
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, "hidepid=2,gid=65534"); err != nil {
			return err
		}
		return without(unix.CAP_SYS_PTRACE) // which sees what is hidden, as does group gid
	})
	w.waitReady(ns.Name + "/lo")
	w.wantComplaint("/proc shows only our own processes", "hidepid=0")
	w.session.waitFor(1, "attach_errors_total", label("netns", "unknown"), label("reason", "hidden"))
	later := nettest.New(t, prefix)
	w.waitReady(later.Name + "/lo")
	later.Delete()
	w.session.waitFor(1, "observation_points")
}

// TestMayNotEnter: namespaces that may not be entered are named, with what it takes, and counted, those to come too.
func TestMayNotEnter(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	prefix := fmt.Sprintf("enter%dx", os.Getpid())
	ns := nettest.New(t, prefix)
	w := startWatcherIn(t, prefix, func() error { return without(unix.CAP_SYS_ADMIN) })
	later := nettest.New(t, prefix)
	for _, ns := range []*nettest.NS{ns, later} {
		w.wantComplaint("network namespace not watched", "netns="+ns.Name+" ", "CAP_SYS_ADMIN")
		w.session.waitFor(1, "attach_errors_total", label("netns", ns.Name), label("reason", "enter"))
	}
	w.session.waitFor(0, "observation_points")
}
