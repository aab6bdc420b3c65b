package office

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/guard"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Subscription states.
const (
	SubscriptionActive    = "active"
	SubscriptionCancelled = "cancelled"
	SubscriptionUnpaid    = "payment_required"
	SubscriptionEnded     = "ended" // what was approved is over
)

// goesOn reports that a recurring charge is made by itself: one that was refused is tried
// again.
func goesOn(state string) bool { return state == SubscriptionActive || state == SubscriptionUnpaid }

// renewalNotice is how long before a renewal the person is told (RULES 8).
const renewalNotice = 7 * 24 * time.Hour

// retryUnpaid is how long after a refusal a renewal is decided again: a stop may
// be lifted by then, or a limit raised.
const retryUnpaid = 6 * time.Hour

// nextDate is the first date after now on which a charge that began at start
// falls due: the same day of the month in the organization's time zone, or the
// last day of a shorter month.
func nextDate(start, now time.Time, interval string, zone *time.Location) (time.Time, error) {
	from := start.In(zone)
	for n := 1; n < 100000; n++ {
		var next time.Time
		switch interval {
		case "day":
			next = from.AddDate(0, 0, n)
		case "week":
			next = from.AddDate(0, 0, 7*n)
		case "month":
			next = addMonths(from, n)
		case "year":
			next = addMonths(from, 12*n)
		default:
			return time.Time{}, purser.Errorf(purser.ProviderFailure, "a charge each %q is not one we know", interval)
		}
		if next.After(now) {
			return next.UTC(), nil
		}
	}
	return time.Time{}, purser.Errorf(purser.Internal, "no next date")
}

// knownInterval reports whether we can tell when such a charge falls due.
func knownInterval(interval string) bool {
	return interval == "day" || interval == "week" || interval == "month" || interval == "year"
}

// addMonths is the same day n months later, or the last day of that month.
func addMonths(t time.Time, n int) time.Time {
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	day = min(day, time.Date(year, month+time.Month(n)+1, 0, 12, 0, 0, 0, t.Location()).Day())
	next := time.Date(year, month+time.Month(n), day, hour, minute, second, t.Nanosecond(), t.Location())
	for next.Day() != day { // clocks that change at midnight: the hour is of the day before
		next = next.Add(15 * time.Minute)
	}
	return next
}

// Subscriptions lists recurring charges.
func (o *Office) Subscriptions(ctx context.Context, by purser.Actor, _ purser.None) (purser.List[purser.Subscription], error) {
	out := purser.List[purser.Subscription]{Items: []purser.Subscription{}}
	rows, err := o.Store.Read().Subscriptions(ctx, by.Organization)
	for _, s := range rows {
		if by.Kind != purser.Agent || s.Project == by.Project {
			out.Items = append(out.Items, showSubscription(s))
		}
	}
	return out, err
}

func showSubscription(s db.Subscription) purser.Subscription {
	out := purser.Subscription{
		ID: s.ID, Resource: s.Resource, What: s.What, Provider: s.Provider, Project: s.Project, Interval: s.Interval, State: s.State, Cap: s.Cap,
		Amount: purser.Money{Amount: s.Amount, Currency: s.Currency}, Maximum: purser.Money{Amount: s.Maximum, Currency: s.Currency}, EndsAt: store.TimeOrNil(s.EndsAt),
	}
	if s.State == SubscriptionActive {
		out.NextAt = store.TimeOrNil(s.NextAt)
	}
	return out
}

// CancelSubscription ends a recurring charge; what was paid for runs to its end.
func (o *Office) CancelSubscription(ctx context.Context, by purser.Actor, in purser.SubscriptionRef) (purser.Subscription, error) {
	return once(ctx, o, by, "cancel_subscription", in, func(t *store.Turn) (purser.Subscription, error) {
		s, err := t.Subscription(ctx, db.SubscriptionParams{Organization: t.Org, ID: in.Subscription})
		if err != nil {
			return purser.Subscription{}, notFound(err, "subscription", in.Subscription)
		}
		if s.State == SubscriptionEnded {
			return purser.Subscription{}, purser.Errorf(purser.InvalidState, "it has ended already, with its approval; nothing is charged any more")
		}
		return o.cancelled(ctx, t, by, s, "")
	})
}

// cancelled ends a recurring charge. Where its resource is retired, from is the state in
// which a restore takes it up again.
func (o *Office) cancelled(ctx context.Context, t *store.Turn, by purser.Actor, s db.Subscription, from string) (purser.Subscription, error) {
	r := recordOf(by, "cancel_subscription", s.ID)
	r.Project = s.Project
	t.Record(r)
	s.State = SubscriptionCancelled
	err := t.SetSubscription(ctx, db.SetSubscriptionParams{Organization: t.Org, ID: s.ID, State: s.State, NextAt: s.NextAt, ToldAt: s.ToldAt, RetiredFrom: from})
	return showSubscription(s), err
}

// takeUp goes on with a recurring charge that its resource's retire cancelled, as it was
// then. A date that has passed meanwhile was cancelled, and is not paid for afterwards;
// one that was refused before is tried again, once, as it would have been.
func (o *Office) takeUp(ctx context.Context, t *store.Turn, s db.Subscription) error {
	next := store.Time(s.NextAt)
	if s.RetiredFrom == SubscriptionActive && !next.After(t.Now) {
		var err error
		if next, err = nextDate(store.Time(s.StartedAt), t.Now, s.Interval, t.Zone); err != nil {
			return err
		}
	}
	return t.SetSubscription(ctx, db.SetSubscriptionParams{Organization: t.Org, ID: s.ID, State: s.RetiredFrom, NextAt: store.Micro(next), ToldAt: s.ToldAt})
}

// renewals decides each recurring charge that falls due, as the system, against
// organization, project, provider and category, up to what was approved. One that
// is refused makes its resource payment_required (RULES 8).
func (o *Office) renewals(ctx context.Context, org string) error {
	due, err := o.Store.Read().DueSubscriptions(ctx, db.DueSubscriptionsParams{Organization: org, Now: store.Micro(o.Now().Add(renewalNotice))})
	if err != nil || len(due) == 0 {
		return err
	}
	var failed error // one that fails keeps none of the later ones waiting
	for _, s := range due {
		told := s.NextAt > store.Micro(o.Now()) && s.ToldAt == s.NextAt
		tried := s.State == SubscriptionUnpaid && o.Now().Sub(store.Time(s.ToldAt)) < retryUnpaid
		if told || tried {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := o.turn(ctx, org, func(t *store.Turn) error { return o.renew(ctx, t, s.ID) }); err != nil && purser.CodeOf(err) == purser.Internal {
			failed = errors.Join(failed, fmt.Errorf("renewing %s: %w", s.ID, err))
		}
	}
	return failed
}

// outlives reports that a renewal falls due, or is decided, after the end that was approved.
func outlives(s db.Subscription, now time.Time) bool {
	return s.EndsAt != 0 && max(s.NextAt, store.Micro(now)) > s.EndsAt
}

func (o *Office) renew(ctx context.Context, t *store.Turn, id string) error {
	s, err := t.Subscription(ctx, db.SubscriptionParams{Organization: t.Org, ID: id})
	if err != nil || !goesOn(s.State) {
		return err
	}
	if s.NextAt > store.Micro(t.Now.Add(renewalNotice)) {
		return nil // somebody else decided this date meanwhile
	}
	if s.NextAt > store.Micro(t.Now) {
		return o.announce(ctx, t, s)
	}
	if outlives(s, t.Now) {
		return o.runOut(ctx, t, s)
	}
	if s.State == SubscriptionActive && s.ToldAt != s.NextAt { // nobody was there to tell of it a week before
		if err := o.announce(ctx, t, s); err != nil {
			return err
		}
		s.ToldAt = s.NextAt
	}
	r := recordOf(system, "renew", s.ID)
	r.Project, r.PlanDigest, r.Detail = s.Project, s.PlanDigest, map[string]string{"what": s.What}
	amount := purser.Money{Amount: s.Amount, Currency: s.Currency}
	money := audit.Money{Amount: amount.Amount, Currency: amount.Currency}
	r.Money = &audit.Amounts{Expected: &money, Ceiling: &money}
	budgets, err := o.covering(ctx, t, s.Project, s.Provider, s.Category, "", s.Currency)
	if err != nil {
		return err
	}
	stops, err := o.stopsFor(ctx, t.Queries, t.Org)
	if err != nil {
		return err
	}
	refusals := o.guards.Refusals(guard.Spend{
		Now: t.Now, Skew: t.Skew, NoZone: t.NoZone, Amount: amount, Provider: s.Provider, Stops: stops, Budgets: budgets,
		Path: guard.Path{Organization: t.Org, Project: s.Project, Provider: s.Provider},
	})
	if s.Amount > s.Maximum {
		refusals = append(refusals, purser.Errorf(purser.PaymentRequired, "the renewal is above the approved %s", purser.Money{Amount: s.Maximum, Currency: s.Currency}))
	}
	if len(refusals) > 0 && refusals[0].Code.Info().Class == purser.ClassRetry {
		return refusals[0] // clocks disagree, or no zone: later
	}
	if len(refusals) > 0 {
		return o.unpaid(ctx, t, s, r, refusals[0])
	}
	return o.paid(ctx, t, s, r, amount, budgets)
}

// paid holds and captures a renewal in one turn, and sets the next date.
func (o *Office) paid(ctx context.Context, t *store.Turn, s db.Subscription, r audit.Record, amount purser.Money, budgets []guard.Budget) error {
	hold, err := o.hold(ctx, t, wanted{
		subscription: s.ID, project: s.Project, provider: s.Provider, category: s.Category, amount: amount, budgets: budgets, expires: t.Now.Add(time.Hour),
	}, r)
	if err != nil {
		return err
	}
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: hold})
	if err != nil {
		return err
	}
	charge, err := o.newID(purser.PrefixCharge)
	if err != nil {
		return err
	}
	captured := recordOf(system, "charge", hold)
	captured.Project, captured.Provider = s.Project, &audit.Provider{ChargeID: charge}
	captured.Money = &audit.Amounts{Actual: &audit.Money{Amount: amount.Amount, Currency: amount.Currency}}
	if captured.Budgets, err = o.changes(ctx, t, h, ledger.Capture, amount.Amount); err != nil {
		return err
	}
	seq := t.Record(captured)
	if err := o.capture(ctx, t, seq, h, amount.Amount, charge); err != nil {
		return err
	}
	if err := o.close(ctx, t, seq, hold, "consumed"); err != nil {
		return err
	}
	key := "renewal " + s.ID + " " + store.Time(s.NextAt).Format(time.RFC3339) // no provider's: those have no spaces
	err = t.InsertCharge(ctx, db.InsertChargeParams{
		Organization: t.Org, ID: charge, Provider: s.Provider, ProviderKey: key, RequestHash: hold,
		Hold: hold, Currency: amount.Currency, Amount: amount.Amount, Status: "succeeded", Resource: s.Resource, Receipt: "[]", Seq: seq, CreatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return err
	}
	next, err := dateAfter(s, t.Now, t.Zone)
	if err != nil {
		return err
	}
	if err := o.setPaid(ctx, t, s.Resource, ResourceLive); err != nil {
		return err
	}
	return t.SetSubscription(ctx, db.SetSubscriptionParams{Organization: t.Org, ID: s.ID, State: SubscriptionActive, NextAt: store.Micro(next)})
}

// dateAfter is when a recurring charge falls due after the one that is due: on the date
// after that, even where it has passed, so that each which nobody was there for is decided
// on its own. What was refused meanwhile was not had, and is not paid for afterwards.
func dateAfter(s db.Subscription, now time.Time, zone *time.Location) (time.Time, error) {
	after := store.Time(s.NextAt)
	if s.State == SubscriptionUnpaid && now.After(after) {
		after = now
	}
	return nextDate(store.Time(s.StartedAt), after, s.Interval, zone)
}

// setPaid marks a living resource as paid for or not; one that is detached or gone
// stays so.
func (o *Office) setPaid(ctx context.Context, t *store.Turn, id, state string) error {
	row, err := t.Resource(ctx, db.ResourceParams{Organization: t.Org, ID: id})
	if err != nil || !alive(row) || row.State == state {
		return err
	}
	return t.SetResourceState(ctx, db.SetResourceStateParams{Organization: t.Org, ID: id, State: state})
}

func (o *Office) unpaid(ctx context.Context, t *store.Turn, s db.Subscription, r audit.Record, no *purser.Error) error {
	err := t.SetSubscription(ctx, db.SetSubscriptionParams{Organization: t.Org, ID: s.ID, State: SubscriptionUnpaid, NextAt: s.NextAt, ToldAt: store.Micro(t.Now)})
	if err != nil {
		return err
	}
	if err := o.setPaid(ctx, t, s.Resource, ResourceUnpaid); err != nil {
		return err
	}
	if err := o.tell(ctx, t, notice.Unpaid(showSubscription(s), store.Time(s.NextAt), no)); err != nil {
		return err
	}
	return o.refuse(t, r, no)
}

// runOut ends a recurring charge whose approval is over: what was paid for has run out,
// and nothing more is asked or paid before a person approves it anew.
func (o *Office) runOut(ctx context.Context, t *store.Turn, s db.Subscription) error {
	over := purser.Errorf(purser.PaymentRequired, "it was approved until %s", store.Time(s.EndsAt).Format(time.DateOnly))
	r := recordOf(system, "end_subscription", s.ID)
	r.Project, r.PlanDigest, r.Detail = s.Project, s.PlanDigest, map[string]string{"what": s.What, "reason": over.Detail}
	t.Record(r)
	if err := o.setPaid(ctx, t, s.Resource, ResourceUnpaid); err != nil {
		return err
	}
	if err := o.tell(ctx, t, notice.Unpaid(showSubscription(s), store.Time(s.NextAt), over)); err != nil {
		return err
	}
	return t.SetSubscription(ctx, db.SetSubscriptionParams{Organization: t.Org, ID: s.ID, State: SubscriptionEnded, NextAt: s.NextAt, ToldAt: s.ToldAt})
}

// announce tells the person of a renewal, once, a week before; or that there will be none.
func (o *Office) announce(ctx context.Context, t *store.Turn, s db.Subscription) error {
	if s.ToldAt == s.NextAt {
		return nil
	}
	r := recordOf(system, "announce_renewal", s.ID)
	r.Project = s.Project
	r.Detail = map[string]string{"what": s.What, "amount": purser.Money{Amount: s.Amount, Currency: s.Currency}.String(), "due": store.Time(s.NextAt).Format(time.RFC3339)}
	words := notice.Renewal
	if outlives(s, t.Now) {
		r.Action, words = "announce_end", notice.Ending
	}
	t.Record(r)
	if err := o.tell(ctx, t, words(showSubscription(s), store.Time(s.NextAt))); err != nil {
		return err
	}
	return t.SetSubscription(ctx, db.SetSubscriptionParams{Organization: t.Org, ID: s.ID, State: s.State, NextAt: s.NextAt, ToldAt: s.NextAt})
}
