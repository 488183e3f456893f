package main

import (
	"os"
	"testing"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
)

// routed is a and b in networks of their own, joined by the router h.
func routed(t *testing.T) (a, b, h *nettest.NS) {
	a, b, h = nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h")
	nettest.Veth(a, "eth0", h, "vethA")
	nettest.Veth(b, "eth0", h, "vethB")
	a.Addr("eth0", "10.21.1.1/24")
	h.Addr("vethA", "10.21.1.254/24")
	h.Addr("vethB", "10.21.2.254/24")
	b.Addr("eth0", "10.21.2.1/24")
	a.Route("10.21.2.0/24", "10.21.1.254")
	h.Sysctl("net/ipv4/ip_forward", "1")
	return a, b, h
}

func TestTopologyRouted(t *testing.T) { topologyRouted(t) }

func topologyRouted(t *testing.T, hooks ...string) {
	t.Parallel()
	a, b, h := routed(t)
	b.Route("10.21.1.0/24", "10.21.2.254")
	l := newLabWith(t, loader.Options{Hooks: hooks}, a, b, h)
	made := someLoad()
	made.run(t, a, b, "10.21.2.1")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}})
}

// A container asks outside, and its address is hidden: the host sees two connections, the container's own and the
// translated one.
func TestTopologyMasquerade(t *testing.T) { topologyMasquerade(t) }

func topologyMasquerade(t *testing.T, hooks ...string) {
	t.Parallel()
	a, b, h := routed(t)
	h.NFT(`table ip nat {
		chain out { type nat hook postrouting priority 100; oifname "vethB" masquerade; }
	}`)
	l := newLabWith(t, loader.Options{Hooks: hooks}, a, b, h)
	made := someLoad()
	made.run(t, a, b, "10.21.2.1")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		view{ns: h, role: decode.RoleForwarded, passes: append(bothWays("vethA"), bothWays("vethB")...), times: 2})
	for _, c := range l.connections {
		if c.Point.Netns == b.Name && c.Originator.Addr().String() != "10.21.2.254" {
			t.Errorf("b was asked by %s: nothing was translated", c.Originator)
		}
	}
}

// A port of the host is a container's: its clients talk to the host's address.
func TestTopologyDNAT(t *testing.T) {
	t.Parallel()
	a, b, h := routed(t)
	b.Route("10.21.1.0/24", "10.21.2.254")
	h.NFT(`table ip nat {
		chain in { type nat hook prerouting priority -100; ip daddr 10.21.1.254 dnat to 10.21.2.1; }
	}`)
	l := newLab(t, a, b, h)
	made := someLoad()
	made.runTo(t, a, b, "10.21.1.254", "10.21.2.1")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		view{ns: h, role: decode.RoleForwarded, passes: append(bothWays("vethA"), bothWays("vethB")...), times: 2})
}

// Docker's way with a container that talks to a published port of its own host: in and out of one bridge, both ends
// translated.
func TestTopologyHairpin(t *testing.T) {
	t.Parallel()
	h, ends, ips, hostIP := bridged(t)
	a, b := ends[0], ends[1]
	h.Sysctl("net/ipv4/ip_forward", "1")
	// Else the bridge translates, too, and between the two steps br0 may show a third socket pair, now and then.
	if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err == nil {
		h.Sysctl("net/bridge/bridge-nf-call-iptables", "0")
	}
	h.NFT(`table ip nat {
		chain in { type nat hook prerouting priority -100; ip daddr ` + hostIP + ` dnat to ` + ips[1] + `; }
		chain out { type nat hook postrouting priority 100; ip saddr 10.20.3.0/24 oifname "br0" masquerade; }
	}`)
	l := newLab(t, a, b, h)
	made := someLoad()
	made.runTo(t, a, b, hostIP, ips[1])
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		view{ns: h, role: decode.RoleForwarded, passes: append(bothWays("vethA"), bothWays("vethB")...), times: 2})
}

// twoWays is a and b joined by two links to the router h. Each has its address on lo.
func twoWays(t *testing.T) (a, b, h *nettest.NS) {
	a, b, h = nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h")
	for _, end := range []struct {
		ns            *nettest.NS
		net, ip, host string
	}{{a, "10.22.1", "10.23.0.1", "vethA"}, {b, "10.22.2", "10.23.0.2", "vethB"}} {
		end.ns.Addr("lo", end.ip+"/32")
		end.ns.Sysctl("net/ipv4/conf/all/rp_filter", "0")
		for i, link := range []string{"0", "1"} {
			net := end.net + string(rune('0'+i))
			nettest.Veth(end.ns, "eth"+link, h, end.host+link)
			end.ns.Sysctl("net/ipv4/conf/eth"+link+"/rp_filter", "0")
			h.Sysctl("net/ipv4/conf/"+end.host+link+"/rp_filter", "0")
			end.ns.Addr("eth"+link, net+".1/24")
			h.Addr(end.host+link, net+".254/24")
		}
	}
	h.Sysctl("net/ipv4/conf/all/rp_filter", "0")
	h.Sysctl("net/ipv4/ip_forward", "1")
	a.RouteVia("10.23.0.2/32", "10.22.10.254", "10.23.0.1")
	b.RouteVia("10.23.0.1/32", "10.22.20.254", "10.23.0.2")
	h.Route("10.23.0.1/32", "10.22.10.1")
	h.Route("10.23.0.2/32", "10.22.20.1")
	return a, b, h
}

// What a sends takes the first link, what it gets the second one.
func TestTopologyAsymmetric(t *testing.T) {
	t.Parallel()
	a, b, h := twoWays(t)
	h.Route("10.23.0.1/32", "10.22.11.1")
	h.Route("10.23.0.2/32", "10.22.21.1")
	l := newLab(t, a, b, h)
	made := someLoad()
	made.run(t, a, b, "10.23.0.2")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: []string{"out eth0", "in eth1"}},
		view{ns: b, role: decode.RoleResponder, passes: []string{"out eth0", "in eth1"}},
		view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA0", "in vethB0"}})
}
