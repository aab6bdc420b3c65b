package providertest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-dev/purser/app"
)

const deepLinkPath = "provisioning/deep_links"

var deepLinkCases = []scenario{
	{"D1", "a deep link signs its person in once and leads to the path", "13", needAll(needDeepLinks, needHook(HookVerify)), func(p *probe) {
		email, token := p.person()
		p.hook(HookVerify, map[string]any{"email": email})
		r := p.deepLink(token.AccessToken, map[string]any{"path": "/conformance/page?x=1"})
		opened := p.open(http.MethodGet, r.text("url"))
		p.check(opened, opened.status == http.StatusFound && strings.HasSuffix(opened.header.Get("Location"), "/conformance/page?x=1") && opened.header.Get("Set-Cookie") != "",
			"302 to the path with a session")
		if p.config.TestHooks[HookSessionOf] != "" {
			whose := p.hook(HookSessionOf, map[string]any{"cookie": opened.header.Get("Set-Cookie")})
			p.check(whose, strings.EqualFold(whose.text("email"), email), "a session of the token's user")
		}
		p.dead(p.open(http.MethodGet, r.text("url")))
	}},
	{"D3", "an email that the provider has not verified opens no session", "13", needDeepLinks, func(p *probe) {
		_, token := p.person()
		r := p.deepLink(token.AccessToken, nil)
		opened := p.open(http.MethodGet, r.text("url"))
		location, err := url.Parse(opened.header.Get("Location"))
		p.check(opened, err == nil && opened.status == http.StatusFound && location.RawQuery != "" && opened.header.Get("Set-Cookie") == "",
			"302 to the verify page with a reason, and no session")
	}},
	{"D4", "where deep links are off, that is told before the body is looked at", "13", needAll(needDeepLinks, needHook(HookNoDeepLinks)), func(p *probe) {
		token := p.shared()
		p.during(HookNoDeepLinks, func() {
			p.fails(p.post(deepLinkPath, map[string]any{"path": 5}, bearer(token)), 403, app.EnvelopeStatus, app.CodeDeepLinksNotEnabled)
		})
	}},
	{"D50", "a path that could lead elsewhere is refused", "13", needDeepLinks, func(p *probe) {
		for _, path := range []any{
			"https://evil.example/", "//evil.example", `/\evil.example`, "relative", "", "/a//b", "/a b", "/a\n", 5, "/" + strings.Repeat("a", 2000),
		} {
			p.fails(p.post(deepLinkPath, map[string]any{"path": path}, bearer(p.shared())), 400, app.EnvelopeStatus, app.CodeInvalidPath)
		}
	}},
	{"D51", "a purpose that is no label is refused", "13", needDeepLinks, func(p *probe) {
		for _, purpose := range []any{"Dash Board", "", 5, strings.Repeat("a", 65)} {
			p.fails(p.post(deepLinkPath, map[string]any{"purpose": purpose}, bearer(p.shared())), 400, app.EnvelopeStatus, app.CodeInvalidRequest)
		}
	}},
	{"D52", "HEAD does not use a deep link up", "13", needAll(needDeepLinks, needHook(HookVerify)), func(p *probe) {
		email, token := p.person()
		p.hook(HookVerify, map[string]any{"email": email})
		target := p.deepLink(token.AccessToken, nil).text("url")
		p.open(http.MethodHead, target)
		opened := p.open(http.MethodGet, target)
		p.check(opened, opened.status == http.StatusFound && opened.header.Get("Set-Cookie") != "", "302 with a session, after a HEAD")
	}},
	{"D53", "of ten who open a deep link at once, one gets a session", "13", needAll(needDeepLinks, needHook(HookVerify)), func(p *probe) {
		email, token := p.person()
		p.hook(HookVerify, map[string]any{"email": email})
		target := p.deepLink(token.AccessToken, nil).text("url")
		cookies := make([]string, callers)
		p.ten(func(q *probe, i int) { cookies[i] = q.open(http.MethodGet, target).header.Get("Set-Cookie") })
		sessions := 0
		for _, cookie := range cookies {
			if cookie != "" {
				sessions++
			}
		}
		p.check(p.last, sessions == 1, "one session, not %d", sessions)
	}},
	{"D54", "an unknown deep link leads to the login page", "13", needDeepLinks, func(p *probe) {
		target, err := url.Parse(p.deepLink(p.shared(), nil).text("url"))
		p.check(p.last, err == nil && target.RawQuery != "", "a url with a token")
		query := target.Query()
		for name := range query {
			query.Set(name, "no-such-token")
		}
		target.RawQuery = query.Encode()
		p.dead(p.open(http.MethodGet, target.String()))
	}},
	{"D55", "without deep links that is said", "13", func(c Config) string {
		if c.DeepLinkPurpose != "" {
			return "deep_link_purpose is given"
		}
		return ""
	}, func(p *probe) {
		p.fails(p.post(deepLinkPath, map[string]any{}, bearer(p.shared())), 403, app.EnvelopeStatus, app.CodeDeepLinksNotEnabled)
	}},
}

// deepLink asks for a link and expects its three members.
func (p *probe) deepLink(token string, with map[string]any) *reply {
	body := map[string]any{"purpose": p.config.DeepLinkPurpose}
	for name, value := range with {
		body[name] = value
	}
	r := p.post(deepLinkPath, body, bearer(token))
	p.succeeds(r, "purpose", p.config.DeepLinkPurpose)
	var link app.DeepLink
	err := json.Unmarshal(r.body, &link)
	p.check(r, err == nil && app.CheckURL(link.URL) == nil && link.ExpiresAt.After(p.config.Now()), "url, and expires_at to come")
	return r
}

// open opens a link as a browser does: unsigned, and no redirect is followed.
func (p *probe) open(method, target string) *reply {
	req, err := http.NewRequestWithContext(p.ctx, method, target, bytes.NewReader(nil))
	if err != nil {
		p.failf("a url that can be opened: %v", err)
	}
	r := &reply{asked: method + " the deep link (token not shown)"}
	p.last = r
	resp, err := p.http.Do(req)
	if err != nil {
		p.failf("no answer came: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	r.status, r.header = resp.StatusCode, resp.Header
	r.body, _ = io.ReadAll(io.LimitReader(resp.Body, app.MaxResponseBytes))
	return r
}

func (p *probe) dead(r *reply) {
	location := r.header.Get("Location")
	p.check(r, r.status == http.StatusFound && strings.Contains(location, "expired_or_invalid_token") && r.header.Get("Set-Cookie") == "",
		"302 to the login page with expired_or_invalid_token, and no session (it went to %q)", location)
}
