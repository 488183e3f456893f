package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMain lets a test run netobs as a process of its own: the test binary is netobs if this is set.
const asNetobs = "NETOBS_TEST_AS_NETOBS"

func TestMain(m *testing.M) {
	if os.Getenv(asNetobs) == "1" {
		tellGoroutines()
		main()
	}
	if os.Getenv(asTraffic) == "1" {
		if err := makeTraffic(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	time.Local = time.UTC // golden files show times of day
	os.Exit(m.Run())
}

// runHere runs netobs in this process until it returns.
func runHere(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out, err bytes.Buffer
	code = run(ctx, args, &out, &err)
	return code, out.String(), err.String()
}

// checkRefused runs netobs on a mistake: it must give its exit code, one line on stderr with all parts of want, and nothing
// on stdout.
func checkRefused(t *testing.T, want int, parts []string, args ...string) {
	t.Helper()
	code, stdout, stderr := runHere(t, args...)
	if code != want || stdout != "" {
		t.Errorf("code %d, stdout %q, want %d and nothing", code, stdout, want)
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			t.Errorf("stderr %q lacks %q", stderr, part)
		}
	}
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "netobs: ") {
		t.Errorf("stderr is not one line of netobs: %q", stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"dashboard", "--help"}, {"alerts", "--help"},
		{"attach", "--help"}, {"demo", "--help"}, {"read", "--help"},
		{"detach", "--help"}, {"metrics", "--help"}, {"namespaces", "--help"}, {"check", "--help"}, {"schema", "--help"}} {
		name := strings.TrimSuffix(strings.Join(append([]string{"help"}, args[:len(args)-1]...), "-"), "-")
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runHere(t, args...)
			if code != 0 || stderr != "" {
				t.Errorf("code %d, stderr %q, want 0 and nothing", code, stderr)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if stdout != string(want) {
				t.Errorf("help is\n%s\nwant\n%s", stdout, want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		code, stdout, stderr := runHere(t, arg)
		if code != 0 || !strings.HasPrefix(stdout, "netobs ") || !strings.Contains(stdout, " go1.") || stderr != "" {
			t.Errorf("%s: code %d, %q, %q", arg, code, stdout, stderr)
		}
	}
}

// TestHelpCommand checks that help X is X --help.
func TestHelpCommand(t *testing.T) {
	for _, command := range []string{"attach", "read", "help"} {
		_, want, _ := runHere(t, command, "--help")
		code, stdout, stderr := runHere(t, "help", command)
		if code != 0 || stdout != want || stderr != "" || !strings.Contains(stdout, "netobs "+command) {
			t.Errorf("help %s: code %d, stderr %q,\n%s\nwant\n%s", command, code, stderr, stdout, want)
		}
	}
}
