package metrics

import (
	"bytes"
	"context"
	_ "embed"
	"html/template"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxScrapes is how many scrapes run at once; more are told to come again (503). Each holds the whole exposition.
	maxScrapes = 8
	// shutdownGrace is how long Serve waits for requests under way before it cuts them off.
	shutdownGrace = 3 * time.Second
)

//go:embed index.html
var indexHTML string

// NewHandler returns what netobs serves: /metrics with m alone in a registry of its own, /healthz, and a page at / for
// people. When a source of m fails, so does the scrape (500, with the error as text).
func NewHandler(m *Metrics) http.Handler {
	reg := prometheus.NewRegistry()
	register(reg, m)
	scrape := promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: maxScrapes,
	})

	var index bytes.Buffer
	if err := template.Must(template.New("index").Parse(indexHTML)).Execute(&index, m.build); err != nil {
		panic(err) // the template is ours and the build is strings
	}

	// GET includes HEAD.
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrape)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(index.Bytes())
	})
	return mux
}

// Serve answers requests on l until ctx is done, then lets those under way finish for a few seconds and cuts off the
// rest. It closes l. It returns nil after ctx is done, else why serving failed.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	// A client that is slow or silent holds a connection no longer than this.
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()

	select {
	case err := <-served:
		srv.Close()
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	<-served // http.ErrServerClosed
	return nil
}
