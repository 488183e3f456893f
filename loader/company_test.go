package loader

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"netobs/decode"
	"netobs/loader/nettest"
)

// company is somebody else on the way that netobs watches: at ingress of va, or in the firewall behind it.
type company struct {
	name string
	// arrive attaches it; the program, if it is one, must then see all frames.
	arrive func(t *testing.T, h *nettest.NS) *nettest.Foreign
	late   bool // comes after netobs
	drops  bool // frames to port 81
	// Where it is attached. The first two end the chain there, so that what stands behind sees nothing.
	tcx, tc, xdp bool
	next         bool // at TCX, but it lets others go on
	head         bool // it goes before whoever is there
}

const droppedPort = 81

func companies() []company {
	at := func(verdict nettest.Verdict, attach func(f *nettest.Foreign, h *nettest.NS)) func(*testing.T, *nettest.NS) *nettest.Foreign {
		return func(t *testing.T, h *nettest.NS) *nettest.Foreign {
			f := nettest.NewForeign(t, ebpf.SchedCLS, verdict)
			attach(f, h)
			return f
		}
	}
	tcx := func(f *nettest.Foreign, h *nettest.NS) { f.TCX(h, "va", false, nil) }
	tcxHead := func(f *nettest.Foreign, h *nettest.NS) { f.TCX(h, "va", false, link.Head()) }
	tc := func(f *nettest.Foreign, h *nettest.NS) { f.TC(h, "va", false, 1, 1) }
	xdp := func(mode link.XDPAttachFlags) func(*testing.T, *nettest.NS) *nettest.Foreign {
		return func(t *testing.T, h *nettest.NS) *nettest.Foreign {
			f := nettest.NewForeign(t, ebpf.XDP, nettest.XDPPass)
			f.XDP(h, "va", mode)
			return f
		}
	}
	return []company{
		{name: "tcx before, next", arrive: at(nettest.TCNext, tcx), next: true},
		{name: "tcx before, pass", arrive: at(nettest.TCPass, tcx), tcx: true},
		{name: "tcx before, drop", arrive: at(nettest.TCDropPort(droppedPort), tcx), tcx: true, drops: true},
		{name: "tcx before, redirect", tcx: true, arrive: func(t *testing.T, h *nettest.NS) *nettest.Foreign {
			return at(h.TCRedirect("vc"), tcx)(t, h)
		}},
		{name: "tcx after, drop", arrive: at(nettest.TCDropPort(droppedPort), tcx), tcx: true, drops: true, late: true},
		{name: "tcx after at the head, pass", arrive: at(nettest.TCPass, tcxHead), tcx: true, late: true, head: true},
		{name: "tc before, drop", arrive: at(nettest.TCDropPort(droppedPort), tc), tc: true, drops: true},
		{name: "tc after, drop", arrive: at(nettest.TCDropPort(droppedPort), tc), tc: true, drops: true, late: true, head: true},
		{name: "tc before, redirect", tc: true, arrive: func(t *testing.T, h *nettest.NS) *nettest.Foreign {
			return at(h.TCRedirect("vc"), tc)(t, h)
		}},
		{name: "xdp driver", arrive: xdp(link.XDPDriverMode), xdp: true},
		{name: "xdp generic", arrive: xdp(link.XDPGenericMode), xdp: true},
		{name: "firewall", drops: true, arrive: func(t *testing.T, h *nettest.NS) *nettest.Foreign {
			h.NFT("table bridge fw {\n chain c {\n type filter hook forward priority 0\n tcp dport 81 drop\n }\n}\n")
			return nil
		}},
		{name: "netobs", arrive: func(t *testing.T, h *nettest.NS) *nettest.Foreign {
			attached(t, Options{}, h)
			attached(t, Options{Hooks: []string{HookTC}}, h)
			return nil
		}},
	}
}

// TestGoodCompany: with everybody who may be there already or come later, at each hook, frames arrive or are dropped as they
// would without netobs, byte for byte, the others see all that they saw before, and netobs sees all that its hook allows.
func TestGoodCompany(t *testing.T) {
	for _, c := range companies() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all := []string{"auto", "tc", "xdp"}
			if testing.Short() {
				all = []string{"auto"}
			}
			if c.xdp {
				all = append(all, "xdp,auto")
			}
			for _, hooks := range all {
				t.Run(hooks, func(t *testing.T) { c.test(t, strings.Split(hooks, ",")) })
			}
		})
	}
}

func (c company) test(t *testing.T, hooks []string) {
	a, h, b := nettest.New(t, "a"), nettest.New(t, "h"), nettest.New(t, "b")
	for _, ns := range []*nettest.NS{a, h, b} {
		ns.Sysctl("net/ipv6/conf/default/disable_ipv6", "1") // no frames of the kernel's own
	}
	nettest.Veth(a, "eth0", h, "va")
	nettest.Veth(b, "eth0", h, "vc")
	h.Bridge("br0", "va", "vc")
	mac, err := net.ParseMAC(b.MAC("eth0"))
	if err != nil {
		t.Fatal(err)
	}
	frames := rawFrames(t, mac)
	receiver := receiveRaw(t, b, "eth0")
	var arrive []rawFrame
	segments := 0
	for _, f := range frames {
		if !c.drops || f.port != droppedPort {
			arrive = append(arrive, f)
		}
		if f.segment {
			segments++
		}
	}

	var other *nettest.Foreign
	if !c.late {
		other = c.arrive(t, h)
	}
	var log lines
	l := attached(t, Options{Hooks: hooks, Select: Selection{Names: []string{"va", "vc"}}, Log: log.logger()}, h)
	refused := c.xdp && slices.Equal(hooks, []string{HookXDP})
	if refused {
		log.want(t, "interface not watched", "interface=va", "attach xdp ingress to va in "+h.Name, "another XDP program", "--hook xdp,auto")
	}
	l.checkCompany()
	if c.late {
		other = c.arrive(t, h)
		l.checkCompany()
		l.checkCompany()
	}
	sendRaw(a, "eth0", frames...)
	receiver.want(arrive)
	if other != nil && other.Seen() != uint64(len(frames)) {
		t.Errorf("the other program has seen %d packets, want %d", other.Seen(), len(frames))
	}

	// What decides in front is not hidden.
	hook := hookAt(l, h, "va")
	hidden, ahead := 0, 0
	switch {
	case c.tcx && c.head && hook == HookTCX, c.tcx && hook == HookTC, c.tc && c.head && hook == HookTC:
		hidden, ahead = segments, 1
	case c.next && hook == HookTC:
		ahead = 1
	}
	if got := log.count("somebody is attached before netobs", "interface=va", "direction=ingress", "first=\"BPF program foreign"); got != ahead {
		t.Errorf("%d lines about who is in front, want %d:\n%s", got, ahead, &log)
	}
	want := segments - hidden
	if refused {
		want = 0
	}
	nettest.Eventually(t, 5*time.Second, func() error {
		if got := counted(t, l, "va", decode.Ingress); got != uint64(want) {
			return fmt.Errorf("%d segments counted at %s, want %d", got, hook, want)
		}
		return nil
	})

	// Without netobs it is as it was.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	sendRaw(a, "eth0", frames...)
	receiver.want(arrive)
	if other != nil && other.Seen() != 2*uint64(len(frames)) {
		t.Errorf("the other program has seen %d packets in all, want %d", other.Seen(), 2*len(frames))
	}
}

// hookAt returns the hook of the ingress point of an interface, or "" if there is none.
func hookAt(l *Loader, ns *nettest.NS, name string) string {
	for _, i := range l.namespaces[0].links {
		for _, p := range i.points {
			if i.name == name && p.direction == decode.Ingress {
				return p.hook
			}
		}
	}
	return ""
}

// counted returns the segments that were counted at a point.
func counted(t *testing.T, l *Loader, name string, d decode.Direction) (n uint64) {
	t.Helper()
	stats, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	for i := range stats.Points {
		if p := &stats.Points[i]; p.Interface == name && p.Direction == d.String() {
			n += p.Segments()
		}
	}
	return n
}
