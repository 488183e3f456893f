package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"netobs/bpf"
	"netobs/decode"
)

// watchFilter are the flags that say which segments are shown. Ports and hosts are filtered by the programs.
type watchFilter struct {
	ports, notPorts []string
	hosts, notHosts []string
	flags           []string
	outcomes        []string

	connections bpf.Filter
	only        flagFilter
	ends        endings
}

// flagFilter is a set of flags of which segments must have one; 0: none need any.
type flagFilter decode.Flags

func (f flagFilter) passes(seg *decode.Segment) bool { return f == 0 || seg.Flags&decode.Flags(f) != 0 }

// endings are ways in which connections end.
type endings struct {
	outcomes  map[decode.Outcome]bool
	teardowns map[decode.Teardown]bool
}

func (e *endings) any() bool { return len(e.outcomes)+len(e.teardowns) > 0 }

func (f *watchFilter) addFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.ports, "port", nil, "only connections from or to one of these `ports`")
	fs.StringSliceVar(&f.notPorts, "exclude-port", nil, "no connections from or to one of these `ports`")
	fs.StringSliceVar(&f.hosts, "host", nil, "only connections of one of these `hosts`: addresses, or networks such as 10.0.0.0/8")
	fs.StringSliceVar(&f.notHosts, "exclude-host", nil, "no connections of one of these `hosts`")
	fs.StringSliceVar(&f.flags, "flags", nil, "only segments with one of these `flags`: "+strings.Join(flagWords(), ","))
	fs.StringSliceVar(&f.outcomes, "outcome", nil,
		"only connections that end in one of these `ways`, each with its whole story once that\nis known: "+
			wrapped(endingWords(), 64))
}

// validate reads the flags, and returns all that is wrong with them.
func (f *watchFilter) validate() error {
	var errs []error
	ports := func(flag string, words []string) (all []uint16) {
		for _, word := range words {
			n, err := strconv.ParseUint(word, 10, 16)
			if err != nil {
				errs = append(errs, fmt.Errorf("--%s %s is no port", flag, word))
			}
			all = append(all, uint16(n))
		}
		return all
	}
	hosts := func(flag string, words []string) (all []netip.Prefix) {
		for _, word := range words {
			prefix, err := parseHost(word)
			if err != nil {
				errs = append(errs, fmt.Errorf("--%s %s is no address, and no network such as 10.0.0.0/8", flag, word))
			}
			all = append(all, prefix)
		}
		return all
	}
	f.connections = bpf.Filter{
		Ports: ports("port", f.ports), NotPorts: ports("exclude-port", f.notPorts),
		Hosts: hosts("host", f.hosts), NotHosts: hosts("exclude-host", f.notHosts),
	}
	if n := max(len(f.ports)+len(f.notPorts), len(f.hosts)+len(f.notHosts)); n > bpf.FiltersMax {
		errs = append(errs, fmt.Errorf("%d ports or hosts are more than %d", n, bpf.FiltersMax))
	}
	f.only = 0
	for _, word := range f.flags {
		i := slices.Index(flagWords(), strings.ToLower(word))
		if i < 0 {
			errs = append(errs, fmt.Errorf("--flags %s is none of %s", word, strings.Join(flagWords(), ", ")))
			continue
		}
		f.only |= 1 << i
	}
	f.ends = endings{make(map[decode.Outcome]bool), make(map[decode.Teardown]bool)}
	for _, word := range f.outcomes {
		if !f.ends.add(word) {
			errs = append(errs, fmt.Errorf("--outcome %s is none of %s", word, strings.Join(endingWords(), ", ")))
		}
	}
	return errors.Join(errs...)
}

// parseHost reads an address or a network.
func parseHost(word string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(word); err == nil {
		return prefix, nil
	}
	addr, err := netip.ParseAddr(word)
	if err != nil {
		return netip.Prefix{}, err
	}
	addr = addr.Unmap().WithZone("")
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// flagWords are the names of flags, lowest first.
func flagWords() (words []string) {
	for bit := decode.FIN; bit <= decode.AE; bit <<= 1 {
		words = append(words, strings.ToLower(bit.String()))
	}
	return words
}

// endingWords are the names of outcomes and teardowns; unknown is none.
func endingWords() (words []string) {
	for _, o := range decode.Outcomes() {
		if o != decode.OutcomeUnknown {
			words = append(words, o.String())
		}
	}
	for _, t := range decode.Teardowns() {
		words = append(words, t.String())
	}
	return words
}

func (e *endings) add(word string) (known bool) {
	for _, o := range decode.Outcomes() {
		if o != decode.OutcomeUnknown && o.String() == word {
			e.outcomes[o], known = true, true
		}
	}
	for _, t := range decode.Teardowns() {
		if t.String() == word {
			e.teardowns[t], known = true, true
		}
	}
	return known
}

// of returns a follower that hands on what passes. What prints how connections go on needs all segments, and does that itself.
func (f flagFilter) of(out follower) follower {
	if f == 0 {
		return out
	}
	return flagged{out, f}
}

type flagged struct {
	follower
	only flagFilter
}

func (f flagged) place(seg *decode.Segment, place decode.Place) {
	if f.only.passes(seg) {
		f.follower.place(seg, place)
	}
}

func (f flagged) finish() error { return finish(f.follower) }
