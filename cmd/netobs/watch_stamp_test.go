package main

import (
	"strings"
	"testing"
	"time"
)

// TestStamp holds times against what tcpdump 4.99 prints of the same.
func TestStamp(t *testing.T) {
	times := []int64{1700000000_123456789, 1700000000_999999001, 1700003725_000005000, 1700003724_999999999}
	for form, want := range []string{
		"22:13:20.123456 |22:13:20.999999 |23:15:25.000005 |23:15:24.999999 |",
		"||||",
		"1700000000.123456 |1700000000.999999 |1700003725.000005 |1700003724.999999 |",
		" 00:00:00.000000 | 00:00:00.876543 | 01:02:04.000006 |-00:00:00.000006 |",
		"2023-11-14 22:13:20.123456 |2023-11-14 22:13:20.999999 |2023-11-14 23:15:25.000005 |2023-11-14 23:15:24.999999 |",
		" 00:00:00.000000 | 00:00:00.876543 | 01:02:04.876549 | 01:02:04.876543 |",
	} {
		s := newStamp(form)
		s.clock.in = time.UTC
		var got strings.Builder
		for _, ns := range times {
			got.Write(append(s.append(nil, ns), '|'))
		}
		if got.String() != want {
			t.Errorf("-%s: got\n%s\nwant\n%s", strings.Repeat("t", form), got.String(), want)
		}
	}
}
