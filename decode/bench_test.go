package decode

import (
	"syscall"
	"testing"
	"time"
)

const benchLive = 100_000

// onCPU reports how much processor time an operation took: on a machine with other work to do, less noisy than the time that
// passed.
func onCPU(b *testing.B, op func(n int)) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	before := used()
	n := 0
	for ; b.Loop(); n++ {
		op(n)
	}
	b.ReportMetric(float64(used()-before)/float64(n), "cpu-ns/op")
}

// fill completes the handshakes of connections 0 to n-1.
func fill(tr *Tracker, n int) {
	for i := range n {
		handshake(tr, i, int64(i)*1000)
	}
}

// BenchmarkTrackerStep reports the cost of a segment in lives of connections, beside 100 000 that live on.
func BenchmarkTrackerStep(b *testing.B) {
	check := checkPhase
	checkPhase = nil // it is for tests only
	b.Cleanup(func() { checkPhase = check })
	setup := func() (*Tracker, int64) {
		tr := NewTracker(TrackerOptions{OnHandshake: func(*Handshake) {}, OnConnection: func(*Connection) {}})
		fill(tr, benchLive)
		return tr, benchLive * 1000
	}
	// Six segments a connection, 30 000 connections a second: 90 000 remembered at a time.
	b.Run("connect-close", func(b *testing.B) {
		tr, now := setup()
		i := 0
		onCPU(b, func(n int) {
			if n%6 == 0 {
				i++
				id := benchLive + i%200_000
				now += int64(time.Second) / 30_000
				handshake(tr, id, now)
				finish(tr, id, now, now+10)
				tr.Advance(now)
			}
		})
	})
	// Close one of the 100 000 and open it again, in an order that no cache likes.
	b.Run("churn", func(b *testing.B) {
		tr, now := setup()
		began := make([]int64, benchLive)
		for i := range began {
			began[i] = int64(i) * 1000
		}
		i := 0
		onCPU(b, func(n int) {
			if n%6 == 0 {
				i = (i + 61_803) % benchLive
				now += int64(time.Second) / 10_000
				finish(tr, i, began[i], now)
				now += int64(time.Second) / 10_000
				tr.Advance(now)
				handshake(tr, i, now)
				began[i] = now
			}
		})
	})
	// SYNs without end, each from another socket: handshakes are evicted.
	b.Run("syn-flood", func(b *testing.B) {
		tr, now := setup()
		seg := Segment{Point: points["in"], Dst: socket("B"), Flags: SYN}
		onCPU(b, func(n int) {
			now += 1000
			seg.Time, seg.Src = now, client(benchLive+n)
			tr.Step(&seg)
			if n%1000 == 0 {
				tr.Advance(now)
			}
		})
	})
	// Every segment seen: data and acknowledgments all over the live connections.
	b.Run("data", func(b *testing.B) {
		tr, now := setup()
		seg := Segment{Point: points["lo"], Dst: socket("B"), Flags: ACK, Payload: 10}
		i := 0
		onCPU(b, func(int) {
			i = (i + 61_803) % benchLive
			now += 100
			seg.Time, seg.Src, seg.Seq, seg.Ack = now, client(i), Seq(i)*1000+1, Seq(i)*1000+1
			if p := tr.Step(&seg); p.Kind != PlaceData {
				b.Fatal(p)
			}
		})
	})
	// One connection opened and closed again and again, each time after the one before was forgotten.
	b.Run("cached", func(b *testing.B) {
		tr, now := setup()
		onCPU(b, func(n int) {
			if n%6 == 0 {
				now += int64(4 * time.Second)
				handshake(tr, benchLive, now)
				finish(tr, benchLive, now, now+10)
				tr.Advance(now)
			}
		})
	})
}
