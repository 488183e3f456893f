package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestHandler(t *testing.T) {
	h := NewHandler(busy(t), HandlerOptions{})
	for _, tt := range []struct {
		name, method, path, accept string
		status                     int
		contentType, body          string // body contains
	}{
		{"metrics", "GET", "/metrics", "", 200, "text/plain; version=0.0.4", "\nnetobs_handshakes_total{"},
		{"openmetrics", "GET", "/metrics", "application/openmetrics-text;version=1.0.0", 200, "application/openmetrics-text", "\n# EOF\n"},
		{"healthz", "GET", "/healthz", "", 200, "text/plain", "ok\n"},
		{"readyz", "GET", "/readyz", "", 200, "text/plain", "ok\n"},
		{"index", "GET", "/", "", 200, "text/html", "<small>netobs v1.2.3, go1.26, Linux 6.18.0</small>"},
		{"unknown path", "GET", "/metric", "", 404, "text/plain", "404 page not found"},
		{"below a known path", "GET", "/metrics/", "", 404, "text/plain", "404 page not found"},
		{"profiling is not there", "GET", "/debug/pprof/", "", 404, "text/plain", ""},
		{"writing", "POST", "/metrics", "", 405, "text/plain", "Method Not Allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(tt.method, tt.path, nil)
			req.Header.Set("Accept", tt.accept)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != tt.status {
				t.Errorf("want status %d, got %d", tt.status, rec.Code)
			}
			if got := rec.Header().Get("Content-Type"); !strings.HasPrefix(got, tt.contentType) {
				t.Errorf("want content type %s, got %s", tt.contentType, got)
			}
			if !strings.Contains(rec.Body.String(), tt.body) {
				t.Errorf("want a body with %q, got\n%s", tt.body, rec.Body)
			}
		})
	}
}

func TestIndexEscapes(t *testing.T) {
	rec := httptest.NewRecorder()
	NewHandler(New(Build{Version: "<script>"}, nil, Options{}), HandlerOptions{}).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if strings.Contains(rec.Body.String(), "<script>") {
		t.Errorf("the version is not escaped:\n%s", rec.Body)
	}
}

func TestFailingSourceFailsScrape(t *testing.T) {
	m := New(Build{}, func() (Kernel, error) { return Kernel{}, errors.New("read counters: map is gone") }, Options{})
	rec := httptest.NewRecorder()
	NewHandler(m, HandlerOptions{}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != http.StatusInternalServerError || !strings.Contains(rec.Body.String(), "read counters: map is gone") {
		t.Errorf("want 500 and the cause, got %d\n%s", rec.Code, rec.Body)
	}
}

// TestScrapesAreShared: however many want the same form at once, it is made once. Forms are made side by side, not too many.
func TestScrapesAreShared(t *testing.T) {
	const each = 5
	entered, finish := make(chan bool), make(chan bool)
	reg := registry(New(Build{}, nil, Options{}))
	h := http.NewServeMux()
	h.Handle("GET /metrics", newScrape(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		entered <- true
		<-finish
		return reg.Gather()
	}), LevelDefault))
	var waiting sync.WaitGroup
	scrape := func(form int) int {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "/metrics", nil)
		req.Header.Set("Accept", fmt.Sprintf("text/plain;q=0.%d", form))
		waiting.Done()
		h.ServeHTTP(rec, req)
		if rec.Code == http.StatusOK && !strings.Contains(rec.Body.String(), "netobs_build_info{") {
			t.Errorf("form %d: got\n%s", form, rec.Body)
		}
		return rec.Code
	}
	codes := make(chan int, each*maxScrapes)
	for form := range maxScrapes {
		waiting.Add(1)
		go func() { codes <- scrape(form) }()
		<-entered
		waiting.Add(each - 1)
		for range each - 1 {
			go func() { codes <- scrape(form) }()
		}
	}
	waiting.Wait()
	waiting.Add(1)
	if code := scrape(maxScrapes); code != http.StatusServiceUnavailable {
		t.Errorf("want 503 beyond %d forms, got %d", maxScrapes, code)
	}
	close(finish)
	go func() { // those that came too late to share
		for range entered {
		}
	}()
	for range each * maxScrapes {
		if code := <-codes; code != 200 {
			t.Errorf("want 200, got %d", code)
		}
	}
	close(entered)
}

// TestFormsAreTheirOwn: who wants another form does not get that of somebody else, nor what the answer depends on otherwise.
func TestFormsAreTheirOwn(t *testing.T) {
	h := NewHandler(busy(t), HandlerOptions{})
	var clients sync.WaitGroup
	for n := range 60 {
		accept, encoding := "text/plain", ""
		if n%2 == 1 {
			accept = "application/openmetrics-text;version=1.0.0"
		}
		if n%3 == 1 {
			encoding = "gzip"
		}
		clients.Go(func() {
			req := httptest.NewRequest("GET", "/metrics", nil)
			req.Header.Set("Accept", accept)
			req.Header.Set("Accept-Encoding", encoding)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			kind, _, _ := strings.Cut(accept, ";")
			if got := rec.Header(); !strings.HasPrefix(got.Get("Content-Type"), kind) || got.Get("Content-Encoding") != encoding {
				t.Errorf("asked for %q %q, got %v", accept, encoding, got)
			}
		})
	}
	clients.Wait()
}

func TestReadyz(t *testing.T) {
	var ready atomic.Bool
	h := NewHandler(busy(t), HandlerOptions{Ready: ready.Load})
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/readyz", nil))
		if rec.Code != want {
			t.Errorf("want %d, got %d %s", want, rec.Code, rec.Body)
		}
		ready.Store(true)
	}
}

func TestProfiling(t *testing.T) {
	h := NewHandler(busy(t), HandlerOptions{Profiling: true})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != http.StatusOK || rec.Body.Len() == 0 {
			t.Errorf("%s: want 200 and a body, got %d", path, rec.Code)
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if !strings.Contains(rec.Body.String(), "/debug/pprof/") {
		t.Errorf("the index does not tell:\n%s", rec.Body)
	}
}

// serving starts Serve and returns its address, a function that stops it, and its result.
func serving(t *testing.T, h http.Handler) (addr string, stop func(), result <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, []net.Listener{l}, h, ServeOptions{}) }()
	return l.Addr().String(), stop, done
}

// mustReturn returns what result yields, in time.
func mustReturn(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(shutdownGrace + 10*time.Second):
		t.Fatal("Serve did not return")
		return nil
	}
}

func TestServeHead(t *testing.T) {
	addr, stop, result := serving(t, NewHandler(busy(t), HandlerOptions{}))
	for _, path := range []string{"/", "/metrics", "/healthz"} {
		resp, err := http.Head("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || len(body) != 0 {
			t.Errorf("HEAD %s: want 200 and no body, got %d and %d bytes", path, resp.StatusCode, len(body))
		}
	}
	stop()
	if err := mustReturn(t, result); err != nil {
		t.Errorf("want nil after the context ended, got %v", err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the listener is still open")
	}
}

func TestServeStoppedBeforeItBegan(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := Serve(ctx, []net.Listener{l}, http.NotFoundHandler(), ServeOptions{}); err != nil {
		t.Errorf("want nil, got %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("want the listener closed, got %v", err)
	}
}

func TestServeFinishesRequests(t *testing.T) {
	started, finish := make(chan bool), make(chan bool)
	addr, stop, result := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		started <- true
		<-finish
		io.WriteString(w, "whole")
	}))
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		got <- string(body)
	}()
	<-started
	stop()
	for { // the listener closes while the request is still under way
		c, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		c.Close()
	}
	close(finish)
	if body := <-got; body != "whole" {
		t.Errorf("want the whole answer, got %q", body)
	}
	if err := mustReturn(t, result); err != nil {
		t.Errorf("want nil after the context ended, got %v", err)
	}
}

func TestServeCutsOffTheSilent(t *testing.T) {
	t.Parallel()
	started := make(chan bool)
	addr, stop, result := serving(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		started <- true
		<-r.Context().Done() // ends when the connection is cut
	}))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-started
	stop()
	if err := mustReturn(t, result); err != nil {
		t.Errorf("want nil after the context ended, got %v", err)
	}
}

func TestServeReportsFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(t.Context(), []net.Listener{l}, http.NotFoundHandler(), ServeOptions{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("want net.ErrClosed, got %v", err)
	}
}
