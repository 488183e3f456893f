package decode

import (
	"fmt"
	"testing"
)

func TestEveryValueHasAName(t *testing.T) {
	testNames(t, Sides())
	testNames(t, Roles())
	testNames(t, Outcomes())
	testNames(t, Teardowns())
	testNames(t, States())
	testNames(t, Places())
	testNames(t, placeLabels[:])
	testNames(t, upTo(numEndStates)[EndListen:])
	testNames(t, upTo(numDirections))
	testNames(t, upTo(numParsed))
	if got := numOutcomes.String(); got != "invalid" {
		t.Errorf("value beyond the last: got %q, want invalid", got)
	}
	if got, want := (FIN | SYN | RST | PSH | ACK | URG | ECE | CWR | AE).String(), "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR|AE"; got != want {
		t.Errorf("flags: got %s, want %s", got, want)
	}
}

func testNames[T any](t *testing.T, values []T) {
	t.Helper()
	seen := map[string]bool{}
	for i, v := range values {
		name := fmt.Sprint(v)
		if name == "" || name == "invalid" || seen[name] {
			t.Errorf("%T %d: name %q is missing or not unique", v, i, name)
		}
		seen[name] = true
	}
}
