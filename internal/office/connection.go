package office

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// access gives a connection's token, renewed before its end: once for all who
// need it, and stored before it is used (APP 17.2). p becomes the provider at the
// host where the account lives.
func (o *Office) access(ctx context.Context, org string, p *Provider) (db.Connection, seal.Secret, error) {
	return o.accessFor(ctx, org, p, nil)
}

// accessFor is access on behalf of an order, which can wait for a person if the
// account must be asked for again and its provider wants one.
func (o *Office) accessFor(ctx context.Context, org string, p *Provider, order *db.Order) (db.Connection, seal.Secret, error) {
	lock := o.refreshLock(org, p.Name)
	lock.Lock()
	defer lock.Unlock()
	c, err := o.Store.Read().Connection(ctx, db.ConnectionParams{Organization: org, Provider: p.Name})
	if missing(err) {
		return c, seal.Secret{}, purser.Errorf(purser.InvalidState, "there is no account at %s", p.Name).WithHint("make a new plan: it links one")
	}
	if err != nil {
		return c, seal.Secret{}, err
	}
	manifest := *p
	*p = p.At(c.BaseUrl)
	if c.State != ConnectionActive {
		return o.relinked(ctx, manifest, p, c, order)
	}
	access, err := o.openText(c.Access, org, "connections", c.ID, "access")
	if err != nil || !o.ending(c) {
		return c, access, err
	}
	return o.renewAccess(ctx, manifest, p, c, order)
}

// asked calls a provider with its token, and once more with a renewed one when the
// provider does not know it any more (APP 17.2): a refused call did nothing.
func (o *Office) asked(ctx context.Context, org string, p Provider, access seal.Secret, call func(access seal.Secret) (app.Resource, error)) (app.Resource, error) {
	r, err := call(access)
	if !tokenUnknown(err) {
		return r, err
	}
	fresh, renewing := o.renewed(ctx, org, p, access)
	switch {
	case renewing == nil:
		return call(fresh)
	case undecided(renewing):
		return r, renewing
	}
	return r, err // what the provider said first is the reason
}

// undecided reports an error that is nobody's no: whoever was asked was not there, and
// the same may be asked again. A fault of the database has no code here.
func undecided(err error) bool {
	code := purser.CodeOf(err)
	return code == purser.Internal || code.Info().Class == purser.ClassRetry
}

func tokenUnknown(err error) bool {
	var e *purser.Error
	return asCoded(err, &e) && e.Provider != nil && e.Provider.Status == 401 && e.Provider.Code != app.CodeInvalidSignature
}

// renewed is the token after stale: what another caller got meanwhile, or a new one.
func (o *Office) renewed(ctx context.Context, org string, p Provider, stale seal.Secret) (seal.Secret, error) {
	lock := o.refreshLock(org, p.Name)
	lock.Lock()
	defer lock.Unlock()
	c, err := o.Store.Read().Connection(ctx, db.ConnectionParams{Organization: org, Provider: p.Name})
	if err != nil {
		return stale, err
	}
	access, err := o.openText(c.Access, org, "connections", c.ID, "access")
	if err != nil || !access.Equal(stale) {
		return access, err
	}
	_, access, err = o.renewAccess(ctx, p, &p, c, nil)
	return access, err
}

func (o *Office) refreshLock(org, provider string) *sync.Mutex {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := org + "/" + provider
	if o.refresh[key] == nil {
		o.refresh[key] = &sync.Mutex{}
	}
	return o.refresh[key]
}

// ending reports that a token is to be renewed. One that cannot be is used to its end.
func (o *Office) ending(c db.Connection) bool {
	now := store.Micro(o.Now())
	if c.ExpiresAt == 0 || now >= c.ExpiresAt {
		return c.ExpiresAt != 0
	}
	at := c.RenewAt
	if at == 0 {
		at = store.Micro(store.Time(c.ExpiresAt).Add(-time.Minute))
	}
	return now >= at
}

// renewal is when a token ends, and when to renew it: with less than a minute, or a
// tenth of its life, to go (APP 17.2). Both are 0 for one that does not end.
func renewal(now time.Time, t app.Token) (ends, renew int64) {
	if t.ExpiresIn <= 0 {
		return 0, 0
	}
	life := time.Duration(t.ExpiresIn) * time.Second
	ends, renew = store.Micro(now.Add(life)), store.Micro(now.Add(life-max(time.Minute, life/10)))
	if t.RefreshToken == "" {
		renew = ends
	}
	return ends, renew
}

// renewAccess renews a token. What cannot be renewed is asked for anew, once.
func (o *Office) renewAccess(ctx context.Context, manifest Provider, p *Provider, c db.Connection, order *db.Order) (db.Connection, seal.Secret, error) {
	refresh, err := o.openText(c.Refresh, c.Organization, "connections", c.ID, "refresh")
	if err != nil {
		return c, seal.Secret{}, err
	}
	if !refresh.Empty() {
		until, fresh, err := o.claimRenewal(ctx, c)
		switch {
		case err != nil:
			return c, seal.Secret{}, err
		case until == 0 && fresh.State == ConnectionActive:
			access, err := o.openText(fresh.Access, c.Organization, "connections", c.ID, "access")
			return fresh, access, err
		case until == 0:
			return o.relinked(ctx, manifest, p, fresh, order)
		}
		token, err := o.refreshed(ctx, *p, refresh)
		if err == nil {
			if token.RefreshToken == "" {
				token.RefreshToken = refresh.Reveal()
			}
			return o.storeAccess(ctx, c, token, c.BaseUrl, func(*store.Turn) error { return nil })
		}
		releasing := o.Store.Write(context.WithoutCancel(ctx), func(q *db.Queries) error {
			return q.ReleaseRenewal(ctx, db.ReleaseRenewalParams{Organization: c.Organization, ID: c.ID, RenewingUntil: until})
		})
		if releasing != nil || !saysDead(err) {
			return c, seal.Secret{}, firstError(releasing, err)
		}
	}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		return q.SetConnectionState(ctx, db.SetConnectionStateParams{Organization: c.Organization, ID: c.ID, State: ConnectionExpired})
	})
	if err != nil {
		return c, seal.Secret{}, err
	}
	return o.relinked(ctx, manifest, p, c, order)
}

// renewalLease is longer than both calls of a renewal can take. A replica that dies
// meanwhile keeps the others waiting for no longer than that and the clocks' slack.
const renewalLease = 65 * time.Second

// claimRenewal makes this caller the only one of all replicas that renews a token: a
// provider takes a refresh token that comes twice for a stolen one, and ends the new
// pair too (APP 10.3). until is 0 when another has renewed it meanwhile, or found it
// dead; fresh is then what is stored.
func (o *Office) claimRenewal(ctx context.Context, c db.Connection) (until int64, fresh db.Connection, err error) {
	for {
		fresh, err = o.Store.Read().Connection(ctx, db.ConnectionParams{Organization: c.Organization, Provider: c.Provider})
		if err != nil || fresh.State != ConnectionActive || !bytes.Equal(fresh.Access, c.Access) {
			return 0, fresh, notFound(err, "connection", c.Provider)
		}
		skew, err := o.Store.ClockSkew(ctx, c.Organization)
		if err != nil {
			return 0, fresh, err
		}
		if now := o.Now(); leaseOver(fresh.RenewingUntil, now, skew) {
			claimed := int64(0)
			until = store.Micro(now.Add(renewalLease - skew)) // as the database's clock has it, however far off ours is
			err = o.Store.Write(ctx, func(q *db.Queries) (err error) {
				claimed, err = q.ClaimRenewal(ctx, db.ClaimRenewalParams{
					Organization: c.Organization, ID: c.ID, Access: c.Access, Until: until, Claimed: fresh.RenewingUntil,
				})
				return err
			})
			if err != nil || claimed == 1 {
				return until, fresh, err
			}
		}
		if ended := pause(ctx, 50*time.Millisecond); ended != nil {
			return 0, fresh, purser.Errorf(purser.ProviderDown, "the token of %s is being renewed; nothing was sent to it", c.Provider).WithCause(ended)
		}
	}
}

// refreshed renews a pair. After a lost answer the old pair may be dead: asking once
// more tells. If that is lost too, it is certain at least that nothing was bought.
func (o *Office) refreshed(ctx context.Context, p Provider, refresh seal.Secret) (app.Token, error) {
	token, err := o.Seller.Refresh(ctx, p, refresh)
	if purser.CodeOf(err) == purser.OutcomeUnknown {
		token, err = o.Seller.Refresh(ctx, p, refresh)
	}
	return token, certain(p, err)
}

// certain is an error from before a call: whatever came of an account or a token, what
// they are needed for was not sent.
func certain(p Provider, err error) error {
	if purser.CodeOf(err) != purser.OutcomeUnknown {
		return err
	}
	return purser.Errorf(purser.ProviderDown, "%s gave no token that can be used; nothing else was sent to it", p.Name).WithCause(err)
}

// saysDead reports that a refused renewal is about the token, and not about how we
// signed or who we said to be.
func saysDead(err error) bool {
	var e *purser.Error
	if !asCoded(err, &e) || e.Code != purser.ProviderFailure {
		return false
	}
	return e.Provider == nil || !slices.Contains([]string{app.CodeInvalidSignature, app.CodeInvalidClient, app.CodeInvalidAPIVersion}, e.Provider.Code)
}

// relinkPause is how long an account that could not be asked for again is left alone:
// a provider that says no is not asked in a loop (APP 17.2).
const relinkPause = time.Minute

// pageNeeded is the error of an account that a person must agree to again.
type pageNeeded struct {
	why     *purser.Error
	consent Consent
}

func (e *pageNeeded) Error() string { return e.why.Error() }
func (e *pageNeeded) Unwrap() error { return e.why }

// relinked asks anew for an account whose connection has expired (APP 17.2): on the
// terms that a person approved when it was linked, for the same address, and only the
// same account will do. Anything else is a plan's to ask.
func (o *Office) relinked(ctx context.Context, manifest Provider, p *Provider, c db.Connection, order *db.Order) (db.Connection, seal.Secret, error) {
	no := purser.Errorf(purser.InvalidState, "the account at %s must be linked again", p.Name).WithHint("purser link %s", p.Name)
	if order == nil && !o.mayRelink(c.ID) {
		return c, seal.Secret{}, no
	}
	linked, err := o.askAgain(ctx, manifest, c, order)
	if missing(err) || purser.CodeOf(err) == purser.QuoteChanged {
		return c, seal.Secret{}, no.WithCause(err)
	}
	if err != nil {
		return c, seal.Secret{}, certain(manifest, err)
	}
	if linked.Consent != nil && order != nil {
		return c, seal.Secret{}, &pageNeeded{o.needsConsent(*p, order.ID, c.Email), *linked.Consent}
	}
	if linked.Consent != nil {
		return c, seal.Secret{}, no
	}
	if a := linked.Token.Account; a != nil && (a.ID != "" && c.Account != "" && catalog.Plain(a.ID, 128) != c.Account ||
		a.PrimaryEmail != "" && !strings.EqualFold(strings.TrimSpace(a.PrimaryEmail), c.Email)) {
		return c, seal.Secret{}, purser.Errorf(purser.AccountMismatch, "%s answered for another account than the one that was linked", p.Name).
			WithHint("ask %s which account belongs to %s", p.Name, c.Email)
	}
	*p = manifest.At(linked.BaseURL)
	return o.storeAccess(ctx, c, linked.Token, linked.BaseURL, func(t *store.Turn) error {
		t.Record(recordOf(system, "relink", c.ID))
		if order == nil {
			return nil
		}
		return t.SetFlowStatus(ctx, db.SetFlowStatusParams{Organization: t.Org, ID: flowID(order.ID), Status: FlowComplete, UpdatedAt: store.Micro(t.Now)})
	})
}

// mayRelink lets one account be asked for again once in a while, by whoever is first.
func (o *Office) mayRelink(connection string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.Now()
	if last, asked := o.relinks[connection]; asked && now.Sub(last) < relinkPause {
		return false
	}
	o.relinks[connection] = now
	return true
}

// askAgain sends the account request of the plan that linked the account, under an
// id that is new for each token that died, or the order's own.
func (o *Office) askAgain(ctx context.Context, p Provider, c db.Connection, order *db.Order) (Linked, error) {
	first, step, err := o.linkStep(ctx, c.Organization, c.Provider)
	if err != nil {
		return Linked{}, err
	}
	if err := o.sameText(ctx, step); err != nil {
		return Linked{}, err
	}
	if order != nil {
		req, err := o.accountRequest(ctx, p, *order, step)
		if err != nil {
			return Linked{}, err
		}
		return o.linked(ctx, p, *order, req)
	}
	req, err := o.accountRequest(ctx, p, first, step)
	if err != nil {
		return Linked{}, err
	}
	dead := sha256.Sum256(c.Access)
	req.ID += "_" + hex.EncodeToString(dead[:8])
	return o.Seller.Link(ctx, p, req)
}

// linkStep is the step that linked the account at a provider last, and its order.
func (o *Office) linkStep(ctx context.Context, org, provider string) (db.Order, purser.PlanStep, error) {
	order, err := o.Store.Read().OrderThatLinked(ctx, db.OrderThatLinkedParams{Organization: org, Provider: provider})
	if err != nil {
		return order, purser.PlanStep{}, err
	}
	step, err := o.stepOf(ctx, order)
	return order, step, err
}

// storeAccess keeps a new token before it is used, in a turn that also keeps note.
func (o *Office) storeAccess(ctx context.Context, c db.Connection, token app.Token, base string, note func(*store.Turn) error) (db.Connection, seal.Secret, error) {
	access := seal.NewSecret(token.AccessToken)
	a, err := o.sealText(access, c.Organization, "connections", c.ID, "access")
	if err != nil {
		return c, access, err
	}
	r, err := o.sealText(seal.NewSecret(token.RefreshToken), c.Organization, "connections", c.ID, "refresh")
	if err != nil {
		return c, access, err
	}
	ends, renew := renewal(o.Now(), token)
	err = o.turn(context.WithoutCancel(ctx), c.Organization, func(t *store.Turn) error {
		n, err := t.RenewConnection(ctx, db.RenewConnectionParams{
			Organization: c.Organization, ID: c.ID, Access: a, Refresh: r, ExpiresAt: ends, RenewAt: renew, BaseUrl: base,
		})
		if err == nil && n == 0 {
			err = purser.Errorf(purser.InvalidState, "the account at %s was unlinked meanwhile", c.Provider).WithHint("purser link %s", c.Provider)
		}
		if err != nil {
			return err
		}
		return note(t)
	})
	return c, access, err
}
