package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"netobs/bpf"
	"netobs/loader"
	"netobs/loader/nettest"
)

// TestForgets: some time after its end there is no series of a namespace any more, and all of the others.
func TestForgets(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	prefix := fmt.Sprintf("forget%dx", os.Getpid())
	stays, goes := nettest.New(t, prefix), nettest.New(t, prefix)
	l, err := loader.New(loader.Options{
		Dynamic: loader.Dynamic{All: true, Exclude: allBut(prefix)},
		Keep:    time.Second,
		BPF:     bpf.Options{RingBytes: 1 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPipeline(l, discard{}, 0)
	if err != nil {
		t.Fatal(errors.Join(err, l.Close()))
	}
	read, followed := make(chan error, 1), make(chan error, 1)
	go func() { read <- p.run() }()
	ctx, cancel := context.WithCancel(context.Background())
	if err := l.Attach(ctx); err != nil {
		t.Error(err)
	}
	go func() { followed <- l.Follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-followed, p.reader.Flush(), <-read, p.close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	now := func() samples {
		exposition, err := scrape(p.metrics)
		if err != nil {
			t.Fatal(err)
		}
		return parseSamples(t, exposition)
	}
	for _, ns := range []*nettest.NS{stays, goes} {
		ns.Up("lo")
		if _, err := ns.Dial("127.0.0.1:81"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		if n := now().sum("handshakes_total"); n != 2 {
			return fmt.Errorf("%v handshakes, want 2", n)
		}
		return nil
	})
	goes.Delete()
	nettest.Eventually(t, 20*time.Second, func() error {
		for key := range now() {
			if strings.Contains(key, label("netns", goes.Name)) {
				return fmt.Errorf("%s is still told", key)
			}
		}
		return nil
	})
	for _, name := range []string{"handshakes_total", "observation_points"} {
		if n := now().sum(name, label("netns", stays.Name)); n != 1 {
			t.Errorf("%s of the namespace that stays: %v, want 1", name, n)
		}
	}
}
