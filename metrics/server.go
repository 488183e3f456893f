package metrics

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

const (
	// maxConnections is how many are open at once, on each listener. More wait to be accepted, so that whoever opens many
	// does not take the file descriptors that attaching needs.
	maxConnections = 512
	// shutdownGrace is how long Serve waits for requests under way before it cuts them off.
	shutdownGrace = 3 * time.Second
)

// ServeOptions for Serve.
type ServeOptions struct {
	// ConfigFile says who may ask, and how: the web configuration file of Prometheus' exporters, which is read again for each
	// connection. Optional.
	ConfigFile string
	// Log receives what clients did wrong, at level debug. Optional.
	Log *slog.Logger
}

// Serve answers requests on the listeners until ctx is done, then lets those under way finish for a few seconds and cuts off
// the rest. It closes the listeners. It returns nil after ctx is done, else why serving failed.
func Serve(ctx context.Context, listeners []net.Listener, h http.Handler, o ServeOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { // also if there is no listener
		<-ctx.Done()
		return nil
	})
	for _, l := range listeners {
		group.Go(func() error { return serve(ctx, l, h, o) })
	}
	return group.Wait()
}

func serve(ctx context.Context, l net.Listener, h http.Handler, o ServeOptions) error {
	defer l.Close() // also if the configuration is wrong
	// A client that is slow or silent holds a connection no longer than this.
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute, // a profile takes 30 s
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		served <- web.Serve(netutil.LimitListener(l, maxConnections), srv, &web.FlagConfig{WebConfigFile: &o.ConfigFile}, o.Log)
	}()

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
