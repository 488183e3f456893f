package metrics

import (
	"bytes"
	_ "embed"
	"html/template"
	"io"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/singleflight"
)

// maxScrapes is how many expositions are made at once, each for requests that want another form of it; more are told to come
// again (503). Each is held as a whole.
const maxScrapes = 8

//go:embed index.html
var indexHTML string

// HandlerOptions for NewHandler.
type HandlerOptions struct {
	// Ready returns whether what was there at the start is watched. Called concurrently. Optional: without, it is.
	Ready func() bool
	// Profiling serves /debug/pprof/, which shows what the process does and has in memory. Optional.
	Profiling bool
}

// NewHandler returns what netobs serves: /metrics with m alone in a registry of its own, /healthz (alive), /readyz (watching),
// and a page at / for people. When a source of m fails, so does the scrape (500, with the error as text).
func NewHandler(m *Metrics, o HandlerOptions) http.Handler {
	reg := prometheus.NewRegistry()
	register(reg, m)
	scrape := newScrape(reg, m.opts.Level)

	var index bytes.Buffer
	page := struct {
		Build
		Profiling bool
	}{m.build, o.Profiling}
	if err := template.Must(template.New("index").Parse(indexHTML)).Execute(&index, page); err != nil {
		panic(err) // the template is ours and the build is strings
	}

	// GET includes HEAD.
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrape)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if o.Ready != nil && !o.Ready() {
			answer(w, http.StatusServiceUnavailable, "not yet: netobs is still attaching to the interfaces that there are\n")
			return
		}
		answer(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(index.Bytes())
	})
	if o.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// newScrape returns the handler of what reg gathers.
func newScrape(reg prometheus.Gatherer, level Level) http.Handler {
	return &shared{handler: promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		// A sample more for each series. In the Protobuf form, which Prometheus asks for, they cost nothing and are always there.
		EnableOpenMetricsTextCreatedSamples: level >= LevelFull,
		MaxRequestsInFlight:                 maxScrapes,
	})}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text)
}

// shared gives requests that want the same form, and come while one of them is served, the same answer. However many come
// at once, and however slowly they read, the handler works once, and the answer is in memory once.
type shared struct {
	handler http.Handler
	flights singleflight.Group
}

func (s *shared) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form := http.Header{"Accept": r.Header["Accept"], "Accept-Encoding": r.Header["Accept-Encoding"]}
	key := strings.Join(form["Accept"], ",") + "\n" + strings.Join(form["Accept-Encoding"], ",")
	made, _, _ := s.flights.Do(key, func() (any, error) {
		rec := &recorder{header: make(http.Header), status: http.StatusOK}
		// Nothing of the request but the form: the one who asked first may go before the others.
		s.handler.ServeHTTP(rec, &http.Request{Method: http.MethodGet, URL: r.URL, Header: form})
		return rec, nil
	})
	rec := made.(*recorder)
	for name, values := range rec.header {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.status)
	w.Write(rec.body.Bytes())
}

// recorder is a http.ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
