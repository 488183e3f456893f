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

// find returns the data of the first option of a kind that has at least n bytes.
func (o Options) find(kind uint8, n int) ([]byte, bool) {
	for rest := o; len(rest) > 0; {
		k, data, next, ok := rest.next()
		if !ok || k == OptionEOL {
			break
		}
		if k == kind && len(data) >= n {
			return data, true
		}
		rest = next
	}
	return nil, false
}

// MSS returns the maximum segment size (RFC 9293 §3.7.1).
func (o Options) MSS() (uint16, bool) {
	d, ok := o.find(OptionMSS, 2)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint16(d), true
}

// WindowScale returns the window scale's shift count as sent; more than 14 means 14 (RFC 7323 §2.3).
func (o Options) WindowScale() (uint8, bool) {
	d, ok := o.find(OptionWindowScale, 1)
	if !ok {
		return 0, false
	}
	return d[0], true
}

// SACKPermitted reports whether selective acknowledgments are allowed (RFC 2018 §2).
func (o Options) SACKPermitted() bool {
	_, ok := o.find(OptionSACKPermitted, 0)
	return ok
}

// Timestamps returns the timestamp value and echo reply (RFC 7323 §3.2).
func (o Options) Timestamps() (value, echo uint32, ok bool) {
	d, ok := o.find(OptionTimestamps, 8)
	if !ok {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:]), true
}

// FastOpen returns the TCP Fast Open cookie, empty if one is asked for (RFC 7413 §4.1.1), also in the form of the
// experiment that came before it. It belongs to o.
func (o Options) FastOpen() (cookie []byte, ok bool) {
	if d, ok := o.find(OptionFastOpen, 0); ok {
		return d, true
	}
	if d, ok := o.find(OptionExperiment2, 2); ok && binary.BigEndian.Uint16(d) == fastOpenExperiment {
		return d[2:], true
	}
	return nil, false
}

// fastOpenExperiment is the ExID of TCP Fast Open in the experimental option (RFC 6994).
const fastOpenExperiment = 0xf989

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
