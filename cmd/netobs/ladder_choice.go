package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// ladderOptions are the flags for ladders.
type ladderOptions struct {
	draw   bool
	which  string
	choice choice // which
}

func (o *ladderOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.draw, "ladder", false, "draw connections as sequence diagrams: the first ten, or those of --connection")
	fs.StringVar(&o.which, "connection", "",
		"draw `these`: A:P-B:Q or A:P, their sockets; or numbers in the order of their\nbeginnings, such as 3 or 11-20")
}

// validate returns what is wrong, with a form of output.
func (o *ladderOptions) validate(form string) (err error) {
	switch {
	case !o.draw && o.which != "":
		return errors.New("--connection goes with --ladder")
	case !o.draw:
		return nil
	case form != outputText && form != outputSVG:
		return fmt.Errorf("with --ladder, --output is text or svg, not %q", form)
	case o.which != "":
		o.choice, err = parseChoice(o.which)
	}
	return err
}

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
