package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"netobs/bpf"
	"netobs/loader"
	"netobs/loader/nettest"
	"netobs/metrics"
)

// TestForgets: some time after its end there is no series of a namespace any more, nor of an interface, and all of the others.
// The summary is of all.
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
	p, err := newPipeline(l, discard{}, 0, metrics.Options{})
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
	stop := sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-followed, p.reader.Flush(), <-read); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		if err := errors.Join(p.close(), l.Close()); err != nil {
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
	stays.Bridge("br0")
	stays.Addr("br0", "10.9.0.1/24")
	stays.Neighbour("br0", "10.9.0.2", "02:00:00:00:00:02")
	nettest.Eventually(t, 20*time.Second, func() error {
		stays.Do(func() error {
			c, err := net.DialTimeout("tcp", "10.9.0.2:81", 10*time.Millisecond) // a SYN that nobody gets
			if err == nil {
				c.Close()
			}
			return nil
		})
		if now().sum("control_segments_seen_total", label("interface", "br0")) == 0 {
			return errors.New("no segment was counted at br0")
		}
		return nil
	})
	before, err := l.Total()
	if err != nil {
		t.Fatal(err)
	}
	stays.Remove("br0")
	goes.Delete()
	nettest.Eventually(t, 20*time.Second, func() error {
		for key := range now() {
			if strings.Contains(key, label("netns", goes.Name)) || strings.Contains(key, label("interface", "br0")) {
				return fmt.Errorf("%s is still told", key)
			}
		}
		return nil
	})
	for name, of := range map[string]string{"handshakes_total": label("outcome", "refused"), "observation_points": label("hook", "tcx")} {
		if n := now().sum(name, label("netns", stays.Name), of); n != 1 {
			t.Errorf("%s of the namespace that stays: %v, want 1", name, n)
		}
	}
	stop()
	var summary strings.Builder
	if err := printSummary(&summary, p, time.Second); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("segments     %d seen, %d of them control segments\n", before.Segments(), before.ControlSegmentsSeenTotal),
		"2 refused",
	} {
		if !strings.Contains(summary.String(), want) {
			t.Errorf("the summary lacks %q: %s", want, summary.String())
		}
	}
}
