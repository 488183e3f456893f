package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"netobs/decode"
)

// account is all that a reader says about a file.
func account(file []byte, opts Options) string {
	segments, stats, err := readAll(file, opts)
	return fmt.Sprintf("%s\n%+v\n%v", strings.Join(segments, "\n"), stats, err)
}

// checkPlain checks that packets taken where they lie are what pcapgo reads.
func checkPlain(t *testing.T, file []byte, decap bool) {
	t.Helper()
	got, want := account(file, Options{Decap: decap}), account(file, Options{Decap: decap, careful: true})
	if got == want {
		return
	}
	for i, line := range strings.Split(got, "\n") {
		if pcapgo := strings.Split(want, "\n"); i >= len(pcapgo) || line != pcapgo[i] {
			t.Fatalf("line %d:\n%s\npcapgo has\n%s", i, line, strings.Join(pcapgo[min(i, len(pcapgo)):], "\n"))
		}
	}
	t.Fatalf("got a part of\n%s", want)
}

// TestPlain compares over the whole corpus, and over each of its files damaged in many ways: cut, with bits flipped, and with
// lengths that make no sense.
func TestPlain(t *testing.T) {
	damages := 30
	if testing.Short() {
		damages = 5
	}
	for _, name := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			checkPlain(t, file, false)
			if len(file) > 20_000 { // of large files the beginning is enough to damage
				file = file[:20_000]
			}
			r := rand.New(rand.NewPCG(uint64(len(file)), 1))
			for range damages {
				damaged := bytes.Clone(file[:len(file)-r.IntN(2)*r.IntN(len(file))])
				for range r.IntN(4) {
					switch at := r.IntN(len(damaged)); r.IntN(3) {
					case 0:
						damaged[at] ^= 1 << r.IntN(8)
					case 1:
						damaged[at] = byte(r.IntN(256))
					case 2:
						n := [...]uint32{0, 1, 12, 31, 32, 33, bufferSize - 16, bufferSize, 1 << 24, 1 << 31}[r.IntN(10)]
						copy(damaged[at:], binary.LittleEndian.AppendUint32(nil, n))
					}
				}
				checkPlain(t, damaged, false)
			}
		})
	}
}

// TestPlainForms compares where the corpus has no example: byte orders, clocks, and packets about as long as the buffer.
func TestPlainForms(t *testing.T) {
	long := func(n int) []byte { return append(ethernet(0x0800, ipFrame()), make([]byte, n-61)...) }
	for _, order := range orders {
		for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d} {
			w := &recorder{AppendByteOrder: order}
			w.pcapHeader(magic, decode.LinkEthernet)
			for n := bufferSize - 20; n < bufferSize+20; n++ {
				w.pcapPacket(1<<31+7, 1<<31+9, long(n))
			}
			checkPlain(t, w.file, false)
		}
		for _, resolution := range []uint8{0, 1, 3, 6, 9, 10, 20, 0x80, 0x80 | 10, 0x80 | 30} {
			w := &recorder{AppendByteOrder: order}
			w.section()
			w.iface(decode.LinkEthernet, "a", resolution)
			w.packet(0, 1_700_000_000, long(61))
			w.packet(0, 1<<40, long(62))
			w.packet(0, 1<<63, long(63))
			w.packet(0, 1<<63-1, long(64))
			w.packet(1, 1, long(65))
			checkPlain(t, w.file, false)
		}
		for n := bufferSize - 50; n < bufferSize+10; n++ {
			w := &recorder{AppendByteOrder: order}
			w.section()
			w.iface(decode.LinkEthernet, "a", 9)
			w.packet(0, 1, long(100))
			w.packet(0, 2, long(n))
			w.packet(0, 3, long(101))
			checkPlain(t, w.file, false)
		}
	}
}

// TestPlainIsUsual checks that files as everybody writes them have plain packets: all but the first of an interface, which is
// new then.
func TestPlainIsUsual(t *testing.T) {
	for name, tt := range map[string]struct {
		file *recorder
		want int
	}{
		"pcap":               {pcapFile(orders[0], 0xa1b2c3d4, 0), 3},
		"pcap, nanoseconds":  {pcapFile(orders[1], 0xa1b23c4d, 0), 3},
		"pcapng, many forms": {ngFile(orders[0], orders[1]), 1},
	} {
		r, err := NewReader(bytes.NewReader(tt.file.file), "x", Options{})
		if err != nil {
			t.Fatal(err)
		}
		plain := 0
		for err == nil {
			var ok bool
			if _, ok = r.plain(); ok {
				plain++
			} else {
				_, err = r.unusual()
			}
		}
		if plain != tt.want {
			t.Errorf("%s: %d plain packets, want %d", name, plain, tt.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, w := range []*recorder{
		pcapFile(orders[0], 0xa1b2c3d4, 0), pcapFile(orders[1], 0xa1b23c4d, 0), ngFile(orders[0], orders[0]), ngFile(orders[1], orders[0]),
	} {
		f.Add(w.file, true)
		f.Add(compress(w.file), false)
	}
	f.Fuzz(func(t *testing.T, file []byte, decap bool) {
		r, err := NewReader(bytes.NewReader(file), "x", Options{Decap: decap})
		var seg decode.Segment
		segments := int64(0)
		for err == nil {
			if err = r.Next(&seg); err == nil {
				segments++
			}
		}
		if e := new(Error); err != io.EOF && (!errors.As(err, &e) || e.Offset < 0) {
			t.Errorf("got %T %v", err, err)
		}
		if r == nil {
			return
		}
		stats := r.Stats()
		if stats.Segments() != segments {
			t.Errorf("%d segments counted, %d returned", stats.Segments(), segments)
		}
		sum := int64(0)
		for _, n := range stats.Parsed {
			sum += n
		}
		if sum != stats.Packets {
			t.Errorf("%d packets, %d results", stats.Packets, sum)
		}
		if r.file.n != int64(len(file)) && err == io.EOF {
			t.Errorf("ended at %d of %d", r.file.n, len(file))
		}
		checkPlain(t, file, decap)
	})
}
