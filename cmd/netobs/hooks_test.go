package main

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"netobs/loader/nettest"
)

// smallLoad is for what differs in the kernel alone.
func smallLoad() load {
	return load{clients: 2, each: 100, refused: 5, reset: 5, serverFirst: 5, halfClosed: 5}
}

// points is how many points there are at each hook.
type points map[string]float64

func (p points) check(t *testing.T, s *session) {
	t.Helper()
	m := s.scrape()
	for _, hook := range []string{"tcx", "tc", "xdp"} {
		if got := m.sum("observation_points", label("hook", hook)); got != p[hook] {
			t.Errorf("%v points at %s, want %v", got, hook, p[hook])
		}
	}
}

// TestEachHookIsExact: roles, verdicts and counts do not depend on the hook.
func TestEachHookIsExact(t *testing.T) {
	for _, tc := range []struct {
		hook             string
		lo, ends, middle points
	}{
		{"tcx", points{"tcx": 1}, points{"tcx": 6}, points{"tcx": 7}},
		{"tc", points{"tc": 1}, points{"tc": 6}, points{"tc": 7}},
		{"xdp", points{"xdp": 1}, points{"xdp": 4, "tcx": 2}, points{"xdp": 4, "tcx": 3}},
		{"xdp,tc", points{"xdp": 1}, points{"xdp": 4, "tc": 2}, points{"xdp": 4, "tc": 3}},
	} {
		t.Run(tc.hook, func(t *testing.T) {
			t.Parallel()
			for _, ip := range []string{"127.0.0.1", "::1"} {
				ns := nettest.New(t, "lo")
				ns.Up("lo")
				s := startAttach(t, "--netns", ns.Name, "--output", "none", "--hook", tc.hook)
				tc.lo.check(t, s)
				l := smallLoad()
				l.run(t, ns, ns, ip)
				l.check(t, s, ns.Name, "local")
				s.end()
			}
			for _, ip := range []string{"10.9.0.2", "fd09::2"} {
				a, b, h := topology(t)
				ends := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "none", "--hook", tc.hook)
				middle := startAttach(t, "--netns", h.Name, "--output", "none", "--hook", tc.hook)
				tc.ends.check(t, ends)
				tc.middle.check(t, middle)
				l := smallLoad()
				l.run(t, a, b, ip)
				l.check(t, ends, a.Name, "originator")
				l.check(t, ends, b.Name, "responder")
				l.check(t, middle, h.Name, "forwarded")
				ends.end()
				middle.end()
			}
		})
	}
}

// TestWhichHookIsSaid in the log, with the mode of XDP.
func TestWhichHookIsSaid(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	s := startAttach(t, "--netns", a.Name, "--hook", "xdp", "--log-level", "info")
	log := s.end()
	for _, want := range []string{
		`interface=lo kind=loopback ingress="xdp generic"`,
		`interface=eth0 kind=veth ingress="xdp driver" egress=tcx`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
}

// TestXDPTaken: who asked for XDP alone is told where it could not be, and who left the choice gets the next hook.
func TestXDPTaken(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	nettest.NewForeign(t, ebpf.XDP, nettest.XDPPass).XDP(a, "eth0", link.XDPGenericMode)
	alone := startAttach(t, "--netns", a.Name, "--hook", "xdp")
	alone.waitFor(1, "observation_points") // of lo
	alone.waitFor(1, "attach_errors_total", label("netns", a.Name))
	stderr := alone.end()
	for _, want := range []string{
		"could not be watched in " + a.Name + ": eth0;",
		"attach xdp ingress to eth0 in " + a.Name,
		"--hook xdp,auto",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	choice := startAttach(t, "--netns", a.Name, "--hook", "xdp,auto")
	points{"xdp": 1, "tcx": 2}.check(t, choice)
}

// TestFastAttach leaves the kernel as it was.
func TestFastAttach(t *testing.T) {
	ns := nettest.New(t, "a")
	ns.Up("lo")
	s := startAttach(t, "--netns", ns.Name, "--fast-attach", "--output", "none")
	l := load{clients: 1, each: 10}
	l.run(t, ns, ns, "127.0.0.1")
	l.check(t, s, ns.Name, "local")
	s.end()
	if code, stdout, stderr := runHere(t, "detach", "--netns", ns.Name); code != 0 || stdout != "nothing was left behind\n" {
		t.Errorf("detach: code %d, %q, %s", code, stdout, stderr)
	}
}
