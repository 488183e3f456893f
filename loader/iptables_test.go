package loader

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader/nettest"
)

// TestIptables: rules of iptables count, drop and reject what they would without netobs, at each hook.
func TestIptables(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	for _, ns := range []*nettest.NS{a, b} {
		ns.Sysctl("net/ipv6/conf/default/disable_ipv6", "1") // no packets of the kernel's own
	}
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.9.0.1/24")
	b.Addr("eth0", "10.9.0.2/24")
	nettest.Know(a, "eth0", "10.9.0.1", b, "eth0", "10.9.0.2")
	const nobody = "10.9.0.77" // sends to b, and drops what comes back: it is in a, which has no such address
	b.Neighbour("eth0", nobody, a.MAC("eth0"))
	b.Sysctl("net/ipv4/icmp_ratemask", "0")
	for _, rule := range []string{
		"mangle -A PREROUTING -p tcp -j MARK --set-mark 7",
		"filter -A INPUT -p tcp --dport 80 -m mark --mark 7 -j ACCEPT", // where nobody listens
		"filter -A INPUT -p tcp --dport 81 -j DROP",
		"filter -A INPUT -p tcp --dport 82 -j REJECT",
		"filter -A INPUT -p tcp --dport 83 -j REJECT --reject-with tcp-reset",
		"filter -A OUTPUT -p icmp -j ACCEPT",
		"filter -A OUTPUT -p tcp --tcp-flags RST RST -j ACCEPT",
	} {
		b.IPTables("iptables", append([]string{"-w", "-t"}, strings.Fields(rule)...)...)
	}
	const each = 5
	var segments []decode.Segment
	for port := uint16(80); port <= 83; port++ {
		for i := range uint16(each) {
			segments = append(segments, decode.Segment{
				Src:   netip.AddrPortFrom(netip.MustParseAddr(nobody), 40000+i),
				Dst:   netip.AddrPortFrom(netip.MustParseAddr("10.9.0.2"), port),
				Seq:   1000,
				Flags: decode.SYN,
				Wnd:   512,
			})
		}
	}
	// rules returns them with the packets and bytes that each counted.
	rules := func() string {
		var all strings.Builder
		for line := range strings.Lines(b.IPTables("iptables-save", "-c")) {
			if strings.Contains(line, " -A ") {
				all.WriteString(line)
			}
		}
		return all.String()
	}
	send := func(counts func(now string) error) {
		t.Helper()
		for _, table := range []string{"filter", "mangle"} {
			b.IPTables("iptables", "-w", "-t", table, "-Z")
		}
		a.SendSegments(segments...)
		nettest.Eventually(t, 5*time.Second, func() error { return counts(rules()) })
	}
	var without string
	send(func(now string) error {
		without = now
		for part, times := range map[string]int{
			fmt.Sprintf("[%d:", 4*each): 1, // PREROUTING
			fmt.Sprintf("[%d:", 2*each): 1, // RST from port 80 and by the rule for 83
			fmt.Sprintf("[%d:", each):   5,
		} {
			if n := strings.Count(now, part); n != times {
				return fmt.Errorf("%d rules with %s, want %d:\n%s", n, part, times, now)
			}
		}
		return nil
	})
	same := func(now string) error {
		if now != without {
			return fmt.Errorf("rules count\n%swithout netobs\n%s", now, without)
		}
		return nil
	}
	for _, hook := range []string{HookTCX, HookTC, HookXDP} {
		l := attached(t, Options{Hooks: []string{hook}, Select: Selection{Names: []string{"eth0"}}}, b)
		send(same)
		for direction, want := range map[decode.Direction]uint64{decode.Ingress: 4 * each, decode.Egress: 2 * each} {
			if got := counted(t, l, "eth0", direction); got != want {
				t.Errorf("%s: %d segments counted at %s, want %d", hook, got, direction, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		send(same)
	}
}
