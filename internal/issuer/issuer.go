// Package issuer is the way in for people whom an upstream OIDC issuer knows: it sends a browser there and checks what comes back.
package issuer

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
)

// answerTime bounds each question to the issuer.
const answerTime = 10 * time.Second

// algorithms are the signatures of ID tokens that are believed: none made with a
// key that we hold, and never "none".
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// Config says which issuer, and who we are there.
type Config struct {
	Issuer   string
	ClientID string
	Secret   seal.Secret   // empty: a public client; PKCE is used with both
	Redirect func() string // where the browser comes back
	Groups   string        // the claim that lists a person's groups
	Client   *http.Client  // nil: one that follows no redirects
	Now      func() time.Time
	Random   io.Reader
}

// Issuer is an upstream issuer. It is asked what it can do when somebody first
// wants to sign in, so that a server starts while its issuer is away.
type Issuer struct {
	config Config

	mu       sync.Mutex
	provider *oidc.Provider
}

// New makes an Issuer and asks nothing.
func New(c Config) *Issuer {
	if c.Client == nil {
		c.Client = &http.Client{Timeout: answerTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Issuer{config: c}
}

// trip is what a browser keeps while it is away.
type trip struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"` // of PKCE
	Next     string `json:"next"`     // where to go on
	Until    int64  `json:"until"`    // seconds
}

// discover reads the issuer's metadata once, and again after a failure.
func (i *Issuer) discover(ctx context.Context) (*oidc.Provider, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.provider != nil {
		return i.provider, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime) // its key set outlives the request
	defer cancel()
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, i.config.Client), i.config.Issuer)
	if err != nil {
		return nil, purser.Errorf(purser.Unavailable, "the issuer %s cannot be used now", i.config.Issuer).WithHint("try again, or sign in with a passkey").WithCause(err)
	}
	i.provider = p
	return p, nil
}

func (i *Issuer) oauth2(p *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: i.config.ClientID, ClientSecret: i.config.Secret.Reveal(), Endpoint: p.Endpoint(), RedirectURL: i.config.Redirect(),
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

func (i *Issuer) text() (string, error) {
	var b [24]byte
	if _, err := io.ReadFull(i.config.Random, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// begin makes the address to send a browser to, and what it keeps meanwhile.
func (i *Issuer) begin(ctx context.Context, next string) (address string, t trip, err error) {
	p, err := i.discover(ctx)
	if err != nil {
		return "", t, err
	}
	t = trip{Next: next, Until: i.config.Now().Add(tripTime).Unix()}
	for _, to := range []*string{&t.State, &t.Nonce, &t.Verifier} {
		if *to, err = i.text(); err != nil {
			return "", t, err
		}
	}
	t.Verifier += t.Verifier // 64 characters; PKCE wants 43
	return i.oauth2(p).AuthCodeURL(t.State, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), t, nil
}

// claims are what is read of an ID token.
type claims struct {
	Email    string  `json:"email"`
	Verified boolean `json:"email_verified"`
	Name     string  `json:"name"`
	Party    string  `json:"azp"`
}

// boolean reads true and, as some issuers write it, "true".
type boolean bool

func (b *boolean) UnmarshalJSON(text []byte) error {
	*b = string(text) == "true" || string(text) == `"true"`
	return nil
}

// finish redeems what the browser brought back and checks whom it names.
func (i *Issuer) finish(ctx context.Context, t trip, state, iss, code string) (office.Upstream, error) {
	no := func(why string, cause error) (office.Upstream, error) {
		return office.Upstream{}, purser.Errorf(purser.WrongSignature, "the issuer signs nobody in: %s", why).WithHint("sign in again").WithCause(cause)
	}
	switch {
	case i.config.Now().Unix() > t.Until:
		return no("it took too long", nil)
	case subtle.ConstantTimeCompare([]byte(state), []byte(t.State)) != 1 || t.State == "":
		return no("the answer is to another question", nil)
	case iss != "" && iss != i.config.Issuer: // RFC 9207: the answer of another issuer
		return no("another issuer answered", nil)
	}
	p, err := i.discover(ctx)
	if err != nil {
		return office.Upstream{}, err
	}
	ctx = oidc.ClientContext(ctx, i.config.Client)
	token, err := i.oauth2(p).Exchange(ctx, code, oauth2.VerifierOption(t.Verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused):
		return no("it does not take its own code", err)
	case err != nil:
		return office.Upstream{}, purser.Errorf(purser.Unavailable, "the issuer did not answer").WithHint("sign in again").WithCause(err)
	}
	raw, _ := token.Extra("id_token").(string)
	verifier := p.VerifierContext(ctx, &oidc.Config{ClientID: i.config.ClientID, SupportedSigningAlgs: algorithms, Now: i.config.Now})
	id, err := verifier.Verify(ctx, raw)
	if err != nil {
		return no("its token does not verify", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(t.Nonce)) != 1 {
		return no("its token was made for another sign-in", nil)
	}
	var c claims
	var all map[string]json.RawMessage
	if err := errors.Join(id.Claims(&c), id.Claims(&all)); err != nil {
		return no("its token cannot be read", err)
	}
	if len(id.Audience) > 1 && c.Party != i.config.ClientID {
		return no("its token is for another party too", nil)
	}
	return office.Upstream{
		Issuer: id.Issuer, Subject: id.Subject, Email: c.Email, Verified: bool(c.Verified), Name: c.Name, Groups: groups(all[i.config.Groups]),
	}, nil
}

// groups reads a list of names, or one name.
func groups(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && strings.TrimSpace(one) != "" {
		return []string{one}
	}
	return nil
}
