package main

import (
	"strings"
	"testing"

	"netobs/loader"
)

// TestLoDown names a command that works.
func TestLoDown(t *testing.T) {
	t.Parallel()
	namespaces := []loader.Netns{
		{Name: "test", Path: "/run/netns/test"},
		{Name: "pid-7", Path: "/proc/7/ns/net"},
	}
	for _, tc := range []struct {
		netns, want string
		up          bool
	}{
		{netns: "test", want: "lo is down in test; connections need: ip -n test link set lo up\n"},
		{netns: "pid-7", want: "lo is down in pid-7; connections need: nsenter --net=/proc/7/ns/net ip link set lo up\n"},
		{netns: "web", want: "lo is down in web; connections need: ip link set lo up, in that namespace\n"}, // a container
		{netns: "test", up: true},
	} {
		var b strings.Builder
		lo := loader.Interface{Netns: tc.netns, Name: "lo", Kind: loader.KindLoopback, Up: tc.up, Selected: true, Watched: true}
		printWatching(&b, namespaces, []loader.Interface{lo}, &target{})
		if want := "watching " + tc.netns + ": lo\n" + tc.want; b.String() != want {
			t.Errorf("%s: %q, want %q", tc.netns, b.String(), want)
		}
	}
}
