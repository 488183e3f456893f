package bpf

// combine sets each field of c to f of it and the field of o.
func (c *PointCounters) combine(o *PointCounters, f func(a, b uint64) uint64) {
	for i := range c.SegmentsTotalAck {
		c.SegmentsTotalAck[i] = f(c.SegmentsTotalAck[i], o.SegmentsTotalAck[i])
	}
	c.SegmentBytesTotal = f(c.SegmentBytesTotal, o.SegmentBytesTotal)
	c.SegmentsTotalOther = f(c.SegmentsTotalOther, o.SegmentsTotalOther)
	for i := range c.FlagsTotal {
		c.FlagsTotal[i] = f(c.FlagsTotal[i], o.FlagsTotal[i])
	}
	c.ControlSegmentsSeenTotal = f(c.ControlSegmentsSeenTotal, o.ControlSegmentsSeenTotal)
	for i := range c.ControlSegmentsTotal {
		c.ControlSegmentsTotal[i] = f(c.ControlSegmentsTotal[i], o.ControlSegmentsTotal[i])
	}
	for i := range c.UnparsedPacketsTotal {
		c.UnparsedPacketsTotal[i] = f(c.UnparsedPacketsTotal[i], o.UnparsedPacketsTotal[i])
	}
}

// Add adds o to c, field by field.
func (c *PointCounters) Add(o *PointCounters) {
	c.combine(o, func(a, b uint64) uint64 { return a + b })
}

// Sub takes o from c, field by field.
func (c *PointCounters) Sub(o *PointCounters) {
	c.combine(o, func(a, b uint64) uint64 { return a - b })
}

// Segments returns the number of segments counted.
func (c *PointCounters) Segments() uint64 {
	return c.SegmentsTotalAck[0] + c.SegmentsTotalAck[1] + c.SegmentsTotalOther
}

// Flags returns how many segments carried each control bit, in the order FIN SYN RST PSH ACK URG ECE CWR.
func (c *PointCounters) Flags() [8]uint64 {
	const psh, ack = 3, 4
	flags := c.FlagsTotal
	flags[psh] += c.SegmentsTotalAck[1]
	flags[ack] += c.SegmentsTotalAck[0] + c.SegmentsTotalAck[1]
	return flags
}
