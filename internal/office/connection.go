package office

import (
	"context"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// access gives a connection's token, renewed before its end: once for all who
// need it, and stored before it is used (APP 17.2). p becomes the provider at the
// host where the account lives.
func (o *Office) access(ctx context.Context, org string, p *Provider) (db.Connection, seal.Secret, error) {
	lock := o.refreshLock(org, p.Name)
	lock.Lock()
	defer lock.Unlock()
	c, err := o.Store.Read().Connection(ctx, db.ConnectionParams{Organization: org, Provider: p.Name})
	if missing(err) || err == nil && c.State != ConnectionActive {
		return c, seal.Secret{}, purser.Errorf(purser.InvalidState, "there is no working account at %s", p.Name).WithHint("make a new plan: it links one")
	}
	if err != nil {
		return c, seal.Secret{}, err
	}
	*p = p.At(c.BaseUrl)
	access, err := o.openText(c.Access, org, "connections", c.ID, "access")
	if err != nil || !o.ending(c) {
		return c, access, err
	}
	return o.renewAccess(ctx, *p, c)
}

// asked calls a provider with its token, and once more with a renewed one when the
// provider does not know it any more (APP 17.2): a refused call did nothing.
func (o *Office) asked(ctx context.Context, org string, p Provider, access seal.Secret, call func(access seal.Secret) (app.Resource, error)) (app.Resource, error) {
	r, err := call(access)
	if !tokenUnknown(err) {
		return r, err
	}
	fresh, renewing := o.renewed(ctx, org, p, access)
	if renewing != nil {
		return r, err // what the provider said first is the reason
	}
	return call(fresh)
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
	_, access, err = o.renewAccess(ctx, p, c)
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

// ending reports that less than a minute remains of a token.
func (o *Office) ending(c db.Connection) bool {
	return c.ExpiresAt != 0 && store.Time(c.ExpiresAt).Sub(o.Now()) < time.Minute
}

func (o *Office) renewAccess(ctx context.Context, p Provider, c db.Connection) (db.Connection, seal.Secret, error) {
	expired := func() error {
		return o.Store.Write(ctx, func(q *db.Queries) error {
			return q.SetConnectionState(ctx, db.SetConnectionStateParams{Organization: c.Organization, ID: c.ID, State: ConnectionExpired})
		})
	}
	refresh, err := o.openText(c.Refresh, c.Organization, "connections", c.ID, "refresh")
	if err != nil {
		return c, seal.Secret{}, err
	}
	again := purser.Errorf(purser.InvalidState, "the account at %s must be linked again", p.Name).WithHint("make a new plan: it links the account")
	if refresh.Empty() {
		if err := expired(); err != nil {
			return c, seal.Secret{}, err
		}
		return c, seal.Secret{}, again
	}
	token, err := o.Seller.Refresh(ctx, p, refresh)
	if purser.CodeOf(err) == purser.ProviderFailure { // it said no: a loop would not help
		if err := expired(); err != nil {
			return c, seal.Secret{}, err
		}
		return c, seal.Secret{}, again
	}
	if err != nil {
		return c, seal.Secret{}, err
	}
	if token.RefreshToken == "" {
		token.RefreshToken = refresh.Reveal()
	}
	return o.storeAccess(ctx, c, seal.NewSecret(token.AccessToken), seal.NewSecret(token.RefreshToken), tokenEnd(o.Now(), token.ExpiresIn))
}

func (o *Office) storeAccess(ctx context.Context, c db.Connection, access, refresh seal.Secret, ends int64) (db.Connection, seal.Secret, error) {
	a, err := o.sealText(access, c.Organization, "connections", c.ID, "access")
	if err != nil {
		return c, access, err
	}
	r, err := o.sealText(refresh, c.Organization, "connections", c.ID, "refresh")
	if err != nil {
		return c, access, err
	}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		return q.SetConnectionTokens(ctx, db.SetConnectionTokensParams{Organization: c.Organization, ID: c.ID, Access: a, Refresh: r, ExpiresAt: ends})
	})
	return c, access, err
}
