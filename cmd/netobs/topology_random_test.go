package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader"
	"netobs/loader/nettest"
)

var (
	topologyRounds = flag.Int("topology.rounds", 3, "random topologies to build")
	topologySeed   = flag.Uint64("topology.seed", 0, "seed of the first of them; 0: by the clock")
)

// TestTopologyRandom builds chains of namespaces between a client and a server, at random. Run it for longer with
// -topology.rounds; a failure says the seed that builds the same chain and traffic again.
func TestTopologyRandom(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	seed := *topologySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1e9
	}
	rounds := *topologyRounds
	if testing.Short() {
		rounds = 1
	}
	for i := range uint64(rounds) {
		t.Run(fmt.Sprintf("seed %d", seed+i), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed+i, 0))
			c := newChain(t, r)
			hooks := [][]string{nil, {loader.HookTC}, {loader.HookXDP, loader.HookTCX}}[r.IntN(3)]
			made := load{
				clients: 1 + r.IntN(3), each: 1 + r.IntN(10),
				refused: r.IntN(4), reset: r.IntN(4), serverFirst: r.IntN(4), halfClosed: r.IntN(4),
			}
			t.Logf("client - %s - server; hooks %v; %+v", strings.Join(c.shape, " - "), hooks, made)
			var watched []*nettest.NS
			for _, v := range c.views {
				watched = append(watched, v.ns)
			}
			l := newLabWith(t, loader.Options{Hooks: hooks}, watched...)
			made.runTo(t, c.client, c.server, c.asked, c.own)
			l.check(made, c.views...)
		})
	}
}

// chain is what is between a client and a server: hops that bridge, of which several may be in one namespace, and hops that
// route or translate, each in a namespace of its own.
type chain struct {
	client, server *nettest.NS
	asked, own     string // the server's address as the client knows it, and as it is
	views          []view
	shape          []string // in words, from left to right: from the client to the server
}

// router is a hop between two networks, the one on its left and the next one.
type router struct {
	ns   *nettest.NS
	dnat bool // clients ask for its address
}

// Addresses of the two who are in a network: a client or router on the left, a router or server on the right.
func leftIn(net int) string  { return fmt.Sprintf("10.40.%d.1", net) }
func rightIn(net int) string { return fmt.Sprintf("10.40.%d.254", net) }

func newChain(t *testing.T, r *rand.Rand) *chain {
	t.Helper()
	c := &chain{client: nettest.New(t, "client"), server: nettest.New(t, "server")}
	bridges := [2]bridging{{ns: nettest.New(t, "bridges0")}, {ns: nettest.New(t, "bridges1")}}
	var routers []router
	pairs := 0 // how often the socket pair changed so far

	// The end on the left, whose link waits for the peer on the right.
	at, link, ip := c.client, "eth0", leftIn(0)
	join := func(ns *nettest.NS, name, address string) {
		nettest.Veth(at, link, ns, name)
		if ip != "" {
			at.Addr(link, ip+"/24")
		}
		if address != "" {
			ns.Addr(name, address+"/24")
		}
	}
	for i := range r.IntN(6) {
		left, right := fmt.Sprintf("l%d", i), fmt.Sprintf("r%d", i)
		kind := []string{"bridge", "bridge", "route", "masquerade", "dnat"}[r.IntN(5)]
		if kind == "bridge" {
			n := r.IntN(len(bridges))
			join(bridges[n].ns, left, "")
			at, link, ip = bridges[n].ns, right, ""
			bridges[n].hops = append(bridges[n].hops, hop{left, right, pairs})
			c.shape = append(c.shape, fmt.Sprintf("bridge in %d", n))
			continue
		}
		ns := nettest.New(t, kind)
		join(ns, left, rightIn(len(routers)))
		routers = append(routers, router{ns, kind == "dnat"})
		at, link, ip = ns, right, leftIn(len(routers))
		c.shape = append(c.shape, kind)
		v := view{ns: ns, role: decode.RoleForwarded, passes: []string{"in " + left, "in " + right}}
		if kind != "route" {
			pairs++
			v.times, v.passes = 2, append(bothWays(left), bothWays(right)...)
		}
		if kind == "masquerade" {
			ns.NFT(`table ip nat {
				chain out { type nat hook postrouting priority 100; oifname "` + right + `" masquerade; }
			}`)
		}
		c.views = append(c.views, v)
	}
	join(c.server, "eth0", rightIn(len(routers)))
	for i := range bridges {
		if b := &bridges[i]; len(b.hops) > 0 {
			c.views = append(c.views, b.build())
		}
	}
	c.route(routers)
	c.views = append(c.views,
		view{ns: c.client, role: decode.RoleOriginator, passes: bothWays("eth0")},
		view{ns: c.server, role: decode.RoleResponder, passes: bothWays("eth0")})
	return c
}

// route lets all networks reach each other.
func (c *chain) route(routers []router) {
	last := len(routers)
	c.own = rightIn(last)
	c.asked = c.own
	for net := range routers {
		c.client.Route(fmt.Sprintf("10.40.%d.0/24", net+1), rightIn(0))
		c.server.Route(fmt.Sprintf("10.40.%d.0/24", net), leftIn(last))
	}
	for i := len(routers) - 1; i >= 0; i-- { // it is between the networks i and i+1
		ns := routers[i].ns
		ns.Sysctl("net/ipv4/ip_forward", "1")
		for net := range i {
			ns.Route(fmt.Sprintf("10.40.%d.0/24", net), leftIn(i))
		}
		for net := i + 2; net <= last; net++ {
			ns.Route(fmt.Sprintf("10.40.%d.0/24", net), rightIn(i+1))
		}
		if routers[i].dnat {
			ns.NFT(`table ip nat {
				chain in { type nat hook prerouting priority -100; ip daddr ` + rightIn(i) + ` dnat to ` + c.asked + `; }
			}`)
			c.asked = rightIn(i)
		}
	}
}

// hop is a bridge with two ports, which pass a socket pair on.
type hop struct {
	left, right string
	pair        int
}

// bridging is a namespace with a bridge for each of its hops, from left to right.
type bridging struct {
	ns   *nettest.NS
	hops []hop
}

// build makes the bridges. A connection of the client's is one in the namespace for each socket pair it has there. Its
// segments come in at the outermost ports of the hops with that pair.
func (b *bridging) build() view {
	v := view{ns: b.ns, role: decode.RoleForwarded}
	for i, h := range b.hops {
		b.ns.Bridge(fmt.Sprintf("br%d", i), h.left, h.right)
		if i == 0 || b.hops[i-1].pair != h.pair {
			v.passes = append(v.passes, "in "+h.left)
			v.times++
		}
		if i == len(b.hops)-1 || b.hops[i+1].pair != h.pair {
			v.passes = append(v.passes, "in "+h.right)
		}
	}
	return v
}
