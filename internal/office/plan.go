package office

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// planDetail is what a plan shows beside its signed terms.
type planDetail struct {
	Totals  purser.Totals       `json:"totals"`
	Budgets []purser.BudgetLine `json:"budgets"`
	Reasons []purser.Reason     `json:"reasons"`
}

// Plan resolves steps into exact purchases with prices and one digest. Providers
// are asked for quotes; nothing is bought. Everything that stands in the way is
// listed at once.
func (o *Office) Plan(ctx context.Context, by purser.Actor, in purser.MakePlan) (purser.Plan, error) {
	return o.makePlan(ctx, by, "plan", in)
}

// makePlan makes the plan of an operation; a key belongs to the operation that it
// was sent with (RULES 10).
func (o *Office) makePlan(ctx context.Context, by purser.Actor, operation string, in purser.MakePlan) (purser.Plan, error) {
	if len(in.Steps) == 0 || len(in.Steps) > 20 {
		return purser.Plan{}, purser.Errorf(purser.InvalidRequest, "a plan has 1 to 20 steps").WithHint("purser plan PROVIDER/SERVICE --set KEY=VALUE")
	}
	if out, done, err := replayed[purser.Plan](ctx, o, by, operation, in); done {
		return out, err
	}
	d, err := o.resolve(ctx, by, in)
	if err != nil {
		return purser.Plan{}, err
	}
	if err := d.refusal(); err != nil {
		return o.blocked(ctx, by, operation, in, d, err)
	}
	if in.DryRun {
		return d.show(o, by)
	}
	return once(ctx, o, by, operation, in, func(t *store.Turn) (purser.Plan, error) { return o.storePlan(ctx, t, by, d) })
}

// replayed answers from the kept key before any provider is asked again.
func replayed[Out any, In any](ctx context.Context, o *Office, by purser.Actor, operation string, in In) (out Out, done bool, err error) {
	if by.Key == "" {
		return out, false, nil
	}
	row, err := o.Store.Read().Key(ctx, db.KeyParams{Organization: by.Organization, Principal: by.ID, Key: by.Key})
	if missing(err) {
		return out, false, nil
	}
	if err != nil {
		return out, true, err
	}
	hash, err := keyHash(by, operation, in)
	if err != nil {
		return out, true, err
	}
	out, err = replay[Out](o, by.Organization, by, row, hash)
	if purser.CodeOf(err) == purser.KeyReused {
		err = o.turn(ctx, by.Organization, func(t *store.Turn) error {
			return o.refuse(t, recordOf(by, operation, targetOf(in)), asError(err))
		})
	}
	return out, true, err
}

// blocked keeps a refused plan in the log, and its answer under the key if it is
// final: what money refused stays refused for the same request (RULES 10).
func (o *Office) blocked(ctx context.Context, by purser.Actor, operation string, in purser.MakePlan, d *draft, no *purser.Error) (purser.Plan, error) {
	if in.DryRun {
		by.Key = "" // looking is not asking
	}
	return once(ctx, o, by, operation, in, func(t *store.Turn) (purser.Plan, error) {
		r := recordOf(by, "plan", d.terms.Project)
		r.Project, r.Env, r.Run = d.terms.Project, d.terms.Env, d.terms.Run
		return purser.Plan{}, o.refuse(t, r, no)
	})
}

func (o *Office) storePlan(ctx context.Context, t *store.Turn, by purser.Actor, d *draft) (purser.Plan, error) {
	if d.run.ID == "" { // a person's own plan: its run is opened with it
		run, err := o.implicitRun(ctx, t, by, d.terms.Project)
		if err != nil {
			return purser.Plan{}, err
		}
		d.run, d.terms.Run = run, run.ID
	}
	id, err := o.newID(purser.PrefixPlan)
	if err != nil {
		return purser.Plan{}, err
	}
	terms, err := canonical.JSON(d.terms)
	if err != nil {
		return purser.Plan{}, purser.Errorf(purser.InvalidRequest, "the configuration cannot be signed: numbers must be whole").WithCause(err)
	}
	switch needed, err := o.twoNeeded(ctx, t.Queries, t.Org, d.terms); {
	case err != nil:
		return purser.Plan{}, err
	case needed:
		d.because(0, "two_people", "it costs more than one person may approve")
	}
	digest, state := canonical.DigestBytes(terms), purser.PlanWaiting
	if len(d.reasons) == 0 {
		state = purser.PlanReady
	}
	r := recordOf(by, "plan", id)
	r.Project, r.Env, r.Run, r.PlanDigest = d.terms.Project, d.terms.Env, d.terms.Run, digest
	r.Detail = map[string]string{"state": string(state)}
	// A stop may have come since the steps were resolved: a plan of after it would
	// be one that the resume revives.
	err = o.planStopped(ctx, t, db.Plan{Organization: t.Org, Run: d.terms.Run, Terms: string(terms)})
	if err == nil {
		err = o.roomForPlan(ctx, t, d.terms.Run)
	}
	var no *purser.Error
	if asCoded(err, &no) {
		return purser.Plan{}, o.refuse(t, r, no)
	}
	if err != nil {
		return purser.Plan{}, err
	}
	t.Record(r)
	err = t.InsertPlan(ctx, db.InsertPlanParams{
		Organization: t.Org, ID: id, Run: d.terms.Run, Project: d.terms.Project, Env: d.terms.Env, State: string(state), Digest: digest,
		Terms: string(terms), Detail: toJSON(planDetail{d.totals, d.budgets, d.reasons}), Quotes: toJSON(d.quotes), Actor: toJSON(by),
		Epoch: t.Epoch, CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(t.Now.Add(o.Defaults.RequestTTL)),
	})
	if err != nil {
		return purser.Plan{}, fmt.Errorf("storing the plan: %w", err)
	}
	if state == purser.PlanWaiting {
		if err := o.tellPlan(ctx, t, id, notice.Approval); err != nil {
			return purser.Plan{}, err
		}
	}
	return o.showPlan(ctx, t.Queries, t.Org, id)
}

// openMost is how many plans of a run may wait or be ready at a time. Who plans, and applies
// or is answered, has a few; who plans in a loop fills what people read.
const openMost = 100

func (o *Office) roomForPlan(ctx context.Context, t *store.Turn, run string) error {
	n, err := t.OpenPlansOfRun(ctx, db.OpenPlansOfRunParams{Organization: t.Org, Run: run, Now: store.Micro(t.Now), RowLimit: openMost})
	if err != nil || n < openMost {
		return err
	}
	no := purser.Errorf(purser.Overloaded, "%d plans of run %s wait for a person or may start: no more are kept", n, run).
		WithHint("apply what is ready, have a person decide what waits (purser approvals), or look without keeping: purser plan --dry-run")
	no.RetryAfter = time.Minute
	return no
}

// ShowPlan shows a plan with its orders; an agent sees those of its run. With a
// wait it answers as soon as a plan that waits for a person was decided or expired,
// or one that is being applied has ended, and as it stands when the wait is over.
func (o *Office) ShowPlan(ctx context.Context, by purser.Actor, in purser.PlanRef) (purser.Plan, error) {
	p, err := o.seePlan(ctx, by, in)
	if err != nil || in.Wait <= 0 || p.State != purser.PlanWaiting && p.State != purser.PlanApplying {
		return p, err
	}
	waiting, cancel := context.WithTimeout(ctx, waitOf(in.Wait))
	defer cancel()
	if err := o.changed(waiting, by.Organization, p); err != nil && (ctx.Err() != nil || waiting.Err() == nil) {
		return purser.Plan{}, err
	}
	return o.seePlan(ctx, by, in)
}

func (o *Office) seePlan(ctx context.Context, by purser.Actor, in purser.PlanRef) (purser.Plan, error) {
	p, err := o.showPlan(ctx, o.Store.Read(), by.Organization, in.Plan)
	if err == nil {
		err = mayPlan(by, p.Terms.Run)
	}
	if err != nil {
		return purser.Plan{}, err
	}
	return p, nil
}

func mayPlan(by purser.Actor, run string) error {
	if by.Kind == purser.Agent && by.Run != run {
		return purser.Errorf(purser.Forbidden, "the plan belongs to another run")
	}
	return nil
}

func (o *Office) showPlan(ctx context.Context, q *db.Queries, org, id string) (purser.Plan, error) {
	row, err := q.Plan(ctx, db.PlanParams{Organization: org, ID: id})
	if err != nil {
		return purser.Plan{}, notFound(err, "plan", id)
	}
	plans, err := o.showPlans(ctx, q, []db.Plan{row})
	if err != nil {
		return purser.Plan{}, err
	}
	return plans[0], nil
}

// showPlans shows plans of one organization. Which stops may have made any of them void is
// asked once, and what was ordered lately once for each run.
func (o *Office) showPlans(ctx context.Context, q *db.Queries, rows []db.Plan) ([]purser.Plan, error) {
	open := slices.DeleteFunc(slices.Clone(rows), func(p db.Plan) bool { return !waits(p) })
	var stops []db.Stop
	if len(open) > 0 {
		oldest := slices.MinFunc(open, func(a, b db.Plan) int { return cmp.Compare(a.Epoch, b.Epoch) })
		var err error
		if stops, err = stopsAfter(ctx, q, oldest); err != nil {
			return nil, err
		}
	}
	out, recent := []purser.Plan{}, map[string]*lately{}
	for _, row := range rows {
		p, err := o.planInfo(ctx, q, row, stops, recent)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// waits reports that a plan is stored as one that waits for a person or may start.
func waits(p db.Plan) bool {
	return p.State == string(purser.PlanWaiting) || p.State == string(purser.PlanReady)
}

func (o *Office) planInfo(ctx context.Context, q *db.Queries, row db.Plan, stops []db.Stop, recent map[string]*lately) (out purser.Plan, err error) {
	org, id := row.Organization, row.ID
	out = purser.Plan{
		ID: row.ID, State: purser.PlanState(row.State), Digest: row.Digest,
		CreatedAt: store.Time(row.CreatedAt), ExpiresAt: store.Time(row.ExpiresAt), Deadline: store.TimeOrNil(row.Deadline),
	}
	if out.Terms, err = fromJSON[purser.PlanTerms](row.Terms); err != nil {
		return out, err
	}
	detail, err := fromJSON[planDetail](row.Detail)
	if err != nil {
		return out, err
	}
	out.Totals, out.Budgets, out.Reasons = detail.Totals, detail.Budgets, detail.Reasons
	if out.By, err = fromJSON[purser.Actor](row.Actor); err != nil {
		return out, err
	}
	if row.Error != "" {
		failed, err := fromJSON[purser.Error](row.Error)
		if err != nil {
			return out, err
		}
		out.Error = &failed
	}
	if waits(row) { // a stop marks plans after its acknowledgement
		void, err := o.voidBy(ctx, q, row, stops)
		switch {
		case err != nil:
			return out, err
		case void != nil:
			out.State = purser.PlanVoid
		case !o.Now().Before(out.ExpiresAt):
			out.State = purser.PlanIsExpired
		}
	}
	if out.State == purser.PlanWaiting {
		if err := o.showVotes(ctx, q, org, &out); err != nil {
			return out, err
		}
	}
	if out.State == purser.PlanWaiting || out.State == purser.PlanReady {
		if recent[row.Run] == nil {
			run, err := q.Run(ctx, db.RunParams{Organization: org, ID: row.Run})
			if err != nil {
				return out, err
			}
			if recent[row.Run], err = o.lately(ctx, q, org, run, o.Now()); err != nil {
				return out, err
			}
		}
		if out.Blockers, err = o.tooFast(ctx, recent[row.Run], out.Terms.Steps); err != nil {
			return out, err
		}
	}
	orders, err := q.OrdersOfPlan(ctx, db.OrdersOfPlanParams{Organization: org, Plan: id})
	if err != nil {
		return out, err
	}
	out.Orders, err = ordersOf(orders, func(r db.OrdersOfPlanRow) (db.Order, db.Hold) { return r.Order, r.Hold })
	if err != nil {
		return out, err
	}
	out.Approval, err = o.showApproval(ctx, q, org, id)
	return out, err
}

// showVotes tells whose yes a plan has, where it needs more than one.
func (o *Office) showVotes(ctx context.Context, q *db.Queries, org string, out *purser.Plan) error {
	needed, err := o.twoNeeded(ctx, q, org, out.Terms)
	if err != nil || !needed {
		return err
	}
	votes, err := o.votes(ctx, q, org, out.ID)
	out.Needs = two
	for _, v := range votes {
		out.Votes = append(out.Votes, purser.Vote{Approver: v.Approver, Method: v.Method, SignedAt: store.Time(v.SignedAt)})
	}
	return err
}

func (o *Office) showApproval(ctx context.Context, q *db.Queries, org, plan string) (*purser.Approval, error) {
	a, err := q.ApprovalOfPlan(ctx, db.ApprovalOfPlanParams{Organization: org, Plan: plan})
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := &purser.Approval{
		ID: a.ID, Plan: a.Plan, Decision: a.Decision, Approver: a.Approver, Method: a.Method, SignedAt: store.Time(a.SignedAt),
		ExpiresAt: store.Time(a.ExpiresAt), ConsumedAt: store.TimeOrNil(a.ConsumedAt), Reason: a.Reason,
	}
	return out, decodeNumbers([]byte(a.Document), &out.Document)
}

func (o *Office) showOrders(ctx context.Context, q *db.Queries, rows []db.Order) ([]purser.Order, error) {
	out := []purser.Order{}
	for _, r := range rows {
		h, err := q.Hold(ctx, db.HoldParams{Organization: r.Organization, ID: r.Hold})
		if err != nil {
			return nil, notFound(err, "hold", r.Hold)
		}
		order, err := showOrder(r, h)
		if err != nil {
			return nil, err
		}
		out = append(out, order)
	}
	return out, nil
}

// ordersOf shows orders that came with their holds.
func ordersOf[R any](rows []R, of func(R) (db.Order, db.Hold)) ([]purser.Order, error) {
	out := []purser.Order{}
	for _, r := range rows {
		order, err := showOrder(of(r))
		if err != nil {
			return nil, err
		}
		out = append(out, order)
	}
	return out, nil
}

func showOrder(r db.Order, h db.Hold) (purser.Order, error) {
	out := purser.Order{
		ID: r.ID, Plan: r.Plan, Step: int(r.Step), What: r.What, State: purser.OrderState(r.State), Resource: r.Resource, Attempts: int(r.Attempts),
		Held: purser.Money{Amount: left(h), Currency: h.Currency}, Captured: purser.Money{Amount: h.Captured - h.Refunded, Currency: h.Currency},
	}
	if r.Error != "" {
		failed, err := fromJSON[purser.Error](r.Error)
		if err != nil {
			return out, err
		}
		out.Error, out.Questions = &failed, questions(r, &failed)
	}
	return out, nil
}

// ListApprovals lists plans that wait for a person; an agent's are its run's. A page has less
// than it was asked for only while a stop marks plans that it made void.
func (o *Office) ListApprovals(ctx context.Context, by purser.Actor, in purser.Page) (purser.List[purser.Plan], error) {
	limit, err := page(in, named(purser.PrefixPlan))
	if err != nil {
		return purser.List[purser.Plan]{}, err
	}
	q := o.Store.Read()
	ask := db.WaitingPlansOfRunParams{Organization: by.Organization, Run: by.Run, Now: store.Micro(o.Now()), After: in.Cursor, RowLimit: limit + 1}
	var rows []db.Plan
	if by.Kind == purser.Agent {
		rows, err = q.WaitingPlansOfRun(ctx, ask)
	} else {
		rows, err = q.WaitingPlans(ctx, db.WaitingPlansParams{Organization: ask.Organization, Now: ask.Now, After: ask.After, RowLimit: ask.RowLimit})
	}
	if err != nil {
		return purser.List[purser.Plan]{}, err
	}
	shown := cut(rows, limit, func(p db.Plan) db.Plan { return p }, func(p db.Plan) string { return p.ID })
	out := purser.List[purser.Plan]{Items: []purser.Plan{}, NextCursor: shown.NextCursor}
	plans, err := o.showPlans(ctx, q, shown.Items)
	for _, p := range plans {
		if p.State == purser.PlanWaiting {
			out.Items = append(out.Items, p)
		}
	}
	return out, err
}

// totals adds up what a plan costs now and from then on, per currency.
func totals(steps []purser.PlanStep) purser.Totals {
	now, monthly, yearly := sums{}, sums{}, sums{}
	for _, s := range steps {
		p := s.Price
		if p.Currency == "" {
			continue
		}
		now.add(p.Currency, p.Now)
		if p.Recurring > 0 {
			if p.AutoRenew { // what a person must renew by hand is no commitment
				monthly.add(p.Currency, perMonth(p.Recurring, p.Currency, p.Interval))
			}
			if p.Interval == "year" {
				yearly.add(p.Currency, p.Recurring)
			}
		}
	}
	return purser.Totals{Now: now.list(), Monthly: monthly.list(), Renewal: yearly.list()}
}

// sums adds amounts per currency; a sum that does not fit stays at the largest.
type sums map[string]int64

func (s sums) add(currency string, amount int64) {
	if total, ok := purser.Sum(s[currency], amount); ok {
		s[currency] = total
		return
	}
	s[currency] = 1<<63 - 1
}

func (s sums) list() []purser.Money {
	out := []purser.Money{}
	for currency, amount := range s {
		out = append(out, purser.Money{Amount: amount, Currency: currency})
	}
	slices.SortFunc(out, func(a, b purser.Money) int { return strings.Compare(a.Currency, b.Currency) })
	return out
}
