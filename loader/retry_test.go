package loader

import (
	"errors"
	"io"
	"testing"

	"github.com/cilium/ebpf/link"

	"netobs/loader/nettest"
)

// TestRetriesAreToldOnce: netobs tries again with each event of an interface that cannot be watched. Each attempt counts, and
// the first of each kind is logged.
func TestRetriesAreToldOnce(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	var log lines
	l := attached(t, Options{Log: log.logger(), Select: Selection{Names: []string{"br0"}}}, a)
	ns := l.namespaces[0]
	br0 := a.Index("br0")
	event := func() {
		t.Helper()
		a.Do(func() error {
			links, _, err := list()
			for _, link := range links {
				l.handle(linkEvent{nsid: ns.nsid, link: link})
			}
			return err
		})
		for len(l.pending) > 0 {
			if err := l.attachNext(); err != nil {
				t.Fatal(err)
			}
		}
	}
	attachTCX := l.attachTCX
	fails := func(link.TCXOptions) (io.Closer, error) { return nil, errors.New("no way") }
	for range 2 { // it begins again after success
		l.attachTCX = fails
		l.detachIface(ns, ns.links[br0])
		for range 3 {
			event()
		}
		l.attachTCX = attachTCX
		event()
	}
	if n := log.count("interface not watched", "no way"); n != 2 {
		t.Errorf("logged %d times, want 2:\n%s", n, &log)
	}
	if n := l.errors[AttachError{a.Name, "attach"}]; n != 6 {
		t.Errorf("counted %d times, want 6", n)
	}
	// Another reason is told.
	l.attachTCX = fails
	l.detachIface(ns, ns.links[br0])
	event()
	for range 3 {
		ns.links[br0].header = headerOther
		l.want(ns, ns.links[br0])
		if err := l.attachNext(); err != nil {
			t.Fatal(err)
		}
	}
	log.want(t, "interface not watched", "neither with an Ethernet header nor with IP")
}
