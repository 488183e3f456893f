package metrics

import (
	"testing"

	"netobs/decode"
)

// TestEnums: a value that decode has and the arrays of namespace do not would be out of their range.
func TestEnums(t *testing.T) {
	for _, tt := range []struct {
		name      string
		want, got int
	}{
		{"roles", len(decode.Roles()), roles},
		{"outcomes", len(decode.Outcomes()), outcomes},
		{"teardowns", len(decode.Teardowns()), teardowns},
		{"sides", len(decode.Sides()), sides},
		{"states", len(decode.States()), states},
	} {
		if tt.want != tt.got {
			t.Errorf("%s: decode has %d, metrics %d", tt.name, tt.want, tt.got)
		}
	}
	for bit, label := range flagLabels {
		if want := decode.Flags(1 << bit).String(); want != label {
			t.Errorf("flag %d: decode has %s, metrics %s", bit, want, label)
		}
	}
}
