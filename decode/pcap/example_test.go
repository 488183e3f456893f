package pcap_test

import (
	"fmt"
	"io"
	"log"
	"os"

	"netobs/decode"
	"netobs/decode/pcap"
)

// What is readable of a damaged file comes before its error.
func ExampleReader() {
	r, err := pcap.NewReader(os.Stdin, "stdin", pcap.Options{})
	if err != nil {
		log.Fatal(err)
	}
	tracker := decode.NewTracker(decode.TrackerOptions{
		OnHandshake: func(h *decode.Handshake) { fmt.Println(h.Outcome) },
	})
	var seg decode.Segment
	for err == nil {
		if err = r.Next(&seg); err == nil {
			tracker.Step(&seg)
		}
	}
	if err != io.EOF {
		log.Print(err)
	}
	stats := r.Stats()
	fmt.Println(stats.Packets, "packets,", stats.Segments(), "segments")
}
