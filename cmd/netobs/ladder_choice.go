package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// choice says which connections are drawn. The zero value chooses all.
type choice struct {
	first, last int               // counted from 1, in the order of their first segments; 0: any
	ends        [2]netip.AddrPort // not valid: any
}

// parseChoice reads a number, a range of numbers, a socket, or two sockets.
func parseChoice(s string) (choice, error) {
	bad := fmt.Errorf("--connection is A:P-B:Q, A:P, or numbers such as 3 or 2-5, not %q", s)
	from, to, two := strings.Cut(s, "-")
	if !two {
		to = from
	}
	if first, err := strconv.Atoi(from); err == nil {
		last, err := strconv.Atoi(to)
		if err != nil || first < 1 || last < first {
			return choice{}, bad
		}
		return choice{first: first, last: last}, nil
	}
	var c choice
	var err error
	if c.ends[0], err = netip.ParseAddrPort(from); err != nil {
		return choice{}, bad
	}
	if two {
		if c.ends[1], err = netip.ParseAddrPort(to); err != nil {
			return choice{}, bad
		}
	}
	return c, nil
}

// wants reports whether connection n between two sockets is chosen.
func (c *choice) wants(n int, sockets [2]netip.AddrPort) bool {
	if c.last > 0 && (n < c.first || n > c.last) {
		return false
	}
	a, b := c.ends[0], c.ends[1]
	fits := func(want, socket netip.AddrPort) bool { return !want.IsValid() || want == socket }
	return fits(a, sockets[0]) && fits(b, sockets[1]) || fits(a, sockets[1]) && fits(b, sockets[0])
}

// validateLadder returns what is wrong with the flags for ladders.
func (o *readOptions) validateLadder() error {
	var err error
	switch {
	case !o.ladder && o.which != "":
		return errors.New("--connection goes with --ladder")
	case !o.ladder:
		return nil
	case o.summary || o.segments:
		return errors.New("choose between --ladder, --summary and --segments")
	case o.output != outputText && o.output != outputSVG:
		return fmt.Errorf("with --ladder, --output is text or svg, not %q", o.output)
	case o.which != "":
		o.choice, err = parseChoice(o.which)
	}
	return err
}
