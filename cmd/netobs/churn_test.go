package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// churnEnv makes TestChurn the long one: churnLong namespaces in this time, such as 2m.
const churnEnv = "NETOBS_CHURN"

// churnAlive is how many namespaces there are at most at a time, each with five points: not more, because of what a kernel
// does that frees many programs at once.
const churnAlive, churnLong = 24, 200

// Ports of the servers in each namespace.
const (
	portCounted = "9000" // its connections are counted
	portNobody  = "9001" // refused, and counted
	portWild    = "7000" // all others
)

// churn is a hub, a namespace with a bridge, and others that come, are connected to it, and go, at random.
type churn struct {
	t    *testing.T
	name string // how names of namespaces begin
	hub  *nettest.NS
	n    *watcher

	next atomic.Int32 // number of the next namespace
	last int32
	span time.Duration // of the life of one

	mu    sync.Mutex
	want  map[tally]int // what was done while it was watched
	lives []*life       // that take connections
	ends  []time.Duration
}

// life is one namespace, from its beginning to its end.
type life struct {
	c         *churn
	ns        *nettest.NS
	ip        string
	wires     int
	end, veth string // names of the ends of its veth pair
	servers   []io.Closer
	served    sync.WaitGroup
	leased    sync.RWMutex // read: somebody connects to it
	stopWild  func()
}

const hubIP = "10.77.255.254"

// TestChurn: namespaces with veths come and go at random under traffic. What happened while they were watched is counted
// exactly, nothing is left of those that went, neither in netobs nor in the kernel, and nothing keeps them.
func TestChurn(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	total, alive, span := 12, 6, 3*time.Second
	if v := os.Getenv(churnEnv); v != "" {
		var err error
		if span, err = time.ParseDuration(v); err != nil {
			t.Fatalf("%s: %v", churnEnv, err)
		}
		total, alive = churnLong, churnAlive
	}
	name := fmt.Sprintf("churn%dx", os.Getpid()) // so that two tests at a time do not watch each other's
	c := &churn{t: t, name: name, hub: nettest.New(t, name), want: make(map[tally]int), last: int32(total)}
	c.span = span * time.Duration(alive) / time.Duration(total)
	c.hub.Bridge("br0")
	c.hub.SetMAC("br0", "02:00:00:00:00:77") // else it changes with the ports
	c.hub.Addr("br0", hubIP+"/16")
	c.hub.Up("lo")
	hub := &life{c: c, ns: c.hub}
	hub.serve()
	defer hub.close()
	c.n = startWatcher(t, name)
	c.n.waitReady(c.hub.Name+"/lo", c.hub.Name+"/br0")

	c.live(calm) // what is made once is there now
	c.n.wantPoints(3)
	before := c.n.atRest()
	var wg sync.WaitGroup
	for range alive {
		wg.Go(func() {
			time.Sleep(rand.N(c.span))
			for c.next.Load() < c.last {
				c.live(kind(rand.N(kinds)))
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return // what one left that gave up is not for netobs to explain
	}

	c.n.wantPoints(3) // lo and two of the bridge
	c.n.wantHoldings(before)
	c.n.wantTallies(c.want)
	c.n.wantTotals(c.hub.Name)
	slices.Sort(c.ends)
	t.Logf("%d namespaces; after the last process left, a namespace took %v (median), %v (longest) to end; counted %d connections",
		len(c.ends), c.ends[len(c.ends)/2], c.ends[len(c.ends)-1], c.want[tally{c.hub.Name, "responder", "completed"}])
	c.n.end()
	c.n.wantTallies(c.want)
}

// kind is what becomes of a namespace.
type kind int

const (
	calm      kind = iota // the traffic ends, then the namespace
	unwatched             // it ends as soon as it was made
	rewired               // its veth pair is replaced
	busy                  // its name goes under traffic, later the traffic
	kinds
)

// live is one namespace, from its beginning to its end.
func (c *churn) live(k kind) {
	n := c.next.Add(1)
	l := &life{c: c, ns: nettest.New(c.t, c.name), ip: fmt.Sprintf("10.77.%d.%d", n/100, n%100+1)}
	l.wire()
	l.ns.Up("lo")
	if k == unwatched {
		l.ns.Delete()
		l.wantGone()
		return
	}
	l.serve()
	l.beWild()
	defer func() { l.stopWild() }() // also if the test fails
	l.waitReady()
	end := time.Now().Add(c.span/2 + rand.N(c.span))
	l.talk(time.Until(end) / 2)
	if k == rewired {
		l.stopWild()
		c.hub.Remove(l.veth)
		l.wire()
		l.waitReady()
		l.beWild()
	}
	l.talk(time.Until(end))
	if k == busy {
		l.ns.Delete()
		time.Sleep(rand.N(300 * time.Millisecond))
	}
	l.stopWild()
	l.close()
	if k != busy {
		l.ns.Delete()
	}
	l.wantGone()
}

// wire connects it to the bridge.
func (l *life) wire() {
	l.end, l.veth = fmt.Sprint("eth", l.wires), fmt.Sprintf("v%s-%d", l.ip[len("10.77."):], l.wires)
	l.wires++
	nettest.Veth(l.ns, l.end, l.c.hub, l.veth)
	l.c.hub.Enslave(l.veth, "br0")
	// The same one each time: who has another one in its neighbour table may not believe a new one for a second (LOCKTIME in
	// net/ipv4/arp.c), and then goes on to use the old one for half a minute.
	l.ns.SetMAC(l.end, net.HardwareAddr(append([]byte{2, 0}, net.ParseIP(l.ip).To4()...)).String())
	l.ns.Addr(l.end, l.ip+"/16")
}

func (l *life) waitReady() {
	l.c.n.waitReady(l.ns.Name+"/lo", l.ns.Name+"/"+l.end, l.c.hub.Name+"/"+l.veth)
}

// serve answers at portCounted and portWild.
func (l *life) serve() {
	l.serveAt(portCounted, func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		io.WriteString(c, "bye")
	})
	l.serveAt(portWild, func(*net.TCPConn) {})
}

func (l *life) serveAt(port string, answer func(*net.TCPConn)) {
	listener := l.ns.Listen(":" + port)
	l.servers = append(l.servers, listener)
	l.served.Go(func() {
		for {
			c, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			l.served.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				answer(c)
			})
		}
	})
}

// close returns when nothing of the test keeps the namespace.
func (l *life) close() {
	l.leased.Lock() // for good
	for _, s := range l.servers {
		s.Close()
	}
	l.served.Wait()
}

// beWild makes connections all the time, until stopWild: also before anybody watches, and when nobody does any more.
func (l *life) beWild() {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		l.ns.Do(func() error {
			for {
				for _, ip := range []string{"127.0.0.1", hubIP} {
					c, err := net.DialTimeout("tcp", ip+":"+portWild, time.Second)
					if err == nil {
						c.Close()
					}
				}
				select {
				case <-stop:
					return nil
				case <-time.After(rand.N(20 * time.Millisecond)):
				}
			}
		})
	})
	l.stopWild = sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
}

// talk makes connections that are counted: inside, to the hub, and to another namespace.
func (l *life) talk(d time.Duration) {
	l.c.mu.Lock()
	l.c.lives = append(l.c.lives, l)
	l.c.mu.Unlock()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(rand.N(40 * time.Millisecond)) {
		l.exchange("127.0.0.1", tally{l.ns.Name, "local", "completed"})
		l.exchange(hubIP, tally{l.ns.Name, "originator", "completed"}, tally{l.c.hub.Name, "responder", "completed"})
		l.refused("127.0.0.1", tally{l.ns.Name, "local", "refused"})
		if o := l.c.lease(l); o != nil {
			l.visit(o)
		}
	}
	l.leased.Lock() // until nobody connects to it any more
	defer l.leased.Unlock()
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.c.lives = slices.DeleteFunc(l.c.lives, func(o *life) bool { return o == l })
}

// lease returns another namespace that stays as it is until it is unlocked, nil if there is none.
func (c *churn) lease(but *life) *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.lives[rand.N(len(c.lives))]
	if o == but || !o.leased.TryRLock() {
		return nil
	}
	return o
}

// visit makes a connection to another namespace, and ends its lease.
func (l *life) visit(o *life) {
	defer o.leased.RUnlock() // also if the test fails: else others would wait for ever
	l.exchange(o.ip, tally{l.ns.Name, "originator", "completed"}, tally{o.ns.Name, "responder", "completed"},
		tally{l.c.hub.Name, "forwarded", "completed"})
}

// exchange makes a connection that its originator closes, and notes where it must have been counted.
func (l *life) exchange(ip string, seen ...tally) {
	l.ns.Do(func() error {
		c, err := net.DialTimeout("tcp", ip+":"+portCounted, 10*time.Second)
		if err != nil {
			return fmt.Errorf("from %s: %w", l.ns.Name, err)
		}
		defer c.Close()
		io.WriteString(c, "hello")
		c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "bye" {
			return fmt.Errorf("from %s to %s: %q, %v", l.ns.Name, ip, got, err)
		}
		return nil
	})
	l.c.note(seen)
}

func (l *life) refused(ip string, seen ...tally) {
	l.ns.Do(func() error {
		_, err := net.DialTimeout("tcp", ip+":"+portNobody, 10*time.Second)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("connection to a closed port: %v", err)
		}
		return nil
	})
	l.c.note(seen)
}

func (c *churn) note(seen []tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range seen {
		c.want[s]++
		if s.outcome == "completed" {
			c.want[tally{s.netns, s.role, "fin"}]++
		}
	}
}

// wantGone waits for the end of a namespace that has neither name nor process: its interfaces end with it, and so does the
// other end of its veth pair.
func (l *life) wantGone() {
	start := time.Now()
	nettest.Eventually(l.c.t, 20*time.Second, func() error {
		if l.c.hub.Has(l.veth) {
			return fmt.Errorf("namespace %s is kept: %s is still there", l.ns.Name, l.veth)
		}
		return nil
	})
	l.c.mu.Lock()
	l.c.ends = append(l.c.ends, time.Since(start))
	l.c.mu.Unlock()
}
