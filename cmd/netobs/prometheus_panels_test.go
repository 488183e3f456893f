package main

import "math"

// bounds are what a value must lie in.
type bounds struct{ min, max float64 }

func exactly(v float64) bounds {
	return bounds{v - 1e-3*math.Abs(v) - 1e-9, v + 1e-3*math.Abs(v) + 1e-9}
}

func between(low, high float64) bounds { return bounds{low, high} }

// wants are the samples that a query must return, by their labels as key gives them. "*" is any one sample.
type wants map[string]bounds

// A seen is what a query is expected to tell of: a load, in a window, from where it is looked at.
type seen struct {
	load    mixed
	seconds float64 // of the window
	open    float64 // connections that stay open
	netns   string  // that is looked at
	role    string  // of the namespace in the load
	client  bool    // the namespace is the client
	native  bool    // the server takes native histograms
	main    string  // the netobs that sees everything
	limited string  // the netobs whose rate limit is exceeded
	broken  string  // the namespace in which that one cannot attach
}

func (s *seen) rate(n int) bounds { return exactly(float64(n) / s.seconds) }

func (s *seen) success() bounds {
	return exactly(float64(s.load.completed()) / float64(s.load.completed()+s.load.failed()))
}

// outcomes are the failures, each with a prefix and a suffix in its key.
func (s *seen) outcomes(prefix, suffix string) wants {
	return wants{
		prefix + "outcome=refused" + suffix:    s.rate(s.load.refused),
		prefix + "outcome=unanswered" + suffix: s.rate(s.load.unanswered + s.load.overflow),
		prefix + "outcome=half_open" + suffix:  s.rate(s.load.halfOpen),
	}
}

// at is the wants of a value where there are events in one namespace only.
func at(here bool, n int) int {
	if here {
		return n
	}
	return 0
}

// someTime is a duration that nothing can be said of but that no handshake took longer than the slow ones.
var someTime = between(1e-9, 3.5)

// slowTime is a quantile that falls among the slow handshakes, whose first SYN was dropped.
var slowTime = between(1, 3.5)

// buckets are the classic buckets up to which the handshakes took, or the native histogram.
func (s *seen) buckets() wants {
	total := s.load.completed()
	if s.native {
		return wants{"": exactly(float64(total))}
	}
	w := wants{
		"le=1":    between(0, float64(total-s.load.slow)+0.5),
		"le=3":    between(1, float64(total)+0.5),
		"le=7":    exactly(float64(total)),
		"le=+Inf": exactly(float64(total)),
	}
	for _, le := range []string{"5e-06", "2.5e-05", "0.0001", "0.001", "0.005", "0.025", "0.1"} {
		w["le="+le] = between(0, float64(total-s.load.slow)+0.5)
	}
	return w
}

// An expectation is what the queries of a panel must return.
type expectation struct {
	panel string
	// of returns the wants of each query.
	of func(s *seen) []wants
	// instance is the one that is asked; the main one if "".
	instance string
}

// Instances that panels are asked about.
const (
	askLimited = "limited"
	askGone    = "gone"
)

func one(w wants) []wants { return []wants{w} }

var overviewPanels = []expectation{
	{panel: "Connections", of: func(s *seen) []wants { return one(wants{"": s.rate(s.load.completed())}) }},
	{panel: "Success ratio now", of: func(s *seen) []wants { return one(wants{"": s.success()}) }},
	{panel: "Failures", of: func(s *seen) []wants { return one(wants{"": s.rate(s.load.failed())}) }},
	{panel: "Handshake p99 now", of: func(s *seen) []wants { return one(wants{"": slowTime}) }},
	{panel: "Open connections", of: func(s *seen) []wants { return one(wants{"": exactly(s.open)}) }},
	{panel: "Events lost", of: func(s *seen) []wants { return one(wants{"": exactly(0)}) }},
	{panel: "Events lost", of: func(s *seen) []wants { return one(wants{"": between(0.1, 1e6)}) }, instance: askLimited},
	{panel: "Connections per second", of: func(s *seen) []wants {
		return []wants{{"": s.rate(s.load.completed())}, {"instance=" + s.main + ",netns=" + s.netns: s.rate(s.load.completed())}}
	}},
	{panel: "Success ratio", of: func(s *seen) []wants { return one(wants{"": s.success()}) }},
	{panel: "Failures by outcome", of: func(s *seen) []wants { return one(s.outcomes("", "")) }},
	{panel: "Top failing namespaces", of: func(s *seen) []wants {
		row := "instance=" + s.main + ",netns=" + s.netns
		failed, all := float64(s.load.failed()), float64(s.load.completed()+s.load.failed())
		return []wants{{row: exactly(failed)}, {row: exactly(failed / all)}}
	}},
	{panel: "Handshake duration", of: func(s *seen) []wants { return []wants{{"": someTime}, {"": slowTime}} }},
	{panel: "Handshake durations", of: func(s *seen) []wants { return one(s.buckets()) }},
	{panel: "Retransmissions", of: func(s *seen) []wants {
		return one(wants{"segment=syn": s.rate(s.load.slow), "segment=syn_ack": s.rate(s.load.halfOpen)})
	}},
	{panel: "Teardowns by kind and closer", of: func(s *seen) []wants {
		return one(wants{"closer=originator,teardown=fin": s.rate(s.load.good + s.load.slow),
			"closer=originator,teardown=rst": s.rate(s.load.reset)})
	}},
}

var namespacePanels = []expectation{
	{panel: "Handshakes by role and outcome", of: func(s *seen) []wants {
		w := s.outcomes("", ",role="+s.role)
		w["outcome=completed,role="+s.role] = s.rate(s.load.completed())
		return one(w)
	}},
	{panel: "Success ratio by role", of: func(s *seen) []wants { return one(wants{"role=" + s.role: s.success()}) }},
	{panel: "Handshake duration by role", of: func(s *seen) []wants {
		return []wants{{"role=" + s.role: someTime}, {"role=" + s.role: slowTime}}
	}},
	{panel: "Handshake p99 by leg", of: func(s *seen) []wants {
		return one(wants{"leg=originator,role=" + s.role: someTime, "leg=responder,role=" + s.role: slowTime})
	}},
	{panel: "Connections by role and state", of: func(s *seen) []wants {
		return one(wants{"role=" + s.role + ",state=established": exactly(s.open), "role=" + s.role + ",state=half_closed": exactly(0)})
	}},
	{panel: "Teardowns by role, kind and closer", of: func(s *seen) []wants {
		return one(wants{"closer=originator,role=" + s.role + ",teardown=fin": s.rate(s.load.good + s.load.slow),
			"closer=originator,role=" + s.role + ",teardown=rst": s.rate(s.load.reset)})
	}},
	{panel: "Half-open", of: func(s *seen) []wants { return one(wants{"role=" + s.role: s.rate(s.load.halfOpen)}) }},
	{panel: "Handshakes under way", of: func(s *seen) []wants { return one(wants{"role=" + s.role: exactly(0)}) }},
	{panel: "Accept queue", of: func(s *seen) []wants {
		n := at(!s.client, s.load.overflow)
		return []wants{{"": s.rate(n)}, {"": s.rate(n)}}
	}},
	{panel: "Handshake retransmissions by role", of: func(s *seen) []wants {
		return one(wants{"role=" + s.role + ",segment=syn": s.rate(s.load.slow), "role=" + s.role + ",segment=syn_ack": s.rate(s.load.halfOpen)})
	}},
	{panel: "Connection duration by role", of: func(s *seen) []wants {
		return []wants{{"role=" + s.role: between(1e-9, 30)}, {"role=" + s.role: between(1e-9, 30)}}
	}},
	{panel: "Segments by interface", of: func(s *seen) []wants {
		// At least SYN, its answer, what completes and what ends; of the good ones, data and its acknowledgment, too.
		some := between(float64(s.load.completed()+s.load.failed())/s.seconds, 20*float64(s.load.completed()+s.load.failed())/s.seconds)
		return one(wants{"direction=egress,interface=eth0": some, "direction=ingress,interface=eth0": some, "direction=egress,interface=lo": exactly(0)})
	}},
	{panel: "Data by interface", of: func(s *seen) []wants {
		return one(wants{
			"direction=egress,interface=eth0":  s.rate(at(s.client, s.load.good*bytesEach)),
			"direction=ingress,interface=eth0": s.rate(at(!s.client, s.load.good*bytesEach)),
			"direction=egress,interface=lo":    exactly(0),
		})
	}},
	{panel: "Flags", of: func(s *seen) []wants {
		l := s.load
		// SYNs, those sent again, SYN-ACKs, those sent again.
		syns := l.completed() + l.failed() + l.slow + l.completed() + 2*l.halfOpen
		return one(wants{
			"flag=SYN": s.rate(syns),
			"flag=FIN": s.rate(2 * (l.good + l.slow)),
			"flag=RST": s.rate(l.refused + l.reset + l.late),
			"flag=PSH": s.rate(l.good),
		})
	}},
	{panel: "Connections first seen late", of: func(s *seen) []wants { return one(wants{"role=" + s.role: exactly(0)}) }},
	{panel: "Late segments", of: func(s *seen) []wants { return one(wants{"": s.rate(s.load.late)}) }},
}

var itselfPanels = []expectation{
	{panel: "Running", of: func(s *seen) []wants { return one(wants{"": exactly(1)}) }},
	{panel: "Running", of: func(s *seen) []wants { return one(wants{"": exactly(0)}) }, instance: askGone},
	{panel: "Not answering", of: func(s *seen) []wants { return one(wants{"": exactly(0)}) }},
	{panel: "Not answering", of: func(s *seen) []wants { return one(wants{"": exactly(1)}) }, instance: askGone},
	{panel: "Namespaces watched", of: func(s *seen) []wants { return one(wants{"": exactly(3)}) }},
	{panel: "Versions", of: func(s *seen) []wants { return one(wants{"*": exactly(1)}) }},
	{panel: "Observation points by hook", of: func(s *seen) []wants { return one(wants{"hook=tcx": exactly(13)}) }},
	{panel: "Attach errors", of: func(s *seen) []wants { return one(wants{"netns=" + s.broken + ",reason=attach": exactly(1)}) },
		instance: askLimited},
	{panel: "Events lost by cause", of: func(s *seen) []wants {
		return one(wants{"disposition=rate_limited": exactly(0), "disposition=ring_full": exactly(0)})
	}},
	{panel: "Events lost by cause", of: func(s *seen) []wants {
		return one(wants{"disposition=rate_limited": between(0.1, 1e6), "disposition=ring_full": exactly(0)})
	}, instance: askLimited},
	{panel: "Duplicates", of: func(s *seen) []wants { return one(wants{"": between(0.05, 0.5)}) }},
	{panel: "Balance", of: func(s *seen) []wants {
		return []wants{{"instance=" + s.main: exactly(0)}, {"instance=" + s.main: exactly(0)}}
	}},
	// Out of the client, into and out of the bridge's host, into the server.
	{panel: "Packets not decoded", of: func(s *seen) []wants { return one(wants{"reason=fragment": s.rate(4 * s.load.fragments)}) }},
	{panel: "Connection table", of: func(s *seen) []wants {
		return []wants{{"instance=" + s.main: between(s.open, 1e5)}, {"instance=" + s.main: between(1e3, 1e9)}}
	}},
	{panel: "Evictions", of: func(s *seen) []wants { return one(wants{"instance=" + s.main: exactly(0)}) }},
	{panel: "BPF time per run", of: func(s *seen) []wants { return one(wants{"hook=tcx": between(1e-9, 1e-3)}) }},
	{panel: "CPU in BPF", of: func(s *seen) []wants { return one(wants{"hook=tcx,instance=" + s.main: between(1e-9, 1)}) }},
	{panel: "CPU of the process", of: func(s *seen) []wants { return one(wants{"instance=" + s.main: between(1e-6, 64)}) }},
	{panel: "Memory", of: func(s *seen) []wants { return one(wants{"instance=" + s.main: between(1e6, 1e11)}) }},
	{panel: "Scrapes", of: func(s *seen) []wants { return one(wants{"instance=" + s.main: between(1e-6, 30)}) }},
	{panel: "Series", of: func(s *seen) []wants { return one(wants{"instance=" + s.main: between(100, 1000)}) }},
}
