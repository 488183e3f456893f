package main

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"netobs/bpf"
	"netobs/decode"
	"netobs/loader"
)

// topRow is a namespace in the table of top: what happened there within some seconds, and what is now.
type topRow struct {
	name    string
	seconds float64
	topNumbers
	legs topQuantiles
}

// topColumn is a column of the table. Those that are wide are left out where they do not fit.
type topColumn struct {
	title string
	width int
	wide  bool
	text  func(*topRow) string
	sort  func(*topRow) float64 // the largest first
	bad   bool                  // painted, unless it is 0
}

// total is the place of the whole handshake among the legs.
const total = len(legNames) - 1

// topColumns are all columns behind the name.
var topColumns = []topColumn{
	{title: "CONN/S", width: 8, text: func(r *topRow) string { return perSecond(float64(r.attempts()) / r.seconds) },
		sort: func(r *topRow) float64 { return float64(r.attempts()) }},
	{title: "OK", width: 7, text: (*topRow).ok,
		sort: func(r *topRow) float64 {
			if share, known := r.success(); known {
				return 1 - share // the worst first
			}
			return -1
		}},
	outcomeColumn("REFUSED", 8, false, decode.OutcomeRefused),
	outcomeColumn("UNANSW", 7, false, decode.OutcomeUnanswered),
	outcomeColumn("HALF", 5, false, decode.OutcomeHalfOpen),
	outcomeColumn("ABORTED", 8, true, decode.OutcomeAborted),
	outcomeColumn("RESET", 6, true, decode.OutcomeReset),
	outcomeColumn("UNKNOWN", 8, true, decode.OutcomeUnknown),
	quantileColumn("P50", 7, false, total, false),
	quantileColumn("P99", 7, false, total, true),
	quantileColumn("RESP P50", 9, true, 0, false),
	quantileColumn("RESP P99", 9, true, 0, true),
	quantileColumn("ORIG P50", 9, true, 1, false),
	quantileColumn("ORIG P99", 9, true, 1, true),
	countColumn("OPEN", 6, false, func(r *topRow) uint64 { return uint64(r.open) }),
	countColumn("RETR", 5, true, func(r *topRow) uint64 { return r.retransmissions }),
	countColumn("LOST", 5, true, func(r *topRow) uint64 { return r.lost }),
}

func outcomeColumn(title string, width int, wide bool, o decode.Outcome) topColumn {
	c := countColumn(title, width, true, func(r *topRow) uint64 { return r.outcomes[o] })
	c.wide = wide
	return c
}

func countColumn(title string, width int, bad bool, count func(*topRow) uint64) topColumn {
	return topColumn{title: title, width: width, bad: bad,
		text: func(r *topRow) string { return thousands(count(r)) },
		sort: func(r *topRow) float64 { return float64(count(r)) }}
}

func quantileColumn(title string, width int, wide bool, leg int, p99 bool) topColumn {
	of := func(r *topRow) time.Duration {
		if p99 {
			return r.legs[leg].p99
		}
		return r.legs[leg].p50
	}
	return topColumn{title: title, width: width, wide: wide,
		text: func(r *topRow) string {
			if r.legs[leg].n == 0 {
				return "-"
			}
			return short(of(r))
		},
		sort: func(r *topRow) float64 { return float64(of(r)) }}
}

func (r *topRow) ok() string {
	share, known := r.success()
	switch {
	case !known:
		return "-"
	case share < 1 && share > 0.9995: // never rounded to all
		return "99.9%"
	}
	return strconv.FormatFloat(100*share, 'f', 1, 64) + "%"
}

// perSecond prints a rate in at most six characters.
func perSecond(rate float64) string {
	switch {
	case rate == 0:
		return "0"
	case rate < 100:
		return strconv.FormatFloat(rate, 'f', 1, 64)
	}
	return thousands(uint64(rate + 0.5))
}

// thousands prints a count in at most five characters: 99999, 123k, 12.3M.
func thousands(n uint64) string {
	for _, unit := range []struct {
		size uint64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if n < 1e5 || n < unit.size {
			continue
		}
		if n < 100*unit.size {
			return strconv.FormatFloat(float64(n/(unit.size/10))/10, 'f', 1, 64) + unit.name
		}
		return strconv.FormatUint(n/unit.size, 10) + unit.name
	}
	return strconv.FormatUint(n, 10)
}

// topRows makes the table between two samples, sorted by a column, or by name if that is -1.
func topRows(older, newer *topSample, legs map[string]topQuantiles, by int, reverse bool) []topRow {
	seconds := newer.at.Sub(older.at).Seconds()
	rows := make([]topRow, 0, len(newer.netns))
	for name, n := range newer.since(older) {
		rows = append(rows, topRow{name: name, seconds: seconds, topNumbers: n, legs: legs[name]})
	}
	slices.SortFunc(rows, func(a, b topRow) int {
		c := 0
		if by >= 0 {
			c = cmp.Compare(topColumns[by].sort(&b), topColumns[by].sort(&a))
		}
		if c = cmp.Or(c, cmp.Compare(a.name, b.name)); reverse {
			return -c
		}
		return c
	})
	return rows
}

// Widths of the names' column.
const (
	topNameLeast = 12
	topNameMost  = 40
)

// topLayout chooses the columns for a screen, and how wide names are.
func topLayout(rows []topRow, width int) (name int, columns []int) {
	name = topNameLeast
	for i := range rows {
		name = max(name, utf8.RuneCountInString(rows[i].name))
	}
	name = min(name, topNameMost)
	left := width - topNameLeast
	for i := range topColumns {
		if !topColumns[i].wide {
			left -= topColumns[i].width
		}
	}
	for i := range topColumns {
		if topColumns[i].wide {
			if topColumns[i].width > left {
				continue
			}
			left -= topColumns[i].width
		}
		columns = append(columns, i)
	}
	return max(topNameLeast, min(name, topNameLeast+left)), columns
}

// trafficRow is one direction of an interface in a namespace.
type trafficRow struct {
	name, direction                            string
	segments, bytes, control, duplicates, lost uint64
}

// trafficRows are those of a namespace between two samples.
func trafficRows(older, newer *topSample, netns string) (rows []trafficRow) {
	before := make(map[[2]string]*loader.PointCounters)
	for i := range older.points {
		if p := &older.points[i]; p.Netns == netns {
			before[[2]string{p.Interface, p.Direction}] = p
		}
	}
	for i := range newer.points {
		p := &newer.points[i]
		if p.Netns != netns {
			continue
		}
		b := before[[2]string{p.Interface, p.Direction}]
		if b == nil || b.Segments() > p.Segments() {
			b = new(loader.PointCounters)
		}
		rows = append(rows, trafficRow{
			name:       p.Interface,
			direction:  p.Direction,
			segments:   p.Segments() - b.Segments(),
			bytes:      p.SegmentBytesTotal - b.SegmentBytesTotal,
			control:    p.ControlSegmentsSeenTotal - b.ControlSegmentsSeenTotal,
			duplicates: p.ControlSegmentsTotal[bpf.DispositionDuplicate] - b.ControlSegmentsTotal[bpf.DispositionDuplicate],
			lost:       lostAt(p) - lostAt(b),
		})
	}
	return rows
}

func lostAt(p *loader.PointCounters) (lost uint64) {
	for disposition, n := range p.ControlSegmentsTotal {
		if disposition != int(bpf.DispositionReported) && disposition != int(bpf.DispositionDuplicate) {
			lost += n
		}
	}
	return lost
}

// fit pads or cuts s to a width; right-aligned where it is told.
func fit(s string, width int, right bool) string {
	n := utf8.RuneCountInString(s)
	switch {
	case n > width && width > 0:
		return string([]rune(s)[:width-1]) + "…"
	case right:
		return strings.Repeat(" ", width-n) + s
	}
	return s + strings.Repeat(" ", width-n)
}
