package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"netobs/decode"
)

// respondersShown is how many responders the summary names.
const respondersShown = 10

// printShort says in three lines what was read, after the lines of connections.
func (t *totals) printShort(w io.Writer) error {
	var outcomes, teardowns []string
	for _, o := range decode.Outcomes() {
		if n := t.outcomes[o]; n > 0 {
			outcomes = append(outcomes, fmt.Sprintf("%d %s", n, o))
		}
	}
	for _, td := range decode.Teardowns() {
		if n := sum(t.teardowns[td]); n > 0 {
			teardowns = append(teardowns, fmt.Sprintf("%d %s", n, td))
		}
	}
	_, err := fmt.Fprintf(w, "\nread %s: %s, %d of them TCP segments\n  handshakes   %s; %d unfinished\n"+
		"  connections  %s; %d still open\n", plural(t.Files, "file"), plural(t.Packets, "packet"),
		t.Parsed[decode.ParsedSegment], countOf(t.handshakes(), outcomes), t.unfinished,
		countOf(t.ended(), teardowns)+" ended", t.open)
	return err
}

// printTables prints all totals for people.
func (t *totals) printTables(w io.Writer) error {
	buf := bufio.NewWriter(w)
	t.tableOfInput().print(buf)
	for _, tab := range [...]table{t.tableOfHandshakes(), t.tableOfConnections(), t.tableOfLegs(), t.tableOfResponders()} {
		if len(tab.rows) > 0 {
			fmt.Fprintln(buf)
			tab.print(buf)
		}
	}
	return buf.Flush()
}

func (t *totals) tableOfInput() table {
	tab := table{align: "ll"}
	tab.row("files", fmt.Sprintf("%d, with %s in %s", t.Files, byteCount(t.Bytes), plural(t.Packets, "packet")))
	segments := fmt.Sprint(t.Parsed[decode.ParsedSegment])
	var others []string
	for i, n := range t.Parsed {
		if p := decode.Parsed(i); n > 0 && p != decode.ParsedSegment {
			others = append(others, fmt.Sprintf("%d %s", n, strings.ReplaceAll(p.String(), "_", " ")))
		}
	}
	if others != nil {
		segments += "; other packets: " + strings.Join(others, ", ")
	}
	tab.row("segments", segments)
	if t.Start <= t.End {
		const layout = "2006-01-02 " + clockFormat
		tab.row("time", fmt.Sprintf("%s to %s, %s", time.Unix(0, t.Start).Format(layout), time.Unix(0, t.End).Format(layout),
			short(time.Duration(t.End-t.Start))))
	}
	tab.rowIf(t.evicted > 0, "memory", fmt.Sprintf("full: %d handshakes and connections were given up", t.evicted))
	tab.rowIf(t.negative > 0, "clock", fmt.Sprintf("ran backwards: %s taken as 0", plural(t.negative, "interval")))
	return tab
}

func (t *totals) tableOfHandshakes() table {
	tab := table{align: "lrr"}
	all := t.handshakes()
	tab.row("handshakes", fmt.Sprint(all), "")
	for _, o := range decode.Outcomes() {
		if n := t.outcomes[o]; n > 0 {
			tab.row("  "+o.String(), fmt.Sprint(n), fmt.Sprintf("%.1f%%", 100*float64(n)/float64(all)))
		}
	}
	tab.rowIf(t.unfinished > 0, "  (unfinished)", fmt.Sprint(t.unfinished), "")
	tab.rowIf(t.retransmits > 0, "  (retransmissions)", fmt.Sprint(t.retransmits), "")
	return tab
}

func (t *totals) tableOfConnections() table {
	tab := table{align: "lrrrr"}
	header := []string{"connections ended", fmt.Sprint(t.ended())}
	for _, side := range decode.Sides() {
		header = append(header, "by "+side.String())
	}
	tab.row(header...)
	for _, td := range decode.Teardowns() {
		by := t.teardowns[td]
		if by == nil {
			continue
		}
		row := []string{"  " + td.String(), fmt.Sprint(sum(by))}
		for _, side := range decode.Sides() {
			row = append(row, fmt.Sprint(by[side]))
		}
		tab.row(row...)
	}
	tab.rowIf(t.open > 0, "  (still open)", fmt.Sprint(t.open))
	tab.rowIf(t.unseen > 0, "  (handshake unseen)", fmt.Sprint(t.unseen))
	tab.rowIf(t.late > 0, "  (late segments)", fmt.Sprint(t.late))
	return tab
}

// shownQuantiles are those of the summary, beside the longest.
var shownQuantiles = [...]float64{0.5, 0.9, 0.99}

func (t *totals) tableOfLegs() table {
	tab := table{align: "lrrrrr"}
	tab.row("handshake durations", "known", "p50", "p90", "p99", "max")
	for i := range t.legs {
		q := &t.legs[i]
		row := []string{"  " + legNames[i], fmt.Sprint(q.n)}
		for _, p := range shownQuantiles {
			if q.n > 0 {
				row = append(row, short(q.at(p)))
			}
		}
		if q.n > 0 {
			row = append(row, short(q.longest()))
			tab.row(row...)
		}
	}
	return tab.unlessEmpty()
}

func (t *totals) tableOfResponders() table {
	tab := table{align: "lrrl"}
	tab.row("responders", "handshakes", "failed", "")
	for _, r := range t.responders.top(respondersShown) {
		var why []string
		for _, o := range decode.Outcomes() {
			if n := r.outcomes[o]; n > 0 && o != decode.OutcomeCompleted {
				why = append(why, fmt.Sprintf("%d %s", n, o))
			}
		}
		tab.row("  "+r.addr.String(), fmt.Sprint(r.attempts), fmt.Sprint(r.failures()), strings.Join(why, ", "))
	}
	more := len(t.responders.all) - respondersShown
	tab.rowIf(more > 0, fmt.Sprintf("  (%d more)", more))
	tab.rowIf(t.responders.forgotten > 0,
		fmt.Sprintf("  (%d with few handshakes forgotten: figures may be low)", t.responders.forgotten))
	return tab.unlessEmpty()
}

// table prints cells below each other. Its first row is the heading.
type table struct {
	align string // l or r for each column
	rows  [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) rowIf(show bool, cells ...string) {
	if show {
		t.row(cells...)
	}
}

// unlessEmpty returns t, or no table if it has nothing but a heading.
func (t table) unlessEmpty() table {
	if len(t.rows) == 1 {
		return table{}
	}
	return t
}

// print prints the table. A row of one cell may be as wide as it likes.
func (t table) print(w *bufio.Writer) {
	width := make([]int, len(t.align))
	for _, row := range t.rows {
		for i, cell := range row {
			if len(row) > 1 {
				width[i] = max(width[i], utf8.RuneCountInString(cell))
			}
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			if t.align[i] == 'r' {
				fmt.Fprintf(&line, "%*s", width[i], cell)
			} else {
				fmt.Fprintf(&line, "%-*s", width[i], cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// jsonSummary is what --summary --output json prints. Durations are seconds.
type jsonSummary struct {
	jsonHead
	Files               int                          `json:"files"`
	Packets             int64                        `json:"packets"`
	Bytes               int64                        `json:"bytes"`
	PacketsBy           map[string]int64             `json:"packets_by_kind"`
	Start               *time.Time                   `json:"start,omitempty"`
	End                 *time.Time                   `json:"end,omitempty"`
	Handshakes          map[string]uint64            `json:"handshakes"`
	Unfinished          int                          `json:"handshakes_unfinished"`
	Retransmissions     uint64                       `json:"handshake_retransmissions"`
	Teardowns           map[string]map[string]uint64 `json:"teardowns"` // by teardown and closer
	Open                int                          `json:"connections_open"`
	Unseen              uint64                       `json:"connections_unseen"`
	Evicted             uint64                       `json:"evictions"`
	Late                uint64                       `json:"late_segments"`
	Negative            uint64                       `json:"negative_intervals"`
	ResponderLeg        *jsonQuantiles               `json:"responder_leg,omitempty"`
	OriginatorLeg       *jsonQuantiles               `json:"originator_leg,omitempty"`
	Total               *jsonQuantiles               `json:"total,omitempty"`
	Responders          []jsonResponder              `json:"responders"` // those with most handshakes
	RespondersForgotten int                          `json:"responders_forgotten"`
}

type jsonQuantiles struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_seconds"`
	P90   float64 `json:"p90_seconds"`
	P99   float64 `json:"p99_seconds"`
	Max   float64 `json:"max_seconds"`
}

type jsonResponder struct {
	Responder  netip.AddrPort    `json:"responder"`
	Handshakes map[string]uint64 `json:"handshakes"` // those that there are
}

func (t *totals) printJSON(w io.Writer) error {
	s := jsonSummary{
		jsonHead:            headOf("summary"),
		Files:               t.Files,
		Packets:             t.Packets,
		Bytes:               t.Bytes,
		PacketsBy:           make(map[string]int64),
		Handshakes:          make(map[string]uint64),
		Unfinished:          t.unfinished,
		Retransmissions:     t.retransmits,
		Teardowns:           make(map[string]map[string]uint64),
		Open:                t.open,
		Unseen:              t.unseen,
		Evicted:             t.evicted,
		Late:                t.late,
		Negative:            t.negative,
		ResponderLeg:        quantilesOf(&t.legs[0]),
		OriginatorLeg:       quantilesOf(&t.legs[1]),
		Total:               quantilesOf(&t.legs[2]),
		Responders:          []jsonResponder{},
		RespondersForgotten: t.responders.forgotten,
	}
	if t.Start <= t.End {
		start, end := utc(t.Start), utc(t.End)
		s.Start, s.End = &start, &end
	}
	for i, n := range t.Parsed {
		s.PacketsBy[decode.Parsed(i).String()] = n
	}
	for _, o := range decode.Outcomes() {
		s.Handshakes[o.String()] = t.outcomes[o]
	}
	for _, td := range decode.Teardowns() {
		by := make(map[string]uint64)
		for _, side := range decode.Sides() {
			by[side.String()] = t.teardowns[td][side]
		}
		s.Teardowns[td.String()] = by
	}
	for _, r := range t.responders.top(respondersShown) {
		one := jsonResponder{r.addr, make(map[string]uint64)}
		for _, o := range decode.Outcomes() {
			if n := r.outcomes[o]; n > 0 {
				one.Handshakes[o.String()] = n
			}
		}
		s.Responders = append(s.Responders, one)
	}
	return json.NewEncoder(w).Encode(s)
}

func quantilesOf(q *quantiles) *jsonQuantiles {
	if q.n == 0 {
		return nil
	}
	return &jsonQuantiles{q.n, q.at(0.5).Seconds(), q.at(0.9).Seconds(), q.at(0.99).Seconds(), q.longest().Seconds()}
}

func sum(by map[decode.Side]uint64) uint64 {
	var all uint64
	for _, n := range by {
		all += n
	}
	return all
}

// plural counts things: 1 packet, 2 packets.
func plural[T int | int64 | uint64](n T, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
