package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// Ports of the server of a load.
const (
	portBoth        = "8081" // both close at once
	portServerFirst = "8082" // the server closes first
	portHalf        = "8083" // answers after the client's FIN
	portDrain       = "8084" // reads until the end
	portClosed      = "8089" // nobody listens
)

// load is how many connections of each kind are made.
type load struct {
	clients, each                           int // connect and close at once
	refused, reset, serverFirst, halfClosed int
}

func (l load) completed() int { return l.clients*l.each + l.reset + l.serverFirst + l.halfClosed }

// run makes the connections, from one namespace to a server in another or the same.
func (l load) run(tb testing.TB, client, server *nettest.NS, ip string) {
	tb.Helper()
	l.runTo(tb, client, server, ip, ip)
}

// runTo is run where clients know the server by another address than its own.
func (l load) runTo(tb testing.TB, client, server *nettest.NS, ip, own string) {
	tb.Helper()
	at := func(port string) string { return net.JoinHostPort(ip, port) }
	bound := func(port string) string { return net.JoinHostPort(own, port) }
	server.Serve(bound(portBoth), func(c *net.TCPConn) { c.Close() })
	server.Serve(bound(portServerFirst), func(c *net.TCPConn) { c.Close() })
	server.Serve(bound(portHalf), func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		io.WriteString(c, "after your FIN")
		c.Close()
	})
	server.Serve(bound(portDrain), func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	})

	var wg sync.WaitGroup
	for range l.clients {
		wg.Go(func() {
			client.Do(func() error {
				for range l.each {
					c, err := net.Dial("tcp", at(portBoth))
					if err != nil {
						return err
					}
					c.Close()
				}
				return nil
			})
		})
	}
	wg.Wait()
	client.Do(func() error {
		for range l.refused {
			if _, err := net.Dial("tcp", at(portClosed)); !errors.Is(err, syscall.ECONNREFUSED) {
				return fmt.Errorf("connection to a closed port: %v", err)
			}
		}
		for range l.reset {
			c, err := net.Dial("tcp", at(portDrain))
			if err != nil {
				return err
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		for range l.serverFirst {
			c, err := net.Dial("tcp", at(portServerFirst))
			if err != nil {
				return err
			}
			io.Copy(io.Discard, c)
			c.Close()
		}
		for range l.halfClosed {
			c, err := net.Dial("tcp", at(portHalf))
			if err != nil {
				return err
			}
			c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != "after your FIN" {
				return fmt.Errorf("half-closed connection: %q, %v", got, err)
			}
			c.Close()
		}
		return nil
	})
}

// check compares what netobs counted in a namespace with what was made, to the unit, and the identities at rest.
func (l load) check(tb testing.TB, s *session, netns, role string) {
	tb.Helper()
	ns, in := label("netns", netns), label("role", role)
	// Fails late only where a verdict needs the 3 s clock.
	s.waitFor(float64(l.completed()), "teardowns_total", ns)
	s.waitFor(0, "connections", ns) // the gauge is handed over when the ring was found empty
	m := s.scrape()
	for _, want := range []struct {
		n      int
		name   string
		labels []string
	}{
		{l.completed(), "handshakes_total", []string{in, label("outcome", "completed")}},
		{l.refused, "handshakes_total", []string{in, label("outcome", "refused")}},
		{l.completed() + l.refused, "handshakes_total", nil},
		{l.completed() - l.reset, "teardowns_total", []string{in, label("teardown", "fin")}},
		{l.reset, "teardowns_total", []string{in, label("teardown", "rst"), label("closer", "originator")}},
		{l.completed(), "teardowns_total", nil},
		{0, "connections_unseen_total", nil},
		{0, "connections", nil},
		{0, "control_segments_total", []string{label("disposition", "ring_full")}},
		{0, "unparsed_packets_total", nil},
	} {
		if got := m.sum(want.name, append(want.labels, ns)...); got != float64(want.n) {
			tb.Errorf("%s: %s%v = %v, want %d", netns, want.name, want.labels, got, want.n)
		}
	}
	if tb.Failed() {
		for series, value := range m {
			if value != 0 && strings.Contains(series, "teardowns_total") {
				tb.Logf("%s = %v", series, value)
			}
		}
		for line := range strings.Lines(s.stdout.String()) { // with --output json
			if strings.Contains(line, `"type":"connection"`) && strings.Contains(line, `:`+portDrain+`"`) == strings.Contains(line, `"teardown":"fin"`) {
				tb.Logf("ended otherwise than it was made to: %s", line)
			}
		}
	}
	checkIdentities(tb, m)
}

// checkIdentities holds DESIGN §3's identities against a scrape at rest.
func checkIdentities(tb testing.TB, m samples) {
	tb.Helper()
	seen, decided := m.sum("control_segments_seen_total"), m.sum("control_segments_total")
	if seen != decided {
		tb.Errorf("%v control segments seen, %v decided about", seen, decided)
	}
	reported, read := m.sum("control_segments_total", label("disposition", "reported")), m.sum("records_read_total")
	if reported != read {
		tb.Errorf("%v control segments reported, %v read", reported, read)
	}
	born := m.sum("handshakes_total", label("outcome", "completed")) + m.sum("connections_unseen_total")
	died := m.sum("teardowns_total") + m.sum("connections", label("state", "established")) +
		m.sum("connections", label("state", "half_closed"))
	if born != died {
		tb.Errorf("%v completed or unseen, %v torn down or open", born, died)
	}
}

// fullLoad is what the counts must be exact for.
func fullLoad() load {
	l := load{clients: 4, each: 5000, refused: 50, reset: 50, serverFirst: 50, halfClosed: 50}
	if testing.Short() {
		l.each = 200
	}
	return l
}

func TestLoopbackIsExact(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			ns := nettest.New(t, "lo")
			ns.Up("lo")
			s := startAttach(t, "--netns", ns.Name, "--output", "json")
			s.waitFor(1, "observation_points", label("netns", ns.Name))
			l := fullLoad()
			l.run(t, ns, ns, ip)
			l.check(t, s, ns.Name, "local")
			if summary := s.end(); !strings.Contains(summary, "0 lost") {
				t.Errorf("summary without losses: %s", summary)
			}
		})
	}
}

// topology is a and b joined by veth pairs to a bridge in h.
func topology(t testing.TB) (a, b, h *nettest.NS) {
	a, b, h = nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h")
	nettest.Veth(a, "eth0", h, "vethA")
	nettest.Veth(b, "eth0", h, "vethB")
	h.Bridge("br0", "vethA", "vethB")
	a.Addr("eth0", "10.9.0.1/24")
	b.Addr("eth0", "10.9.0.2/24")
	a.Addr("eth0", "fd09::1/64")
	b.Addr("eth0", "fd09::2/64")
	return a, b, h
}

func TestVethAndBridgeIsExact(t *testing.T) {
	for _, ip := range []string{"10.9.0.2", "fd09::2"} {
		t.Run(ip, func(t *testing.T) {
			a, b, h := topology(t)
			ends := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "json")
			middle := startAttach(t, "--netns", h.Name, "--output", "json")
			// lo has one point, all others two.
			ends.waitFor(6, "observation_points")
			middle.waitFor(7, "observation_points")
			l := fullLoad()
			l.run(t, a, b, ip)
			l.check(t, ends, a.Name, "originator")
			l.check(t, ends, b.Name, "responder")
			l.check(t, middle, h.Name, "forwarded")
		})
	}
}

// TestRoutedThroughTwoVeths is the case where the packet changes its Ethernet header and passes the IP stack.
func TestRoutedThroughTwoVeths(t *testing.T) {
	a, b, h := nettest.New(t, "a"), nettest.New(t, "b"), nettest.New(t, "h")
	nettest.Veth(a, "eth0", h, "vethA")
	nettest.Veth(b, "eth0", h, "vethB")
	a.Addr("eth0", "10.9.1.1/24")
	h.Addr("vethA", "10.9.1.254/24")
	h.Addr("vethB", "10.9.2.254/24")
	b.Addr("eth0", "10.9.2.1/24")
	a.Route("10.9.2.0/24", "10.9.1.254")
	b.Route("10.9.1.0/24", "10.9.2.254")
	h.Sysctl("net/ipv4/ip_forward", "1")
	s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--netns", h.Name, "--output", "none")
	s.waitFor(6+5, "observation_points")
	l := load{clients: 1, each: 100, refused: 5, reset: 5, serverFirst: 5, halfClosed: 5}
	l.run(t, a, b, "10.9.2.1")
	l.check(t, s, a.Name, "originator")
	l.check(t, s, b.Name, "responder")
	l.check(t, s, h.Name, "forwarded")
}

// TestUnanswered shows the clock on real SYNs: nobody has the address, and a bystander must not see a failure.
func TestUnanswered(t *testing.T) {
	a, b, _ := topology(t)
	s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "json")
	s.waitFor(6, "observation_points")
	// A neighbour that is not there: the SYN leaves, and the bridge floods it to b.
	a.Neighbour("eth0", "10.9.0.77", "02:00:00:00:00:77")
	a.Do(func() error {
		c, err := net.DialTimeout("tcp", "10.9.0.77:80", 200*time.Millisecond)
		if err == nil {
			c.Close()
			return errors.New("somebody answered")
		}
		return nil
	})
	s.waitFor(1, "handshakes_total", label("netns", a.Name), label("outcome", "unanswered"), label("role", "originator"))
	m := s.scrape()
	if got := m.sum("handshakes_total", label("netns", b.Name)); got != 0 {
		t.Errorf("the bystander has %v handshakes, want 0", got)
	}
	if got := m.sum("unparsed_packets_total", label("netns", b.Name), label("reason", "not_for_us")); got < 1 {
		t.Errorf("the flooded SYN is not counted as not_for_us at the bystander")
	}
	checkIdentities(t, m)
}
