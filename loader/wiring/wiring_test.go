package wiring

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"netobs/loader/nettest"
)

// look returns the namespaces by name, and fails if there are two of one.
func look(t *testing.T) map[string]*Namespace {
	t.Helper()
	h, err := Look(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !h.Namespaces[0].Host {
		t.Errorf("the first namespace is %s, not the host's", h.Namespaces[0].Name)
	}
	all := make(map[string]*Namespace)
	for _, ns := range h.Namespaces {
		all[ns.Name] = ns
	}
	return all
}

func (ns *Namespace) named(tb testing.TB, name string) *Interface {
	tb.Helper()
	for _, i := range ns.Interfaces {
		if i.Name == name {
			return i
		}
	}
	tb.Fatalf("no interface %s in %s", name, ns.Name)
	return nil
}

// TestLook: two networks that look alike, index by index, are told apart.
func TestLook(t *testing.T) {
	t.Parallel()
	type network struct{ router, a, b *nettest.NS }
	var networks []network
	for range 2 {
		n := network{nettest.New(t, "router"), nettest.New(t, "a"), nettest.New(t, "b")}
		nettest.Veth(n.a, "eth0", n.router, "vethA")
		nettest.Veth(n.b, "eth0", n.router, "vethB")
		nettest.Veth(n.router, "loop0", n.router, "loop1")
		n.router.Bridge("br0", "vethA", "vethB")
		n.a.Addr("eth0", "10.1.2.3/24")
		n.a.Addr("eth0", "fd00::3/64")
		n.b.Down("eth0")
		networks = append(networks, n)
	}
	all := look(t)
	for _, n := range networks {
		router, a, b := all[n.router.Name], all[n.a.Name], all[n.b.Name]
		for _, tc := range []struct {
			ns                              *Namespace
			name, kind, state, master, peer string
		}{
			{router, "lo", "loopback", "down", "", "<nil>"},
			{router, "br0", "bridge", "up", "", "<nil>"},
			{router, "vethA", "veth", "up", "br0", n.a.Name + "/eth0"},
			{router, "vethB", "veth", "no carrier", "br0", n.b.Name + "/eth0"},
			{router, "loop0", "veth", "up", "", n.router.Name + "/loop1"},
			{router, "loop1", "veth", "up", "", n.router.Name + "/loop0"},
			{a, "eth0", "veth", "up", "", n.router.Name + "/vethA"},
			{b, "eth0", "veth", "down", "", n.router.Name + "/vethB"},
		} {
			i := tc.ns.named(t, tc.name)
			peer := "<nil>"
			if i.Peer != nil {
				peer = i.Peer.String()
			}
			got := fmt.Sprint(i.Kind, ", ", i.State, ", ", i.Master, ", ", peer)
			if want := fmt.Sprint(tc.kind, ", ", tc.state, ", ", tc.master, ", ", tc.peer); got != want {
				t.Errorf("%s in %s: %s, want %s", tc.name, tc.ns.Name, got, want)
			}
		}
		if got := fmt.Sprint(a.named(t, "eth0").Addresses[:2]); got != "[10.1.2.3/24 fd00::3/64]" {
			t.Errorf("addresses %s", got)
		}
	}
}

// TestPrograms: at all hooks, in the order in which they run, with who holds them.
func TestPrograms(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "programs")
	nettest.Veth(ns, "eth0", ns, "eth1")
	nettest.NewForeign(t, ebpf.XDP, nettest.XDPPass).XDP(ns, "eth0", link.XDPGenericMode)
	tc := nettest.NewForeign(t, ebpf.SchedCLS, nettest.TCNext)
	tc.TC(ns, "eth0", true, 1, 1)
	tc.TCX(ns, "eth0", false, link.Head())
	all := look(t)[ns.Name]
	got := ""
	for _, p := range all.named(t, "eth0").Programs {
		if p.ID == 0 || len(p.Holders) != 1 || p.Holders[0].Pid != os.Getpid() || p.Holders[0].Process == "" {
			t.Errorf("%+v is not held by this test", p)
		}
		got += fmt.Sprintln(p.Hook, p.Direction, p.Name)
	}
	if want := "xdp ingress foreign\ntcx ingress foreign\ntc egress foreign\n"; got != want {
		t.Errorf("programs\n%swant\n%s", got, want)
	}
	if others := all.named(t, "eth1").Programs; len(others) != 0 {
		t.Errorf("at the other end %v", others)
	}
}
