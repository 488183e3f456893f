package bpf

import (
	"reflect"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// A regression shows as much more than these; they are no goal.
func TestBudget(t *testing.T) {
	w, watch := newWorld(t, Options{}), newWorld(t, Options{Watch: &Watch{All: true, Payload: true, Filter: someFilter}})
	watch.anyPoint(t, Point{Hook: HookXDP})
	for _, c := range []struct {
		name                       string
		prog                       *ebpf.Program
		maxVerified, maxTranslated uint32
	}{
		{"front, ingress", w.point(t, 1, false).front, 700, 280},
		{"front, egress", w.point(t, 1, true).front, 700, 280},
		{"front, without Ethernet", w.anyPoint(t, Point{L3: true}).front, 500, 260},
		{"front, XDP", w.anyPoint(t, Point{Hook: HookXDP}).front, 900, 320},
		{"slow", w.hooks[HookTC].slowProg, 35000, 2050},
		{"slow, XDP", w.hooks[HookXDP].slowProg, 35000, 2050},
		{"slow, to watch", watch.hooks[HookTC].slowProg, 40000, 2300},
		{"slow, XDP, to watch", watch.hooks[HookXDP].slowProg, 40000, 2300},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := c.prog.Info()
			if err != nil {
				t.Fatal(err)
			}
			verified, ok := info.VerifiedInstructions()
			if !ok {
				t.Skip("needs Linux 5.16")
			}
			size, err := info.TranslatedSize()
			if err != nil {
				t.Fatal(err)
			}
			translated := uint32(size / asm.InstructionSize)
			t.Logf("%d verified, %d translated", verified, translated)
			if verified > c.maxVerified {
				t.Errorf("verified instructions: got %d, want at most %d", verified, c.maxVerified)
			}
			if translated > c.maxTranslated {
				t.Errorf("translated instructions: got %d, want at most %d", translated, c.maxTranslated)
			}
		})
	}
}

// CO-RE relocations make one load cost 13 ms instead of one.
func TestNoRelocations(t *testing.T) {
	spec, err := loadNetobs()
	if err != nil {
		t.Fatal(err)
	}
	for name, prog := range spec.Programs {
		for i, ins := range prog.Instructions {
			if r := btf.CORERelocationMetadata(&ins); r != nil {
				t.Errorf("%s, instruction %d: %v", name, i, r)
			}
		}
	}
}

func TestEveryEnumValueHasALabel(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels []string
		want   int
	}{
		{"disposition", Dispositions[:], int(netobsDispositionDISPOSITION_LEN)},
		{"unparsed_reason", UnparsedReasons[:], int(netobsUnparsedReasonUNPARSED_REASON_LEN)},
	} {
		if len(c.labels) != c.want {
			t.Errorf("%s: got %d labels, want %d", c.name, len(c.labels), c.want)
		}
		for i, label := range c.labels {
			if label == "" {
				t.Errorf("%s %d has no label", c.name, i)
			}
			if slices.Index(c.labels, label) != i {
				t.Errorf("%s %d has the label %q of another one", c.name, i, label)
			}
		}
	}
	var c PointCounters
	if got, want := len(c.ControlSegmentsTotal), len(Dispositions); got != want {
		t.Errorf("counters of dispositions: got %d, want %d", got, want)
	}
	if got, want := len(c.UnparsedPacketsTotal), len(UnparsedReasons); got != want {
		t.Errorf("counters of unparsed reasons: got %d, want %d", got, want)
	}
}

func TestSlotOutOfRange(t *testing.T) {
	p := mustLoad(t, Options{Flows: 16})
	if got := p.shared[netobsMapCounters].MaxEntries(); got != MaxPoints {
		t.Errorf("slots of counters: got %d, want %d", got, MaxPoints)
	}
	mustFront(t, p, Point{ID: 1, Slot: MaxPoints - 1})
	front, err := p.NewFront(Point{ID: 1, Slot: MaxPoints})
	if err == nil {
		front.Close()
		t.Errorf("front with slot %d: got no error", MaxPoints)
	}
}

// Add and Sub must know every number in the counters.
func TestCounterArithmetic(t *testing.T) {
	var a, want PointCounters
	n := uint64(0)
	set := func(a, want reflect.Value) {
		n++
		a.SetUint(n)
		want.SetUint(2 * n)
	}
	va, vwant := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&want).Elem()
	for i := range va.NumField() {
		switch f := va.Field(i); f.Kind() {
		case reflect.Uint64:
			set(f, vwant.Field(i))
		case reflect.Array:
			for j := range f.Len() {
				set(f.Index(j), vwant.Field(i).Index(j))
			}
		}
	}
	got := a
	got.Add(&a)
	if got != want {
		t.Errorf("after Add:\n got %s\nwant %s", moves(got), moves(want))
	}
	got.Sub(&a)
	if got != a {
		t.Errorf("after Sub:\n got %s\nwant %s", moves(got), moves(a))
	}
}

func TestFlags(t *testing.T) {
	c := PointCounters{
		SegmentsTotalAck:   [2]uint64{1000, 100},
		SegmentsTotalOther: 10,
		FlagsTotal:         [8]uint64{1, 2, 3, 4, 5, 6, 7, 8},
	}
	if got, want := c.Flags(), [8]uint64{1, 2, 3, 104, 1105, 6, 7, 8}; got != want {
		t.Errorf("flags: got %d, want %d", got, want)
	}
	if got, want := c.Segments(), uint64(1110); got != want {
		t.Errorf("segments: got %d, want %d", got, want)
	}
}
