package office

import (
	"context"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/consent"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Approve is a person's yes to exactly one plan digest: a signature that the
// server can check and cannot make.
func (o *Office) Approve(ctx context.Context, by purser.Actor, in purser.Approve) (purser.Plan, error) {
	return once(ctx, o, by, audit.ActionApprove, in, func(t *store.Turn) (purser.Plan, error) {
		plan, err := o.decidable(ctx, t, in.Plan)
		if err != nil {
			return purser.Plan{}, err
		}
		terms, err := fromJSON[purser.PlanTerms](plan.Terms)
		if err != nil {
			return purser.Plan{}, err
		}
		two, err := o.twoNeeded(ctx, t.Queries, t.Org, terms)
		if err == nil && two {
			err = o.mayVote(ctx, t, by, plan)
		}
		var signed *audit.Attachment
		if err == nil {
			signed, err = o.consume(ctx, t, by, "approve", in.Act, func(d act.Document) bool {
				return d.PlanDigest == plan.Digest && d.Decision == act.Approve && consent.SameCeiling(d.Ceiling, consent.Ceiling(terms))
			})
		}
		if err != nil {
			return purser.Plan{}, o.refuseAct(t, by, audit.ActionApprove, plan.ID, err)
		}
		if err := o.planStopped(ctx, t, plan); err != nil {
			return purser.Plan{}, err
		}
		yes := decision{word: "approved", state: purser.PlanReady, action: audit.ActionApprove, signed: signed, method: in.Act.Method}
		if two {
			return o.vote(ctx, t, by, plan, yes)
		}
		return o.decide(ctx, t, by, plan, yes)
	})
}

// Deny is a person's no. It loosens nothing, so it needs no signature.
func (o *Office) Deny(ctx context.Context, by purser.Actor, in purser.Deny) (purser.Plan, error) {
	return once(ctx, o, by, audit.ActionDeny, in, func(t *store.Turn) (purser.Plan, error) {
		plan, err := o.decidable(ctx, t, in.Plan)
		if err != nil {
			return purser.Plan{}, err
		}
		return o.decide(ctx, t, by, plan, decision{word: "denied", state: purser.PlanIsDenied, action: audit.ActionDeny, reason: catalog.Plain(in.Reason, 500)})
	})
}

// decidable loads a plan that waits for a person.
func (o *Office) decidable(ctx context.Context, t *store.Turn, id string) (db.Plan, error) {
	plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: id})
	if err != nil {
		return plan, notFound(err, "plan", id)
	}
	if waits(plan) {
		void, err := o.planVoid(ctx, t.Queries, plan)
		if err != nil {
			return plan, err
		}
		if void != nil {
			plan.State = string(purser.PlanVoid)
		}
	}
	if !waits(plan) && purser.PlanState(plan.State) != purser.PlanIsExpired {
		return plan, purser.Errorf(purser.InvalidState, "the plan is %s and waits for nobody", plan.State).WithHint("make a new plan")
	}
	if !waits(plan) || store.Micro(t.Now) >= plan.ExpiresAt {
		return plan, purser.Errorf(purser.PlanExpired, "the plan waited until %s", store.Time(plan.ExpiresAt)).WithHint("make a new plan")
	}
	return plan, nil
}

type decision struct {
	word, action, reason, method string
	state                        purser.PlanState
	signed                       *audit.Attachment
	detail                       map[string]string
}

func (o *Office) decide(ctx context.Context, t *store.Turn, by purser.Actor, plan db.Plan, d decision) (purser.Plan, error) {
	id, err := o.newID(purser.PrefixApproval)
	if err != nil {
		return purser.Plan{}, err
	}
	r := recordOf(by, d.action, plan.ID)
	r.Project, r.Env, r.Run, r.PlanDigest, r.Approval, r.Attach = plan.Project, plan.Env, plan.Run, plan.Digest, id, d.signed
	r.Detail = d.detail
	if d.reason != "" {
		r.Detail = map[string]string{"reason": d.reason}
	}
	t.Record(r)
	err = t.InsertApproval(ctx, db.InsertApprovalParams{
		Organization: t.Org, ID: id, Plan: plan.ID, Decision: d.word, Approver: by.ID, Method: d.method, Document: toJSON(documentMap(d.signed)),
		Reason: d.reason, SignedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.Add(o.Defaults.SignTTL)),
	})
	if err != nil {
		return purser.Plan{}, err
	}
	if err := t.SetPlanState(ctx, db.SetPlanStateParams{Organization: t.Org, ID: plan.ID, State: string(d.state)}); err != nil {
		return purser.Plan{}, err
	}
	return o.showPlan(ctx, t.Queries, t.Org, plan.ID)
}

// planStopped refuses a plan of which any provider, the run or anything above it
// is stopped.
func (o *Office) planStopped(ctx context.Context, t *store.Turn, plan db.Plan) error {
	stops, err := o.stopsFor(ctx, t.Queries, t.Org)
	if err != nil || len(stops) == 0 {
		return err
	}
	paths, err := o.planPaths(ctx, t.Queries, plan)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if no := (guard.Stops{}).Forbids(guard.Spend{Stops: stops, Path: path}); no != nil {
			return no
		}
	}
	return nil
}

// planPaths are all that a stop could cover of a plan, one path a provider.
func (o *Office) planPaths(ctx context.Context, q *db.Queries, plan db.Plan) ([]guard.Path, error) {
	run, err := q.Run(ctx, db.RunParams{Organization: plan.Organization, ID: plan.Run})
	if err != nil {
		return nil, notFound(err, "run", plan.Run)
	}
	return pathsOf(run, plan.Terms)
}

func pathsOf(run db.Run, text string) ([]guard.Path, error) {
	terms, err := fromJSON[purser.PlanTerms](text)
	if err != nil {
		return nil, err
	}
	var paths []guard.Path
	for _, s := range terms.Steps {
		paths = append(paths, guardPath(run, s.Provider))
	}
	return paths, nil
}
