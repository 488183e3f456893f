// Package decode follows TCP connections from their segments: how each handshake ended, how each connection ended, and how
// long it took. [Tracker] is a pure function of its input, so that live events, capture files and tests run the same code.
// [ParseFrame] reads a packet; package decode/pcap reads capture files.
//
//	tracker := decode.NewTracker(decode.TrackerOptions{
//		OnHandshake:  func(h *decode.Handshake) { … },
//		OnConnection: func(c *decode.Connection) { … },
//	})
//	for each segment {
//		tracker.Step(&segment)
//	}
//	tracker.Advance(now)
//
// Sections are those of RFC 9293 unless another document is named.
//
// # What it is given
//
// A capture shows every segment. A live source reports control segments only: those with SYN, FIN or RST, and the first
// acknowledgment of a SYN-ACK, of both FINs if they crossed, else of the second one. So sequence numbers jump, and what was
// not reported is inferred: the first FIN's acknowledgment from the second FIN, data from the numbers. Both kinds of source
// get the same verdicts from the same rules. Who knows that every segment is given says so with
// [TrackerOptions].EverySegment; then nothing is inferred, and the history is zeek's to the letter.
//
// A segment that TCP does not send, without ACK and neither SYN nor RST, or SYN with FIN, is ignored (§3.10.7.4, fifth). So
// is one whose numbers are not acceptable: see Numbers.
//
// # What one connection is
//
// Connections are told apart by namespace and socket pair. So what NAT translates is, in the namespace that translates, two
// connections: one with the pair as it came, one with the pair as it went; both are forwarded ones. A SYN with an initial sequence number (ISN) that is not the
// sender's begins a new one, also when the one before is remembered or still open (§3.4.1); with the same ISN it is a
// retransmission. Two SYNs that cross are a simultaneous open (§3.5, figure 7), unless the first one's sender then agrees
// with another ISN: it had given up, and a connection begins with that SYN-ACK. An open connection displaced by a new SYN
// gets the teardown expired: we cannot know how it ended. A handshake displaced by a new SYN gets the verdict that silence
// would have given it.
//
// A connection whose first segment is no SYN is unseen: it has no Handshake, a Connection at its end, and is counted in
// [NetnsTally].Unseen. If that segment is a SYN-ACK, originator and responder are known, and the connection counts as unseen
// when its handshake would have ended; if its SYN only came out of order, it is a handshake like any other. If we see the
// responder only, its first data, or its taking some, says that it got the completing ACK (§3.10.2, §3.10.7.4, fifth).
//
// [Tracker.Connections] shows the connections that are not over.
//
// # What was there before
//
// Who begins to watch a namespace may ask its kernel for the connections that are open, and give the tracker a [Census], once, when
// all observation points are live. Those that it does not know become unseen ones: open, without History, but with a role, and
// originator and responder if somebody could tell; if one side sent a FIN, half-closed. They count in [NetnsTally].Unseen at once,
// so that completed + unseen = ended + open holds. Their Point is the Census's until a segment of theirs is reported, their
// Start the latest time at which they can have begun. Live they never expire while established. A SYN on the socket pair begins
// another connection, as ever; a SYN-ACK may be a learned one's own, sent again.
//
// A connection that is known by its segments stays what it is, also if it is over and remembered. But points go live one after
// another, so of what went on before the census half may be missing. A handshake under way of a connection that the census
// has open is over, and the connection unseen; of another one that was silent since, silence proves nothing, and the verdict is
// unknown. A connection that is open by its segments, silent since, and not by the census, is expired: how it ended was not
// seen. Forwarded connections are left alone, as the kernel does not know them.
//
// # Handshakes
//
// The originator is who sent the first SYN. There is one [Handshake] for each attempt:
//
//   - completed: each side's SYN is acknowledged (§3.5, figure 6; figure 7, simultaneous open, is no different). The
//     completing ACK may carry data or FIN. A SYN's data may be acknowledged or not (TCP Fast Open, RFC 7413 §4.2). If the
//     completing ACK was lost to us, a later segment of the originator completes as well, but legs are then not known. So it
//     does if even the SYN-ACK was: an originator sends only SYN and RST before it got one (§3.10.7.3). An acknowledgment of
//     what the responder was not seen to send, or a number beyond the window of its SYN-ACK, at most 64 KiB (RFC 7323 §2.2),
//     is not acceptable (§3.10.7.4, first and fifth) and completes nothing. A FIN is let off where data is not seen.
//   - refused: before a SYN-ACK, an RST acknowledges the SYN and nothing that was not sent (§3.10.7.3).
//   - aborted: the originator's RST, with the sequence number it must have, before completion; SYN scanners do that.
//   - reset: the responder's RST, likewise, after its SYN-ACK.
//   - unreachable: an ICMP error quoted the SYN. Not yet reported.
//   - unanswered, half_open: silence after a SYN, after a SYN-ACK. See Clocks.
//   - unknown: silence, or an RST that may have ended more than a handshake, but [Tracker.Loss] said that events since the SYN
//     may be missing; or the attempt was evicted or detached before it had an outcome.
//
// A live source that could not deliver everything may still say what an acknowledgment was awaited for, [Segment].Completes.
// Then a handshake is completed also if its SYN, its SYN-ACK or both were lost, and legs that began or ended there are not
// known; and a connection whose FINs were lost ends like any other. Shortly after a loss, an RST that can only refuse a SYN stands
// for an attempt that was refused.
//
// A SYN-ACK that does not acknowledge the SYN is ignored (§3.5, figure 8). If there are two with different ISNs, the
// originator's acknowledgment says which one counts.
//
// Legs are measured at the observation point, from the first transmission (what the user waited) and from the last one
// before the answer (the network's round trip: Karn's rule, RFC 6298 §3). An interval below zero, possible where clocks of
// two CPUs meet, is reported as 0 and counted.
//
// # Teardowns
//
// There is one [Connection] for each connection that completed or was unseen:
//
//   - fin: both FINs sent and acknowledged (§3.6), or both seen and 3 s passed.
//   - rst: an RST, no FIN before it (§3.10.7.4).
//   - fin_rst: a FIN, then an RST before both FINs were acknowledged.
//   - expired: silent beyond its limit, or displaced by a new SYN.
//   - evicted, detached: the memory was full; [Tracker.Detach].
//
// A side has one FIN: the first seen counts, and a segment with one at another number is not acceptable. One of the responder
// that was seen before the completing ACK takes effect with that.
//
// Closer is the sender of the first FIN or RST. FINs crossed if the second does not acknowledge the first (figure 13),
// whatever came between them: an acknowledgment may overtake. A finished connection is remembered for 3 s; its late segments,
// such as RSTs after both FINs, are only counted. One that may come again, a FIN most of all, restarts the clock, as in
// TIME-WAIT (§3.10.7.4, eighth), by the rule for retransmissions under Clocks, for 4 min at most.
//
// Completeness has tshark's bits, History zeek's letters. Both say what was seen on the wire, acceptable to TCP or not, from
// the first segment to the end of the connection.
//
// # Numbers
//
// TCP accepts an RST only at exactly the next sequence number (RFC 5961 §3.2), and other segments inside the window
// (§3.10.7.4). During the handshake we hold RSTs to that: the number is known. Later an observer must be more lenient. It may
// sit before a loss or behind a retransmission, and live it does not see data. It accepts numbers at most one largest
// window (1 GiB, RFC 7323 §2.3) after the last acknowledged one; where data is not seen, as much more as 400 Gbit/s could
// have carried in the time since. That this source shows data is believed after three segments that a live one does not
// report.
//
// Bytes each way are positions in number space, so modulo 2^32. They are absent if the ISN, or where the data ended, was not
// seen.
//
// # Clocks
//
// A handshake is given up when no retransmission came for 3 s, or for 2g + 1 s if g, the gap between the last two, makes that
// longer: senders at most double their time-out (RFC 6298 §5.5), and Linux sends SYNs after 0, 1, 2, 3, 4, 5, 7, 11, 19, 36
// and 68 s. unanswered runs on SYNs, half_open on SYN-ACKs. The verdict's time is the end of the wait, however late
// [Tracker.Advance] is called.
//
// Closing connections wait 3 s for the last acknowledgment. Half-closed ones, and those known by bare acknowledgments only,
// expire when silent for 2 h 4 min, the time a NAT must keep them (RFC 5382 §5). An established connection never expires,
// unless [TrackerOptions].IdleLimit says so: live, its silence means nothing.
//
// # Roles
//
// By the way a side's first segments went: in; out, sent by a socket of the namespace; through, out but received from
// another interface.
//
//	originator's   responder's   role
//	any, on a loopback interface local
//	out            out           local
//	out            in, none      originator
//	in             out           responder
//	in             none          responder if sent to an address of the namespace, else unknown
//	any other                    forwarded
//
// The role is fixed when the handshake is over. Unseen connections get one as far as their first segments tell.
//
// # Memory
//
// At most [TrackerOptions].Capacity connections are kept, under 200 bytes each. When that is reached, a new one displaces the
// remembered connection that finished first; if there is none, the oldest handshake; only then the open connection that was
// silent for longest. So a flood of SYNs costs open connections nothing. In each namespace, and for each role, at any moment
//
//	completed + unseen = ended (by any teardown) + open (established or half-closed)
package decode
