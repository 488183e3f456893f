package decode

import (
	"encoding/binary"
	"iter"
)

// Options are the options of a TCP header, as sent (RFC 9293 §3.2).
type Options []byte

// Option kinds, as assigned by IANA.
const (
	OptionEOL           = 0
	OptionNOP           = 1
	OptionMSS           = 2
	OptionWindowScale   = 3
	OptionSACKPermitted = 4
	OptionSACK          = 5
	OptionTimestamps    = 8
	OptionMD5           = 19
	OptionUserTimeout   = 28
	OptionAO            = 29
	OptionMPTCP         = 30
	OptionFastOpen      = 34
	OptionAccECN0       = 172
	OptionAccECN1       = 174
	OptionExperiment1   = 253
	OptionExperiment2   = 254
)

// All yields each option's kind and its data, which is what follows the length octet and belongs to o. The end of the
// list is yielded, and ends it. So does a malformed option, which is not yielded.
func (o Options) All() iter.Seq2[uint8, []byte] {
	return func(yield func(uint8, []byte) bool) {
		for rest := o; len(rest) > 0; {
			kind, data, next, ok := rest.next()
			if !ok || !yield(kind, data) || kind == OptionEOL {
				return
			}
			rest = next
		}
	}
}

// next splits the first option off o, which must not be empty.
func (o Options) next() (kind uint8, data []byte, rest Options, ok bool) {
	kind = o[0]
	if kind == OptionEOL || kind == OptionNOP {
		return kind, nil, o[1:], true
	}
	if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
		return kind, nil, nil, false
	}
	return kind, o[2:o[1]:o[1]], o[o[1]:], true
}

// find returns the data of the first option of a kind that has at least low and at most high bytes. TCP ignores an option of
// another length than its own.
func (o Options) find(kind uint8, low, high int) ([]byte, bool) {
	for rest := o; len(rest) > 0; {
		k, data, next, ok := rest.next()
		if !ok || k == OptionEOL {
			break
		}
		if k == kind && low <= len(data) && len(data) <= high {
			return data, true
		}
		rest = next
	}
	return nil, false
}

// maxData is the most data an option can have: a header has 40 bytes of options (RFC 9293 §3.1).
const maxData = 38

// MSS returns the maximum segment size (RFC 9293 §3.7.1).
func (o Options) MSS() (uint16, bool) {
	d, ok := o.find(OptionMSS, 2, 2)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint16(d), true
}

// WindowScale returns the window scale's shift count as sent; more than 14 means 14 (RFC 7323 §2.3).
func (o Options) WindowScale() (uint8, bool) {
	d, ok := o.find(OptionWindowScale, 1, 1)
	if !ok {
		return 0, false
	}
	return d[0], true
}

// SACKPermitted reports whether selective acknowledgments are allowed (RFC 2018 §2).
func (o Options) SACKPermitted() bool {
	_, ok := o.find(OptionSACKPermitted, 0, 0)
	return ok
}

// Timestamps returns the timestamp value and echo reply (RFC 7323 §3.2).
func (o Options) Timestamps() (value, echo uint32, ok bool) {
	d, ok := o.find(OptionTimestamps, 8, 8)
	if !ok {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:]), true
}

// FastOpen returns the TCP Fast Open cookie, empty if one is asked for (RFC 7413 §4.1.1), also in the form of the
// experiment that came before it. It belongs to o.
func (o Options) FastOpen() (cookie []byte, ok bool) {
	if d, ok := o.find(OptionFastOpen, 0, maxData); ok {
		return d, true
	}
	if d, ok := o.find(OptionExperiment2, 2, maxData); ok && binary.BigEndian.Uint16(d) == fastOpenExperiment {
		return d[2:], true
	}
	return nil, false
}

// fastOpenExperiment is the ExID of TCP Fast Open in the experimental option (RFC 6994).
const fastOpenExperiment = 0xf989

// SACK yields the blocks that were received ahead of the acknowledgment number, from left up to right (RFC 2018 §3). The
// first one may be a duplicate (RFC 2883 §4).
func (o Options) SACK() iter.Seq2[Seq, Seq] {
	return func(yield func(left, right Seq) bool) {
		for d, _ := o.find(OptionSACK, 8, maxData); len(d) >= 8; d = d[8:] {
			if !yield(Seq(binary.BigEndian.Uint32(d)), Seq(binary.BigEndian.Uint32(d[4:]))) {
				return
			}
		}
	}
}

// MD5 reports whether the segment carries an MD5 signature (RFC 2385).
func (o Options) MD5() bool {
	_, ok := o.find(OptionMD5, 16, 16)
	return ok
}

// AO returns the key of the TCP Authentication Option, and the one the sender would like (RFC 5925 §2.2).
func (o Options) AO() (key, next uint8, ok bool) {
	d, ok := o.find(OptionAO, 2, maxData)
	if !ok {
		return 0, 0, false
	}
	return d[0], d[1], true
}

// MPTCP returns the name of the first Multipath TCP option, such as "capable" or "join" (RFC 8684 §3).
func (o Options) MPTCP() (subtype string, ok bool) {
	d, ok := o.find(OptionMPTCP, 1, maxData)
	if !ok {
		return "", false
	}
	return mptcpNames[min(int(d[0]>>4), len(mptcpNames)-1)], true
}

// AccECN are the counters of Accurate ECN (RFC 9768 §3.2.3): bytes received with each mark, modulo 2^24.
type AccECN struct {
	ECT0, CE, ECT1 uint32
	Fields         int // how many were sent: CE valid iff 2 or more, the first of ECT0 and ECT1 iff 1 or more, the other iff 3
}

// AccECN returns the counters of Accurate ECN. Those not sent are 0.
func (o Options) AccECN() (AccECN, bool) {
	d, ok := o.find(OptionAccECN0, 0, maxData)
	swapped := false
	if !ok {
		d, ok = o.find(OptionAccECN1, 0, maxData)
		swapped = true
	}
	if !ok {
		return AccECN{}, false
	}
	var fields [3]uint32
	n := min(len(d)/3, len(fields))
	for i := range n {
		fields[i] = uint32(d[3*i])<<16 | uint32(d[3*i+1])<<8 | uint32(d[3*i+2])
	}
	e := AccECN{ECT0: fields[0], CE: fields[1], ECT1: fields[2], Fields: n}
	if swapped {
		e.ECT0, e.ECT1 = e.ECT1, e.ECT0
	}
	return e, true
}

// AppendText appends o in tcpdump's notation, without brackets. The error is always nil.
func (o Options) AppendText(dst []byte) ([]byte, error) {
	dst, _ = o.appendTcpdump(dst, 0)
	return dst, nil
}

// String returns o in tcpdump's notation, without brackets.
func (o Options) String() string {
	dst, _ := o.AppendText(nil)
	return string(dst)
}
