package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// twoOnVeth returns two namespaces joined by eth0.
func twoOnVeth(tb testing.TB) (a, b *nettest.NS) {
	a, b = nettest.New(tb, "learn"), nettest.New(tb, "learn")
	a.Up("lo")
	b.Up("lo")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Addr("eth0", "10.9.0.1/24")
	b.Addr("eth0", "10.9.0.2/24")
	a.Addr("eth0", "fd09::1/64")
	b.Addr("eth0", "fd09::2/64")
	return a, b
}

// TestLearned: of connections that were open before it is known who opened them, and how they end.
func TestLearned(t *testing.T) {
	t.Parallel()
	a, b := twoOnVeth(t)
	onLo, inB, inB6 := a.Listen("127.0.0.1:8080"), b.Listen("10.9.0.2:8081"), b.Listen("[fd09::2]:8082")
	onLoClient, onLoServer := a.Connect(onLo)
	client, server := a.Connect(inB)
	client6, server6 := a.Connect(inB6)
	half, halfServer := a.Connect(inB)
	half.CloseWrite()
	reset, _ := a.Connect(onLo)
	a.Connect(onLo) // stays
	inB.Close()     // who accepted is known even so
	over, overServer := a.Connect(onLo)
	over.Close()
	overServer.Close()

	s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "json")
	gauge := func(want float64, ns *nettest.NS, role, state string) {
		t.Helper()
		s.waitFor(want, "connections", label("netns", ns.Name), label("role", role), label("state", state))
	}
	gauge(3, a, "local", "established")
	gauge(2, a, "originator", "established")
	gauge(1, a, "originator", "half_closed")
	gauge(2, b, "responder", "established")
	gauge(1, b, "responder", "half_closed")
	s.waitFor(6, "connections_unseen_total", label("netns", a.Name))
	s.waitFor(3, "connections_unseen_total", label("netns", b.Name))

	attached := time.Now()
	for _, c := range []*net.TCPConn{onLoServer, onLoClient, client, server, server6, client6, halfServer, half} {
		c.Close()
	}
	reset.SetLinger(0)
	reset.Close()

	want := map[string]string{}
	for _, w := range []struct {
		client                               *net.TCPConn
		netns, iface, role, teardown, closer string
	}{
		{onLoClient, a.Name, "lo", "local", "fin", "responder"},
		{client, a.Name, "eth0", "originator", "fin", "originator"},
		{client, b.Name, "eth0", "responder", "fin", "originator"},
		{client6, a.Name, "eth0", "originator", "fin", "responder"},
		{client6, b.Name, "eth0", "responder", "fin", "responder"},
		{half, a.Name, "eth0", "originator", "fin", "originator"},
		{half, b.Name, "eth0", "responder", "fin", "originator"},
		{reset, a.Name, "lo", "local", "rst", "originator"},
	} {
		want[fmt.Sprintf("%s %s > %s", w.netns, w.client.LocalAddr(), w.client.RemoteAddr())] = fmt.Sprintf(
			"at %s, %s, %s, closed by %s, known true, unseen true", w.iface, w.role, w.teardown, w.closer)
	}
	nettest.Eventually(t, 20*time.Second, func() error {
		got := make(map[string]string)
		for lines := bufio.NewScanner(strings.NewReader(s.stdout.String())); lines.Scan(); {
			var c jsonConnection
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				return err
			}
			if c.Type != "connection" {
				return fmt.Errorf("%s", lines.Text())
			}
			got[fmt.Sprintf("%s %s > %s", c.Netns, c.Originator, c.Responder)] = fmt.Sprintf(
				"at %s, %s, %s, closed by %s, known %t, unseen %t", c.Interface, c.Role, c.Teardown, c.Closer, c.OriginatorKnown, c.Unseen)
			if c.Start.After(attached) {
				return fmt.Errorf("began at %s, after %s: %s", c.Start, attached, lines.Text())
			}
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("got %q\nwant %q", got, want)
		}
		return nil
	})
	gauge(1, a, "local", "established")
	for _, ns := range []*nettest.NS{a, b} {
		gauge(0, ns, "originator", "established")
		gauge(0, ns, "responder", "established")
		s.waitFor(0, "connections", label("netns", ns.Name), label("state", "half_closed"))
	}
	if n := s.scrape().sum("handshakes_total"); n != 0 {
		t.Errorf("%v handshakes, of connections that had theirs before", n)
	}
}

// TestLearnedOnlyWhereWatched: of a connection that passes no watched interface nobody would hear the end.
func TestLearnedOnlyWhereWatched(t *testing.T) {
	t.Parallel()
	a, b := twoOnVeth(t)
	a.Connect(a.Listen("127.0.0.1:8080"))
	a.Connect(a.Listen("10.9.0.1:8080"))
	inB := b.Listen("10.9.0.2:8081")
	a.Connect(inB)
	a.Connect(inB)
	s := startAttach(t, "--netns", a.Name, "--interface", "lo")
	s.waitFor(2, "connections", label("role", "local"), label("state", "established"))
	if n := s.scrape().sum("connections_unseen_total"); n != 2 {
		t.Errorf("%v connections learned, want those on lo", n)
	}
	s = startAttach(t, "--netns", a.Name, "--interface", "eth*")
	s.waitFor(2, "connections", label("role", "originator"), label("state", "established"))
	if n := s.scrape().sum("connections_unseen_total"); n != 2 {
		t.Errorf("%v connections learned, want those on eth0", n)
	}
}

// TestLearnWhileTheyComeAndGo: connections begin and end all the time while netobs attaches. None is counted twice, and none
// that is over stays open.
func TestLearnWhileTheyComeAndGo(t *testing.T) {
	t.Parallel()
	a, b := twoOnVeth(t)
	for _, l := range []*net.TCPListener{a.Listen("127.0.0.1:8080"), b.Listen("10.9.0.2:8080")} {
		go func() {
			for {
				c, err := l.AcceptTCP()
				if err != nil {
					return
				}
				go func() {
					io.Copy(io.Discard, c) // until the client closes
					c.Close()
				}()
			}
		}()
	}
	var stop atomic.Bool
	var talkers sync.WaitGroup
	for i := range 4 {
		addr := [...]string{"127.0.0.1:8080", "10.9.0.2:8080"}[i%2]
		talkers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				c, err := a.Dial(addr)
				if err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(n%7) * 10 * time.Millisecond)
				c.Close()
			}
		})
	}
	s := startAttach(t, "--netns", a.Name, "--netns", b.Name, "--output", "json")
	attached := time.Now()
	nettest.Eventually(t, 20*time.Second, func() error {
		if s.scrape().sum("handshakes_total", label("outcome", "completed")) < 40 {
			return errors.New("few connections")
		}
		return nil
	})
	stop.Store(true)
	talkers.Wait()

	s.waitFor(0, "connections")
	m := s.scrape()
	for _, ns := range []*nettest.NS{a, b} {
		netns := label("netns", ns.Name)
		began := m.sum("handshakes_total", netns, label("outcome", "completed")) + m.sum("connections_unseen_total", netns)
		if ended := m.sum("teardowns_total", netns); began != ended {
			t.Errorf("%s: %v began, %v ended", ns.Name, began, ended)
		}
	}
	s.end()
	for lines := bufio.NewScanner(strings.NewReader(s.stdout.String())); lines.Scan(); {
		var c jsonConnection
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		// Of those that were there when points went live, half may have been seen.
		if c.Type == "connection" && !c.Unseen && c.Start.After(attached) && c.Teardown != "fin" {
			t.Error(lines.Text())
		}
	}
}
