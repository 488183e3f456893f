// Package nettest makes real network namespaces, veth pairs and bridges for tests, and removes them. Everything it makes
// carries the process id in its name, so that tests can run beside each other.
package nettest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NeedPrivileges skips the test where namespaces and BPF cannot be used, and fails it where NETOBS_TEST_PRIVILEGED=1
// promises that they can: a skip must not hide a regression.
func NeedPrivileges(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("NETOBS_TEST_PRIVILEGED") == "1" {
		tb.Fatal("needs root, and NETOBS_TEST_PRIVILEGED=1 says that it is there")
	}
	tb.Skip("needs root")
}

// NeedProgram skips the test if a program is not installed, and fails it where NETOBS_TEST_PRIVILEGED=1 says that all is.
func NeedProgram(tb testing.TB, name string) {
	tb.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("NETOBS_TEST_PRIVILEGED") == "1" {
		tb.Fatalf("needs %s, and NETOBS_TEST_PRIVILEGED=1 says that it is there", name)
	}
	tb.Skip("needs " + name)
}

// Conn is what Serve hands to its handler.
type Conn = net.TCPConn

// An NS is a network namespace with a name under /run/netns.
type NS struct {
	tb   testing.TB
	Name string
}

var made atomic.Int32

// New makes a namespace; its lo is down. It is removed at the end of the test.
func New(tb testing.TB, name string) *NS {
	tb.Helper()
	NeedPrivileges(tb)
	ns := &NS{tb, fmt.Sprintf("%s-%d-%d", name, os.Getpid(), made.Add(1))}
	ns.Make()
	ns.removeAtEnd()
	return ns
}

// Make makes the namespace again after Delete.
func (ns *NS) Make() {
	ns.tb.Helper()
	onThread(ns.tb, func() error {
		handle, err := netns.NewNamed(ns.Name)
		if err != nil {
			return err
		}
		return handle.Close()
	})
}

func (ns *NS) removeAtEnd() {
	name := ns.Name
	ns.tb.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			ns.tb.Errorf("remove namespace %s: %v", name, err)
		}
	})
}

// SetName gives the namespace another name.
func (ns *NS) SetName(name string) {
	ns.tb.Helper()
	from, to := "/run/netns/"+ns.Name, "/run/netns/"+name
	err := os.WriteFile(to, nil, 0o644)
	if err == nil {
		err = unix.Mount(from, to, "", unix.MS_BIND, "")
	}
	if err != nil {
		ns.tb.Fatal(err)
	}
	ns.Delete()
	ns.Name = name
	ns.removeAtEnd()
}

// Delete removes the name before the end of the test, as "ip netns del" does.
func (ns *NS) Delete() {
	ns.tb.Helper()
	if err := netns.DeleteNamed(ns.Name); err != nil {
		ns.tb.Fatal(err)
	}
}

// onThread runs f on a thread that ends with it, as its namespace may not be the old one any more.
func onThread(tb testing.TB, f func() error) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
}

// Do calls f on a thread inside the namespace; sockets that f opens stay there. f must not start goroutines that open
// sockets.
func (ns *NS) Do(f func() error) {
	ns.tb.Helper()
	onThread(ns.tb, func() error {
		handle, err := netns.GetFromName(ns.Name)
		if err != nil {
			return err
		}
		defer handle.Close()
		if err := netns.Set(handle); err != nil {
			return err
		}
		return f()
	})
}

// Up sets an interface up.
func (ns *NS) Up(name string) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}

// Down sets an interface down.
func (ns *NS) Down(name string) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
}

// Addr gives an interface an address with prefix length, IPv6 without duplicate address detection, and sets it up.
func (ns *NS) Addr(name, cidr string) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		return errors.Join(netlink.AddrAdd(l, addr), netlink.LinkSetUp(l))
	})
}

// Veth makes a veth pair with its ends in a and b, both up.
func Veth(a *NS, aName string, b *NS, bName string) {
	a.tb.Helper()
	a.Do(func() error {
		peer, err := netns.GetFromName(b.Name)
		if err != nil {
			return err
		}
		defer peer.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = aName
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(peer)})
	})
	a.Up(aName)
	b.Up(bName)
}

// Bridge makes a bridge that is up, with ports.
func (ns *NS) Bridge(name string, ports ...string) {
	ns.tb.Helper()
	ns.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		bridge := &netlink.Bridge{LinkAttrs: attrs}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		for _, port := range ports {
			l, err := netlink.LinkByName(port)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetMaster(l, bridge); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(bridge)
	})
}

// Rename gives an interface another name.
func (ns *NS) Rename(from, to string) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(from)
		if err != nil {
			return err
		}
		return netlink.LinkSetName(l, to)
	})
}

// Remove deletes an interface.
func (ns *NS) Remove(name string) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
}

// Move moves an interface to another namespace.
func (ns *NS) Move(name string, to *NS) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		handle, err := netns.GetFromName(to.Name)
		if err != nil {
			return err
		}
		defer handle.Close()
		return netlink.LinkSetNsFd(l, int(handle))
	})
}

// Listen opens a TCP listener in the namespace, closed at the end of the test.
func (ns *NS) Listen(addr string) *net.TCPListener {
	ns.tb.Helper()
	var l net.Listener
	ns.Do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	ns.tb.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// Serve accepts connections of a new listener and handles each in a goroutine. Handlers close their connection.
func (ns *NS) Serve(addr string, handle func(*net.TCPConn)) {
	ns.tb.Helper()
	l := ns.Listen(addr)
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
}

// Dial connects from inside the namespace. The error is that of the connection.
func (ns *NS) Dial(addr string) (*net.TCPConn, error) {
	ns.tb.Helper()
	var c net.Conn
	var dialErr error
	ns.Do(func() error {
		c, dialErr = net.DialTimeout("tcp", addr, 10*time.Second)
		return nil
	})
	if dialErr != nil {
		return nil, dialErr
	}
	return c.(*net.TCPConn), nil
}

// Connect makes a connection from inside the namespace to a listener, and returns its ends. They are closed at the end of the
// test.
func (ns *NS) Connect(to *net.TCPListener) (client, server *net.TCPConn) {
	ns.tb.Helper()
	client, err := ns.Dial(to.Addr().String())
	if err != nil {
		ns.tb.Fatal(err)
	}
	server, err = to.AcceptTCP()
	if err != nil {
		ns.tb.Fatal(err)
	}
	ns.tb.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// patienceEnv is how much longer than usual things may take: an emulated machine is slow.
const patienceEnv = "NETOBS_TEST_PATIENCE"

// Eventually waits until check returns nil, and fails the test with its last error after the deadline.
func Eventually(tb testing.TB, deadline time.Duration, check func() error) {
	tb.Helper()
	if factor, err := strconv.Atoi(os.Getenv(patienceEnv)); err == nil {
		deadline *= time.Duration(factor)
	}
	end := time.Now().Add(deadline)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("not within %s: %v", deadline, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Neighbour makes a permanent neighbour entry.
func (ns *NS) Neighbour(name, ip, mac string) {
	ns.tb.Helper()
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex:    l.Attrs().Index,
			State:        netlink.NUD_PERMANENT,
			IP:           net.ParseIP(ip),
			HardwareAddr: hw,
		})
	})
}

// Sysctl sets a setting of the namespace, named as under /proc/sys.
func (ns *NS) Sysctl(name, value string) {
	ns.tb.Helper()
	ns.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) })
}

// Attached returns how many programs are attached to an interface by TCX, in both directions, and XDP.
func (ns *NS) Attached(name string) int {
	ns.tb.Helper()
	var n int
	ns.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, hook := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			res, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: hook})
			if err != nil {
				return err
			}
			n += len(res.Programs)
		}
		if xdp := l.Attrs().Xdp; xdp != nil && xdp.Attached {
			n++
		}
		return nil
	})
	return n
}

// Has reports whether the namespace has an interface of this name.
func (ns *NS) Has(name string) bool {
	ns.tb.Helper()
	var has bool
	ns.Do(func() error {
		_, err := netlink.LinkByName(name)
		has = err == nil
		return nil
	})
	return has
}
