package metrics

import "maps"

// other is the label value that those share which are beyond a limit.
const other = "other"

// places hands out label values: so many names have their own, the rest share other. A name keeps what it got, as a series must
// not change its meaning: one that is beyond the limit stays so although others leave.
type places struct {
	max    int
	own    map[string]bool
	beyond map[string]bool
}

func newPlaces(max int) *places {
	return &places{max, make(map[string]bool), make(map[string]bool)}
}

// of returns the label value of a name.
func (p *places) of(name string) string {
	switch {
	case p.own[name]:
		return name
	case p.beyond[name]:
		return other
	case len(p.own) < p.max && name != other:
		p.own[name] = true
		return name
	}
	p.beyond[name] = true
	return other
}

// leave is for a name that nobody has any more.
func (p *places) leave(name string) {
	delete(p.own, name)
	delete(p.beyond, name)
}

// keep lets all names leave but these.
func (p *places) keep(names map[string]bool) {
	gone := func(name string, _ bool) bool { return !names[name] }
	maps.DeleteFunc(p.own, gone)
	maps.DeleteFunc(p.beyond, gone)
}
