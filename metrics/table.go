package metrics

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A Level says how much is exported: each has what the one before has.
type Level int

// Levels. The zero value is LevelDefault.
const (
	LevelMinimal Level = iota - 1 // whether connections can be made, and whether netobs works
	LevelDefault
	LevelFull // also what the Go runtime does, and when each series began as OpenMetrics samples
)

var levelNames = map[Level]string{LevelMinimal: "minimal", LevelDefault: "default", LevelFull: "full"}

// String returns the name of the level.
func (l Level) String() string { return levelNames[l] }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(text []byte) error {
	for level, name := range levelNames {
		if string(text) == name {
			*l = level
			return nil
		}
	}
	return fmt.Errorf("%q is not minimal, default or full", text)
}

// A Row describes a metric.
type Row struct {
	Name    string   `json:"name"`   // in full
	Type    string   `json:"type"`   // counter, gauge or histogram
	Labels  []string `json:"labels"` // without port
	Unit    string   `json:"unit"`   // empty if there is none
	Level   Level    `json:"level"`  // the first that has it
	Meaning string   `json:"meaning"`
	Help    string   `json:"help"` // as in the exposition
}

// Table describes every metric that netobs makes itself.
func Table() []Row {
	var rows []Row
	for _, f := range families {
		rows = append(rows, Row{Prefix + f.name, f.kind, append([]string{}, f.labels...), f.unit, f.level, f.meaning, f.help})
	}
	return rows
}

// WriteTable writes the table for people.
func WriteTable(w io.Writer) error { return writeTable(w, Prefix) }

// writeTable writes it with names that begin with prefix instead of Prefix.
func writeTable(w io.Writer, prefix string) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "name\ttype\tlabels\tunit\tlevel\tmeaning")
	for _, r := range Table() {
		name := prefix + strings.TrimPrefix(r.Name, Prefix)
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\t%s\t%s\n", name, r.Type, strings.Join(r.Labels, ", "), r.Unit, r.Level, r.Meaning)
	}
	return tab.Flush()
}
