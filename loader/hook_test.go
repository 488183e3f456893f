package loader

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader/nettest"
)

func TestLadders(t *testing.T) {
	in, out := decode.Ingress, decode.Egress
	for _, tc := range []struct {
		kind  string
		hooks []string
		want  [][]place
	}{
		{KindVeth, nil, [][]place{{{HookTCX, in}, {HookTC, in}}, {{HookTCX, out}, {HookTC, out}}}},
		{KindVeth, []string{HookAuto}, [][]place{{{HookTCX, in}, {HookTC, in}}, {{HookTCX, out}, {HookTC, out}}}},
		{KindVeth, []string{HookTCX}, [][]place{{{HookTCX, in}}, {{HookTCX, out}}}},
		{KindVeth, []string{HookTC}, [][]place{{{HookTC, in}}, {{HookTC, out}}}},
		{KindVeth, []string{HookXDP}, [][]place{{{HookXDP, in}}, {{HookTCX, out}, {HookTC, out}}}},
		{KindVeth, []string{HookXDP, HookTC}, [][]place{{{HookXDP, in}, {HookTC, in}}, {{HookTC, out}}}},
		{KindVeth, []string{HookXDP, HookAuto},
			[][]place{{{HookXDP, in}, {HookTCX, in}, {HookTC, in}}, {{HookTCX, out}, {HookTC, out}}}},
		{KindLoopback, nil, [][]place{{{HookTCX, out}, {HookTC, out}}}},
		{KindLoopback, []string{HookXDP}, [][]place{{{HookXDP, in}}}},
		{KindLoopback, []string{HookXDP, HookAuto}, [][]place{{{HookXDP, in}, {HookTCX, out}, {HookTC, out}}}},
	} {
		t.Run(fmt.Sprint(tc.kind, tc.hooks), func(t *testing.T) {
			i := iface{kind: tc.kind}
			if got := i.ladders(tc.hooks); !slices.EqualFunc(got, tc.want, slices.Equal) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
	if _, err := New(Options{Netns: make([]Netns, 1), Hooks: []string{"kprobe"}}); err == nil {
		t.Error("an unknown hook is no error")
	}
}

// followed watches, and looks for others often.
func followed(t *testing.T, opts Options, watched ...*nettest.NS) *Loader {
	t.Helper()
	l := attached(t, opts, watched...)
	l.companyEvery = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestNoticesWhoComes before it while it follows, once, and does not mind another netobs.
func TestNoticesWhoComes(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	var log lines
	l := followed(t, Options{Log: log.logger()}, a)
	attached(t, Options{}, a)
	came := nettest.NewForeign(t, ebpf.SchedCLS, nettest.TCPass)
	came.TCX(a, "lo", true, link.Head())
	nettest.Eventually(t, 10*time.Second, func() error {
		if log.count("somebody is attached before netobs") == 0 {
			return errors.New("nobody noticed")
		}
		return nil
	})
	// A bridge is watched after some more looks.
	for n := range 3 {
		name := fmt.Sprintf("br%d", n)
		a.Bridge(name)
		waitFor(t, l, a, name, true)
	}
	log.want(t, "somebody is attached before netobs", "netns="+a.Name, "interface=lo", "direction=egress", "hook=tcx",
		`first="BPF program foreign (id `)
	log.none(t, "level=ERROR")
}

// TestAttachesAgainWhileFollowing what somebody removed.
func TestAttachesAgainWhileFollowing(t *testing.T) {
	t.Parallel()
	a := nettest.New(t, "a")
	a.Bridge("br0")
	l := followed(t, Options{Hooks: []string{HookTC}}, a)
	waitFor(t, l, a, "br0", true)
	a.RemoveClsact("br0")
	nettest.Eventually(t, 10*time.Second, func() error {
		if got := a.Filters("br0"); len(got) != 2 {
			return fmt.Errorf("filters %q, want both again", got)
		}
		return nil
	})
}

// hasXDP reports whether an XDP program is attached to an interface.
func hasXDP(t *testing.T, ns *nettest.NS, name string) (has bool) {
	t.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err == nil && l.Attrs().Xdp != nil {
			has = l.Attrs().Xdp.Attached
		}
		return err
	})
	return has
}

// TestMovesAtEachHook: an interface that moves takes nothing of netobs along to where it is not watched.
func TestMovesAtEachHook(t *testing.T) {
	t.Parallel()
	for _, hook := range []string{HookTC, HookXDP} {
		t.Run(hook, func(t *testing.T) {
			t.Parallel()
			a, b, c := nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "c")
			nettest.Veth(a, "eth0", b, "peer")
			l := followed(t, Options{Hooks: []string{hook}}, a, b)
			waitFor(t, l, a, "eth0", true)
			a.Move("eth0", b)
			waitFor(t, l, b, "eth0", true)
			if got := hookOf(l, b, "eth0"); got != hook {
				t.Errorf("hook %s, want %s", got, hook)
			}
			b.Move("eth0", c)
			waitFor(t, l, b, "eth0", false)
			nettest.Eventually(t, 10*time.Second, func() error {
				if filters, xdp := c.Filters("eth0"), hasXDP(t, c, "eth0"); len(filters) > 0 || xdp || c.HasClsact("eth0") {
					return fmt.Errorf("filters %q, XDP %v came along", filters, xdp)
				}
				return nil
			})
			// And no longer is anything kept open in a namespace.
			b.Delete()
			nettest.Eventually(t, 10*time.Second, func() error {
				if c.Has("eth0") { // its peer is in b
					return errors.New("the namespace does not end")
				}
				return nil
			})
		})
	}
}

// hookOf returns the hook of the first point of an interface, or "" if there is none.
func hookOf(l *Loader, ns *nettest.NS, name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.namespaces {
		for _, i := range n.links {
			if n.Name == ns.Name && i.name == name && len(i.points) > 0 {
				return i.points[0].hook
			}
		}
	}
	return ""
}

// TestAddressChangesAtXDP, where the program compares it with that of each packet.
func TestAddressChangesAtXDP(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.9.0.1/24")
	b.Addr("eth0", "10.9.0.2/24")
	l := followed(t, Options{Hooks: []string{HookXDP}}, b)
	b.Do(func() error {
		i, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(i, net.HardwareAddr{2, 0, 0, 9, 9, 9})
	})
	b.Bridge("last") // once it is watched, the change was heard
	waitFor(t, l, b, "last", true)
	b.Serve("10.9.0.2:80", func(c *nettest.Conn) { c.Close() })
	c, err := a.Dial("10.9.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	nettest.Eventually(t, 5*time.Second, func() error {
		if got := counted(t, l, "eth0", decode.Ingress); got < 2 {
			return fmt.Errorf("%d segments at ingress, want 2 at least", got)
		}
		return nil
	})
	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for i := range stats.Points {
		for reason, n := range stats.Points[i].UnparsedPacketsTotal {
			if n > 0 && bpf.UnparsedReasons[reason] == "not_for_us" {
				t.Errorf("%d packets of %s taken for somebody else's", n, stats.Points[i].Interface)
			}
		}
	}
}

// TestKinds: the kernel has one word for tun and tap.
func TestKinds(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Tun(a, "tun0", b, "tun0")
	a.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tap0"
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TAP})
	})
	l := attached(t, Options{Select: Selection{Kinds: []string{kindTun}}}, a)
	got := make(map[string]Interface)
	for _, i := range l.Interfaces() {
		got[i.Name] = i
	}
	if i := got["tun0"]; i.Kind != kindTun || !i.Watched {
		t.Errorf("%+v, want a tun that is watched", i)
	}
	if i := got["tap0"]; i.Kind != kindTap || i.Watched {
		t.Errorf("%+v, want a tap that is not watched", i)
	}
}
