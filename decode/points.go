package decode

// pointSet numbers the observation points at which connections in memory were first seen, so that a connection names its own by
// four bytes and no pointer.
type pointSet struct {
	refs  []pointRef
	index map[*Point]uint32
	free  []uint32
	last  uint32 // most segments come from the point of the one before
	sweep int    // look for unused ones when there are so many
}

type pointRef struct {
	point *Point
	tally *NetnsTally // of its namespace
	conns int         // how many connections name it
}

func newPointSet() pointSet { return pointSet{index: make(map[*Point]uint32), sweep: 64} }

// number returns the number of a point, good until the next call or as long as a connection names it. tally finds the point's
// tally if it is not known.
func (p *pointSet) number(pt *Point, tally func(*Point) *NetnsTally) uint32 {
	if p.last >= uint32(len(p.refs)) || p.refs[p.last].point != pt {
		i, ok := p.index[pt]
		if !ok {
			i = p.add(pt)
		}
		p.last = i
	}
	r := &p.refs[p.last]
	if r.tally == nil || r.tally.Detached {
		r.tally = tally(pt)
	}
	return p.last
}

func (p *pointSet) add(pt *Point) uint32 {
	if len(p.index) >= p.sweep {
		for i := range p.refs {
			if r := &p.refs[i]; r.conns == 0 && r.point != nil {
				delete(p.index, r.point)
				*r = pointRef{}
				p.free = append(p.free, uint32(i))
			}
		}
		p.sweep = max(64, 2*len(p.index))
	}
	if len(p.free) == 0 {
		p.refs = append(p.refs, pointRef{})
		p.free = append(p.free, uint32(len(p.refs)-1))
	}
	i := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.refs[i] = pointRef{point: pt}
	p.index[pt] = i
	return i
}
