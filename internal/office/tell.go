package office

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// tell writes a notice in the turn of what it tells, so that both are there or
// neither is. What has the mark of an earlier one is told already.
func (o *Office) tell(ctx context.Context, t *store.Turn, n notice.Notice) error {
	id, err := o.newID(purser.PrefixNotice)
	if err != nil {
		return err
	}
	_, err = t.InsertNotice(ctx, db.InsertNoticeParams{
		Organization: t.Org, ID: id, Mark: n.Mark, Kind: string(n.Kind), About: n.About, Subject: catalog.Plain(n.Subject, 300), Facts: toJSON(n.Facts),
		Link: n.Link, Person: n.Person, Project: n.Project, Run: n.Run, CreatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return fmt.Errorf("writing a notice: %w", err)
	}
	return nil
}

// tellCrossed tells of each threshold of a budget that its use passes in this turn:
// line is the budget before, added what is added to its use, in minor units.
func (o *Office) tellCrossed(ctx context.Context, t *store.Turn, line purser.BudgetLine, added int64) error {
	before := line.Held + line.Captured - line.Refunded
	for _, percent := range notice.Crossed(line.Limit.Amount, before, before+added, line.Thresholds) {
		if err := o.tell(ctx, t, notice.Threshold(line, percent, before+added)); err != nil {
			return err
		}
	}
	return nil
}

// tellReached tells of the highest threshold that the use of a budget has reached under a
// limit that was just set: the spends that passed it are over.
func (o *Office) tellReached(ctx context.Context, t *store.Turn, by purser.Actor, line purser.BudgetLine) error {
	use := line.Held + line.Captured - line.Refunded
	reached := notice.Crossed(line.Limit.Amount, -1, use, line.Thresholds)
	if len(reached) == 0 {
		return nil
	}
	told := notice.Threshold
	if by.Kind == purser.Agent {
		told = notice.Lowered
	}
	return o.tell(ctx, t, told(line, reached[len(reached)-1], use))
}

// tellCrossings tells of thresholds of budgets; most batches cross none.
func (o *Office) tellCrossings(ctx context.Context, t *store.Turn, s *spend.State) error {
	for _, c := range s.Crossings() {
		if err := o.tellCrossed(ctx, t, c.Before, c.Added); err != nil {
			return err
		}
	}
	return nil
}

// tellOutcomes tells of runs that are held back, as with orders of plans, and of holds
// of which nobody knows what became; most batches have neither.
func (o *Office) tellOutcomes(ctx context.Context, t *store.Turn, s *spend.State, requests []spend.Request, outcomes []spend.Outcome) error {
	paused := map[string]bool{}
	for i := range outcomes {
		r, out := &requests[i], &outcomes[i]
		switch {
		case out.Seq == 0 || out.Replay: // decided before, or not at all
		case out.Err != nil && out.Err.Code == purser.TooManyOrders && !paused[r.Run]:
			paused[r.Run] = true
			run := purser.Run{ID: r.Run, Project: s.Runs[r.Run].Project}
			n := notice.Paused(run, o.nameOf(ctx, t.Queries, t.Org, r.By), r.Provider+" "+r.Target, out.Err, t.Now)
			if err := o.tell(ctx, t, n); err != nil {
				return err
			}
		case out.Err == nil && r.Op == spend.Expire && out.Hold.State == purser.HoldUnknown:
			h := s.Holds[r.Hold]
			n := notice.UnknownHold(notice.Order{ID: h.ID, Provider: h.Provider, Project: h.Project, Run: h.Run, Held: purser.Money{Amount: h.Left(), Currency: h.Currency}})
			if err := o.tell(ctx, t, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// tellPlan tells something about a plan; words makes the notice of it.
func (o *Office) tellPlan(ctx context.Context, t *store.Turn, id string, words func(plan purser.Plan, agent string) notice.Notice) error {
	plan, err := o.showPlan(ctx, t.Queries, t.Org, id)
	if err != nil {
		return err
	}
	return o.tell(ctx, t, words(plan, o.nameOf(ctx, t.Queries, t.Org, plan.By)))
}

// nameOf is how an actor is shown to people.
func (o *Office) nameOf(ctx context.Context, q *db.Queries, org string, by purser.Actor) string {
	name := by.Name
	if by.Kind == purser.Agent && by.DelegatedBy != "" {
		if p, err := q.Person(ctx, db.PersonParams{Organization: org, ID: by.DelegatedBy}); err == nil {
			return fmt.Sprintf("%s %s, for %s", by.Kind, by.Name, p.Name)
		}
	}
	if name == "" {
		name = by.ID
	}
	return fmt.Sprintf("%s %s", by.Kind, name)
}

// tellOrder tells something about an order.
func (o *Office) tellOrder(ctx context.Context, t *store.Turn, order db.Order, words func(notice.Order) notice.Notice) error {
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
	if err != nil {
		return err
	}
	return o.tell(ctx, t, words(notice.Order{
		ID: order.ID, What: order.What, Provider: order.Provider, Project: order.Project, Run: order.Run,
		Held: purser.Money{Amount: left(h), Currency: h.Currency}, Charged: purser.Money{Amount: h.Captured - h.Refunded, Currency: h.Currency},
	}))
}

// remind tells once of each request that ends soon.
func (o *Office) remind(ctx context.Context, org string) error {
	if o.Defaults.Reminder <= 0 {
		return nil
	}
	now := o.Now()
	plans, err := o.Store.Read().PlansToRemind(ctx, db.PlansToRemindParams{Organization: org, Now: store.Micro(now), Before: store.Micro(now.Add(o.Defaults.Reminder))})
	if err != nil || len(plans) == 0 {
		return err
	}
	return o.turn(ctx, org, func(t *store.Turn) error {
		for _, id := range plans {
			plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: id})
			if err != nil {
				return err
			}
			if purser.PlanState(plan.State) != purser.PlanWaiting {
				continue
			}
			if err := o.tellPlan(ctx, t, id, notice.Reminder); err != nil {
				return err
			}
			r := recordOf(system, "remind", id)
			r.Project, r.Env, r.Run, r.PlanDigest = plan.Project, plan.Env, plan.Run, plan.Digest
			t.Record(r)
		}
		return nil
	})
}

// alarmEvery is how often people are told again of what stays unknown (SPEND.md section 2).
const alarmEvery = 24 * time.Hour

// alarm tells again of each order and hold of which nobody knows, once a day for as long as
// it is so: its money is held, and a person may be all that can end it.
func (o *Office) alarm(ctx context.Context) error {
	before := store.Micro(o.Now().Add(-alarmEvery))
	orders, err := o.Store.Read().OrdersLongUnknown(ctx, before)
	if err != nil {
		return fmt.Errorf("listing orders that stay unknown: %w", err)
	}
	holds, err := o.Store.Read().HoldsLongUnknown(ctx, before)
	if err != nil {
		return fmt.Errorf("listing holds that stay unknown: %w", err)
	}
	var all error
	for _, r := range orders {
		all = errors.Join(all, o.alarmOf(ctx, r.Organization, r.ID, r.Since, o.stillUnknown))
	}
	for _, r := range holds {
		all = errors.Join(all, o.alarmOf(ctx, r.Organization, r.ID, r.Since, o.stillUnknownHold))
	}
	return all
}

// alarmOf tells of one, unless this day's is told; again is its turn.
func (o *Office) alarmOf(ctx context.Context, org, id string, since int64, again func(ctx context.Context, t *store.Turn, id string, days int) error) error {
	days := int(o.Now().Sub(store.Time(since)) / alarmEvery)
	_, err := o.Store.Read().NoticeOfMark(ctx, db.NoticeOfMarkParams{Organization: org, Mark: notice.MarkOfUnknown(id, days)})
	if !missing(err) {
		return err
	}
	return o.turn(ctx, org, func(t *store.Turn) error { return again(ctx, t, id, days) })
}

func (o *Office) stillUnknown(ctx context.Context, t *store.Turn, id string, days int) error {
	order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id})
	if err != nil || purser.OrderState(order.State) != purser.OrderUnknown {
		return err
	}
	return o.tellOrder(ctx, t, order, func(n notice.Order) notice.Notice { return notice.StillUnknown(notice.Unknown(n), days) })
}

func (o *Office) stillUnknownHold(ctx context.Context, t *store.Turn, id string, days int) error {
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: id})
	if err != nil || h.State != purser.HoldUnknown {
		return err
	}
	n := notice.Order{ID: h.ID, Provider: h.Provider, Project: h.Project, Run: h.Run, Held: purser.Money{Amount: left(h), Currency: h.Currency}}
	return o.tell(ctx, t, notice.StillUnknown(notice.UnknownHold(n), days))
}
