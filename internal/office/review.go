package office

import (
	"context"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/review"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// earlierPlans is how many earlier plans of a run are looked at for the last one
// of the same things, and how many later ones.
const earlierPlans = 10

// Review shows a plan with what a person should see before a decision: the
// budgets as they are now, who is behind the run, what differs from the run's
// purpose, and what changed since the last plan of the same things.
func (o *Office) Review(ctx context.Context, by purser.Actor, in purser.PlanRef) (out purser.Review, err error) {
	q := o.Store.Read()
	if out.Plan, err = o.showPlan(ctx, q, by.Organization, in.Plan); err != nil {
		return out, err
	}
	if out.Run, err = o.showRun(ctx, q, by.Organization, out.Plan.Terms.Run, o.Now()); err != nil {
		return out, err
	}
	out.ProjectName = out.Run.ProjectName
	person, err := q.Person(ctx, db.PersonParams{Organization: by.Organization, ID: out.Run.Person})
	if err != nil && !missing(err) {
		return out, err
	}
	out.PersonName = person.Name
	if out.Budgets, err = o.budgetsOf(ctx, q, out.Plan); err != nil {
		return out, err
	}
	purpose := out.Run.Purpose
	if out.Run.Agent == "" { // a person's own run has no purpose but that of the plan
		purpose = out.Plan.Terms.Purpose
	}
	out.Differences = review.Compare(purpose, out.Plan.Terms.Steps, out.Plan.Totals)
	if out.Differences == nil {
		out.Differences = []purser.Difference{}
	}
	if err := o.sincePrevious(ctx, q, by.Organization, &out); err != nil {
		return out, err
	}
	out.Newer, err = o.newer(ctx, q, by.Organization, out.Plan)
	return out, err
}

// newer finds the newest plan of a run that was made of the same things after one
// that waits. Both can be signed, because each is what its page shows (RULES 13); a
// person should know that the agent has gone on.
func (o *Office) newer(ctx context.Context, q *db.Queries, org string, p purser.Plan) (string, error) {
	if p.State != purser.PlanWaiting {
		return "", nil
	}
	rows, err := q.LaterPlansOfRun(ctx, db.LaterPlansOfRunParams{Organization: org, Run: p.Terms.Run, After: p.ID, RowLimit: earlierPlans})
	if err != nil {
		return "", err
	}
	for _, row := range rows {
		terms, err := fromJSON[purser.PlanTerms](row.Terms)
		if err != nil {
			return "", err
		}
		waits := purser.PlanState(row.State) == purser.PlanWaiting || purser.PlanState(row.State) == purser.PlanReady
		if over := waits && store.Micro(o.Now()) >= row.ExpiresAt; !over && review.Related(p.Terms, terms) {
			return row.ID, nil
		}
	}
	return "", nil
}

// budgetsOf are the budgets that cover a plan as they stand, with what the plan
// takes of each. One that will be opened with the plan stands as it was planned.
func (o *Office) budgetsOf(ctx context.Context, q *db.Queries, p purser.Plan) ([]purser.BudgetLine, error) {
	now, err := o.lines(ctx, q, p.Terms.Organization)
	if err != nil {
		return nil, err
	}
	type key struct{ scope, id, currency, period string }
	of := func(b purser.BudgetLine) key { return key{b.Scope, b.ID, b.Limit.Currency, b.Period} }
	current := map[key]purser.BudgetLine{}
	for _, b := range now {
		current[of(b)] = b
	}
	out := []purser.BudgetLine{}
	for _, b := range p.Budgets {
		if c, ok := current[of(b)]; ok {
			b = c
		}
		b.Needed = 0
		for _, s := range p.Terms.Steps {
			if s.Price.Currency == b.Limit.Currency && stepWithin(s, b) {
				b.Needed = capped(b.Needed, s.Price.Now)
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// stepWithin reports whether a budget that covers a plan covers this step of it.
func stepWithin(s purser.PlanStep, b purser.BudgetLine) bool {
	switch b.Scope {
	case "provider":
		return b.ID == s.Provider
	case "category":
		return b.ID == s.Category
	}
	return true
}

// sincePrevious compares a plan with the last one of the same things in its run.
func (o *Office) sincePrevious(ctx context.Context, q *db.Queries, org string, out *purser.Review) error {
	out.Changes = []purser.Change{}
	rows, err := q.EarlierPlansOfRun(ctx, db.EarlierPlansOfRunParams{Organization: org, Run: out.Run.ID, Before: out.Plan.ID, RowLimit: earlierPlans})
	if err != nil {
		return err
	}
	for _, row := range rows {
		terms, err := fromJSON[purser.PlanTerms](row.Terms)
		if err != nil {
			return err
		}
		if review.Related(terms, out.Plan.Terms) {
			out.Previous, out.Changes = row.ID, review.Changes(terms, out.Plan.Terms)
			return nil
		}
	}
	return nil
}
