package spend

import (
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
)

// State is what one turn loaded, and what Decide changes of it. Rows that are not
// there are not in the maps.
type State struct {
	Org        string
	Now        time.Time
	Skew       time.Duration
	Zone       *time.Location
	NoZone     *purser.Error // why it is not the organization's own
	Seq, Epoch int64
	Stops      []purser.StopInfo // in force, and those lifted since the oldest loaded hold
	Tokens     map[string]Token  // by id
	Runs       map[string]*Run
	Budgets    map[Scope][]*Budget
	Windows    map[WindowKey]*Window
	Holds      map[string]*Hold
	Keys       map[Key]Kept
	Recent     map[string][]Recent // orders of a run and of its agent, in the last hour
	Repeats    map[Repeat]int      // repeats that a person allowed
	// News are the providers that a run, or the agent of it, ordered from in the last
	// hour; Known those of them, and of the orders to decide, that something was bought
	// from before it.
	News  map[string][]string
	Known map[string]bool
	// DefaultProvider is the monthly limit that a provider gets with the first spend there.
	DefaultProvider purser.Money
	Guards          guard.Set

	// What was decided, in order.
	Records   []audit.Record
	Movements []Movement
	Opened    []*Hold   // new holds
	Changed   []*Hold   // holds that were changed, each once; of new ones, after they were opened
	Moved     []*Window // windows that were changed or opened, each once
	Default   []Scope   // providers that got the default limit
	Used      []Repeat
	Exceeded  []Excess // captures above their holds

	periods map[string]period // of Now, made once
	covers  map[alike]*cover  // made once too
}

// Excess is a capture above its hold, and the stop that it made; without one, what
// spends from there was stopped before.
type Excess struct {
	Hold   *Hold
	Amount int64
	Seq    int64
	Stop   *purser.StopInfo
}

type period struct {
	name string
	next time.Time
}

// Token is a credential as the turn found it.
type Token struct {
	Revoked   bool
	Taken     bool // revoked by a stop, or with its run, and not for itself
	ExpiresAt time.Time
}

// over reports that somebody ended the run: one whose time is up can be given more.
func (r *Run) over() bool { return r != nil && r.Ended }

// Run is a run with what its spends are decided by.
type Run struct {
	guard.Run
	Project, Agent string
	Threshold      purser.Money
	Labels         []string // of the run and its project
}

// Scope is what a budget covers.
type Scope struct{ Scope, Target string }

// Budget is a limit in force.
type Budget struct {
	Scope
	Period, Currency string
	Limit            int64
	Thresholds       []int
	unkept           bool // a provider's default, which nothing was spent under yet
}

// WindowKey names one window of one budget. A hold keeps those that it was decided
// against, and they are never computed again (SPEND.md section 2).
type WindowKey struct {
	Scope    string
	Target   string
	Currency string
	Name     string
}

// Window is the use of a budget in one of its periods.
type Window struct {
	WindowKey
	Held, Captured, Refunded int64
	Ceiling                  int64
	New                      bool // not stored yet

	of    *Budget // whose it is; nil for a window of the past
	scope string  // as records name it, once it was moved
	moved bool
	was   int64 // its use, before it was first moved
}

// Use is what counts against the limit (RULES 5).
func (w *Window) Use() int64 { return w.Held + w.Captured - w.Refunded }

// Hold is a hold as it is stored.
type Hold struct {
	ID, Principal, Agent, Run, Project, Provider, Category string
	Kind, Target, Currency                                 string
	Amount, Captured, Released, Refunded                   int64
	// Overrun was captured above the amount, and Returned came back of that. Both
	// lie outside of all budgets (RULES 5).
	Overrun, Returned             int64
	State                         string
	Epoch                         int64
	BegunAt, ExpiresAt, CreatedAt time.Time
	Windows                       []WindowKey
	Seq                           int64
	changed                       bool
}

// opened makes of a hold what it is when it was just made, by a Place or a Charge.
func (h *Hold) opened(op Op) {
	h.State, h.Captured, h.Released, h.Refunded, h.Overrun, h.Returned = purser.HoldHeld, 0, 0, 0, 0, 0
	if op == Charge {
		h.State, h.Captured = purser.HoldCaptured, h.Amount
	}
}

// Left is what can still be captured.
func (h *Hold) Left() int64 { return h.Amount - h.Captured - h.Released }

// Stored is a hold as it is loaded again.
func (h *Hold) Stored() Hold {
	out := *h
	out.changed = false
	return out
}

// Failed reports that it came to nothing: given back, and nothing was spent.
func (h *Hold) Failed() bool {
	return h.Captured == 0 && (h.State == purser.HoldReleased || h.State == purser.HoldExpired)
}

// Open reports whether something of it is still reserved.
func (h *Hold) Open() bool {
	return h.State == purser.HoldHeld || h.State == purser.HoldBegun || h.State == purser.HoldUnknown
}

// Key is an idempotency key in its scope (RULES 10).
type Key struct{ Principal, Key string }

// Kept is what a key keeps: an answer, or the hold that its request made.
type Kept struct {
	Hash string
	Hold purser.Hold
	Err  *purser.Error
	Made *Hold // as far as its first answer needs it
	Seq  int64
}

// Movement is an event of money.
type Movement struct {
	Seq, N int64
	Kind   ledger.Kind
	Amount int64
	Hold   *Hold
}

// Crossing is what all decisions together added to the use of a budget.
type Crossing struct {
	Before purser.BudgetLine
	Added  int64
}

// Crossings lists the budgets whose use grew, for those who are told of thresholds.
func (s *State) Crossings() []Crossing {
	var out []Crossing
	for _, w := range s.Moved {
		if added := w.Use() - w.was; w.of != nil && added > 0 {
			before := line(w.of, w, s.period(w.of).next)
			before.Held, before.Captured, before.Refunded = w.was, 0, 0
			out = append(out, Crossing{before, added})
		}
	}
	return out
}

// Recent is an order of a short time ago, with its hold: what becomes of that in
// this turn counts.
type Recent struct {
	guard.Recent
	Hold string
}

// Repeat is an order that a person said may come again, at the same provider.
type Repeat struct {
	Run, Provider, Target, Currency string
	Amount                          int64
}

// touch notes that a hold is to be written again.
func (s *State) touch(h *Hold) {
	if !h.changed {
		h.changed = true
		s.Changed = append(s.Changed, h)
	}
}

func (s *State) dirty(w *Window) {
	if !w.moved {
		w.moved, w.was, w.scope = true, w.Use(), w.Scope+":"+w.Target
		s.Moved = append(s.Moved, w)
	}
}

// limit is the limit in force of the budget that a window belongs to; 0 for a
// window of the past, where none matters any more.
func (s *State) limit(w *Window) int64 {
	if w.of == nil {
		for _, b := range s.Budgets[Scope{w.Scope, w.Target}] {
			if b.Currency == w.Currency && s.period(b).name == w.Name {
				w.of = b
			}
		}
	}
	if w.of == nil {
		return 0
	}
	return w.of.Limit
}

// period is the window of a budget that now falls into.
func (s *State) period(b *Budget) period {
	if b.Period == purser.PeriodRun {
		return period{name: b.Target}
	}
	p, ok := s.periods[b.Period]
	if !ok {
		p.name, p.next = guard.Window(b.Period, b.Target, s.Now, s.Zone)
		if s.periods == nil {
			s.periods = map[string]period{}
		}
		s.periods[b.Period] = p
	}
	return p
}
