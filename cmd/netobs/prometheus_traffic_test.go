package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"netobs/decode"
	"netobs/loader/nettest"
)

// Ports of the server of a mixed load, beside those of load.
const (
	portDropped   = "8090" // a firewall drops what comes
	portHalfOpen  = "8091" // the client's firewall drops what is answered
	portSlow      = "8092" // the first SYN of each attempt is dropped
	portFull      = "8093" // nobody accepts, and one connection fills the queue
	portDrainBare = 8084   // portDrain
	bytesEach     = 1000   // sent by the client of a good connection
	serverIP      = "10.9.0.2"
)

// mixed is how many connections end in each way.
type mixed struct {
	good, refused, unanswered, halfOpen, reset, slow, overflow int
	late                                                       int // RSTs after good connections
	fragments                                                  int // packets that cannot be decoded
}

func (m mixed) completed() int { return m.good + m.reset + m.slow }

// failed is what the originator and the responder see fail.
func (m mixed) failed() int { return m.refused + m.unanswered + m.overflow + m.halfOpen }

func (m mixed) times(n int) mixed {
	return mixed{m.good * n, m.refused * n, m.unanswered * n, m.halfOpen * n, m.reset * n, m.slow * n, m.overflow * n, m.late * n, m.fragments * n}
}

// A mixer makes mixed loads, from a client through a bridge to a server.
type mixer struct {
	tb                     testing.TB
	client, server, bridge *nettest.NS
	spoofed                int // ports of half-open connections so far
}

// newMixer makes the namespaces and the servers.
func newMixer(tb testing.TB) *mixer {
	m := &mixer{tb: tb}
	m.client, m.server, m.bridge = topology(tb)
	nettest.Know(m.client, "eth0", "10.9.0.1", m.server, "eth0", serverIP)
	m.server.Sysctl("net/ipv4/tcp_synack_retries", "1")
	m.server.NFT(`table inet netobs {
		set seen { type inet_service; flags dynamic; }
		chain in { type filter hook input priority 0;
			tcp dport ` + portDropped + ` drop
			tcp dport ` + portSlow + ` tcp flags syn tcp sport != @seen add @seen { tcp sport } drop
		}
	}`)
	m.client.NFT(`table inet netobs {
		chain in { type filter hook input priority 0;
			tcp sport ` + portHalfOpen + ` drop
		}
	}`)
	drain := func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	}
	m.server.Serve(net.JoinHostPort(serverIP, portDrain), drain)
	m.server.Serve(net.JoinHostPort(serverIP, portSlow), drain)
	m.server.Listen(net.JoinHostPort(serverIP, portHalfOpen))
	full := m.server.Listen(net.JoinHostPort(serverIP, portFull))
	raw, err := full.SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }); err != nil {
		tb.Fatal(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// hold opens connections that stay until the end of the test.
func (m *mixer) hold(port string, n int) {
	m.tb.Helper()
	for range n {
		c, err := m.client.Dial(net.JoinHostPort(serverIP, port))
		if err != nil {
			m.tb.Fatal(err)
		}
		m.tb.Cleanup(func() { c.Close() })
	}
}

// run makes a load. Its verdicts are there some seconds later.
func (m *mixer) run(load mixed) {
	m.tb.Helper()
	// Attempts that get no answer at once are made side by side, and given up before the SYN is sent again.
	var wg sync.WaitGroup
	silent := func(port string, n int) {
		for range n {
			wg.Go(func() {
				m.client.Do(func() error {
					c, err := net.DialTimeout("tcp", net.JoinHostPort(serverIP, port), 500*time.Millisecond)
					if err == nil {
						c.Close()
						return errors.New("somebody answered at port " + port)
					}
					return nil
				})
			})
		}
	}
	silent(portDropped, load.unanswered)
	silent(portFull, load.overflow)
	for range load.slow {
		wg.Go(func() { m.exchange(portSlow, nil) })
	}
	m.client.Do(func() error {
		for range load.refused {
			if _, err := net.Dial("tcp", net.JoinHostPort(serverIP, portClosed)); !errors.Is(err, syscall.ECONNREFUSED) {
				return errors.New("a closed port is not refused")
			}
		}
		for range load.reset {
			c, err := net.Dial("tcp", net.JoinHostPort(serverIP, portDrain))
			if err != nil {
				return err
			}
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		return nil
	})
	m.halfOpen(load.halfOpen)
	m.fragments(load.fragments)
	for i := range load.good {
		local := m.exchange(portDrain, make([]byte, bytesEach))
		if i < load.late {
			m.client.SendSegments(decode.Segment{Src: local, Dst: netip.AddrPortFrom(netip.MustParseAddr(serverIP), portDrainBare), Flags: decode.RST})
		}
	}
	wg.Wait()
}

// exchange opens a connection, sends, and closes first, in order. It returns the client's socket.
func (m *mixer) exchange(port string, data []byte) netip.AddrPort {
	m.tb.Helper()
	var local netip.AddrPort
	m.client.Do(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(serverIP, port), 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		local = c.LocalAddr().(*net.TCPAddr).AddrPort()
		if _, err := c.Write(data); err != nil {
			return err
		}
		c.(*net.TCPConn).CloseWrite()
		_, err = io.Copy(io.Discard, c)
		return err
	})
	return local
}

// halfOpen sends SYNs behind which nobody stands.
func (m *mixer) halfOpen(n int) {
	m.tb.Helper()
	for range n {
		m.spoofed++
		m.client.SendSegments(decode.Segment{
			Src: netip.AddrPortFrom(netip.MustParseAddr("10.9.0.1"), uint16(1000+m.spoofed)),
			Dst: netip.AddrPortFrom(netip.MustParseAddr(serverIP), 8091), Flags: decode.SYN, Seq: 1, Wnd: 1000,
		})
	}
}

// fragments sends parts of packets, of which only the first would have ports.
func (m *mixer) fragments(n int) {
	m.tb.Helper()
	mac := func(ns *nettest.NS) net.HardwareAddr {
		mac, err := net.ParseMAC(ns.MAC("eth0"))
		if err != nil {
			m.tb.Fatal(err)
		}
		return mac
	}
	buf := gopacket.NewSerializeBuffer()
	ip := ipv4(true)
	ip.FragOffset = 100
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: mac(m.client), DstMAC: mac(m.server), EthernetType: layers.EthernetTypeIPv4}, ip,
		gopacket.Payload(make([]byte, 100)))
	if err != nil {
		m.tb.Fatal(err)
	}
	for range n {
		sendFrame(m.client, buf.Bytes())
	}
}
