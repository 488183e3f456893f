package decode

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// The notation is that of tcpdump 4.99; testdata/tcpdump.tsv was made by it.

// flagLetters are tcpdump's letters for the bits of Flags, lowest first.
const flagLetters = "FSRP.UEWe"

// AppendTcpdump appends s in tcpdump's notation, from "Flags [" on. seqBase is subtracted from sequence numbers and ackBase
// from acknowledgment numbers: tcpdump uses each side's ISN once both are known, and 0 before and with -S.
func (s *Segment) AppendTcpdump(dst []byte, seqBase, ackBase Seq) []byte {
	dst = append(dst, "Flags ["...)
	none := true
	for i := range len(flagLetters) {
		if s.Flags&(1<<i) != 0 {
			dst = append(dst, flagLetters[i])
			none = false
		}
	}
	if none {
		dst = append(dst, "none"...)
	}
	dst = append(dst, ']')
	if s.Payload > 0 || s.Flags&(SYN|FIN|RST) != 0 {
		dst = appendUint(append(dst, ", seq "...), s.Seq.From(seqBase))
		if s.Payload > 0 {
			dst = appendUint(append(dst, ':'), s.Seq.Add(s.Payload).From(seqBase))
		}
	}
	if s.Has(ACK) {
		dst = appendUint(append(dst, ", ack "...), s.Ack.From(ackBase))
	}
	dst = appendUint(append(dst, ", win "...), uint32(s.Wnd))
	if s.Has(URG) {
		dst = appendUint(append(dst, ", urg "...), s.Urgent)
	}
	if len(s.Options) > 0 {
		first := len(append(dst, ", options ["...))
		var ok bool
		dst, ok = s.Options.appendTcpdump(append(dst, ", options ["...), ackBase)
		if !ok { // tcpdump ends the line here, and closes the bracket only after a comma
			for _, b := range dst[first:] {
				if b == ',' {
					return append(dst, ']')
				}
			}
			return dst
		}
		dst = append(dst, ']')
	}
	return appendUint(append(dst, ", length "...), s.Payload)
}

func appendUint[T uint8 | uint16 | uint32](dst []byte, n T) []byte {
	return strconv.AppendUint(dst, uint64(n), 10)
}

func appendHex(dst []byte, prefix string, b []byte) []byte {
	return hex.AppendEncode(append(dst, prefix...), b)
}

// optionPrinter says how tcpdump prints an option: its name, how many bytes of data it expects, and how those look.
type optionPrinter struct {
	name  string
	need  int // -1: whatever there is
	print func(dst, data []byte) ([]byte, bool)
}

// printU32 prints one number.
func printU32(dst, d []byte) ([]byte, bool) {
	return appendUint(append(dst, ' '), binary.BigEndian.Uint32(d)), true
}

var optionPrinters = [256]optionPrinter{
	OptionEOL: {"eol", 0, nil},
	OptionNOP: {"nop", 0, nil},
	OptionMSS: {"mss", 2, func(dst, d []byte) ([]byte, bool) {
		return appendUint(append(dst, ' '), binary.BigEndian.Uint16(d)), true
	}},
	OptionWindowScale:   {"wscale", 1, func(dst, d []byte) ([]byte, bool) { return appendUint(append(dst, ' '), d[0]), true }},
	OptionSACKPermitted: {"sackOK", 0, nil},
	6:                   {"echo", 4, printU32},
	7:                   {"echoreply", 4, printU32},
	OptionTimestamps: {"TS", 8, func(dst, d []byte) ([]byte, bool) {
		dst = appendUint(append(dst, " val "...), binary.BigEndian.Uint32(d))
		return appendUint(append(dst, " ecr "...), binary.BigEndian.Uint32(d[4:])), true
	}},
	11: {"cc", 4, printU32},
	12: {"ccnew", 4, printU32},
	13: {"", 4, printU32}, // tcpdump does not name it
	// tcpdump adds that it has no secret to check the digest with.
	OptionMD5: {"md5", 16, func(dst, d []byte) ([]byte, bool) {
		return appendHex(dst, " shared secret not supplied with -M, can't check - ", d), true
	}},
	20: {"scps", 2, func(dst, d []byte) ([]byte, bool) {
		dst = appendHex(dst, " cap ", d[:1])
		return appendUint(append(dst, " id "...), d[1]), true
	}},
	OptionUserTimeout: {"uto", 2, func(dst, d []byte) ([]byte, bool) {
		v := binary.BigEndian.Uint16(d)
		dst = strconv.AppendUint(append(dst, " 0x"...), uint64(v), 16)
		return appendUint(append(dst, ' '), v>>1), true
	}},
	OptionAO: {"tcp-ao", -1, func(dst, d []byte) ([]byte, bool) {
		if len(d) < 2 {
			return append(dst, " (invalid)"...), true
		}
		dst = appendUint(append(dst, " keyid "...), d[0])
		dst = appendUint(append(dst, " rnextkeyid "...), d[1])
		if len(d) > 2 {
			dst = appendHex(dst, " mac 0x", d[2:])
		}
		return dst, true
	}},
	OptionMPTCP: {"mptcp", -1, printMPTCP},
	OptionFastOpen: {"tfo", -1, func(dst, d []byte) ([]byte, bool) {
		return appendFastOpen(append(dst, ' '), d), true
	}},
	OptionExperiment2: {"exp", -1, func(dst, d []byte) ([]byte, bool) {
		if len(d) < 2 {
			return dst, false
		}
		if binary.BigEndian.Uint16(d) == fastOpenExperiment {
			return appendFastOpen(append(dst, "-tfo"...), d[2:]), true
		}
		return appendHex(dst, "-", d[:2]), true
	}},
}

// appendFastOpen appends a cookie; the lengths are those of RFC 7413 §4.1.1.
func appendFastOpen(dst, d []byte) []byte {
	switch {
	case len(d) == 0:
		return append(dst, " cookiereq"...)
	case len(d)%2 != 0 || len(d) < 4 || len(d) > 16:
		return append(dst, " (invalid)"...)
	}
	return appendHex(dst, " cookie ", d)
}

// appendTcpdump appends o; ackBase is subtracted from the numbers of SACK blocks. It returns false if it had to end at a
// malformed option.
func (o Options) appendTcpdump(dst []byte, ackBase Seq) ([]byte, bool) {
	const bad = "[bad opt]"
	for rest := o; len(rest) > 0; {
		kind, data, next, ok := rest.next()
		if !ok {
			return append(dst, bad...), false
		}
		p := &optionPrinters[kind]
		switch {
		case kind == OptionSACK:
			dst = appendSACK(dst, data, ackBase)
		case p.print == nil && p.name == "":
			dst = appendUint(append(dst, "unknown-"...), kind)
			if len(data) > 0 {
				dst = appendHex(dst, " 0x", data)
			}
		default:
			dst = append(dst, p.name...)
			switch {
			case p.need < 0:
				dst, ok = p.print(dst, data)
			case p.need > len(rest)-2 && p.need > 0:
				ok = false
			case p.need > 0:
				dst, _ = p.print(dst, rest[2:2+p.need])
			}
			if ok && p.need >= 0 && p.need != len(data) {
				// With a wrong length tcpdump prints what stands where the data should, and goes on behind that.
				dst = append(appendUint(append(dst, "[len "...), rest[1]), ']')
				next = rest[2+p.need:]
			}
			if !ok {
				return append(dst, bad...), false
			}
		}
		if kind == OptionEOL {
			return dst, true
		}
		if rest = next; len(rest) > 0 {
			dst = append(dst, ',')
		}
	}
	return dst, true
}

func appendSACK(dst, data []byte, base Seq) []byte {
	dst = append(dst, "sack "...)
	if len(data)%8 != 0 {
		return append(dst, "invalid sack"...)
	}
	dst = append(appendUint(dst, uint8(len(data)/8)), ' ')
	for ; len(data) > 0; data = data[8:] {
		dst = appendUint(append(dst, '{'), Seq(binary.BigEndian.Uint32(data)).From(base))
		dst = appendUint(append(dst, ':'), Seq(binary.BigEndian.Uint32(data[4:])).From(base))
		dst = append(dst, '}')
	}
	return dst
}
