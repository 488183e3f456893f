// Package pcap reads TCP segments from capture files: pcap and pcapng, also compressed by gzip, of any size and from any
// reader. The file formats are gopacket's (pcapgo), but for records without anything unusual, which are taken where they lie
// in the buffer. Frames are read by [decode.ParseFrame], and what is too rare to be there by gopacket's layers: PPPoE, MPLS,
// PPP, IEEE 802.11, and with [Options].Decap tunnels.
//
// Nothing is put together: of a fragmented datagram the first fragment is the segment. The first TCP header of a frame
// counts; one that an ICMP error quotes does not. A packet that is no segment is counted by what it was: [Stats].
//
// Memory does not grow with the file. A packet may have 16 MiB, a pcapng section 65 536 interfaces.
package pcap
