package providertest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-dev/purser/app"
)

var signatureCases = []scenario{
	{"S1", "health answers a signed request", "8", nil, func(p *probe) {
		r := p.get("provisioning/health")
		p.succeeds(r, "status", "ok")
		var h app.Health
		_ = json.Unmarshal(r.body, &h)
		p.check(r, h.Speaks(), "supported_versions with %s", app.Version)
	}},
	{"S2", "a wrong secret is refused", "5.1", nil, func(p *probe) {
		p.fails(p.get("provisioning/health", signedWith("not the secret")), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S3", "a signature of ten minutes ago is refused", "5.1", nil, func(p *probe) {
		p.fails(p.get("provisioning/health", at(-600)), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		p.fails(p.get("provisioning/health", at(600)), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S4", "no signature is refused", "5.1", nil, func(p *probe) {
		p.fails(p.get("provisioning/health", unsigned), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S7", "no API-Version is refused", "6", nil, func(p *probe) {
		p.fails(p.get("provisioning/health", without(app.HeaderVersion)), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
	}},
	{"S8", "another API-Version is refused", "6", nil, func(p *probe) {
		p.fails(p.get("provisioning/health", header(app.HeaderVersion, "9.9z")), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
	}},
	{"S10", "a bearer alone does not update a resource", "2, 7.3", needFree, func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		body := map[string]any{"service_id": p.config.FreeService}
		p.fails(p.verb(token, id, "update_service", body, unsigned), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S50", "either of two v1 values may match, as during a rotation", "5.1", nil, func(p *probe) {
		p.succeeds(p.get("provisioning/health", signedWith("the old secret", p.config.SigningSecret)), "status", "ok")
		p.succeeds(p.get("provisioning/health", signedWith(p.config.SigningSecret, "the next secret")), "status", "ok")
	}},
	{"S51", "a malformed signature is refused", "5.1", nil, func(p *probe) {
		for _, value := range []string{"", "t=1", "v1=00", "t=x,v1=00", "nonsense", strings.Repeat("v1=00,", 9) + "t=1700000000"} {
			r := p.get("provisioning/health", unsigned, header(app.HeaderSignature, value))
			p.fails(r, 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		}
		odd := func(c *call) {
			c.header.Set(app.HeaderSignature, app.SignatureHeader(c.secrets, p.config.Now().Unix(), c.body)+",nonsense")
		}
		p.fails(p.get("provisioning/health", unsigned, odd), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S52", "the neutral header name works, and never rescues an invalid one", "4.2", nil, func(p *probe) {
		good := func(c *call) {
			c.header.Set(app.HeaderNeutralSignature, app.SignatureHeader(c.secrets, p.config.Now().Unix(), c.body))
		}
		p.succeeds(p.get("provisioning/health", unsigned, good), "status", "ok")
		r := p.get("provisioning/health", unsigned, good, header(app.HeaderSignature, "t=1700000000,v1=00"))
		p.fails(r, 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S53", "a changed body is refused", "5.1", nil, func(p *probe) {
		body := `{"email":"someone@example.com"}`
		tamper := func(c *call) {
			c.rawSignature = app.SignatureHeader(c.secrets, p.config.Now().Unix(), []byte(body+" "))
		}
		p.fails(p.post("provisioning/account_requests", body, tamper), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S54", "services lists whole entries with unique ids", "11.1", nil, func(p *probe) {
		r := p.get("provisioning/services")
		p.ok(r)
		var entries []json.RawMessage
		_ = json.Unmarshal(r.raw("data"), &entries)
		services, warnings := app.Normalize("provider", entries)
		p.check(r, len(services) > 0 && len(warnings) == 0, "at least one entry and none that needs a warning, but %v", warnings)
	}},
	{"S55", "unknown paths and wrong methods get our envelopes, not a framework's page", "4.3", nil, func(p *probe) {
		p.fails(p.get("provisioning/no_such_thing"), 404, app.EnvelopeFlat, app.CodeNotFound)
		p.fails(p.get("provisioning/resources/a/b/c"), 404, app.EnvelopeStatus, app.CodeNotFound)
		r := p.get("provisioning/account_requests")
		p.fails(r, 405, app.EnvelopeTyped, app.CodeMethodNotAllowed)
		p.check(r, strings.Contains(r.header.Get("Allow"), http.MethodPost), "Allow: POST")
	}},
	{"S56", "a body above 1 MiB is refused", "4.3", nil, func(p *probe) {
		body := `{"email":"someone@example.com","name":"` + strings.Repeat("x", app.MaxRequestBytes) + `"}`
		p.fails(p.post("provisioning/account_requests", body), 413, app.EnvelopeFlat, app.CodeRequestTooLarge)
	}},
	{"S57", "a body that is not UTF-8 is refused", "5.1", nil, func(p *probe) {
		p.fails(p.post("provisioning/account_requests", []byte("{\"email\":\"\xff@example.com\"}")), 400, app.EnvelopeFlat, app.CodeBodyNotDecodable)
	}},
}

const accountPath = "provisioning/account_requests"

var accountCases = []scenario{
	{"A1", "a new email gets a code", "9.5", nil, func(p *probe) {
		body := p.accountRequest(nil)
		r := p.post(accountPath, body)
		p.succeeds(r, "type", app.AnswerOAuth)
		p.check(r, r.text("id") == body["id"] && r.text("oauth", "code") != "", "the request id echoed and a code")
		p.check(r, strings.Contains(r.header.Get("Cache-Control"), "no-store"), "Cache-Control: no-store")
	}},
	{"A4", "an unknown block inside configuration is ignored and not echoed", "9.1", nil, func(p *probe) {
		r := p.post(accountPath, p.accountRequest(map[string]any{"configuration": map[string]any{"conformance_block": map[string]any{"a": 1}}}))
		p.succeeds(r, "type", app.AnswerOAuth)
		p.check(r, !strings.Contains(string(r.body), "conformance_block"), "the block not echoed")
	}},
	{"A5", "an unsigned request is refused", "9.2", nil, func(p *probe) {
		p.fails(p.post(accountPath, p.accountRequest(nil), unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
	}},
	{"A6", "an empty email is refused", "9.1", nil, func(p *probe) {
		for _, email := range []any{"", "  ", "nobody", "a@", "@b", "a@b@c", 5, strings.Repeat("a", 250) + "@b.example"} {
			p.fails(p.post(accountPath, p.accountRequest(map[string]any{"email": email})), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		}
	}},
	{"A7", "a request that expired, with an offset, is refused", "9.1", nil, func(p *probe) {
		r := p.post(accountPath, p.accountRequest(map[string]any{"expires_at": "2020-01-01T00:00:00+02:00"}))
		p.fails(r, 400, app.EnvelopeTyped, app.CodeExpired)
	}},
	{"A9", "an expiry that is no date is refused", "9.1", nil, func(p *probe) {
		for _, value := range []any{"soon", 5, "2026-13-01T00:00:00Z"} {
			p.fails(p.post(accountPath, p.accountRequest(map[string]any{"expires_at": value})), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		}
	}},
	{"A11", "an orchestrator without an account is refused", "9.1", nil, func(p *probe) {
		block := map[string]any{"type": "stripe", "stripe": map[string]any{"organization": "org_1"}}
		p.fails(p.post(accountPath, p.accountRequest(map[string]any{"orchestrator": block})), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"A13", "a plain code challenge is refused", "9.1", nil, func(p *probe) {
		r := p.post(accountPath, p.accountRequest(map[string]any{"code_challenge_method": "plain"}))
		p.fails(r, 400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"A16", "an existing email needs the person's consent", "9.5", needConsent, func(p *probe) {
		body := p.accountRequest(map[string]any{"email": p.config.ExistingEmail})
		r := p.post(accountPath, body)
		p.succeeds(r, "type", app.AnswerRequiresAuth)
		target, err := url.Parse(r.text("requires_auth", "redirect", "url"))
		p.check(r, err == nil && r.text("requires_auth", "type") == "redirect" && target.Query().Get("state") == body["confirmation_secret"],
			"requires_auth of type redirect whose URL carries the confirmation secret as state")
	}},
	{"A22", "a whole request of the Stripe profile is accepted", "3.4", nil, func(p *probe) {
		block := map[string]any{"type": "stripe", "stripe": map[string]any{"account": p.config.Account, "organisation": "org_1"}}
		r := p.post(accountPath, p.accountRequest(map[string]any{"orchestrator": block, "unknown_member": []int{1}}))
		p.succeeds(r, "type", app.AnswerOAuth)
	}},
	{"A50", "the same request again gives the same code", "9.3", nil, func(p *probe) {
		body := p.accountRequest(nil)
		first, second := p.post(accountPath, body), p.post(accountPath, body)
		p.succeeds(first, "type", app.AnswerOAuth)
		p.succeeds(second, "type", app.AnswerOAuth)
		p.check(second, first.text("oauth", "code") == second.text("oauth", "code"), "the same code")
	}},
	{"A51", "the same id after the code was redeemed gives a fresh code for the same account", "9.3", nil, func(p *probe) {
		body := p.accountRequest(nil)
		first := p.token(p.redeem(p.post(accountPath, body).text("oauth", "code")))
		again := p.post(accountPath, body)
		p.succeeds(again, "type", app.AnswerOAuth)
		second := p.token(p.redeem(again.text("oauth", "code")))
		p.check(again, first.Account != nil && second.Account != nil && first.Account.ID == second.Account.ID, "the same account")
	}},
	{"A52", "the same id for another email or challenge is a conflict", "9.3", nil, func(p *probe) {
		body := p.accountRequest(nil)
		p.succeeds(p.post(accountPath, body), "type", app.AnswerOAuth)
		challenge := body["code_challenge"]
		body["code_challenge"] = app.Challenge("another " + verifier)
		p.fails(p.post(accountPath, body), 409, app.EnvelopeTyped, app.CodeIdempotencyConflict)
		body["code_challenge"] = challenge
		body["email"] = "conformance+" + p.unique() + "@example.com"
		p.fails(p.post(accountPath, body), 409, app.EnvelopeTyped, app.CodeIdempotencyConflict)
	}},
	{"A53", "nulls are absences", "9.1", nil, func(p *probe) {
		body := p.accountRequest(nil)
		for _, name := range []string{"id", "scopes", "confirmation_secret", "expires_at", "code_challenge", "code_challenge_method", "configuration"} {
			body[name] = json.RawMessage("null")
		}
		p.succeeds(p.post(accountPath, body), "type", app.AnswerOAuth)
	}},
	{"A54", "checks come in order: an unsigned request without email gets the email error", "9.2", nil, func(p *probe) {
		r := p.post(accountPath, p.accountRequest(map[string]any{"email": ""}), unsigned)
		p.fails(r, 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		r = p.post(accountPath, p.accountRequest(map[string]any{"expires_at": "2020-01-01T00:00:00Z"}), unsigned)
		p.fails(r, 400, app.EnvelopeTyped, app.CodeExpired)
	}},
	{"A55", "equal requests at the same time make one account", "9.3", nil, func(p *probe) {
		body := p.accountRequest(nil)
		codes := make([]string, callers)
		p.ten(func(q *probe, i int) { codes[i] = q.post(accountPath, body).text("oauth", "code") })
		for _, code := range codes {
			p.check(p.last, code != "" && code == codes[0], "the same code for ten equal requests at once")
		}
	}},
	{"A56", "malformed JSON gets the typed envelope", "4.3", nil, func(p *probe) {
		for _, body := range []string{"{", "[]", `"text"`} {
			p.fails(p.post(accountPath, body), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		}
	}},
}

var tokenCases = []scenario{
	{"T1", "a code without challenge is redeemed with a signature", "10.1", nil, func(p *probe) {
		code := p.code(map[string]any{"code_challenge": nil, "code_challenge_method": nil})
		r := p.form(url.Values{"grant_type": {"authorization_code"}, "code": {code}})
		token := p.token(r)
		p.check(r, token.RefreshToken != "" && token.ExpiresIn > 0 && token.Account != nil && token.Account.ID != "" && token.Account.PaymentCredentials != "",
			"a refresh token, expires_in, account.id and account.payment_credentials")
		p.check(r, strings.Contains(r.header.Get("Cache-Control"), "no-store"), "Cache-Control: no-store")
	}},
	{"T3", "a code with challenge is redeemed with the verifier, unsigned", "10.2", nil, func(p *probe) {
		p.token(p.redeem(p.code(nil), unsigned, without(app.HeaderVersion)))
	}},
	{"T5", "a code without challenge is not redeemed unsigned", "10.2", nil, func(p *probe) {
		code := p.code(map[string]any{"code_challenge": nil, "code_challenge_method": nil})
		r := p.form(url.Values{"grant_type": {"authorization_code"}, "code": {code}}, unsigned)
		p.fails(r, 401, app.EnvelopeOAuth, app.CodeInvalidRequest)
	}},
	{"T6", "another grant type is refused", "10.2", nil, func(p *probe) {
		p.fails(p.form(url.Values{"grant_type": {"password"}}), 400, app.EnvelopeOAuth, app.CodeUnsupportedGrant)
	}},
	{"T7", "a missing or unknown code is refused", "10.2", nil, func(p *probe) {
		p.fails(p.redeem(""), 400, app.EnvelopeOAuth, app.CodeInvalidRequest)
		p.fails(p.redeem("no-such-code"), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
	}},
	{"T8", "a missing or unknown refresh token is refused", "10.3", nil, func(p *probe) {
		p.fails(p.refresh(""), 400, app.EnvelopeOAuth, app.CodeInvalidRequest)
		p.fails(p.refresh("no-such-token"), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
	}},
	{"T10", "refresh is by possession", "10.3", nil, func(p *probe) {
		first := p.token(p.redeem(p.code(nil)))
		second := p.token(p.refresh(first.RefreshToken, unsigned))
		p.check(p.last, second.AccessToken != first.AccessToken && second.RefreshToken != first.RefreshToken, "a new pair")
	}},
	{"T50", "a wrong or missing verifier does not burn the code", "10.2", nil, func(p *probe) {
		code := p.code(nil)
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}}
		p.fails(p.form(form), 401, app.EnvelopeOAuth, app.CodeInvalidRequest)
		form.Set("code_verifier", strings.Repeat("w", 43))
		p.fails(p.form(form), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.token(p.redeem(code))
	}},
	{"T51", "a code is redeemed once", "10.2", nil, func(p *probe) {
		code := p.code(nil)
		p.token(p.redeem(code))
		p.fails(p.redeem(code), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
	}},
	{"T52", "a rotated refresh token is dead, and with it the whole family", "10.3", nil, func(p *probe) {
		first := p.token(p.redeem(p.code(nil)))
		second := p.token(p.refresh(first.RefreshToken))
		p.fails(p.refresh(first.RefreshToken), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.fails(p.refresh(second.RefreshToken), 400, app.EnvelopeOAuth, app.CodeInvalidGrant)
		p.fails(p.read(second.AccessToken, "res_any"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
	}},
	{"T53", "a repeated parameter is refused", "10.1", nil, func(p *probe) {
		r := p.form(url.Values{"grant_type": {"refresh_token", "refresh_token"}, "refresh_token": {"x"}})
		p.fails(r, 400, app.EnvelopeOAuth, app.CodeInvalidRequest)
	}},
	{"T54", "one code redeemed ten times at once gives one token", "10.2", nil, func(p *probe) {
		code := p.code(nil)
		statuses := make([]int, callers)
		p.ten(func(q *probe, i int) { statuses[i] = q.redeem(code).status })
		good := 0
		for _, status := range statuses {
			if status == http.StatusOK {
				good++
			}
		}
		p.check(p.last, good == 1, "exactly one redemption, not %d (%v)", good, statuses)
	}},
}
