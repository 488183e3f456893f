package metrics

import (
	"fmt"
	"testing"

	"netobs/decode"
)

// tally returns a little of everything that the tracker keeps count of.
func tally(id uint32, netns string) decode.NetnsTally {
	t := decode.NetnsTally{NetnsID: id, Netns: netns, Late: 3}
	t.Unseen[decode.RoleLocal] = 2
	t.SYNACKsAfterACK[decode.RoleLocal] = 1
	t.Open[decode.RoleLocal][decode.StateEstablished] = 5
	return t
}

// tallies returns the tallies of a tracker that knows one namespace.
func tallies(netns string) decode.Tallies {
	return decode.Tallies{Netns: []decode.NetnsTally{tally(1, netns)}, Connections: 5, Capacity: 65536, Evictions: 1}
}

func TestTallies(t *testing.T) {
	m := New(testBuild, nil, Options{})
	wantLate := func(step string, want ...string) {
		t.Helper()
		t.Log(step)
		wantSamples(t, m, "late_segments_total", want...)
	}
	wantOpen := func(want ...string) {
		t.Helper()
		wantSamples(t, m, `state="established"`, want...)
	}
	observe := func(ts ...decode.NetnsTally) { m.ObserveTallies(decode.Tallies{Netns: ts}) }

	observe(tally(1, "a"))
	wantLate("first", `netobs_late_segments_total{netns="a"} 3`)
	wantOpen(`netobs_connections{netns="a",role="local",state="established"} 5`)

	observe(tally(1, "a"))
	wantLate("the same again", `netobs_late_segments_total{netns="a"} 3`)

	observe(tally(1, "a"), tally(2, "a"))
	wantLate("two of one name add up", `netobs_late_segments_total{netns="a"} 6`)
	wantOpen(`netobs_connections{netns="a",role="local",state="established"} 10`)
	wantSamples(t, m, "unseen", `netobs_connections_unseen_total{netns="a",role="local"} 4`)
	wantSamples(t, m, "syn_ack_after_ack", `netobs_handshake_retransmissions_total{netns="a",role="local",segment="syn_ack_after_ack"} 2`)

	gone := tally(1, "a")
	gone.Late, gone.Detached = 4, true
	gone.Open = decode.NetnsTally{}.Open
	observe(gone, tally(2, "a"))
	wantLate("the last counts of one let go of", `netobs_late_segments_total{netns="a"} 7`)
	observe(tally(2, "a"))
	wantLate("a counter never drops", `netobs_late_segments_total{netns="a"} 7`)
	wantOpen(`netobs_connections{netns="a",role="local",state="established"} 5`)

	idle := tally(2, "a")
	idle.Open = decode.NetnsTally{}.Open
	observe(idle)
	wantOpen(`netobs_connections{netns="a",role="local",state="established"} 0`)

	m.Forget("a")
	observe(idle)
	wantLate("a forgotten namespace stays forgotten")
	wantOpen()

	idle.Late++
	observe(idle)
	wantLate("until something happens", `netobs_late_segments_total{netns="a"} 1`)
}

// TestTalliesOfOneIdentity: a namespace is let go of and watched again between two snapshots.
func TestTalliesOfOneIdentity(t *testing.T) {
	late := func(n uint64, detached bool) decode.NetnsTally {
		return decode.NetnsTally{NetnsID: 1, Netns: "a", Late: n, Detached: detached}
	}
	m := New(testBuild, nil, Options{})
	for _, step := range []struct {
		tallies []decode.NetnsTally
		want    int
	}{
		{[]decode.NetnsTally{late(3, false)}, 3},
		{[]decode.NetnsTally{late(1, false), late(2, true), late(5, true)}, 5 + 2 + 1},
		{[]decode.NetnsTally{late(2, false)}, 5 + 2 + 2},
		{[]decode.NetnsTally{late(2, true)}, 5 + 2 + 2},
		{nil, 5 + 2 + 2},
		{[]decode.NetnsTally{late(1, false)}, 5 + 2 + 2 + 1},
	} {
		m.ObserveTallies(decode.Tallies{Netns: step.tallies})
		wantSamples(t, m, "late_segments_total", fmt.Sprintf(`netobs_late_segments_total{netns="a"} %d`, step.want))
	}
}
