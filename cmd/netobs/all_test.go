package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/loader"
)

// TestAllWithOneName: two namespaces of which both are called as the program that runs in them. They are summed, and the
// scrape does not fail.
func TestAllWithOneName(t *testing.T) {
	const name = "qsame"
	s := startAttach(t, "--all", "--exclude-netns", "[^q]*", "--exclude-netns", "q[^s]*", "--exclude-netns", "qs[^a]*")
	tail, err := exec.LookPath("tail")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(tail, program); err != nil {
		t.Fatal(err)
	}
	var namespaces []loader.Netns
	for range 2 {
		cmd := exec.Command(program, "-f", "/dev/null")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		ns, err := loader.FindPid(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		namespaces = append(namespaces, ns)
	}
	s.waitFor(2, "observation_points", label("netns", name))
	for _, ns := range namespaces {
		if err := ns.Do(connectOnLo); err != nil {
			t.Fatal(err)
		}
	}
	s.waitFor(2, "handshakes_total", label("netns", name), label("outcome", "completed"))
	s.waitFor(4, "flags_total", label("netns", name), label("flag", "SYN"))
}

// connectOnLo sets lo up and connects once, to itself.
func connectOnLo() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	return c.Close()
}
