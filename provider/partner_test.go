package provider

import "testing"

func TestAnAmountOfUSDIsADecimalString(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "250": true, "250.00": true, "0.5": true, "999999999999.99": true,
		"": false, ".5": false, "5.": false, "5.123": false, "-5": false, "+5": false, "1e3": false, "5 ": false, "1_0": false, "0x10": false, "1/2": false,
		"five": false, "9999999999999": false, "٥": false,
	} {
		if got := decimal(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
