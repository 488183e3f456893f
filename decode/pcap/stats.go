package pcap

import (
	"maps"
	"slices"
	"strconv"

	"github.com/gopacket/gopacket/layers"

	"netobs/decode"
)

// Stats count what a [Reader] has read. The sum of Parsed is Packets.
type Stats struct {
	Packets int64                   // packets of any kind
	Bytes   int64                   // their length before the capture cut them
	Parsed  [decode.NumParsed]int64 // what they were, by decode.Parsed

	// links counts packets of link types that nobody here can read. They are in Parsed[decode.ParsedOther], too.
	links map[decode.LinkType]int64
}

// Segments returns the number of TCP segments.
func (s *Stats) Segments() int64 { return s.Parsed[decode.ParsedSegment] }

// A LinkCount says how many packets had a link type.
type LinkCount struct {
	Link    decode.LinkType
	Packets int64
}

// Unsupported returns the link types that could not be read, lowest first.
func (s *Stats) Unsupported() []LinkCount {
	var counts []LinkCount
	for _, l := range slices.Sorted(maps.Keys(s.links)) {
		counts = append(counts, LinkCount{l, s.links[l]})
	}
	return counts
}

func (s *Stats) unsupported(l decode.LinkType) {
	if s.links == nil {
		s.links = map[decode.LinkType]int64{}
	}
	s.links[l]++
}

// Stats returns the counts so far.
func (p *Reader) Stats() Stats {
	s := p.stats
	s.links = maps.Clone(s.links)
	return s
}

// LinkName returns the name of a link type, or its number if it has none here.
func LinkName(l decode.LinkType) string {
	if name := layers.LinkType(l).String(); name != "" && name != "UnknownLinkType" {
		return name
	}
	return "link type " + strconv.Itoa(int(l))
}
