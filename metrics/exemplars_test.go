package metrics

import (
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"netobs/decode"
)

// openMetrics returns the samples of an OpenMetrics exposition that contain part.
func openMetrics(tb testing.TB, m *Metrics, part string) []string {
	tb.Helper()
	m.ObserveTallies(decode.Tallies{})
	rec := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text;version=1.0.0")
	NewHandler(m, HandlerOptions{}).ServeHTTP(rec, req)
	if rec.Code != 200 {
		tb.Fatalf("scrape: %d\n%s", rec.Code, rec.Body)
	}
	return samples(rec.Body.String(), part)
}

// inOrder puts the labels of an exemplar in order: client_golang sends them in none.
func inOrder(line string) string {
	return responderFirst.ReplaceAllString(line, "{$2,$1}")
}

var responderFirst = regexp.MustCompile(`\{(responder="[^"]*"),(originator="[^"]*")\}`)

// between returns a handshake of these ends.
func between(originator, responder string, at time.Duration) *decode.Handshake {
	h := handshake("a")
	h.Originator, h.Responder = netip.MustParseAddrPort(originator), netip.MustParseAddrPort(responder)
	h.End = int64(at)
	return h
}

// TestExemplarOfFailure: the outcomes that are failures show whose it was, at most one each second.
func TestExemplarOfFailure(t *testing.T) {
	m := New(testBuild, nil, Options{})
	for _, h := range []*decode.Handshake{
		between("10.0.0.1:1001", "10.0.0.2:80", 100*time.Second),
		between("10.0.0.1:1002", "10.0.0.2:80", 100*time.Second+time.Duration(failureEvery)/2),
		between("10.0.0.1:1003", "10.0.0.2:80", 102*time.Second),
		between("10.0.0.1:1004", "10.0.0.2:80", 102*time.Second+time.Duration(failureEvery)/2),
	} {
		h.Outcome = decode.OutcomeRefused
		m.ObserveHandshake(h)
	}
	m.ObserveHandshake(between("10.0.0.1:2000", "10.0.0.2:80", 200*time.Second))
	want := `netobs_handshakes_total{netns="a",outcome="refused",role="local"} 4.0 # {originator="10.0.0.1:1003",responder="10.0.0.2:80"} 1.0 102.0`
	if got := openMetrics(t, m, "#"); len(got) != 1 || inOrder(got[0]) != want {
		t.Errorf("exemplars are\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// TestExemplarOfSlow: of durations only those that are rarely so long show whose it was, and those that surely are.
func TestExemplarOfSlow(t *testing.T) {
	m := New(testBuild, nil, Options{})
	took := func(d time.Duration, port string) {
		h := between("10.0.0.1:"+port, "10.0.0.2:80", 0)
		h.ResponderLeg.Known, h.OriginatorLeg.Known = false, false
		h.Total.First = d
		m.ObserveHandshake(h)
	}
	want := func(when string, want ...string) {
		t.Helper()
		got := openMetrics(t, m, "#")
		if len(got) != len(want) {
			t.Errorf("%s: exemplars are\n%s", when, strings.Join(got, "\n"))
			return
		}
		for i := range want {
			le, port, _ := strings.Cut(want[i], " ")
			if got := inOrder(got[i]); !strings.Contains(got, `le="`+le+`"`) || !strings.Contains(got, `{originator="10.0.0.1:`+port+`",responder="10.0.0.2:80"}`) {
				t.Errorf("%s: exemplar is\n%s\nwant %s", when, got, want[i])
			}
		}
	}
	took(2*time.Second, "1000")
	want("the first one, but a segment was lost", "3.0 1000")
	for range slowShare {
		took(50*time.Microsecond, "1001")
	}
	took(4*time.Millisecond, "1002")
	want("slower than hundred others", "0.005 1002", "3.0 1000")
	took(3*time.Millisecond, "1003")
	want("two of hundred", "0.005 1002", "3.0 1000")
	took(50*time.Microsecond, "1004")
	want("as most", "0.005 1002", "3.0 1000")
	took(20*time.Second, "1005")
	want("beyond all buckets", "0.005 1002", "3.0 1000", "+Inf 1005")
}

// TestExemplarFits into what OpenMetrics allows.
func TestExemplarFits(t *testing.T) {
	longest := netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
	runes := 0
	for name, value := range socketPair(longest, longest) {
		runes += utf8.RuneCountInString(name + value)
	}
	if runes > prometheus.ExemplarMaxRunes {
		t.Errorf("%d runes, %d are allowed", runes, prometheus.ExemplarMaxRunes)
	}
}
