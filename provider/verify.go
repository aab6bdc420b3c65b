package provider

import (
	"crypto/ed25519"
	"net/http"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

// Header names as net/http keeps them: the version's and the second signature's are
// written in another way in the protocol.
var (
	headerVersion   = http.CanonicalHeaderKey(app.HeaderVersion)
	headerV2        = http.CanonicalHeaderKey(app.HeaderSignatureV2)
	headerNeutralV2 = http.CanonicalHeaderKey(app.HeaderNeutralSignatureV2)
)

var errSignature = flat(app.CodeInvalidSignature, "the request signature is missing or not valid")

// signatureHeader gives the one signature header. The Stripe name wins when
// present; an invalid value never falls through to the neutral name (P40).
func (c *call) signatureHeader(stripe, neutral string) (value string, present bool, single bool) {
	values := c.r.Header[stripe]
	if len(values) == 0 {
		values = c.r.Header[neutral]
	}
	if len(values) == 0 {
		return "", false, true
	}
	return strings.TrimSpace(values[0]), true, len(values) == 1
}

// signature verifies the request (5.1) and learns which orchestrator is calling.
func (c *call) signature() error {
	if !c.p.hasSecret() {
		return flat(app.CodeServerError, "request signatures cannot be verified")
	}
	header, present, single := c.signatureHeader(app.HeaderSignature, app.HeaderNeutralSignature)
	if !present || header == "" || !single {
		return errSignature
	}
	signed, err := app.ParseSignature(header)
	now := c.p.cfg.Now()
	if err != nil || !signed.Fresh(now) {
		return errSignature
	}
	v1 := ""
	for i := range c.p.cfg.Orchestrators { // all of them: no early end on a match
		for _, secret := range c.p.cfg.Orchestrators[i].Secrets {
			if sum, ok := signed.Match(secret, c.body); ok && c.orch == nil {
				c.orch, v1 = &c.p.cfg.Orchestrators[i], sum
			}
		}
	}
	if c.orch == nil {
		return errSignature
	}
	if err := c.v2(now); err != nil {
		return err
	}
	if err := c.repeated(now, v1); err != nil {
		return err
	}
	return c.decodable()
}

func (p *Provider) hasSecret() bool {
	for _, o := range p.cfg.Orchestrators {
		if len(o.Secrets) > 0 {
			return true
		}
	}
	return false
}

// v2 looks at the EdDSA signature after the HMAC has passed (5.5).
func (c *call) v2(now time.Time) error {
	if c.orch.V2 == Off {
		return nil
	}
	token, present, single := c.signatureHeader(headerV2, headerNeutralV2)
	if !present && c.orch.V2 != Require {
		return nil
	}
	_, err := app.VerifyJWT(token, func(kid string) (ed25519.PublicKey, bool) {
		if c.orch.PublicKey == nil {
			return nil, false
		}
		return c.orch.PublicKey(c.ctx, kid)
	}, app.Expected{
		Method: c.r.Method, URL: c.p.url(c.route), Issuer: c.orch.Issuer, Audience: c.p.cfg.Manifest.BaseURL, Body: c.body, Now: now,
		Seen: func(jti string, until time.Time) bool {
			_, seen := c.p.jtiSeen.Seen(now, c.orch.Name+"/"+jti, "", until)
			return seen
		},
	})
	if err == nil && single {
		return nil
	}
	if c.orch.V2 == Require {
		return errSignature
	}
	c.p.cfg.Log.WarnContext(c.ctx, "accepting a request with a bad V2 signature", "orchestrator", c.orch.Name, "operation", c.name, "error", err)
	return nil
}

// repeated refuses an HMAC seen before on a state-changing route, unless the
// repeat is the same call and idempotent by its own key (5.5).
func (c *call) repeated(now time.Time, v1 string) error {
	if !c.changes || c.orch.Replay == Off {
		return nil
	}
	note := hash(c.r.Method + " " + c.r.URL.EscapedPath() + " " + strings.Join(c.r.Header["Authorization"], ","))[:32]
	first, seen := c.p.hmacSeen.Seen(now, c.orch.Name+"/"+v1, note, now.Add(2*app.Tolerance))
	if !seen {
		return nil
	}
	idempotent := len(c.r.Header[app.HeaderIdempotencyKey]) > 0 || c.name == "remove"
	if first == note && idempotent {
		return nil
	}
	if c.orch.Replay == Require {
		return errSignature
	}
	c.p.cfg.Log.WarnContext(c.ctx, "accepting a repeated signature", "orchestrator", c.orch.Name, "operation", c.name)
	return nil
}

// bearerToken is the token of the Authorization header, "" without one.
func bearerToken(h http.Header) string {
	values := h["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

var errBearer = Errorf(app.CodeUnauthorized, "the bearer token is missing, unknown or expired")

// bearer selects the account; the request signature must prove the orchestrator
// that the token was issued to, which comes later (section 2, rule 1 and 2).
func (c *call) bearer() error {
	token := bearerToken(c.r.Header)
	if token == "" {
		return errBearer
	}
	var record tokenRecord
	var revoked stamp
	found := false
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		var err error
		if record, found, err = c.p.tokenMemo.get(tx, keyAccess(token)); err != nil || !found {
			return err
		}
		_, err = get(tx, keyRevoked(record.Orchestrator), &revoked)
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		if err := c.elsewhere(token); err != nil {
			return err
		}
	}
	if !found || !c.p.cfg.Now().Before(record.ExpiresAt) || !record.IssuedAt.After(revoked.At) {
		return errBearer
	}
	account, err := c.active(record.Account)
	if err != nil {
		return err
	}
	if account == nil || !accessible(*account, record.Workspace) {
		return errBearer
	}
	c.token, c.account = record, *account
	return nil
}

func (c *call) partnerProofs() error {
	if c.orch = c.p.orchestrator(c.ctx, c.token.Orchestrator); c.orch == nil || c.orch.generic.rights.Disabled {
		return errBearer
	}
	if c.orch.generic.rights.NoResources {
		return Errorf(app.CodeForbidden, "this client may not use resources")
	}
	return c.decodable()
}

// active gives an account by id, or nil when it is gone or switched off.
func (c *call) active(id string) (*Account, error) {
	a, err := c.p.cfg.Hooks.Accounts.Account(c.ctx, id)
	if isNo(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !a.Active {
		return nil, nil
	}
	return &a, nil
}

// proofs is the common part of resource routes (7.3): bearer, throttle,
// signature, UTF-8, version.
func (c *call) proofs() error {
	if err := c.bearer(); err != nil {
		return err
	}
	if err := c.global(); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if strings.HasPrefix(c.token.Orchestrator, partnerPrefix) { // unsigned and without a version (15)
		return c.partnerProofs()
	}
	if err := c.signature(); err != nil {
		return err
	}
	if c.orch.Name != c.token.Orchestrator {
		return errBearer
	}
	return c.version()
}
