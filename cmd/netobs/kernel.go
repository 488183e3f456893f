package main

import (
	"netobs/bpf"
	"netobs/loader"
	"netobs/metrics"
)

// kernelMetrics says what the loader counts in the words of metrics.
func kernelMetrics(l *loader.Loader) (metrics.Kernel, error) {
	stats, err := l.Stats()
	if err != nil {
		return metrics.Kernel{}, err
	}
	k := metrics.Kernel{RecordsRead: stats.RecordsRead}
	for i := range stats.Points {
		p := &stats.Points[i]
		k.Points = append(k.Points, metrics.PointCounters{
			Netns:       p.Netns,
			Interface:   p.Interface,
			Direction:   p.Direction,
			Segments:    p.Segments(),
			Bytes:       p.SegmentBytesTotal,
			Flags:       p.Flags(),
			ControlSeen: p.ControlSegmentsSeenTotal,
			Control:     labelled(bpf.Dispositions[:], p.ControlSegmentsTotal[:]),
			Unparsed:    labelled(bpf.UnparsedReasons[:], p.UnparsedPacketsTotal[:]),
		})
	}
	for at, n := range stats.Attached {
		k.ObservationPoints = append(k.ObservationPoints, metrics.HookPoints{Netns: at.Netns, Hook: at.Hook, Points: n})
	}
	for e, n := range stats.AttachErrors {
		k.AttachErrors = append(k.AttachErrors, metrics.AttachErrors{Netns: e.Netns, Reason: e.Reason, Count: n})
	}
	for netns, c := range stats.Listens {
		k.Listens = append(k.Listens, metrics.Listens{Netns: netns, Overflows: c.Overflows, Drops: c.Drops})
	}
	for hook, r := range stats.Runs {
		k.Runs = append(k.Runs, metrics.HookRuns{Hook: hook, Runs: r.Runs, Time: r.Time})
	}
	return k, nil
}

func labelled(labels []string, counts []uint64) []metrics.LabelCount {
	pairs := make([]metrics.LabelCount, len(labels))
	for i, label := range labels {
		pairs[i] = metrics.LabelCount{Label: label, Count: counts[i]}
	}
	return pairs
}
