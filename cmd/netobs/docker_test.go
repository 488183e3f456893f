package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"netobs/loader/nettest"
	"netobs/loader/wiring"
)

const publishedPort = 18080

// TestDocker: two real containers on docker0. They are found and named; one is watched by its name, through the published
// port and through a restart.
func TestDocker(t *testing.T) {
	d := nettest.StartDocker(t)
	web := d.Serve("web", publishedPort)
	d.Serve("db", 0)

	t.Run("named and drawn", func(t *testing.T) { checkContainersShown(t, d, web) })
	t.Run("no such container", func(t *testing.T) {
		checkRefused(t, exitFailed, []string{`no container "wep" is running; there are db, web`}, "attach", "--container", "wep")
	})

	s := startAttach(t, "--container", "web", "--netns", d.NS.Name)
	waitContainer := func() { s.waitFor(3, "observation_points", label("netns", "web")) } // lo, and both ways of eth0
	waitContainer()
	t.Run("published port", func(t *testing.T) {
		// From the host, to an address of its own: its firewall translates it to the container's.
		s.waitForHandshake("web", get(t, d.NS, fmt.Sprintf("172.17.0.1:%d", publishedPort)))
		s.waitFor(1, "handshakes_total", label("netns", "web"), label("role", "responder"), label("outcome", "completed"))
		s.waitFor(1, "handshakes_total", label("netns", d.NS.Name), label("role", "originator"), label("outcome", "completed"))
		s.waitFor(1, "teardowns_total", label("netns", "web"), label("role", "responder"))
	})
	t.Run("restart under load", func(t *testing.T) {
		stop, loaded := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(loaded)
			for {
				select {
				case <-stop:
					return
				default:
					if c, err := d.NS.Dial(fmt.Sprintf("172.17.0.1:%d", publishedPort)); err == nil {
						c.Close()
					}
				}
			}
		}()
		d.Restart("web")
		close(stop)
		<-loaded
		waitContainer()
		for range 5 {
			s.waitForHandshake("web", get(t, d.NS, fmt.Sprintf("172.17.0.1:%d", publishedPort)))
		}
	})
	if log := s.end(); strings.Contains(log, "level=ERROR") {
		t.Errorf("netobs logged\n%s", log)
	}
}

// waitForHandshake waits until the web server was seen to have completed one with a client, once.
func (s *session) waitForHandshake(netns string, client net.Addr) {
	s.tb.Helper()
	line := regexp.MustCompile(`(?m) ` + regexp.QuoteMeta(netns) + ` +eth0 +` + regexp.QuoteMeta(client.String()) + ` > \S+:80 +responder +handshake completed `)
	nettest.Eventually(s.tb, 20*time.Second, func() error {
		if n := len(line.FindAllString(s.stdout.String(), -1)); n != 1 {
			return fmt.Errorf("%d handshakes of %s in\n%s", n, client, s.stdout.String())
		}
		return nil
	})
}

// get fetches the page of a container. It returns the address of the client.
func get(t *testing.T, from *nettest.NS, addr string) net.Addr {
	t.Helper()
	var c *net.TCPConn
	nettest.Eventually(t, 10*time.Second, func() (err error) { // the server has just started
		c, err = from.Dial(addr)
		return err
	})
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
	page, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(page), "hello\n") {
		t.Errorf("page %q, %v", page, err)
	}
	return c.LocalAddr()
}

func checkContainersShown(t *testing.T, d *nettest.Docker, web string) {
	code, stdout, stderr := runHere(t, "namespaces", "--output", "json")
	var host wiring.Host
	if err := json.Unmarshal([]byte(stdout), &host); code != 0 || err != nil {
		t.Fatalf("code %d, %v, stderr %s", code, err, stderr)
	}
	for _, name := range []string{"web", "db"} {
		k := slices.IndexFunc(host.Namespaces, func(ns *wiring.Namespace) bool { return ns.Name == name })
		if k < 0 {
			t.Errorf("no namespace %s in\n%s", name, stdout)
			continue
		}
		ns := host.Namespaces[k]
		if ns.Container == nil || name == "web" && ns.Container.ID != web || ns.Process != "busybox" {
			t.Errorf("%s is %+v", name, ns)
		}
		for _, i := range ns.Interfaces {
			if i.Kind == "veth" && (i.Peer == nil || i.Peer.Netns != d.NS.Name || i.Addresses[0].Addr().String() != d.Address(name)) {
				t.Errorf("%s of %s is %+v, peer %v", i.Name, name, i, i.Peer)
			}
		}
	}
}
