package ledger

import (
	"strings"
	"testing"
)

func FuzzPostingsSumToZero(f *testing.F) {
	f.Add("hold", int64(500))
	f.Add("capture", int64(0))
	f.Add("refund", int64(1<<62))
	f.Fuzz(func(t *testing.T, kind string, amount int64) {
		entries, err := Postings(Kind(kind), "local", amount)
		if err != nil {
			return
		}
		var sum int64
		for _, e := range entries {
			sum += e.Amount
		}
		if sum != 0 || len(entries) != 2 {
			t.Errorf("Postings(%s, %d) = %v, sum %d", kind, amount, entries, sum)
		}
	})
}

func TestAWholePurchaseLeavesNothingHeld(t *testing.T) {
	var all []Posted
	for i, step := range []struct {
		kind   Kind
		amount int64
	}{{Hold, 1000}, {Capture, 700}, {Release, 300}, {Refund, 200}, {Overrun, 50}} {
		legs, err := Postings(step.kind, "local", step.amount)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range legs {
			all = append(all, Posted{Seq: int64(i), Currency: "USD", Entry: l})
		}
	}
	if faults := Check(all); len(faults) > 0 {
		t.Fatal(faults)
	}
	balances := map[string]int64{}
	for _, e := range all {
		balances[e.Account] += e.Amount
	}
	want := map[string]int64{Held: 0, Spent("local"): 500, Exceeded("local"): 50, Available: -550}
	for account, amount := range want {
		if balances[account] != amount {
			t.Errorf("%s = %d, want %d", account, balances[account], amount)
		}
	}
}

func TestAFaultInTheBooksIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		entries []Posted
		fault   string
	}{
		"a leg is missing": {[]Posted{{Seq: 7, Currency: "USD", Entry: Entry{Held, 5}}}, "event 7.0"},
		"two currencies do not cancel": {[]Posted{
			{Seq: 8, Currency: "USD", Entry: Entry{Held, 5}}, {Seq: 8, Currency: "EUR", Entry: Entry{Available, -5}},
		}, "event 8.0"},
		"more was captured than held": {[]Posted{
			{Seq: 9, Currency: "USD", Entry: Entry{Spent("x"), 5}}, {Seq: 9, Currency: "USD", Entry: Entry{Held, -5}},
		}, "account held USD is -5"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(Check(tc.entries), "; "); !strings.Contains(got, tc.fault) {
				t.Errorf("faults = %q, want %q in it", got, tc.fault)
			}
		})
	}
}
