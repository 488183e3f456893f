package decode

import (
	"bytes"
	"fmt"
	"testing"
)

func TestOptions(t *testing.T) {
	all := Options{
		2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 1,
		8, 10, 0, 0, 0, 1, 0, 0, 0, 2,
		5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4,
	}
	tests := []struct {
		name    string
		options Options
		want    string
	}{
		{"none", nil, ""},
		{"the usual", all, "mss 1460 wscale 7 sackOK ts 1 2 sack 1-2 sack 3-4"},
		{"fast open, asking", Options{34, 2}, "tfo []"},
		{"fast open, experiment", Options{254, 8, 0xf9, 0x89, 1, 2, 3, 4}, "tfo [1 2 3 4]"},
		{"another experiment", Options{254, 4, 0xf9, 0x88}, ""},
		{"md5", append(Options{19, 18}, make([]byte, 16)...), "md5"},
		{"md5, short", append(Options{19, 17}, make([]byte, 15)...), ""},
		{"authentication", Options{29, 4, 61, 84}, "ao 61 84"},
		{"authentication, short", Options{29, 3, 61}, ""},
		{"multipath", Options{30, 4, 0x01, 0x81}, "mptcp capable"},
		{"multipath join", Options{30, 3, 0x10}, "mptcp join"},
		{"multipath, unknown", Options{30, 3, 0xf0}, "mptcp unknown"},
		{"multipath, empty", Options{30, 2}, ""},
		{"accurate ecn", Options{172, 11, 0, 0, 1, 0, 0, 2, 0, 0, 3}, "accecn {1 2 3 3}"},
		{"accurate ecn, other order", Options{174, 11, 0, 0, 1, 0, 0, 2, 0, 0, 3}, "accecn {3 2 1 3}"},
		{"accurate ecn, one field", Options{174, 5, 1, 0, 1}, "accecn {0 0 65537 1}"},
		{"accurate ecn, no field", Options{172, 2}, "accecn {0 0 0 0}"},
		{"behind the end", Options{0, 2, 4, 5, 0xb4}, ""},
		{"behind a malformed one", Options{99, 1, 2, 4, 5, 0xb4}, ""},
		{"beyond the end", Options{2, 4, 5}, ""},
		{"without length", Options{1, 2}, ""},
		{"the first of the right length", Options{2, 3, 1, 2, 5, 1, 2, 3, 2, 4, 5, 0xb4}, "mss 1460"},
		{"of the wrong length", Options{2, 5, 1, 2, 3, 3, 4, 1, 2, 4, 3, 1, 8, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9}, ""},
	}
	for _, tt := range tests {
		var got bytes.Buffer
		o := tt.options
		if v, ok := o.MSS(); ok {
			fmt.Fprintf(&got, " mss %d", v)
		}
		if v, ok := o.WindowScale(); ok {
			fmt.Fprintf(&got, " wscale %d", v)
		}
		if o.SACKPermitted() {
			got.WriteString(" sackOK")
		}
		if v, e, ok := o.Timestamps(); ok {
			fmt.Fprintf(&got, " ts %d %d", v, e)
		}
		for l, r := range o.SACK() {
			fmt.Fprintf(&got, " sack %d-%d", l, r)
		}
		if c, ok := o.FastOpen(); ok {
			fmt.Fprintf(&got, " tfo %v", c)
		}
		if o.MD5() {
			got.WriteString(" md5")
		}
		if k, n, ok := o.AO(); ok {
			fmt.Fprintf(&got, " ao %d %d", k, n)
		}
		if s, ok := o.MPTCP(); ok {
			fmt.Fprintf(&got, " mptcp %s", s)
		}
		if e, ok := o.AccECN(); ok {
			fmt.Fprintf(&got, " accecn %v", e)
		}
		if g := string(bytes.TrimPrefix(got.Bytes(), []byte(" "))); g != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, g, tt.want)
		}
	}
}

func TestOptionsAll(t *testing.T) {
	o := Options{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7, 34, 6, 1, 2, 3, 4, 0, 9, 9}
	var kinds []uint8
	for kind := range o.All() {
		kinds = append(kinds, kind)
	}
	if want := []uint8{2, 4, 8, 1, 3, 34, 0}; !bytes.Equal(kinds, want) {
		t.Errorf("got %d, want %d", kinds, want)
	}
	if n := testing.AllocsPerRun(10, func() {
		for range o.All() {
		}
		for range o.SACK() {
		}
		o.MSS()
		o.Timestamps()
		o.AccECN()
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, uint32(1))
	f.Add([]byte{30, 12, 0x01, 0x81, 1, 2, 3, 4, 5, 6, 7, 8, 34, 6, 1, 2, 3, 4, 172, 5, 1, 2, 3, 0}, uint32(0))
	f.Add([]byte{29, 6, 1, 2, 3, 4, 254, 4, 0xf9, 0x89, 19, 2, 28, 4, 1, 2}, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, base uint32) {
		o := Options(b)
		seen := 0
		for _, data := range o.All() {
			seen += 1 + len(data)
		}
		if seen > len(o) {
			t.Errorf("options of %d bytes out of %d", seen, len(o))
		}
		blocks := 0
		for range o.SACK() {
			blocks++
		}
		if 8*blocks > len(o) {
			t.Errorf("%d SACK blocks out of %d bytes", blocks, len(o))
		}
		o.MSS()
		o.WindowScale()
		o.SACKPermitted()
		o.Timestamps()
		o.FastOpen()
		o.MD5()
		o.AO()
		o.MPTCP()
		o.AccECN()
		s := Segment{Options: o, Flags: ACK}
		_ = o.String()
		if text := s.AppendTcpdump(nil, Seq(base), Seq(base)); len(text) > 200+32*len(o) {
			t.Errorf("%d bytes of text for %d bytes of options", len(text), len(o))
		}
	})
}
