package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"netobs/decode"
)

// topWindow is the time over which top tells what happened, unless it is told to since its start.
const topWindow = 10 * time.Second

// topScreen is the full-screen view: what was sampled, and what the user chose to see of it.
type topScreen struct {
	counts *topCounts
	sample func() (*topSample, error)
	every  time.Duration
	notes  *lastLine // of the log

	samples []*topSample // the first one, then those within the window, oldest first
	rows    []topRow     // made of them
	err     error

	width, height int
	by            int // the column to sort by, or -1
	reverse       bool
	all           bool   // since the start
	filter        string // names contain it
	typing        bool   // the filter is being typed
	chosen        string // a name
	inside        bool   // the chosen one fills the screen
	help          bool
}

func newTopScreen(counts *topCounts, sample func() (*topSample, error), every time.Duration, notes *lastLine) *topScreen {
	return &topScreen{counts: counts, sample: sample, every: every, notes: notes, width: 80, height: 24}
}

// sampled is the message that a sample was taken.
type sampled struct {
	*topSample
	err error
}

func (s *topScreen) take() tea.Msg {
	one, err := s.sample()
	return sampled{one, err}
}

// Init implements tea.Model.
func (s *topScreen) Init() tea.Cmd { return s.take }

// Update implements tea.Model.
func (s *topScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case sampled:
		if msg.err != nil {
			s.err = msg.err
			return s, tea.Quit
		}
		s.add(msg.topSample)
		return s, tea.Tick(s.every, func(time.Time) tea.Msg { return s.take() })
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return s, s.key(msg)
	}
	return s, nil
}

// add adds a sample, and drops those that have left the window.
func (s *topScreen) add(one *topSample) {
	s.samples = append(s.samples, one)
	for len(s.samples) > 3 && one.at.Sub(s.samples[2].at) >= topWindow {
		s.samples = slices.Delete(s.samples, 1, 2)
	}
	s.make()
}

// between returns the samples between which things are told.
func (s *topScreen) between() (older, newer *topSample) {
	newer = s.samples[len(s.samples)-1]
	if older = s.samples[0]; !s.all && len(s.samples) > 2 && newer.at.Sub(older.at) > topWindow {
		older = s.samples[1]
	}
	return older, newer
}

// make makes the rows.
func (s *topScreen) make() {
	if len(s.samples) < 2 {
		return
	}
	older, newer := s.between()
	s.rows = topRows(older, newer, s.counts.durations(older.at), s.by, s.reverse)
}

func (s *topScreen) shown() (shown []topRow) {
	for _, r := range s.rows {
		if strings.Contains(r.name, s.filter) {
			shown = append(shown, r)
		}
	}
	return shown
}

// place returns where the chosen namespace is among the shown ones; the first one is chosen if none is.
func (s *topScreen) place(shown []topRow) int {
	i := slices.IndexFunc(shown, func(r topRow) bool { return r.name == s.chosen })
	if i < 0 && len(shown) > 0 {
		i = 0
	}
	return i
}

// key does what a key is for.
func (s *topScreen) key(msg tea.KeyPressMsg) tea.Cmd {
	key := msg.String()
	if key == "ctrl+c" {
		return tea.Quit
	}
	if s.typing {
		s.typed(msg)
		return nil
	}
	if s.help {
		s.help = false
		return nil
	}
	switch key {
	case "q":
		return tea.Quit
	case "esc", "left", "backspace":
		if s.inside {
			s.inside = false
		} else {
			s.filter = ""
		}
	case "enter", "right":
		if shown := s.shown(); len(shown) > 0 {
			s.chosen, s.inside = shown[s.place(shown)].name, true
		}
	case "up", "k":
		s.move(-1)
	case "down", "j":
		s.move(1)
	case "pgup":
		s.move(-s.room())
	case "pgdown", "space":
		s.move(s.room())
	case "home", "g":
		s.move(-len(s.rows))
	case "end", "G":
		s.move(len(s.rows))
	case "s", ">":
		s.sortBy(1)
	case "S", "<":
		s.sortBy(-1)
	case "r":
		s.reverse = !s.reverse
	case "t":
		s.all = !s.all
	case "/":
		s.typing, s.inside = true, false
	case "?", "h":
		s.help = true
	}
	s.make()
	return nil
}

func (s *topScreen) typed(msg tea.KeyPressMsg) {
	switch key := msg.String(); key {
	case "enter":
		s.typing = false
	case "esc":
		s.typing, s.filter = false, ""
	case "backspace":
		if r := []rune(s.filter); len(r) > 0 {
			s.filter = string(r[:len(r)-1])
		}
	default:
		s.filter += msg.Text
	}
}

func (s *topScreen) move(by int) {
	if shown := s.shown(); len(shown) > 0 {
		s.chosen = shown[min(max(s.place(shown)+by, 0), len(shown)-1)].name
	}
}

// sortBy goes to the next column that fits the screen; before the first one are the names.
func (s *topScreen) sortBy(step int) {
	_, columns := topLayout(s.rows, s.width-topMargin)
	columns = append([]int{-1}, columns...)
	i := slices.Index(columns, s.by)
	s.by = columns[(i+step+len(columns))%len(columns)]
}

// topMargin is what stands before a name: the mark of the chosen one.
const topMargin = 2

// room is how many rows of namespaces fit.
func (s *topScreen) room() int { return max(1, s.height-6) }

// View implements tea.Model.
func (s *topScreen) View() tea.View {
	p := &painter{width: s.width, colour: true}
	switch {
	case s.help:
		p.lines = strings.Split(topHelp, "\n")
	case len(s.samples) < 2:
		p.lines = []string{"netobs top: looking for what there is to see …"}
	case s.inside:
		s.drawInside(p)
	default:
		s.drawTable(p)
	}
	p.lines = p.lines[:min(len(p.lines), s.height)]
	view := tea.NewView(strings.Join(p.lines, "\n"))
	view.AltScreen = true
	view.WindowTitle = "netobs top"
	return view
}

// header draws the first two lines.
func (s *topScreen) header(p *painter, name string) {
	older, newer := s.between()
	when := fmt.Sprintf("last %d s", int(newer.at.Sub(older.at).Seconds()+0.5))
	if s.all {
		when = "since the start, " + short(newer.at.Sub(older.at).Round(time.Second))
	}
	p.ends("netobs top  "+name, when+"  "+newer.at.Format("15:04:05"))
}

func (s *topScreen) drawTable(p *painter) {
	shown := s.shown()
	s.header(p, countOfNamespaces(len(s.rows), len(shown)))
	p.line(topTotals(s.rows))
	p.line("")
	name, columns := topLayout(s.rows, s.width-topMargin)
	p.heading(topTitles(name, columns, s.by, s.reverse))
	at, room := s.place(shown), s.room()
	first := max(0, min(at-room/2, len(shown)-room))
	for i := first; i < min(first+room, len(shown)); i++ {
		p.row(&shown[i], name, columns, i == at)
	}
	p.fill(s.height - 1)
	switch note := s.notes.last(); {
	case s.typing:
		p.line("names that contain: " + s.filter + "█")
	case note != "":
		p.paint(yellow, note)
	default:
		p.paint(dim, "↑↓ choose  enter look into  s sort  / filter  t since the start  ? help  q quit")
	}
}

func countOfNamespaces(all, shown int) string {
	noun := "namespaces"
	if all == 1 {
		noun = "namespace"
	}
	if shown < all {
		return fmt.Sprintf("%d of %d %s", shown, all, noun)
	}
	return fmt.Sprintf("%d %s", all, noun)
}

// topTotals is the line of the whole host. A connection between two namespaces has one outgoing and one incoming end.
func topTotals(rows []topRow) string {
	var sum topNumbers
	seconds := 1.0
	for i := range rows {
		r := &rows[i]
		seconds = r.seconds
		sum.outgoing += r.outgoing
		sum.incoming += r.incoming
		sum.lost += r.lost
		sum.pending += r.pending
	}
	return fmt.Sprintf("outgoing %s/s  incoming %s/s  in handshake %d  events lost %s",
		perSecond(float64(sum.outgoing)/seconds), perSecond(float64(sum.incoming)/seconds), sum.pending, thousands(sum.lost))
}

// topTitles is the line above the table. An arrow points at the column by which it is sorted.
func topTitles(name int, columns []int, by int, reverse bool) string {
	arrow := "▼"
	if reverse {
		arrow = "▲"
	}
	title := "NAMESPACE"
	if by < 0 {
		title += arrow
	}
	line := strings.Repeat(" ", topMargin) + fit(title, name, false)
	for _, i := range columns {
		title := topColumns[i].title
		if i == by {
			title = arrow + title
		}
		line += fit(title, topColumns[i].width, true)
	}
	return line
}

// drawInside draws one namespace: its numbers, legs, interfaces and last failures.
func (s *topScreen) drawInside(p *painter) {
	older, newer := s.between()
	s.header(p, s.chosen)
	i := slices.IndexFunc(s.rows, func(r topRow) bool { return r.name == s.chosen })
	if i < 0 {
		p.line("it is gone")
		return
	}
	r := &s.rows[i]
	var outcomes []string
	for _, o := range decode.Outcomes() {
		if n := r.outcomes[o]; n > 0 {
			outcomes = append(outcomes, fmt.Sprintf("%d %s", n, o))
		}
	}
	p.line(fmt.Sprintf("handshakes   %s, %s/s", countOf(r.attempts(), outcomes), perSecond(float64(r.attempts())/r.seconds)))
	p.line(fmt.Sprintf("connections  %d open, %d ended, %d in handshake", r.open, r.ended, r.pending))
	p.line("")
	p.legs(&r.legs)
	p.line("")
	p.traffic(trafficRows(older, newer, s.chosen), r.seconds)
	p.line("")
	p.heading("LAST FAILED HANDSHAKES")
	failures := s.counts.failures(s.chosen)
	if len(failures) == 0 {
		p.line("none")
	}
	for i := range failures {
		p.failure(&failures[i])
	}
	p.lines = p.lines[:min(len(p.lines), s.height-1)]
	p.fill(s.height - 1)
	p.paint(dim, "esc back  t since the start  ? help  q quit")
}

// once prints the table of one interval.
func (s *topScreen) once(ctx context.Context, w io.Writer) error {
	for range 2 {
		if len(s.samples) > 0 {
			select {
			case <-time.After(s.every):
			case <-ctx.Done():
			}
		}
		one, err := s.sample()
		if err != nil {
			return err
		}
		s.add(one)
	}
	p := &painter{width: onceWidth, colour: isTerminal(w)}
	older, newer := s.between()
	p.heading(countOfNamespaces(len(s.rows), len(s.rows)) + " in " + short(newer.at.Sub(older.at).Round(time.Millisecond)))
	p.line(topTotals(s.rows))
	p.line("")
	name, columns := topLayout(s.rows, onceWidth)
	p.heading(topTitles(name, columns, s.by, s.reverse))
	for i := range s.rows {
		p.row(&s.rows[i], name, columns, false)
	}
	_, err := io.WriteString(w, strings.Join(p.lines, "\n")+"\n")
	return err
}

// onceWidth has room for all columns.
const onceWidth = 200
