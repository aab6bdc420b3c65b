package ledger

import (
	"strings"
	"testing"
)

func posting(kind Kind, amount int64) Posting {
	debit, credit, _ := Accounts(kind, "local")
	return Posting{Kind: kind, Provider: "local", Debit: debit, Credit: credit, Currency: "USD", Amount: amount}
}

func FuzzEveryEventMovesBetweenTwoAccounts(f *testing.F) {
	f.Add("hold", "local")
	f.Add("charge", "")
	f.Fuzz(func(t *testing.T, kind, provider string) {
		debit, credit, err := Accounts(Kind(kind), provider)
		if err == nil && (debit == credit || debit == "" || credit == "") {
			t.Errorf("Accounts(%s, %q) = %q, %q", kind, provider, debit, credit)
		}
	})
}

func TestAWholePurchaseLeavesNothingHeld(t *testing.T) {
	var b Books
	for _, p := range []Posting{posting(Hold, 1000), posting(Capture, 700), posting(Release, 300), posting(Refund, 200), posting(Overrun, 50), posting(Return, 20), posting(Charge, 25)} {
		b.Post(p)
	}
	if faults := b.Faults(); len(faults) > 0 {
		t.Fatal(faults)
	}
	for account, amount := range map[string]int64{Held: 0, Spent("local"): 525, Exceeded("local"): 30, Available: -555} {
		if got := b.Balance(account, "USD"); got != amount {
			t.Errorf("%s = %d, want %d", account, got, amount)
		}
	}
}

func TestAFaultInTheBooksIsNamed(t *testing.T) {
	other, negative := posting(Hold, 5), posting(Hold, -5)
	other.Debit = Spent("local")
	for name, tc := range map[string]struct {
		posting Posting
		fault   string
	}{
		"another account":               {other, "event 0.0, a hold of 0.05 USD"},
		"an amount below zero":          {negative, "a hold of -0.05 USD"},
		"more was captured than held":   {posting(Capture, 5), "account held is -0.05 USD"},
		"more was refunded than spent":  {posting(Refund, 5), "account spent:local is -0.05 USD"},
		"more came back than was above": {posting(Return, 5), "account overrun:local is -0.05 USD"},
	} {
		t.Run(name, func(t *testing.T) {
			var b Books
			b.Post(tc.posting)
			if got := strings.Join(b.Faults(), "; "); !strings.Contains(got, tc.fault) {
				t.Errorf("faults = %q, want %q in it", got, tc.fault)
			}
		})
	}
}
