package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// blocks passes the blocks of a pcapng file on that pcapgo needs, while their framing is sound. pcapgo takes a block's length
// as it comes, does not say which block was wrong, and keeps names and secrets in memory.
type blocks struct {
	r      *bufio.Reader
	order  order // of the current section
	start  int64 // where the current block begins
	next   int64 // where the one behind it does
	at     int64 // how far r was read
	ifaces int   // of the current section
	err    error // why there is no more; the place is start
}

// Block types (draft-ietf-opsawg-pcapng §4).
const (
	blockInterface      = 1
	blockPacket         = 2 // obsolete
	blockSimplePacket   = 3
	blockEnhancedPacket = 6
	blockSection        = 0x0a0d0d0a // the same in both byte orders
)

const (
	// maxBlock is the longest block accepted, and the longest packet: the limit of libpcap and Wireshark.
	maxBlock = 16 << 20
	// maxIfaces bounds the interfaces of a section: pcapgo keeps ten times their length in the file.
	maxIfaces = 1 << 16
)

// Read passes on a part of one block.
func (b *blocks) Read(to []byte) (int, error) {
	if b.err == nil && b.at == b.next {
		b.err = b.enter()
	}
	if b.err != nil || len(to) == 0 {
		return 0, b.err
	}
	n, err := b.r.Read(to[:min(int64(len(to)), b.next-b.at)])
	b.at += int64(n)
	if err != nil {
		b.err = whole(err)
	}
	return n, b.err
}

// enter goes to the beginning of the next block that is needed.
func (b *blocks) enter() error {
	for {
		needed, length, err := b.head()
		if err != nil {
			return err
		}
		b.next += int64(length)
		if needed {
			return nil
		}
		n, err := b.r.Discard(length)
		b.at += int64(n)
		if err != nil {
			return whole(err)
		}
	}
}

// head looks at the head of the next block.
func (b *blocks) head() (needed bool, length int, err error) {
	b.start = b.next
	head, err := b.r.Peek(12) // no block is shorter
	if err == io.EOF && len(head) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return false, 0, err
	}
	if binary.BigEndian.Uint32(head) == blockSection {
		switch binary.BigEndian.Uint32(head[8:]) {
		case 0x1a2b3c4d:
			b.order.big = true
		case 0x4d3c2b1a:
			b.order.big = false
		default:
			return false, 0, fmt.Errorf("section header with byte-order magic %x", head[8:12])
		}
	}
	typ, size := b.order.u32(head), b.order.u32(head[4:])
	if size < 12 || size%4 != 0 || size > maxBlock {
		return false, 0, fmt.Errorf("block of type %#x with a length of %d", typ, size)
	}
	switch typ {
	case blockSection:
		b.ifaces = 0
	case blockInterface:
		if b.ifaces++; b.ifaces > maxIfaces {
			return false, 0, fmt.Errorf("more than %d interfaces", maxIfaces)
		}
	case blockSimplePacket:
	case blockPacket, blockEnhancedPacket:
		// pcapgo would find out only in the next block.
		if packet, err := b.r.Peek(blockHead); err == nil && int64(b.order.u32(packet[20:])) > int64(size)-blockHead-blockTail {
			return false, 0, errOverrun
		}
	default:
		return false, int(size), nil
	}
	return true, int(size), nil
}
