package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"netobs/loader/nettest"
	"netobs/metrics/rules"
)

// scrapeEvery is how often the server of the tests scrapes.
const scrapeEvery = time.Second

// A prometheus is a real server, a child of the test, with data of its own.
type prometheus struct {
	tb     testing.TB
	url    string
	native bool // takes native histograms
}

// startPrometheus starts the server of Debian, or the one of NETOBS_TEST_PROMETHEUS, to scrape netobs at each of the addresses
// and load its rules. It ends with the test.
func startPrometheus(tb testing.TB, native bool, targets ...string) *prometheus {
	tb.Helper()
	binary := os.Getenv("NETOBS_TEST_PROMETHEUS")
	if binary == "" {
		binary = "prometheus"
	}
	nettest.NeedProgram(tb, binary)
	dir := tb.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()

	config := fmt.Sprintf("global: {scrape_interval: %v, scrape_timeout: %[1]v, evaluation_interval: %[1]v}\n", scrapeEvery)
	config += "rule_files: [netobs.yaml]\nscrape_configs:\n"
	config += fmt.Sprintf("  - job_name: netobs\n    static_configs: [{targets: ['%s']}]\n", strings.Join(targets, "', '"))
	features := "exemplar-storage"
	if native {
		features += ",native-histograms"
		if !isVersion2(tb, binary) {
			config += "    scrape_native_histograms: true\n"
		}
	}
	for name, content := range map[string][]byte{"prometheus.yaml": []byte(config), "netobs.yaml": rules.File} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	var log buffer
	// Not with a signal at the death of its parent: that is a thread, which may end with a namespace.
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--log.level=warn", "--enable-feature="+features)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cmd.Process.Kill() // nobody needs its data
		cmd.Wait()
		if tb.Failed() {
			tb.Logf("%s wrote\n%s", binary, log.String())
		}
	})
	p := &prometheus{tb, "http://" + addr, native}
	nettest.Eventually(tb, 30*time.Second, func() error {
		res, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, log.String())
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/-/ready: %s", res.Status)
		}
		return nil
	})
	return p
}

// isVersion2 reports whether native histograms are asked for by a feature alone, not in the configuration. A server built from its
// Go module knows no version of its own.
func isVersion2(tb testing.TB, binary string) bool {
	tb.Helper()
	out, err := exec.Command(binary, "--version").CombinedOutput()
	if err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
	return strings.HasPrefix(string(out), "prometheus, version 2.")
}

// get asks the API. The answer is its data.
func (p *prometheus) get(path string, params url.Values, data any) {
	p.tb.Helper()
	res, err := http.Get(p.url + "/api/v1/" + path + "?" + params.Encode())
	if err != nil {
		p.tb.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
		Warnings      []string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.tb.Fatalf("%s: %v", path, err)
	}
	if answer.Status != "success" {
		p.tb.Fatalf("%s %v: %s", path, params, answer.Error)
	}
	if err := json.Unmarshal(answer.Data, data); err != nil {
		p.tb.Fatalf("%s: %v", path, err)
	}
}

// A promSample is one sample of an instant query.
type promSample struct {
	Metric    map[string]string
	Value     [2]any // time and value, unless it is a histogram
	Histogram []any  // time and a histogram
}

func (r *promSample) String() string {
	if r.Histogram != nil {
		return fmt.Sprintf("%v histogram %v", r.Metric, r.Histogram)
	}
	return fmt.Sprintf("%v %v", r.Metric, r.Value[1])
}

// value is that of a sample, or how many observations are in a histogram.
func (r *promSample) value() float64 {
	text, _ := r.Value[1].(string)
	if r.Histogram != nil {
		text, _ = r.Histogram[1].(map[string]any)["count"].(string)
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(fmt.Sprintf("%v: %v", r, err))
	}
	return v
}

// query returns an instant vector as of a time.
func (p *prometheus) query(at float64, expr string) []promSample {
	p.tb.Helper()
	var data struct{ Result []promSample }
	p.get("query", url.Values{"query": {expr}, "time": {fmt.Sprintf("%.3f", at)}}, &data)
	return data.Result
}

// An exemplar is one event that a sample tells of.
type exemplar struct {
	Labels map[string]string
	Value  string
}

// exemplars returns those of the series that a selector selects.
func (p *prometheus) exemplars(from, to float64, selector string) (all []exemplar) {
	p.tb.Helper()
	var data []struct{ Exemplars []exemplar }
	p.get("query_exemplars", url.Values{"query": {selector}, "start": {fmt.Sprintf("%.3f", from)}, "end": {fmt.Sprintf("%.3f", to)}}, &data)
	for _, series := range data {
		all = append(all, series.Exemplars...)
	}
	return all
}

// nextScrape waits until a target was scraped at or after now, and the rules were evaluated on that, and returns when it was
// scraped: the time of the samples, in seconds since the Unix epoch.
func (p *prometheus) nextScrape(target string) (at float64) {
	p.tb.Helper()
	from := float64(time.Now().UnixMilli()) / 1000
	nettest.Eventually(p.tb, 30*time.Second, func() error {
		var data struct{ Result []struct{ Values [][2]any } }
		p.get("query", url.Values{"query": {`netobs_build_info{instance="` + target + `"}[30s]`}}, &data)
		if len(data.Result) != 1 {
			return fmt.Errorf("%d series of build_info", len(data.Result))
		}
		values := data.Result[0].Values
		for i, v := range values {
			// The one after it is there, so that all of it is.
			if t := v[0].(float64); t >= from && i+1 < len(values) {
				at = t
				return nil
			}
		}
		return fmt.Errorf("not scraped since %.3f", from)
	})
	return at
}
