package main

import (
	"strconv"
	"time"
)

// stamp prints the times of lines as tcpdump does for one -t to five: none; seconds since the epoch; since the line before; date
// and time; since the first line. Without, the time of day.
type stamp struct {
	form  int
	clock clock
	begun bool
	since int64 // what durations count from
}

const maxStampForm = 5

func newStamp(form int) *stamp {
	s := &stamp{form: form, clock: timeOfDay()}
	if form == 4 {
		s.clock.layout = time.DateTime
	}
	return s
}

// append appends the time of a line, in ns since the epoch, and a space.
func (s *stamp) append(dst []byte, ns int64) []byte {
	switch s.form {
	case 1:
		return dst
	case 2:
		dst = strconv.AppendInt(dst, ns/1e9, 10)
		dst = appendDigits(append(dst, '.'), uint32(ns%1e9/1000), 6)
	case 3, 5:
		dst = s.appendSince(dst, ns/1000)
	default:
		dst = s.clock.appendTimeOfDay(dst, ns)
	}
	return append(dst, ' ')
}

// appendSince appends a duration up to a time in µs: tcpdump, too, takes what it has cut to that.
func (s *stamp) appendSince(dst []byte, us int64) []byte {
	if !s.begun {
		s.begun, s.since = true, us
	}
	d := us - s.since
	if s.form == 3 {
		s.since = us
	}
	sign := byte(' ')
	if d < 0 {
		sign, d = '-', -d
	}
	seconds := uint32(d / 1e6)
	dst = appendDigits(append(dst, sign), seconds/3600, 2)
	dst = appendDigits(append(dst, ':'), seconds/60%60, 2)
	dst = appendDigits(append(dst, ':'), seconds%60, 2)
	return appendDigits(append(dst, '.'), uint32(d%1e6), 6)
}
