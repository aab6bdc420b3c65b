package office

import (
	"context"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// LowerCeiling answers "yes, but not that much": a new plan with less for a step
// that a person's ceiling bounds, to be shown and then signed (RULES 11). The old
// one is denied, and whoever waits for it is told of the new one.
func (o *Office) LowerCeiling(ctx context.Context, by purser.Actor, in purser.LowerCeiling) (purser.Plan, error) {
	old, err := o.ShowPlan(ctx, by, purser.PlanRef{Plan: in.Plan})
	if err != nil {
		return purser.Plan{}, err
	}
	request, err := lowered(old.Terms, in)
	if err != nil {
		return purser.Plan{}, err
	}
	if old.State != purser.PlanWaiting {
		if out, done, err := replayed[purser.Plan](ctx, o, by, "lower_ceiling", request); done {
			return out, err // the same request again, after it was done
		}
		return purser.Plan{}, purser.Errorf(purser.InvalidState, "the plan is %s and waits for nobody", old.State).WithHint("make a new plan")
	}
	plan, err := o.makePlan(ctx, by, "lower_ceiling", request)
	if err != nil {
		return purser.Plan{}, err
	}
	reason := "a person lowered the ceiling: apply plan " + plan.ID + " when it is approved"
	err = o.turn(ctx, by.Organization, func(t *store.Turn) error {
		row, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: old.ID})
		if err != nil || purser.PlanState(row.State) != purser.PlanWaiting {
			return err // somebody decided it meanwhile, or this is the same request again
		}
		_, err = o.decide(ctx, t, by, row, decision{word: "denied", state: purser.PlanIsDenied, action: "deny", reason: reason})
		return err
	})
	return plan, err
}

// lowered is a plan's request again, with another ceiling.
func lowered(terms purser.PlanTerms, in purser.LowerCeiling) (purser.MakePlan, error) {
	out := purser.MakePlan{Project: terms.Project, Env: terms.Env, Run: terms.Run, Purpose: terms.Purpose}
	found := 0
	for _, s := range terms.Steps {
		if s.Kind == purser.LinkStep { // planned anew, if the account is still missing
			continue
		}
		step := purser.StepRequest{Service: s.Provider + "/" + s.Service, Name: s.Name, Configuration: s.Configuration, Meant: s.Meant, Resource: s.Resource}
		if s.Deployment != nil {
			step.Manifest = s.Deployment.Manifest
		}
		if s.Price.Ceiling {
			step.Ceiling = &purser.Money{Amount: s.Price.Now, Currency: s.Price.Currency}
		}
		if s.Price.Ceiling && (in.Step == 0 || in.Step == s.N) {
			found++
			if in.Ceiling.Currency != s.Price.Currency || in.Ceiling.Amount <= 0 || in.Ceiling.Amount >= s.Price.Now {
				return out, purser.Errorf(purser.InvalidRequest, "a lower ceiling is above zero and below %s", *step.Ceiling)
			}
			step.Ceiling = &in.Ceiling
		}
		out.Steps = append(out.Steps, step)
	}
	if found != 1 {
		return out, purser.Errorf(purser.InvalidRequest, "%d steps of the plan have a ceiling; name one by its number", found)
	}
	return out, nil
}
