package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"netobs/decode"
	"netobs/loader"
)

// Forms of output.
const (
	outputText = "text"
	outputJSON = "json"
	outputNone = "none"
)

func newSink(form string, w io.Writer) (sink, error) {
	switch form {
	case outputText:
		return newText(w, isTerminal(w)), nil
	case outputJSON:
		return newJSON(w), nil
	case outputNone:
		return discard{}, nil
	}
	return nil, fmt.Errorf("--output is text, json or none, not %q", form)
}

// listenerOf tells which process listens on a socket in a namespace, if that is known. It is nil where nobody knows.
type listenerOf func(netnsID uint32, at netip.AddrPort) (loader.Process, bool)

// responder returns the process that a connection was opened to, if it is in the namespace.
func (f listenerOf) responder(p *decode.Point, role decode.Role, at netip.AddrPort) (loader.Process, bool) {
	if f == nil || role != decode.RoleLocal && role != decode.RoleResponder {
		return loader.Process{}, false
	}
	return f(p.NetnsID, at)
}

// attribute has out say which processes listen.
func attribute(out sink, to listenerOf) {
	switch out := out.(type) {
	case *text:
		out.listener = to
	case *jsonLines:
		out.listener = to
	}
}

// discard is the sink for --output none.
type discard struct{}

func (discard) handshake(*decode.Handshake)   {}
func (discard) connection(*decode.Connection) {}
func (discard) flush() error                  { return nil }

// isTerminal reports whether w is a terminal that may be coloured (https://no-color.org).
func isTerminal(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTTY(w)
}

// isTTY reports whether w is a terminal.
func isTTY(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

const outputBuffer = 64 << 10

func newBuffer(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, outputBuffer) }
