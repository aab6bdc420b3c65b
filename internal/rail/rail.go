// Package rail turns holds into payment tokens. The sandbox rail is Purser's own: its money is not real, its rules are.
package rail

import (
	"time"

	"github.com/purser-dev/purser"
)

// SandboxType is the type of the sandbox rail's payment credentials on the wire
// (APP section 19, RULES 7).
const SandboxType = "sandbox"

// SettlementLag is how long after its end a token's last charge may still arrive:
// a hold outlives its token by at least that (RULES 2).
const SettlementLag = time.Minute

// Token states.
const (
	Active   = "active"
	Consumed = "consumed"
	Revoked  = "revoked"
)

// Token is a payment token as the rail knows it: bound to a provider, an amount
// and an end.
type Token struct {
	Provider  string
	Currency  string
	Left      int64 // minor units that its hold still covers
	State     string
	ExpiresAt time.Time
}

// Forbids says why a charge on the token is refused, each reason with its own
// code, or nil.
func (t Token) Forbids(provider string, amount purser.Money, now time.Time) *purser.Error {
	switch {
	case t.Provider != provider:
		return purser.Errorf(purser.WrongProvider, "the payment token was not issued to %s", provider)
	case t.State == Revoked:
		return purser.Errorf(purser.TokenRevoked, "the payment token was revoked")
	case t.State != Active:
		return purser.Errorf(purser.TokenInvalid, "the payment token was used up")
	case !now.Before(t.ExpiresAt):
		return purser.Errorf(purser.TokenExpired, "the payment token ran out at %s", t.ExpiresAt.Format(time.RFC3339))
	case t.Currency != amount.Currency:
		return purser.Errorf(purser.TokenLimit, "the payment token is for %s, the charge is in %s", t.Currency, amount.Currency)
	case amount.Amount > t.Left:
		return purser.Errorf(purser.TokenLimit, "the charge of %s is above the %s that is left on the token",
			amount, purser.Money{Amount: t.Left, Currency: t.Currency})
	}
	return nil
}

// Magic is what the sandbox does with an amount, by its last two digits, as card
// test numbers do (local-cloud reference, section 13).
type Magic int

const (
	Succeeds Magic = iota
	Declines       // 01
	Asks           // 02: requires action
	Dawdles        // 03: answers after 30 s
	Drops          // 04: charges, then drops the connection
)

// Delay is how long a Dawdles answer takes.
const Delay = 30 * time.Second

// MagicOf reads the behaviour from minor units. 05 (a provider that charges
// twice under one key) is the provider's fault to play, not the rail's.
func MagicOf(amount int64) Magic {
	switch amount % 100 {
	case 1:
		return Declines
	case 2:
		return Asks
	case 3:
		return Dawdles
	case 4:
		return Drops
	}
	return Succeeds
}
