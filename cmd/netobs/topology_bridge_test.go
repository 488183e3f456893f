package main

import (
	"io"
	"net"
	"testing"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
)

// bothWays are the passes of an end of connections.
func bothWays(name string) []string { return []string{"in " + name, "out " + name} }

func TestTopologyLoopback(t *testing.T) { topologyLoopback(t) }

func topologyLoopback(t *testing.T, hooks ...string) {
	t.Parallel()
	ns := nettest.New(t, "lo")
	ns.Up("lo")
	l := newLabWith(t, loader.Options{Hooks: hooks}, ns)
	made := someLoad()
	made.run(t, ns, ns, "127.0.0.1")
	l.check(made, view{ns: ns, role: decode.RoleLocal, passes: []string{"out lo"}})
}

// A connection to an own address of another interface passes lo, too.
func TestTopologyOwnAddress(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "own"), nettest.New(t, "peer")
	a.Up("lo")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.20.0.1/24")
	l := newLab(t, a)
	made := someLoad()
	made.run(t, a, a, "10.20.0.1")
	l.check(made, view{ns: a, role: decode.RoleLocal, passes: []string{"out lo"}})
}

func TestTopologyVethPair(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.20.1.1/24")
	b.Addr("eth0", "10.20.1.2/24")
	l := newLab(t, a, b)
	made := someLoad()
	made.run(t, a, b, "10.20.1.2")
	l.check(made,
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")})
}

// Both ends of a veth pair in one namespace: each segment passes four points.
func TestTopologyVethPairInOneNamespace(t *testing.T) {
	t.Parallel()
	h := nettest.New(t, "h")
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", h, "vethA")
	nettest.Veth(b, "eth0", h, "vethB")
	nettest.Veth(h, "loop0", h, "loop1")
	h.Bridge("br0", "vethA", "loop0")
	h.Bridge("br1", "vethB", "loop1")
	a.Addr("eth0", "10.20.2.1/24")
	b.Addr("eth0", "10.20.2.2/24")
	l := newLab(t, h)
	made := someLoad()
	made.run(t, a, b, "10.20.2.2")
	l.check(made, view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}})
}

// A bridge passes on frames with VLAN tags.
func TestTopologyBridgedVLAN(t *testing.T) { topologyVLAN(t) }

func topologyVLAN(t *testing.T, hooks ...string) {
	t.Parallel()
	for _, c := range []struct {
		name string
		vids []uint16
	}{{"tag", []uint16{42}}, {"two tags", []uint16{1000, 42}}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b, h, wire := nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h"), nettest.New(t, "wire")
			nettest.Veth(a, "eth0", wire, "plain0")
			nettest.Veth(b, "eth0", wire, "plain1")
			nettest.Veth(h, "vethA", wire, "trunk0")
			nettest.Veth(h, "vethB", wire, "trunk1")
			h.Bridge("br0", "vethA", "vethB")
			wire.Trunk("plain0", "trunk0", c.vids...)
			wire.Trunk("plain1", "trunk1", c.vids...)
			a.Addr("eth0", "10.20.4.1/24")
			b.Addr("eth0", "10.20.4.2/24")
			l := newLabWith(t, loader.Options{Hooks: hooks}, a, b, h)
			made := someLoad()
			made.run(t, a, b, "10.20.4.2")
			l.check(made, bridgedViews(a, b, h)...)
		})
	}
}

// bridged is three namespaces on a bridge in a fourth, which has an address, too.
func bridged(t *testing.T) (h *nettest.NS, ends [3]*nettest.NS, ips [3]string, hostIP string) {
	h = nettest.New(t, "h")
	ips, hostIP = [3]string{"10.20.3.1", "10.20.3.2", "10.20.3.3"}, "10.20.3.254"
	ports := [3]string{"vethA", "vethB", "vethC"}
	for i := range ends {
		ends[i] = nettest.New(t, string(rune('a'+i)))
		nettest.Veth(ends[i], "eth0", h, ports[i])
		ends[i].Addr("eth0", ips[i]+"/24")
	}
	h.Bridge("br0", ports[:]...)
	h.Addr("br0", hostIP+"/24")
	return h, ends, ips, hostIP
}

// Every end talks to the next one.
func TestTopologyBridgeWithThreePorts(t *testing.T) { topologyBridge(t) }

func topologyBridge(t *testing.T, hooks ...string) {
	t.Parallel()
	h, ends, ips, _ := bridged(t)
	l := newLabWith(t, loader.Options{Hooks: hooks}, h)
	made := someLoad()
	for i := range ends {
		made.run(t, ends[i], ends[(i+1)%3], ips[(i+1)%3])
	}
	l.check(made, view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB", "in vethC"}, times: 3})
}

func TestTopologyBridgeToHostStack(t *testing.T) { topologyHostStack(t) }

func topologyHostStack(t *testing.T, hooks ...string) {
	t.Parallel()
	for _, name := range []string{"in", "out"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, ends, ips, hostIP := bridged(t)
			l := newLabWith(t, loader.Options{Hooks: hooks}, h, ends[0])
			made := someLoad()
			host := view{ns: h, role: decode.RoleResponder, passes: bothWays("vethA")}
			end := view{ns: ends[0], role: decode.RoleOriginator, passes: bothWays("eth0")}
			if name == "in" {
				made.run(t, ends[0], h, hostIP)
			} else {
				made.run(t, h, ends[0], ips[0])
				host.role, end.role = end.role, host.role
			}
			l.check(made, host, end)
		})
	}
}

// The bridge forgets where the ends are, before each SYN and before each FIN: a bystander gets segments for others, and has
// nothing to do with them.
func TestTopologyBridgeFloodsBystander(t *testing.T) { topologyFlood(t) }

func topologyFlood(t *testing.T, hooks ...string) {
	t.Parallel()
	h, ends, ips, _ := bridged(t)
	a, b, bystander := ends[0], ends[1], ends[2]
	l := newLabWith(t, loader.Options{Hooks: hooks}, h, a, b, bystander)
	server := net.JoinHostPort(ips[1], portDrain)
	b.Serve(server, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	})
	made := load{clients: 1, each: 20}
	for range made.each {
		h.FlushFDB("br0")
		c, err := a.Dial(server)
		if err != nil {
			t.Fatal(err)
		}
		h.FlushFDB("br0")
		c.CloseWrite()
		io.Copy(io.Discard, c)
		c.Close()
	}
	l.check(made,
		view{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}},
		view{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")})
	segments, handshakes, connections := l.seen(bystander)
	if n := len(segments) + len(handshakes) + len(connections); n > 0 {
		t.Errorf("the bystander has %d segments, %d handshakes, %d connections", len(segments), len(handshakes),
			len(connections))
	}
	flooded := l.captures[bystander.Name].Len()
	exposition, err := scrape(l.pipeline.metrics)
	if err != nil {
		t.Fatal(err)
	}
	notForUs := parseSamples(t, exposition).sum("unparsed_packets_total", label("netns", bystander.Name),
		label("reason", "not_for_us"))
	if flooded < made.each || notForUs != float64(flooded) {
		t.Errorf("%d segments flooded to the bystander, %v counted as not_for_us", flooded, notForUs)
	}
}
