package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v2"
	"golang.org/x/sys/unix"
)

// defaultListen is where metrics are served, and how many ports from there on are tried when it is taken.
const (
	defaultListen = "127.0.0.1:9811"
	portsTried    = 100
)

// webOptions are the flags about serving metrics.
type webOptions struct {
	listen    string
	listenSet bool // after complete
	config    string
	socket    bool
	pprof     bool
}

func (o *webOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.listen, "listen", defaultListen,
		"`address` to serve metrics on, empty for none; without the flag, the next\nfree port is taken")
	fs.StringVar(&o.config, "web.config.file", "",
		"`file` that says who may read them: TLS, client certificates, passwords, in the form of\n"+
			"Prometheus' exporters; it is read again for each connection")
	fs.BoolVar(&o.socket, "web.systemd-socket", false, "serve on the sockets that systemd opened (a .socket unit), instead of --listen")
	fs.BoolVar(&o.pprof, "web.pprof", false, "also serve /debug/pprof/, which shows what netobs itself does")
}

// complete notes which flags were given.
func (o *webOptions) complete(fs *pflag.FlagSet) { o.listenSet = fs.Changed("listen") }

// validate returns what is wrong with the flags, as far as can be told without opening an address.
func (o *webOptions) validate() error {
	var errs []error
	if o.socket && o.listenSet {
		errs = append(errs, errors.New("--listen and --web.systemd-socket exclude each other"))
	}
	if o.listen != "" {
		_, port, err := net.SplitHostPort(o.listen)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--listen %s is no address with port, such as %s", o.listen, defaultListen))
		}
	}
	return errors.Join(errs...)
}

// checkConfig returns what is wrong with the web configuration file, or with what it names. It must be readable for as long as
// netobs runs.
func (o *webOptions) checkConfig() error {
	if err := web.Validate(o.config); err != nil {
		// Not wrapped: what is not permitted here needs another owner of the file, not more privileges.
		return fmt.Errorf("--web.config.file %s: %v", o.config, err)
	}
	return nil
}

// scheme is that of the addresses that are served, if the configuration is right.
func (o *webOptions) scheme() string {
	var config web.Config
	if content, err := os.ReadFile(o.config); err == nil && yaml.Unmarshal(content, &config) == nil && config.TLSConfig.IsEnabled() {
		return "https"
	}
	return "http"
}

// open opens what the flags say: nothing if --listen is empty.
func (o *webOptions) open() ([]net.Listener, error) {
	if o.socket {
		return inherited()
	}
	l, err := listen(o.listen, o.listenSet)
	if l == nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// inherited returns the listeners that systemd opened.
func inherited() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err == nil && len(all) == 0 {
		err = errors.New("systemd passed no socket: start netobs by a unit that has a .socket unit, or leave the flag out")
	}
	for _, l := range all {
		if l == nil {
			err = errors.New("systemd passed something that does not listen: only ListenStream= may be in the .socket unit")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--web.systemd-socket: %w", err)
	}
	return all, nil
}

// listen opens addr. A port in use is an error if the user chose it; else the next free one is taken. An empty address
// means no listener.
func listen(addr string, chosen bool) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) || chosen {
		// Not wrapped: what is not permitted here needs another port, not more privileges.
		return nil, fmt.Errorf("serve metrics on --listen %s: %v: choose another address, or none with --listen ''", addr,
			errors.Unwrap(err))
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	for port := first + 1; port < first+portsTried; port++ {
		l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("serve metrics: all ports from %s to %d are in use: choose one with --listen", addr,
		first+portsTried-1)
}
