// Package ledger says which postings an event of money makes, in double entry.
package ledger

import (
	"fmt"
	"sort"
)

// Kind is an event of money.
type Kind string

const (
	Hold    Kind = "hold"    // money is reserved before a provider is called
	Capture Kind = "capture" // a provider's charge takes of the hold
	Release Kind = "release" // what is not spent goes back
	Refund  Kind = "refund"  // a provider returns what it took
	Overrun Kind = "overrun" // a rail already made a capture above the hold; outside every budget's sum
)

// Accounts. Available is the counterpart of what people allowed to be spent; it
// goes below zero by what is held and spent, so that every event sums to zero.
const (
	Available = "available"
	Held      = "held"
)

// Spent is the account of what a provider has taken.
func Spent(provider string) string { return "spent:" + provider }

// Exceeded is the account of what a provider has taken above its holds.
func Exceeded(provider string) string { return "overrun:" + provider }

// Entry is one leg of an event, in minor units: positive is debit.
type Entry struct {
	Account string
	Amount  int64
}

// Postings returns the legs of one event. They sum to zero.
func Postings(kind Kind, provider string, amount int64) ([]Entry, error) {
	if amount < 0 {
		return nil, fmt.Errorf("an event of %d: amounts are not negative", amount)
	}
	accounts := map[Kind][2]string{ // debit, credit
		Hold:    {Held, Available},
		Capture: {Spent(provider), Held},
		Release: {Available, Held},
		Refund:  {Available, Spent(provider)},
		Overrun: {Exceeded(provider), Available},
	}
	pair, ok := accounts[kind]
	if !ok {
		return nil, fmt.Errorf("no event is called %q", kind)
	}
	return []Entry{{pair[0], amount}, {pair[1], -amount}}, nil
}

// Posted is an entry as it was stored.
type Posted struct {
	Seq, N   int64
	Currency string
	Entry
}

// Check walks stored entries, ordered by event, and names each event that does
// not sum to zero in each currency and each account whose balance cannot be.
func Check(entries []Posted) []string {
	var faults []string
	type event struct {
		seq, n   int64
		currency string
	}
	sums, balances := map[event]int64{}, map[string]int64{}
	for _, e := range entries {
		sums[event{e.Seq, e.N, e.Currency}] += e.Amount
		balances[e.Account+" "+e.Currency] += e.Amount
	}
	for e, sum := range sums {
		if sum != 0 {
			faults = append(faults, fmt.Sprintf("event %d.%d does not balance: %d minor units of %s", e.seq, e.n, sum, e.currency))
		}
	}
	for account, balance := range balances {
		if balance < 0 && account[:len(account)-len(" USD")] != Available {
			faults = append(faults, fmt.Sprintf("account %s is %d, below zero", account, balance))
		}
	}
	sort.Strings(faults)
	return faults
}
