// Package fault holds the switches that make the local cloud misbehave on
// purpose, so that its buyers can be tested. All are off until turned on.
package fault

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Switch names one way to misbehave.
type Switch string

// The switches (local-cloud.md 16). Each comment tells what a buyer then sees.
const (
	OtherSuffix     Switch = "registrar_other_suffix"    // a quote for NAME.cc although another suffix was asked
	OtherName       Switch = "registrar_other_name"      // the purchase answers with another name than asked
	PriceRaised     Switch = "registrar_price_raised"    // prices are higher than in quotes given before
	RenewalRaised   Switch = "registrar_renewal_raised"  // only the renewal is dearer than quoted
	TurnedPremium   Switch = "registrar_turned_premium"  // standard names have become premium ones
	Overcharge      Switch = "registrar_overcharge"      // charges 5.00 more than quoted
	Taken           Switch = "registrar_taken"           // the name is taken between check and purchase
	ActionRequired  Switch = "registrar_action_required" // the registration waits for a person
	Blocked         Switch = "registrar_blocked"         // the registry froze the name after payment
	SlowRegistry    Switch = "registrar_slow"            // the registration stays in progress
	QuoteExpired    Switch = "quote_expired"             // quotes are expired as soon as they are given
	ChargeTwice     Switch = "charge_twice"              // each charge is sent twice under one key
	ChargeTwoKeys   Switch = "charge_two_keys"           // each charge is sent twice under two keys
	CreateDropped   Switch = "create_dropped"            // create does its work, then drops the connection
	CreateFails     Switch = "create_500"                // create does its work, then answers 500
	CreateSlow      Switch = "create_slow"               // create answers late (see Set.Delay)
	CreateTwice     Switch = "create_twice"              // the provider handles each create request twice
	OtherAccount    Switch = "other_account"             // account.primary_email is somebody else's
	TemptingContext Switch = "tempting_context"          // llm_context tells the agent to accept and upgrade
	CatalogDown     Switch = "catalog_down"              // the catalog answers 500
	MailBusy        Switch = "mail_450"                  // SMTP answers 450
	MailRefused     Switch = "mail_550"                  // SMTP answers 550
)

// All lists the switches, sorted.
func All() []Switch {
	all := []Switch{
		OtherSuffix, OtherName, PriceRaised, RenewalRaised, TurnedPremium, Overcharge, Taken, ActionRequired, Blocked,
		SlowRegistry, QuoteExpired, ChargeTwice, ChargeTwoKeys, CreateDropped, CreateFails, CreateSlow, CreateTwice,
		OtherAccount, TemptingContext, CatalogDown, MailBusy, MailRefused,
	}
	slices.Sort(all)
	return all
}

// Always keeps a switch on until it is turned off.
const Always = -1

// Set is a group of switches. The nil Set has all of them off, so that parts
// need not ask whether faults are possible at all. It is safe for concurrent use.
type Set struct {
	mu    sync.Mutex
	left  map[Switch]int
	hits  map[Switch]int
	delay time.Duration
}

// NewSet returns a Set with the named switches on, always.
func NewSet(on ...Switch) *Set {
	s := &Set{left: map[Switch]int{}, hits: map[Switch]int{}}
	for _, w := range on {
		s.left[w] = Always
	}
	return s
}

// Turn sets how many more times a switch misbehaves: 0 is off, Always until
// further notice. An unknown switch is an error, so that a test cannot pass by
// a slip of the pen.
func (s *Set) Turn(w Switch, times int) error {
	if !slices.Contains(All(), w) {
		return fmt.Errorf("unknown fault %q; there are %v", w, All())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[w] = times
	return nil
}

// On reports whether a switch is on, without using it up.
func (s *Set) On(w Switch) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left[w] != 0
}

// Hit reports whether to misbehave now, and counts that.
func (s *Set) Hit(w Switch) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left[w] == 0 {
		return false
	}
	if s.left[w] > 0 {
		s.left[w]--
	}
	s.hits[w]++
	return true
}

// Hits returns how often each switch misbehaved.
func (s *Set) Hits() map[Switch]int {
	counted := map[Switch]int{}
	if s == nil {
		return counted
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for w, n := range s.hits {
		counted[w] = n
	}
	return counted
}

// SetDelay sets how late CreateSlow answers.
func (s *Set) SetDelay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// Delay returns how late CreateSlow answers: 30 seconds unless set.
func (s *Set) Delay() time.Duration {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delay == 0 {
		return 30 * time.Second
	}
	return s.delay
}
