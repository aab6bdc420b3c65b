package providertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/purser-dev/purser/app"
)

// Names of Config.TestHooks. Each is POSTed a JSON object and answers one with 200;
// what it gets and gives is told here, `on` being a boolean that switches.
const (
	HookNoSecret       = "no_secret"        // {on}: the provider has no signing secret
	HookUser           = "user"             // {email} -> {first_name, verified, welcome_messages}
	HookConflict       = "conflict"         // {email, exists}: the next insert of this email conflicts; the user is then there, or not
	HookPending        = "pending"          // {state} -> {email, scopes, account, region} of the consent that waits
	HookForwarded      = "forwarded"        // {} -> {count} of account requests that the other region got
	HookRegionDown     = "region_down"      // {on}: the other region cannot be reached
	HookForeign        = "foreign"          // {} -> {code (without challenge), refresh_token} of another orchestrator
	HookDeactivate     = "deactivate"       // {email}
	HookRevoke         = "revoke"           // {}: all sessions of this orchestrator until now
	HookUndated        = "undated"          // {} -> {code} for the suite's verifier, whose issue time is unknown
	HookAddWorkspace   = "add_workspace"    // {email} -> {id}
	HookDenyWorkspace  = "deny_workspace"   // {email, id}: the person may not access it any more
	HookActivations    = "activations"      // {} -> {count, last: hex SHA-256 of the last token}
	HookFailActivation = "fail_activation"  // {}: the next activation is declined
	HookSubscribe      = "subscribe"        // {email}: this account has paid already
	HookForeignThing   = "foreign_resource" // {email} -> {id} of a resource that another orchestrator made there
	HookVerify         = "verify"           // {email}: the provider has verified it
	HookSessionOf      = "session_of"       // {cookie} -> {email}
	HookNoDeepLinks    = "no_deep_links"    // {on}
	HookLimits         = "limits"           // {account_requests, token_exchanges, resource_creates}, 0 is off; counting starts anew
	HookThrottle       = "throttle"         // {on}: the global throttle refuses the next request
	HookCatalogDown    = "catalog_down"     // {on}
	HookBreakRotation  = "break_rotation"   // {on}: the backend cannot rotate
	HookBreakRemoval   = "break_removal"    // {on}: the backend cannot remove
	HookAsk            = "ask"              // {email}: this account request needs information
	HookRights         = "rights"           // {client_id, accounts, enabled, payer}: what a generic partner may do
	HookConsent        = "consent"          // {state, email, decision, workspace}: answer as this person -> {status, body}
	HookPage           = "page"             // {state, email}: open the page as this person -> {status}
)

// hook puts the provider into a state, or asks it for one. Without its URL the case
// is skipped.
func (p *probe) hook(name string, in map[string]any) *reply {
	target := p.config.TestHooks[name]
	if target == "" {
		panic(skip("test hook " + name + " is not given"))
	}
	body, err := json.Marshal(in)
	if err != nil {
		p.failf("encoding for a test hook: %v", err)
	}
	req, err := http.NewRequestWithContext(p.ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		p.failf("test hook %s: %v", name, err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		p.failf("test hook %s: %v", name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	r := &reply{asked: "test hook " + name, status: resp.StatusCode, header: resp.Header}
	if r.body, err = io.ReadAll(io.LimitReader(resp.Body, app.MaxResponseBytes)); err != nil || resp.StatusCode != http.StatusOK {
		panic(skip(fmt.Sprintf("test hook %s answered HTTP %d", name, resp.StatusCode)))
	}
	r.members, _ = app.Object(r.body)
	return r
}

// during runs f while a hook's switch is on.
func (p *probe) during(name string, f func()) {
	p.hook(name, map[string]any{"on": true})
	defer p.hook(name, map[string]any{"on": false})
	f()
}

func (r *reply) number(path ...string) (n int) {
	_ = json.Unmarshal(r.raw(path...), &n)
	return n
}

func needHook(names ...string) func(Config) string {
	return func(c Config) string {
		for _, name := range names {
			if c.TestHooks[name] == "" {
				return "test hook " + name + " is not given"
			}
		}
		return ""
	}
}

// stateCases put the provider into states that no client can.
var stateCases = []scenario{
	{"S6", "without a signing secret every signature is a server error", "5.1", needHook(HookNoSecret), func(p *probe) {
		p.during(HookNoSecret, func() {
			p.fails(p.get("provisioning/health"), 500, app.EnvelopeFlat, app.CodeServerError)
			p.fails(p.get("provisioning/health", unsigned), 500, app.EnvelopeFlat, app.CodeServerError)
		})
		p.succeeds(p.get("provisioning/health"), "status", "ok")
	}},
	{"A2", "an existing email is linked silently, to the workspace asked for", "9.5", needSilent, func(p *probe) {
		with := map[string]any{"email": p.config.ExistingEmail, "configuration": map[string]any{p.config.WorkspaceKey: p.config.Workspace}}
		r := p.redeem(p.code(with))
		token := p.token(r)
		p.check(r, token.Account != nil && token.Account.LinkAction == "linked_existing" && first(token) == text(p.config.Workspace), "the workspace asked for, first")
	}},
	{"A12", "a workspace that is no integer is refused", "9.1", needWorkspace, func(p *probe) {
		r := p.post(accountPath, p.accountRequest(map[string]any{"configuration": map[string]any{p.config.WorkspaceKey: "abc"}}))
		p.fails(r, 400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"A62", "a workspace that the person may not access is not linked", "9.5", needSilent, func(p *probe) {
		with := map[string]any{"email": p.config.ExistingEmail, "configuration": map[string]any{p.config.WorkspaceKey: 987654321}}
		p.fails(p.post(accountPath, p.accountRequest(with)), 400, app.EnvelopeTyped, app.CodeTeamResolution)
	}},
	{"A63", "an email that was not attested is not linked silently", "2", needSilent, func(p *probe) {
		with := map[string]any{"email": p.config.ExistingEmail, "kyc": map[string]any{"verified_fields": []string{"name"}}}
		p.succeeds(p.post(accountPath, p.accountRequest(with)), "type", app.AnswerRequiresAuth)
	}},
	{"A17", "the consent that waits knows what was asked", "9.6", needAll(needConsent, needHook(HookPending)), func(p *probe) {
		body := p.accountRequest(map[string]any{"email": p.config.ExistingEmail, "scopes": []string{"conf:read"}})
		p.succeeds(p.post(accountPath, body), "type", app.AnswerRequiresAuth)
		r := p.hook(HookPending, map[string]any{"state": body["confirmation_secret"]})
		var scopes []string
		_ = json.Unmarshal(r.raw("scopes"), &scopes)
		p.check(r, strings.EqualFold(r.text("email"), p.config.ExistingEmail) && slices.Equal(scopes, []string{"conf:read"}) && r.text("account") == p.config.Account,
			"the email, scopes and account of the request under its confirmation secret")
	}},
	{"A18", "an insert that conflicts with a user takes the existing branch", "9.5", needHook(HookConflict), func(p *probe) {
		body := p.accountRequest(nil)
		p.hook(HookConflict, map[string]any{"email": body["email"], "exists": true})
		want := app.AnswerRequiresAuth
		if p.config.ExistingAccounts == "silent" {
			want = app.AnswerOAuth
		}
		p.succeeds(p.post(accountPath, body), "type", want)
	}},
	{"A19", "an insert that conflicts with nobody is an error", "9.5", needHook(HookConflict), func(p *probe) {
		body := p.accountRequest(nil)
		p.hook(HookConflict, map[string]any{"email": body["email"], "exists": false})
		p.fails(p.post(accountPath, body), 500, app.EnvelopeTyped, app.CodeAccountCreation)
	}},
	{"A20", "a request for another region is forwarded once, and so are its code and its bearer", "9.5", needRegion, func(p *probe) {
		before := p.hook(HookForwarded, nil).number("count")
		token := p.token(p.redeem(p.code(map[string]any{"configuration": map[string]any{"region": strings.ToLower(p.config.OtherRegion)}})))
		after := p.hook(HookForwarded, nil)
		p.check(after, after.number("count") == before+1, "one forwarded request, not %d", after.number("count")-before)
		p.fails(p.read(token.AccessToken, "res_unknown"), 403, app.EnvelopeStatus, app.CodeForbidden)
		p.token(p.refresh(token.RefreshToken))
	}},
	{"A64", "a region that cannot be reached is a bad gateway", "7.2", needAll(needRegion, needHook(HookRegionDown)), func(p *probe) {
		body := p.accountRequest(map[string]any{"configuration": map[string]any{"region": p.config.OtherRegion}})
		p.during(HookRegionDown, func() { p.fails(p.post(accountPath, body), 502, app.EnvelopeFlat, app.CodeProxyFailed) })
	}},
	{"A21", "a new account is unverified, welcomed once and known by its first name", "9.1, 9.5", needHook(HookUser), func(p *probe) {
		body := p.accountRequest(map[string]any{"name": "Jane Doe"})
		p.succeeds(p.post(accountPath, body), "type", app.AnswerOAuth)
		p.succeeds(p.post(accountPath, body), "type", app.AnswerOAuth)
		r := p.hook(HookUser, map[string]any{"email": body["email"]})
		p.check(r, r.text("first_name") == "Jane" && string(r.raw("verified")) == "false" && r.number("welcome_messages") == 1,
			`first_name "Jane", verified false and one welcome message`)
	}},
	{"A65", "a request that needs information goes on with it", "9.8", needAsk, func(p *probe) {
		body := p.accountRequest(nil)
		p.hook(HookAsk, map[string]any{"email": body["email"]})
		r := p.post(accountPath, body)
		p.succeeds(r, "type", app.AnswerNeedsInformation)
		var schema struct{ Required []string }
		_ = json.Unmarshal(r.raw("needs_information", "schema"), &schema)
		p.check(r, len(schema.Required) > 0, "a schema that requires something")
		given := map[string]any{}
		for _, name := range schema.Required {
			given[name] = "conformance"
		}
		body["submitted_information"] = given
		p.succeeds(p.post(accountPath, body), "type", app.AnswerOAuth)
	}},
	{"T11", "a code of another app is refused", "10.2", needHook(HookForeign), func(p *probe) {
		code := p.hook(HookForeign, nil).text("code")
		r := p.form(url.Values{"grant_type": {"authorization_code"}, "code": {code}})
		p.fails(r, 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
	}},
	{"T12", "a refresh token of another app is refused, and still works at its own", "10.3", needHook(HookForeign), func(p *probe) {
		token := p.hook(HookForeign, nil).text("refresh_token")
		p.fails(p.refresh(token), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.token(p.refresh(token, unsigned))
	}},
	{"T13", "a deactivated user refreshes nothing and opens nothing", "10.3", needHook(HookDeactivate), func(p *probe) {
		email, token := p.person()
		p.hook(HookDeactivate, map[string]any{"email": email})
		p.fails(p.refresh(token.RefreshToken), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.fails(p.read(token.AccessToken, "res_1"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
	}},
	{"T14", "revoked sessions end every code and token of before", "10.2", needHook(HookRevoke), func(p *probe) {
		code := p.code(nil)
		token := p.token(p.redeem(p.code(nil)))
		p.hook(HookRevoke, nil)
		p.setSharedBearer("")
		p.fails(p.redeem(code), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.fails(p.refresh(token.RefreshToken), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.fails(p.read(token.AccessToken, "res_1"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		if p.config.TestHooks[HookUndated] != "" {
			p.fails(p.redeem(p.hook(HookUndated, nil).text("code")), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		}
		p.shared()
	}},
	{"T15", "scopes wider than the default are granted as asked", "10.4", nil, func(p *probe) {
		r := p.redeem(p.code(map[string]any{"scopes": []string{"conformance:read", "conformance:write"}}))
		p.token(r)
		if scope := r.text("scope"); scope != "" {
			p.check(r, scope == "conformance:read conformance:write", "the scopes asked for")
		}
	}},
	{"T16", "a workspace that the person may not access is not offered", "10.1", needHook(HookAddWorkspace, HookDenyWorkspace), func(p *probe) {
		body := p.accountRequest(nil)
		p.token(p.redeem(p.post(accountPath, body).text("oauth", "code")))
		id := p.hook(HookAddWorkspace, map[string]any{"email": body["email"]}).raw("id")
		offered := p.token(p.redeem(p.post(accountPath, body).text("oauth", "code")))
		p.check(p.last, offers(offered, id), "the workspace that was added")
		p.hook(HookDenyWorkspace, map[string]any{"email": body["email"], "id": id})
		r := p.redeem(p.post(accountPath, body).text("oauth", "code"))
		p.check(r, !offers(p.token(r), id), "no workspace %s in available_teams", id)
	}},
	{"T17", "the consented workspace stays first when others are added", "10.1", needHook(HookAddWorkspace), func(p *probe) {
		email, token := p.person()
		consented := first(token)
		p.check(p.last, consented != "", "a workspace of the new account")
		p.hook(HookAddWorkspace, map[string]any{"email": email})
		for range 2 {
			r := p.refresh(token.RefreshToken)
			token = p.token(r)
			if token.Account != nil && token.Account.AvailableTeams != nil {
				p.check(r, first(token) == consented, "workspace %s first", consented)
			}
		}
	}},
	{"T60", "a token whose workspace is gone opens nothing", "2", needHook(HookAddWorkspace, HookDenyWorkspace), func(p *probe) {
		email, token := p.person()
		p.hook(HookAddWorkspace, map[string]any{"email": email})
		p.hook(HookDenyWorkspace, map[string]any{"email": email, "id": first(token)})
		p.fails(p.read(token.AccessToken, "res_1"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		p.fails(p.refresh(token.RefreshToken), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
	}},
	{"T19", "code, refresh token and bearer work by the other base path too", "18", needSecond, func(p *probe) {
		second := p.config
		second.BaseURL, second.TokenURL = p.config.SecondBaseURL, p.config.SecondTokenURL
		other := &probe{session: newSession(second.withDefaults()), ctx: p.ctx, section: p.section}
		code := p.code(nil)
		token := other.token(other.redeem(code))
		p.fails(p.read(token.AccessToken, "res_unknown"), 403, app.EnvelopeStatus, app.CodeForbidden)
		token = p.token(p.refresh(token.RefreshToken))
		other.fails(other.read(token.AccessToken, "res_unknown"), 403, app.EnvelopeStatus, app.CodeForbidden)
	}},
	{"R7", "a declined activation keeps the id, and a retry goes on under it", "12.2", needAll(needPayment, needHook(HookFailActivation)), func(p *probe) {
		token, k := p.account(), key("conf-"+p.unique())
		body := p.body(p.config.PaidService, map[string]any{"payment_credentials": p.config.payment()})
		p.hook(HookFailActivation, nil)
		r := p.create(token, body, k)
		p.fails(r, 400, app.EnvelopeStatus, app.CodeRequiresPayment)
		id := r.text("id")
		p.check(r, id != "", "the allocated id")
		body["payment_credentials"] = p.config.payment()
		again := p.settled(token, p.create(token, body, k))
		p.check(again, again.text("id") == id, "the id %s", id)
	}},
	{"R72", "an activation happens once, with the token that came", "14.1", needAll(needPayment, needHook(HookActivations)), func(p *probe) {
		token, k := p.account(), key("conf-"+p.unique())
		before := p.hook(HookActivations, nil).number("count")
		body := p.body(p.config.PaidService, map[string]any{"payment_credentials": p.config.payment()})
		p.settled(token, p.create(token, body, k))
		p.settled(token, p.create(token, body, k))
		r := p.hook(HookActivations, nil)
		sum := sha256.Sum256([]byte(body["payment_credentials"].(map[string]any)[p.config.PaymentType].(string)))
		p.check(r, r.number("count") == before+1 && r.text("last") == hex.EncodeToString(sum[:]), "one activation, with the payment token of the request")
	}},
	{"R8", "a subscribed account is not charged again", "14.1", needAll(needPayment, needHook(HookActivations, HookSubscribe)), func(p *probe) {
		email, token := p.person()
		p.hook(HookSubscribe, map[string]any{"email": email})
		before := p.hook(HookActivations, nil).number("count")
		body := p.body(p.config.PaidService, map[string]any{"payment_credentials": p.config.payment()})
		p.settled(token.AccessToken, p.create(token.AccessToken, body))
		r := p.hook(HookActivations, nil)
		p.check(r, r.number("count") == before, "no activation")
	}},
	{"U3", "a resource of another partner is forbidden", "12.6", needAll(needCap(app.CapUpdate, needFree), needHook(HookForeignThing)), func(p *probe) {
		email, token := p.person()
		id := p.hook(HookForeignThing, map[string]any{"email": email}).text("id")
		r := p.verb(token.AccessToken, id, "update_service", map[string]any{"service_id": p.config.FreeService})
		p.fails(r, 403, app.EnvelopeStatus, app.CodeForbidden)
		p.fails(p.read(token.AccessToken, id), 403, app.EnvelopeStatus, app.CodeForbidden)
	}},
	{"X55", "a rotation that fails leaves the old credentials", "12.7", needAll(needCap(app.CapRotate, needFree), needHook(HookBreakRotation)), func(p *probe) {
		token := p.shared()
		id, made := p.free(token)
		p.during(HookBreakRotation, func() {
			r := p.verb(token, id, "rotate_credentials", map[string]any{})
			p.fails(r, 500, app.EnvelopeStatus, app.CodeRotationFailed)
		})
		now := p.read(token, id)
		p.check(now, equal(p.resource(now).Complete.AccessConfiguration, p.resource(made).Complete.AccessConfiguration), "the credentials of before")
	}},
	{"M5", "a removal that fails says so and can be tried again", "12.8", needAll(needFree, needHook(HookBreakRemoval)), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		p.during(HookBreakRemoval, func() {
			p.fails(p.verb(token, id, "remove", map[string]any{}), 500, app.EnvelopeStatus, app.CodeRemoveFailed)
		})
		p.gone(token, id, p.verb(token, id, "remove", map[string]any{}))
	}},
	{"C1", "a catalog whose backend is down is served stale", "11.1", needHook(HookCatalogDown), func(p *probe) {
		p.during(HookCatalogDown, func() {
			r := p.get("provisioning/services")
			p.ok(r)
			var entries []json.RawMessage
			_ = json.Unmarshal(r.raw("data"), &entries)
			p.check(r, len(entries) > 0, "a catalog that is not empty")
		})
	}},
}

// limitCases exhaust budgets (7.4).
var limitCases = []scenario{
	{"L1", "account requests beyond the budget are told when to come back", "7.4", needHook(HookLimits), func(p *probe) {
		p.limited("account_requests", func() {
			p.succeeds(p.post(accountPath, p.accountRequest(nil)), "type", app.AnswerOAuth)
			p.later(p.post(accountPath, p.accountRequest(nil)), app.EnvelopeTyped)
		})
	}},
	{"L2", "token exchanges beyond the budget are typed, and burn the code", "7.4, 10.2", needHook(HookLimits), func(p *probe) {
		one, two := p.accountRequest(nil), p.accountRequest(nil)
		first, second := p.post(accountPath, one).text("oauth", "code"), p.post(accountPath, two).text("oauth", "code")
		p.limited("token_exchanges", func() {
			p.token(p.redeem(first))
			p.later(p.redeem(second), app.EnvelopeTyped)
		})
		p.fails(p.redeem(second), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.token(p.redeem(p.post(accountPath, two).text("oauth", "code"))) // the way back (9.3)
	}},
	{"L3", "the global throttle asks for thirty seconds in each route's envelope", "7.4", needHook(HookThrottle), func(p *probe) {
		token := p.shared()
		for _, c := range []struct {
			envelope app.Envelope
			send     func() *reply
		}{
			{app.EnvelopeTyped, func() *reply { return p.post(accountPath, p.accountRequest(nil)) }},
			{app.EnvelopeTyped, func() *reply { return p.refresh("x") }},
			{app.EnvelopeStatus, func() *reply { return p.read(token, "res_1") }},
			{app.EnvelopeFlat, func() *reply { return p.get("provisioning/health") }},
		} {
			p.during(HookThrottle, func() {
				r := c.send()
				p.later(r, c.envelope)
				p.check(r, r.header.Get("Retry-After") == "30", "Retry-After: 30")
			})
		}
	}},
	{"L4", "without budgets requests are not counted", "7.4", needHook(HookLimits), func(p *probe) {
		p.hook(HookLimits, map[string]any{})
		for range 2 {
			p.succeeds(p.post(accountPath, p.accountRequest(nil)), "type", app.AnswerOAuth)
		}
	}},
	{"L5", "creates beyond the budget are told so with an empty id, links count too", "7.4", needAll(needFree, needHook(HookLimits)), func(p *probe) {
		token := p.shared()
		p.limited("resource_creates", func() {
			p.settled(token, p.create(token, p.body(p.config.FreeService, nil)))
			r := p.create(token, p.body(p.config.FreeService, nil))
			p.later(r, app.EnvelopeStatus)
			p.check(r, string(r.raw("id")) == `""`, `id ""`)
			p.later(p.post(resourcesPath+"/link", p.body(p.config.FreeService, nil), bearer(token)), app.EnvelopeStatus)
		})
	}},
}

// limited runs f with a budget of one per hour.
func (p *probe) limited(budget string, f func()) {
	p.hook(HookLimits, map[string]any{budget: 1})
	defer p.hook(HookLimits, map[string]any{})
	f()
}

func (p *probe) later(r *reply, envelope app.Envelope) {
	p.fails(r, 429, envelope, app.CodeRateLimited)
	p.check(r, r.header.Get("Retry-After") >= "1", "Retry-After of at least 1")
}

func needAsk(c Config) string {
	if c.Profile == Stripe {
		return "the answer is not given to a caller of type stripe (9.8)"
	}
	return needHook(HookAsk)(c)
}

func needRegion(c Config) string {
	if c.OtherRegion == "" {
		return "other_region is not given"
	}
	return needHook(HookForwarded)(c)
}

func needSecond(c Config) string {
	if c.SecondTokenURL == "" {
		return "second_token_endpoint is not given"
	}
	return missing(c.SecondBaseURL, "second_base_url")
}

// first is the default workspace of a token, "" if there is none.
func first(token app.Token) string {
	if token.Account == nil || len(token.Account.AvailableTeams) == 0 {
		return ""
	}
	return text(token.Account.AvailableTeams[0].ID)
}

func offers(token app.Token, id json.RawMessage) bool {
	return token.Account != nil && slices.ContainsFunc(token.Account.AvailableTeams, func(t app.Team) bool {
		return text(t.ID) == strings.Trim(string(id), `"`)
	})
}

// text is a workspace id as text: the wire has numbers and strings.
func text(id any) string {
	raw, err := json.Marshal(id)
	if err != nil {
		return ""
	}
	return strings.Trim(string(raw), `"`)
}
