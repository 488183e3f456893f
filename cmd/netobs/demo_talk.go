package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/sys/unix"

	"netobs/loader"
)

// Where the demo's server is, and where none is. The namespace is new, so both ports are free.
var (
	demoServer = netip.MustParseAddrPort("127.0.0.1:8080")
	demoClosed = netip.MustParseAddrPort("127.0.0.1:8081")
)

// demoAttempts is how many connections talk tries to open.
const demoAttempts = 2

// talk lets a client ask a server for a page, and then knock at a port where nobody listens.
func talk(ctx context.Context, ns *loader.Netns) error {
	server, err := startServer(ns)
	if err != nil {
		return err
	}
	fetchErr := fetch(ctx, ns)
	// The server has closed its end, too, when it has stopped: the two conversations do not mix.
	if err := errors.Join(fetchErr, server.stop(ctx)); err != nil {
		return err
	}
	conn, err := dial(ctx, ns, demoClosed)
	if err == nil {
		conn.Close()
		return fmt.Errorf("somebody answers at %s in the demo's namespace", demoClosed)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("knock at a closed port in the demo's namespace: %w", err)
	}
	return nil
}

// httpServer is a server in the namespace.
type httpServer struct {
	http.Server
	served chan error
}

// startServer returns when the server can be reached. The caller stops it.
func startServer(ns *loader.Netns) (*httpServer, error) {
	var listener net.Listener
	err := ns.Do(func() (err error) {
		listener, err = net.Listen("tcp4", demoServer.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a server in the demo's namespace: %w", err)
	}
	s := &httpServer{served: make(chan error, 1)}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "Hello from the demo.\n")
	})
	go func() { s.served <- s.Serve(listener) }()
	return s, nil
}

// stop waits until all connections have ended, or ctx is done.
func (s *httpServer) stop(ctx context.Context) error {
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
	if err := <-s.served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve in the demo's namespace: %w", err)
	}
	return nil
}

// dial connects inside the namespace: a socket belongs to the namespace of the thread that made it.
func dial(ctx context.Context, ns *loader.Netns, to netip.AddrPort) (conn net.Conn, err error) {
	err = ns.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp4", to.String())
		return err
	})
	return conn, err
}

// fetch does what curl does: ask for a page, read the answer, close.
func fetch(ctx context.Context, ns *loader.Netns) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fetch a page in the demo's namespace: %w", err)
		}
	}()
	conn, err := dial(ctx, ns, demoServer)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	req, err := http.NewRequest(http.MethodGet, "http://"+demoServer.String()+"/", nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "netobs-demo")
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
