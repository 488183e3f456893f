package loader

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"netobs/decode"
	"netobs/loader/nettest"
)

// found returns what takeCensus tells of a namespace, by the port of the responder or else of the second end.
func found(tb testing.TB, ns *nettest.NS, p paths) map[string]string {
	tb.Helper()
	at, err := FindNetns(ns.Name)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := takeCensus(&at, p, nil)
	if err != nil {
		tb.Fatal(err)
	}
	all := make(map[string]string)
	for _, k := range f.open {
		if f.began <= 0 || f.began > f.done || k.Start > f.began {
			tb.Errorf("asked at %d, told at %d that it began at %d at the latest", f.began, f.done, k.Start)
		}
		local := []string{}
		for s, is := range k.Local {
			if is {
				local = append(local, decode.Side(s).String())
			}
		}
		all[k.Responder.String()] = fmt.Sprintf("from %s, sides known %t, local %s, closer %s", k.Originator.Addr(), k.OriginatorKnown,
			strings.Join(local, " and "), k.Closer)
	}
	return all
}

func TestCensus(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "learn"), nettest.New(t, "learn")
	a.Up("lo")
	b.Up("lo")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.9.0.1/24")
	b.Addr("eth0", "10.9.0.2/24")
	a.Addr("eth0", "fd09::1/64")
	b.Addr("eth0", "fd09::2/64")
	everywhere := paths{all: true}

	// Of each: while somebody listens, and after.
	for _, listening := range []bool{true, false} {
		listen := func(ns *nettest.NS, addr string, from *nettest.NS) (client, server *net.TCPConn) {
			l := ns.Listen(addr)
			client, server = from.Connect(l)
			if !listening {
				l.Close()
			}
			return client, server
		}
		port := "1"
		if !listening {
			port = "2"
		}
		listen(a, "127.0.0.1:500"+port, a)
		client, server := listen(b, "10.9.0.2:501"+port, a)
		for _, c := range []*net.TCPConn{client, server, client} { // what was sent does not matter
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		listen(a, "[fd09::1]:502"+port, b)
		client, _ = listen(b, "10.9.0.2:503"+port, a)
		client.CloseWrite()
		_, server = listen(b, "10.9.0.2:504"+port, a)
		server.CloseWrite()
		client, _ = listen(a, "127.0.0.1:505"+port, a)
		client.CloseWrite()
		client, server = listen(a, "127.0.0.1:506"+port, a) // over
		client.Close()
		server.Close()

		wantA := map[string]string{
			"127.0.0.1:500" + port: "from 127.0.0.1, sides known true, local originator and responder, closer unknown",
			"10.9.0.2:501" + port:  "from 10.9.0.1, sides known true, local originator, closer unknown",
			"[fd09::1]:502" + port: "from fd09::2, sides known true, local responder, closer unknown",
			"10.9.0.2:503" + port:  "from 10.9.0.1, sides known true, local originator, closer originator",
			"10.9.0.2:504" + port:  "from 10.9.0.1, sides known true, local originator, closer responder",
			"127.0.0.1:505" + port: "from 127.0.0.1, sides known true, local originator and responder, closer originator",
		}
		nettest.Eventually(t, 5*time.Second, func() error { // acknowledgments take their time
			got := found(t, a, everywhere)
			for k, want := range wantA {
				if got[k] != want {
					return fmt.Errorf("%s: got %q, want %q", k, got[k], want)
				}
			}
			if want := len(wantA); !listening && len(got) != 2*want || listening && len(got) != want {
				return fmt.Errorf("got %v", got)
			}
			return nil
		})
	}
	got := found(t, b, everywhere)
	for k, want := range map[string]string{
		"10.9.0.2:5011":  "from 10.9.0.1, sides known true, local responder, closer unknown",
		"10.9.0.2:5012":  "from 10.9.0.1, sides known true, local responder, closer unknown",
		"[fd09::1]:5022": "from fd09::2, sides known true, local originator, closer unknown",
		"10.9.0.2:5031":  "from 10.9.0.1, sides known true, local responder, closer originator",
		"10.9.0.2:5041":  "from 10.9.0.1, sides known true, local responder, closer responder",
	} {
		if got[k] != want {
			t.Errorf("%s: got %q, want %q", k, got[k], want)
		}
	}

	// By interface.
	for _, tt := range []struct{ name, prefix string }{{"lo", "127.0.0.1:"}, {"eth0", "10.9.0.2:"}} {
		got := found(t, a, paths{watched: map[int]bool{a.Index(tt.name): true}})
		n := 0
		for responder := range got {
			if strings.HasPrefix(responder, tt.prefix) {
				n++
			} else if tt.name == "lo" || !strings.HasPrefix(responder, "[fd09::1]:") {
				t.Errorf("%s does not pass %s", responder, tt.name)
			}
		}
		if n < 4 {
			t.Errorf("through %s: got %v", tt.name, got)
		}
	}
}

// TestCensusMapped: IPv4 in a socket of IPv6 is IPv4.
func TestCensusMapped(t *testing.T) {
	t.Parallel()
	ns := nettest.New(t, "learn")
	ns.Up("lo")
	ns.Listen("[::]:5000")
	if client, err := ns.Dial("127.0.0.1:5000"); err != nil {
		t.Fatal(err)
	} else {
		defer client.Close()
	}
	got := found(t, ns, paths{all: true})
	if len(got) != 1 || !strings.HasPrefix(got["127.0.0.1:5000"], "from 127.0.0.1, sides known true, local originator and responder") {
		t.Errorf("got %v", got)
	}
}

// TestConnectionsOf: what sockets of one namespace say of each other.
func TestConnectionsOf(t *testing.T) {
	const established, finWait, closeWait, lastAck, listen = 1, 5, 8, 9, 10
	at := func(local, remote string, state uint8, o opener) socket {
		return socket{local: netip.MustParseAddrPort(local), remote: netip.MustParseAddrPort(remote), state: state, opener: o}
	}
	listener := at("0.0.0.0:80", "0.0.0.0:0", listen, openerUnknown)
	for _, tt := range []struct {
		name    string
		sockets []socket
		want    string
	}{
		{"listener on the local port", []socket{listener, at("10.0.0.1:80", "10.0.0.2:5", established, openerUnknown)},
			"10.0.0.2:5 > 10.0.0.1:80 true [false true] unknown"},
		{"listener on another address", []socket{at("10.0.0.3:80", "0.0.0.0:0", listen, openerUnknown),
			at("10.0.0.1:80", "10.0.0.2:5", established, opened)}, "10.0.0.1:80 > 10.0.0.2:5 true [true false] unknown"},
		{"the listener says more than what was counted", []socket{listener, at("10.0.0.1:80", "10.0.0.2:5", established, opened)},
			"10.0.0.2:5 > 10.0.0.1:80 true [false true] unknown"},
		{"nobody listens, and data is in flight", []socket{at("10.0.0.1:80", "10.0.0.2:5", established, openerUnknown)},
			"10.0.0.1:80 > 10.0.0.2:5 true [true false] unknown"},
		{"accepted by one who stopped to listen", []socket{at("10.0.0.1:80", "10.0.0.2:5", established, accepted)},
			"10.0.0.2:5 > 10.0.0.1:80 true [false true] unknown"},
		{"both ends, with a listener", []socket{at("10.0.0.1:80", "10.0.0.1:5", established, openerUnknown), listener,
			at("10.0.0.1:5", "10.0.0.1:80", established, openerUnknown)}, "10.0.0.1:5 > 10.0.0.1:80 true [true true] unknown"},
		{"both ends, the second one is known", []socket{at("10.0.0.1:5", "10.0.0.1:80", established, openerUnknown),
			at("10.0.0.1:80", "10.0.0.1:5", established, opened)}, "10.0.0.1:80 > 10.0.0.1:5 true [true true] unknown"},
		{"both ends, nothing known", []socket{at("10.0.0.1:5", "10.0.0.1:80", established, openerUnknown),
			at("10.0.0.1:80", "10.0.0.1:5", established, openerUnknown)}, "10.0.0.1:5 > 10.0.0.1:80 false [true true] unknown"},
		{"one end closed", []socket{listener, at("10.0.0.1:5", "10.0.0.1:80", closeWait, openerUnknown),
			at("10.0.0.1:80", "10.0.0.1:5", finWait, openerUnknown)}, "10.0.0.1:5 > 10.0.0.1:80 true [true true] responder"},
		{"found before and after the close", []socket{listener, at("10.0.0.1:5", "10.0.0.1:80", established, openerUnknown),
			at("10.0.0.1:80", "10.0.0.1:5", closeWait, openerUnknown)}, "10.0.0.1:5 > 10.0.0.1:80 true [true true] originator"},
		{"both closed meanwhile", []socket{at("10.0.0.1:5", "10.0.0.1:80", finWait, openerUnknown),
			at("10.0.0.1:80", "10.0.0.1:5", lastAck, openerUnknown)}, ""},
		{"each found when it alone had closed", []socket{at("10.0.0.1:5", "10.0.0.1:80", finWait, openerUnknown),
			at("10.0.0.1:80", "10.0.0.1:5", finWait, openerUnknown)}, ""},
		{"a socket that connected to itself", []socket{at("127.0.0.1:5", "127.0.0.1:5", established, openerUnknown)},
			"127.0.0.1:5 > 127.0.0.1:5 false [true true] unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 {
				conns, l := connectionsOf(tt.sockets)
				var got []string
				for i := range conns {
					if k, ok := conns[i].known(l, 1); ok {
						got = append(got, fmt.Sprint(k.Originator, " > ", k.Responder, " ", k.OriginatorKnown, " ", k.Local, " ", k.Closer))
					}
				}
				if got := strings.Join(got, "; "); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				slices.Reverse(tt.sockets) // their order does not matter
			}
		})
	}
}

// BenchmarkCensus reports what it costs to ask for 4 000 connections on lo.
func BenchmarkCensus(b *testing.B) {
	ns := nettest.New(b, "census")
	ns.Up("lo")
	listener := ns.Listen("127.0.0.1:8080")
	const n = 4_000
	for range n {
		client, err := ns.Dial("127.0.0.1:8080")
		if err != nil {
			b.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { client.Close(); server.Close() })
	}
	at := mustFind(b, ns.Name)
	for b.Loop() {
		c, err := takeCensus(&at, paths{all: true}, nil)
		if err != nil || len(c.open) != n {
			b.Fatalf("%d connections, %v", len(c.open), err)
		}
	}
}
