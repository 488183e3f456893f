package main

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Lines are put together by appending: there may be a million a second of them.

// clock prints times to the second and remembers the last one, as most times fall into the same second as the one before.
type clock struct {
	layout string
	in     *time.Location
	known  bool
	second int64
	text   []byte
}

// append appends the time up to the second of ns nanoseconds since the Unix epoch, and returns the nanoseconds left.
func (c *clock) append(dst []byte, ns int64) (to []byte, left uint32) {
	second, nanos := ns/1e9, ns%1e9
	if nanos < 0 {
		second--
		nanos += 1e9
	}
	if !c.known || second != c.second {
		c.text = time.Unix(second, 0).In(c.in).AppendFormat(c.text[:0], c.layout)
		c.known, c.second = true, second
	}
	return append(dst, c.text...), uint32(nanos)
}

// timeOfDay returns a clock for appendTimeOfDay.
func timeOfDay() clock { return clock{layout: "15:04:05", in: time.Local} }

// appendTimeOfDay appends a time in clockFormat.
func (c *clock) appendTimeOfDay(dst []byte, ns int64) []byte {
	dst, left := c.append(dst, ns)
	return appendDigits(append(dst, '.'), left/1000, 6)
}

// appendDigits appends n digits of v, with zeros before it.
func appendDigits(dst []byte, v uint32, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; v > 0; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

// pad appends spaces until what dst has from start on is width characters wide.
func pad(dst []byte, start, width int) []byte {
	for n := utf8.RuneCount(dst[start:]); n < width; n++ {
		dst = append(dst, ' ')
	}
	return dst
}

// appendShort appends a duration with three digits: 9.13µs, 1.25ms, 3.00s. Whole seconds are never rounded, and from an hour
// on are told in days, hours and minutes: 2h4m5s.
func appendShort(dst []byte, d time.Duration) []byte {
	if d < 0 {
		dst = append(dst, '-')
	}
	v := uint64(max(d, -d))
	step := uint64(1)
	for v/step >= 1000 && step < 1e9 {
		step *= 10
	}
	v = (v + step/2) / step * step
	if v >= uint64(time.Hour) {
		return appendLong(dst, v/1e9)
	}
	unit, name := uint64(1), "ns"
	switch {
	case v >= 1e9:
		unit, name = 1e9, "s"
	case v >= 1e6:
		unit, name = 1e6, "ms"
	case v >= 1e3:
		unit, name = 1e3, "µs"
	}
	whole := v / unit
	dst = strconv.AppendUint(dst, whole, 10)
	switch {
	case unit == 1 || whole >= 100:
	case whole >= 10:
		dst = appendDigits(append(dst, '.'), uint32(v%unit/(unit/10)), 1)
	default:
		dst = appendDigits(append(dst, '.'), uint32(v%unit/(unit/100)), 2)
	}
	return append(dst, name...)
}

// appendLong appends seconds as days, hours, minutes and seconds, from the first that there are.
func appendLong(dst []byte, seconds uint64) []byte {
	begun := false
	for _, part := range [...]struct {
		seconds uint64
		name    byte
	}{{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}} {
		n := seconds / part.seconds
		seconds %= part.seconds
		if begun = begun || n > 0; begun {
			dst = append(strconv.AppendUint(dst, n, 10), part.name)
		}
	}
	return dst
}

// short is appendShort's string.
func short(d time.Duration) string { return string(appendShort(nil, d)) }
