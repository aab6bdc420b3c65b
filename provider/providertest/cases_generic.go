package providertest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-dev/purser/app"
)

const (
	registrationPath = "provisioning/client_registration"
	limitsPath       = "provisioning/limits"
)

// genericCases are of the generic partner profile (15).
var genericCases = []scenario{
	{"G1", "a public client makes an account, a token and a resource, all unsigned", "15", nil, func(p *probe) {
		r := p.post(accountPath, p.asPublic(nil), unsigned)
		p.succeeds(r, "type", app.AnswerOAuth)
		token := p.token(p.redeemAs(publicClient, r.text("oauth", "code"), nil))
		p.check(p.last, token.ExpiresIn == 3600, "expires_in 3600")
		body := map[string]any{"orchestrator_resource_id": "conf_" + p.unique(), "environment": "dev"}
		r = p.post(resourcesPath, body, unsigned, bearer(token.AccessToken))
		p.succeeds(r, "status", app.StatusComplete)
		again := p.post(resourcesPath, body, unsigned, bearer(token.AccessToken))
		p.check(again, again.text("id") == r.text("id"), "the same resource for the same orchestrator_resource_id")
		p.succeeds(p.read2(r.text("id"), unsigned, bearer(token.AccessToken), without(app.HeaderVersion)), "status", app.StatusComplete)
	}},
	{"G2", "a partner without the permission makes no account", "15.4", needHook(HookRights), func(p *probe) {
		p.rights(publicClient, map[string]any{"accounts": false}, func() {
			p.fails(p.post(accountPath, p.asPublic(nil), unsigned), 403, app.EnvelopeTyped, app.CodeForbidden)
		})
	}},
	{"G3", "a client with a key does not get by with its bare id", "15.3", nil, func(p *probe) {
		p.fails(p.post(accountPath, p.asClient(keyedClient, nil), unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
	}},
	{"G4", "an assertion of a foreign key is refused", "15.3", nil, func(p *probe) {
		body := p.asKeyed(p.assertion(p.partner().strange, nil))
		p.fails(p.post(accountPath, body, unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
	}},
	{"G50", "an assertion works once, on whatever endpoint", "15.3", nil, func(p *probe) {
		assertion := p.assertion(p.partner().key, nil)
		r := p.post(accountPath, p.asKeyed(assertion), unsigned)
		p.succeeds(r, "type", app.AnswerOAuth)
		code := r.text("oauth", "code")
		p.fails(p.post(accountPath, p.asKeyed(assertion), unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
		p.fails(p.redeemAs(keyedClient, code, p.proof(assertion)), 401, app.EnvelopeOAuth, app.CodeInvalidClient)
		p.fails(p.redeemAs(keyedClient, code, nil), 401, app.EnvelopeOAuth, app.CodeInvalidClient)
		p.token(p.redeemAs(keyedClient, code, p.proof(p.assertion(p.partner().key, nil)))) // the code was not burnt
	}},
	{"G51", "an assertion with a wrong or missing claim is refused", "15.3", nil, func(p *probe) {
		now := p.config.Now().Unix()
		for _, change := range []map[string]any{
			{"aud": "https://elsewhere.example/"},
			{"iss": "https://elsewhere.example/client.json"},
			{"sub": "https://elsewhere.example/client.json"},
			{"exp": now - 60, "iat": now - 120},
			{"exp": now + 900},
			{"jti": ""},
		} {
			body := p.asKeyed(p.assertion(p.partner().key, change))
			p.fails(p.post(accountPath, body, unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
		}
	}},
	{"G52", "a code without challenge cannot be redeemed, and a wrong verifier burns none", "15", nil, func(p *probe) {
		bare := p.post(accountPath, p.asPublic(map[string]any{"code_challenge": nil, "code_challenge_method": nil}), unsigned)
		p.succeeds(bare, "type", app.AnswerOAuth)
		p.fails(p.redeemAs(publicClient, bare.text("oauth", "code"), nil), 401, app.EnvelopeOAuth, app.CodeInvalidRequest)
		r := p.post(accountPath, p.asPublic(nil), unsigned)
		p.succeeds(r, "type", app.AnswerOAuth)
		wrong := p.redeemAs(publicClient, r.text("oauth", "code"), url.Values{"code_verifier": {strings.Repeat("w", 43)}})
		p.fails(wrong, 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.token(p.redeemAs(publicClient, r.text("oauth", "code"), nil))
	}},
	{"G53", "an existing account is never linked without its person", "15", needAll(missingExisting), func(p *probe) {
		body := p.keyed(map[string]any{"email": p.config.ExistingEmail})
		r := p.post(accountPath, body, unsigned)
		p.succeeds(r, "type", app.AnswerRequiresAuth)
		target, err := url.Parse(r.text("requires_auth", "url"))
		p.check(r, err == nil && target.Query().Get("state") != "" && target.Query().Get("state") != body["confirmation_secret"], "a state of the provider's own")
		p.fails(p.post(accountPath, p.keyed(map[string]any{"email": p.config.ExistingEmail, "code_challenge": nil, "code_challenge_method": nil}), unsigned),
			400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"G54", "scopes beyond the client's ceiling are refused at the exchange", "10.4", nil, func(p *probe) {
		r := p.post(accountPath, p.keyed(map[string]any{"scopes": []string{"conformance:admin"}}), unsigned)
		p.succeeds(r, "type", app.AnswerOAuth)
		p.fails(p.redeemKeyed(r.text("oauth", "code")), 400, app.EnvelopeOAuth, app.CodeInvalidScope)
	}},
	{"G55", "a token of another client is not refreshed", "10.3", nil, func(p *probe) {
		token := p.claim()
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.RefreshToken}, "client_id": {p.partner().base + publicClient}}
		r := p.form(form, unsigned)
		f, _ := app.ParseFailure(r.body)
		p.check(r, f.Envelope == app.EnvelopeOAuth && (f.Code == app.CodeInvalidClient && r.status == 401 || f.Code == app.CodeInvalidGrant && r.status == 400),
			"HTTP 401 invalid_client or 400 invalid_grant, in the oauth envelope")
		form.Set("client_id", p.partner().base+keyedClient)
		for name, values := range p.proof(p.assertion(p.partner().key, nil)) {
			form[name] = values
		}
		p.token(p.form(form, unsigned))
	}},
	{"G7", "an assertion travels in the query of a GET", "15.3", needFeature("github_grants"), func(p *probe) {
		p.fails(p.get("provisioning/github/grants/unknown/repositories?"+p.proven(), unsigned), 404, app.EnvelopeTyped, app.CodeGrantNotFound)
	}},
	{"G8", "an unknown client is not registered, and told which check failed", "15.2", nil, func(p *probe) {
		r := p.post(registrationPath, map[string]any{"client_id": p.partner().base + "/nothing.json"}, unsigned)
		p.fails(r, 400, app.EnvelopeTyped, "registration_failed")
		p.check(r, string(r.raw("registered")) == "false" && p.checked(r, "client_exists") == "false", "registered false, and the check client_exists not ok")
	}},
	{"G10", "a client that was switched off stays off when it registers again", "15.2", needHook(HookRights), func(p *probe) {
		body := map[string]any{"client_id": p.partner().base + publicClient}
		p.ok(p.post(registrationPath, body, unsigned))
		p.rights(publicClient, map[string]any{"enabled": false}, func() {
			p.fails(p.post(registrationPath, body, unsigned), 400, app.EnvelopeTyped, "registration_failed")
			p.fails(p.post(accountPath, p.asPublic(nil), unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
		})
	}},
	{"G12", "registration tells whether an assertion is good, and goes on", "15.2", nil, func(p *probe) {
		for _, c := range []struct {
			want   string
			change map[string]any
		}{{"true", nil}, {"false", map[string]any{"aud": "https://elsewhere.example/"}}, {"false", map[string]any{"sub": "https://elsewhere.example/"}}} {
			r := p.post(registrationPath, map[string]any{
				"client_id": p.partner().base + keyedClient, "client_assertion": p.assertion(p.partner().key, c.change), "client_assertion_type": assertionType,
			}, unsigned)
			p.ok(r)
			p.check(r, string(r.raw("registered")) == "true" && p.checked(r, "client_assertion") == c.want, "registered true, and the check client_assertion %s", c.want)
		}
	}},
	{"G56", "a document that does not opt in, or names another id, is no client", "15.1", nil, func(p *probe) {
		c := p.partner()
		c.serve("/text.json", c.document("/text.json", map[string]any{"dev.purser": map[string]any{"provisioning": "true"}}))
		c.serve("/other.json", c.document(publicClient, nil))
		for _, path := range []string{"/text.json", "/other.json"} {
			r := p.post(registrationPath, map[string]any{"client_id": c.base + path}, unsigned)
			p.fails(r, 400, app.EnvelopeTyped, "registration_failed")
		}
		for _, id := range []string{"", "client-1", c.base + publicClient + "?x=1", c.base + publicClient + "#x", "ftp://example.com/x.json"} {
			p.fails(p.post(registrationPath, map[string]any{"client_id": id}, unsigned), 400, app.EnvelopeTyped, "registration_failed")
		}
	}},
	{"G13", "limits are told by bearer, and to nobody without", "15.5", nil, func(p *probe) {
		token := p.claim()
		r := p.post(limitsPath, map[string]any{}, unsigned, bearer(token.AccessToken))
		p.ok(r)
		p.check(r, r.text("tier") != "" && r.number("endpoints", "account_requests", "per_hour") > 0 && r.header.Get("RateLimit-Limit") != "",
			"tier, a budget of account_requests per hour, and RateLimit-Limit")
		p.fails(p.post(limitsPath, map[string]any{}, unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
	}},
	{"G14", "a public client has no payer", "15.7", needFeature("payer"), func(p *probe) {
		r := p.post(accountPath, p.asPublic(nil), unsigned)
		p.succeeds(r, "type", app.AnswerOAuth)
		token := p.token(p.redeemAs(publicClient, r.text("oauth", "code"), nil))
		for _, path := range []string{"payer", "payer/organizations", "payer/invoices", "payer/settlements"} {
			p.fails(p.get("provisioning/"+path, unsigned, bearer(token.AccessToken)), 403, app.EnvelopeTyped, app.CodeForbidden)
		}
		p.fails(p.get("provisioning/payer", unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
	}},
	{"G57", "a client that does not pay has no payer", "15.7", needAll(needFeature("payer"), needHook(HookRights)), func(p *probe) {
		p.rights(keyedClient, map[string]any{"payer": false}, func() {
			p.fails(p.get("provisioning/payer?"+p.proven(), unsigned), 403, app.EnvelopeTyped, app.CodeForbidden)
		})
	}},
	{"G15", "a payer's default limits are not changed, and the field is named", "15.7", needFeature("payer"), func(p *probe) {
		for _, path := range []string{"payer", "payer/organizations/00000000-0000-4000-8000-000000000000/limits"} {
			r := p.patch("provisioning/"+path+"?"+p.proven(), map[string]any{"default_limits_usd": map[string]string{"analytics": "5.00"}})
			p.fails(r, 400, app.EnvelopeTyped, app.CodeInvalidRequest)
			p.check(r, strings.Contains(string(r.body), "default_limits_usd"), "the name of the field in the message")
		}
		p.fails(p.patch("provisioning/payer?"+p.proven(), map[string]any{"spend_alert_usd": 250}), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"G58", "a payer reads and sets what is its own", "15.7", needFeature("payer"), func(p *probe) {
		r := p.patch("provisioning/payer?"+p.proven(), map[string]any{"spend_alert_usd": "250.00", "webhook_url": "https://client.example/hook"})
		p.ok(r)
		now := p.get("provisioning/payer?"+p.proven(), unsigned)
		p.ok(now)
		p.check(now, now.text("spend_alert_usd") == "250.00" && now.text("webhook_url") == "https://client.example/hook", "what was set")
		secret := p.post("provisioning/payer/webhook_secret?"+p.proven(), map[string]any{}, unsigned)
		p.ok(secret)
		p.check(secret, strings.HasPrefix(secret.text("secret"), "whsec_") && secret.text("created_at") != "" && secret.header.Get("Cache-Control") == "no-store",
			"a secret beginning with whsec_, created_at, and Cache-Control: no-store")
		event := p.post("provisioning/payer/test_event?"+p.proven(), map[string]any{}, unsigned)
		p.ok(event)
		p.check(event, event.text("event_id") != "", "event_id")
		p.ok(p.get("provisioning/payer/organizations?limit=10&offset=0&"+p.proven(), unsigned))
		p.ok(p.get("provisioning/payer/invoices?"+p.proven(), unsigned))
		p.ok(p.get("provisioning/payer/settlements?"+p.proven(), unsigned))
	}},
	{"G16", "a grant without a code is refused", "15.6", needFeature("github_grants"), func(p *probe) {
		r := p.post("provisioning/github/grants", p.asKeyed(p.assertion(p.partner().key, nil)), unsigned)
		p.fails(r, 400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"G59", "what GitHub answers to a code is told by its own code", "15.6", needGitHub, func(p *probe) {
		for _, c := range []struct{ input, code string }{
			{"failing", app.CodeGitHubExchange}, {"down", app.CodeGitHubUnavailable}, {"denied", app.CodeEmailUnavailable},
		} {
			p.fails(p.grant(p.config.GitHubCodes[c.input]), 502, app.EnvelopeTyped, c.code)
		}
		r := p.grant(p.config.GitHubCodes["no_email"])
		p.ok(r)
		p.check(r, r.text("email") == "" && r.text("grant_id") != "", "a grant whose email is null")
	}},
	{"G60", "a grant lists its repositories, and connects a resource with an installation of its own", "15.6", needGitHub, func(p *probe) {
		r := p.grant(p.config.GitHubCodes["good"])
		p.ok(r)
		p.check(r, r.text("gh_login") != "" && r.number("expires_in") > 0, "gh_login and expires_in")
		id := r.text("grant_id")
		list := p.get("provisioning/github/grants/"+id+"/repositories?"+p.proven(), unsigned)
		p.ok(list)
		var access struct {
			Installations []struct{ ID int64 }
			Repositories  []struct {
				FullName string `json:"full_name"`
			}
		}
		_ = json.Unmarshal(list.body, &access)
		p.check(list, len(access.Installations) > 0 && len(access.Repositories) > 0, "an installation and a repository")
		token := p.claim()
		made := p.post(resourcesPath, map[string]any{"orchestrator_resource_id": "conf_" + p.unique(), "environment": "dev"}, unsigned, bearer(token.AccessToken))
		p.succeeds(made, "status", app.StatusComplete)
		at := resourcesPath + "/" + made.text("id")
		connect := func(grant string, installation int64) *reply {
			return p.post(at+"/github_integration", map[string]any{"grant_id": grant, "installation_id": installation}, unsigned, bearer(token.AccessToken))
		}
		p.fails(connect("none", access.Installations[0].ID), 404, app.EnvelopeStatus, app.CodeGrantNotFound)
		p.fails(connect(id, -1), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
		p.ok(connect(id, access.Installations[0].ID))
		p.fails(p.post(at+"/wizard_runs", map[string]any{}, unsigned, bearer(token.AccessToken)), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
		p.ok(p.post(at+"/wizard_runs", map[string]any{"repository": access.Repositories[0].FullName}, unsigned, bearer(token.AccessToken)))
	}},
	{"G17", "an unknown grant is not found", "15.6", needFeature("github_grants"), func(p *probe) {
		p.fails(p.get("provisioning/github/grants/none/repositories?"+p.proven(), unsigned), 404, app.EnvelopeTyped, app.CodeGrantNotFound)
	}},
	{"G19", "the consent page gives no code by itself, and keeps the state", "9.6", needAll(missingExisting, needHook(HookPage)), func(p *probe) {
		state := p.waiting()
		for range 2 {
			r := p.hook(HookPage, map[string]any{"state": state, "email": p.config.ExistingEmail})
			p.check(r, r.number("status") == http.StatusOK, "the page, twice")
		}
	}},
	{"G20", "an approval gives a code and the state, once", "9.6", needAll(missingExisting, needHook(HookConsent)), func(p *probe) {
		state := p.waiting()
		answer := map[string]any{"state": state, "email": p.config.ExistingEmail, "decision": "approve", "workspace": p.config.Workspace}
		r := p.hook(HookConsent, answer)
		target, err := url.Parse(r.text("body", "redirect_url"))
		p.check(r, err == nil && r.number("status") == http.StatusOK && target.Query().Get("code") != "" && target.Query().Get("state") == state, "redirect_url with code and state")
		p.token(p.redeemKeyed(target.Query().Get("code")))
		again := p.hook(HookConsent, answer)
		p.check(again, again.number("status") == http.StatusNotFound, "HTTP 404: the state is used up")
	}},
	{"G21", "another person, a foreign workspace, an unknown state and missing parameters are refused", "9.6", needAll(missingExisting, needHook(HookConsent)), func(p *probe) {
		state := p.waiting()
		for _, c := range []struct {
			status int
			with   map[string]any
		}{
			{http.StatusForbidden, map[string]any{"email": "stranger@example.com"}},
			{http.StatusForbidden, map[string]any{"workspace": "987654321"}},
			{http.StatusNotFound, map[string]any{"state": "unknown"}},
			{http.StatusBadRequest, map[string]any{"decision": ""}},
			{http.StatusOK, map[string]any{}}, // none of these used the state up
		} {
			body := map[string]any{"state": state, "email": p.config.ExistingEmail, "decision": "approve", "workspace": p.config.Workspace}
			for name, value := range c.with {
				body[name] = value
			}
			r := p.hook(HookConsent, body)
			p.check(r, r.number("status") == c.status, "HTTP %d for %v", c.status, c.with)
		}
	}},
	{"G22", "refusals for want of a permission spend no budget", "15.5", needHook(HookRights), func(p *probe) {
		p.rights(keyedClient, map[string]any{"accounts": false}, func() {
			for range 40 {
				p.fails(p.post(accountPath, p.asKeyed(p.assertion(p.partner().key, nil)), unsigned), 403, app.EnvelopeTyped, app.CodeForbidden)
			}
		})
		p.succeeds(p.post(accountPath, p.asKeyed(p.assertion(p.partner().key, nil)), unsigned), "type", app.AnswerOAuth)
	}},
}

// needGitHub: the grants, and codes that bring GitHub into each state.
func needGitHub(c Config) string {
	if why := needFeature("github_grants")(c); why != "" {
		return why
	}
	for _, state := range []string{"good", "failing", "down", "denied", "no_email"} {
		if c.GitHubCodes[state] == "" {
			return "github_codes has no " + state
		}
	}
	return ""
}

// proven is a fresh proof of the client with a key, for a query.
func (p *probe) proven() string {
	query := p.proof(p.assertion(p.partner().key, nil))
	query.Set("client_id", p.partner().base+keyedClient)
	return query.Encode()
}

func (p *probe) grant(code string) *reply {
	body := p.asKeyed(p.assertion(p.partner().key, nil))
	body["code"] = code
	return p.post("provisioning/github/grants", body, unsigned)
}

func (p *probe) patch(path string, v any) *reply {
	body, err := json.Marshal(v)
	if err != nil {
		p.failf("encoding request: %v", err)
	}
	return p.send(http.MethodPatch, p.config.BaseURL+path, body, "application/json", []option{unsigned})
}

func (p *probe) proof(assertion string) url.Values {
	return url.Values{"client_assertion": {assertion}, "client_assertion_type": {assertionType}}
}

// waiting is the state of a consent that waits for the person.
func (p *probe) waiting() string {
	r := p.post(accountPath, p.keyed(map[string]any{"email": p.config.ExistingEmail}), unsigned)
	p.succeeds(r, "type", app.AnswerRequiresAuth)
	target, err := url.Parse(r.text("requires_auth", "url"))
	p.check(r, err == nil && target.Query().Get("state") != "", "a URL with a state")
	return target.Query().Get("state")
}

// rights changes a client's rights while f runs.
func (p *probe) rights(document string, change map[string]any, f func()) {
	id := p.partner().base + document
	in := map[string]any{"client_id": id, "accounts": true, "enabled": true, "payer": true}
	back := map[string]any{"client_id": id, "accounts": true, "enabled": true, "payer": true}
	for name, value := range change {
		in[name] = value
	}
	p.hook(HookRights, in)
	defer p.hook(HookRights, back)
	f()
}

// checked is the outcome of one check of a registration.
func (p *probe) checked(r *reply, name string) string {
	var checks []struct {
		Name string          `json:"name"`
		OK   json.RawMessage `json:"ok"`
	}
	_ = json.Unmarshal(r.raw("checks"), &checks)
	for _, c := range checks {
		if c.Name == name {
			return string(c.OK)
		}
	}
	return "absent"
}

func missingExisting(c Config) string { return missing(c.ExistingEmail, "existing_email") }

func needFeature(name string) func(Config) string {
	return func(c Config) string {
		if contains(c.Features, name) {
			return ""
		}
		return "feature " + name + " is not offered"
	}
}
