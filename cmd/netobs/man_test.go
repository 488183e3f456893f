package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	helpCommand = regexp.MustCompile(`(?m)^  ([a-z]+) +\S`)
	helpFlag    = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z.-]+)`)
)

// commandsOf returns the commands that the help of one lists.
func commandsOf(t *testing.T, path ...string) []string {
	t.Helper()
	_, stdout, _ := runHere(t, append(path, "--help")...)
	_, list, ok := strings.Cut(stdout, "\nCommands:\n")
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, "\n\n")
	var names []string
	for _, m := range helpCommand.FindAllStringSubmatch(list, -1) {
		names = append(names, m[1])
	}
	return names
}

// TestHelpBeginsWithExamples checks that the help of each command says what it is for, and then gives an example of it.
func TestHelpBeginsWithExamples(t *testing.T) {
	var check func(path ...string)
	check = func(path ...string) {
		code, stdout, stderr := runHere(t, append(path, "--help")...)
		lines := strings.Split(stdout, "\n")
		want := "  netobs " + strings.Join(path, " ")
		if code != 0 || stderr != "" || len(lines) < 3 || !strings.HasSuffix(lines[0], ".") || lines[1] != "" || !strings.Contains(lines[2], strings.TrimRight(want, " ")) {
			t.Errorf("netobs %v --help: code %d, %q, begins with\n%s", path, code, stderr, strings.Join(lines[:min(3, len(lines))], "\n"))
		}
		for _, name := range commandsOf(t, path...) {
			check(append(path[:len(path):len(path)], name)...)
		}
	}
	check()
}

// TestMan checks that there is a page for each command, with all flags of its help, their words and its examples, and without what
// cobra makes of zero values.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	if code, stdout, stderr := runHere(t, "man", "--to", dir); code != 0 || stdout+stderr != "" {
		t.Fatalf("code %d, %s%s", code, stdout, stderr)
	}
	zero := regexp.MustCompile(`\[=|=\[\]|=""|Auto generated`)
	names := append(commandsOf(t), "")
	for _, name := range names {
		page := "netobs"
		if name != "" {
			page += "-" + name
		}
		if name == "help" { // cobra has no page for it
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, page+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		text := string(content)
		_, help, _ := runHere(t, strings.Fields(name+" --help")...)
		if zero.MatchString(text) {
			t.Errorf("%s has %q", page, zero.FindString(text))
		}
		for _, part := range []string{fmt.Sprintf(`.TH "%s" "1"`, strings.ToUpper(page)), ".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLE"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %q", page, part)
			}
		}
		for _, m := range helpFlag.FindAllStringSubmatch(help, -1) {
			if flag := `--` + m[1] + `\fP`; !strings.Contains(text, flag) {
				t.Errorf("%s lacks --%s", page, m[1])
			}
		}
	}
	checkRefused(t, exitUsage, []string{"--to DIR"}, "man")
	checkRefused(t, exitFailed, []string{"/nowhere/"}, "man", "--to", "/nowhere")
}
