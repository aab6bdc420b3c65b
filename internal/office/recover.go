package office

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Recover goes on with what a crash or a lost answer left unfinished: plans that
// are being applied, revocations after a stop. It runs the normal code again; at
// start and on a timer.
func (o *Office) Recover(ctx context.Context) error {
	orgs, err := o.Store.Read().UnsettledOrganizations(ctx)
	if err != nil {
		return err
	}
	return eachOrganization(ctx, orgs, func(org string) error {
		pending, err := o.Store.Read().PendingStopEffects(ctx, org)
		if err != nil {
			return err
		}
		for _, e := range pending {
			o.revokeOne(ctx, org, e)
		}
		plans, err := o.Store.Read().PlansInState(ctx, db.PlansInStateParams{Organization: org, State: string(purser.PlanApplying), RowLimit: 1000})
		if err != nil {
			return err
		}
		for _, p := range plans {
			o.walk(org, p.ID)
		}
		return errors.Join(o.lookUpLost(ctx, org), o.rotations(ctx, org))
	})
}

// lookUpLost asks again about orders whose plan has ended but whose outcome is
// still unknown: what was bought must be found even then.
func (o *Office) lookUpLost(ctx context.Context, org string) error {
	orders, err := o.Store.Read().UnsettledOrders(ctx, org)
	if err != nil {
		return err
	}
	for _, order := range orders {
		plan, err := o.Store.Read().Plan(ctx, db.PlanParams{Organization: org, ID: order.Plan})
		if err != nil {
			return err
		}
		if purser.PlanState(plan.State) == purser.PlanApplying {
			continue // its walk does it
		}
		terms, err := fromJSON[purser.PlanTerms](plan.Terms)
		if err != nil {
			return err
		}
		step := terms.Steps[order.Step-1]
		if purser.OrderState(order.State) != purser.OrderUnknown || !buys(step) {
			err = o.turn(ctx, org, func(t *store.Turn) error { return o.abandon(ctx, t, plan, step, order.ID) })
		} else if o.dueToLook(order) {
			if order, err = o.lookUp(ctx, plan, step, order); purser.OrderState(order.State) != purser.OrderUnknown {
				o.looked.Delete(order.ID)
			}
		}
		if err != nil && purser.CodeOf(err) == purser.Internal {
			return err
		}
	}
	return nil
}

// A provider is asked often for what is young, and then hourly for as long as it
// takes (APP 17.3).
const (
	lookOften  = 15 * time.Minute
	lookSeldom = time.Hour
)

// dueToLook reports that it is time to ask about an order again. A server that starts
// anew asks once at once.
func (o *Office) dueToLook(order db.Order) bool {
	now := o.Now()
	if now.Sub(store.Time(order.CreatedAt)) < lookOften {
		return true
	}
	if last, ok := o.looked.Load(order.ID); ok && now.Sub(last.(time.Time)) < lookSeldom {
		return false
	}
	o.looked.Store(order.ID, now)
	return true
}

// abandon ends what an ended plan left behind and nobody can have paid for: an
// order that never began, an unfinished link or deployment. A purchase whose call
// was out, or that was charged, becomes unknown.
func (o *Office) abandon(ctx context.Context, t *store.Turn, plan db.Plan, step purser.PlanStep, id string) error {
	order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id})
	if err != nil {
		return err
	}
	state := purser.OrderState(order.State)
	r := orderRecord("abandon", plan, step, id)
	over := purser.Errorf(purser.PlanExpired, "the plan had ended").WithHint("make a new plan")
	switch {
	case leased(t, order):
		return nil
	case state == purser.OrderLive || state == purser.OrderFailed || state == purser.OrderRemoved:
		return nil
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
	if err != nil {
		return err
	}
	if state == purser.OrderBuying && buys(step) || charged(h) {
		return o.settleUnknown(ctx, t, order, r, doubt(order, h, over))
	}
	seq, err := o.recordClose(ctx, t, &r, order.Hold)
	if err != nil {
		return err
	}
	if err := o.close(ctx, t, seq, order.Hold, rail.Revoked); err != nil {
		return err
	}
	return t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: id, State: string(purser.OrderFailed), Resource: order.Resource, Error: toJSON(over), UpdatedAt: store.Micro(t.Now),
	})
}

// Due does what time brings: requests that nobody decided, renewals, the count of
// failed sign-ins. It asks no provider.
func (o *Office) Due(ctx context.Context) error {
	now := o.Now()
	orgs, err := o.Store.Read().DueOrganizations(ctx, db.DueOrganizationsParams{
		Now: store.Micro(now), Ending: store.Micro(now.Add(max(0, o.Defaults.Reminder))), Renewals: store.Micro(now.Add(renewalNotice)),
	})
	if err != nil {
		return err
	}
	return errors.Join(o.recordFailures(ctx), o.tellLocks(ctx), eachOrganization(ctx, orgs, func(org string) error {
		return errors.Join(o.overdue(ctx, org), o.expirePlans(ctx, org), o.remind(ctx, org), o.renewals(ctx, org))
	}))
}

// Errands does what nobody waits for: resources whose grace is over, holds of runs that
// were ended, what stays unknown, old catalogs, old notices. It is called each minute or
// so, which is how often a provider that fails is asked again.
func (o *Office) Errands(ctx context.Context) error {
	return errors.Join(o.eachOrganization(ctx, func(org string) error {
		return errors.Join(o.removals(ctx, org), o.overdue(ctx, org))
	}), o.alarm(ctx), o.refreshCatalogs(ctx), o.prune(ctx))
}

func (o *Office) eachOrganization(ctx context.Context, f func(org string) error) error {
	all, err := o.organizations(ctx)
	if err != nil {
		return err
	}
	ids := make([]string, len(all))
	for i, org := range all {
		ids[i] = org.ID
	}
	return eachOrganization(ctx, ids, f)
}

func eachOrganization(ctx context.Context, orgs []string, f func(org string) error) error {
	var all error
	for _, org := range orgs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f(org); err != nil {
			all = errors.Join(all, fmt.Errorf("organization %s: %w", org, err))
		}
	}
	return all
}

// One turn ends a few of the plans that waited too long (RULES 20), and one look at the
// clock some turns' worth: no other organization waits for more.
const (
	expireMost  = 8
	expireTurns = 25
)

// expirePlans ends requests that waited too long: silence is a no (RULES 12).
func (o *Office) expirePlans(ctx context.Context, org string) error {
	for range expireTurns {
		ids, err := o.Store.Read().PlansToExpire(ctx, db.PlansToExpireParams{Organization: org, Now: store.Micro(o.Now()), RowLimit: expireMost})
		if err != nil || len(ids) == 0 {
			return err
		}
		err = o.turn(ctx, org, func(t *store.Turn) error {
			for _, id := range ids {
				if err := o.expirePlan(ctx, t, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(ids) < expireMost {
			return err
		}
	}
	return nil
}

func (o *Office) expirePlan(ctx context.Context, t *store.Turn, id string) error {
	plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: id})
	if err != nil {
		return err
	}
	unanswered := purser.PlanState(plan.State) == purser.PlanWaiting
	if !unanswered && purser.PlanState(plan.State) != purser.PlanReady || store.Micro(t.Now) < plan.ExpiresAt {
		return nil // it was decided or begun meanwhile
	}
	err = t.SetPlanState(ctx, db.SetPlanStateParams{Organization: t.Org, ID: id, State: string(purser.PlanIsExpired), Error: plan.Error})
	if err != nil {
		return err
	}
	r := recordOf(system, "expire_plan", id)
	r.Project, r.Env, r.Run, r.PlanDigest = plan.Project, plan.Env, plan.Run, plan.Digest // so that whoever watches the run hears of it
	t.Record(r)
	if !unanswered {
		return nil
	}
	return o.tellPlan(ctx, t, id, notice.Expired)
}

// endLeases makes every call that an earlier process of this database was in
// count as over. It is done only where there can be no other process: SQLite.
func (o *Office) endLeases(ctx context.Context) error {
	return o.eachOrganization(ctx, func(org string) error {
		return o.turn(ctx, org, func(t *store.Turn) error {
			if _, err := t.EndLeases(ctx, org); err != nil {
				return err
			}
			_, err := t.EndRenewals(ctx, org)
			return err
		})
	})
}

// Resolve is a person's word on an order that nobody can look up. It needs a
// signature: it may give held money back.
func (o *Office) Resolve(ctx context.Context, by purser.Actor, in purser.Resolve) (purser.Order, error) {
	outcome := purser.OrderState(in.Outcome)
	if outcome != purser.OrderFailed && (outcome != purser.OrderLive || in.Found == "") {
		return purser.Order{}, purser.Errorf(purser.InvalidRequest, "say failed when the provider has nothing, or live with the exact identifier that it has there").
			WithHint("purser resolve %s --outcome failed, or --outcome live --found ID", in.Order)
	}
	b, found, err := o.resolving(ctx, by, in)
	if err != nil {
		return purser.Order{}, err
	}
	return once(ctx, o, by, "resolve", in, func(t *store.Turn) (purser.Order, error) {
		signed, err := o.signed(ctx, t, by, "resolve", in, in.Act)
		if err != nil {
			return purser.Order{}, o.refuseAct(t, by, "resolve", in.Order, err)
		}
		order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: in.Order})
		if err != nil {
			return purser.Order{}, notFound(err, "order", in.Order)
		}
		if purser.OrderState(order.State) != purser.OrderUnknown {
			return purser.Order{}, purser.Errorf(purser.InvalidState, "the order is %s, not unknown", order.State)
		}
		r := recordOf(by, "resolve", order.ID)
		r.Project, r.Run, r.Attach, r.Detail = order.Project, order.Run, signed, map[string]string{"outcome": in.Outcome}
		t.Record(r)
		b.order = order
		if outcome == purser.OrderLive {
			if err := o.unheld(ctx, t, order.Provider, in.Found); err != nil {
				return purser.Order{}, err
			}
			err = o.settleLive(ctx, t, b, found)
		} else {
			err = o.settleFailed(ctx, t, b, sold{}, purser.Errorf(purser.ProviderFailure, "a person said that nothing came of it"))
		}
		if err != nil {
			return purser.Order{}, err
		}
		if order, err = t.Order(ctx, db.OrderParams{Organization: t.Org, ID: order.ID}); err != nil {
			return purser.Order{}, err
		}
		shown, err := o.showOrders(ctx, t.Queries, []db.Order{order})
		if err != nil {
			return purser.Order{}, err
		}
		return shown[0], nil
	})
}

// resolving reads back what a person says is there; their word alone opens nothing.
func (o *Office) resolving(ctx context.Context, by purser.Actor, in purser.Resolve) (b begun, found sold, err error) {
	q := o.Store.Read()
	order, err := q.Order(ctx, db.OrderParams{Organization: by.Organization, ID: in.Order})
	if err != nil {
		return b, found, notFound(err, "order", in.Order)
	}
	plan, err := q.Plan(ctx, db.PlanParams{Organization: by.Organization, ID: order.Plan})
	if err != nil {
		return b, found, err
	}
	terms, err := fromJSON[purser.PlanTerms](plan.Terms)
	if err != nil {
		return b, found, err
	}
	b = begun{order: order, plan: plan, step: terms.Steps[order.Step-1]}
	if in.Found == "" {
		return b, found, nil
	}
	if b.step.Kind != purser.ServiceStep {
		return b, found, purser.Errorf(purser.InvalidState, "order %s did not buy a resource", order.ID)
	}
	p, err := o.provider(ctx, q, order.Provider)
	if err != nil {
		return b, found, err
	}
	connection, access, err := o.access(ctx, by.Organization, &p)
	if err != nil {
		return b, found, err
	}
	found = sold{connect: connection.ID}
	if found.resource, err = o.Seller.Get(ctx, p, access, in.Found); err == nil {
		var no *purser.Error
		if err = check(b, found.resource); asCoded(err, &no) && no.Hint == "" {
			err = no.WithHint("where that is not what was bought, or is not finished any more: purser resolve %s --outcome failed", order.ID)
		}
	}
	found.resource.ID = in.Found // which an answer need not repeat
	return b, found, err
}
