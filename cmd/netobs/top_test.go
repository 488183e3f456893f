package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"netobs/loader/nettest"
)

// topTraffic makes a namespace in which one connection completes and one is refused, again and again until the test ends.
func topTraffic(t *testing.T) *nettest.NS {
	ns := nettest.New(t, "top")
	ns.Up("lo")
	ns.Serve("127.0.0.1:80", func(c *nettest.Conn) { c.Close() })
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for _, addr := range []string{"127.0.0.1:80", "127.0.0.1:81"} {
				if c, err := ns.Dial(addr); err == nil {
					c.Read(make([]byte, 1))
					c.Close()
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
	return ns
}

func TestTopOnce(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	ns := topTraffic(t)
	code, stdout, stderr := runHere(t, "top", "--netns", ns.Name, "--once", "--interval", "500ms")
	if code != 0 {
		t.Fatal(stderr)
	}
	// Half of the attempts complete, but for those at the ends of the interval.
	row := regexp.MustCompile(`1 namespace in \d+ms\n.*\n\n  NAMESPACE .*RESP P50.*\n  ` + ns.Name + ` +[\d.]+ +(4[0-9]|5[0-9])\.\d% +[1-9]`)
	if !row.MatchString(stdout) {
		t.Error(stdout)
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("colours in a file")
	}
}

// TestTopOnTerminal runs top in a terminal of 80 columns and 24 lines, looks into a namespace and quits.
func TestTopOnTerminal(t *testing.T) {
	t.Parallel()
	nettest.NeedPrivileges(t)
	nettest.NeedProgram(t, "tmux")
	ns := topTraffic(t)
	name := fmt.Sprintf("netobs-top-%d", os.Getpid())
	tmux := func(args ...string) string {
		out, err := exec.Command("tmux", append([]string{"-L", name}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %s: %s", args, out)
		}
		return string(out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24",
		fmt.Sprintf("%s=1 %s top --netns %s; echo ended with $?; cat", asNetobs, self, ns.Name))
	t.Cleanup(func() { exec.Command("tmux", "-L", name, "kill-server").Run() })
	sees := func(words ...string) {
		t.Helper()
		nettest.Eventually(t, 30*time.Second, func() error {
			screen := tmux("capture-pane", "-p")
			for _, word := range words {
				if !strings.Contains(screen, word) {
					return fmt.Errorf("the screen lacks %q:\n%s", word, screen)
				}
			}
			return nil
		})
	}
	sees("1 namespace ", "> "+ns.Name, "q quit")
	tmux("send-keys", "Enter")
	sees("netobs top  "+ns.Name, "responder leg", "lo ", "127.0.0.1:81  refused", "nobody listens on this port", "esc back")
	tmux("send-keys", "q")
	sees("ended with 0")
}
