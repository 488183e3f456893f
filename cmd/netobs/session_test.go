package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"netobs/loader/nettest"
)

// buffer can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// session is a netobs attach that runs in this process.
type session struct {
	tb             testing.TB
	stdout, stderr buffer
	addr           string
	stop           context.CancelFunc
	code           chan int
}

var metricsAddr = regexp.MustCompile(`http://(\S+)/metrics`)

// startAttach runs netobs attach with args and returns when it watches. It is stopped at the end of the test.
func startAttach(tb testing.TB, args ...string) *session {
	tb.Helper()
	nettest.NeedPrivileges(tb)
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{tb: tb, stop: cancel, code: make(chan int, 1)}
	go func() {
		s.code <- run(ctx, append([]string{"attach", "--listen", "127.0.0.1:0"}, args...), &s.stdout, &s.stderr)
	}()
	tb.Cleanup(func() { s.end() })
	nettest.Eventually(tb, 30*time.Second, func() error {
		match := metricsAddr.FindStringSubmatch(s.stderr.String())
		if match == nil {
			return fmt.Errorf("netobs does not watch yet: %s", s.stderr.String())
		}
		s.addr = match[1]
		return nil
	})
	return s
}

// end stops netobs as Ctrl-C does, and returns what it wrote to stderr.
func (s *session) end() string {
	s.tb.Helper()
	s.stop()
	if s.code != nil {
		if code := <-s.code; code != 0 {
			s.tb.Errorf("netobs attach returned %d, stderr:\n%s", code, s.stderr.String())
		}
		s.code = nil
	}
	return s.stderr.String()
}

// samples are the metrics of a scrape. Keys are as in the text format: name{label="value",…}, labels sorted.
type samples map[string]float64

func (s *session) scrape() samples {
	s.tb.Helper()
	res, err := http.Get("http://" + s.addr + "/metrics")
	if err != nil {
		s.tb.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		s.tb.Fatalf("scrape: %s: %s", res.Status, body)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	return parseSamples(s.tb, body)
}

// parseSamples reads the text format.
func parseSamples(tb testing.TB, exposition []byte) samples {
	tb.Helper()
	decoder := expfmt.SampleDecoder{
		Dec:  expfmt.NewDecoder(bytes.NewReader(exposition), expfmt.NewFormat(expfmt.TypeTextPlain)),
		Opts: &expfmt.DecodeOptions{},
	}
	all := make(samples)
	for {
		var v model.Vector
		if err := decoder.Decode(&v); err == io.EOF {
			return all
		} else if err != nil {
			tb.Fatal(err)
		}
		for _, sample := range v {
			all[sample.Metric.String()] = float64(sample.Value)
		}
	}
}

// sum adds up the samples of a metric that have all of the labels, given as name="value".
func (s samples) sum(name string, labels ...string) float64 {
	var sum float64
	for key, v := range s {
		if !strings.HasPrefix(key, "netobs_"+name+"{") && key != "netobs_"+name {
			continue
		}
		all := true
		for _, l := range labels {
			all = all && strings.Contains(key, l)
		}
		if all {
			sum += v
		}
	}
	return sum
}

func label(name, value string) string { return name + `="` + value + `"` }

// waitFor waits until the sum of a metric is want.
func (s *session) waitFor(want float64, name string, labels ...string) {
	s.tb.Helper()
	nettest.Eventually(s.tb, 30*time.Second, func() error {
		if got := s.scrape().sum(name, labels...); got != want {
			return fmt.Errorf("%s%v is %v, want %v", name, labels, got, want)
		}
		return nil
	})
}
