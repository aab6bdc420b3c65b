// Package guard decides whether a spend is allowed. It does no I/O.
//
// A guard is a small value that can only say no, so adding one never allows more.
package guard

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// Spend is one proposed increase of use, with every fact that a guard reads. All
// of it was loaded in the turn that decides.
type Spend struct {
	Now      time.Time
	Skew     time.Duration // between this machine's clock and the database's
	NoZone   *purser.Error // why the organization's time zone cannot be read
	Amount   purser.Money  // of zero: an order without money
	Provider string
	Target   string // what is ordered, for recognising a repeat
	Order    bool   // an order of a run; renewals and metered charges are not (RULES 9)
	Meant    bool   // a person signed for exactly this repeat at this provider, and this pace
	Run      *Run   // nil for a renewal: the run that began it may be long over
	Stops    []purser.StopInfo
	Path     Path
	Budgets  []Budget
	Recent   []Recent // orders of the agent in the last hour
	// New says that an hour ago the organization had never bought from the provider;
	// NewSince are the others of that kind which the agent ordered from since.
	New      bool
	NewSince []string
}

// Path names everything that a stop can cover.
type Path struct {
	Organization, Project, Provider, Agent, Run string
}

// Run is what a guard needs of the run.
type Run struct {
	ID        string
	ExpiresAt time.Time
	Ended     bool
	Providers []string // empty: every registered one
}

// Budget is one budget that covers the spend, in the window that it falls into.
type Budget struct {
	purser.BudgetLine
}

// Recent is an order made a short time ago.
type Recent struct {
	Target string
	Amount int64
	At     time.Time
	Failed bool
	// SameRun tells the orders of this run from those of the agent's other runs.
	SameRun bool
}

// Guard says no, or nothing.
type Guard interface {
	Forbids(Spend) *purser.Error
}

// Set is several guards; a spend must pass all.
type Set []Guard

// Refusals returns every no, in the order of the set.
func (s Set) Refusals(sp Spend) []*purser.Error {
	var all []*purser.Error
	for _, g := range s {
		if err := g.Forbids(sp); err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Stops refuses what a stop in force covers. A parent covers its descendants,
// because each decision takes the whole path (SPEND.md K7).
type Stops struct{}

func (Stops) Forbids(sp Spend) *purser.Error {
	for _, s := range sp.Stops {
		if sp.Path.Covered(s.Scope, s.Target) {
			return StoppedBy(s)
		}
	}
	return nil
}

// StoppedBy is the refusal that a stop makes, also of what was before one that was lifted.
// One that is not stored yet has no name.
func StoppedBy(s purser.StopInfo) *purser.Error {
	if s.ID == "" {
		return purser.Errorf(purser.Stopped, "%s %s is being stopped", s.Scope, s.Target).WithHint("a person can lift it, once it is in force: purser resume")
	}
	if s.LiftedAt != nil {
		return purser.Errorf(purser.Stopped, "a stop of %s %s came, and was lifted since: %s", s.Scope, s.Target, s.Reason).
			WithHint("what was before a stop is not revived: make a new plan")
	}
	return purser.Errorf(purser.Stopped, "%s %s is stopped: %s", s.Scope, s.Target, s.Reason).
		WithHint("a person can lift it: purser resume %s", s.ID)
}

// Covered reports whether a stop of this scope and target covers the path.
func (p Path) Covered(scope, target string) bool {
	switch scope {
	case "organization":
		return target == p.Organization
	case "project":
		return target == p.Project
	case "provider":
		return target == p.Provider
	case "agent":
		return target == p.Agent && target != ""
	case "run":
		return target == p.Run && target != ""
	}
	return true // an unknown scope stops everything rather than nothing
}

// Clock refuses spends while the clocks disagree by more than Most (RULES 19), or while
// the zone in which budgets' days and months begin cannot be read.
type Clock struct{ Most time.Duration }

func (c Clock) Forbids(sp Spend) *purser.Error {
	if sp.NoZone != nil {
		return sp.NoZone
	}
	if sp.Skew.Abs() > c.Most {
		return purser.Errorf(purser.ClockUnsafe, "this machine's clock and the database's differ by %v", sp.Skew.Round(time.Second)).
			WithHint("set the clocks (NTP), then try again")
	}
	return nil
}

// OpenRun refuses what belongs to a run that is over.
type OpenRun struct{}

func (OpenRun) Forbids(sp Spend) *purser.Error {
	switch {
	case sp.Run == nil:
		return nil
	case sp.Run.Ended:
		return purser.Errorf(purser.RunEnded, "run %s has ended", sp.Run.ID).WithHint("purser run create --budget 20")
	case !sp.Now.Before(sp.Run.ExpiresAt):
		return purser.Errorf(purser.RunEnded, "run %s expired at %s", sp.Run.ID, sp.Run.ExpiresAt.Format(time.RFC3339)).
			WithHint("purser run extend %s --expires 2h", sp.Run.ID)
	}
	return nil
}

// AllowedProvider refuses providers that the run does not name.
type AllowedProvider struct{}

func (AllowedProvider) Forbids(sp Spend) *purser.Error {
	if sp.Run == nil || len(sp.Run.Providers) == 0 {
		return nil
	}
	for _, p := range sp.Run.Providers {
		if p == sp.Provider {
			return nil
		}
	}
	return purser.Errorf(purser.Forbidden, "run %s may buy from %s, not from %s", sp.Run.ID, strings.Join(sp.Run.Providers, ", "), sp.Provider)
}

// Budgeted refuses a currency for which no budget on the way has a limit: no
// matching row never means unlimited (RULES 6).
type Budgeted struct{}

func (Budgeted) Forbids(sp Spend) *purser.Error {
	if sp.Amount.IsZero() {
		return nil
	}
	for _, b := range sp.Budgets {
		// A run is bounded by its own budget, so one in another currency is none.
		if b.Limit.Currency == sp.Amount.Currency && (sp.Run == nil || b.Scope == "run") {
			return nil
		}
	}
	if sp.Run == nil {
		return purser.Errorf(purser.CurrencyNotBudgeted, "no budget that covers this is in %s", sp.Amount.Currency).
			WithHint("a person can set one: purser budget set provider %s --limit \"20 %s\"", Word(sp.Provider), sp.Amount.Currency)
	}
	return purser.Errorf(purser.CurrencyNotBudgeted, "run %s has no budget in %s, whatever else has one", sp.Run.ID, sp.Amount.Currency).
		WithHint("a person can give it one: purser budget set run %s --limit \"20 %s\"", sp.Run.ID, sp.Amount.Currency)
}

// Budgets refuses what would leave any covering budget above its limit. Every
// one that fails is listed with what is left of it (RULES 5).
type Budgets struct{}

func (Budgets) Forbids(sp Spend) *purser.Error {
	if sp.Amount.Amount < 0 {
		return purser.Errorf(purser.InvalidRequest, "an amount of %s cannot be spent", sp.Amount)
	}
	if sp.Amount.IsZero() {
		return nil
	}
	var failed []purser.BudgetLine
	for _, b := range sp.Budgets {
		if b.Limit.Currency == sp.Amount.Currency && !b.Fits(sp.Amount.Amount) {
			line := b.BudgetLine
			line.Needed = sp.Amount.Amount
			failed = append(failed, line)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	least := failed[0]
	for _, f := range failed[1:] {
		if f.Left < least.Left {
			least = f
		}
	}
	err := purser.Errorf(purser.BudgetExceeded, "%s is needed and %s is left of %s",
		sp.Amount, purser.Money{Amount: least.Left, Currency: least.Limit.Currency}, Named(least))
	err.Budgets = failed
	return err.WithHint("%s", Raising(failed, Raise))
}

// Raising says how a person raises every limit that refused: one of several raised alone
// would be signed for nothing. raise is what raises one.
func Raising(failed []purser.BudgetLine, raise func(purser.BudgetLine) string) string {
	if len(failed) == 1 {
		return "a person can raise it: " + raise(failed[0])
	}
	var all []string
	for _, b := range failed {
		all = append(all, raise(b))
	}
	return fmt.Sprintf("a person can raise all %d: %s", len(failed), strings.Join(all, "; "))
}

// Named is what a budget is called in a sentence. A run's own period is its life.
func Named(b purser.BudgetLine) string {
	period := b.Period + " "
	if b.Period == purser.PeriodRun {
		period = ""
	}
	return fmt.Sprintf("the %s's %sbudget of %s", b.Scope, period, b.Limit)
}

// Raise is what raises a limit.
func Raise(b purser.BudgetLine) string {
	command := "purser budget set " + b.Scope
	if b.Scope != purser.ScopeOrganization {
		command += " " + Word(b.ID)
	}
	if b.Period != "" && b.Period != purser.PeriodRun {
		command += " --period " + b.Period
	}
	if c := b.Limit.Currency; c != "" && c != "USD" { // which the command line takes an amount for
		return command + fmt.Sprintf(" --limit %q", "AMOUNT "+c)
	}
	return command + " --limit AMOUNT"
}

// Fits reports whether an amount more stays within the limit, without overflow.
func (b Budget) Fits(amount int64) bool {
	use, ok := purser.Sum(b.Held, b.Captured, -b.Refunded, amount)
	return ok && use <= b.Limit.Amount
}

// Pace refuses more orders in an hour than Most, unless a person signed for it.
type Pace struct{ Most int }

func (p Pace) Forbids(sp Spend) *purser.Error {
	if !sp.Order || sp.Meant || sp.Amount.IsZero() {
		return nil
	}
	paid := 0
	for _, r := range sp.Recent {
		if r.Amount > 0 {
			paid++
		}
	}
	if paid < p.Most {
		return nil
	}
	return purser.Errorf(purser.TooManyOrders, "the agent has made %d paid orders within an hour; its limit is %d", paid, p.Most).
		WithHint("wait, or %s", meant(sp))
}

// Repeat refuses to order the same thing for the same amount again within the
// window, unless a person said that it is meant (RULES 9).
type Repeat struct{ Within time.Duration }

func (g Repeat) Forbids(sp Spend) *purser.Error {
	if !sp.Order || sp.Meant || sp.Amount.IsZero() {
		return nil
	}
	for _, r := range sp.Recent {
		if r.SameRun && r.Target == sp.Target && r.Amount == sp.Amount.Amount && !r.Failed && sp.Now.Sub(r.At) < g.Within {
			return purser.Errorf(purser.LooksLikeDuplicate, "the same thing was ordered in this run at %s", r.At.Format(time.RFC3339)).
				WithHint("if it is meant, %s", meant(sp))
		}
	}
	return nil
}

// Burst refuses to buy from one more provider when within an hour the agent bought
// from Most that the organization had never bought from, unless a person signed for
// it (CONTROLS, defaults).
type Burst struct{ Most int }

func (b Burst) Forbids(sp Spend) *purser.Error {
	if !sp.Order || sp.Meant || sp.Amount.IsZero() || !sp.New || slices.Contains(sp.NewSince, sp.Provider) || len(sp.NewSince) < b.Most {
		return nil
	}
	return purser.Errorf(purser.TooManyOrders, "%s would be new, and within an hour the agent bought for the first time from %s", sp.Provider, strings.Join(sp.NewSince, ", ")).
		WithHint("wait, or %s", meant(sp))
}

// meant is how a person says that an order is meant. One of a plan is known by a digest,
// and marked in the plan; any other by its own words, which an agent chose: they are
// quoted, so that a shell takes them as they are. A provider's name has nothing to quote.
func meant(sp Spend) string {
	if sp.Run == nil || strings.HasPrefix(sp.Target, "sha256:") {
		return "have a person approve a plan that is marked as meant: purser add SERVICE --again, or meant: true in a plan's file"
	}
	return fmt.Sprintf("have a person sign for it: purser hold allow-repeat %s --provider %s --order %s --amount \"%s\"", sp.Run.ID, sp.Provider, shellWord(sp.Target), sp.Amount)
}

// Word is a name in a command: as it is, where a shell takes it so.
func Word(name string) string {
	if plain.MatchString(name) {
		return name
	}
	return shellWord(name)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+][A-Za-z0-9_./:@%+=-]*$`)

// shellWord is a text that a POSIX shell takes as one word.
func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// Breaker pauses a run after Most failures of the same order in a row, within the hour:
// nothing else is ordered in it either, unless a person signed for that (CONTROLS, drill
// l). Failures of an order without money hold back that order only.
type Breaker struct{ Most int }

func (g Breaker) Forbids(sp Spend) *purser.Error {
	if !sp.Order || sp.Meant {
		return nil
	}
	failures, paid := map[string]int{}, map[string]bool{}
	for _, r := range sp.Recent {
		if !r.SameRun || r.Amount == 0 && r.Target != sp.Target {
			continue
		}
		if failures[r.Target]++; !r.Failed {
			delete(failures, r.Target)
		}
		paid[r.Target] = paid[r.Target] || r.Amount > 0
	}
	most, then := 0, "it is held back"
	for target, n := range failures {
		if most = max(most, n); n >= g.Most && paid[target] {
			then = "the run is paused"
		}
	}
	if most < g.Most {
		return nil
	}
	return purser.Errorf(purser.TooManyOrders, "the same order failed %d times in a row within an hour; %s", most, then).
		WithHint("find out why before trying again; then wait, or %s", meant(sp))
}
