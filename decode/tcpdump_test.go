package decode

import (
	"bytes"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestAppendTcpdump compares with what tcpdump itself printed.
func TestAppendTcpdump(t *testing.T) {
	file, err := os.ReadFile("testdata/tcpdump.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		opts, _ := hex.DecodeString(f[0])
		flags, _ := strconv.ParseUint(f[1], 16, 16)
		payload, _ := strconv.ParseUint(f[2], 10, 32)
		seg := Segment{Seq: 1000, Ack: 500, Wnd: 1234, Flags: Flags(flags), Payload: uint32(payload), Options: opts}
		if got := string(seg.AppendTcpdump(nil, 0, 0)); got != f[3] {
			t.Errorf("options %s flags %s\n got %s\nwant %s", f[0], f[1], got, f[3])
		}
	}
}

func TestAppendTcpdumpRelative(t *testing.T) {
	tests := []struct {
		name             string
		seg              Segment
		seqBase, ackBase Seq
		want             string
	}{
		{"SYN", Segment{Seq: 435521204, Wnd: 43690, Flags: SYN,
			Options: Options{2, 4, 0xff, 0xd7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}}, 0, 0,
			"Flags [S], seq 435521204, win 43690, options [mss 65495,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0"},
		{"data", Segment{Seq: 101, Ack: 301, Wnd: 342, Flags: PSH | ACK, Payload: 77}, 100, 300,
			"Flags [P.], seq 1:78, ack 1, win 342, length 77"},
		{"sequence wrap", Segment{Seq: 5, Ack: 7, Wnd: 1, Flags: ACK, Payload: 1}, 0xfffffff0, 0xfffffffe,
			"Flags [.], seq 21:22, ack 9, win 1, length 1"},
		{"SACK blocks are relative", Segment{Ack: 301, Flags: ACK, Options: Options{5, 10, 0, 0, 1, 45, 0, 0, 1, 46}}, 0, 300,
			"Flags [.], ack 1, win 0, options [sack 1 {1:2}], length 0"},
		{"accurate ECN", Segment{Flags: SYN | ECE | CWR | AE}, 0, 0, "Flags [SEWe], seq 0, win 0, length 0"},
	}
	for _, test := range tests {
		if got := string(test.seg.AppendTcpdump(nil, test.seqBase, test.ackBase)); got != test.want {
			t.Errorf("%s\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestOptions(t *testing.T) {
	o := Options{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7, 34, 6, 1, 2, 3, 4, 0, 9, 9}
	if v, ok := o.MSS(); v != 1460 || !ok {
		t.Errorf("MSS: got %d, %t", v, ok)
	}
	if v, ok := o.WindowScale(); v != 7 || !ok {
		t.Errorf("WindowScale: got %d, %t", v, ok)
	}
	if !o.SACKPermitted() {
		t.Error("SACKPermitted: got false")
	}
	if v, e, ok := o.Timestamps(); v != 1 || e != 2 || !ok {
		t.Errorf("Timestamps: got %d, %d, %t", v, e, ok)
	}
	if c, ok := o.FastOpen(); !bytes.Equal(c, []byte{1, 2, 3, 4}) || !ok {
		t.Errorf("FastOpen: got %x, %t", c, ok)
	}
	if _, ok := (Options{254, 4, 0xf9, 0x89}).FastOpen(); !ok {
		t.Error("FastOpen, experimental: got false")
	}
	var kinds []uint8
	for kind := range o.All() {
		kinds = append(kinds, kind)
	}
	if want := []uint8{2, 4, 8, 1, 3, 34, 0}; !bytes.Equal(kinds, want) {
		t.Errorf("All: got %d, want %d", kinds, want)
	}
	for _, bad := range []Options{nil, {2}, {2, 0}, {2, 1, 0}, {2, 4, 1}, {3, 2}, {2, 3, 1}} {
		if _, ok := bad.MSS(); ok {
			t.Errorf("MSS of %x: got true", bad)
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		for range o.All() {
		}
		o.MSS()
		o.Timestamps()
	}); n != 0 {
		t.Errorf("allocations: got %v, want 0", n)
	}
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte{2, 4, 5, 0xb4, 1, 3, 3, 7, 0})
	f.Add([]byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 30, 12, 0, 0x81, 1, 2, 3, 4, 5, 6, 7, 8, 34, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		o := Options(b)
		n := 0
		for _, data := range o.All() {
			n += 1 + len(data)
		}
		if n > len(b) {
			t.Errorf("%d bytes of options in %d", n, len(b))
		}
		_ = o.String()
		seg := Segment{Options: o}
		seg.AppendTcpdump(nil, 1, 1)
		o.MSS()
		o.WindowScale()
		o.SACKPermitted()
		o.Timestamps()
		o.FastOpen()
	})
}
