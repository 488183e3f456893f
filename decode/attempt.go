package decode

// attempt is what matters about a connection only while its handshake goes on. Times are nanoseconds since the Unix epoch.
type attempt struct {
	syn    int64  // last SYN before the answer. Valid iff the SYN was seen.
	answer int64  // first SYN-ACK. Valid iff has(answered).
	repeat int64  // last transmission that the handshake's clock runs on
	altISS Seq    // another ISS of the responder, from a second, different SYN-ACK. Valid iff has(altKnown).
	next   uint32 // see attempts.free
}

// attempts is a slab of attempts, counted from 1. Most handshakes are short, so few are used, and those again and again.
type attempts struct {
	chunks []*[chunkLen]attempt
	used   uint32
	free   uint32 // first free one, linked by attempt.next
}

func (a *attempts) at(i uint32) *attempt { return &a.chunks[(i-1)>>chunkBits][(i-1)%chunkLen] }

// take returns the number of an unused one, zeroed.
func (a *attempts) take() uint32 {
	i := a.free
	if i != 0 {
		a.free = a.at(i).next
		*a.at(i) = attempt{}
		return i
	}
	if a.used%chunkLen == 0 {
		a.chunks = append(a.chunks, new([chunkLen]attempt))
	}
	a.used++
	return a.used
}

func (a *attempts) give(i uint32) {
	a.at(i).next = a.free
	a.free = i
}
