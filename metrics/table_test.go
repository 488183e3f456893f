package metrics

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// tableInDoc is the table in doc.go: the lines of preformatted text.
var tableInDoc = regexp.MustCompile(`(?m)(^//\t.*\n)+`)

// TestDocTable: the documentation has the table that netobs metrics prints.
func TestDocTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := writeTable(&table, ""); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^`).ReplaceAllString(strings.TrimSpace(table.String()), "//\t") + "\n"
	if *update {
		doc = tableInDoc.ReplaceAllLiteral(doc, []byte(want))
		if err := os.WriteFile("doc.go", doc, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got := tableInDoc.FindAllString(string(doc), -1); len(got) != 1 || got[0] != want {
		t.Errorf("doc.go (-update rewrites it)\nwant\n%s\ngot\n%s", want, strings.Join(got, "\n"))
	}
}

// TestTable: what is exported at each level is what the table says.
func TestTable(t *testing.T) {
	for _, level := range []Level{LevelMinimal, LevelDefault, LevelFull} {
		t.Run(level.String(), func(t *testing.T) {
			var want []string
			for _, r := range Table() {
				if r.Level <= level {
					labels := slices.Sorted(slices.Values(r.Labels))
					want = append(want, fmt.Sprintf("%s %s %v %s", r.Name, r.Type, labels, r.Help))
				}
				if r.Meaning == "" || strings.HasSuffix(r.Meaning, ".") || !strings.HasSuffix(r.Help, ".") {
					t.Errorf("%s: the meaning is no phrase, or the help no sentence", r.Name)
				}
			}
			slices.Sort(want)

			m := busyAt(t, level)
			families, err := registry(m).Gather()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			runtime := false
			for _, f := range families {
				runtime = runtime || strings.HasPrefix(f.GetName(), "go_")
				if !strings.HasPrefix(f.GetName(), Prefix) {
					continue
				}
				var labels []string
				for _, l := range f.GetMetric()[0].GetLabel() {
					labels = append(labels, l.GetName())
				}
				got = append(got, fmt.Sprintf("%s %s %v %s", f.GetName(), strings.ToLower(f.GetType().String()), labels, f.GetHelp()))
			}
			if !slices.Equal(want, got) {
				t.Errorf("the table says\n%s\nexported is\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
			}
			if runtime != (level == LevelFull) {
				t.Errorf("metrics of the Go runtime: %v", runtime)
			}
			descs := make(chan *prometheus.Desc, 100)
			m.Describe(descs)
			if len(descs) != len(got) {
				t.Errorf("want %d Descs, as many as families, got %d", len(got), len(descs))
			}
			legs := len(samples(exposition(t, m), `netobs_handshake_duration_seconds_count{leg="originator"`))
			if legs != 0 != (level > LevelMinimal) {
				t.Errorf("%d series of the originator's leg", legs)
			}
		})
	}
}

func TestLevel(t *testing.T) {
	for level, name := range levelNames {
		var got Level
		if err := got.UnmarshalText([]byte(name)); err != nil || got != level {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if err := new(Level).UnmarshalText([]byte("all")); err == nil {
		t.Error("an unknown level is no error")
	}
}

// TestReadme: the metrics that it names exist.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, r := range Table() {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			known[r.Name+suffix] = true
		}
	}
	named := regexp.MustCompile(`\bnetobs_[a-z_]+[{\[ )`+"`"+`]`).FindAllString(string(readme), -1)
	for _, name := range named {
		if name = name[:len(name)-1]; !known[name] && !strings.HasSuffix(name, "_") {
			t.Errorf("the README names %s, which does not exist", name)
		}
	}
	if len(named) == 0 {
		t.Error("the README names no metric")
	}
}
