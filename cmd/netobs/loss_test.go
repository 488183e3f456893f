package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
	"netobs/metrics"
)

// TestLossIsNoSilence: every connection completes, but the ring is full before anybody reads. Netobs must not say that
// somebody was silent.
func TestLossIsNoSilence(t *testing.T) {
	ns := nettest.New(t, "loss")
	ns.Up("lo")
	found, err := loader.FindNetns(ns.Name)
	if err != nil {
		t.Fatal(err)
	}
	l, err := loader.New(loader.Options{Netns: []loader.Netns{found}, BPF: bpf.Options{RingBytes: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := newPipeline(l, discard{}, 0, metrics.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	// The last tick must be before the SYNs, to see that the loss is not taken to end there.
	nettest.Eventually(t, 10*time.Second, func() error {
		if p.reader.Now() > time.Now().Add(-2*loader.DefaultLatency).UnixNano() {
			return errors.New("too early")
		}
		return nil
	})
	// SYN and SYN-ACK take 120 bytes, an ACK 80: of the thirteenth handshake the ACK does not fit.
	ns.Listen("127.0.0.1:80")
	for range 20 {
		c, err := ns.Dial("127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}

	read := make(chan error, 1)
	go func() { read <- p.run() }()
	nettest.Eventually(t, 30*time.Second, func() error {
		exposition, err := scrape(p.metrics)
		if err != nil {
			return err
		}
		if n := parseSamples(t, exposition).sum("handshakes_total"); n < 13 {
			return fmt.Errorf("%v verdicts, none yet on the handshake that was cut off", n)
		}
		return nil
	})
	p.reader.Flush()
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if n := p.outcomes[decode.OutcomeUnanswered] + p.outcomes[decode.OutcomeHalfOpen]; n > 0 {
		t.Errorf("%d verdicts by silence although events were lost: %v", n, p.outcomes)
	}
	if p.outcomes[decode.OutcomeUnknown] == 0 {
		t.Errorf("no outcome unknown although events were lost: %v", p.outcomes)
	}
}

// TestBlockedOutput: who reads the output does not; netobs ends all the same, and says so.
func TestBlockedOutput(t *testing.T) {
	ns := nettest.New(t, "blocked")
	ns.Up("lo")
	taken, stdout := io.Pipe()
	defer taken.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"attach", "--netns", ns.Name, "--listen", ""}, stdout, &stderr)
	}()
	nettest.Eventually(t, 10*time.Second, func() error {
		if ns.Attached("lo") != 1 {
			return fmt.Errorf("not yet attached")
		}
		return nil
	})
	ns.Dial("127.0.0.1:81") // refused: a line to print
	if _, err := taken.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if got := <-code; got != 1 || !strings.Contains(stderr.String(), "does not take it") {
		t.Errorf("code %d, want 1 and the cause; stderr: %s", got, stderr.String())
	}
	if got := ns.Attached("lo"); got != 0 {
		t.Errorf("%d programs left", got)
	}
}
