package office

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// failedOrder is the error of an order that is over: the plan ends with it,
// whatever its code.
type failedOrder struct{ error }

func (f failedOrder) Unwrap() error { return f.error }

// errLeased says that another process is in a call for this order.
var errLeased = errors.New("another process works on this order")

const (
	holdTTL     = 24 * time.Hour
	tries       = 3 // of one order, while its outcome is unknown
	retryWindow = 24 * time.Hour
	// clockSlack is how far two clocks can be apart by which money is spent: each as far off
	// the database's as may be, which tells whole seconds only (RULES 19).
	clockSlack = 2 * (purser.MostClockSkew + time.Second)
	downWindow = 10 * time.Minute // an order waits so long for a provider that is not there
)

// doStep brings the order of one step to live: place (one turn), begin (one
// turn), call outside any transaction, settle (one turn). Each is safe to do
// again, so after a crash the same code goes on (RULES 15).
func (o *Office) doStep(ctx context.Context, plan db.Plan, step purser.PlanStep) error {
	order, err := o.placed(ctx, plan, step)
	if err != nil {
		return err
	}
	for looked := int64(-1); ; {
		switch purser.OrderState(order.State) {
		case purser.OrderLive, purser.OrderRemoved:
			return nil
		case purser.OrderFailed:
			failed, err := fromJSON[purser.Error](order.Error)
			if err != nil {
				return err
			}
			return failedOrder{&failed}
		case purser.OrderUnknown:
			// One look for each attempt: what may not begin again would go in circles.
			if looked != order.Attempts {
				looked = order.Attempts
				if order, err = o.lookUp(ctx, plan, step, order); err != nil {
					return err
				}
			}
			if purser.OrderState(order.State) == purser.OrderUnknown {
				failed, err := fromJSON[purser.Error](order.Error)
				if err != nil {
					return err
				}
				return &failed
			}
			continue
		}
		why, err := o.waiting(ctx, plan, order)
		if err != nil {
			return err
		}
		if why != nil {
			return why
		}
		if order, err = o.attempt(ctx, plan, step, order); err != nil {
			return err
		}
	}
}

// placed finds the order of a step, or places it after a fresh quote.
func (o *Office) placed(ctx context.Context, plan db.Plan, step purser.PlanStep) (db.Order, error) {
	key := db.OrderOfStepParams{Organization: plan.Organization, Plan: plan.ID, Step: int64(step.N)}
	order, err := o.Store.Read().OrderOfStep(ctx, key)
	if !missing(err) {
		return order, err
	}
	if err := o.sameText(ctx, step); err != nil {
		return order, err
	}
	quote, err := o.freshQuote(ctx, plan, step)
	if err != nil {
		return order, err
	}
	err = o.turn(ctx, plan.Organization, func(t *store.Turn) error {
		order, err = o.place(ctx, t, plan.ID, step, quote)
		return err
	})
	return order, err
}

// sameText reads the terms of an account again: what is accepted is the text that
// a person said yes to (RULES 13).
func (o *Office) sameText(ctx context.Context, step purser.PlanStep) error {
	if step.Account == nil || step.Account.TermsHash == "" {
		return nil
	}
	text, err := o.Seller.Terms(ctx, step.Account.TermsURL)
	if err != nil || textHash(text) == step.Account.TermsHash {
		return err
	}
	return purser.Errorf(purser.QuoteChanged, "the terms of %s are not those of the plan any more", step.Provider).WithHint("make a new plan, and have it approved")
}

// freshQuote asks the price again just before the money is held. The same or a
// lower amount on the same terms goes on; anything else needs a person (RULES 13, drill g).
func (o *Office) freshQuote(ctx context.Context, plan db.Plan, step purser.PlanStep) (string, error) {
	quotes, err := fromJSON[map[int]string](plan.Quotes)
	if err != nil || quotes[step.N] == "" {
		return "", err
	}
	p, err := o.provider(ctx, o.Store.Read(), step.Provider)
	if err != nil {
		return "", err
	}
	access, err := o.accessIfAny(ctx, o.Store.Read(), plan.Organization, &p)
	if err != nil {
		return "", err
	}
	q, err := o.Seller.Quote(ctx, p, access, app.QuoteRequest{ServiceID: step.Service, Configuration: step.Configuration})
	if err != nil {
		return "", err
	}
	now := step
	fromQuote(&now, q)
	if err := checkQuote(q, step, step.Category == "domains"); err != nil {
		return "", err
	}
	return q.ID, sameTerms(step, now)
}

// sameTerms compares what was planned with what would be sold now.
func sameTerms(planned, now purser.PlanStep) error {
	a, b := planned.Price, now.Price
	changed := ""
	switch {
	case now.Item != planned.Item:
		changed = fmt.Sprintf("the item is %q, it was %q", now.Item, planned.Item)
	case b.Currency != a.Currency:
		changed = fmt.Sprintf("the currency is %s, it was %s", b.Currency, a.Currency)
	case b.Now > a.Now:
		changed = fmt.Sprintf("it costs %s, it was %s", purser.Money{Amount: b.Now, Currency: b.Currency}, purser.Money{Amount: a.Now, Currency: a.Currency})
	case b.Recurring > a.Recurring || b.Interval != a.Interval && b.Recurring > 0:
		changed = fmt.Sprintf("it renews at %s a %s, it was %s a %s", purser.Money{Amount: b.Recurring, Currency: b.Currency}, b.Interval,
			purser.Money{Amount: a.Recurring, Currency: a.Currency}, a.Interval)
	case now.Effect == purser.Final && planned.Effect != purser.Final:
		changed = "it is no longer refundable"
	case b.RefundableTill < a.RefundableTill && now.Effect != purser.Final:
		changed = fmt.Sprintf("it is refundable until %s, it was %s", b.RefundableTill, a.RefundableTill)
	}
	if changed == "" {
		return nil
	}
	return purser.Errorf(purser.QuoteChanged, "%s %s: %s", planned.Provider, planned.Item, changed).WithHint("make a new plan, and have it approved")
}

// target names what is ordered, for recognising a repeat: step, service and the
// exact configuration.
func target(step purser.PlanStep) string {
	of := map[string]any{
		"kind": step.Kind, "provider": step.Provider, "service": step.Service, "configuration": step.Configuration,
	}
	if step.ProviderID != "" {
		of["provider_resource_id"] = step.ProviderID
	}
	digest, err := requestHash("order", of)
	if err != nil {
		return step.Provider + "/" + step.Service
	}
	return digest
}

// place decides one order in the turn: guards, hold, journal, record.
func (o *Office) place(ctx context.Context, t *store.Turn, planID string, step purser.PlanStep, quote string) (db.Order, error) {
	if order, err := t.OrderOfStep(ctx, db.OrderOfStepParams{Organization: t.Org, Plan: planID, Step: int64(step.N)}); !missing(err) {
		return order, err
	}
	plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: planID})
	if err != nil {
		return db.Order{}, err
	}
	run, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: plan.Run})
	if err != nil {
		return db.Order{}, err
	}
	id, err := o.newID(purser.PrefixOrder)
	if err != nil {
		return db.Order{}, err
	}
	r := orderRecord("place", plan, step, id)
	r.Quote = quote
	if step.Price.Now > 0 {
		money := audit.Money{Amount: step.Price.Now, Currency: step.Price.Currency}
		r.Money = &audit.Amounts{Expected: &money, Ceiling: &money}
	}
	var touched *purser.Error
	if err := o.untouched(ctx, t, plan); asCoded(err, &touched) {
		return db.Order{}, o.refuse(t, r, touched)
	} else if err != nil {
		return db.Order{}, err
	}
	sp, err := o.spend(ctx, t, run, step)
	if err != nil {
		return db.Order{}, err
	}
	if err := planOpen(t, plan); err != nil {
		return db.Order{}, o.refuse(t, r, err)
	}
	if no, err := o.taken(ctx, t, plan, step); err != nil || no != nil {
		if no != nil {
			return db.Order{}, o.refuse(t, r, no)
		}
		return db.Order{}, err
	}
	if refusals := o.guards.Refusals(sp); len(refusals) > 0 {
		if refusals[0].Code == purser.TooManyOrders {
			by, err := fromJSON[purser.Actor](plan.Actor)
			if err != nil {
				return db.Order{}, err
			}
			paused := notice.Paused(purser.Run{ID: run.ID, Project: run.Project}, o.nameOf(ctx, t.Queries, t.Org, by), what(step), refusals[0], t.Now)
			if err := o.tell(ctx, t, paused); err != nil {
				return db.Order{}, err
			}
		}
		return db.Order{}, o.refuse(t, r, refusals[0])
	}
	hold, err := o.hold(ctx, t, wanted{
		order: id, run: run.ID, project: plan.Project, provider: step.Provider, category: step.Category, amount: sp.Amount,
		budgets: sp.Budgets, expires: t.Now.Add(holdTTL),
	}, r)
	if err != nil {
		return db.Order{}, err
	}
	err = t.InsertOrder(ctx, db.InsertOrderParams{
		Organization: t.Org, ID: id, Plan: plan.ID, Step: int64(step.N), Run: run.ID, Project: plan.Project, Env: plan.Env, Agent: run.Agent,
		Provider: step.Provider, Kind: string(step.Kind), What: what(step), Target: sp.Target, Currency: sp.Amount.Currency, Amount: sp.Amount.Amount,
		State: string(purser.OrderPlaced), Hold: hold, Resource: step.Resource, Quote: quote, Epoch: t.Epoch, CreatedAt: store.Micro(t.Now), UpdatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return db.Order{}, fmt.Errorf("storing the order: %w", err)
	}
	return t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id})
}

// taken asks again, in the turn, whether the very thing is there already: two plans
// may have been made before either was applied.
func (o *Office) taken(ctx context.Context, t *store.Turn, plan db.Plan, step purser.PlanStep) (*purser.Error, error) {
	if step.Kind != purser.ServiceStep || step.Meant {
		return nil, nil
	}
	rows, err := t.Resources(ctx, db.ResourcesParams{Organization: t.Org, Project: plan.Project, Env: plan.Env})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.Provider == step.Provider && r.Service == step.Service && r.Name == step.Name && alive(r) {
			return purser.Errorf(purser.AlreadyExists, "%s/%s is there already as %q (%s)", step.Provider, step.Service, step.Name, r.ID).
				WithHint("make a new plan; give another one its own name: --name"), nil
		}
	}
	return nil, nil
}

func what(step purser.PlanStep) string {
	if buys(step) && step.Item != step.Provider+"/"+step.Service {
		return step.Provider + "/" + step.Service + " " + step.Item
	}
	if buys(step) {
		return step.Item
	}
	return string(step.Kind) + " " + step.Item
}

func orderRecord(action string, plan db.Plan, step purser.PlanStep, order string) audit.Record {
	r := recordOf(system, action, order)
	if by, err := fromJSON[purser.Actor](plan.Actor); err == nil {
		r = recordOf(by, action, order)
	}
	r.Project, r.Env, r.Run, r.PlanDigest, r.IdempotencyKey = plan.Project, plan.Env, plan.Run, plan.Digest, order
	r.Detail = map[string]string{"what": what(step), "step": fmt.Sprint(step.N)}
	return r
}

// planOpen refuses orders of a plan that is not being applied, or whose time is over.
func planOpen(t *store.Turn, plan db.Plan) *purser.Error {
	switch {
	case purser.PlanState(plan.State) == purser.PlanVoid:
		return purser.Errorf(purser.Stopped, "a stop made the plan void")
	case purser.PlanState(plan.State) != purser.PlanApplying:
		return purser.Errorf(purser.InvalidState, "the plan is %s", plan.State)
	case store.Micro(t.Now) >= plan.Deadline:
		return purser.Errorf(purser.PlanExpired, "the plan's time was over at %s", store.Time(plan.Deadline).Format(time.RFC3339))
	}
	return nil
}

// spend gathers, inside the turn, every fact that the guards read.
func (o *Office) spend(ctx context.Context, t *store.Turn, run db.Run, step purser.PlanStep) (guard.Spend, error) {
	sp := ordering(run, step, t.Now)
	sp.Skew, sp.NoZone = t.Skew, t.NoZone
	var err error
	if sp.Run, err = guardRun(run); err != nil {
		return sp, err
	}
	if sp.Stops, err = o.stopsFor(ctx, t.Queries, t.Org); err != nil {
		return sp, err
	}
	recent, err := o.lately(ctx, t.Queries, t.Org, run, t.Now)
	if err != nil {
		return sp, err
	}
	if err := recent.tell(ctx, &sp); err != nil || sp.Amount.IsZero() {
		return sp, err
	}
	sp.Budgets, err = o.covering(ctx, t, run.Project, step.Provider, step.Category, run.ID, sp.Amount.Currency)
	return sp, err
}

// begun is one attempt at an order: what the call needs.
type begun struct {
	order db.Order
	plan  db.Plan
	step  purser.PlanStep
	token seal.Secret // payment token; empty when nothing is to be paid

	unfinished string // what a look-up found begun at the provider, and not finished
}

// attempt begins the order, calls the provider and settles.
func (o *Office) attempt(ctx context.Context, plan db.Plan, step purser.PlanStep, order db.Order) (db.Order, error) {
	b := begun{plan: plan, step: step}
	// The call's time ends with its lease, so that nobody begins again while it is still
	// out (RULES 15). It is measured, from before the lease is given, and read off no clock:
	// ours may be changed, and differ from theirs.
	calling, cancel := context.WithTimeout(ctx, o.Defaults.Lease)
	defer cancel()
	err := o.turn(calling, plan.Organization, func(t *store.Turn) error { return o.begin(calling, t, order.ID, &b) })
	if err != nil {
		return order, err
	}
	if purser.OrderState(b.order.State) != purser.OrderBuying {
		return b.order, nil // settled by somebody else meanwhile
	}
	sold, err := o.call(calling, b)
	if err != nil && ctx.Err() != nil {
		return order, ctx.Err() // we are closing: the order stays buying
	}
	return o.settle(ctx, b, sold, err)
}

// begin gives an order its lease and its payment token, unless a stop came
// between: what was accepted and not begun is void then (RULES 21).
func (o *Office) begin(ctx context.Context, t *store.Turn, id string, b *begun) error {
	order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id})
	if err != nil {
		return err
	}
	b.order = order
	state := purser.OrderState(order.State)
	switch {
	case state != purser.OrderPlaced && state != purser.OrderBuying:
		return nil
	case leased(t, order):
		return errLeased
	}
	plan, err := t.Plan(ctx, db.PlanParams{Organization: t.Org, ID: order.Plan})
	if err != nil {
		return err
	}
	r := orderRecord("begin", plan, b.step, id)
	no, err := o.mayBegin(ctx, t, plan, order)
	if err != nil {
		return err
	}
	if no != nil {
		if err := o.voided(ctx, t, order, r, no); err != nil {
			return err
		}
		b.order, err = t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id}) // it is buying no more: no call leaves
		return err
	}
	until := t.Now.Add(o.Defaults.Lease)
	if order.Amount > 0 {
		if b.token, err = o.issueToken(ctx, t, order, plan.Digest, until); err != nil {
			return err
		}
	}
	t.Record(r)
	err = t.BeginOrder(ctx, db.BeginOrderParams{Organization: t.Org, ID: id, LeaseUntil: store.Micro(until), BegunAt: store.Micro(t.Now), Epoch: t.Epoch})
	if err != nil {
		return err
	}
	err = t.BeginHold(ctx, db.BeginHoldParams{Organization: t.Org, ID: order.Hold, BegunAt: store.Micro(t.Now), Epoch: t.Epoch})
	if err != nil {
		return err
	}
	b.order, err = t.Order(ctx, db.OrderParams{Organization: t.Org, ID: id})
	return err
}

// leased reports that the call for an order may still be out.
func leased(t *store.Turn, order db.Order) bool {
	return purser.OrderState(order.State) == purser.OrderBuying && !leaseOver(order.LeaseUntil, t.Now, t.Skew)
}

// leaseOver reports that there is no lease any more. It was given by another clock; one by
// which nothing is spent cannot tell that it is over.
func leaseOver(until int64, now time.Time, skew time.Duration) bool {
	return until == 0 || skew.Abs() <= purser.MostClockSkew && !now.Before(store.Time(until).Add(clockSlack))
}

// mayBegin asks again what may have changed since the order was placed. An error is no
// no: it says nothing of the order, which must not end by it.
func (o *Office) mayBegin(ctx context.Context, t *store.Turn, plan db.Plan, order db.Order) (*purser.Error, error) {
	run, err := t.Run(ctx, db.RunParams{Organization: t.Org, ID: order.Run})
	if err != nil {
		return nil, fmt.Errorf("reading the run: %w", err)
	}
	stops, err := o.stopsFor(ctx, t.Queries, t.Org)
	if err != nil {
		return nil, err
	}
	sp := guard.Spend{Now: t.Now, Skew: t.Skew, Stops: stops, Path: guardPath(run, order.Provider), Provider: order.Provider}
	if sp.Run, err = guardRun(run); err != nil {
		return nil, err
	}
	for _, g := range []guard.Guard{guard.Stops{}, guard.Clock{Most: purser.MostClockSkew}, guard.OpenRun{}} {
		if no := g.Forbids(sp); no != nil {
			return no, nil
		}
	}
	// A resume revives nothing: what was placed before a stop is void (RULES 21).
	since, err := t.StopsAfter(ctx, db.StopsAfterParams{Organization: t.Org, After: order.Epoch})
	if err != nil {
		return nil, fmt.Errorf("listing earlier stops: %w", err)
	}
	for _, s := range since {
		if sp.Path.Covered(s.Scope, s.Target) {
			return wasStopped(s), nil
		}
	}
	return planOpen(t, plan), nil
}

// voided ends an order that may not begin. If a call was out before, its outcome
// is unknown and stays so until it is looked up; else the money goes back now.
func (o *Office) voided(ctx context.Context, t *store.Turn, order db.Order, r audit.Record, no *purser.Error) error {
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
	if err != nil {
		return err
	}
	if purser.OrderState(order.State) == purser.OrderBuying || charged(h) {
		return o.settleUnknown(ctx, t, order, r, doubt(order, h, no))
	}
	if no.Code.Info().Class == purser.ClassRetry {
		return no
	}
	if r.Budgets, err = o.changes(ctx, t, h, ledger.Release, left(h)); err != nil {
		return err
	}
	lines := r.Budgets
	r.Outcome, r.Policy = audit.Refused, &audit.Policy{Verdict: "refused", Reasons: []string{string(no.Code)}}
	r.Budgets = nil
	t.Record(r)
	released := recordOf(system, "release", order.Hold)
	released.Project, released.Run, released.Budgets = order.Project, order.Run, lines
	seq := t.Record(released)
	if err := o.close(ctx, t, seq, order.Hold, rail.Revoked); err != nil {
		return err
	}
	return t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: order.ID, State: string(purser.OrderFailed), Resource: order.Resource, Error: toJSON(no), UpdatedAt: store.Micro(t.Now),
	})
}

// issueToken makes the sandbox rail's payment token of a hold: bound to provider,
// connection, plan digest, currency, amount and time. An earlier one dies.
func (o *Office) issueToken(ctx context.Context, t *store.Turn, order db.Order, digest string, until time.Time) (seal.Secret, error) {
	if _, err := t.ClosePaymentTokens(ctx, db.ClosePaymentTokensParams{Organization: t.Org, Hold: order.Hold, State: rail.Revoked}); err != nil {
		return seal.Secret{}, err
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
	if err != nil {
		return seal.Secret{}, err
	}
	expires := until.Add(time.Minute)
	if !expires.Add(rail.SettlementLag).Before(store.Time(h.ExpiresAt)) {
		return seal.Secret{}, purser.Errorf(purser.PlanExpired, "the hold of order %s ends too soon for another try", order.ID)
	}
	text, err := o.randomText(32)
	if err != nil {
		return seal.Secret{}, err
	}
	secret := seal.NewSecret("sbx_" + text)
	id, err := o.newID("ptk")
	if err != nil {
		return seal.Secret{}, err
	}
	connection, err := t.Connection(ctx, db.ConnectionParams{Organization: t.Org, Provider: order.Provider})
	if ignoreMissing(err) != nil {
		return seal.Secret{}, err
	}
	return secret, t.InsertPaymentToken(ctx, db.InsertPaymentTokenParams{
		Organization: t.Org, ID: id, Hash: hashOf(secret), Hold: order.Hold, Provider: order.Provider, Connection: connection.ID, PlanDigest: digest,
		Currency: h.Currency, Maximum: left(h), ExpiresAt: store.Micro(expires), CreatedAt: store.Micro(t.Now),
	})
}
