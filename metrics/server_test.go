package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestHandler(t *testing.T) {
	h := NewHandler(busy(t))
	for _, tt := range []struct {
		name, method, path, accept string
		status                     int
		contentType, body          string // body contains
	}{
		{"metrics", "GET", "/metrics", "", 200, "text/plain; version=0.0.4", "\nnetobs_handshakes_total{"},
		{"openmetrics", "GET", "/metrics", "application/openmetrics-text;version=1.0.0", 200, "application/openmetrics-text", "\n# EOF\n"},
		{"healthz", "GET", "/healthz", "", 200, "text/plain", "ok\n"},
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
	NewHandler(New(Build{Version: "<script>"}, nil)).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if strings.Contains(rec.Body.String(), "<script>") {
		t.Errorf("the version is not escaped:\n%s", rec.Body)
	}
}

func TestFailingSourceFailsScrape(t *testing.T) {
	m := New(Build{}, func() (Kernel, error) { return Kernel{}, errors.New("read counters: map is gone") })
	rec := httptest.NewRecorder()
	NewHandler(m).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != http.StatusInternalServerError || !strings.Contains(rec.Body.String(), "read counters: map is gone") {
		t.Errorf("want 500 and the cause, got %d\n%s", rec.Code, rec.Body)
	}
}

func TestScrapesAreLimited(t *testing.T) {
	entered, finish := make(chan bool), make(chan bool)
	h := NewHandler(New(Build{}, func() (Kernel, error) {
		entered <- true
		<-finish
		return Kernel{}, nil
	}))
	scrape := func() int {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		return rec.Code
	}
	codes := make(chan int, maxScrapes)
	for range maxScrapes {
		go func() { codes <- scrape() }()
		<-entered
	}
	if code := scrape(); code != http.StatusServiceUnavailable {
		t.Errorf("want 503 beyond %d scrapes, got %d", maxScrapes, code)
	}
	close(finish)
	for range maxScrapes {
		if code := <-codes; code != 200 {
			t.Errorf("want 200, got %d", code)
		}
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
	go func() { done <- Serve(ctx, l, h) }()
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
	addr, stop, result := serving(t, NewHandler(busy(t)))
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
	if err := Serve(ctx, l, http.NotFoundHandler()); err != nil {
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
	if err := Serve(t.Context(), l, http.NotFoundHandler()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("want net.ErrClosed, got %v", err)
	}
}
