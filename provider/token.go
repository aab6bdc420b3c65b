package provider

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

// tokens is the token endpoint (section 10). It checks no version.
func (c *call) tokens() error {
	if err := c.global(); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	if err := c.decodable(); err != nil {
		return err
	}
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return Errorf(app.CodeInvalidRequest, "the body is not a form")
	}
	for name, values := range form {
		if len(values) > 1 {
			return Errorf(app.CodeInvalidRequest, "%s is given twice", name)
		}
	}
	grant := form.Get("grant_type")
	if grant != "authorization_code" && grant != "refresh_token" {
		return Errorf(app.CodeUnsupportedGrant, "grant_type must be authorization_code or refresh_token")
	}
	client, err := c.client(form)
	if err != nil {
		return err
	}
	if grant == "refresh_token" {
		return c.refresh(form, client)
	}
	return c.exchange(form, client)
}

// client authenticates the client when it presents itself and some orchestrator
// has one configured (P29); "" means none was named.
func (c *call) client(form url.Values) (orchestrator string, err error) {
	id, secret, given := c.r.BasicAuth()
	if !given {
		id, secret = form.Get("client_id"), form.Get("client_secret")
		given = id != "" || secret != ""
	} else {
		id, secret = unescape(id), unescape(secret) // RFC 6749, 2.3.1
	}
	configured := false
	for _, o := range c.p.cfg.Orchestrators {
		if o.ClientID == "" {
			continue
		}
		configured = true
		if given && same(o.ClientID, id) && same(o.ClientSecret, secret) {
			return o.Name, nil
		}
	}
	if given && configured && !(c.p.cfg.Generic != nil && strings.Contains(id, "://")) {
		return "", Errorf(app.CodeInvalidClient, "unknown client or wrong secret")
	}
	return "", nil
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

var errGrant = Errorf(app.CodeInvalidGrant, "the code or token is unknown, expired, used or of another app")

// exchange redeems a code (10.2). A failed proof does not burn the code.
func (c *call) exchange(form url.Values, client string) error {
	code := form.Get("code")
	if code == "" {
		return Errorf(app.CodeInvalidRequest, "code is missing")
	}
	var record codeRecord
	found := false
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		var err error
		found, err = get(tx, keyCode(code), &record)
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		if err := c.elsewhere(code); err != nil {
			return err
		}
	}
	if !found || !c.p.cfg.Now().Before(record.ExpiresAt) {
		return errGrant
	}
	if o := c.p.orchestrator(c.ctx, record.Orchestrator); o != nil && o.generic != nil {
		if err := c.partnerClient(o, form); err != nil {
			return err
		}
		c.orch = o
	}
	if err := c.prove(record, form.Get("code_verifier")); err != nil {
		return err
	}
	if err := c.consume(code); err != nil {
		return err
	}
	o := c.p.orchestrator(c.ctx, record.Orchestrator)
	if o != nil {
		if err := c.bucket(o.Name, "token_exchanges", o.Limits.TokenExchanges); err != nil {
			return err
		}
	}
	account, err := c.active(record.Account)
	if err != nil {
		return err
	}
	if account == nil {
		return errGrant
	}
	if o == nil {
		return Errorf(app.CodeServerError, "the app of this code is not configured")
	}
	if !accessible(*account, record.Workspace) {
		return errGrant
	}
	if (client != "" && client != o.Name) || (c.orch != nil && c.orch.Name != o.Name) {
		return errGrant
	}
	if err := c.notRevoked(o.Name, record.IssuedAt); err != nil {
		return err
	}
	signed := c.orch != nil && c.orch.generic == nil
	scopes, err := narrowed(o, record.Scopes)
	if err != nil {
		return err
	}
	c.orch, c.account = o, *account
	return c.hand(issue{orchestrator: o, account: *account, scopes: scopes, workspace: record.Workspace, signed: signed}, record.LinkAction)
}

// prove is step 6: the verifier when there is a challenge, else the signature.
func (c *call) prove(record codeRecord, verifier string) error {
	if record.Challenge != "" {
		if verifier == "" {
			return &Error{Code: app.CodeInvalidRequest, Message: "code_verifier is missing", HTTPStatus: http.StatusUnauthorized}
		}
		if !app.Answers(record.Challenge, verifier) {
			return errGrant
		}
		return nil
	}
	if strings.HasPrefix(record.Orchestrator, partnerPrefix) { // PKCE is a must there (15)
		return &Error{Code: app.CodeInvalidRequest, Message: "this code has no challenge and cannot be redeemed", HTTPStatus: http.StatusUnauthorized}
	}
	return c.signedToken()
}

func (c *call) signedToken() error {
	if _, present, _ := c.signatureHeader(app.HeaderSignature, app.HeaderNeutralSignature); !present {
		return &Error{Code: app.CodeInvalidRequest, Message: "a signature is needed", HTTPStatus: http.StatusUnauthorized}
	}
	return c.signature()
}

// consume takes the code away, so that it is redeemed once whoever else tries.
func (c *call) consume(code string) error {
	return c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		var record codeRecord
		found, err := get(tx, keyCode(code), &record)
		if err != nil {
			return err
		}
		if !found {
			return errGrant
		}
		return tx.Delete(keyCode(code))
	})
}

// notRevoked fails closed: what carries no issue time is not newer than a revocation.
func (c *call) notRevoked(orchestrator string, issued time.Time) error {
	var revoked stamp
	err := c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		_, err := get(tx, keyRevoked(orchestrator), &revoked)
		return err
	})
	if err == nil && !issued.After(revoked.At) {
		return errGrant
	}
	return err
}

func (c *call) hand(in issue, action string) error {
	var token app.Token
	err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		var err error
		token, _, err = c.p.issue(tx, in)
		return err
	})
	if err != nil {
		return err
	}
	token.Account = c.p.tokenAccount(c.ctx, in.account, action, in.workspace)
	return c.answer(http.StatusOK, token)
}

// refresh rotates (10.3). Nothing changes before the last step, except that a
// spent token revokes its family (P30).
func (c *call) refresh(form url.Values, client string) error {
	presented := form.Get("refresh_token")
	if presented == "" {
		return Errorf(app.CodeInvalidRequest, "refresh_token is missing")
	}
	record, err := c.refreshRecord(presented)
	if err != nil {
		return err
	}
	o := c.p.orchestrator(c.ctx, record.Orchestrator)
	if o == nil || (client != "" && client != o.Name) {
		return errGrant
	}
	if o.generic != nil {
		if err := c.partnerClient(o, form); err != nil {
			return err
		}
	}
	if _, present, _ := c.signatureHeader(app.HeaderSignature, app.HeaderNeutralSignature); present {
		// A valid signature of another orchestrator is the wrong app; an unneeded
		// bad one is not looked at (refresh is by possession).
		if err := c.signature(); err == nil && c.orch.Name != o.Name {
			return errGrant
		} else if err != nil && o.SignedRefresh && record.Signed {
			return err
		}
	} else if o.SignedRefresh && record.Signed {
		return c.signedToken()
	}
	c.orch = o
	account, err := c.active(record.Account)
	if err != nil {
		return err
	}
	if account == nil || !accessible(*account, record.Workspace) {
		return errGrant
	}
	if err := c.notRevoked(o.Name, record.IssuedAt); err != nil {
		return err
	}
	if err := c.bucket(o.Name, "token_exchanges", o.Limits.TokenExchanges); err != nil {
		return err
	}
	c.account = *account
	scopes, err := narrowed(o, record.Scopes)
	if err != nil {
		return err
	}
	return c.rotateToken(presented, issue{orchestrator: o, account: *account, scopes: scopes, workspace: record.Workspace, signed: record.Signed})
}

func (c *call) refreshRecord(presented string) (tokenRecord, error) {
	var record tokenRecord
	found := false
	err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		var err error
		if found, err = get(tx, keyRefresh(presented), &record); err != nil || !found || !record.Spent {
			return err
		}
		return revokeFamily(tx, record.Family)
	})
	if err != nil {
		return record, err
	}
	if !found {
		if err := c.elsewhere(presented); err != nil {
			return record, err
		}
	}
	if !found || record.Spent || !c.p.cfg.Now().Before(record.ExpiresAt) {
		return record, errGrant
	}
	return record, nil
}

// rotateToken issues a new pair and ends the old one in the same transaction.
func (c *call) rotateToken(presented string, in issue) error {
	var token app.Token
	err := c.p.cfg.Store.Update(c.ctx, func(tx Tx) error {
		var record tokenRecord
		found, err := get(tx, keyRefresh(presented), &record)
		if err != nil {
			return err
		}
		if !found || record.Spent {
			return errGrant
		}
		in.family = record.Family
		var family familyRecord
		alive, err := get(tx, keyFamily(record.Family), &family)
		if err != nil {
			return err
		}
		if !alive {
			return errGrant
		}
		if err := tx.Delete(family.Access); err != nil {
			return err
		}
		record.Spent = true
		if err := put(tx, keyRefresh(presented), record, record.ExpiresAt); err != nil {
			return err
		}
		token, _, err = c.p.issue(tx, in)
		return err
	})
	if err != nil {
		return err
	}
	token.Account = &app.TokenAccount{ID: in.account.ID, AvailableTeams: firstTeam(in.account.Teams, in.workspace)}
	return c.answer(http.StatusOK, token)
}

// issue is a token pair to be made.
type issue struct {
	orchestrator *Orchestrator
	account      Account
	scopes       []string
	workspace    string
	signed       bool
	family       string // "" begins a new one
}

// issue makes a pair; the Store gets only hashes.
func (p *Provider) issue(tx Tx, in issue) (app.Token, string, error) {
	access, err := app.Random(p.cfg.Random, "at_")
	if err != nil {
		return app.Token{}, "", err
	}
	refresh, err := app.Random(p.cfg.Random, "rt_")
	if err != nil {
		return app.Token{}, "", err
	}
	if in.family == "" {
		if in.family, err = app.Random(p.cfg.Random, ""); err != nil {
			return app.Token{}, "", err
		}
	}
	now := p.cfg.Now()
	record := tokenRecord{
		Orchestrator: in.orchestrator.Name, Account: in.account.ID, Scopes: in.scopes,
		Workspace: in.workspace, Family: in.family, Signed: in.signed, IssuedAt: now,
	}
	life := p.cfg.AccessTokenTTL
	if in.orchestrator.generic != nil {
		life = time.Hour
	}
	record.ExpiresAt = now.Add(life)
	if err := put(tx, keyAccess(access), record, record.ExpiresAt); err != nil {
		return app.Token{}, "", err
	}
	record.ExpiresAt = now.Add(p.cfg.RefreshTokenTTL)
	if err := put(tx, keyRefresh(refresh), record, record.ExpiresAt); err != nil {
		return app.Token{}, "", err
	}
	family := familyRecord{Access: keyAccess(access), Refresh: keyRefresh(refresh)}
	if err := put(tx, keyFamily(in.family), family, record.ExpiresAt); err != nil {
		return app.Token{}, "", err
	}
	return app.Token{
		TokenType: "bearer", AccessToken: access, RefreshToken: refresh, ExpiresIn: int64(life / time.Second),
	}, in.family, nil
}

func revokeFamily(tx Tx, id string) error {
	var family familyRecord
	found, err := get(tx, keyFamily(id), &family)
	if err != nil || !found {
		return err
	}
	for _, key := range []string{family.Access, family.Refresh, keyFamily(id)} {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// orchestrator finds an orchestrator, or a client of the generic profile, by name.
func (p *Provider) orchestrator(ctx context.Context, name string) *Orchestrator {
	for i := range p.cfg.Orchestrators {
		if p.cfg.Orchestrators[i].Name == name {
			return &p.cfg.Orchestrators[i]
		}
	}
	if p.cfg.Generic == nil || !strings.HasPrefix(name, partnerPrefix) {
		return nil
	}
	known, err := p.partner(ctx, name)
	if err != nil || known == nil {
		return nil // the caller fails closed
	}
	return p.orchestratorOf(known)
}

// tokenAccount describes the account (10.1). A list of services that cannot be
// complete is left out, which means unknown.
func (p *Provider) tokenAccount(ctx context.Context, a Account, action, workspace string) *app.TokenAccount {
	described := &app.TokenAccount{
		ID: a.ID, PaymentCredentials: p.cfg.Billing, AvailableTeams: firstTeam(a.Teams, workspace),
		DisplayName: a.DisplayName, PrimaryEmail: a.Email, LinkAction: action,
	}
	records, complete, err := p.resources(ctx, a.ID)
	if err != nil || !complete {
		return described
	}
	described.ActiveServices = []app.ActiveService{}
	for _, r := range records {
		if r.Status == app.StatusComplete || r.Status == app.StatusPending {
			status := map[string]string{app.StatusComplete: "active", app.StatusPending: "pending"}[r.Status]
			described.ActiveServices = append(described.ActiveServices, app.ActiveService{
				ServiceID: r.Service, ProviderResourceID: r.ID, Status: status,
			})
		}
	}
	return described
}
