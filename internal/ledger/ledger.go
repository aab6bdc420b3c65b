// Package ledger says which postings an event of money makes, in double entry.
package ledger

import (
	"fmt"
	"sort"

	"github.com/purser-dev/purser"
)

// Kind is an event of money.
type Kind string

const (
	Hold    Kind = "hold"    // money is reserved before a provider is called
	Capture Kind = "capture" // a provider's charge takes of the hold
	Charge  Kind = "charge"  // held and captured at once
	Release Kind = "release" // what is not spent goes back
	Refund  Kind = "refund"  // a provider returns what it took
	Overrun Kind = "overrun" // a rail or a platform already made a capture above the hold; outside every budget's sum
	Return  Kind = "return"  // a provider returns what it took above the hold; outside the sum as well
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

// Accounts are the two that an event moves money between: the debit takes it, the
// credit gives it. So an event sums to zero by its form.
func Accounts(kind Kind, provider string) (debit, credit string, err error) {
	switch kind {
	case Hold:
		return Held, Available, nil
	case Capture:
		return Spent(provider), Held, nil
	case Charge:
		return Spent(provider), Available, nil
	case Release:
		return Available, Held, nil
	case Refund:
		return Available, Spent(provider), nil
	case Overrun:
		return Exceeded(provider), Available, nil
	case Return:
		return Available, Exceeded(provider), nil
	}
	return "", "", fmt.Errorf("no event is called %q", kind)
}

// Posting is an event as it was stored.
type Posting struct {
	Seq, N        int64
	Kind          Kind
	Provider      string
	Debit, Credit string
	Currency      string
	Amount        int64
}

// Books are balances by account and currency. The zero value is empty books.
type Books struct {
	balances map[[2]string]int64
	faults   []string
}

// Post adds an event, and notes one whose accounts are not those of its kind or
// whose amount is not above zero.
func (b *Books) Post(p Posting) {
	debit, credit, err := Accounts(p.Kind, p.Provider)
	if err != nil || debit != p.Debit || credit != p.Credit || p.Amount <= 0 {
		b.faults = append(b.faults, fmt.Sprintf("event %d.%d, a %s of %s, is posted from %q to %q", p.Seq, p.N, p.Kind, purser.Money{Amount: p.Amount, Currency: p.Currency}, p.Credit, p.Debit))
	}
	if b.balances == nil {
		b.balances = map[[2]string]int64{}
	}
	b.balances[[2]string{p.Debit, p.Currency}] += p.Amount
	b.balances[[2]string{p.Credit, p.Currency}] -= p.Amount
}

// Balance is what an account has in a currency, in minor units.
func (b *Books) Balance(account, currency string) int64 {
	return b.balances[[2]string{account, currency}]
}

// Faults names each event that was posted wrongly, each account whose balance
// cannot be, and each currency whose accounts do not sum to zero.
func (b *Books) Faults() []string {
	faults, sums := b.faults, map[string]int64{}
	for of, balance := range b.balances {
		sums[of[1]] += balance
		if balance < 0 && of[0] != Available {
			faults = append(faults, fmt.Sprintf("account %s is %s, below zero", of[0], purser.Money{Amount: balance, Currency: of[1]}))
		}
	}
	for currency, sum := range sums {
		if sum != 0 {
			faults = append(faults, fmt.Sprintf("the accounts in %s sum to %s", currency, purser.Money{Amount: sum, Currency: currency}))
		}
	}
	sort.Strings(faults)
	return faults
}
