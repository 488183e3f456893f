package main

import (
	"fmt"
	"strings"
)

// demoMetrics are the metrics that tell the demo's story, in the order of telling, and what they say.
var demoMetrics = []struct{ name, says string }{
	{"netobs_handshakes_total", "attempts to connect, by outcome"},
	{"netobs_handshake_duration_seconds_sum", "seconds that completed handshakes took, by leg"},
	{"netobs_teardowns_total", "connections that ended, by how and who began"},
	{"netobs_connection_duration_seconds_sum", "seconds that they lasted"},
	{"netobs_late_segments_total", "segments after the end"},
	{"netobs_segments_total", "segments"},
	{"netobs_segment_bytes_total", "bytes of data in them"},
	{"netobs_flags_total", "segments that had this flag"},
}

// metrics prints the lines of an exposition that tell the story, each metric under a comment.
func (s *story) metrics(exposition []byte) {
	type sample struct{ series, value string }
	samples := make(map[string][]sample)
	width := 0
	for line := range strings.Lines(string(exposition)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || series == "#" || value == "0" {
			continue
		}
		name, _, _ := strings.Cut(series, "{")
		samples[name] = append(samples[name], sample{series, value})
	}
	for _, m := range demoMetrics {
		for _, sample := range samples[m.name] {
			width = max(width, len(sample.series))
		}
	}
	for _, m := range demoMetrics {
		if len(samples[m.name]) > 0 {
			fmt.Fprintln(s.w, s.painted(dim, "# "+m.says))
		}
		for _, sample := range samples[m.name] {
			fmt.Fprintf(s.w, "%-*s  %s\n", width, sample.series, sample.value)
		}
	}
}
