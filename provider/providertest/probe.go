package providertest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/purser-dev/purser/app"
)

// session is one run of the suite: it gives fresh names, fresh times and knows
// what to remove at the end.
type session struct {
	config Config
	http   *http.Client
	prefix string
	count  atomic.Int64
	v2     *app.Key
	client *client // of the generic profile, once it is needed

	mu      sync.Mutex
	back    map[string]int64 // body hash -> the time it was last signed with
	bearers map[string]string
	made    []resource
}

type resource struct{ bearer, id string }

func newSession(c Config) *session {
	var v2 *app.Key
	if seed, err := base64.RawURLEncoding.DecodeString(c.V2Seed); err == nil && len(seed) == ed25519.SeedSize {
		v2 = &app.Key{ID: c.V2KeyID, Private: ed25519.NewKeyFromSeed(seed)}
	}
	word, err := app.Random(nil, "")
	if err != nil {
		panic(err) // the system has no randomness
	}
	return &session{
		v2: v2, config: c, prefix: strings.ToLower(strings.NewReplacer("-", "0", "_", "1").Replace(word[:10])), back: map[string]int64{},
		http: &http.Client{
			Transport:     c.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// unique is a word that no other case and no other run used.
func (s *session) unique() string { return fmt.Sprintf("%s%d", s.prefix, s.count.Add(1)) }

func (s *session) close() {
	if s.client != nil {
		_ = s.client.server.Close()
	}
	s.http.CloseIdleConnections()
}

func (s *session) cleanUp(ctx context.Context) {
	for _, r := range s.made {
		p := &probe{session: s, ctx: ctx}
		func() {
			defer func() { _ = recover() }() // a provider that cannot remove was told so by its case
			p.post("provisioning/resources/"+url.PathEscape(r.id)+"/remove", map[string]any{}, bearer(r.bearer))
		}()
	}
}

// failure ends a case.
type failure string

// probe sends what one case sends and says what it expects.
type probe struct {
	*session
	ctx     context.Context
	section string
	last    *reply
}

// skip ends a case that cannot run after all.
type skip string

// reply is an answer, with what was asked for the report; lost is why none came.
type reply struct {
	asked   string
	lost    error
	status  int
	header  http.Header
	body    []byte
	members map[string]json.RawMessage
}

// call is one request about to be sent; options change it.
type call struct {
	method, target string
	body           []byte
	header         http.Header
	secrets        []string
	offset         int64 // of the signature's time, in seconds
	unsigned       bool
	rawSignature   string
	claims         func(*app.Claims) // changes the V2 signature
	withoutV2      bool
}

type option func(*call)

func bearer(token string) option {
	return func(c *call) { c.header.Set("Authorization", "Bearer "+token) }
}

func header(name, value string) option { return func(c *call) { c.header.Set(name, value) } }
func without(name string) option       { return func(c *call) { c.header.Del(name) } }
func unsigned(c *call)                 { c.unsigned = true }
func key(value string) option          { return header(app.HeaderIdempotencyKey, value) }
func at(offset int64) option           { return func(c *call) { c.offset = offset } }
func signedWith(secrets ...string) option {
	return func(c *call) { c.secrets = secrets }
}

func (p *probe) get(path string, options ...option) *reply {
	return p.send(http.MethodGet, p.config.BaseURL+path, nil, "", options)
}

// post sends v as JSON; a string or []byte is sent as it is.
func (p *probe) post(path string, v any, options ...option) *reply {
	var body []byte
	switch v := v.(type) {
	case string:
		body = []byte(v)
	case []byte:
		body = v
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			p.failf("encoding request: %v", err)
		}
		body = raw
	}
	return p.send(http.MethodPost, p.config.BaseURL+path, body, "application/json", options)
}

func (p *probe) form(values url.Values, options ...option) *reply {
	return p.send(http.MethodPost, p.config.TokenURL, []byte(values.Encode()), "application/x-www-form-urlencoded", options)
}

func (p *probe) send(method, target string, body []byte, contentType string, options []option) *reply {
	c := &call{method: method, target: target, body: body, header: http.Header{}, secrets: []string{p.config.SigningSecret}}
	c.header.Set(app.HeaderVersion, app.Version)
	if contentType != "" {
		c.header.Set("Content-Type", contentType)
	}
	for _, o := range options {
		o(c)
	}
	if !c.unsigned && c.rawSignature == "" {
		t := p.config.Now().Unix()
		if method != http.MethodGet { // only a call that changes something must not repeat its signature
			t = p.when(body)
		}
		c.rawSignature = app.SignatureHeader(c.secrets, t+c.offset, body)
	}
	if c.rawSignature != "" {
		c.header.Set(app.HeaderSignature, c.rawSignature)
	}
	if c.header.Get(app.HeaderSignature)+c.header.Get(app.HeaderNeutralSignature) != "" && c.header.Get(app.HeaderSignatureV2) == "" {
		p.signV2(c)
	}
	reply := &reply{asked: fmt.Sprintf("%s %s\n%s%s", method, strings.TrimPrefix(target, p.config.BaseURL), headersShown(c.header), shown(body))}
	p.last = reply
	req, err := http.NewRequestWithContext(p.ctx, method, target, bytes.NewReader(body))
	if err != nil {
		p.failf("making request: %v", err)
	}
	req.GetBody = nil
	req.Header = c.header
	resp, err := p.http.Do(req)
	if err != nil {
		reply.lost = err
		p.failf("an answer")
	}
	defer resp.Body.Close()
	reply.status, reply.header = resp.StatusCode, resp.Header
	if reply.body, err = io.ReadAll(io.LimitReader(resp.Body, app.MaxCatalogBytes)); err != nil {
		p.failf("an answer that can be read to its end, not: %v", err)
	}
	reply.members, _ = app.Object(reply.body)
	return reply
}

// when is a time not yet used with this body (5.2).
func (s *session) when(body []byte) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.config.Now().Unix()
	t, used := s.back[string(body)]
	if used && t <= now && t > now-200 {
		now = t - 1
	}
	s.back[string(body)] = now
	return now
}

// shownHeaders are those that the protocol is about, in the order of a report.
var shownHeaders = []string{
	app.HeaderVersion, app.HeaderSignature, app.HeaderNeutralSignature, app.HeaderSignatureV2, "Authorization", app.HeaderIdempotencyKey,
	"Allow", "Location", "Retry-After",
}

// headersShown is a line for each of them that is there. A signature is no secret:
// whoever got it can compare it with the one that it reckons.
func headersShown(h http.Header) string {
	var b strings.Builder
	for _, name := range shownHeaders {
		for _, value := range h.Values(name) {
			if scheme, _, ok := strings.Cut(value, " "); ok && name == "Authorization" {
				value = scheme + " [secret]"
			}
			if page, _, ok := strings.Cut(value, "?"); ok && name == "Location" { // it may carry a code
				value = page + "?[secret]"
			}
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	return b.String()
}

// secretKeys are not shown in reports.
var secretKeys = map[string]bool{
	"access_token": true, "refresh_token": true, "code": true, "code_verifier": true, "access_configuration": true,
	"client_assertion": true, "payment_credentials": true, "confirmation_secret": true, "state": true,
}

// shown is a body for a report: short, without secrets.
func shown(body []byte) string {
	if len(body) == 0 {
		return "(empty body)"
	}
	var v any
	if json.Unmarshal(body, &v) == nil {
		if raw, err := json.Marshal(masked(v, "")); err == nil {
			body = raw
		}
	} else if values, err := url.ParseQuery(string(body)); err == nil && values.Has("grant_type") {
		for name := range values {
			if secretKeys[name] {
				values.Set(name, "[secret]")
			}
		}
		body = []byte(values.Encode())
	}
	if len(body) > 600 {
		return string(body[:600]) + "..."
	}
	return string(body)
}

func masked(v any, under string) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			// An error's code is no secret, an OAuth code is.
			if secretKeys[name] && !(name == "code" && under == "error") {
				v[name] = "[secret]"
				continue
			}
			v[name] = masked(inner, name)
		}
	case []any:
		for i := range v {
			v[i] = masked(v[i], under)
		}
	}
	return v
}

// failf ends the case with what was asked, expected and answered.
func (p *probe) failf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.last != nil {
		text = fmt.Sprintf("sent: %s\nexpected (APP %s): %s", p.last.asked, p.section, text)
		switch {
		case p.last.lost != nil:
			text += fmt.Sprintf("\ncame: nothing: %v", p.last.lost)
		case p.last.status != 0:
			text += fmt.Sprintf("\ncame: HTTP %d %s\n%s", p.last.status, shown(p.last.body), headersShown(p.last.header))
		}
	}
	panic(failure(strings.TrimRight(text, "\n")))
}

// fails expects an error with exactly this HTTP status, envelope and code.
func (p *probe) fails(r *reply, status int, envelope app.Envelope, code string) {
	p.last = r
	f, failed := app.ParseFailure(r.body)
	if r.tolerated(p.config.Interop, status, code, f) {
		return
	}
	if r.status != status || !failed || f.Envelope != envelope || f.Code != code {
		p.failf("HTTP %d with the %s envelope and code %s", status, envelope, code)
	}
}

// succeeds expects HTTP 200 and an object whose member has this value.
func (p *probe) succeeds(r *reply, member, value string) {
	p.last = r
	if r.status != http.StatusOK || r.text(member) != value {
		p.failf("HTTP 200 with %s %q", member, value)
	}
}

// tolerated are the variations that implementations show and clients must take
// (7.1, 7.2): a domain error under HTTP 200, and two other spellings of a code.
func (r *reply) tolerated(interop bool, status int, code string, f app.Failure) bool {
	if !interop || f.Code == "" {
		return false
	}
	other := map[string]string{app.CodeRequiresPayment: app.CodeBillingActivation, app.CodeExpired: "account_request_expired"}
	domain := status == 400 || status == 404 || status == 409
	return (r.status == status || domain && r.status == http.StatusOK) && (f.Code == code || f.Code == other[code])
}

func (p *probe) ok(r *reply) {
	p.last = r
	if r.status != http.StatusOK || r.members == nil {
		p.failf("HTTP 200 with a JSON object")
	}
}

func (p *probe) check(r *reply, good bool, format string, args ...any) {
	p.last = r
	if !good {
		p.failf(format, args...)
	}
}

// text is a string member, by path.
func (r *reply) text(path ...string) string {
	var s string
	_ = json.Unmarshal(r.raw(path...), &s)
	return s
}

func (r *reply) raw(path ...string) json.RawMessage {
	members := r.members
	for i, name := range path {
		if i == len(path)-1 {
			return members[name]
		}
		members, _ = app.Object(members[name])
	}
	return nil
}

// resource reads the envelope.
func (p *probe) resource(r *reply) app.Resource {
	p.last = r
	var out app.Resource
	if err := json.Unmarshal(r.body, &out); err != nil {
		p.failf("a resource envelope: %v", err)
	}
	return out
}

// token reads a token answer.
func (p *probe) token(r *reply) app.Token {
	p.ok(r)
	var out app.Token
	if err := json.Unmarshal(r.body, &out); err != nil || out.AccessToken == "" || !strings.EqualFold(out.TokenType, "bearer") {
		p.failf("a bearer token")
	}
	return out
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B

// accountRequest is a whole request for a fresh email. with changes members; nil
// removes one.
func (p *probe) accountRequest(with map[string]any) map[string]any {
	word := p.unique()
	m := map[string]any{
		"id": "acctreq_" + word, "object": "account_request", "email": "conformance+" + word + "@example.com", "name": "Jane Doe",
		"scopes": []string{}, "kyc": map[string]any{"verified_fields": []string{"email", "name"}},
		"client_capabilities": []string{"browser"}, "confirmation_secret": "cs_" + word + strings.Repeat("x", 30),
		"expires_at":            app.At(p.config.Now().Add(600e9)),
		"orchestrator":          p.orchestrator(),
		"code_challenge":        app.Challenge(verifier),
		"code_challenge_method": "S256",
	}
	for name, value := range with {
		if value == nil {
			delete(m, name)
			continue
		}
		m[name] = value
	}
	return m
}

// orchestrator is the block of the profile (3.4).
func (p *probe) orchestrator() map[string]any {
	inner := map[string]any{"account": p.config.Account, "organization": "org_" + p.config.Account}
	if p.config.Profile == Stripe {
		inner["organisation"] = inner["organization"]
		return map[string]any{"type": "stripe", "stripe": inner}
	}
	return map[string]any{"type": "purser", "account": p.config.Account, "purser": inner}
}

// signV2 adds the EdDSA signature (5.3) when the suite has a key.
func (p *probe) signV2(c *call) {
	if p.v2 == nil || c.withoutV2 {
		return
	}
	jti, err := app.Random(nil, "")
	if err != nil {
		p.failf("reading randomness: %v", err)
	}
	now := p.config.Now().Unix()
	claims := app.Claims{Version: 1, HTM: c.method, Digest: app.BodyDigest(c.body), Exp: now + 300, Iat: now, JTI: jti}
	if c.claims != nil {
		c.claims(&claims)
	}
	token, err := app.SignJWT(*p.v2, claims)
	if err != nil {
		p.failf("signing: %v", err)
	}
	c.header.Set(app.HeaderSignatureV2, token)
}

// person is a fresh account: its email, and its tokens.
func (p *probe) person() (email string, token app.Token) {
	body := p.accountRequest(nil)
	r := p.post(accountPath, body)
	p.succeeds(r, "type", app.AnswerOAuth)
	return body["email"].(string), p.token(p.redeem(r.text("oauth", "code")))
}

// ten runs f ten times at the same time, each with a probe of its own. What
// fails inside leaves its answer empty.
func (p *probe) ten(f func(q *probe, i int)) {
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			defer func() {
				switch v := recover().(type) {
				case nil, failure:
				default:
					panic(v)
				}
			}()
			f(&probe{session: p.session, ctx: p.ctx, section: p.section}, i)
		})
	}
	wg.Wait()
}

// callers ask for one thing at the same time.
const callers = 10

// code gets a code for a fresh account.
func (p *probe) code(with map[string]any) string {
	r := p.post("provisioning/account_requests", p.accountRequest(with))
	p.succeeds(r, "type", app.AnswerOAuth)
	code := r.text("oauth", "code")
	p.check(r, code != "", "a code")
	return code
}

func (p *probe) redeem(code string, options ...option) *reply {
	return p.form(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {verifier}}, options...)
}

func (p *probe) refresh(token string, options ...option) *reply {
	return p.form(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, options...)
}

// account gives a bearer of a fresh account.
func (p *probe) account() string { return p.token(p.redeem(p.code(nil))).AccessToken }

// shared gives the bearer of an account that cases share which do not mind others.
func (p *probe) shared() string {
	if token := p.session.sharedBearer(); token != "" {
		return token
	}
	token := p.account()
	p.session.setSharedBearer(token)
	return token
}

func (s *session) sharedBearer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bearers["shared"]
}

func (s *session) setSharedBearer(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bearers = map[string]string{"shared": token}
}

// body is a create of a service. with changes members.
func (p *probe) body(service string, with map[string]any) map[string]any {
	word := p.unique()
	m := map[string]any{
		"service_id": service, "configuration": p.config.configuration(service, word),
		"orchestrator_resource_id": "conf_" + word, "environment": "dev",
	}
	for name, value := range with {
		if value == nil {
			delete(m, name)
			continue
		}
		m[name] = value
	}
	return m
}

func (p *probe) create(token string, body map[string]any, options ...option) *reply {
	r := p.post("provisioning/resources", body, append([]option{bearer(token)}, options...)...)
	if id := r.text("id"); id != "" {
		p.mu.Lock()
		p.made = append(p.made, resource{token, id})
		p.mu.Unlock()
	}
	return r
}

// free is a complete free resource, and its id.
func (p *probe) free(token string) (id string, r *reply) {
	r = p.settled(token, p.create(token, p.body(p.config.FreeService, nil)))
	return r.text("id"), r
}

// settled waits for a pending resource.
func (p *probe) settled(token string, r *reply) *reply {
	for range 40 {
		if r.text("status") != app.StatusPending {
			break
		}
		p.wait()
		r = p.read(token, r.text("id"))
	}
	p.succeeds(r, "status", app.StatusComplete)
	return r
}

func (p *probe) read(token, id string) *reply {
	return p.get("provisioning/resources/"+url.PathEscape(id), bearer(token))
}

func (p *probe) verb(token, id, verb string, body any, options ...option) *reply {
	return p.post("provisioning/resources/"+url.PathEscape(id)+"/"+verb, body, append([]option{bearer(token)}, options...)...)
}

// wait is one step of polling.
func (p *probe) wait() {
	timer := time.NewTimer(250 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
		p.failf("a final state in time")
	}
}
