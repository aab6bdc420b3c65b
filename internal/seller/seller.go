// Package seller calls providers over APP for the office, and tells what is certain about each failure.
package seller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seal"
)

// Config is what a Seller is made of.
type Config struct {
	// HTTP sends the calls. An *http.Transport can tell a call that never left from
	// a lost answer; of any other, only a failed dial counts as never sent. nil is
	// one with the limits of APP 4.3.
	HTTP http.RoundTripper

	Now    func() time.Time
	Random io.Reader // for the signatures' ids

	// Origin is this installation's public URL; it names us to the hosts of terms.
	Origin func() string
	// Key makes the secrets of account requests; the same key makes the same ones.
	// Empty: each provider's own signing secret does, until it is replaced.
	Key []byte
	// Keys signs beside the secrets (APP 5.3) and for generic providers (15.3); nil: nothing does.
	Keys *Keys
	// Account is our own account id, which each provider sees (APP 3.4, P39).
	Account string
}

// Seller calls providers. It never retries what changes something at a provider:
// the office decides that, under the same keys. It is safe for concurrent use.
//
// Every error is a *purser.Error. Of calls that change something, outcome_unknown
// means that the provider may have acted and provider_unavailable that it
// certainly did not; calls that only read give provider_unavailable for both. A
// refusal is provider_failure with the provider's own words, or the code that the
// office knows for it: quote_changed, quote_expired, payment_declined.
type Seller struct {
	cfg Config

	mu      sync.Mutex
	signers map[string]signer // by provider
}

// signer is shared by all calls to one provider, so that no two of them carry the
// same signature (APP 5.2).
type signer struct {
	*app.Signer
	secret, previous seal.Secret
	key              *app.Key
}

// New makes a Seller.
func New(cfg Config) *Seller {
	if cfg.HTTP == nil {
		cfg.HTTP = transport()
	}
	return &Seller{cfg: cfg, signers: map[string]signer{}}
}

// transport has the limits of APP 4.3. One serves all providers, so that a
// second call finds the first one's connection.
func transport() *http.Transport {
	const connect, answer = 10 * time.Second, 30 * time.Second
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connect}).DialContext,
		TLSHandshakeTimeout:   connect,
		ResponseHeaderTimeout: answer,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
}

// client makes a client of one provider for one call: cheap, since the transport
// and the signer are shared.
func (s *Seller) client(p Provider, organization string) (*app.Client, error) {
	signer, err := s.signer(p)
	if err != nil {
		return nil, misconfigured(p, err)
	}
	cfg := app.ClientConfig{
		BaseURL: p.Manifest.BaseURL, TokenURL: p.Manifest.OAuthTokenEndpoint, PublicBaseURL: p.Manifest.PublicBaseURL,
		Signer: signer, Profile: app.Profile(p.Profile), Account: s.cfg.Account, Organization: organization, Transport: s.cfg.HTTP,
	}
	if p.Profile == profileGeneric {
		cfg.Profile, cfg.Transport = app.ProfilePurser, &partner{next: s.cfg.HTTP, seller: s, provider: p}
	}
	c, err := app.NewClient(cfg)
	if err != nil {
		return nil, misconfigured(p, err)
	}
	return c, nil
}

func misconfigured(p Provider, err error) error {
	return purser.Errorf(purser.ProviderFailure, "%s is registered in a way that cannot be called; nothing was sent", p.Name).
		WithHint("register it again: purser provider add %s", p.Name).WithCause(err)
}

func (s *Seller) signer(p Provider) (*app.Signer, error) {
	secrets := []string{p.Secret.Reveal()}
	if p.Profile == profileGeneric { // nothing is signed there; the client wants a signer nevertheless
		secrets = []string{"unused"}
	}
	if !p.Previous.Empty() {
		secrets = append(secrets, p.Previous.Reveal())
	}
	var key *app.Key
	if s.cfg.Keys != nil {
		key = s.cfg.Keys.signing(s.cfg.Now(), s.cfg.Origin())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.signers[p.Name]; ok && known.is(p, key) {
		return known.Signer, nil
	}
	fresh, err := app.NewSigner(app.SignerConfig{Secrets: secrets, Key: key, Now: s.cfg.Now, Random: s.cfg.Random})
	if err != nil {
		return nil, err
	}
	s.signers[p.Name] = signer{fresh, p.Secret, p.Previous, key}
	return fresh, nil
}

func (s signer) is(p Provider, key *app.Key) bool {
	same := s.key == nil && key == nil || s.key != nil && key != nil && s.key.ID == key.ID && s.key.Issuer == key.Issuer
	return same && s.secret.Equal(p.Secret) && s.previous.Equal(p.Previous)
}

// Services reads the provider's whole catalog. An entry that cannot be read is
// left out; the texts are the provider's own.
func (s *Seller) Services(ctx context.Context, p Provider) ([]app.Service, error) {
	c, err := s.client(p, "")
	if err != nil {
		return nil, err
	}
	if err := s.speaks(ctx, p, c); err != nil {
		return nil, err
	}
	entries, err := c.Services(ctx)
	if err != nil {
		return nil, reading(p, "list its services", err)
	}
	services, _ := app.Normalize(p.Name, entries)
	return services, nil
}

// speaks asks which versions the provider has (APP section 6). not_available says
// that ours is not among them, and that nothing else should be asked; a health that
// does not answer says nothing.
func (s *Seller) speaks(ctx context.Context, p Provider, c *app.Client) error {
	if p.Profile == "generic" { // it has no such route (APP section 15)
		return nil
	}
	health, err := c.Health(ctx)
	var e *app.Error
	if err == nil && !health.Speaks() || errors.As(err, &e) && e.Code == app.CodeInvalidAPIVersion {
		return purser.Errorf(purser.NotAvailable, "%s does not speak APP %s", p.Name, app.Version).WithHint("ask its makers; it is asked again within the hour")
	}
	return nil
}

// Quote asks for the price of one exact thing (capability quotes). access may be
// empty before there is an account.
func (s *Seller) Quote(ctx context.Context, p Provider, access seal.Secret, req app.QuoteRequest) (app.Quote, error) {
	c, err := s.able(p, app.CapQuotes)
	if err != nil {
		return app.Quote{}, err
	}
	q, err := c.Quote(ctx, app.Call{Bearer: access.Reveal()}, req)
	if err != nil {
		return app.Quote{}, reading(p, "quote "+req.ServiceID, err)
	}
	if q.AmountMinor < 0 || q.TaxMinor < 0 || q.Renewal != nil && q.Renewal.AmountMinor < 0 {
		return app.Quote{}, wrong(p, "it quoted an amount below zero")
	}
	return q, nil
}

// Create buys a resource under the idempotency key and the request's
// orchestrator_resource_id. The answer is as it came: whether it is what was
// ordered, and what to do about needs_information, is the office's to say. With a
// refusal it holds the id under which the provider began, if it named one (APP P35).
func (s *Seller) Create(ctx context.Context, p Provider, access seal.Secret, key string, req app.CreateRequest) (app.Resource, error) {
	c, err := s.client(p, "")
	if err != nil {
		return app.Resource{}, err
	}
	r, err := c.Create(ctx, app.Call{Bearer: access.Reveal(), IdempotencyKey: key}, req)
	if err != nil {
		return app.Resource{ID: begunAs(err)}, changing(p, "create "+req.ServiceID, err)
	}
	if r.ID == "" && r.Status != app.StatusNeedsInformation {
		return app.Resource{}, unknown(p, "create "+req.ServiceID, fmt.Errorf("status %.40q came without an id", r.Status))
	}
	return r, nil
}

// Get reads one resource, its credentials included.
func (s *Seller) Get(ctx context.Context, p Provider, access seal.Secret, id string) (app.Resource, error) {
	c, err := s.client(p, "")
	if err != nil {
		return app.Resource{}, err
	}
	r, err := c.Get(ctx, app.Call{Bearer: access.Reveal()}, id)
	if err != nil {
		return app.Resource{}, reading(p, "show a resource", err)
	}
	if r.ID != "" && r.ID != id {
		return app.Resource{}, wrong(p, "it showed another resource than the one that was asked for")
	}
	return r, nil
}

// Find looks up what an order of ours made (capability resources:find). found is
// false only when the provider said so.
func (s *Seller) Find(ctx context.Context, p Provider, access seal.Secret, order string) (app.Resource, bool, error) {
	c, err := s.able(p, app.CapFind)
	if err != nil {
		return app.Resource{}, false, err
	}
	r, found, err := c.Find(ctx, app.Call{Bearer: access.Reveal()}, order)
	if err != nil {
		return app.Resource{}, false, reading(p, "look an order up", err)
	}
	// A provider that ignores the question and lists all it has would else pass a
	// resource of another order off as this one's.
	if found && r.OrchestratorResourceID != order {
		return app.Resource{}, false, wrong(p, "it found a resource of another order than the one that was asked for")
	}
	return r, found, nil
}

// List reads all resources of the account, those removed in the last 30 days
// included, without secrets (capability resources:find).
func (s *Seller) List(ctx context.Context, p Provider, access seal.Secret) ([]app.Resource, error) {
	c, err := s.able(p, app.CapFind)
	if err != nil {
		return nil, err
	}
	all, err := c.List(ctx, app.Call{Bearer: access.Reveal()})
	if err != nil {
		return nil, reading(p, "list its resources", err)
	}
	return all, nil
}

// Remove removes a resource, or detaches it where the manifest lacks
// resources:deprovision (APP 12.8). A repeat answers the same.
func (s *Seller) Remove(ctx context.Context, p Provider, access seal.Secret, key, id string) (app.Resource, error) {
	c, err := s.client(p, "")
	if err != nil {
		return app.Resource{}, err
	}
	r, err := c.Remove(ctx, app.Call{Bearer: access.Reveal(), IdempotencyKey: key}, id, nil)
	if err != nil {
		return app.Resource{}, changing(p, "remove a resource", err)
	}
	return r, nil
}

// Update changes the service or the configuration of a resource (APP 12.6). What
// the answer leaves out, the credentials for instance, stays as it was.
func (s *Seller) Update(ctx context.Context, p Provider, access seal.Secret, key, id string, req app.UpdateRequest) (app.Resource, error) {
	c, err := s.able(p, app.CapUpdate)
	if err != nil {
		return app.Resource{}, err
	}
	r, err := c.Update(ctx, app.Call{Bearer: access.Reveal(), IdempotencyKey: key}, id, req)
	if err != nil {
		return app.Resource{}, changing(p, "update a resource", err)
	}
	return ours(p, id, r)
}

// Rotate makes new credentials (APP 12.7). A provider that answers 404, 405 or
// unsupported_operation does not offer it (P28): the error's provider code is then
// unsupported_operation, and the old credentials work. The manifest is not asked,
// because the capability is an addition of ours.
func (s *Seller) Rotate(ctx context.Context, p Provider, access seal.Secret, key, id string) (app.Resource, error) {
	c, err := s.client(p, "")
	if err != nil {
		return app.Resource{}, err
	}
	r, err := c.Rotate(ctx, app.Call{Bearer: access.Reveal(), IdempotencyKey: key}, id, app.RotateRequest{})
	if err != nil {
		return app.Resource{}, rotating(p, err)
	}
	return ours(p, id, r)
}

// ours refuses an answer about another resource.
func ours(p Provider, id string, r app.Resource) (app.Resource, error) {
	if r.ID != "" && r.ID != id {
		return app.Resource{}, wrong(p, "it answered for another resource than the one that was asked for")
	}
	r.ID = id
	return r, nil
}

// DeepLink asks for a single-use page on which a person is signed in (APP 13), for
// a purpose that the manifest names. Its URL is a secret until it was opened.
func (s *Seller) DeepLink(ctx context.Context, p Provider, access seal.Secret, purpose, path string) (app.DeepLink, error) {
	if purpose == "" {
		purpose = "dashboard"
	}
	if !slices.Contains(p.Manifest.DeepLinkPurposes, purpose) {
		return app.DeepLink{}, notOffered(p, "open a page for "+plain(purpose, maxCode))
	}
	c, err := s.client(p, "")
	if err != nil {
		return app.DeepLink{}, err
	}
	link, err := c.DeepLink(ctx, app.Call{Bearer: access.Reveal()}, app.DeepLinkRequest{Purpose: purpose, Path: path})
	if err != nil {
		return app.DeepLink{}, reading(p, "open a page", err) // a link that nobody got opens nothing
	}
	return link, nil
}

// able makes a client only for what the manifest declares: nobody probes (APP 19).
func (s *Seller) able(p Provider, capability string) (*app.Client, error) {
	if !p.Manifest.Can(capability) {
		out := purser.Errorf(purser.ProviderFailure, "%s does not declare %s; nothing was sent", p.Name, capability)
		out.Provider = &purser.ProviderSaid{Code: app.CodeUnsupportedOperation}
		return nil, out
	}
	return s.client(p, "")
}
