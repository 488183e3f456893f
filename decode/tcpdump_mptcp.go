package decode

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// Multipath TCP in tcpdump's notation (RFC 8684 §3). d is an option's data, from the subtype on.

// mptcpNames are the names of the subtypes; the last one stands for all that follow.
var mptcpNames = [...]string{"capable", "join", "dss", "add-addr", "rem-addr", "prio", "fail", "fast-close", "unknown"}

// mptcpPrinters print what stands behind the name, by subtype. They return false where the length is wrong.
var mptcpPrinters = [len(mptcpNames)]func(dst, d []byte) ([]byte, bool){
	printCapable, printJoin, printDSS, printAddAddr, printRemoveAddr, printPrio,
	func(dst, d []byte) ([]byte, bool) { // MP_FAIL
		if len(d) != 10 {
			return dst, false
		}
		return appendBig(append(dst, " seq "...), d[2:]), true
	},
	func(dst, d []byte) ([]byte, bool) { // MP_FASTCLOSE
		if len(d) != 10 {
			return dst, false
		}
		return appendHex64(append(dst, " key "...), d[2:]), true
	},
	func(dst, _ []byte) ([]byte, bool) { return dst, true },
}

func printMPTCP(dst, d []byte) ([]byte, bool) {
	if len(d) < 1 {
		return dst, false
	}
	sub := min(int(d[0]>>4), len(mptcpNames)-1)
	dst = append(appendUint(append(dst, ' '), uint8(len(d)+2)), ' ')
	return mptcpPrinters[sub](append(dst, mptcpNames[sub]...), d)
}

// printCapable prints MP_CAPABLE: version, and the keys that are there.
func printCapable(dst, d []byte) ([]byte, bool) {
	switch len(d) {
	case 2, 10, 18, 20, 22:
	default:
		return dst, false
	}
	dst = appendUint(append(dst, " v"...), d[0]&0xf)
	if d[1]&0x80 != 0 {
		dst = append(dst, " csum"...)
	}
	if len(d) >= 10 {
		dst = appendHex64(append(dst, " {"...), d[2:])
		if len(d) >= 18 {
			dst = appendHex64(append(dst, ','), d[10:])
		}
		dst = append(dst, '}')
	}
	return dst, true
}

// printJoin prints MP_JOIN, which is another on each segment of the handshake.
func printJoin(dst, d []byte) ([]byte, bool) {
	switch len(d) {
	case 10, 14:
	case 22:
		return appendHex(dst, " hmac 0x", d[2:]), true
	default:
		return dst, false
	}
	if d[0]&1 != 0 {
		dst = append(dst, " backup"...)
	}
	dst = appendUint(append(dst, " id "...), d[1])
	if len(d) == 10 {
		dst = strconv.AppendUint(append(dst, " token 0x"...), uint64(binary.BigEndian.Uint32(d[2:])), 16)
	} else {
		dst = appendHex64(append(dst, " hmac "...), d[2:])
	}
	return strconv.AppendUint(append(dst, " nonce 0x"...), uint64(binary.BigEndian.Uint32(d[len(d)-4:])), 16), true
}

// Flags of a DSS option (RFC 8684 §3.3).
const (
	dssAck  = 1 << iota // has an acknowledgment
	dssAck8             // of 8 bytes
	dssSeq              // has a sequence number, and what belongs to it
	dssSeq8             // of 8 bytes
	dssFIN              // DATA_FIN
)

// printDSS prints the data acknowledgment and the mapping of the data.
func printDSS(dst, d []byte) ([]byte, bool) {
	if len(d) < 2 {
		return dst, false
	}
	flags, ok := d[1], true
	d = d[2:]
	if flags&dssFIN != 0 {
		dst = append(dst, " fin"...)
	}
	number := func(name string, n int) {
		if !ok {
			return
		}
		dst = append(dst, name...)
		if ok = len(d) >= n; ok {
			dst = appendBig(dst, d[:n])
			d = d[n:]
		}
	}
	wide := func(flag byte) int {
		if flags&flag != 0 {
			return 8
		}
		return 4
	}
	if flags&dssAck != 0 {
		number(" ack ", wide(dssAck8))
	}
	if flags&dssSeq != 0 {
		number(" seq ", wide(dssSeq8))
		if ok = ok && len(d) >= 4; ok {
			number(" subseq ", 4)
		}
		if ok = ok && len(d) >= 2; ok {
			number(" len ", 2)
		}
		if ok && len(d) >= 2 {
			dst = strconv.AppendUint(append(dst, " csum 0x"...), uint64(binary.BigEndian.Uint16(d)), 16)
			d = d[2:]
		}
	}
	return dst, ok && len(d) == 0
}

// printAddAddr prints ADD_ADDR. Version 0 has the IP version where version 1 has a flag; tcpdump believes the length.
func printAddAddr(dst, d []byte) ([]byte, bool) {
	var size int // of the address
	switch len(d) {
	case 6, 8, 14, 16:
		size = 4
	case 18, 20, 26, 28:
		size = 16
	default:
		return dst, false
	}
	switch d[0] & 0xf {
	case 0:
		dst = append(dst, " v1"...)
	case 1:
		dst = append(dst, " v1-echo"...)
	case 4:
		dst = append(dst, " v0-ip4"...)
	case 6:
		dst = append(dst, " v0-ip6"...)
	default:
		dst = append(dst, " [bad version/echo]"...)
	}
	dst = appendUint(append(dst, " id "...), d[1])
	addr, _ := netip.AddrFromSlice(d[2 : 2+size])
	dst = addr.AppendTo(append(dst, ' '))
	rest := d[2+size:]
	if len(rest)%8 == 2 {
		dst = appendUint(append(dst, ':'), binary.BigEndian.Uint16(rest))
		rest = rest[2:]
	}
	if len(rest) > 0 {
		dst = appendHex64(append(dst, " hmac "...), rest)
	}
	return dst, true
}

func printRemoveAddr(dst, d []byte) ([]byte, bool) {
	if len(d) < 2 {
		return dst, false
	}
	dst = append(dst, " id"...)
	for _, id := range d[1:] {
		dst = appendUint(append(dst, ' '), id)
	}
	return dst, true
}

func printPrio(dst, d []byte) ([]byte, bool) {
	if len(d) > 2 {
		return dst, false
	}
	if d[0]&1 != 0 {
		dst = append(dst, " backup"...)
	} else {
		dst = append(dst, " non-backup"...)
	}
	if len(d) == 2 {
		dst = appendUint(append(dst, " id "...), d[1])
	}
	return dst, true
}

// appendBig appends a number of 2, 4 or 8 bytes.
func appendBig(dst, d []byte) []byte {
	var v uint64
	for _, b := range d {
		v = v<<8 | uint64(b)
	}
	return strconv.AppendUint(dst, v, 10)
}

func appendHex64(dst, d []byte) []byte {
	return strconv.AppendUint(append(dst, "0x"...), binary.BigEndian.Uint64(d), 16)
}
