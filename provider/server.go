package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
)

// Provider is the http.Handler of one seller. It is safe for concurrent use.
type Provider struct {
	cfg                 Config
	basePath, tokenPath string
	throttle            throttle
	hmacSeen, jtiSeen   app.Replay
	locks               *locks
	tokenMemo           memo[tokenRecord]
	projectMemo         memo[projectRecord]
	homes               homes
	sweeping            sweeping
	partners            partners
	accountTypes        map[string]app.Property
	static              map[string]app.Service // Config.Catalog, when no hook gives a live one
	shared              bool                   // other processes may write to the Store

	stale   sync.Mutex
	catalog []app.CatalogService // the last good live catalog
}

// New checks a configuration and makes a Provider. The paths served are those of
// Manifest.BaseURL and Manifest.OAuthTokenEndpoint, e.g. /app/provisioning/... and
// /app/oauth/token; any prefix a proxy strips must be absent from both.
func New(c Config) (*Provider, error) {
	base, err := url.Parse(c.Manifest.BaseURL)
	if err != nil || c.Manifest.BaseURL == "" {
		return nil, errors.New("making provider: Manifest.BaseURL is not a URL")
	}
	token, err := url.Parse(c.Manifest.OAuthTokenEndpoint)
	if err != nil || c.Manifest.OAuthTokenEndpoint == "" {
		return nil, errors.New("making provider: Manifest.OAuthTokenEndpoint is not a URL")
	}
	if c.Store == nil || c.Hooks.Provision == nil {
		return nil, errors.New("making provider: Store and Hooks.Provision are needed")
	}
	if n := len(c.SealKey); n != 0 && n != 32 {
		return nil, errors.New("making provider: SealKey is not 32 bytes")
	}
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("making provider: %w", err)
	}
	held, shared := &locks{}, true
	if m, ok := c.Store.(*memoryStore); ok { // whoever shares it is in this process, and shares its locks
		held, shared = &m.locks, false
	}
	return &Provider{
		cfg:          c,
		locks:        held,
		shared:       shared,
		basePath:     "/" + strings.Trim(base.Path, "/"),
		tokenPath:    "/" + strings.Trim(token.Path, "/"),
		accountTypes: accountTypes(c.Manifest),
		static:       normalized(c.Catalog, c.Manifest.Name),
	}, nil
}

func (c Config) withDefaults() Config {
	if len(c.Secrets) > 0 {
		c.Orchestrators = append([]Orchestrator{{Name: "purser", Secrets: c.Secrets}}, c.Orchestrators...)
	}
	if c.Billing == "" {
		c.Billing = app.PaidByOrchestrator
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.AccessTokenTTL, time.Hour},
		{&c.RefreshTokenTTL, 90 * 24 * time.Hour},
		{&c.QuoteTTL, 15 * time.Minute},
		{&c.HookTimeout, time.Minute},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Hooks.Accounts == nil {
		c.Hooks.Accounts = &accountBook{store: c.Store, random: c.Random}
	}
	if c.LoginPage == "" {
		c.LoginPage = cmp.Or(c.Manifest.WebsiteURL, "/")
	}
	if c.VerifyPage == "" {
		c.VerifyPage = c.LoginPage
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.Generic != nil {
		generic := c.Generic.withDefaults(c.Manifest)
		c.Generic = &generic
	}
	if c.Audit == nil {
		c.Audit = func(context.Context, Event) {}
	}
	return c
}

func (c Config) check() error {
	names := map[string]bool{}
	for _, o := range c.Orchestrators {
		if o.Name == "" || strings.ContainsAny(o.Name, "/ ") || len(o.Name) > 40 || names[o.Name] {
			return fmt.Errorf("orchestrator name %q is empty, too long, used twice or has a slash or space", o.Name)
		}
		names[o.Name] = true
		if strings.HasPrefix(o.Name, partnerPrefix) {
			return fmt.Errorf("orchestrator name %q: %q begins the names of generic partners", o.Name, partnerPrefix)
		}
		for _, s := range o.Secrets {
			if s == "" {
				return fmt.Errorf("orchestrator %s: a signing secret is empty", o.Name)
			}
		}
		for _, target := range []string{o.CallbackURL, o.ConfirmURL} {
			if target == "" {
				continue
			}
			if err := app.CheckURL(target); err != nil {
				return fmt.Errorf("orchestrator %s: callback or confirm URL: %w", o.Name, err)
			}
		}
		if o.ConfirmURL != "" && (!strings.Contains(o.ConfirmURL, "{id}") || o.ProviderKey == "") {
			return fmt.Errorf("orchestrator %s: ConfirmURL needs {id} in it, and a ProviderKey", o.Name)
		}
	}
	if c.Hooks.Link != nil && len(required(c.LinkSchema)) == 0 {
		return errors.New("LinkSchema must require the instance identifier")
	}
	if len(c.Regions) > 0 && c.Region == "" {
		return errors.New("there are Regions, but no Region of its own")
	}
	return checkCatalog(c.Catalog)
}

// RevokeSessions ends every code and token of an orchestrator issued until now.
func (p *Provider) RevokeSessions(ctx context.Context, orchestrator string) error {
	return p.cfg.Store.Update(ctx, func(tx Tx) error {
		return put(tx, keyRevoked(orchestrator), stamp{p.cfg.Now()}, time.Time{})
	})
}

// VerifyEmail marks the account of an email as verified by the provider itself, which
// deep links need (13). It is for accounts that the SDK keeps; ErrNoAccount: there is none.
func (p *Provider) VerifyEmail(ctx context.Context, email string) error {
	return p.cfg.Store.Update(ctx, func(tx Tx) error {
		var to pointer
		found, err := get(tx, keyEmail(fold(email)), &to)
		if err != nil {
			return err
		}
		if !found {
			return ErrNoAccount
		}
		var a Account
		if err := load(tx, to.ID, &a); err != nil {
			return err
		}
		a.EmailVerified = true
		return put(tx, keyAccount(to.ID), a, time.Time{})
	})
}

// ServeHTTP answers the routes of APP 4.1 below Manifest.BaseURL, the token
// endpoint, the consent page and the target of deep links.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve(w, r) }
