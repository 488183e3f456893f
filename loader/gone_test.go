package loader

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// TestDoubtfulEnd: a namespace of which nobody can tell whether it ended is kept, and let go of when somebody can. Not beside
// other tests: meanwhile no file can be opened.
func TestDoubtfulEnd(t *testing.T) {
	a := nettest.New(t, "a")
	var log lines
	l := attached(t, Options{Log: log.logger()}, a)
	ns := l.namespaces[0]
	told := linkEvent{nsid: ns.nsid, gone: true}
	for _, more := range []int{0, 1} { // the namespace cannot be opened; a socket cannot
		withFiles(t, more, func() { l.handle(told) })
		if n := log.count("cannot tell whether a network namespace has ended", "too many open files"); n != more+1 || len(l.namespaces) != 1 {
			t.Errorf("%d namespaces are watched, want 1; said %d times that it cannot be told, want %d", len(l.namespaces), n, more+1)
		}
	}
	withFiles(t, 1, func() { l.relistOrLetGo(ns) })
	log.want(t, "cannot list interfaces again")
	if n := l.errors[AttachError{a.Name, "enter"}]; n != 1 || len(l.namespaces) != 1 {
		t.Errorf("%d namespaces are watched, want 1; %d errors, want 1", len(l.namespaces), n)
	}
	l.handle(told) // of a former one with the same number
	l.checkCompany()
	if len(l.namespaces) != 1 {
		t.Error("a namespace that is there was let go")
	}
	a.Delete()
	withFiles(t, 0, func() { l.handle(told) }) // where only a missing name could be told
	l.checkCompany()
	if len(l.namespaces) != 0 {
		t.Error("a namespace that has ended is still watched")
	}
}

// withFiles calls f while only so many more files can be opened.
func withFiles(t *testing.T, more int, f func()) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	lowest := null.Fd()
	null.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = uint64(lowest) + uint64(more)
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Errorf("restore the limit of open files: %v", err)
		}
	}()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	f()
}
