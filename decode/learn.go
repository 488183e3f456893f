package decode

import "net/netip"

// A Census is what somebody who does not go by segments, the kernel, says of the open connections of a namespace.
type Census struct {
	// Time is before the kernel was asked, in ns since the Unix epoch, and after all points of the namespace went live.
	Time int64

	// Point names the namespace. It need not be one where segments are reported.
	Point *Point

	// Open are the open connections that pass points of the namespace.
	Open []Known

	// Over reports whether the connection between two sockets would have been told of if it were open, and was not. Optional.
	Over func(a, b netip.AddrPort) bool
}

// A Known is a connection of a Census.
type Known struct {
	Originator, Responder netip.AddrPort
	OriginatorKnown       bool    // else it may be the other way round
	Local                 [2]bool // by Side: it is a socket of the namespace

	// Closer is the side that sent a FIN; SideUnknown if none did. If both did, the connection is as good as over: leave it out.
	Closer Side

	// Start is the latest time at which it can have begun, in ns since the Unix epoch.
	Start int64
}

// Learn makes the connections of a namespace those of a census, and reports how many were new: see the package documentation.
// Call it when all segments were given to Step that were reported before the census was done, and before telling Advance
// anything later. A census longer ago than finished connections are remembered is ignored.
func (t *Tracker) Learn(census *Census) (learned int) {
	if t.now-census.Time > int64(t.opts.Memory) {
		return 0
	}
	t.Advance(t.now) // what silence decided before does not depend on how often that is called
	for i := range census.Open {
		if t.learn(census, &census.Open[i]) {
			learned++
		}
	}
	for slot := uint32(1); slot <= t.table.used; slot++ {
		c := t.table.at(slot)
		if c.phase == phaseFree || t.pointOf(c).NetnsID != census.Point.NetnsID || c.seen >= census.Time {
			continue
		}
		if c.phase.opening() {
			c.half[Originator].bits |= early
		} else if c.phase != phaseClosing && c.phase != phaseFinished && c.role != RoleForwarded && census.Over != nil {
			if o, r := t.ends(c); census.Over(o, r) {
				t.endConnection(c, TeardownExpired, census.Time)
			}
		}
	}
	return learned
}

// learn takes one connection of a census, and reports whether it is new.
func (t *Tracker) learn(census *Census, k *Known) bool {
	seg := Segment{Time: census.Time, Point: census.Point, Src: k.Originator, Dst: k.Responder}
	var id key
	high := id.set(&seg)
	hash := id.hash(&t.table.secret)
	c := t.table.find(&id, hash)
	switch {
	case c != nil && c.phase.opening():
		t.learnOpening(c, k, c.side(high))
		return false
	case c != nil || t.table.full():
		return false
	}
	c = t.create(&id, hash, high, Originator, &seg)
	c.start = k.Start
	c.bits |= unseen | beyondACK | unplaced
	c.set(sidesKnown, k.OriginatorKnown)
	for s := range c.half {
		c.half[s].way = wayBy(k.Local[s])
	}
	if k.Closer != SideUnknown {
		c.closer = k.Closer
		c.bits |= closerSeen
		c.half[k.Closer].bits |= finEarly
	}
	t.becomeEstablished(c, Originator, census.Time, false)
	return true
}

// learnOpening takes note that a handshake is over, the rest of which passed a point before that was live. That it completed
// was not seen. o is the side that k calls originator.
func (t *Tracker) learnOpening(c *conn, k *Known, o Side) {
	for s, local := range k.Local {
		if h := &c.half[o^Side(s)]; h.way == wayUnknown {
			h.way = wayBy(local)
		}
	}
	t.noteRole(c)
	c.bits |= unseen | beyondACK
	t.becomeEstablished(c, Originator, c.seen, false)
}

func wayBy(local bool) way {
	if local {
		return wayOut
	}
	return wayIn
}

// place notes the point of the first segment of a learned connection.
func (t *Tracker) place(c *conn, p *Point) {
	n := t.table.points.number(p, t.tallyOf)
	t.table.points.refs[c.point].conns--
	t.table.points.refs[n].conns++
	c.point = n
	c.set(unplaced, false)
}
