package loader

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"netobs/loader/nettest"
)

// TestNumberUsedAgain: a namespace gets the number of one that ended. What was heard about that one must not be taken for
// news of the new one, whose interfaces would be let go of and attached again.
func TestNumberUsedAgain(t *testing.T) {
	t.Parallel()
	former, ns := nettest.New(t, "former"), nettest.New(t, "ns")
	l, err := New(Options{Netns: []Netns{mustFind(t, ns.Name)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	number := 1<<20 + os.Getpid() // that nobody else takes
	if err := setNumber(t, former, number); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []*nettest.NS{former, ns} {
		ns.Bridge("br0")
	}
	if former.Index("br0") != ns.Index("br0") {
		t.Fatal("the interfaces have other indices")
	}
	former.Remove("br0")
	former.Delete()
	nettest.Eventually(t, 10*time.Second, func() error { return setNumber(t, ns, number) })

	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	points := l.lastPoint
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- l.Follow(ctx) }()
	ns.Bridge("last") // once this is watched, all before was heard
	waitFor(t, l, ns, "last", true)
	cancel()
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	if l.namespaces[0].nsid != number {
		t.Errorf("number %d, want %d", l.namespaces[0].nsid, number)
	}
	if got := l.lastPoint - points; got != 2 {
		t.Errorf("%d points were attached while following, want the 2 of the last interface", got)
	}
}

// An event outlives the buffer that it was read into.
func TestEventOwnsItsAddress(t *testing.T) {
	want := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	data := nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize()
	data = append(data, nl.NewRtAttr(unix.IFLA_ADDRESS, want).Serialize()...)
	ev, ok := parseEvent(ownNsid, syscall.NetlinkMessage{
		Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK, Len: uint32(unix.NLMSG_HDRLEN + len(data))},
		Data:   data,
	})
	clear(data)
	if !ok || !slices.Equal(ev.link.Attrs().HardwareAddr, want) {
		t.Errorf("parsed %t: address %v, want %v", ok, ev.link.Attrs().HardwareAddr, want)
	}
}

// setNumber fails while another namespace has the number.
func setNumber(t *testing.T, ns *nettest.NS, number int) error {
	t.Helper()
	found := mustFind(t, ns.Name)
	file, err := found.open()
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(netlink.SetNetNsIdByFd(int(file.Fd()), number), file.Close())
}
