package seller

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
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
)

// Link asks for an account, new or existing, for the attested email of req, and
// gives its token. req.ID, req.Email and req.Name are the caller's; ID comes from
// the order, and sending the same ID again, even after a crash, gives the same
// account (APP 9.3). req.Orchestrator may hold {"organization": ID} to name the
// tenant. Everything else that is empty is filled in.
//
// needs_person means that a person must open the URL in the hint;
// needs_information that the provider asks for more, as its words say. The account
// in the token is as the provider named it: whether it is the right one is the
// office's to say.
func (s *Seller) Link(ctx context.Context, p Provider, req app.AccountRequest) (app.Token, error) {
	if req.ID == "" || req.Email == "" {
		return app.Token{}, purser.Errorf(purser.InvalidRequest, "an account request needs an id and an email")
	}
	c, err := s.client(p, tenant(req))
	if err != nil {
		return app.Token{}, err
	}
	l := &linking{s: s, p: p, c: c, verifier: derived(p, "pkce verifier", req.ID), req: s.filled(p, req)}
	for range maxRounds {
		token, wait, err := l.round(ctx)
		if err != nil || wait == 0 {
			return token, err
		}
		if err := l.pause(ctx, wait); err != nil {
			return app.Token{}, err
		}
	}
	return app.Token{}, l.busy(requestTTL)
}

func tenant(req app.AccountRequest) string {
	var block struct {
		Organization string `json:"organization"`
	}
	_ = json.Unmarshal(req.Orchestrator, &block) // absent: no tenant is named
	return block.Organization
}

func (s *Seller) filled(p Provider, req app.AccountRequest) app.AccountRequest {
	req.CodeChallenge = app.Challenge(derived(p, "pkce verifier", req.ID))
	req.ConfirmationSecret = "cs_" + derived(p, "confirmation secret", req.ID)
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
// challenge (APP 9.3), and nothing of it was stored. Only the provider could make
// it too, and PKCE protects its code from all others.
func derived(p Provider, what, id string) string {
	mac := hmac.New(sha256.New, []byte(p.Secret.Reveal()))
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
func (l *linking) round(ctx context.Context) (token app.Token, wait time.Duration, err error) {
	l.req.ExpiresAt = app.At(l.s.cfg.Now().Add(requestTTL))
	answer, err := l.c.AccountRequest(ctx, l.req)
	if err != nil {
		return app.Token{}, 0, changing(l.p, "open an account", err)
	}
	if answer.ID != "" && answer.ID != l.req.ID {
		return app.Token{}, 0, wrong(l.p, "it answered another account request than ours")
	}
	switch answer.Type {
	case app.AnswerOAuth:
		return l.exchange(ctx, answer.OAuth)
	case app.AnswerCredentials:
		if answer.Credentials == nil {
			return app.Token{}, 0, wrong(l.p, "its credentials are missing")
		}
		token, err = l.bearer(answer.Credentials.Bearer)
		return token, 0, err
	case app.AnswerRegistering:
		return app.Token{}, max(time.Duration(answer.RetryAfter)*time.Second, time.Second), nil
	case app.AnswerRequiresAuth:
		return app.Token{}, 0, l.askPerson(answer.RequiresAuth)
	case app.AnswerNeedsInformation:
		return app.Token{}, 0, l.askMore(answer.NeedsInformation)
	}
	return app.Token{}, 0, wrong(l.p, "an account request was answered with the type "+plain(answer.Type, maxCode))
}

func (l *linking) exchange(ctx context.Context, code *app.OAuthCode) (token app.Token, wait time.Duration, err error) {
	if code == nil || code.Code == "" {
		return app.Token{}, 0, wrong(l.p, "its code is missing")
	}
	token, err = l.c.Exchange(ctx, code.Code, l.verifier)
	var e *app.Error
	switch {
	case err == nil:
		token, err = l.bearer(token)
		return token, 0, err
	case errors.As(err, &e) && !e.Unknown && (e.Code == app.CodeRateLimited || e.HTTPStatus == http.StatusTooManyRequests):
		return app.Token{}, max(e.RetryAfter, time.Second), nil // the code is burnt (APP 10.2): the request is sent again for a new one
	case errors.As(err, &e) && !e.Unknown && e.Code == app.CodeInvalidGrant && !l.burnt:
		l.burnt = true // it ran out, or an answer that was lost had redeemed it: the same, once
		return app.Token{}, time.Second, nil
	}
	return app.Token{}, 0, changing(l.p, "exchange a code", err)
}

func (l *linking) bearer(t app.Token) (app.Token, error) {
	if t.AccessToken == "" || t.TokenType != "" && !strings.EqualFold(t.TokenType, "bearer") {
		return app.Token{}, wrong(l.p, "it gave no bearer token")
	}
	return t, nil
}

func (l *linking) askPerson(auth *app.RequiresAuth) error {
	var target string
	if auth != nil {
		target = auth.Target()
	}
	if target == "" || plain(target, 2048) != target {
		return wrong(l.p, "it wants a person to sign in and gives no https URL for it")
	}
	return purser.Errorf(purser.NeedsPerson, "%s wants %s to sign in there and agree", l.p.Name, plain(l.req.Email, 254)).
		WithHint("open %q, sign in, and try again", target)
}

func (l *linking) askMore(info *app.NeedsInformation) error {
	out := purser.Errorf(purser.NeedsInformation, "%s asks for more information before it opens an account", l.p.Name)
	if info != nil {
		var schema bytes.Buffer
		if json.Compact(&schema, info.Schema) == nil {
			out.Provider = &purser.ProviderSaid{Code: app.AnswerNeedsInformation, Message: plain(schema.String(), 4*maxSaid)}
		}
	}
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
