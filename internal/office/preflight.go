package office

import (
	"context"
	"fmt"
	"slices"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

func digestOf(terms purser.PlanTerms) (string, error) { return canonical.Digest(terms) }

// preflight asks the guards about the whole plan, as if all of it were spent at
// once. Each order is decided again when it is placed.
func (d *draft) preflight(ctx context.Context) error {
	var err error
	if d.labels, err = d.o.labelsOf(ctx, d.q, d.by.Organization, d.terms.Project, d.run.ID); err != nil {
		return err
	}
	lines, err := d.o.lines(ctx, d.q, d.by.Organization)
	if err != nil {
		return err
	}
	stops, err := d.o.stopsFor(ctx, d.q, d.by.Organization)
	if err != nil {
		return err
	}
	lines = d.withDefaults(lines)
	run, err := guardRun(d.run)
	if err != nil {
		return err
	}
	reported := map[purser.Code]bool{}
	report := func(err *purser.Error) {
		if err != nil && (err.Code != purser.Stopped || !reported[err.Code]) {
			reported[err.Code] = true
			d.block(0, err)
		}
	}
	for _, provider := range d.providers() {
		path := guardPath(d.run, provider)
		path.Organization, path.Project = d.by.Organization, d.terms.Project
		sp := guard.Spend{Now: d.o.Now(), Provider: provider, Stops: stops, Path: path, Run: run}
		for _, g := range []guard.Guard{guard.Stops{}, guard.OpenRun{}, guard.AllowedProvider{}} {
			report(g.Forbids(sp))
		}
	}
	for _, total := range d.totals.Now {
		if !reported[purser.RunEnded] { // whose budget is among those no more
			report(d.afford(lines, total))
		}
	}
	d.budgets = lines
	recent, err := d.o.lately(ctx, d.q, d.by.Organization, d.run, d.o.Now())
	if err != nil {
		return err
	}
	d.tooFast, err = d.o.tooFast(ctx, recent, d.terms.Steps)
	return err
}

func (d *draft) providers() []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range d.terms.Steps {
		if !seen[s.Provider] {
			names = append(names, s.Provider)
		}
		seen[s.Provider] = true
	}
	return names
}

// withDefaults keeps the budgets that cover the plan, and adds those that will be
// opened with it: a provider's default, an implicit run's.
func (d *draft) withDefaults(all []purser.BudgetLine) []purser.BudgetLine {
	out := []purser.BudgetLine{}
	has := map[string]bool{}
	keep := func(b purser.BudgetLine) {
		id := b.Scope + ":" + b.ID + ":" + b.Limit.Currency + ":" + b.Period
		if !has[id] {
			has[id], has[b.Scope+":"+b.ID] = true, true
			out = append(out, b)
		}
	}
	for _, b := range all {
		if b.Scope == "organization" || b.Scope == "project" && b.ID == d.terms.Project || b.Scope == "run" && b.ID == d.run.ID ||
			b.Scope == purser.ScopeLabel && slices.Contains(d.labels, b.ID) {
			keep(b)
		}
		for _, s := range d.terms.Steps {
			if b.Scope == "provider" && b.ID == s.Provider || b.Scope == "category" && b.ID == s.Category {
				keep(b)
			}
		}
	}
	for _, name := range d.providers() {
		if limit := d.o.Defaults.ProviderMonth; !has["provider:"+name] {
			keep(purser.BudgetLine{Scope: "provider", ID: name, Name: name, Period: purser.PeriodMonth, Limit: limit, Left: limit.Amount})
		}
	}
	if limit := d.o.Defaults.RunBudget; d.run.ID == "" {
		keep(purser.BudgetLine{Scope: "run", ID: "", Name: "your own work", Period: purser.PeriodRun, Limit: limit, Left: limit.Amount})
	}
	return out
}

// afford holds a plan's total against each budget that covers part of it.
func (d *draft) afford(lines []purser.BudgetLine, total purser.Money) *purser.Error {
	if total.IsZero() {
		return nil
	}
	var covering []guard.Budget
	for _, b := range lines {
		if b.Limit.Currency != total.Currency {
			continue
		}
		need := d.need(b, total.Currency)
		left := b.Left
		b.Limit.Amount = left - need + total.Amount // what the guard sees fits exactly when need <= left
		b.Held, b.Captured, b.Refunded = 0, 0, 0
		covering = append(covering, guard.Budget{BudgetLine: b})
	}
	sp := guard.Spend{Amount: total, Budgets: covering, Run: &guard.Run{ID: d.run.ID}}
	if err := (guard.Budgeted{}).Forbids(sp); err != nil {
		return err
	}
	refused := (guard.Budgets{}).Forbids(sp)
	if refused == nil {
		return nil
	}
	return d.explainBudgets(lines, refused, total)
}

// need is the part of the plan that falls under a budget.
func (d *draft) need(b purser.BudgetLine, currency string) int64 {
	total := sums{}
	for _, s := range d.terms.Steps {
		outside := b.Scope == "provider" && b.ID != s.Provider || b.Scope == "category" && b.ID != s.Category
		if s.Price.Currency == currency && !outside {
			total.add(currency, s.Price.Now)
		}
	}
	return total[currency]
}

// explainBudgets lists the budgets that the plan as a whole would exceed, as they are.
func (d *draft) explainBudgets(lines []purser.BudgetLine, refused *purser.Error, total purser.Money) *purser.Error {
	var failed []purser.BudgetLine
	for _, b := range lines {
		for _, r := range refused.Budgets {
			if r.Scope == b.Scope && r.ID == b.ID && r.Period == b.Period && r.Limit.Currency == b.Limit.Currency {
				b.Needed = d.need(b, total.Currency)
				failed = append(failed, b)
			}
		}
	}
	least := failed[0]
	for _, f := range failed[1:] {
		if f.Left < least.Left {
			least = f
		}
	}
	err := purser.Errorf(purser.BudgetExceeded, "the plan needs %s and %s is left of %s",
		purser.Money{Amount: least.Needed, Currency: total.Currency}, purser.Money{Amount: least.Left, Currency: total.Currency}, guard.Named(least))
	err.Budgets = failed
	own := d.run.Currency == "" || d.run.Currency == total.Currency
	return err.WithHint("%s", guard.Raising(failed, func(b purser.BudgetLine) string {
		if own && b.Scope == purser.ScopeRun && b.Period == purser.PeriodRun {
			enough := purser.Money{Amount: b.Limit.Amount + b.Needed - b.Left, Currency: total.Currency}
			return fmt.Sprintf("purser run extend %s --budget %q", orName(b.ID, "RUN"), enough.String())
		}
		return guard.Raise(b)
	}))
}

func perMonth(amount int64, currency, interval string) int64 {
	m, ok := catalog.Monthly(purser.Money{Amount: amount, Currency: currency}, interval)
	if !ok {
		return amount
	}
	return m.Amount
}

func guardRun(run db.Run) (*guard.Run, error) {
	if run.ID == "" {
		return nil, nil
	}
	providers, err := fromJSON[[]string](run.Providers)
	return &guard.Run{ID: run.ID, ExpiresAt: store.Time(run.ExpiresAt), Ended: run.EndedAt != 0, Providers: providers}, err
}

func guardPath(run db.Run, provider string) guard.Path {
	return guard.Path{Organization: run.Organization, Project: run.Project, Provider: provider, Agent: run.Agent, Run: run.ID}
}

func pathOf(by purser.Actor) guard.Path {
	p := guard.Path{Organization: by.Organization, Project: by.Project, Run: by.Run}
	if by.Kind == purser.Agent {
		p.Agent = by.ID
	}
	return p
}

func stoppedBy(s purser.StopInfo) *purser.Error { return guard.StoppedBy(s) }
