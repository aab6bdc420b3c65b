package provider

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

// Lifetimes of the account flow (9.3, 10.4).
const (
	codeLife    = 300 * time.Second
	consentLife = 600 * time.Second
	repeatLife  = 24 * time.Hour
)

// accountInput is an account request as checked.
type accountInput struct {
	email, emailHash string
	name, phone      string
	country          string
	scopes           []string
	verified         []string
	configuration    map[string]any
	confirmation     string
	challenge        string
	payer, kind      string // orchestrator account, and orchestrator.type
	id               string
	information      map[string]any
	expiresAt        time.Time
	requestKey       string // "" without an id
}

// accountRequest keeps the order of 9.2, which is observable.
func (c *call) accountRequest() error {
	if err := c.global(); err != nil {
		return err
	}
	if c.asGeneric() {
		return c.genericAccountRequest()
	}
	if err := c.version(); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if err := c.decodable(); err != nil {
		return err
	}
	if err := c.object(); err != nil {
		return err
	}
	var in accountInput
	if err := c.identity(&in); err != nil {
		return err
	}
	if _, present, _ := c.signatureHeader(app.HeaderSignature, app.HeaderNeutralSignature); !present {
		return Errorf(app.CodeUnauthorized, "an account request must be signed")
	}
	if err := c.signature(); err != nil {
		return err
	}
	if err := c.payer(&in); err != nil {
		return err
	}
	if err := c.bucket(c.orch.Name, "account_requests", c.orch.Limits.AccountRequests); err != nil {
		return err
	}
	if err := c.rest(&in); err != nil {
		return err
	}
	if err := c.toRegion(in); err != nil {
		return err
	}
	return c.linkAccount(in)
}

// identity is steps 4 to 6: email, expiry.
func (c *call) identity(in *accountInput) error {
	_ = json.Unmarshal(c.members["id"], &c.request) // echoed; its type is checked later
	if err := c.field("email", &in.email); err != nil {
		return err
	}
	in.email = strings.TrimSpace(in.email)
	if !validEmail(in.email) {
		return Errorf(app.CodeInvalidRequest, "email is missing or not an address")
	}
	in.emailHash = hash(fold(in.email))
	var expires string
	if err := c.field("expires_at", &expires); err != nil {
		return err
	}
	now := c.p.cfg.Now()
	in.expiresAt = now.Add(10 * time.Minute)
	if _, given := c.members["expires_at"]; given {
		at, err := app.ParseTime(expires)
		if err != nil {
			return Errorf(app.CodeInvalidRequest, "expires_at is not a timestamp")
		}
		in.expiresAt = at
	}
	if in.expiresAt.Before(now) {
		return Errorf(app.CodeExpired, "the account request has expired")
	}
	return nil
}

func validEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && len(s) <= 254 && local != "" && domain != "" && !strings.Contains(domain, "@") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// payer is step 9: the orchestrator's account, read where type points to.
func (c *call) payer(in *accountInput) error {
	block, err := app.Object(c.members["orchestrator"])
	if err != nil {
		return Errorf(app.CodeInvalidRequest, "orchestrator is missing")
	}
	var kind string
	_ = json.Unmarshal(block["type"], &kind)
	in.kind = kind
	if inner, err := app.Object(block[kind]); err == nil {
		_ = json.Unmarshal(inner["account"], &in.payer)
	}
	if in.payer == "" {
		_ = json.Unmarshal(block["account"], &in.payer)
	}
	if in.payer == "" {
		return Errorf(app.CodeInvalidRequest, "orchestrator account is missing")
	}
	return nil
}

// rest is steps 11 to 13: PKCE, then the types of the other fields.
func (c *call) rest(in *accountInput) error {
	method := "S256"
	if err := c.field("code_challenge_method", &method); err != nil {
		return err
	}
	if method != "S256" {
		return Errorf(app.CodeInvalidRequest, "code_challenge_method must be S256")
	}
	if err := c.field("code_challenge", &in.challenge); err != nil {
		return err
	}
	if _, given := c.members["code_challenge"]; given && !app.ValidChallenge(in.challenge) {
		return Errorf(app.CodeInvalidRequest, "code_challenge must be 43 to 128 characters of base64url")
	}
	var kyc app.KYC
	id := ""
	for name, v := range map[string]any{
		"id": &id, "configuration": &in.configuration, "confirmation_secret": &in.confirmation, "name": &in.name,
		"phone": &in.phone, "country": &in.country, "scopes": &in.scopes, "kyc": &kyc, "submitted_information": &in.information,
	} {
		if err := c.field(name, v); err != nil {
			return err
		}
	}
	if _, given := c.members["confirmation_secret"]; given && !app.ValidState(in.confirmation) {
		return Errorf(app.CodeInvalidRequest, "confirmation_secret must be 1 to 256 characters of [A-Za-z0-9_-]")
	}
	if err := c.p.checkAccountConfiguration(in.configuration); err != nil {
		return err
	}
	in.verified, in.id = kyc.VerifiedFields, id
	if id != "" {
		in.requestKey = keyRequest(c.orch.Name, id)
	}
	return nil
}

// linkAccount serialises equal requests and equal emails, answers repeats (9.3) and
// otherwise takes the branch of 9.5.
func (c *call) linkAccount(in accountInput) error {
	keys := []string{"email/" + in.emailHash}
	if in.requestKey != "" {
		keys = append(keys, in.requestKey)
	}
	release, err := c.p.locks.take(c.ctx, keys...)
	if err != nil {
		return err
	}
	defer release()
	record, err := c.earlier(in)
	if err != nil {
		return err
	}
	if record.Answer != "" {
		return c.repeatAccount(in, record)
	}
	a, err := c.p.cfg.Hooks.Accounts.Find(c.ctx, in.email)
	if err != nil && !isNo(err) {
		return err
	}
	if asked, err := c.accountInformation(in, a, err == nil); err != nil || asked {
		return err
	}
	switch {
	case isNo(err):
		return c.newAccount(in, record)
	case in.requestKey != "" && a.CreatedFor == in.requestKey && !record.At.IsZero():
		return c.grant(in, record, a, "created") // made by this very request, before a crash
	}
	return c.existingAccount(in, record, a)
}

// earlier gives the record of the same request id; a new one without Answer.
func (c *call) earlier(in accountInput) (requestRecord, error) {
	var record requestRecord
	if in.requestKey == "" {
		return record, nil
	}
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		_, err := get(tx, in.requestKey, &record)
		return err
	})
	if err != nil {
		return record, err
	}
	if c.p.cfg.Now().Sub(record.At) >= repeatLife {
		return requestRecord{}, nil
	}
	if record.Email != in.emailHash || record.Challenge != in.challenge {
		return record, Errorf(app.CodeIdempotencyConflict, "this id was used for another account request")
	}
	return record, nil
}

func (c *call) newAccount(in accountInput, record requestRecord) error {
	record.Email, record.Challenge = in.emailHash, in.challenge
	if record.At.IsZero() {
		record.At = c.p.cfg.Now()
	}
	// Written first: after a crash in Create, the repeat knows that it began this.
	if err := c.saveRequest(in, record); err != nil {
		return err
	}
	a, err := c.p.cfg.Hooks.Accounts.Create(c.ctx, c.newcomer(in))
	if errors.Is(err, ErrAccountExists) {
		a, err = c.p.cfg.Hooks.Accounts.Find(c.ctx, in.email)
		if isNo(err) {
			return Errorf(app.CodeAccountCreation, "the account could not be created")
		}
		if err != nil {
			return err
		}
		return c.existingAccount(in, record, a)
	}
	if err != nil {
		return err
	}
	return c.grant(in, record, a, "created")
}

// existingAccount asks the person, unless the provider trusts this orchestrator
// and it verified the email (section 2, rule 4).
func (c *call) existingAccount(in accountInput, record requestRecord, a Account) error {
	if !a.Active {
		return Errorf(app.CodeForbidden, "the account is not active")
	}
	if c.orch.SilentExisting && slices.Contains(in.verified, "email") {
		workspace, err := c.workspace(in, &a)
		if err != nil {
			return err
		}
		record.Workspace = workspace
		return c.grant(in, record, a, "linked_existing")
	}
	if c.orch.generic != nil && in.challenge == "" {
		return Errorf(app.CodeInvalidRequest, "linking an existing account needs a code_challenge")
	}
	return c.requireAuth(in, record)
}

// repeatAccount answers a request that was answered before (9.3).
func (c *call) repeatAccount(in accountInput, record requestRecord) error {
	if record.Answer == app.AnswerRequiresAuth && record.Account == "" {
		return c.requireAuth(in, record)
	}
	a, err := c.active(record.Account)
	if err != nil {
		return err
	}
	if a == nil {
		return Errorf(app.CodeForbidden, "the account is not active")
	}
	if record.Answer == app.AnswerOAuth {
		if code, ok, err := c.sameCode(record); err != nil || ok {
			if err != nil {
				return err
			}
			c.account = *a
			return c.answerCode(code)
		}
	}
	return c.grant(in, record, *a, record.Action)
}

// sameCode gives the code answered before if it is neither redeemed nor expired.
// Only its hash is stored; it is derived anew.
func (c *call) sameCode(record requestRecord) (string, bool, error) {
	for _, secret := range c.orch.Secrets {
		code := derive(secret, "code", record.Nonce)
		if hash(code) != record.Code {
			continue
		}
		var stored codeRecord
		found := false
		err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
			var err error
			found, err = get(tx, keyCode(code), &stored)
			return err
		})
		return code, found && c.p.cfg.Now().Before(stored.ExpiresAt), err
	}
	return "", false, nil
}

// derive makes an unguessable value from a nonce, so that a repeat can give the
// same one although the Store holds only its hash.
func derive(secret, purpose, nonce string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("purser provider " + purpose + "\x00" + nonce))
	return purpose + "_" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// grant answers with a code, or with a token pair where the orchestrator skips OAuth (P7).
func (c *call) grant(in accountInput, record requestRecord, a Account, action string) error {
	c.account = a
	record.Email, record.Challenge, record.Account = in.emailHash, in.challenge, a.ID
	record.Action = action
	if record.Workspace == "" && len(a.Teams) > 0 {
		record.Workspace = teamID(a.Teams[0]) // a new account's own, or the person's choice before this
	}
	if record.At.IsZero() {
		record.At = c.p.cfg.Now()
	}
	if c.orch.Credentials {
		return c.answerCredentials(in, record, a, action)
	}
	nonce, err := app.Random(c.p.cfg.Random, "")
	if err != nil {
		return err
	}
	code := derive(c.orch.Secrets[0], "code", nonce)
	record.Answer, record.Nonce, record.Code = app.AnswerOAuth, nonce, hash(code)
	now := c.p.cfg.Now()
	stored := codeRecord{
		Orchestrator: c.orch.Name, Account: a.ID, Challenge: in.challenge, Scopes: c.scopes(in.scopes),
		LinkAction: action, Workspace: record.Workspace, IssuedAt: now, ExpiresAt: now.Add(codeLife),
	}
	err = c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if err := put(tx, keyCode(code), stored, stored.ExpiresAt); err != nil || in.requestKey == "" {
			return err
		}
		return put(tx, in.requestKey, record, record.At.Add(repeatLife))
	})
	if err != nil {
		return err
	}
	return c.answerCode(code)
}

func (c *call) scopes(asked []string) []string {
	if c.orch.generic != nil && len(asked) == 0 {
		return c.orch.generic.Scopes
	}
	if len(asked) == 0 {
		return c.p.cfg.Manifest.OAuthScopes
	}
	return asked
}

func (c *call) answerCode(code string) error {
	return c.answer(http.StatusOK, app.AccountAnswer{ID: c.request, Type: app.AnswerOAuth, OAuth: &app.OAuthCode{Code: code}})
}

func (c *call) answerCredentials(in accountInput, record requestRecord, a Account, action string) error {
	issue := issue{orchestrator: c.orch, account: a, scopes: c.scopes(in.scopes), workspace: record.Workspace, signed: true}
	var token app.Token
	err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		if record.Family != "" {
			if err := revokeFamily(tx, record.Family); err != nil {
				return err
			}
		}
		var family string
		var err error
		if token, family, err = c.p.issue(tx, issue); err != nil {
			return err
		}
		record.Answer, record.Family = app.AnswerCredentials, family
		if in.requestKey == "" {
			return nil
		}
		return put(tx, in.requestKey, record, record.At.Add(repeatLife))
	})
	if err != nil {
		return err
	}
	token.Account = c.p.tokenAccount(c.ctx, a, action, record.Workspace)
	return c.answer(http.StatusOK, app.AccountAnswer{
		ID: c.request, Type: app.AnswerCredentials, Credentials: &app.Credentials{Type: "bearer", Bearer: token},
	})
}

// requireAuth stores the pending consent and sends the person to the consent page
// (9.6). It creates nothing and sends nothing.
func (c *call) requireAuth(in accountInput, record requestRecord) error {
	now := c.p.cfg.Now()
	if record.Nonce == "" {
		nonce, err := app.Random(c.p.cfg.Random, "")
		if err != nil {
			return err
		}
		record.Nonce = nonce
	}
	state := in.confirmation
	if state == "" || c.orch.generic != nil { // 9.6, step 1
		state = derive(c.orch.Secrets[0], "state", record.Nonce)
	}
	pending := consentRecord{
		Orchestrator: c.orch.Name, Payer: in.payer, Email: in.email, Scopes: c.scopes(in.scopes),
		Challenge: in.challenge, Request: in.requestKey, RequestID: in.id, Confirms: state == in.confirmation, ExpiresAt: now.Add(consentLife),
	}
	record.Email, record.Challenge, record.Answer, record.State = in.emailHash, in.challenge, app.AnswerRequiresAuth, hash(state)
	if record.At.IsZero() {
		record.At = now
	}
	err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		var before consentRecord
		found, err := get(tx, keyConsent(state), &before)
		if err != nil {
			return err
		}
		if found && (before.Orchestrator != pending.Orchestrator || before.Request != pending.Request || fold(before.Email) != fold(pending.Email)) {
			return Errorf(app.CodeInvalidRequest, "confirmation_secret is in use by another request")
		}
		if found && now.Before(before.ExpiresAt) {
			pending = before // the same wait goes on; it is not made longer
		}
		if err := put(tx, keyConsent(state), pending, pending.ExpiresAt); err != nil || in.requestKey == "" {
			return err
		}
		return put(tx, in.requestKey, record, record.At.Add(repeatLife))
	})
	if err != nil {
		return err
	}
	target := c.p.url("consent") + "?" + url.Values{"state": {state}, "scope": {strings.Join(pending.Scopes, " ")}}.Encode()
	return c.answer(http.StatusOK, app.AccountAnswer{ID: c.request, Type: app.AnswerRequiresAuth, RequiresAuth: &app.RequiresAuth{
		Type: "redirect", Redirect: &app.Redirect{URL: target}, URL: target,
	}})
}

func (c *call) saveRequest(in accountInput, record requestRecord) error {
	if in.requestKey == "" {
		return nil
	}
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		return put(tx, in.requestKey, record, record.At.Add(repeatLife))
	})
}
