package main

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"netobs/loader"
)

// demoName is what the demo's namespace is called in lines and metrics. It has no name under /run/netns.
const demoName = "demo"

// demoNetns is a network namespace that lives as long as a thread of ours which is in it: so the kernel removes it even
// when netobs is killed.
type demoNetns struct {
	loader.Netns
	leave chan struct{}
	left  chan struct{}
}

// newDemoNetns makes a namespace whose loopback interface is up. The caller closes it. The error wraps unix.EPERM if
// the capability CAP_SYS_ADMIN is missing.
func newDemoNetns() (*demoNetns, error) {
	ns := &demoNetns{leave: make(chan struct{}), left: make(chan struct{})}
	made := make(chan error)
	go func() {
		defer close(ns.left)
		// Never unlocked: the thread ends with the goroutine. It is not the main thread, which loader keeps to itself.
		runtime.LockOSThread()
		err := ns.enter()
		made <- err
		if err == nil {
			<-ns.leave
		}
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	return ns, nil
}

// enter makes the namespace and moves the calling thread into it.
func (ns *demoNetns) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo of the new network namespace up: %w", err)
	}
	ns.Netns, err = loader.FindNetns(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	ns.Name = demoName
	return err
}

// close lets the thread end, and with it the namespace, unless a socket of it is still open.
func (ns *demoNetns) close() {
	close(ns.leave)
	<-ns.left
}
