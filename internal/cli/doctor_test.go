package cli

import (
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

func TestAWitnessThatKeepsNothingIsAFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		state purser.WitnessState
		fault bool
	}{
		{"it has all", purser.WitnessState{Place: "url", Size: 40}, false},
		{"it was not tried yet", purser.WitnessState{Place: "url", Behind: 1}, false},
		{"it is away for a moment", purser.WitnessState{Place: "url", Size: 40, Behind: 1, Fails: 2, Error: "connection refused"}, false},
		{"it is away for long", purser.WitnessState{Place: "url", Size: 40, Behind: 9, Fails: 6, Error: "connection refused"}, true},
		{"it never kept anything", purser.WitnessState{Place: "url", Behind: 40, Fails: 1, Error: "connection refused"}, true},
	} {
		found := 0
		diagnoseWitness(purser.Status{Witnesses: []purser.WitnessState{c.state}}, nil, func(what, hint string, err error, _ string, _ ...any) {
			found++
			if (err != nil) != c.fault || !strings.Contains(hint, "audit.witness.url") || c.fault && !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%s: %s: %v; %s", c.name, what, err, hint)
			}
		})
		if found != 1 {
			t.Errorf("%s: %d findings", c.name, found)
		}
	}
}
