package bpf

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
)

// The two FINs of a connection on two CPUs at once: one of them is the second, and arms the filter in both directions. Without
// flow_fence() one in a hundred connections is not armed.
func TestFINsAtOnce(t *testing.T) {
	if runtime.GOARCH != "amd64" || runtime.NumCPU() < 2 {
		t.Skip("needs two CPUs of x86-64")
	}
	const rounds, chunk = 1500, 100
	w := newWorld(t, Options{Flows: 4 * rounds})
	netns := w.namespace()
	f := w.pending(t)
	missed := 0
	var arrived atomic.Int64
	together := func(step int64) {
		for arrived.Add(1); arrived.Load() < 2*step; {
		}
	}
	var wg sync.WaitGroup
	for side, p := range []*point{w.point(t, netns, false), w.point(t, netns, true)} {
		wg.Go(func() {
			for i := range rounds {
				pkt := fromClient(fin|ack, 100, 300, 0)
				if side == 1 {
					pkt = fromServer(fin|ack, 300, 100, 0)
				}
				pkt.change = func(frame []byte) []byte {
					client := frame[14+12+4*side:] // its address
					client[1], client[2] = byte(i>>8), byte(i)
					return frame
				}
				run := ebpf.RunOptions{Data: pkt.frame()}
				together(int64(3*i + 1))
				if _, err := p.front.Run(&run); err != nil {
					t.Error(err)
				}
				together(int64(3*i + 2))
				if side == 0 && i%chunk == chunk-1 {
					missed += 2*chunk - len(f.armed())
					f.fill(0)
					drain(t, w.Programs)
				}
				together(int64(3*i + 3))
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d entries missing", missed, 2*rounds)
	if missed > 3 { // two connections may have the same place
		t.Errorf("%d of %d entries missing", missed, 2*rounds)
	}
}
