package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// mustGzip compresses a file.
func mustGzip(tb testing.TB, file []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(file); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// TestReadDamaged checks that of a damaged file everything before the damage is told, as of a file that ends there, that a
// line says what is wrong, and where, and that the other files are read nevertheless.
func TestReadDamaged(t *testing.T) {
	all := manyRefused(t)[:1200]
	const intact = 801
	ng := func(packets []packet) []byte {
		return mustPcapng(t, packets, []string{"eth0"}, []layers.LinkType{layers.LinkTypeEthernet})
	}
	with := func(file []byte, at int, n uint32) []byte {
		file = bytes.Clone(file)
		binary.LittleEndian.PutUint32(file[at:], n)
		return file
	}
	pcap, pcapAt := mustPcap(t, all), len(mustPcap(t, all[:intact]))
	pcapng, ngAt := ng(all), len(ng(all[:intact]))
	// gzip tells what it has made of the bytes before the damage, and no more.
	zipped := mustGzip(t, pcap)
	readable := func(zipped []byte) int {
		z, err := gzip.NewReader(bytes.NewReader(zipped))
		if err != nil {
			t.Fatal(err)
		}
		plain, _ := io.ReadAll(z)
		for n := len(all); ; n-- {
			if len(mustPcap(t, all[:n])) <= len(plain) {
				return n
			}
		}
	}
	cutZip, badSum := zipped[:len(zipped)*2/3], with(zipped, len(zipped)-8, 0)
	for _, tc := range []struct {
		name  string
		file  []byte
		whole func([]packet) []byte
		n     int // intact packets
		want  string
	}{
		{"pcap cut in a header", pcap[:pcapAt+7], pcapOf(t), intact, fmt.Sprintf("truncated: the file ends inside the record at byte %d", pcapAt)},
		{"pcap cut in a packet", pcap[:pcapAt+20], pcapOf(t), intact, fmt.Sprintf("truncated: the file ends inside the record at byte %d", pcapAt)},
		{"pcap with a packet of 4 GB", with(pcap, pcapAt+8, 0xffffffff), pcapOf(t), intact, fmt.Sprintf("damaged at byte %d", pcapAt)},
		{"pcapng cut", pcapng[:ngAt+30], ng, intact, fmt.Sprintf("truncated: the file ends inside the record at byte %d", ngAt)},
		{"pcapng with a block of length 0", with(pcapng, ngAt+4, 0), ng, intact, fmt.Sprintf("damaged at byte %d: block of type 0x6 with a length of 0", ngAt)},
		{"pcapng with a block of odd length", with(pcapng, ngAt+4, 77), ng, intact, fmt.Sprintf("damaged at byte %d: block of type 0x6 with a length of 77", ngAt)},
		{"pcapng with a block of 4 GB", with(pcapng, ngAt+4, 0xfffffffc), ng, intact, fmt.Sprintf("damaged at byte %d: block of type 0x6", ngAt)},
		{"pcapng with a block too short for its packet", with(pcapng, ngAt+4, 32), ng, intact, fmt.Sprintf("damaged at byte %d: the content of a block is longer than the block", ngAt)},
		{"pcapng with a packet of no interface", with(pcapng, ngAt+8, 9), ng, intact, fmt.Sprintf("damaged at byte %d: Interface id 9", ngAt)},
		{"gzip cut", cutZip, pcapOf(t), readable(cutZip), "of its uncompressed content"},
		{"gzip with a wrong checksum", badSum, pcapOf(t), len(all), fmt.Sprintf("damaged at byte %d of its uncompressed content: gzip: invalid checksum", len(pcap))},
	} {
		for _, flags := range [][]string{nil, {"--segments"}, {"--summary"}, {"--output", "json"}} {
			t.Run(strings.Join(append([]string{tc.name}, flags...), " "), func(t *testing.T) {
				if tc.n == 0 {
					t.Fatal("nothing is intact")
				}
				other := mustPcap(t, storyOfAll(t))
				args := slices.Concat([]string{"read", "a", "missing", "b"}, flags)
				inDir(t, map[string][]byte{"a": tc.whole(all[:tc.n]), "b": other})
				_, wantOut, wantErr := runHere(t, args...)
				inDir(t, map[string][]byte{"a": tc.file, "b": other})
				code, stdout, stderr := runHere(t, args...)
				first, rest, _ := strings.Cut(stderr, "\n")
				if code != 1 || !strings.HasPrefix(first, "netobs: a: ") || !strings.Contains(first, tc.want) || rest != wantErr {
					t.Errorf("code %d, stderr\n%swant 1, a line with %q and\n%s", code, stderr, tc.want, wantErr)
				}
				if stdout != wantOut {
					t.Errorf("%d bytes of output, want %d as of %d packets", len(stdout), len(wantOut), tc.n)
				}
			})
		}
	}
}

func pcapOf(tb testing.TB) func([]packet) []byte {
	return func(packets []packet) []byte { return mustPcap(tb, packets) }
}

// TestReadError checks that an error of the file itself is told with its place.
func TestReadError(t *testing.T) {
	if _, err := os.Stat("/proc/self/mem"); err != nil {
		t.Skip("no file to read that gives an error")
	}
	checkRefused(t, 1, []string{"/proc/self/mem: byte 0: input/output error"}, "read", "--output", "none", "/proc/self/mem")
}
