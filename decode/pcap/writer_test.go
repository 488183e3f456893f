package pcap

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"netobs/decode"
)

// TestWriter writes segments of several points, and reads them again: what tells connections apart is there, and all that segments hold.
// tshark reads the file without complaint, and says of interfaces, directions, times and comments what was written.
func TestWriter(t *testing.T) {
	points := []*decode.Point{
		{ID: 7, NetnsID: 3, Netns: "test", Interface: "lo", Direction: decode.Egress, Loopback: true},
		{ID: 8, NetnsID: 4, Netns: "kube-system/pod (a)", Interface: "eth0", Direction: decode.Ingress},
		{ID: 9, NetnsID: 5, Netns: "test", Interface: "lo", Direction: decode.Egress, Loopback: true}, // another one of that name
	}
	a, b := netip.MustParseAddrPort("10.0.0.1:40001"), netip.MustParseAddrPort("10.0.0.2:8080")
	c, d := netip.MustParseAddrPort("[2001:db8::1]:40001"), netip.MustParseAddrPort("[2001:db8::2]:8080")
	segments := []decode.Segment{
		{Point: points[0], Src: a, Dst: b, Flags: decode.SYN, Seq: 100, Wnd: 64240, TTL: 64, Options: decode.Options{2, 4, 5, 180, 1, 3, 3, 7}},
		{Point: points[1], Src: c, Dst: d, Flags: decode.SYN | decode.ECE | decode.CWR | decode.AE, Seq: 1<<32 - 1, TTL: 63},
		{Point: points[0], Src: b, Dst: a, Flags: decode.RST | decode.ACK, Ack: 101, TTL: 64},
		{Point: points[2], Src: a, Dst: b, Flags: decode.PSH | decode.ACK, Seq: 7, Ack: 8, Payload: 12345, TTL: 1, Data: []byte("GET / HTTP/1.1")},
	}
	var file bytes.Buffer
	w := NewWriter(&file, WriterOptions{Version: "1.2", ControlOnly: true})
	for i := range segments {
		segments[i].Time = 1_700_000_000_123_456_789 + int64(i)
		var comments []string
		if i == 2 {
			comments = []string{"handshake refused", "ä \"quoted\""}
		}
		if err := w.Write(&segments[i], comments...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || w.Length() != int64(file.Len()) {
		t.Fatalf("%v; length %d, is %d", err, w.Length(), file.Len())
	}

	r, err := NewReader(bytes.NewReader(file.Bytes()), "file", Options{})
	if err != nil || !r.ControlOnly() {
		t.Fatal(err, r)
	}
	for i, want := range segments {
		var got decode.Segment
		if err := r.Next(&got); err != nil {
			t.Fatal(err)
		}
		p, q := got.Point, want.Point
		if p.NetnsID != q.NetnsID || p.Netns != q.Netns || p.Interface != q.Interface || p.Direction != decode.DirectionUnknown {
			t.Errorf("segment %d at %+v, want %+v", i, p, q)
		}
		got.Point, want.Data = want.Point, nil // which a reader does not give
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("segment %d\n got %+v\nwant %+v", i, got, want)
		}
	}
	if err := r.Next(new(decode.Segment)); err != io.EOF {
		t.Errorf("behind the last: %v", err)
	}

	name := filepath.Join(t.TempDir(), "file.pcapng")
	if err := os.WriteFile(name, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	got := tshark(t, name, "-t", "e", "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-E", "separator=|", "-E", "aggregator=;",
		"-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.comment", "-e", "frame.cap_len",
		"-e", "frame.len", "-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-e", "tcp.flags.str", "-e", "_ws.malformed", "-e", "tcp.payload")
	const want = `1700000000.123456789|test/lo|0x00000002||48|48|1|1|··········S·||
1700000000.123456790|kube-system/pod (a)/eth0|0x00000001||60|60||1|···ACE····S·||
1700000000.123456791|test/lo|0x00000002|handshake refused;ä "quoted"|40|40|1|1|·······A·R··||
1700000000.123456792|test/lo|0x00000002||54|12385|1|2|·······AP···||474554202f20485454502f312e31
`
	if got != want {
		t.Errorf("tshark says\n%swant\n%s", got, want)
	}
}

// TestWriterEmpty checks that a capture without segments is one.
func TestWriterEmpty(t *testing.T) {
	var file bytes.Buffer
	if err := NewWriter(&file, WriterOptions{}).Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&file, "file", Options{})
	if err != nil || r.ControlOnly() {
		t.Fatal(err)
	}
	if err := r.Next(new(decode.Segment)); err != io.EOF {
		t.Error(err)
	}
}

// tshark returns what it says of a file; it may not complain.
func tshark(t *testing.T, file string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("NETOBS_CORPUS_REQUIRED") == "1" {
			t.Fatal("no tshark")
		}
		t.Skip("no tshark")
	}
	cmd := exec.Command(path, append([]string{"-n", "-r", file}, args...)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	said := strings.ReplaceAll(complaint.String(), `Running as user "root" and group "root". This could be dangerous.`, "")
	if err != nil || strings.TrimSpace(said) != "" {
		t.Errorf("tshark: %v: %s", err, said)
	}
	return string(out)
}
