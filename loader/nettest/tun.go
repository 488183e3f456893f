package nettest

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Tun joins two namespaces by a pair of tun interfaces, whose packets have no Ethernet header; both up. They go at the end of
// the test.
func Tun(a *NS, aName string, b *NS, bName string) {
	a.tb.Helper()
	left, right := a.tun(aName), b.tun(bName)
	a.Up(aName)
	b.Up(bName)
	var copying sync.WaitGroup
	copying.Go(func() { copyPackets(left, right) })
	copying.Go(func() { copyPackets(right, left) })
	a.tb.Cleanup(func() {
		left.Close()
		right.Close()
		copying.Wait()
	})
}

func (ns *NS) tun(name string) (tun *os.File) {
	ns.tb.Helper()
	ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		tun = os.NewFile(uintptr(fd), name)
		return err
	})
	return tun
}

// copyPackets ends when one of the files is closed. A packet that an interface does not take, as it is down, is lost.
func copyPackets(from, to *os.File) {
	packet := make([]byte, 1<<16)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		if _, err := to.Write(packet[:n]); errors.Is(err, os.ErrClosed) {
			return
		}
	}
}
