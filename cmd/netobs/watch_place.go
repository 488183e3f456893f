package main

import (
	"strconv"
	"time"

	"netobs/decode"
)

// appendPlace appends what a segment means for its connection, in few words. talk is what was seen of the connection, the segment
// included, and side who sent the segment there.
func appendPlace(dst []byte, seg *decode.Segment, place decode.Place, talk *numbers, side decode.Side) []byte {
	mine, peer := &talk.sent[side], &talk.sent[1-side]
	words := ""
	since := int64(0) // when what took so long began
	sized := false    // with bytes so far
	switch place.Kind {
	case decode.PlaceSYN:
		words = "handshake 1 of 3"
	case decode.PlaceSYNACK:
		words, since = "handshake 2 of 3", peer.began
	case decode.PlaceCompletes:
		words, since, sized = "handshake 3 of 3", peer.began, seg.Payload > 0 || seg.Has(decode.FIN)
	case decode.PlaceRefused:
		words, since = "RST: refused", peer.began
	case decode.PlaceAborted:
		words, since = "RST: aborted, the handshake is given up", mine.began
	case decode.PlaceReset:
		words, since = "RST: reset, the handshake was agreed to", mine.began
	case decode.PlaceUnseen:
		words, sized = "older connection", seg.Payload > 0 || seg.Has(decode.FIN)
	case decode.PlaceData:
		words, sized = "data", true
	case decode.PlaceKeepAlive:
		words = "keep-alive"
	case decode.PlaceACK:
		words = "ACK"
	case decode.PlaceFirstFIN:
		words, sized = "FIN 1 of 2", true
	case decode.PlaceFirstFINAcked:
		words = "ACK of FIN 1"
	case decode.PlaceSecondFIN:
		words, sized = "FIN 2 of 2", true
	case decode.PlaceFINAcked:
		words = "ACK of a FIN"
	case decode.PlaceFinished:
		words = "last ACK, closed"
	case decode.PlaceRST:
		words, sized = "RST: connection aborted", true
	case decode.PlaceLate:
		words = "late, already closed"
	default:
		words = "not acceptable"
	}
	dst = append(dst, words...)
	switch {
	case place.Again:
		return append(dst, ", retransmission"...)
	case since != 0:
		dst = appendShort(append(dst, " after "...), time.Duration(max(seg.Time-since, 0)))
	}
	if sized {
		dst = appendSent(dst, place.Side, mine, peer)
	}
	return dst
}

// appendSent appends how much each side has sent so far, if that is known. from is who the first of them is.
func appendSent(dst []byte, from decode.Side, mine, peer *extent) []byte {
	names := [2]string{"this side", "the other"}
	if from != decode.SideUnknown {
		names = [2]string{decode.Originator.String(), decode.Responder.String()}
		if from == decode.Responder {
			mine, peer = peer, mine
		}
	}
	begun := false
	for i, e := range [2]*extent{mine, peer} {
		if !e.known {
			continue
		}
		if begun {
			dst = append(dst, ", "...)
		} else {
			dst = append(dst, "; sent so far: "...)
			begun = true
		}
		dst = append(append(dst, names[i]...), ' ')
		dst = append(strconv.AppendUint(dst, uint64(e.bytes()), 10), " B"...)
	}
	return dst
}

func placeColour(p decode.Place) string {
	if p.Again {
		return yellow
	}
	switch p.Kind {
	case decode.PlaceSYN, decode.PlaceSYNACK, decode.PlaceCompletes, decode.PlaceFinished:
		return green
	case decode.PlaceRefused, decode.PlaceReset, decode.PlaceRST:
		return red
	case decode.PlaceAborted, decode.PlaceIgnored, decode.PlaceLate:
		return yellow
	}
	return dim
}
