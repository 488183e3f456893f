package bpf

import (
	"encoding/binary"
	"net/netip"
)

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
	ece
	cwr
	ae
)

// A packet is one valid TCP segment in Ethernet; tests change what they are about.
type packet struct {
	src, dst         netip.AddrPort
	seq, ack         uint32
	flags            uint16
	window           uint16
	options, payload []byte
	ipOptions        []byte                    // IPv4, padded to 4 bytes by the caller
	ttl              uint8                     // 0 means 64
	gso              uint32                    // bytes of a segment, if this is more than one
	ifindex          uint32                    // of the interface it came in by; 0 means it was sent here
	change           func(frame []byte) []byte // last, on the finished frame
}

var (
	client4 = netip.MustParseAddrPort("10.0.0.1:40000")
	server4 = netip.MustParseAddrPort("10.0.0.2:80")
	client6 = netip.MustParseAddrPort("[fd00::1]:40000")
	server6 = netip.MustParseAddrPort("[fd00::2]:80")
)

// frame returns the bytes on the wire, without valid checksums, which netobs does not look at.
func (p packet) frame() []byte {
	tcp := make([]byte, 20, 60)
	be := binary.BigEndian
	be.PutUint16(tcp[0:], p.src.Port())
	be.PutUint16(tcp[2:], p.dst.Port())
	be.PutUint32(tcp[4:], p.seq)
	be.PutUint32(tcp[8:], p.ack)
	be.PutUint16(tcp[12:], uint16(20+len(p.options))/4<<12|p.flags)
	be.PutUint16(tcp[14:], p.window)
	tcp = append(append(tcp, p.options...), p.payload...)
	ttl := p.ttl
	if ttl == 0 {
		ttl = 64
	}

	frame := make([]byte, 14) // to the address of lo, which Program.Run uses, so that it is PACKET_HOST
	if p.src.Addr().Is4() {
		be.PutUint16(frame[12:], 0x0800)
		ip := make([]byte, 20)
		ip[0] = 0x40 | byte(20+len(p.ipOptions))/4
		be.PutUint16(ip[2:], uint16(20+len(p.ipOptions)+len(tcp)))
		ip[8], ip[9] = ttl, 6
		copy(ip[12:], p.src.Addr().AsSlice())
		copy(ip[16:], p.dst.Addr().AsSlice())
		frame = append(append(frame, ip...), p.ipOptions...)
	} else {
		be.PutUint16(frame[12:], 0x86dd)
		ip := make([]byte, 40)
		ip[0] = 0x60
		be.PutUint16(ip[4:], uint16(len(tcp)))
		ip[6], ip[7] = 6, ttl
		copy(ip[8:], p.src.Addr().AsSlice())
		copy(ip[24:], p.dst.Addr().AsSlice())
		frame = append(frame, ip...)
	}
	frame = append(frame, tcp...)
	if p.change != nil {
		frame = p.change(frame)
	}
	return frame
}
