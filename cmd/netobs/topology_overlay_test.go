package main

import (
	"testing"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
)

// A macvlan interface beside its parent: each segment passes both.
func TestTopologyMacvlan(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Macvlan("eth0", "mv0", a)
	a.Addr("mv0", "10.24.0.1/24")
	b.Addr("eth0", "10.24.0.2/24")
	l := newLab(t, a, b)
	made := someLoad()
	made.run(t, a, b, "10.24.0.2")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("mv0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")})
}

// A macvlan interface is a container's, its parent the host's, which only passes on.
func TestTopologyMacvlanOfContainer(t *testing.T) { topologyMacvlanOfContainer(t) }

func topologyMacvlanOfContainer(t *testing.T, hooks ...string) {
	t.Parallel()
	for _, name := range []string{"asks", "answers", "comes later"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, h, b := nettest.New(t, "c"), nettest.New(t, "h"), nettest.New(t, "b")
			nettest.Veth(h, "up0", b, "eth0")
			b.Addr("eth0", "10.24.1.2/24")
			var l *lab
			if name == "comes later" {
				l = newLabWith(t, loader.Options{Hooks: hooks}, c, h, b)
				h.Macvlan("up0", "mv0", h)
				l.waitWatched(h, "mv0")
				h.Move("mv0", c)
				c.Addr("mv0", "10.24.1.1/24")
				l.waitWatched(c, "mv0")
			} else {
				h.Macvlan("up0", "mv0", c)
				c.Addr("mv0", "10.24.1.1/24")
				l = newLabWith(t, loader.Options{Hooks: hooks}, c, h, b)
			}
			made := someLoad()
			own, peer := decode.RoleOriginator, decode.RoleResponder
			if name == "asks" {
				made.run(t, c, b, "10.24.1.2")
			} else {
				made.run(t, b, c, "10.24.1.1")
				own, peer = peer, own
			}
			l.check(made,
				view{ns: c, role: own, passes: bothWays("mv0")},
				view{ns: h, role: decode.RoleForwarded, passes: bothWays("up0")},
				view{ns: b, role: peer, passes: bothWays("eth0")})
		})
	}
}

// The ends of a tunnel: TCP passes vxlan0; what passes eth0 is UDP.
func TestTopologyVxlan(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.25.0.1/24")
	b.Addr("eth0", "10.25.0.2/24")
	a.Vxlan("vxlan0", "10.25.0.1", "10.25.0.2")
	b.Vxlan("vxlan0", "10.25.0.2", "10.25.0.1")
	a.Addr("vxlan0", "10.25.1.1/24")
	b.Addr("vxlan0", "10.25.1.2/24")
	l := newLab(t, a, b)
	made := someLoad()
	made.run(t, a, b, "10.25.1.2")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("vxlan0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("vxlan0")})
}

// Containers on the bridges of two hosts, joined by a tunnel between these, as overlay networks are.
func TestTopologyOverlay(t *testing.T) {
	t.Parallel()
	a, h, g, b := nettest.New(t, "a"), nettest.New(t, "h"), nettest.New(t, "g"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", h, "veth0")
	nettest.Veth(h, "up0", g, "up0")
	nettest.Veth(b, "eth0", g, "veth0")
	h.Addr("up0", "10.25.2.1/24")
	g.Addr("up0", "10.25.2.2/24")
	h.Vxlan("vxlan0", "10.25.2.1", "10.25.2.2")
	g.Vxlan("vxlan0", "10.25.2.2", "10.25.2.1")
	h.Bridge("br0", "veth0", "vxlan0")
	g.Bridge("br0", "veth0", "vxlan0")
	a.Addr("eth0", "10.25.3.1/24")
	b.Addr("eth0", "10.25.3.2/24")
	l := newLab(t, a, h, g, b)
	made := someLoad()
	made.run(t, a, b, "10.25.3.2")
	forwards := []string{"in veth0", "in vxlan0"}
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: h, role: decode.RoleForwarded, passes: forwards},
		view{ns: g, role: decode.RoleForwarded, passes: forwards},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")})
}
