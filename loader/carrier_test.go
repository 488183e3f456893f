package loader

import (
	"io"
	"testing"

	"github.com/cilium/ebpf/link"

	"netobs/bpf"
	"netobs/loader/nettest"
)

// TestCarrierFromTheFirstRecord: a point may report as soon as it is attached, which is before attaching has returned.
func TestCarrierFromTheFirstRecord(t *testing.T) {
	t.Parallel()
	a, b := nettest.New(t, "a"), nettest.New(t, "b")
	nettest.Veth(a, "eth0", b, "eth0")
	a.Macvlan("eth0", "mv0", b)
	l, err := New(Options{Netns: []Netns{mustFind(t, a.Name)}, BPF: bpf.Options{RingBytes: 64 << 10, Flows: 1 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := l.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	carries := make(map[string]int) // how many points of an interface
	l.attachTCX = func(opts link.TCXOptions) (io.Closer, error) {
		at, err := link.AttachTCX(opts)
		if point := r.known.point(l.lastPoint); r.known.carries(point.ID) {
			carries[point.Interface]++
		}
		return at, err
	}
	if err := l.Attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if carries["eth0"] != 2 || carries["lo"] != 0 {
		t.Errorf("points at a carrier: %v, want the 2 of eth0", carries)
	}
}
