package decode

import (
	"net/netip"
	"testing"
)

// TestCommunityID checks the TCP ones of the specification's test vectors (baseline_deflt.json), and what tshark's
// communityid says of sockets that differ in their ports alone, or in the bytes of their addresses the other way round.
func TestCommunityID(t *testing.T) {
	for _, tc := range []struct{ a, b, want string }{
		{"128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{"[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "[2607:f8b0:400c:c03::1a]:25", "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
		{"127.0.0.1:40001", "127.0.0.1:8080", "1:q/KTvzFvxIVXWkv+4mCw2VzPwyM="},
		{"10.0.0.1:40003", "10.0.0.2:8080", "1:QlnRudXsLpoJN8V1oFwyNfgsO0I="},
		{"[::1]:40002", "[::1]:81", "1:BfV+GsJAlOGXQeOGH3kIFgMDst4="},
	} {
		a, b := netip.MustParseAddrPort(tc.a), netip.MustParseAddrPort(tc.b)
		for _, ends := range [][2]netip.AddrPort{{a, b}, {b, a}} {
			if got := string(AppendCommunityID([]byte("x"), ends[0], ends[1])); got != "x"+tc.want {
				t.Errorf("%v: got %s, want x%s", ends, got, tc.want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		var buf [64]byte
		a := netip.AddrPortFrom(netip.IPv6Loopback(), 1)
		AppendCommunityID(buf[:0], a, a)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
