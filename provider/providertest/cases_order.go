package providertest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
)

func (p *probe) method(method, path string, options ...option) *reply {
	return p.send(method, p.config.BaseURL+path, nil, "", options)
}

var badVersion = header(app.HeaderVersion, "9.9z")

// orderCases are requests with two faults: the one that is checked first is told (7.3).
var orderCases = []scenario{
	{"S11", "a bad EdDSA signature is refused exactly where it is required", "5.5", needV2, func(p *probe) {
		for _, change := range []func(*app.Claims){
			func(c *app.Claims) { c.Digest = app.BodyDigest([]byte("another body")) },
			func(c *app.Claims) { c.HTM = "DELETE" },
			func(c *app.Claims) { c.Exp, c.Iat = c.Exp-1000, c.Iat-1000 },
			func(c *app.Claims) { c.Version = 2 },
		} {
			p.v2Answer(p.get("provisioning/health", func(c *call) { c.claims = change }))
		}
		p.v2Answer(p.get("provisioning/health", func(c *call) { c.withoutV2 = true }))
		p.v2Answer(p.get("provisioning/health", func(c *call) { c.withoutV2 = true }, header(app.HeaderSignatureV2, "x.y.z")))
		p.succeeds(p.get("provisioning/health"), "status", "ok")
	}},
	{"S58", "health and services check the signature before the version", "7.3", nil, func(p *probe) {
		for _, path := range []string{"provisioning/health", "provisioning/services"} {
			p.fails(p.get(path, unsigned, badVersion), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
			p.fails(p.get(path, badVersion), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
		}
	}},
	{"S59", "a wrong method gets the envelope of its route and Allow", "4.3", nil, func(p *probe) {
		for _, c := range []struct {
			method, path string
			envelope     app.Envelope
		}{
			{http.MethodPost, "provisioning/health", app.EnvelopeFlat},
			{http.MethodPut, "provisioning/services", app.EnvelopeFlat},
			{http.MethodDelete, "provisioning/resources", app.EnvelopeStatus},
			{http.MethodPut, "provisioning/resources/res_1", app.EnvelopeStatus},
			{http.MethodGet, "provisioning/resources/res_1/remove", app.EnvelopeStatus},
			{http.MethodGet, "provisioning/deep_links", app.EnvelopeStatus},
		} {
			r := p.method(c.method, c.path)
			p.fails(r, 405, c.envelope, app.CodeMethodNotAllowed)
			p.check(r, r.header.Get("Allow") != "", "an Allow header")
		}
		p.fails(p.send(http.MethodGet, p.config.TokenURL, nil, "", nil), 405, app.EnvelopeOAuth, app.CodeMethodNotAllowed)
	}},
	{"S60", "a signature sent as two header lines is refused", "5.1", nil, func(p *probe) {
		twice := func(c *call) {
			value := app.SignatureHeader(c.secrets, p.config.Now().Unix(), c.body)
			c.header[app.HeaderSignature] = []string{value, value}
		}
		p.fails(p.get("provisioning/health", unsigned, twice), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S61", "a signature of 295 seconds ago or ahead passes", "5.1", nil, func(p *probe) {
		p.succeeds(p.get("provisioning/health", at(-295)), "status", "ok")
		p.succeeds(p.get("provisioning/health", at(295)), "status", "ok")
	}},
	{"S62", "hex in upper case, spaces and unknown schemes in the header are read", "5.1", nil, func(p *probe) {
		odd := func(c *call) {
			t, v1, _ := strings.Cut(app.SignatureHeader(c.secrets, p.config.Now().Unix(), c.body), ",v1=")
			c.header.Set(app.HeaderSignature, "v0=00, "+t+" , v1="+strings.ToUpper(v1)+", v2=future")
		}
		p.succeeds(p.get("provisioning/health", unsigned, odd), "status", "ok")
	}},
	{"S63", "nine signatures are too many, even when one is right, and two times are one too many", "5.1", nil, func(p *probe) {
		good := app.SignatureHeader([]string{p.config.SigningSecret}, p.config.Now().Unix(), nil)
		for _, value := range []string{good + strings.Repeat(",v1=00", 8), good + ",t=" + strconv.FormatInt(p.config.Now().Unix(), 10)} {
			p.fails(p.get("provisioning/health", unsigned, header(app.HeaderSignature, value)), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		}
	}},
	{"S64", "a path matches with a slash at its end", "4.1", nil, func(p *probe) {
		p.succeeds(p.get("provisioning/health/"), "status", "ok")
	}},
	{"S65", "a captured signature does not open another path", "5.5", needGuard, func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		raw := app.SignatureHeader([]string{p.config.SigningSecret}, p.config.Now().Unix()-7, []byte("{}"))
		again := func(c *call) { c.rawSignature = raw }
		p.verb(token, id, "rotate_credentials", "{}", again)
		p.fails(p.verb(token, id, "remove", "{}", again), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"S66", "a body that breaks off is never taken for a whole one", "5.1", nil, func(p *probe) {
		r := p.broken(accountPath, p.accountRequest(nil))
		if r.lost == nil { // a server may hang up by itself
			p.fails(r, 400, app.EnvelopeFlat, app.CodeBodyNotReadable)
		}
	}},
	{"A57", "account_requests: version, then body, then email, then expiry, then signature", "9.2", nil, func(p *probe) {
		p.fails(p.post(accountPath, "{", badVersion), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
		p.fails(p.post(accountPath, p.accountRequest(map[string]any{"email": ""}), badVersion, unsigned), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
		p.fails(p.post(accountPath, []byte("\xff"), unsigned), 400, app.EnvelopeFlat, app.CodeBodyNotDecodable)
		p.fails(p.post(accountPath, "{", unsigned), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		p.fails(p.post(accountPath, p.accountRequest(map[string]any{"expires_at": "never"}), unsigned), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		past := p.accountRequest(map[string]any{"expires_at": "2020-01-01T00:00:00Z"})
		p.fails(p.post(accountPath, past, unsigned), 400, app.EnvelopeTyped, app.CodeExpired)
	}},
	{"A58", "account_requests: the signature comes before the orchestrator's account and PKCE", "9.2", nil, func(p *probe) {
		bare := map[string]any{"orchestrator": map[string]any{"type": "stripe"}, "code_challenge_method": "plain"}
		p.fails(p.post(accountPath, p.accountRequest(bare), unsigned), 401, app.EnvelopeTyped, app.CodeUnauthorized)
		p.fails(p.post(accountPath, p.accountRequest(bare), signedWith("not the secret")), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
	}},
	{"A59", "account_requests: fields are checked before a repeat is looked up", "9.2", nil, func(p *probe) {
		body := p.accountRequest(nil)
		p.succeeds(p.post(accountPath, body), "type", app.AnswerOAuth)
		body["email"], body["confirmation_secret"] = "conformance+"+p.unique()+"@example.com", "not url safe!"
		p.fails(p.post(accountPath, body), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
	}},
	{"A60", "wrong types of optional fields are refused", "9.1", nil, func(p *probe) {
		for name, value := range map[string]any{
			"scopes": "all", "configuration": []int{1}, "code_challenge": "short", "confirmation_secret": 5, "kyc": "email", "name": 5,
		} {
			p.fails(p.post(accountPath, p.accountRequest(map[string]any{name: value})), 400, app.EnvelopeTyped, app.CodeInvalidRequest)
		}
	}},
	{"A61", "a request again in other letter case of its email is the same request", "9.3", nil, func(p *probe) {
		body := p.accountRequest(nil)
		first := p.post(accountPath, body)
		body["email"] = strings.ToUpper(body["email"].(string))
		second := p.post(accountPath, body)
		p.succeeds(first, "type", app.AnswerOAuth)
		p.succeeds(second, "type", app.AnswerOAuth)
		p.check(second, first.text("oauth", "code") == second.text("oauth", "code"), "the same code")
	}},
	{"A66", "a request again while its consent waits leads to the same page", "9.3", needConsent, func(p *probe) {
		body := p.accountRequest(map[string]any{"email": p.config.ExistingEmail})
		first, second := p.post(accountPath, body), p.post(accountPath, body)
		p.succeeds(first, "type", app.AnswerRequiresAuth)
		p.succeeds(second, "type", app.AnswerRequiresAuth)
		page := first.text("requires_auth", "redirect", "url")
		p.check(second, page != "" && second.text("requires_auth", "redirect", "url") == page, "the page of the first answer")
	}},
	{"T55", "wrong client credentials are refused, right ones and none go on", "10.1", needClient, func(p *probe) {
		code := p.code(nil)
		wrong := func(c *call) { c.header.Set("Authorization", basic(p.config.ClientID, "not the secret")) }
		p.fails(p.redeem(code, wrong), 401, app.EnvelopeOAuth, app.CodeInvalidClient)
		p.token(p.redeem(code, header("Authorization", basic(p.config.ClientID, p.config.ClientSecret))))
	}},
	{"T56", "the token endpoint checks the grant type before the code, and its body's encoding before all", "10.2", nil, func(p *probe) {
		p.fails(p.form(url.Values{"grant_type": {"password"}, "code": {"x"}}), 400, app.EnvelopeOAuth, app.CodeUnsupportedGrant)
		p.fails(p.form(url.Values{}), 400, app.EnvelopeOAuth, app.CodeUnsupportedGrant)
		r := p.send(http.MethodPost, p.config.TokenURL, []byte("grant_type=\xff"), "application/x-www-form-urlencoded", nil)
		p.fails(r, 400, app.EnvelopeFlat, app.CodeBodyNotDecodable)
	}},
	{"T57", "a wrong signature does not burn a code without challenge", "10.2", nil, func(p *probe) {
		code := p.code(map[string]any{"code_challenge": nil, "code_challenge_method": nil})
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}}
		p.fails(p.form(form, signedWith("not the secret")), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		p.token(p.form(form))
	}},
	{"T58", "a refresh ends the old access token at once", "10.3", nil, func(p *probe) {
		first := p.token(p.redeem(p.code(nil)))
		p.token(p.refresh(first.RefreshToken))
		p.fails(p.read(first.AccessToken, "res_any"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
	}},
	{"T59", "ten refreshes of one token at once give at most one pair", "10.3", nil, func(p *probe) {
		first := p.token(p.redeem(p.code(nil)))
		statuses := make([]int, callers)
		p.ten(func(q *probe, i int) { statuses[i] = q.refresh(first.RefreshToken).status })
		good := 0
		for _, status := range statuses {
			if status == http.StatusOK {
				good++
			}
		}
		p.check(p.last, good <= 1, "at most one pair, not %d (%v)", good, statuses)
	}},
	{"R60", "resource routes: bearer, signature, encoding, version, JSON", "7.3", nil, func(p *probe) {
		token := p.shared()
		p.fails(p.post(resourcesPath, "{", unsigned, badVersion), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		p.fails(p.post(resourcesPath, "{", bearer(token), unsigned, badVersion), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		p.fails(p.post(resourcesPath, []byte("{\"a\":\"\xff\"}"), bearer(token), badVersion), 400, app.EnvelopeFlat, app.CodeBodyNotDecodable)
		p.fails(p.post(resourcesPath, "{", bearer(token), badVersion), 400, app.EnvelopeFlat, app.CodeInvalidAPIVersion)
		p.fails(p.post(resourcesPath, "{", bearer(token)), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
	}},
	{"R61", "every resource route wants both proofs", "2", nil, func(p *probe) {
		token := p.shared()
		for _, path := range []string{"", "/link", "/res_1/update_service", "/res_1/rotate_credentials", "/res_1/remove"} {
			p.fails(p.post(resourcesPath+path, "{}", bearer(token), unsigned), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
			p.fails(p.post(resourcesPath+path, "{}"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		}
		p.fails(p.get(resourcesPath+"/res_1", bearer(token), unsigned), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		p.fails(p.get(resourcesPath+"/res_1"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
		p.fails(p.post(deepLinkPath, "{}", bearer(token), unsigned), 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		p.fails(p.post(deepLinkPath, "{}"), 401, app.EnvelopeStatus, app.CodeUnauthorized)
	}},
	{"R62", "create: label_prefix, then service_id, then the repeat", "12.2", needFree, func(p *probe) {
		token := p.shared()
		p.fails(p.post(resourcesPath, map[string]any{"label_prefix": 5}, bearer(token)), 400, app.EnvelopeStatus, app.CodeInvalidLabelPrefix)
		body := p.body(p.config.FreeService, nil)
		p.settled(token, p.create(token, body))
		body["service_id"] = "no-such-service"
		p.fails(p.create(token, body), 400, app.EnvelopeStatus, app.CodeUnknownService)
	}},
	{"R63", "create: the configuration is checked before the payment", "12.2", needPaid, func(p *probe) {
		body := p.body(p.config.PaidService, map[string]any{"configuration": "text"})
		p.fails(p.create(p.shared(), body), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
	}},
	{"R64", "two bare creates of one project and service are one resource, apart from the default workspace's", "12.3", needFree, func(p *probe) {
		token := p.shared()
		with := map[string]any{"orchestrator_resource_id": nil, "project_id": "proj_" + p.unique()}
		body := p.body(p.config.FreeService, with)
		first, second := p.settled(token, p.create(token, body)), p.settled(token, p.create(token, body))
		p.check(second, first.text("id") == second.text("id"), "the first resource")
		other := p.settled(token, p.create(token, p.body(p.config.FreeService, map[string]any{"orchestrator_resource_id": nil})))
		p.check(other, other.text("id") != first.text("id"), "a resource of its own without project_id")
	}},
	{"R65", "a project bound in another account is a conflict", "12.2", needFree, func(p *probe) {
		body := p.body(p.config.FreeService, map[string]any{"project_id": "proj_" + p.unique()})
		p.settled(p.shared(), p.create(p.shared(), body))
		p.fails(p.create(p.account(), body), 409, app.EnvelopeStatus, app.CodeProjectIDConflict)
	}},
	{"R66", "unknown members and nulls do no harm", "1", needFree, func(p *probe) {
		token := p.shared()
		body := p.body(p.config.FreeService, map[string]any{"unknown_member": map[string]any{"a": 1}})
		for _, name := range []string{"project_id", "label_prefix", "payment_credentials", "actor", "submitted_information"} {
			body[name] = nil
		}
		p.settled(token, p.create(token, body))
	}},
	{"R67", "a body that is not application/json by its header is read", "4.2", needFree, func(p *probe) {
		token := p.shared()
		p.settled(token, p.create(token, p.body(p.config.FreeService, nil), header("Content-Type", "text/plain")))
	}},
	{"R68", "a body above 1 MiB is refused with a bearer too", "4.3", nil, func(p *probe) {
		body := bytes.Repeat([]byte(" "), app.MaxRequestBytes+1)
		p.fails(p.post(resourcesPath, body, bearer(p.shared())), 413, app.EnvelopeFlat, app.CodeRequestTooLarge)
	}},
	{"R69", "bearer is compared without case, and a second Authorization line is none", "4.2", needFree, func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		p.succeeds(p.read2(id, header("Authorization", "bEaReR "+token)), "status", app.StatusComplete)
		p.fails(p.read2(id, header("Authorization", "Basic "+token)), 401, app.EnvelopeStatus, app.CodeUnauthorized)
	}},
	{"R70", "a create that another payment or actor resends is the same create", "12.3", needFree, func(p *probe) {
		token, body, k := p.shared(), p.body(p.config.FreeService, nil), key("conf-"+p.unique())
		first := p.settled(token, p.create(token, body, k))
		body["actor"], body["payment_credentials"] = map[string]any{"email": "someone@example.com"}, map[string]any{"type": "seashells", "seashells": "s"}
		second := p.settled(token, p.create(token, body, k))
		p.check(second, first.text("id") == second.text("id"), "the first resource")
	}},
	{"R71", "answers with credentials are not to be stored by caches", "4.3", needFree, func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		r := p.read(token, id)
		p.check(r, strings.Contains(r.header.Get("Cache-Control"), "no-store"), "Cache-Control: no-store")
	}},
	{"U51", "an update names id, then scope, then service, then state", "12.6", needCap(app.CapUpdate, needFree), func(p *probe) {
		token := p.shared()
		p.fails(p.verb(token, "not an id!", "update_service", map[string]any{}), 400, app.EnvelopeStatus, app.CodeInvalidResourceID)
		p.fails(p.verb(token, "res_unknown", "update_service", map[string]any{}), 403, app.EnvelopeStatus, app.CodeForbidden)
		id, _ := p.free(token)
		p.gone(token, id, p.verb(token, id, "remove", map[string]any{}))
		p.fails(p.verb(token, id, "update_service", map[string]any{}), 400, app.EnvelopeStatus, app.CodeMissingServiceID)
		r := p.verb(token, id, "update_service", map[string]any{"service_id": "no-such-service"})
		p.fails(r, 400, app.EnvelopeStatus, app.CodeUnknownService)
		p.check(r, r.text("id") == id, "the resource id")
	}},
	{"U52", "an update that is not offered says so", "12.6", needNoCap(app.CapUpdate), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		p.fails(p.verb(token, id, "update_service", map[string]any{"service_id": p.config.FreeService}), 400, app.EnvelopeStatus, app.CodeUnsupportedOperation)
	}},
	{"U53", "an update keeps the credentials", "12.6", needUpdate, func(p *probe) {
		token := p.shared()
		id, made := p.free(token)
		target := p.config.UpdateTarget
		body := map[string]any{"service_id": target, "configuration": p.config.configuration(target, p.unique())}
		p.settled(token, p.verb(token, id, "update_service", body))
		now := p.read(token, id)
		p.check(now, equal(p.resource(now).Complete.AccessConfiguration, p.resource(made).Complete.AccessConfiguration), "the credentials of before")
	}},
	{"U54", "an update under a key used with another body is a conflict, and the same again is the same update", "12.3", needUpdate, func(p *probe) {
		token, k := p.shared(), key("conf-"+p.unique())
		id, _ := p.free(token)
		target := p.config.UpdateTarget
		body := map[string]any{"service_id": target, "configuration": p.config.configuration(target, p.unique())}
		for range 2 {
			p.settled(token, p.verb(token, id, "update_service", body, k))
		}
		body["unknown_member"] = "x"
		p.fails(p.verb(token, id, "update_service", body, k), 409, app.EnvelopeStatus, app.CodeIdempotencyConflict)
	}},
	{"X52", "a rotation looks at the body before id and scope", "12.7", needCap(app.CapRotate), func(p *probe) {
		r := p.verb(p.shared(), "res_unknown", "rotate_credentials", map[string]any{"label_prefix": strings.Repeat("x", 26)})
		p.fails(r, 400, app.EnvelopeStatus, app.CodeInvalidLabelPrefix)
		p.fails(p.verb(p.shared(), "res_unknown", "rotate_credentials", map[string]any{}), 403, app.EnvelopeStatus, app.CodeForbidden)
	}},
	{"X53", "a rotation that is not offered says so", "12.7", needNoCap(app.CapRotate), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		p.fails(p.verb(token, id, "rotate_credentials", map[string]any{}), 400, app.EnvelopeStatus, app.CodeUnsupportedOperation)
	}},
	{"X54", "ten rotations at once under one key rotate once", "12.3", needCap(app.CapRotate, needFree), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		k, got := key("conf-"+p.unique()), make([]string, callers)
		p.ten(func(q *probe, i int) {
			got[i] = string(q.verb(token, id, "rotate_credentials", map[string]any{}, k).raw("complete"))
		})
		for _, one := range got {
			p.check(p.last, one != "" && one == got[0], "one answer for ten equal rotations at once")
		}
	}},
	{"M3", "a removal ignores its payload, and an empty one is none", "12.8", needFree, func(p *probe) {
		token := p.shared()
		for _, body := range []string{"", "{", "[]"} {
			id, _ := p.free(token)
			p.gone(token, id, p.verb(token, id, "remove", body))
		}
	}},
	{"M4", "removal wants a well-formed id within the scope", "12.8", nil, func(p *probe) {
		p.fails(p.verb(p.shared(), "not an id!", "remove", map[string]any{}), 400, app.EnvelopeStatus, app.CodeInvalidResourceID)
		p.fails(p.verb(p.shared(), "res_unknown", "remove", map[string]any{}), 403, app.EnvelopeStatus, app.CodeForbidden)
	}},
	{"Q6", "without the capability there is no such path", "19", needNoCap(app.CapQuotes), func(p *probe) {
		r := p.post("provisioning/quotes", map[string]any{"service_id": p.config.FreeService}, bearer(p.shared()))
		p.check(r, r.status == http.StatusNotFound, "HTTP 404")
	}},
	{"F5", "cutting and restoring are idempotent and remove nothing", "19", needCap(app.CapCut, needFree), func(p *probe) {
		token := p.shared()
		id, _ := p.free(token)
		for _, verb := range []string{"cut", "cut", "restore", "restore"} {
			p.ok(p.verb(token, id, verb, map[string]any{}))
		}
		p.succeeds(p.read(token, id), "status", app.StatusComplete)
	}},
}

func (p *probe) read2(id string, options ...option) *reply {
	return p.get(resourcesPath+"/"+url.PathEscape(id), options...)
}

// broken posts a body that is signed and whole by itself, and declared to be longer.
func (p *probe) broken(path string, v any) *reply {
	body, err := json.Marshal(v)
	if err != nil {
		p.failf("encoding request: %v", err)
	}
	target, err := url.Parse(p.config.BaseURL + path)
	if err != nil {
		p.failf("making request: %v", err)
	}
	r := &reply{asked: fmt.Sprintf("POST %s\nContent-Length: %d, and then only %d bytes\n%s", path, len(body)+10, len(body), shown(body))}
	p.last = r
	conn, err := p.dial(target)
	if err != nil {
		panic(skip("no connection of its own can be made: " + err.Error()))
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a server that waits for the rest sends nothing
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s: %s\r\n%s: %s\r\n\r\n%s",
		target.RequestURI(), target.Host, len(body)+10, app.HeaderVersion, app.Version,
		app.HeaderSignature, app.SignatureHeader([]string{p.config.SigningSecret}, p.when(body), body), body)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.lost = err
		return r
	}
	defer func() { _ = resp.Body.Close() }()
	r.status, r.header = resp.StatusCode, resp.Header
	r.body, _ = io.ReadAll(io.LimitReader(resp.Body, app.MaxResponseBytes))
	r.members, _ = app.Object(r.body)
	return r
}

// dial connects to a provider beside net/http, which sends no broken body.
func (p *probe) dial(target *url.URL) (net.Conn, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	if target.Scheme == "http" {
		return d.DialContext(p.ctx, "tcp", target.Host+port(target, ":80"))
	}
	var config *tls.Config
	if t, ok := p.config.Transport.(*http.Transport); ok && t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
		config.NextProtos = nil // HTTP/1.1
	}
	return (&tls.Dialer{NetDialer: d, Config: config}).DialContext(p.ctx, "tcp", target.Host+port(target, ":443"))
}

func port(target *url.URL, usual string) string {
	if target.Port() != "" {
		return ""
	}
	return usual
}

// v2Answer expects what the provider's mode says of a bad or missing V2 signature.
func (p *probe) v2Answer(r *reply) {
	if p.config.V2Mode == "require" {
		p.fails(r, 401, app.EnvelopeFlat, app.CodeInvalidSignature)
		return
	}
	p.succeeds(r, "status", "ok")
}

func basic(id, secret string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return r.Header.Get("Authorization")
}

func needV2(c Config) string {
	if c.V2Mode == "" {
		return "v2_mode is not given"
	}
	return missing(c.V2Seed, "v2_seed")
}

func needGuard(c Config) string {
	if c.ReplayGuard != "reject" {
		return "hmac_replay_guard is not reject"
	}
	return needCap(app.CapRotate, needFree)(c)
}

func needClient(c Config) string {
	if c.ClientSecret == "" {
		return "client_secret is not given"
	}
	return missing(c.ClientID, "client_id")
}

func needNoCap(capability string) func(Config) string {
	return func(c Config) string {
		if contains(c.Capabilities, capability) {
			return "capability " + capability + " is declared"
		}
		return needFree(c)
	}
}
