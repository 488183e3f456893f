package loader

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"

	"netobs/loader/nettest"
)

// watchedLink tells when it is closed.
type watchedLink struct {
	link.Link
	closing func()
}

func (w watchedLink) Close() error {
	w.closing()
	return w.Link.Close()
}

// TestHurries where it is asked to, or must, and no longer.
func TestHurries(t *testing.T) {
	for _, tc := range []struct {
		name              string
		bridges           int
		fast              bool
		attaching, closed bool // must hurry
	}{
		{name: "few", bridges: 1},
		{name: "few, fast", bridges: 1, fast: true, attaching: true},
		{name: "many", bridges: hurryAbove/2 + 1, fast: true, attaching: true, closed: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := nettest.New(t, "a")
			for n := range tc.bridges {
				a.Bridge(fmt.Sprintf("br%d", n))
			}
			l, err := New(Options{FastAttach: tc.fast, Netns: []Netns{mustFind(t, a.Name)}})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			own, err := l.owner()
			if err != nil {
				t.Fatal(err)
			}
			id, err := own.id()
			if err != nil {
				t.Fatal(err)
			}
			hurries := func(when string, want bool) {
				t.Helper()
				now, err := readSetting(rcuExpedited)
				if err != nil {
					t.Fatal(err)
				}
				by, netobs := hurriedBy(now)
				if got := netobs && (by == id || want); got != want { // another test may have taken over
					t.Errorf("%s: hurries %v, want %v", when, got, want)
				}
			}
			links := 0
			l.attachTCX = func(opts link.TCXOptions) (io.Closer, error) {
				links++
				hurries("attaching", tc.attaching)
				at, err := link.AttachTCX(opts)
				return watchedLink{at, func() { hurries("closing", tc.closed) }}, err
			}
			if err := l.Attach(t.Context()); err != nil {
				t.Fatal(err)
			}
			if links != 1+2*tc.bridges {
				t.Errorf("%d links, want one of lo and 2 of each of %d bridges", links, tc.bridges)
			}
			hurries("attached", false)
			if err := l.detachAll(); err != nil {
				t.Fatal(err)
			}
			hurries("detached", false)
		})
	}
}

// TestPacer: freeing is spread over time.
func TestPacer(t *testing.T) {
	var p pacer
	start := time.Now()
	for range 3*freedAtOnce + 1 {
		if err := p.close(nil); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 3*freedEvery {
		t.Errorf("%d programs were freed in %s, want no more than %d in %s", 3*freedAtOnce+1, took, freedAtOnce, freedEvery)
	}
}

// TestCannotHurry: where the setting cannot be written all works without, and that is said once, not for each interface.
func TestCannotHurry(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	var log lines
	l := attached(t, Options{FastAttach: true, Log: log.logger()}, a)
	l.setting = filepath.Join(t.TempDir(), "none", "setting")
	called := 0
	for range 3 {
		if err := l.hurryIf(true, func() error { called++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if called != 3 {
		t.Errorf("called %d times, want 3", called)
	}
	log.want(t, "the kernel cannot be told to hurry")
}
