package seller

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
)

const (
	requestTTL = 10 * time.Minute // of an account request (APP 9.1)
	// maxRounds bounds how often one Link sends its request: a provider that is
	// registering us, or that limits token calls, has so many tries.
	maxRounds = 12
	// longestWait is how long Link itself waits for a provider; above it the office
	// is told when to come again.
	longestWait = 30 * time.Second
	maxURL      = 4096
)

// Link asks for an account, new or existing, for the attested email of req, and
// gives its token, or the page where a person must agree first. req.ID, req.Email
// and req.Name are the caller's; ID comes from the order, and sending the same ID
// again, even after a crash, gives the same account (APP 9.3). req.Orchestrator may
// hold {"organization": ID} to name the tenant. Everything else that is empty is
// filled in. The region of req.Configuration chooses the provider's host (APP 17.2).
//
// needs_information means that the provider, or its manifest, asks for more: the
// JSON Schema is the message of the error's provider. The account in the token is
// as the provider named it: whether it is the right one is the office's to say.
func (s *Seller) Link(ctx context.Context, p Provider, req app.AccountRequest) (office.Linked, error) {
	l, err := s.linking(p, req)
	if err != nil {
		return office.Linked{}, err
	}
	return l.until(ctx, l.round)
}

// Redeem goes on with a Link after a person has agreed: code is what came back for
// the request of this ID. A code that does not work any more is replaced by asking
// again under the same ID.
func (s *Seller) Redeem(ctx context.Context, p Provider, req app.AccountRequest, code string) (office.Linked, error) {
	l, err := s.linking(p, req)
	if err != nil {
		return office.Linked{}, err
	}
	first := true
	return l.until(ctx, func(ctx context.Context) (office.Linked, time.Duration, error) {
		if first {
			first = false
			return l.exchange(ctx, &app.OAuthCode{Code: code})
		}
		return l.round(ctx)
	})
}

func (s *Seller) linking(p Provider, req app.AccountRequest) (*linking, error) {
	if req.ID == "" || req.Email == "" {
		return nil, purser.Errorf(purser.InvalidRequest, "an account request needs an id and an email")
	}
	var err error
	if req.Configuration, err = configured(p, req.Configuration); err != nil {
		return nil, err
	}
	p = inRegion(p, req.Configuration)
	c, err := s.client(p, tenant(req))
	if err != nil {
		return nil, err
	}
	return &linking{s: s, p: p, c: c, verifier: s.derived(p, "pkce verifier", req.ID), req: s.filled(p, req)}, nil
}

// until makes tries until one of them gives a token, a page or a reason.
func (l *linking) until(ctx context.Context, try func(context.Context) (office.Linked, time.Duration, error)) (office.Linked, error) {
	for range maxRounds {
		linked, wait, err := try(ctx)
		if err != nil {
			return office.Linked{}, err
		}
		if wait == 0 {
			linked.BaseURL = l.p.Manifest.BaseURL
			return linked, nil
		}
		if err := l.pause(ctx, wait); err != nil {
			return office.Linked{}, err
		}
	}
	return office.Linked{}, l.busy(requestTTL)
}

// configured checks an account's configuration as strictly as the manifest's schema
// says (APP 9.1). What is required and was not given is asked of a person.
func configured(p Provider, given map[string]any) (map[string]any, error) {
	raw := p.Manifest.AccountSchema()
	if len(raw) == 0 {
		return given, nil
	}
	var schema app.Schema
	if err := json.Unmarshal(raw, &schema); err != nil {
		return nil, misconfigured(p, err)
	}
	filled, faults := app.Configure(app.Service{Configuration: schema}, given)
	for _, name := range schema.Required {
		if _, there := filled[name]; !there {
			return nil, more(p, raw)
		}
	}
	if len(faults) > 0 {
		return nil, purser.Errorf(purser.InvalidRequest, "%s takes no such account: %s", p.Name, plain(strings.Join(faults, "; "), maxSaid))
	}
	return filled, nil
}

// inRegion is the provider at the host of a region, where the manifest names one.
func inRegion(p Provider, configuration map[string]any) Provider {
	chosen, _ := configuration["region"].(string)
	for region, base := range p.Manifest.RegionBaseURLs {
		if strings.EqualFold(region, chosen) {
			return p.At(base)
		}
	}
	return p
}

func tenant(req app.AccountRequest) string {
	var block struct {
		Organization string `json:"organization"`
	}
	_ = json.Unmarshal(req.Orchestrator, &block) // absent: no tenant is named
	return block.Organization
}

func (s *Seller) filled(p Provider, req app.AccountRequest) app.AccountRequest {
	req.CodeChallenge = app.Challenge(s.derived(p, "pkce verifier", req.ID))
	req.ConfirmationSecret = "cs_" + s.derived(p, "confirmation secret", req.ID)
	if req.Scopes == nil {
		req.Scopes = p.Manifest.OAuthScopes
	}
	if req.KYC == nil {
		req.KYC = &app.KYC{VerifiedFields: []string{}} // nothing was verified
	}
	if req.Actor == nil {
		req.Actor = &app.Actor{Email: req.Email}
	}
	return req
}

// derived makes a secret of one account request, 256 bits as base64url. It is not
// random, because the same request must be sent again after a crash with the same
// challenge (APP 9.3), and nothing of it was stored.
func (s *Seller) derived(p Provider, what, id string) string {
	key := s.cfg.Key
	if len(key) == 0 {
		key = []byte(p.Secret.Reveal())
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("purser account request, " + what + "\x00" + p.Name + "\x00" + id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// linking is one Link on its way.
type linking struct {
	s        *Seller
	p        Provider
	c        *app.Client
	req      app.AccountRequest
	verifier string
	burnt    bool // a code was refused already
}

// round sends the request once. A wait above zero says to send it again after it.
func (l *linking) round(ctx context.Context) (linked office.Linked, wait time.Duration, err error) {
	until := l.s.cfg.Now().Add(requestTTL)
	l.req.ExpiresAt = app.At(until)
	if l.p.Profile == profileGeneric {
		if l.req, err = l.s.asPartner(l.p, l.req); err != nil {
			return linked, 0, err
		}
	}
	answer, err := l.c.AccountRequest(ctx, l.req)
	if err != nil {
		return linked, 0, changing(l.p, "open an account", err)
	}
	if answer.ID != "" && answer.ID != l.req.ID {
		return linked, 0, wrong(l.p, "it answered another account request than ours")
	}
	switch answer.Type {
	case app.AnswerOAuth:
		return l.exchange(ctx, answer.OAuth)
	case app.AnswerCredentials:
		if answer.Credentials == nil {
			return linked, 0, wrong(l.p, "its credentials are missing")
		}
		linked.Token, err = l.bearer(answer.Credentials.Bearer)
		return linked, 0, err
	case app.AnswerRegistering:
		return linked, max(time.Duration(answer.RetryAfter)*time.Second, time.Second), nil
	case app.AnswerRequiresAuth:
		linked.Consent, err = l.askPerson(answer.RequiresAuth, until)
		return linked, 0, err
	case app.AnswerNeedsInformation:
		return linked, 0, l.askMore(answer.NeedsInformation)
	}
	return linked, 0, wrong(l.p, "an account request was answered with the type "+plain(answer.Type, maxCode))
}

func (l *linking) exchange(ctx context.Context, code *app.OAuthCode) (linked office.Linked, wait time.Duration, err error) {
	if code == nil || code.Code == "" {
		return linked, 0, wrong(l.p, "its code is missing")
	}
	token, err := l.c.Exchange(ctx, code.Code, l.verifier)
	var e *app.Error
	switch {
	case err == nil:
		linked.Token, err = l.bearer(token)
		return linked, 0, err
	case errors.As(err, &e) && !e.Unknown && (e.Code == app.CodeRateLimited || e.HTTPStatus == http.StatusTooManyRequests):
		return linked, max(e.RetryAfter, time.Second), nil // the code is burnt (APP 10.2): the request is sent again for a new one
	case errors.As(err, &e) && !e.Unknown && e.Code == app.CodeInvalidGrant && !l.burnt:
		l.burnt = true // it ran out, or an answer that was lost had redeemed it: the same, once
		return linked, time.Second, nil
	}
	return linked, 0, changing(l.p, "exchange a code", err)
}

func (l *linking) bearer(t app.Token) (app.Token, error) {
	if t.AccessToken == "" || t.TokenType != "" && !strings.EqualFold(t.TokenType, "bearer") {
		return app.Token{}, wrong(l.p, "it gave no bearer token")
	}
	return t, nil
}

// askPerson hands the page on. What comes back with its code is our confirmation
// secret, or another state that the page's URL carries (APP 9.6).
func (l *linking) askPerson(auth *app.RequiresAuth, until time.Time) (*office.Consent, error) {
	var target string
	if auth != nil {
		target = auth.Target()
	}
	u, err := url.Parse(target)
	if target == "" || err != nil || plain(target, maxURL) != target {
		return nil, wrong(l.p, "it wants a person to sign in and gives no https URL for it")
	}
	state := l.req.ConfirmationSecret
	if own := u.Query().Get("state"); own != "" {
		state = own
	}
	return &office.Consent{URL: target, State: state, Secret: l.req.ConfirmationSecret, ExpiresAt: until}, nil
}

func (l *linking) askMore(info *app.NeedsInformation) error {
	if info == nil {
		return wrong(l.p, "it asks for more information and does not say which")
	}
	return more(l.p, info.Schema)
}

// more asks a person for what a schema names.
func more(p Provider, schema json.RawMessage) error {
	text, err := office.InformationSchema(schema)
	if err != nil {
		return wrong(p, "it asks for more information in a form that cannot be read")
	}
	out := purser.Errorf(purser.NeedsInformation, "%s asks for more information before it opens an account", p.Name)
	out.Provider = &purser.ProviderSaid{Code: app.AnswerNeedsInformation, Message: text}
	return out
}

// pause waits, unless the caller's time would be over before.
func (l *linking) pause(ctx context.Context, wait time.Duration) error {
	deadline, limited := ctx.Deadline()
	if wait > longestWait || limited && time.Until(deadline) < wait {
		return l.busy(wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return l.busy(wait)
	}
}

// busy is certain: what was sent can be sent again under the same id.
func (l *linking) busy(after time.Duration) error {
	out := purser.Errorf(purser.ProviderDown, "%s is not ready to open an account yet", l.p.Name)
	out.RetryAfter = after
	return out
}

// Refresh rotates a token pair (APP 10.3). After outcome_unknown the old pair may
// be dead. The provider's code invalid_grant says that the connection has expired:
// link again.
func (s *Seller) Refresh(ctx context.Context, p Provider, refresh seal.Secret) (app.Token, error) {
	c, err := s.client(p, "")
	if err != nil {
		return app.Token{}, err
	}
	token, err := c.Refresh(ctx, refresh.Reveal())
	if err != nil {
		return app.Token{}, changing(p, "renew its token", err)
	}
	return token, nil
}
