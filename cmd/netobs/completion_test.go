package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"netobs/loader/nettest"
)

// offered returns what a shell would be told to offer after some words.
func offered(t *testing.T, words ...string) []string {
	t.Helper()
	code, stdout, _ := runHere(t, append([]string{"__completeNoDesc"}, words...)...)
	if code != 0 {
		t.Fatalf("code %d: %s", code, stdout)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	return lines[:len(lines)-1] // the last says what to do
}

func TestCompletion(t *testing.T) {
	ns := nettest.New(t, "complete")
	for _, tc := range []struct {
		words []string
		want  []string // among those offered
		not   []string
	}{
		{[]string{"attach", "--netns", ""}, []string{"host", ns.Name}, nil},
		{[]string{"watch", "--netns", "host", "--netns", ns.Name[:4]}, []string{ns.Name}, []string{"host"}},
		{[]string{"detach", "--netns", ""}, []string{"host", ns.Name}, nil},
		{[]string{"attach", "--kind", "loopback,v"}, []string{"loopback,veth"}, []string{"loopback,loopback", "loopback,bridge"}},
		{[]string{"attach", "--hook", ""}, []string{"tcx", "xdp"}, nil},
		{[]string{"watch", "--segments", ""}, []string{"control", "all"}, nil},
		{[]string{"read", "--output", ""}, []string{"json", "svg"}, []string{"dot"}},
		{[]string{"namespaces", "--output", "d"}, []string{"dot"}, []string{"svg"}},
		{[]string{"dashboard", ""}, dashboardNames(), nil},
		{[]string{"attach", "--log-level", "w"}, []string{"warn"}, []string{"info"}},
		{[]string{"w"}, []string{"watch"}, []string{"read"}},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}, []string{"powershell"}},
	} {
		got := offered(t, tc.words...)
		for _, want := range tc.want {
			if !slices.Contains(got, want) {
				t.Errorf("%v: offered is %v, lacks %s", tc.words, got, want)
			}
		}
		for _, not := range tc.not {
			if slices.Contains(got, not) {
				t.Errorf("%v: offered is %v, has %s", tc.words, got, not)
			}
		}
	}
}

// TestCompletionWords checks that the words offered for --output are those of the help.
func TestCompletionWords(t *testing.T) {
	for command, words := range outputWords {
		_, stdout, _ := runHere(t, command, "--help")
		_, flags, _ := strings.Cut(stdout, "--output form")
		line, _, _ := strings.Cut(flags, "\n")
		for _, word := range words {
			if !strings.Contains(line, word) {
				t.Errorf("%s --output: %s is offered, the help says %s", command, word, line)
			}
		}
	}
}

// TestCompletionScripts checks that the scripts are scripts.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, stdout, stderr := runHere(t, "completion", shell)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "netobs") {
			t.Errorf("%s: code %d, stderr %q", shell, code, stderr)
		}
		if shell != "bash" { // no CI has the others
			continue
		}
		cmd := exec.Command("bash", "-n")
		cmd.Stdin = strings.NewReader(stdout)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("bash: %v: %s", err, out)
		}
	}
}
