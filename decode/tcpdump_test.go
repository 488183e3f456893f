package decode

import (
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
