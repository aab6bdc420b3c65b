package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/purser-dev/purser/app"
)

// call is one request on its way through the checks of its route.
type call struct {
	p        *Provider
	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context // outlives the caller's connection, ends with HookTimeout
	name     string          // operation, as in Event
	route    string          // path below the base path
	shape    app.Envelope    // of this route's errors (7.1)
	changes  bool            // a state-changing route: its HMAC must not repeat (5.5)
	resource string          // id in the path, or the one allocated
	param    string          // another id in the path
	request  string          // id of an account request, echoed

	body    []byte
	taken   bool  // the body was read
	unread  error // why it could not be
	spent   string
	members map[string]json.RawMessage
	orch    *Orchestrator
	token   tokenRecord
	account Account
	scope   string            // tenant, once it was asked for
	given   map[string]string // the access configuration that a hook gave in this very call
	code    string            // of the error answered
	status  int
}

// fault is an error with its way out: the envelope when it is not the route's, and
// when to come back.
type fault struct {
	shown      *Error
	shape      app.Envelope
	retryAfter time.Duration
}

func (f *fault) Error() string { return f.shown.Error() }
func (f *fault) Unwrap() error { return f.shown }

func flat(code, message string) error {
	return &fault{shown: &Error{Code: code, Message: message}, shape: app.EnvelopeFlat}
}

// serve answers one request; nothing but our envelopes leaves, panics included.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), p.cfg.HookTimeout)
	defer cancel()
	c := &call{p: p, w: w, r: r, ctx: ctx, name: "unknown", shape: app.EnvelopeFlat}
	defer c.audit()
	defer func() {
		if v := recover(); v != nil {
			c.fail(fmt.Errorf("panic: %v", v))
		}
	}()
	handle, err := c.find()
	if err == nil {
		err = handle(c)
	}
	if err != nil && !errors.Is(err, errAnswered) {
		c.fail(err)
	}
	p.sweep(ctx)
}

// errAnswered ends a route whose answer another region gave.
var errAnswered = errors.New("answered")

func (c *call) audit() {
	e := Event{At: c.p.cfg.Now(), Account: c.account.ID, Operation: c.name, Resource: c.resource, HTTPStatus: c.status, Code: c.code}
	if c.orch != nil {
		e.Orchestrator = c.orch.Name
	}
	c.p.cfg.Audit(c.ctx, e)
}

type endpoint struct {
	method, name string
	shape        app.Envelope
	changes      bool
	handle       func(*call) error
}

// find is the table of routes (4.1, 19).
func (c *call) find() (func(*call) error, error) {
	path := strings.TrimRight(c.r.URL.EscapedPath(), "/")
	if path == c.p.tokenPath {
		return c.enter([]endpoint{{http.MethodPost, "token", app.EnvelopeOAuth, false, (*call).tokens}})
	}
	rest, ok := strings.CutPrefix(path, strings.TrimRight(c.p.basePath, "/")+"/")
	if !ok {
		return nil, flat(app.CodeNotFound, "no such path")
	}
	c.route = rest
	segments := strings.Split(rest, "/")
	if rest == "consent" {
		return c.enter([]endpoint{
			{http.MethodGet, "consent", app.EnvelopeTyped, false, (*call).consentPage},
			{http.MethodPost, "consent", app.EnvelopeTyped, true, (*call).consentDecision},
		})
	}
	if rest == "login" {
		return c.enter([]endpoint{
			{http.MethodGet, "login", app.EnvelopeFlat, false, (*call).login},
			{http.MethodHead, "login", app.EnvelopeFlat, false, (*call).loginHead},
		})
	}
	if segments[0] != "provisioning" || len(segments) < 2 {
		return nil, flat(app.CodeNotFound, "no such path")
	}
	if segments[1] == "resources" {
		c.shape = app.EnvelopeStatus
		return c.findResource(segments[2:])
	}
	if segments[1] == "github" || segments[1] == "payer" {
		return c.findPartners(segments[1:])
	}
	if len(segments) == 2 {
		if endpoints, ok := topRoutes[segments[1]]; ok {
			return c.enter(endpoints)
		}
	}
	return nil, flat(app.CodeNotFound, "no such path")
}

var topRoutes = map[string][]endpoint{
	"health":           {{http.MethodGet, "health", app.EnvelopeFlat, false, (*call).health}},
	"services":         {{http.MethodGet, "services", app.EnvelopeFlat, false, (*call).services}},
	"account_requests": {{http.MethodPost, "account_request", app.EnvelopeTyped, false, (*call).accountRequest}},
	"quotes":           {{http.MethodPost, "quote", app.EnvelopeStatus, false, (*call).quote}},
	"deep_links":       {{http.MethodPost, "deep_link", app.EnvelopeStatus, true, (*call).deepLink}},

	"client_registration": {{http.MethodPost, "client_registration", app.EnvelopeTyped, false, (*call).registerClient}},
	"limits":              {{http.MethodPost, "limits", app.EnvelopeTyped, false, (*call).limits}},
}

var resourceVerbs = map[string]endpoint{
	"update_service":     {http.MethodPost, "update", app.EnvelopeStatus, true, (*call).update},
	"rotate_credentials": {http.MethodPost, "rotate", app.EnvelopeStatus, true, (*call).rotate},
	"remove":             {http.MethodPost, "remove", app.EnvelopeStatus, true, (*call).remove},
	"cut":                {http.MethodPost, "cut", app.EnvelopeStatus, true, (*call).cut},
	"restore":            {http.MethodPost, "restore", app.EnvelopeStatus, true, (*call).restore},

	"github_integration": {http.MethodPost, "github_integration", app.EnvelopeStatus, true, (*call).integrate},
	"wizard_runs":        {http.MethodPost, "wizard_run", app.EnvelopeStatus, true, (*call).runWizard},
}

// partnerRoutes are those of 15.6 and 15.7; * stands for an id.
var partnerRoutes = map[string][]endpoint{
	"github/grants":                {{http.MethodPost, "github_grant", app.EnvelopeTyped, false, (*call).makeGrant}},
	"github/grants/*/repositories": {{http.MethodGet, "github_repositories", app.EnvelopeTyped, false, (*call).repositories}},
	"payer": {
		{http.MethodGet, "payer", app.EnvelopeTyped, false, (*call).paying},
		{http.MethodPatch, "change_payer", app.EnvelopeTyped, false, (*call).paying},
	},
	"payer/webhook_secret":         {{http.MethodPost, "webhook_secret", app.EnvelopeTyped, false, (*call).paying}},
	"payer/test_event":             {{http.MethodPost, "test_event", app.EnvelopeTyped, false, (*call).paying}},
	"payer/organizations":          {{http.MethodGet, "payer_organizations", app.EnvelopeTyped, false, (*call).paying}},
	"payer/organizations/*/limits": {{http.MethodPatch, "payer_limits", app.EnvelopeTyped, false, (*call).paying}},
	"payer/invoices":               {{http.MethodGet, "payer_invoices", app.EnvelopeTyped, false, (*call).paying}},
	"payer/settlements":            {{http.MethodGet, "payer_settlements", app.EnvelopeTyped, false, (*call).paying}},
	"payer/settlements/*":          {{http.MethodGet, "payer_settlement", app.EnvelopeTyped, false, (*call).paying}},
}

func (c *call) findPartners(segments []string) (func(*call) error, error) {
	if endpoints, ok := partnerRoutes[strings.Join(segments, "/")]; ok {
		return c.enter(endpoints)
	}
	if len(segments) > 2 {
		id, err := url.PathUnescape(segments[2])
		if err != nil {
			id = segments[2]
		}
		segments[2] = "*"
		if endpoints, ok := partnerRoutes[strings.Join(segments, "/")]; ok {
			c.param = id
			return c.enter(endpoints)
		}
	}
	return nil, flat(app.CodeNotFound, "no such path")
}

func (c *call) findResource(segments []string) (func(*call) error, error) {
	switch {
	case len(segments) == 0:
		return c.enter([]endpoint{
			{http.MethodPost, "create", app.EnvelopeStatus, true, (*call).create},
			{http.MethodGet, "list", app.EnvelopeStatus, false, (*call).list},
		})
	case len(segments) == 1 && segments[0] == "link":
		return c.enter([]endpoint{{http.MethodPost, "link", app.EnvelopeStatus, true, (*call).link}})
	case len(segments) > 2:
		return nil, Errorf(app.CodeNotFound, "no such path")
	}
	id, err := url.PathUnescape(segments[0])
	if err != nil {
		id = segments[0]
	}
	c.resource = id
	if len(segments) == 1 {
		return c.enter([]endpoint{{http.MethodGet, "get", app.EnvelopeStatus, false, (*call).get}})
	}
	if verb, ok := resourceVerbs[segments[1]]; ok {
		return c.enter([]endpoint{verb})
	}
	return nil, Errorf(app.CodeNotFound, "no such path")
}

// enter picks the endpoint by method.
func (c *call) enter(endpoints []endpoint) (func(*call) error, error) {
	c.name, c.shape = endpoints[0].name, endpoints[0].shape
	var allowed []string
	for _, e := range endpoints {
		if e.method == c.r.Method {
			c.name, c.changes = e.name, e.changes
			return e.handle, nil
		}
		allowed = append(allowed, e.method)
	}
	c.w.Header().Set("Allow", strings.Join(allowed, ", "))
	return nil, Errorf(app.CodeMethodNotAllowed, "use %s", strings.Join(allowed, " or "))
}

// What net/http writes and does not change.
var contentJSON, noStore = []string{"application/json"}, []string{"no-store"}

// answer writes a 2xx. Nothing of this protocol may be cached.
func (c *call) answer(status int, v any) error {
	body, err := answered(v)
	if err != nil {
		return fmt.Errorf("writing answer: %w", err)
	}
	c.status = status
	header := c.w.Header()
	header["Content-Type"], header["Cache-Control"] = contentJSON, noStore
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // the caller may be gone; what was done is stored
	return nil
}

// answered is an answer's body.
func answered(v any) ([]byte, error) {
	if r, ok := v.(app.Resource); ok && r.Status == app.StatusComplete && r.OrchestratorResourceID == "" {
		return complete(r)
	}
	body := bytes.NewBuffer(make([]byte, 0, 512))
	enc := json.NewEncoder(body)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return body.Bytes(), err
}

// fail writes an error in the envelope of its route (7.1). What is not ours to
// show is logged and becomes server_error.
func (c *call) fail(err error) {
	if c.status != 0 { // answered already; only a panic after it comes here
		c.p.cfg.Log.ErrorContext(c.ctx, "failing after the answer", "operation", c.name, "error", err)
		return
	}
	shape, shown := c.shape, &Error{Code: app.CodeServerError, Message: "internal error"}
	var f *fault
	var known *Error
	switch {
	case errors.As(err, &f):
		shown = f.shown
		if f.shape != "" {
			shape = f.shape
		}
		if f.retryAfter > 0 {
			c.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
		}
	case errors.As(err, &known):
		shown = known
	default:
		c.p.cfg.Log.ErrorContext(c.ctx, "failing a request", "operation", c.name, "resource", c.resource, "error", err)
	}
	c.code = shown.Code
	if c.spent != "" && shown.idle() {
		c.p.throttle.refund(c.spent)
	}
	if err := c.answer(shown.status(), c.envelope(shape, shown)); err != nil {
		c.p.cfg.Log.ErrorContext(c.ctx, "writing an error", "error", err)
	}
}

func (c *call) envelope(shape app.Envelope, e *Error) any {
	problem := app.Problem{Code: e.Code, Message: e.Message}
	switch shape {
	case app.EnvelopeTyped:
		typed := map[string]any{"type": app.AnswerError, "error": problem}
		if c.request != "" {
			typed["id"] = c.request
		}
		return typed
	case app.EnvelopeStatus:
		return map[string]any{"status": app.StatusError, "id": c.resource, "error": problem}
	case app.EnvelopeOAuth:
		return map[string]string{"error": e.Code, "error_description": e.Message}
	}
	return map[string]any{"error": problem}
}

// read takes the body whole. Its limit and its faults are flat on every route.
func (c *call) read() error {
	if !c.taken {
		c.taken = true
		c.unread = c.readAll()
	}
	return c.unread
}

func (c *call) readAll() error {
	body, err := c.bytes()
	if err != nil {
		return flat(app.CodeBodyNotReadable, "the body could not be read")
	}
	if len(body) > app.MaxRequestBytes {
		return flat(app.CodeRequestTooLarge, "the body is larger than 1 MiB")
	}
	c.body = body
	return nil
}

// bytes reads the body, up to one byte more than is allowed. A declared length, which
// net/http holds the body to, tells how much memory it takes.
func (c *call) bytes() ([]byte, error) {
	if n := c.r.ContentLength; n >= 0 && n <= 64<<10 {
		body := make([]byte, n)
		_, err := io.ReadFull(c.r.Body, body)
		return body, err
	}
	return io.ReadAll(io.LimitReader(c.r.Body, app.MaxRequestBytes+1))
}

func (c *call) decodable() error {
	if !utf8.Valid(c.body) {
		return flat(app.CodeBodyNotDecodable, "the body is not UTF-8")
	}
	return nil
}

// version compares API-Version byte for byte (section 6).
func (c *call) version() error {
	if v := c.r.Header[headerVersion]; len(v) != 1 || v[0] != app.Version {
		return flat(app.CodeInvalidAPIVersion, "API-Version must be one of: "+app.Version)
	}
	return nil
}

// object reads the body as a JSON object; an empty one counts as {}.
func (c *call) object() error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		c.members = map[string]json.RawMessage{}
		return nil
	}
	members, err := app.Object(c.body)
	if err != nil {
		return Errorf(app.CodeInvalidRequest, "the body must be a JSON object")
	}
	c.members = members
	return nil
}

// global is the throttle over all calls (7.4).
func (c *call) global() error {
	if c.p.throttle.wait(c.p.cfg.Now(), "global", c.p.cfg.GlobalPerMinute, time.Minute) == 0 {
		return nil
	}
	return c.limited(30 * time.Second)
}

// bucket is the hourly limit of one orchestrator.
func (c *call) bucket(orchestrator, name string, most int) error {
	if c.orch != nil && c.orch.generic != nil && c.orch.Name == orchestrator {
		return c.spend(name)
	}
	if d := c.p.throttle.wait(c.p.cfg.Now(), name+"/"+orchestrator, most, time.Hour); d > 0 {
		return c.limited(d)
	}
	return nil
}

func (c *call) limited(d time.Duration) error {
	f := &fault{shown: &Error{Code: app.CodeRateLimited, Message: "too many requests"}, retryAfter: d}
	if c.shape == app.EnvelopeOAuth { // the token endpoint's 429 is typed (7.1)
		f.shape = app.EnvelopeTyped
	}
	return f
}

// field reads one member into v; absent or null leaves v as it is.
func (c *call) field(name string, v any) error {
	raw, ok := c.members[name]
	if !ok {
		return nil
	}
	var err error
	switch into := v.(type) {
	case *string:
		if plain, ok := plainString(raw); ok {
			*into = plain
			return nil
		}
		err = json.Unmarshal(raw, into)
	case *map[string]any:
		*into, err = freeObject(raw)
	default:
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return Errorf(app.CodeInvalidRequest, "%s has the wrong type", name)
	}
	return nil
}

// freeObject reads an object of any members; numbers stay as they were written.
func freeObject(raw json.RawMessage) (map[string]any, error) {
	members, err := app.Object(raw)
	if err != nil {
		return nil, err
	}
	values := make(map[string]any, len(members))
	for name, member := range members {
		if plain, ok := plainString(member); ok {
			values[name] = plain
			continue
		}
		var v any
		dec := json.NewDecoder(bytes.NewReader(member))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		values[name] = v
	}
	return values, nil
}

// lenient reads a JSON string, "" for what is none.
func lenient(raw json.RawMessage) string {
	if plain, ok := plainString(raw); ok || len(raw) == 0 {
		return plain
	}
	return unquoted(raw)
}

func unquoted(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// plainString reads a JSON string without escapes, as nearly all are. raw is a value
// of a document that was checked whole, as JSON and as UTF-8.
func plainString(raw json.RawMessage) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return "", false
	}
	return string(raw[1 : len(raw)-1]), true
}

// url is a public URL below base_url.
func (p *Provider) url(rest string) string {
	base := p.cfg.Manifest.PublicBaseURL
	if base == "" {
		base = p.cfg.Manifest.BaseURL
	}
	return strings.TrimRight(base, "/") + "/" + rest
}
