package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"netobs/decode"
	"netobs/loader/nettest"
)

// with returns a function that sets options of TCP sockets, given as option and value, for net.Dialer and
// net.ListenConfig.
func with(options ...int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) {
			for i := 0; i < len(options); i += 2 {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, options[i], options[i+1]))
			}
		})
		return errors.Join(err, ctlErr)
	}
}

// serveWith serves on a socket with options: it sends back the question, and closes when the client does.
func serveWith(tb testing.TB, ns *nettest.NS, addr string, options ...int) {
	tb.Helper()
	var listener net.Listener
	ns.Do(func() (err error) {
		listener, err = (&net.ListenConfig{Control: with(options...)}).Listen(context.Background(), "tcp", addr)
		return err
	})
	tb.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.CopyN(c, c, int64(len(asked)))
				io.Copy(io.Discard, c)
			}()
		}
	}()
}

// asked is what clients send, and get back.
const asked = "question"

// askAll connects through sockets with options, n times at once. wait is called before anything is sent; it may be nil.
func askAll(tb testing.TB, ns *nettest.NS, addr string, n int, wait func() error, options ...int) {
	tb.Helper()
	one := func() error {
		d := net.Dialer{Control: with(options...), Timeout: 10 * time.Second}
		c, err := d.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		if wait != nil {
			if err := wait(); err != nil {
				return err
			}
		}
		io.WriteString(c, asked)
		// Held back by the cork, data and FIN go together. Not otherwise: who shuts down a socket that has sent its data
		// with the SYN gives up the connection.
		if slices.Contains(options, unix.TCP_CORK) {
			c.(*net.TCPConn).CloseWrite()
		}
		answer := make([]byte, len(asked))
		if _, err := io.ReadFull(c, answer); err != nil || string(answer) != asked {
			return fmt.Errorf("got %q, %v", answer, err)
		}
		c.(*net.TCPConn).CloseWrite()
		_, err = io.Copy(io.Discard, c)
		return err
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			var err error
			ns.Do(func() error {
				err = one()
				return nil
			})
			if err != nil {
				tb.Error(err)
			}
		})
	}
	wg.Wait()
}

// bridgedViews are what topology's namespaces have to do with connections from a to b.
func bridgedViews(a, b, h *nettest.NS) []view {
	return []view{
		{ns: a, role: decode.RoleOriginator, passes: bothWays("eth0")},
		{ns: b, role: decode.RoleResponder, passes: bothWays("eth0")},
		{ns: h, role: decode.RoleForwarded, passes: []string{"in vethA", "in vethB"}},
	}
}

// checkAsked waits for n connections of askAll in all of the views and checks them.
func (l *lab) checkAsked(n int, views []view) {
	l.tb.Helper()
	l.check(load{clients: 1, each: n}, views...)
	for _, v := range views {
		_, _, connections := l.seen(v.ns)
		for _, c := range connections {
			if want := [2]uint32{uint32(len(asked)), uint32(len(asked))}; c.Bytes != want || c.BytesKnown != [2]bool{true, true} {
				l.tb.Errorf("%s: %v bytes, want %v", v.ns.Name, c.Bytes, want)
			}
		}
	}
}

// reported counts the segments reported in a namespace for which is returns true.
func (l *lab) reported(ns *nettest.NS, is func(*decode.Segment) bool) (n int) {
	segments, _, _ := l.seen(ns)
	for i := range segments {
		if is(&segments[i]) {
			n++
		}
	}
	return n
}

// asks is how many connections are made.
const asks = 10

// Data in the SYN, and in the SYN-ACK's company: TCP Fast Open (RFC 7413).
func TestTopologyFastOpen(t *testing.T) {
	t.Parallel()
	a, b, h := topology(t)
	// Client, server; data in the SYN without a cookie, sent and taken.
	for _, ns := range []*nettest.NS{a, b} {
		ns.Sysctl("net/ipv4/tcp_fastopen", fmt.Sprint(0x1|0x2|0x4|0x200))
	}
	serveWith(t, b, "10.9.0.2:80", unix.TCP_FASTOPEN, 100)
	l := newLab(t, a, b, h)
	askAll(t, a, "10.9.0.2:80", asks, nil, unix.TCP_FASTOPEN_CONNECT, 1)
	views := bridgedViews(a, b, h)
	l.checkAsked(asks, views)
	for _, v := range views {
		if n := l.reported(v.ns, func(s *decode.Segment) bool { return s.Has(decode.SYN) && s.Payload > 0 }); n != asks {
			t.Errorf("%s: %d SYNs with data reported, want %d", v.ns.Name, n, asks)
		}
	}
}

// The completing ACK waits for data to go with.
func TestTopologyThirdACKWithData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options []int
	}{
		{"data", []int{unix.TCP_DEFER_ACCEPT, 1}},
		{"data and FIN", []int{unix.TCP_DEFER_ACCEPT, 1, unix.TCP_CORK, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b, h := topology(t)
			serveWith(t, b, "10.9.0.2:80")
			l := newLab(t, a, b, h)
			askAll(t, a, "10.9.0.2:80", asks, nil, c.options...)
			views := bridgedViews(a, b, h)
			l.checkAsked(asks, views)
			for _, v := range views {
				n := l.reported(v.ns, func(s *decode.Segment) bool {
					return !s.Has(decode.SYN) && int(s.Payload) == len(asked) && s.Dst.Port() == 80
				})
				// Nothing but the machine's stalling makes the socket send the ACK alone, after 40 ms.
				if n < asks-2 {
					t.Errorf("%s: %d completing segments with data, want %d", v.ns.Name, n, asks)
				}
			}
		})
	}
}

// The server does not listen to the completing ACK, but waits for data; after a second it sends its SYN-ACK again.
func TestTopologyDeferAccept(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late %t", late), func(t *testing.T) {
			t.Parallel()
			a, b, h := topology(t)
			serveWith(t, b, "10.9.0.2:80", unix.TCP_DEFER_ACCEPT, 1)
			l := newLab(t, a, b, h)
			isSYNACK := func(s *decode.Segment) bool { return s.Has(decode.SYN | decode.ACK) }
			var wait func() error
			if late {
				wait = func() error {
					for end := time.Now().Add(20 * time.Second); l.reported(a, isSYNACK) < 2*asks; {
						if time.Now().After(end) {
							return errors.New("the SYN-ACKs do not come again")
						}
						time.Sleep(10 * time.Millisecond)
					}
					return nil
				}
			}
			askAll(t, a, "10.9.0.2:80", asks, wait)
			l.checkAsked(asks, bridgedViews(a, b, h))
		})
	}
}
