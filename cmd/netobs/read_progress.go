package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	// progressFrom is from how many bytes on reading takes long enough for a progress bar.
	progressFrom  = 64 << 20
	progressEvery = 100 * time.Millisecond
	progressWidth = 40
)

// progress is a bar on a terminal that tells how much was read. The nil one is not shown.
type progress struct {
	w           io.Writer
	total, done int64
	next        time.Time
	shown       bool
}

// newProgress returns a bar if stderr is a terminal, the files are large and nothing else is being printed there.
func newProgress(stderr io.Writer, o readOptions, stdoutIsTerminal bool) *progress {
	if !isTTY(stderr) || stdoutIsTerminal && !o.summary && o.output != outputNone {
		return nil
	}
	var total int64
	for _, name := range o.files {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	if total < progressFrom {
		return nil
	}
	return &progress{w: stderr, total: total}
}

// add counts n bytes more, and shows them now and then.
func (p *progress) add(n int64) {
	if p == nil {
		return
	}
	p.done += n
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(progressEvery)
	p.shown = true
	part := min(float64(p.done)/float64(p.total), 1)
	full := int(part * progressWidth)
	fmt.Fprintf(p.w, "\r%s%s %3.0f%% of %s", strings.Repeat("█", full), strings.Repeat("░", progressWidth-full), 100*part,
		byteCount(p.total))
}

// erase removes the bar, until it is shown again.
func (p *progress) erase() {
	if p != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
		p.next = time.Time{}
	}
}

// byteCount prints n with three digits: 482 MB.
func byteCount(n int64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if v := float64(n) / unit.size; v >= 1 {
			digits := 2
			for limit := 10.0; digits > 0 && v >= limit; limit *= 10 {
				digits--
			}
			return fmt.Sprintf("%.*f %s", digits, v, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
