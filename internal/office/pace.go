package office

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// newMost is from how many providers an agent may buy for the first time within an
// hour (CONTROLS, defaults).
const newMost = 3

// breaker pauses a run in which the same order fails again and again (CONTROLS, defaults).
var breaker = guard.Breaker{Most: 3}

// lately is what a run, and its agent in other runs, ordered within the last hour, by
// plans and without one: what the guards of pace read.
type lately struct {
	q      *db.Queries
	org    string
	run    db.Run
	now    time.Time
	since  int64 // an hour ago
	orders []guard.Recent
	from   []string        // whom it ordered from for money
	known  map[string]bool // providers that were bought from before that hour
}

func (o *Office) lately(ctx context.Context, q *db.Queries, org string, run db.Run, now time.Time) (*lately, error) {
	l := &lately{q: q, org: org, run: run, now: now, since: store.Micro(now.Add(-time.Hour)), known: map[string]bool{}}
	planned, err := q.RecentOrders(ctx, db.RecentOrdersParams{Organization: org, Run: run.ID, Agent: run.Agent, After: l.since})
	if err != nil {
		return nil, err
	}
	for _, r := range planned {
		l.add(guard.Recent{
			Target: r.Target, Amount: r.Amount, At: store.Time(r.CreatedAt), Failed: purser.OrderState(r.State) == purser.OrderFailed, SameRun: r.Run == run.ID,
		}, r.Provider)
	}
	unplanned, err := q.RecentOrderHolds(ctx, db.RecentOrderHoldsParams{Organization: org, Run: run.ID, Agent: run.Agent, After: l.since})
	if err != nil {
		return nil, err
	}
	for _, h := range unplanned {
		stands := spend.Hold{Captured: h.Captured, State: h.State}
		l.add(guard.Recent{Target: h.Target, Amount: h.Amount, At: store.Time(h.CreatedAt), Failed: stands.Failed(), SameRun: h.Run == run.ID}, h.Provider)
	}
	slices.SortStableFunc(l.orders, func(a, b guard.Recent) int { return a.At.Compare(b.At) })
	return l, nil
}

// paused is why any order of the run would be refused, unless a person means it.
func (l *lately) paused() *purser.Error {
	return breaker.Forbids(guard.Spend{Order: true, Recent: l.orders})
}

// apart is a copy for who adds to it what is not ordered yet.
func (l *lately) apart() *lately {
	c := *l
	c.orders, c.from = slices.Clone(l.orders), slices.Clone(l.from)
	return &c
}

func (l *lately) add(r guard.Recent, provider string) {
	l.orders = append(l.orders, r)
	if r.Amount > 0 && !slices.Contains(l.from, provider) {
		l.from = append(l.from, provider)
	}
}

// tell gives the guards what was ordered. From less than newMost providers there is
// nothing to ask about them.
func (l *lately) tell(ctx context.Context, sp *guard.Spend) error {
	sp.Recent = l.orders
	if sp.Amount.IsZero() || len(l.from) < newMost {
		return nil
	}
	for _, p := range l.from {
		known, err := l.before(ctx, p)
		if err != nil {
			return err
		}
		if !known {
			sp.NewSince = append(sp.NewSince, p)
		}
	}
	known, err := l.before(ctx, sp.Provider)
	sp.New = !known
	return err
}

// before reports whether something was bought from a provider until an hour ago, by a
// plan or without one.
func (l *lately) before(ctx context.Context, provider string) (bool, error) {
	if known, asked := l.known[provider]; asked {
		return known, nil
	}
	n, err := l.q.BoughtBefore(ctx, db.BoughtBeforeParams{Organization: l.org, Provider: provider, Until: l.since})
	if err == nil && n == 0 {
		n, err = l.q.PaidBefore(ctx, db.PaidBeforeParams{Organization: l.org, Provider: provider, Until: l.since})
	}
	if err != nil {
		return false, fmt.Errorf("looking for earlier orders from %s: %w", provider, err)
	}
	l.known[provider] = n > 0
	return n > 0, nil
}

// ordering is the spend of a plan's step, before anything was read for it; of the run
// it has the name, which is all that the guards of pace tell.
func ordering(run db.Run, step purser.PlanStep, now time.Time) guard.Spend {
	return guard.Spend{
		Now: now, Amount: purser.Money{Amount: step.Price.Now, Currency: step.Price.Currency}, Provider: step.Provider,
		Target: target(step), Order: true, Meant: step.Meant, Run: &guard.Run{ID: run.ID}, Path: guardPath(run, step.Provider),
	}
}

// tooFast is what the guards of pace would refuse of a plan that began now, its steps
// one after the other. They are asked again when an order is placed: by then an hour
// may have passed, or more been ordered. So it is shown with the plan, and not signed.
func (o *Office) tooFast(ctx context.Context, l *lately, steps []purser.PlanStep) ([]purser.Blocker, error) {
	l = l.apart()
	var out []purser.Blocker
	for _, step := range steps {
		sp := ordering(l.run, step, l.now)
		if err := l.tell(ctx, &sp); err != nil {
			return nil, err
		}
		refusals := o.pace.Refusals(sp)
		for _, no := range refusals {
			out = append(out, purser.Blocker{Code: no.Code, Step: step.N, Detail: no.Detail, Hint: no.Hint})
		}
		if len(refusals) == 0 {
			l.add(guard.Recent{Target: sp.Target, Amount: sp.Amount.Amount, At: l.now, SameRun: true}, sp.Provider)
		}
	}
	return out, nil
}
