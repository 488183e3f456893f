package pcap

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/gopacket/gopacket/pcapgo"
)

// Nearly all packets of nearly all captures are plain: the record is whole, in the buffer, and says nothing unusual. Those are
// taken where they lie. Of any other record nothing is read here: pcapgo goes on at the same place, and its word counts. It
// shares the buffer, keeps nothing of its own between packets, and is told what it must know of the blocks that it did not see.

// captured is a packet as the file has it.
type captured struct {
	frame  []byte // valid until the next is read
	length int    // before the capture cut it
	iface  *iface
}

const (
	pcapHead  = 16 // bytes before the data of a pcap record
	blockHead = 28 // bytes before the data of an Enhanced Packet Block
	blockTail = 4
)

// plain takes the next packet if it is a plain one.
func (p *Reader) plain() (captured, bool) {
	switch {
	case p.opts.careful:
		return captured{}, false
	case p.blocks != nil:
		return p.plainBlock()
	}
	head, err := p.buf.Peek(pcapHead)
	if err != nil {
		return captured{}, false
	}
	n, length := p.order.u32(head[8:]), p.order.u32(head[12:])
	if n > bufferSize-pcapHead {
		return captured{}, false
	}
	record, err := p.buf.Peek(pcapHead + int(n))
	if err != nil {
		return captured{}, false
	}
	p.now = int64(p.order.u32(record))*1e9 + int64(p.order.u32(record[4:])*p.fraction)
	p.buf.Discard(len(record))
	return captured{record[pcapHead:], int(length), &p.ifaces[0]}, true
}

// plainBlock takes the packet of an Enhanced Packet Block without options (draft-ietf-opsawg-pcapng §4.3).
func (p *Reader) plainBlock() (captured, bool) {
	b := p.blocks
	if b.err != nil || b.at != b.next {
		return captured{}, false
	}
	head, err := p.buf.Peek(blockHead)
	if err != nil || b.order.u32(head) != blockEnhancedPacket {
		return captured{}, false
	}
	size, on, n := b.order.u32(head[4:]), b.order.u32(head[8:]), b.order.u32(head[20:])
	if n > bufferSize-blockHead-blockTail || size != blockHead+(n+3)&^3+blockTail || uint64(on) >= uint64(len(p.ifaces)) {
		return captured{}, false
	}
	iface := &p.ifaces[on]
	ticks := uint64(b.order.u32(head[12:]))<<32 | uint64(b.order.u32(head[16:]))
	if iface.tick == 0 || ticks > iface.mostTicks {
		return captured{}, false
	}
	block, err := p.buf.Peek(int(size))
	if err != nil {
		return captured{}, false
	}
	p.now = int64(ticks * iface.tick)
	b.start = b.next
	b.next += int64(size)
	b.at = b.next
	p.buf.Discard(int(size))
	return captured{block[blockHead : blockHead+n], int(b.order.u32(block[24:])), iface}, true
}

// setTick notes how long a tick of the interface's clock is, if it is whole nanoseconds and counts from 1970.
func (i *iface) setTick(ng *pcapgo.NgInterface) {
	exponent := ng.TimestampResolution.Exponent()
	if ng.TimestampResolution.Binary() || exponent > 9 || ng.TimestampOffset != 0 {
		return
	}
	i.tick = 1
	for range 9 - exponent {
		i.tick *= 10
	}
	i.mostTicks = math.MaxInt64 / i.tick
}

// order is a byte order, of which u32 can be inlined: binary.ByteOrder's cannot.
type order struct{ big bool }

func (o order) u32(b []byte) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if o.big {
		v = bits.ReverseBytes32(v)
	}
	return v
}
