package pcap

import (
	"errors"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"netobs/decode"
)

// A peeler takes headers off a frame by gopacket's decoders until there is an IP packet for ours. It allocates.
type peeler struct {
	next      gopacket.Decoder
	layer     gopacket.Layer // the last one decoded; some decoders add two
	length    int            // of their headers
	truncated bool
	whole     []byte // of fill
}

// maxLayers bounds the headers taken off a frame.
const maxLayers = 32

var errPanic = errors.New("decoder panicked")

// peel finds the first TCP segment of a frame that decode.ParseFrame cannot read, in tunnels if decap.
func (p *peeler) peel(first gopacket.Decoder, frame []byte, wireLen int, decap bool, seg *decode.Segment) decode.Parsed {
	wire := max(wireLen, len(frame))
	rest, at := p.fill(frame, wire), 0 // at: where rest begins in frame
	p.next = first
	for range maxLayers {
		if at >= len(frame) { // the rest is of fill
			return decode.ParsedTruncated
		}
		err := p.decode(rest)
		if p.layer == nil {
			if p.truncated || errors.Is(err, errPanic) {
				return decode.ParsedTruncated
			}
			return decode.ParsedNotTCP
		}
		rest = p.layer.LayerPayload()
		switch l := p.layer.(type) {
		case *layers.IPv4, *layers.IPv6:
			parsed := decode.ParseFrame(decode.LinkRaw, frame[at:], wire-at, seg)
			if parsed != decode.ParsedNotTCP || !decap {
				return parsed
			}
		case *layers.MPLS:
			// A pseudowire's control word, which IP cannot begin with (RFC 4385 §3); most carry Ethernet.
			if l.StackBottom && len(rest) > 4 && rest[0]|rest[1] == 0 {
				rest = rest[4:]
				at += 4
				p.next = layers.LayerTypeEthernet
			}
		case *layers.PPP:
			if l.HasPPTPHeader { // two bytes, which its contents lack
				at += 2
			}
		case *layers.UDP:
			p.next = tunnel(l.DstPort)
		}
		if err != nil || p.next == nil || len(rest) == 0 {
			return decode.ParsedNotTCP
		}
		at += p.length
	}
	return decode.ParsedOther
}

// maxFill bounds the copies made by fill. No tunnel is known to carry longer packets.
const maxFill = 1 << 16

// fill returns the frame with zeros for what the capture cut off: some decoders refuse a packet that is shorter than it says.
func (p *peeler) fill(frame []byte, wire int) []byte {
	n := min(wire, max(len(frame), maxFill))
	if n > len(frame) {
		p.whole = append(p.whole[:0], frame...)
		p.whole = append(p.whole, zeros[:n-len(frame)]...)
		frame = p.whole
	}
	return frame
}

var zeros [maxFill]byte

// firstDecoder returns what reads the headers of a link type, nil if nothing does.
func firstDecoder(link decode.LinkType) gopacket.Decoder {
	switch link {
	case decode.LinkRaw, decode.LinkRaw12, decode.LinkRaw14, decode.LinkIPv4, decode.LinkIPv6:
		return layers.LinkTypeRaw
	case decode.LinkType(layers.LinkTypePPP_HDLC):
		return layers.LayerTypePPP
	case decode.LinkType(layers.LinkTypePPPEthernet):
		return layers.LayerTypePPPoE
	}
	if link >= decode.LinkType(layers.LinkTypeMax) || layers.LinkTypeMetadata[link].DecodeWith == nil {
		return nil
	}
	return layers.LinkType(link)
}

// tunnel returns what reads the payload of a UDP datagram that may carry IP, nil if it does not. The port is the
// destination's: tunnels use others as source, for balancing.
func tunnel(port layers.UDPPort) gopacket.Decoder {
	switch port {
	case 4789, 8472: // RFC 7348, and what Linux used before
		return layers.LayerTypeVXLAN
	case 6081: // RFC 8926
		return layers.LayerTypeGeneve
	case 2152: // 3GPP TS 29.281
		return layers.LayerTypeGTPv1U
	}
	return nil
}

// decode takes the next header off data: layer is nil if it could not, next is nil if that was the last one. Decoders are
// not expected to panic, and have.
func (p *peeler) decode(data []byte) (err error) {
	next := p.next
	p.next, p.layer, p.length, p.truncated = nil, nil, 0, false
	defer func() {
		if recover() != nil {
			p.next, p.layer, err = nil, nil, errPanic
		}
	}()
	return next.Decode(data, p)
}

// The rest is gopacket.PacketBuilder: what decoders call.

var noCopy = gopacket.DecodeOptions{NoCopy: true}

func (p *peeler) AddLayer(l gopacket.Layer) {
	p.layer = l
	p.length += len(l.LayerContents())
}
func (p *peeler) NextDecoder(next gopacket.Decoder) error       { p.next = next; return nil }
func (p *peeler) SetTruncated()                                 { p.truncated = true }
func (p *peeler) SetLinkLayer(gopacket.LinkLayer)               {}
func (p *peeler) SetNetworkLayer(gopacket.NetworkLayer)         {}
func (p *peeler) SetTransportLayer(gopacket.TransportLayer)     {}
func (p *peeler) SetApplicationLayer(gopacket.ApplicationLayer) {}
func (p *peeler) SetErrorLayer(gopacket.ErrorLayer)             {}
func (p *peeler) DumpPacketData()                               {}
func (p *peeler) DecodeOptions() *gopacket.DecodeOptions        { return &noCopy }
