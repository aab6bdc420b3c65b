package spendtest

import (
	"slices"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
)

// Fault is a fault that was seen in other programs (SPEND.md 1), planted to show
// that a checker finds it.
type Fault string

// Faults are all of them.
const (
	StaleStop   Fault = "stale stop"   // a replica that reads the stops now and then
	LostKey     Fault = "lost key"     // a key that is not kept
	StaleParent Fault = "stale parent" // a project's budget read before another's write
	TrimmedHold Fault = "trimmed hold" // a reservation cut to what is left
	FloatMoney  Fault = "float money"  // amounts as a fraction of dollars
)

// Faults lists them.
func Faults() []Fault { return []Fault{StaleStop, LostKey, StaleParent, TrimmedHold, FloatMoney} }

const every = 4 // batches

// spoil does to a loaded state what the fault does.
func (e *Engine) spoil(s *spend.State, requests []spend.Request) []spend.Request {
	switch e.Fault {
	case StaleStop:
		if e.batches%every == 0 {
			e.seenStop = slices.Clone(e.Stops)
		}
		s.Stops = slices.Clone(e.seenStop)
	case TrimmedHold, FloatMoney:
		requests = slices.Clone(requests)
		for i := range requests {
			r := &requests[i]
			switch {
			case r.Op != spend.Place && r.Op != spend.Charge:
			case e.Fault == FloatMoney:
				r.Amount.Amount = max(1, int64(float64(r.Amount.Amount)/100*100))
			default:
				if least := e.least(r); least > 0 {
					r.Amount.Amount = min(r.Amount.Amount, least)
				}
			}
		}
	}
	return requests
}

// least is what is left of the run's own budget.
func (e *Engine) least(r *spend.Request) int64 {
	scope := spend.Scope{Scope: purser.ScopeRun, Target: r.Run}
	for _, b := range e.Budgets[scope] {
		if b.Period == purser.PeriodRun && b.Currency == r.Amount.Currency {
			name, _ := guard.Window(b.Period, b.Target, e.Now, e.Zone)
			w := e.Windows[spend.WindowKey{Scope: scope.Scope, Target: scope.Target, Currency: b.Currency, Name: name}]
			return b.Limit - w.Use()
		}
	}
	return 0
}

// forget does to what was written what the fault does.
func (e *Engine) forget(s *spend.State) {
	if e.batches%every != 0 {
		return
	}
	switch e.Fault {
	case LostKey:
		clear(e.Keys)
	case StaleParent:
		for _, w := range s.Moved {
			if w.Scope == purser.ScopeProject {
				old := e.Windows[w.WindowKey]
				old.Held, old.Captured = 0, old.Refunded
				e.Windows[w.WindowKey] = old
			}
		}
	}
}
