package office

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/ledger"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/rail"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

type readCloser = io.ReadCloser

// Resource states.
const (
	ResourceLive       = "live"
	ResourceUnpaid     = "payment_required"
	ResourceRetiring   = "retiring"
	ResourceDestroying = "destroying"
	ResourceDetached   = "detached"
	ResourceRemoved    = "removed"
)

// ConnectionActive is a connection whose token works.
const (
	ConnectionActive  = "active"
	ConnectionExpired = "expired"
)

// settle stores, in one turn, what a call came to: the resource and what it cost,
// or that nothing came of it and the money goes back, or that nobody knows yet.
func (o *Office) settle(ctx context.Context, b begun, s sold, failed error) (db.Order, error) {
	if failed == nil && buys(b.step) {
		failed = check(b, s.resource)
	}
	var coded *purser.Error
	if failed != nil && uncertain(failed) && !asCoded(failed, &coded) {
		coded = unknownOutcome(b.step.Provider, failed)
	} else if failed != nil && !asCoded(failed, &coded) {
		return b.order, failed
	}
	out, stays := b.order, false
	ctx = context.WithoutCancel(ctx) // the turn must not be cut short by whoever waits for it
	err := o.turn(ctx, b.order.Organization, func(t *store.Turn) error {
		order, err := t.Order(ctx, db.OrderParams{Organization: t.Org, ID: b.order.ID})
		if err != nil {
			return err
		}
		out = order
		state := purser.OrderState(order.State)
		if state != purser.OrderBuying && state != purser.OrderUnknown {
			return nil // settled already
		}
		if coded != nil && order.Attempts != b.order.Attempts {
			return nil // our lease ended, and another call is out: what failed here says nothing of it
		}
		b.order = order
		if coded == nil {
			if coded, err = o.hindered(ctx, t, b); err != nil {
				return err
			}
		}
		h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: order.Hold})
		if err != nil {
			return err
		}
		r := orderRecord("settle", b.plan, b.step, order.ID)
		switch {
		case coded != nil && uncertain(coded):
			err = o.settleUnknown(ctx, t, order, r, coded)
		case waitsForPerson(coded):
			stays, err = true, o.settleWaiting(ctx, t, b, s, coded)
		// What is handed over tells itself what the money went for, as another thing than
		// was asked too; anything else that a provider says against its charge does not.
		case coded != nil && charged(h) && s.resource.Status != app.StatusComplete:
			err = o.settleUnknown(ctx, t, order, r, doubt(order, h, coded))
		case coded != nil && coded.Code == purser.ProviderDown && repeated(b) && !s.missing:
			err = o.settleUnknown(ctx, t, order, r, coded)
		case coded != nil && coded.Code == purser.ProviderDown && !s.missing && t.Now.Sub(store.Time(order.CreatedAt)) < downWindow:
			stays, err = true, o.settleDown(ctx, t, b, coded)
		case coded != nil:
			err = o.settleFailed(ctx, t, b, s, coded)
		default:
			err = o.settleLive(ctx, t, b, s)
		}
		if err != nil {
			return err
		}
		out, err = t.Order(ctx, db.OrderParams{Organization: t.Org, ID: b.order.ID})
		return err
	})
	if err == nil && stays {
		err = coded
	}
	return out, err
}

// repeated reports that an earlier call for the same purchase may still have had
// its effect, whatever came of this one.
func repeated(b begun) bool { return buys(b.step) && b.order.Attempts > 1 }

// settleDown takes an order back to placed: the provider was not there and
// certainly did nothing, so the order waits, with its money held, and the attempt
// does not count.
func (o *Office) settleDown(ctx context.Context, t *store.Turn, b begun, coded *purser.Error) error {
	r := orderRecord("settle", b.plan, b.step, b.order.ID)
	r.Outcome, r.Detail["code"] = audit.Failed, string(coded.Code)
	t.Record(r)
	if _, err := t.ClosePaymentTokens(ctx, db.ClosePaymentTokensParams{Organization: t.Org, Hold: b.order.Hold, State: rail.Revoked}); err != nil {
		return err
	}
	return t.TakeBackOrder(ctx, db.TakeBackOrderParams{Organization: t.Org, ID: b.order.ID, Error: toJSON(coded), UpdatedAt: store.Micro(t.Now)})
}

// charged reports that an order was paid for, at least in part, and not all of it was
// given back. None such is called failed by us alone, by whichever door: some call did
// reach the provider, whatever came of the last one and however often the order was
// taken back to placed.
func charged(h db.Hold) bool { return h.Captured > h.Refunded }

// doubt is why nobody knows what became of an order: its call was lost or charged
// for, and why speaks against it.
func doubt(order db.Order, h db.Hold, why *purser.Error) *purser.Error {
	if charged(h) {
		took := purser.Money{Amount: h.Captured - h.Refunded, Currency: h.Currency}
		return purser.Errorf(purser.OutcomeUnknown, "%s charged %s, and then: %s", order.Provider, took, why.Detail).
			WithHint("%s", lookYourself(order)).WithCause(why)
	}
	return purser.Errorf(purser.OutcomeUnknown, "the answer of %s was lost, and then: %s", order.Provider, why.Detail).WithHint("it is looked up; purser status")
}

// settleUnknown keeps the money held: it may be gone. An order that is unknown already
// stays so, and no walk records that anew; it only says what is known of it by now.
func (o *Office) settleUnknown(ctx context.Context, t *store.Turn, order db.Order, r audit.Record, why *purser.Error) error {
	if purser.OrderState(order.State) == purser.OrderUnknown {
		_, err := o.doubted(ctx, t, order, why)
		return err
	}
	r.Outcome, r.Detail = audit.Unknown, merge(r.Detail, "code", string(why.Code))
	t.Record(r)
	if err := o.tellOrder(ctx, t, order, notice.Unknown); err != nil {
		return err
	}
	return t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: order.ID, State: string(purser.OrderUnknown), Resource: order.Resource, Error: toJSON(why), UpdatedAt: store.Micro(t.Now),
	})
}

// doubted lets an order that stays unknown say why it does.
func (o *Office) doubted(ctx context.Context, t *store.Turn, order db.Order, why *purser.Error) (db.Order, error) {
	text := toJSON(why)
	if text == order.Error {
		return order, nil
	}
	err := t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: order.ID, State: order.State, Resource: order.Resource, Error: text, UpdatedAt: store.Micro(t.Now),
	})
	order.Error = text
	return order, err
}

func (o *Office) settleFailed(ctx context.Context, t *store.Turn, b begun, s sold, coded *purser.Error) error {
	r := orderRecord("settle", b.plan, b.step, b.order.ID)
	r.Outcome = audit.Failed
	r.Detail["code"] = string(coded.Code)
	if err := t.DropAnswer(ctx, db.DropAnswerParams{Organization: t.Org, OrderID: b.order.ID}); err != nil {
		return err
	}
	if coded.Code == purser.AccountMismatch || s.resource.Status == app.StatusComplete {
		mismatch := func(order notice.Order) notice.Notice { return notice.Mismatch(order, coded) }
		if err := o.tellOrder(ctx, t, b.order, mismatch); err != nil {
			return err
		}
	}
	if s.resource.ID != "" {
		r.Provider = &audit.Provider{RequestID: catalog.Plain(s.resource.ID, 128)}
	}
	seq, err := o.recordClose(ctx, t, &r, b.order.Hold)
	if err != nil {
		return err
	}
	if err := o.close(ctx, t, seq, b.order.Hold, rail.Revoked); err != nil {
		return err
	}
	return t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: b.order.ID, State: string(purser.OrderFailed), Resource: b.order.Resource, Error: toJSON(coded), UpdatedAt: store.Micro(t.Now),
	})
}

// recordClose records the end of an order with what its release gives back to
// each budget.
func (o *Office) recordClose(ctx context.Context, t *store.Turn, r *audit.Record, hold string) (int64, error) {
	h, err := t.Hold(ctx, db.HoldParams{Organization: t.Org, ID: hold})
	if err != nil {
		return 0, err
	}
	if r.Budgets, err = o.changes(ctx, t, h, ledger.Release, left(h)); err != nil {
		return 0, err
	}
	if h.Amount > 0 {
		r.Money = &audit.Amounts{
			Ceiling: &audit.Money{Amount: h.Amount, Currency: h.Currency}, Actual: &audit.Money{Amount: h.Captured, Currency: h.Currency},
		}
	}
	return t.Record(*r), nil
}

func (o *Office) settleLive(ctx context.Context, t *store.Turn, b begun, s sold) error {
	r := orderRecord("settle", b.plan, b.step, b.order.ID)
	resource := ""
	// What a person told was for this order; it is not kept longer.
	err := t.DropAnswer(ctx, db.DropAnswerParams{Organization: t.Org, OrderID: b.order.ID})
	if err != nil {
		return err
	}
	switch b.step.Kind {
	case purser.LinkStep:
		resource, err = o.connect(ctx, t, b, s)
	case purser.DeployStep:
		resource = s.resource.ID
		err = t.SetDeployed(ctx, db.SetDeployedParams{Organization: t.Org, ID: resource, Manifest: b.step.Deployment.Manifest, Url: s.url})
	case purser.UpdateStep:
		resource, err = o.updated(ctx, t, b, s)
	case purser.AdoptStep:
		resource, err = o.adopted(ctx, t, b, s)
	case purser.UnlinkStep:
		err = o.unlinked(ctx, t, b)
	default:
		resource, err = o.provisioned(ctx, t, b, s)
	}
	if err != nil {
		return err
	}
	r.Detail["resource"] = resource
	if s.resource.ID != "" {
		r.Provider = &audit.Provider{RequestID: catalog.Plain(s.resource.ID, 128)}
	}
	seq, err := o.recordClose(ctx, t, &r, b.order.Hold)
	if err != nil {
		return err
	}
	if err := o.close(ctx, t, seq, b.order.Hold, rail.Consumed); err != nil {
		return err
	}
	return t.SettleOrder(ctx, db.SettleOrderParams{
		Organization: t.Org, ID: b.order.ID, State: string(purser.OrderLive), Resource: resource, UpdatedAt: store.Micro(t.Now),
	})
}

// connect stores the connection to a provider.
func (o *Office) connect(ctx context.Context, t *store.Turn, b begun, s sold) (string, error) {
	old, err := t.Connection(ctx, db.ConnectionParams{Organization: t.Org, Provider: b.step.Provider})
	if err != nil && !missing(err) {
		return "", err
	}
	err = t.SetFlowStatus(ctx, db.SetFlowStatusParams{Organization: t.Org, ID: flowID(b.order.ID), Status: FlowComplete, UpdatedAt: store.Micro(t.Now)})
	if err != nil {
		return "", err
	}
	id := old.ID
	if id == "" {
		if id, err = o.newID(purser.PrefixConnection); err != nil {
			return "", err
		}
	}
	access, err := o.sealText(seal.NewSecret(s.link.AccessToken), t.Org, "connections", id, "access")
	if err != nil {
		return "", err
	}
	refresh, err := o.sealText(seal.NewSecret(s.link.RefreshToken), t.Org, "connections", id, "refresh")
	if err != nil {
		return "", err
	}
	account, billing := "", ""
	if s.link.Account != nil {
		account, billing = catalog.Plain(s.link.Account.ID, 128), catalog.Plain(s.link.Account.PaymentCredentials, 40)
	}
	ends, renew := renewal(t.Now, *s.link)
	err = t.UpsertConnection(ctx, db.UpsertConnectionParams{
		Organization: t.Org, ID: id, Provider: b.step.Provider, Account: account, Email: b.step.Account.Email, State: ConnectionActive,
		Access: access, Refresh: refresh, ExpiresAt: ends, Billing: billing, CreatedAt: store.Micro(t.Now),
	})
	if err != nil {
		return "", err
	}
	_, err = t.RenewConnection(ctx, db.RenewConnectionParams{
		Organization: t.Org, ID: id, Access: access, Refresh: refresh, ExpiresAt: ends, RenewAt: renew, BaseUrl: s.base,
	})
	if err != nil {
		return "", err
	}
	return id, o.entitled(ctx, t, b, s, id)
}

// provisioned stores a resource with its sealed credentials, and its subscription.
func (o *Office) provisioned(ctx context.Context, t *store.Turn, b begun, s sold) (string, error) {
	id, err := o.newID(purser.PrefixResource)
	if err != nil {
		return "", err
	}
	access := map[string]string{}
	if s.resource.Complete != nil && s.resource.Complete.AccessConfiguration != nil {
		access = s.resource.Complete.AccessConfiguration
	}
	sealed, err := o.sealText(seal.NewSecret(toJSON(access)), t.Org, "resources", id, "access")
	if err != nil {
		return "", err
	}
	names, err := o.variables(ctx, t.Queries, b.step.Provider, b.step.Service, b.step.Name)
	if err != nil {
		return "", err
	}
	var list []string
	for key := range access {
		list = append(list, names(key))
	}
	slices.Sort(list)
	class, err := o.classOf(ctx, t.Queries, b.step.Provider, b.step.Service)
	if err != nil {
		return "", err
	}
	err = t.InsertResource(ctx, db.InsertResourceParams{
		Organization: t.Org, ID: id, Project: b.order.Project, Env: b.order.Env, Name: b.step.Name, Provider: b.step.Provider, Service: b.step.Service,
		Connection: s.connect, ProviderID: s.resource.ID, Item: b.step.Item, Configuration: toJSON(b.step.Configuration), Access: sealed,
		Variables: toJSON(orEmpty(list)), State: ResourceLive, OrderID: b.order.ID, Cap: b.step.Price.Cap, Class: class, CreatedAt: store.Micro(t.Now),
		CredentialsUntil: credentialsUntil(0, s.resource),
	})
	if err != nil {
		return "", fmt.Errorf("storing the resource: %w", err)
	}
	return id, o.subscribe(ctx, t, b, id)
}

// variables names the credentials of a resource in an environment (APP 11.8).
func (o *Office) variables(ctx context.Context, q *db.Queries, provider, service, resource string) (func(key string) string, error) {
	row, err := q.Provider(ctx, provider)
	if err != nil {
		return nil, notFound(err, "provider", provider)
	}
	manifest, err := app.ParseManifest([]byte(row.Manifest))
	if err != nil {
		return nil, err
	}
	services, err := fromJSON[[]app.Service](row.Catalog)
	if err != nil {
		return nil, err
	}
	override := map[string]string{}
	for k, v := range manifest.XEnv {
		override[k] = v
	}
	for _, s := range services {
		if s.ServiceID == service {
			for k, v := range s.XEnv {
				override[k] = v
			}
		}
	}
	return func(key string) string { return app.EnvName(resource, key, override) }, nil
}

// subscribe begins the recurring charge that an approved step allowed, up to what
// was approved (RULES 8).
func (o *Office) subscribe(ctx context.Context, t *store.Turn, b begun, resource string) error {
	p := b.step.Price
	if p.Recurring == 0 || !p.AutoRenew {
		return nil
	}
	id, err := o.newID(purser.PrefixSubscription)
	if err != nil {
		return err
	}
	next, err := nextDate(t.Now, t.Now, p.Interval, t.Zone)
	if err != nil {
		return err
	}
	until, err := time.Parse(time.DateOnly, p.Until)
	if err != nil {
		return fmt.Errorf("reading the end of a subscription: %w", err)
	}
	r := orderRecord("subscribe", b.plan, b.step, id)
	money := audit.Money{Amount: p.Recurring, Currency: p.Currency}
	r.Money = &audit.Amounts{Expected: &money, Ceiling: &money}
	r.Detail["interval"] = p.Interval
	t.Record(r)
	return t.InsertSubscription(ctx, db.InsertSubscriptionParams{
		Organization: t.Org, ID: id, Resource: resource, What: what(b.step), Provider: b.step.Provider, Project: b.order.Project, Category: b.step.Category,
		Currency: p.Currency, Amount: p.Recurring, Interval: p.Interval, Maximum: p.Recurring, PlanDigest: b.plan.Digest, Cap: p.Cap, State: SubscriptionActive,
		StartedAt: store.Micro(t.Now), NextAt: store.Micro(next), EndsAt: store.Micro(until.AddDate(0, 0, 1)) - 1, // the end of the day that was approved
	})
}
