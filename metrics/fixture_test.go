package metrics

import (
	"testing"
	"time"

	"netobs/decode"
)

var testBuild = Build{Version: "v1.2.3", Go: "go1.26", Kernel: "6.18.0"}

// dispositions are the labels of PointCounters.Control with the counts given.
func dispositions(reported, duplicate, ringFull, rateLimited uint64) []LabelCount {
	return []LabelCount{{"reported", reported}, {"duplicate", duplicate}, {"ring_full", ringFull}, {"rate_limited", rateLimited}}
}

// unparsed are the labels that the kernel side has today, all 0 but the first.
func unparsed(vlan uint64) []LabelCount {
	return []LabelCount{
		{"vlan", vlan}, {"fragment", 0}, {"ipv6_extension", 0}, {"truncated", 0}, {"malformed", 0}, {"not_for_us", 0},
	}
}

// pod returns the points of a namespace with a loopback and one veth, as they are before the first segment.
func pod(netns string) []PointCounters {
	return []PointCounters{
		{Netns: netns, Interface: "lo", Direction: "egress", Control: dispositions(0, 0, 0, 0), Unparsed: unparsed(0)},
		{Netns: netns, Interface: "eth0", Direction: "ingress", Control: dispositions(0, 0, 0, 0), Unparsed: unparsed(0)},
		{Netns: netns, Interface: "eth0", Direction: "egress", Control: dispositions(0, 0, 0, 0), Unparsed: unparsed(0)},
	}
}

// handshake returns a completed handshake on loopback that took 8 µs: 5 to the SYN-ACK and 3 to the ACK.
func handshake(netns string) *decode.Handshake {
	leg := func(d time.Duration) decode.Leg { return decode.Leg{Known: true, First: d, Last: d} }
	return &decode.Handshake{
		Point:         &decode.Point{Netns: netns},
		Role:          decode.RoleLocal,
		Outcome:       decode.OutcomeCompleted,
		ResponderLeg:  leg(5 * time.Microsecond),
		OriginatorLeg: leg(3 * time.Microsecond),
		Total:         leg(8 * time.Microsecond),
	}
}

// connection returns a connection that the responder closed in good order after 20 ms.
func connection(netns string) *decode.Connection {
	return &decode.Connection{
		Point:    &decode.Point{Netns: netns},
		Role:     decode.RoleLocal,
		Teardown: decode.TeardownFIN,
		Closer:   decode.Responder,
		Start:    1e9,
		End:      1e9 + 20e6,
	}
}

// busy returns metrics in which every family has a sample: a namespace "test" with loopback and one veth, in which the
// tutorial took place: one request answered, one refused, and a little of everything else.
func busy(tb testing.TB) *Metrics {
	tb.Helper()
	return busyAt(tb, LevelDefault)
}

func busyAt(tb testing.TB, level Level) *Metrics {
	tb.Helper()
	points := pod("test")
	lo := &points[0]
	lo.Segments, lo.Bytes = 14, 1337
	lo.Flags = [8]uint64{2, 3, 1, 2, 12}
	lo.ControlSeen, lo.Control = 9, dispositions(7, 0, 2, 0)
	eth := &points[1]
	eth.Segments, eth.ControlSeen, eth.Control = 1, 1, dispositions(0, 1, 0, 0)
	eth.Unparsed = unparsed(4)
	m := New(testBuild, func() (Kernel, error) {
		return Kernel{
			Points:            points,
			ObservationPoints: []HookPoints{{"test", "tcx", 3}},
			AttachErrors:      []AttachErrors{{"test", "no_device", 1}},
			Listens:           []Listens{{"test", 2, 3}},
			Runs:              []HookRuns{{"tcx", 15, 1500 * time.Nanosecond}},
			RecordsRead:       7,
		}, nil
	}, Options{Level: level})

	m.ObserveHandshake(handshake("test"))
	refused := handshake("test")
	refused.Outcome = decode.OutcomeRefused
	refused.SYNs, refused.SYNACKs = 2, 1
	refused.OriginatorLeg, refused.Total = decode.Leg{}, decode.Leg{}
	m.ObserveHandshake(refused)
	m.ObserveConnection(connection("test"))
	m.ObserveTallies(tallies("test"))
	return m
}
