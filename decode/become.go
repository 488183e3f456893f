package decode

// The methods here change a connection's phase, and nothing else does.

// from says which phases may follow which.
var from = [numPhases][]phase{
	phaseSynSent:     {phaseFree},
	phaseSynReceived: {phaseFree, phaseSynSent},
	phaseEstablished: {phaseFree, phaseSynSent, phaseSynReceived},
	phaseHalfClosed:  {phaseEstablished},
	phaseClosing:     {phaseHalfClosed},
	phaseFinished:    {phaseSynSent, phaseSynReceived, phaseEstablished, phaseHalfClosed, phaseClosing},
	phaseFree:        {phaseFinished},
}

// checkPhase is set in tests: it panics when a phase may not follow.
var checkPhase func(old, new phase)

// enter moves c to a phase: gauges and the queue for eviction follow.
func (t *Tracker) enter(c *conn, p phase) {
	if checkPhase != nil {
		checkPhase(c.phase, p)
	}
	if was, is := t.listOf(c.phase), t.listOf(p); was != is {
		if was != nil {
			t.table.unlink(was, c)
		}
		if is != nil {
			t.table.push(is, c)
		}
	}
	if was, is := c.phase.opening(), p.opening(); is && !was {
		c.attempt = t.table.attempts.take()
	} else if was && !is {
		t.table.attempts.give(c.attempt)
	}
	if s, ok := c.phase.state(); ok {
		t.tally(c).Open[c.role][s]--
	}
	c.phase = p
	if s, ok := p.state(); ok {
		t.tally(c).Open[c.role][s]++
	}
}

// listOf returns the queue for eviction of a phase, nil if it has none: open connections have Tracker.idle.
func (t *Tracker) listOf(p phase) *list {
	switch {
	case p == phaseFinished:
		return &t.finished
	case p.opening():
		return &t.opening
	}
	return nil
}

// see notes which way a side's segments go. The role is fixed when the handshake is over, so that counts by role add up.
func (t *Tracker) see(c *conn, s Side, seg *Segment) {
	if h := &c.half[s]; h.way == wayUnknown {
		h.way = wayOf(seg)
		c.bits |= loopbackBit(seg)
		t.noteRole(c)
	}
}

// noteRole gives c the role that its ways tell, as long as its handshake goes on.
func (t *Tracker) noteRole(c *conn) {
	if r := c.judgeRole(); r != c.role && c.phase.opening() {
		t.tally(c).Open[c.role][StateHandshake]--
		t.tally(c).Open[r][StateHandshake]++
		c.role = r
	}
}

func loopbackBit(seg *Segment) connBits {
	if seg.Point.Loopback {
		return loopback
	}
	return 0
}

// create makes a connection from its first segment, which s sent. The caller must make it become something.
func (t *Tracker) create(k *key, hash uint32, high bool, s Side, seg *Segment) *conn {
	t.makeRoom(seg.Time)
	c := t.table.insert(k, hash, t.table.points.number(seg.Point, t.tallyOf))
	c.start, c.seen = seg.Time, seg.Time
	c.set(fromHigh, high == (s == Originator))
	c.set(toLocal, seg.ToLocal)
	c.set(everySegment, t.opts.EverySegment)
	return c
}

// becomeSynSent begins an attempt with its first SYN.
func (t *Tracker) becomeSynSent(c *conn, seg *Segment) {
	c.bits |= sidesKnown
	t.see(c, Originator, seg)
	c.role = c.judgeRole()
	c.half[Originator].startAt(seg.Seq, seg.Payload)
	t.enter(c, phaseSynSent)
	a := t.attempt(c)
	a.syn, a.repeat = seg.Time, seg.Time
	t.waitForAnswer(c, seg.Time, 0)
}

// becomeSynReceived follows the first segment that proves the SYN's arrival.
func (t *Tracker) becomeSynReceived(c *conn, now int64) {
	if c.phase == phaseFree {
		c.role = c.judgeRole()
	}
	t.enter(c, phaseSynReceived)
	t.attempt(c).repeat = now
	t.waitForAnswer(c, now, 0)
}

// becomeEstablished ends the handshake, or begins a connection whose beginning was not seen. exact says that the segment
// is the completing ACK itself and not one after it, so that the time measured is the handshake's.
func (t *Tracker) becomeEstablished(c *conn, s Side, now int64, exact bool) {
	if c.phase == phaseFree {
		c.role = c.judgeRole()
	}
	if c.has(unseen) {
		t.tally(c).Unseen[c.role]++
	} else {
		t.reportHandshake(c, OutcomeCompleted, now, s, exact)
	}
	t.enter(c, phaseEstablished)
	if c.has(closerSeen) { // the responder's FIN was here first
		t.becomeHalfClosed(c)
	}
	t.waitOpen(c, now)
}

// becomeHalfClosed follows the first FIN.
func (t *Tracker) becomeHalfClosed(c *conn) { t.enter(c, phaseHalfClosed) }

// becomeClosing follows the second FIN.
func (t *Tracker) becomeClosing(c *conn) { t.enter(c, phaseClosing) }

// endHandshake reports an outcome other than completed.
func (t *Tracker) endHandshake(c *conn, o Outcome, at int64) {
	t.reportHandshake(c, o, at, SideUnknown, false)
	t.becomeFinished(c, at)
}

// endConnection reports the end of a connection.
func (t *Tracker) endConnection(c *conn, td Teardown, at int64) {
	if c.phase.opening() { // began with a SYN-ACK, and got no further
		t.tally(c).Unseen[c.role]++
	}
	t.reportConnection(c, td, at)
	t.becomeFinished(c, at)
}

// becomeFinished keeps c for its late segments.
func (t *Tracker) becomeFinished(c *conn, at int64) {
	t.enter(c, phaseFinished)
	t.wait(c, at+int64(t.opts.Memory))
}
