package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// topOptions are the flags of top.
type topOptions struct {
	target
	every time.Duration
	once  bool
}

func (o *topOptions) addFlags(fs *pflag.FlagSet) {
	o.target.addFlags(fs)
	fs.DurationVar(&o.every, "interval", time.Second, "how often the screen is drawn anew; how long --once watches")
	fs.BoolVar(&o.once, "once", false, "print the table of one interval, and end")
	o.addTuning(fs)
}

// Limits of --interval.
const (
	topFastest = 100 * time.Millisecond
	topSlowest = time.Hour
)

func (o *topOptions) validate() error {
	if len(o.netns) == 0 && len(o.pids) == 0 && len(o.dynamic.Containers) == 0 {
		o.dynamic.All = true
	}
	err := o.target.validate()
	if o.every < topFastest || o.every > topSlowest {
		err = errors.Join(err, fmt.Errorf("--interval %s is not between %s and %s", o.every, topFastest, topSlowest))
	}
	return err
}

func newTop(stdout, stderr io.Writer) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show on a full screen what the namespaces do now",
		Long: `Show on a full screen, for each network namespace, how many connections are opened, how many attempts fail and why,
and how long handshakes take; behind each of them its interfaces and its last failures. Without --netns, --container or
--pid it shows all namespaces.

` + topKeys,
		Example: `  netobs top
  netobs top --netns host --interval 5s
  netobs top --once --interval 10s        a table, for a script or a mail`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if !o.once && !(isTTY(os.Stdin) && isTTY(stdout)) {
				return usageError{errors.New("top needs a terminal; --once prints one table"), cmd.CommandPath()}
			}
			return top(cmd.Context(), &o, stdout, stderr)
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

const topKeys = `Keys:
  up, down        choose a namespace
  enter, escape   look into it, and back
  s, S            sort by the next column, by the one before
  r               the other way round
  /               only namespaces whose name contains what is typed
  t               since the start instead of the last 10 seconds, and back
  q               quit`

const topHelp = topKeys + `

Columns:
  CONN/S     attempts to open a connection, each second
  OK         how many of them completed
  REFUSED    answered by RST: nobody listens
  UNANSW     not answered: a firewall drops, or nobody is there
  HALF       half open: the SYN-ACK was never acknowledged
  P50, P99   from SYN to ACK: half of the handshakes took less, 99 of 100
             (the last 1024 handshakes at most)
  OPEN       connections open now
  RETR       segments of handshakes sent again
  LOST       events that netobs lost; numbers are too low then

A wide terminal has more columns. Any key goes back.`

// top watches until its user quits, or for one interval.
func top(ctx context.Context, o *topOptions, stdout, stderr io.Writer) error {
	counts := newTopCounts()
	var notes lastLine
	l := live{target: &o.target, out: counts, stderr: stderr}
	if !o.once {
		l.stderr = &notes // the screen is taken
	}
	watched := make(chan struct{})
	l.ready = func() error {
		close(watched)
		return nil
	}
	l.beside = func(ctx context.Context, p *pipeline) error {
		screen := newTopScreen(counts, func() (*topSample, error) {
			stats, err := p.loader.Stats()
			return counts.sample(time.Now(), &stats), err
		}, o.every, &notes)
		if o.once {
			select {
			case <-watched:
				return screen.once(ctx, stdout)
			case <-ctx.Done():
				return nil
			}
		}
		_, err := tea.NewProgram(screen, tea.WithContext(ctx), tea.WithOutput(stdout), tea.WithoutSignalHandler()).Run()
		if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
			return nil
		}
		return err
	}
	return l.watch(ctx)
}

// lastLine is what was last written to it, for as long as it is new.
type lastLine struct {
	mu      sync.Mutex
	line    string
	written time.Time
}

// noteStays is for how long a line of the log is shown.
const noteStays = 10 * time.Second

func (l *lastLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lines := bytes.Split(bytes.TrimSpace(p), []byte("\n")); len(lines) > 0 {
		l.line, l.written = string(lines[len(lines)-1]), time.Now()
	}
	return len(p), nil
}

func (l *lastLine) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.written) > noteStays {
		return ""
	}
	return l.line
}
