package pcap

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"netobs/decode"
)

// rowsOf reads an oracle's table by socket pair, where that has one row; nil if the corpus does not have the table.
func rowsOf(t *testing.T, file, oracle string, columns [4]string) map[[2]netip.AddrPort]map[string]string {
	t.Helper()
	file = strings.TrimSuffix(file, filepath.Ext(file)) + "." + oracle + ".tsv"
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	all, twice := map[[2]netip.AddrPort]map[string]string{}, map[[2]netip.AddrPort]bool{}
	for _, row := range readTSV(t, file) {
		if oracle == "tcptrace" && strings.Contains(row[columns[0]], ":") {
			continue // not as IPv6 addresses are written
		}
		k := pair(mustSocket(t, row[columns[0]], row[columns[1]]), mustSocket(t, row[columns[2]], row[columns[3]]))
		twice[k] = all[k] != nil
		all[k] = row
	}
	for k, yes := range twice {
		if yes {
			delete(all, k)
		}
	}
	return all
}

// TestTcptrace compares bytes sent with tcptrace, where a connection is whole: it counts those it saw, we subtract numbers.
func TestTcptrace(t *testing.T) {
	compared := 0
	for _, file := range corpus(t) {
		p, all := replayCapture(t, file, true), streams(t, file)
		for k, row := range rowsOf(t, file, "tcptrace", [4]string{"host_a", "port_a", "host_b", "port_b"}) {
			if len(p.lives[k]) != 1 || len(all[k]) != 1 || p.lives[k][0].verdict() != "completed" {
				continue
			}
			l := p.lives[k][0]
			bytes, known, _, _, _ := l.so()
			ways := []string{"_a2b", "_b2a"}
			if mustSocket(t, row["host_a"], row["port_a"]) != l.originator {
				slices.Reverse(ways)
			}
			for side, way := range ways {
				if !known[side] || row["missed_data"+way] != "0" || !strings.HasSuffix(row["SYN/FIN_pkts_sent"+way], "/1") {
					continue
				}
				compared++
				if want := row["unique_bytes_sent"+way]; fmt.Sprint(bytes[side]) != want {
					t.Errorf("%s: %v: %v sent %d bytes, want %s", file, k, decode.Side(side), bytes[side], want)
				}
			}
		}
	}
	t.Logf("%d counts of bytes compared", compared)
}

// acceptedArkime lists every connection of which arkime says otherwise whether the handshake completed.
var acceptedArkime = map[string]struct {
	connections int
	reason      string
}{
	"arkime/no-syn-ack.pcap":               {2, "the SYN-ACK is missing from the capture, but was acknowledged"},
	"arkime/tcp-reassembly-synthetic.pcap": {1, "the SYN comes after the end of its connection"},
	"arkime/tcp_handshake_synthetic.pcap":  {1, "no SYN, but a SYN-ACK and its ACK: unseen"},
}

// TestArkime compares whether handshakes completed with arkime, and how long that took: half of it, in whole milliseconds.
func TestArkime(t *testing.T) {
	compared, differ := 0, map[string]int{}
	for _, file := range corpus(t) {
		name := filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		p, all := replayCapture(t, file, true), streams(t, file)
		for k, row := range rowsOf(t, file, "arkime", [4]string{"src", "sport", "dst", "dport"}) {
			if len(p.lives[k]) != 1 || len(all[k]) != 1 {
				continue
			}
			compared++
			l := p.lives[k][0]
			if (l.verdict() == "completed") != (row["tcpSynAckValidated"] == "True") {
				if differ[name]++; acceptedArkime[name].connections < differ[name] {
					t.Errorf("%s: %v: %s, but arkime says %s", name, k, l.verdict(), row["tcpSynAckValidated"])
				}
			}
			if h := l.handshake; h != nil && h.Total.Known {
				if got := fmt.Sprint((h.Total.First / 2).Milliseconds()); got != row["initRTT"] {
					t.Errorf("%s: %v: %v from SYN to ACK, want twice %s ms", name, k, h.Total.First, row["initRTT"])
				}
			}
		}
	}
	for name, a := range acceptedArkime {
		if differ[name] != a.connections {
			t.Errorf("%s: listed as differing in %d connections, differs in %d (%s)", name, a.connections, differ[name], a.reason)
		}
	}
	t.Logf("%d connections compared", compared)
}
