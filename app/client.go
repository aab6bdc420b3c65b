package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Time limits of a call (4.3).
const (
	connectTimeout = 10 * time.Second
	callTimeout    = 30 * time.Second
	requestLife    = 10 * time.Minute // of an account request (9.1)
)

// Profile is the shape an orchestrator speaks in (3.4).
type Profile string

// The profiles with signatures.
const (
	ProfilePurser Profile = "purser" // the default
	ProfileStripe Profile = "stripe"
)

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	BaseURL       string // manifest base_url, or that of the account's region
	TokenURL      string // manifest oauth_token_endpoint
	PublicBaseURL string // manifest public_base_url: what htu is made from; default BaseURL

	Signer  *Signer // one per provider, shared by its connections
	Profile Profile // default ProfilePurser

	// Account and Organization are the orchestrator's own ids, sent in every
	// account request (P39).
	Account, Organization string

	// ClientID and ClientSecret are sent to the token endpoint when set (P29).
	ClientID, ClientSecret string

	Transport http.RoundTripper // nil: the default one with a 10 s connect limit
}

// Client is the orchestrator's side of APP at one provider connection. It is safe
// for concurrent use. It never follows a redirect, never retries, and signs every
// call afresh. Every failed call gives an *Error.
type Client struct {
	base, token, public string
	config              ClientConfig
	http                *http.Client
}

// NewClient checks the URLs (https, or http on loopback) and makes a Client.
func NewClient(c ClientConfig) (*Client, error) {
	for name, u := range map[string]string{"BaseURL": c.BaseURL, "TokenURL": c.TokenURL} {
		if err := CheckURL(u); err != nil {
			return nil, fmt.Errorf("making client: %s: %w", name, err)
		}
	}
	if c.Signer == nil {
		return nil, errors.New("making client: a Signer is needed")
	}
	switch c.Profile {
	case "":
		c.Profile = ProfilePurser
	case ProfilePurser, ProfileStripe:
	default:
		return nil, fmt.Errorf("making client: profile %q is not spoken", c.Profile)
	}
	if c.Transport == nil {
		c.Transport = defaultTransport()
	}
	if c.PublicBaseURL == "" {
		c.PublicBaseURL = c.BaseURL
	}
	return &Client{
		base: slashed(c.BaseURL), token: c.TokenURL, public: slashed(c.PublicBaseURL), config: c,
		http: &http.Client{
			Transport:     c.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func slashed(u string) string { return strings.TrimRight(u, "/") + "/" }

func defaultTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: callTimeout,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}
}

// Call says for which account and under which key a resource call is made.
type Call struct {
	Bearer         string // access token; secret
	IdempotencyKey string // on calls that change something (12.3)
}

// Health reads GET provisioning/health.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	_, err := c.do(ctx, request{method: http.MethodGet, path: "provisioning/health"}, &h)
	return h, err
}

// maxPages bounds a catalog or a list (11.1).
const maxPages = 100

// Services reads the whole catalog, page by page: until there is no next_cursor,
// at most 100 pages, stopping on a repeated cursor. Entries are raw, so that
// Normalize can drop just the one it cannot read.
func (c *Client) Services(ctx context.Context) ([]json.RawMessage, error) {
	var entries []json.RawMessage
	err := c.pages(ctx, request{method: http.MethodGet, path: "provisioning/services", limit: MaxCatalogBytes}, func(data json.RawMessage) error {
		var page []json.RawMessage
		if err := json.Unmarshal(data, &page); err != nil {
			return err
		}
		entries = append(entries, page...)
		return nil
	})
	return entries, err
}

func (c *Client) pages(ctx context.Context, r request, take func(data json.RawMessage) error) error {
	seen := map[string]bool{"": true}
	cursor := ""
	for range maxPages {
		r.query = url.Values{}
		if cursor != "" {
			r.query.Set("cursor", cursor)
		}
		var page struct {
			Data       json.RawMessage `json:"data"`
			NextCursor string          `json:"next_cursor"`
		}
		if _, err := c.do(ctx, r, &page); err != nil {
			return err
		}
		if len(page.Data) == 0 || string(page.Data) == "null" { // not an empty page: none
			return unreadable(http.StatusOK, errors.New("the answer has no data"))
		}
		if err := take(page.Data); err != nil {
			return unreadable(http.StatusOK, fmt.Errorf("reading data: %w", err))
		}
		if cursor = page.NextCursor; seen[cursor] {
			return nil
		}
		seen[cursor] = true
	}
	return nil
}

// AccountRequest asks for an account (section 9). The orchestrator block, object
// and, if zero, ExpiresAt (in 10 min) are filled in here. Resending the same ID
// never makes a second account.
func (c *Client) AccountRequest(ctx context.Context, in AccountRequest) (AccountAnswer, error) {
	block, err := c.orchestrator()
	if err != nil {
		return AccountAnswer{}, local(err)
	}
	in.Object, in.Orchestrator = "account_request", block
	if in.ExpiresAt.IsZero() {
		in.ExpiresAt = At(c.config.Signer.now().Add(requestLife))
	}
	if in.CodeChallenge != "" && in.CodeChallengeMethod == "" {
		in.CodeChallengeMethod = "S256"
	}
	var answer AccountAnswer
	_, err = c.do(ctx, request{method: http.MethodPost, path: "provisioning/account_requests", body: in, changes: true}, &answer)
	if err == nil && answer.Type == "" {
		err = unreadable(http.StatusOK, errors.New("the answer has no type"))
	}
	return answer, err
}

// orchestrator is the block of 3.4. Senders write organization and, to those who
// know only Stripe, its deprecated alias (P18).
func (c *Client) orchestrator() ([]byte, error) {
	account, organization := c.config.Account, c.config.Organization
	if c.config.Profile == ProfileStripe {
		return encode(map[string]any{
			"type":   "stripe",
			"stripe": map[string]string{"account": account, "organization": organization, "organisation": organization},
		})
	}
	return encode(map[string]any{
		"type": "purser", "account": account,
		"purser": map[string]string{"account": account, "organization": organization},
	})
}

// Exchange redeems a code with its PKCE verifier (10.2).
func (c *Client) Exchange(ctx context.Context, code, verifier string) (Token, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}}
	if verifier != "" {
		form.Set("code_verifier", verifier)
	}
	return c.tokens(ctx, form)
}

// Refresh rotates a token pair (10.3). The old pair is dead as soon as the
// provider answers: store the new one before using it.
func (c *Client) Refresh(ctx context.Context, refreshToken string) (Token, error) {
	return c.tokens(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}})
}

func (c *Client) tokens(ctx context.Context, form url.Values) (Token, error) {
	var token Token
	_, err := c.do(ctx, request{method: http.MethodPost, url: c.token, form: form, changes: true}, &token)
	if err == nil && token.AccessToken == "" {
		err = unreadable(http.StatusOK, errors.New("the answer has no access_token"))
	}
	return token, err
}

// Create makes a resource (12.2). Send an IdempotencyKey and an
// OrchestratorResourceID, and the same ones on every retry.
func (c *Client) Create(ctx context.Context, call Call, in CreateRequest) (Resource, error) {
	return c.resource(ctx, request{method: http.MethodPost, path: "provisioning/resources", body: in, call: call, changes: true})
}

// Link links an existing resource (12.4).
func (c *Client) Link(ctx context.Context, call Call, in CreateRequest) (Resource, error) {
	return c.resource(ctx, request{method: http.MethodPost, path: "provisioning/resources/link", body: in, call: call, changes: true})
}

// Get reads a resource (12.5).
func (c *Client) Get(ctx context.Context, call Call, id string) (Resource, error) {
	return c.resource(ctx, request{method: http.MethodGet, path: resourcePath(id, ""), call: call})
}

// Update changes service or configuration (12.6).
func (c *Client) Update(ctx context.Context, call Call, id string, in UpdateRequest) (Resource, error) {
	return c.resource(ctx, request{method: http.MethodPost, path: resourcePath(id, "/update_service"), body: in, call: call, changes: true})
}

// Rotate makes new credentials (12.7). On not_found, method_not_allowed or
// unsupported_operation keep the old ones.
func (c *Client) Rotate(ctx context.Context, call Call, id string, in RotateRequest) (Resource, error) {
	return c.resource(ctx, request{method: http.MethodPost, path: resourcePath(id, "/rotate_credentials"), body: in, call: call, changes: true})
}

// Remove removes or detaches, as the manifest's resources:deprovision says (12.8).
func (c *Client) Remove(ctx context.Context, call Call, id string, actor *Actor) (Resource, error) {
	return c.acted(ctx, call, id, "/remove", actor)
}

// Cut suspends access at once (capability resources:cut).
func (c *Client) Cut(ctx context.Context, call Call, id string, actor *Actor) (Resource, error) {
	return c.acted(ctx, call, id, "/cut", actor)
}

// Restore lifts a cut.
func (c *Client) Restore(ctx context.Context, call Call, id string, actor *Actor) (Resource, error) {
	return c.acted(ctx, call, id, "/restore", actor)
}

// acted sends the resource id in the body too: the signature covers only the body,
// and cutting a hundred resources at once must not make a hundred equal ones (5.2).
func (c *Client) acted(ctx context.Context, call Call, id, verb string, actor *Actor) (Resource, error) {
	body := struct {
		ResourceID string `json:"resource_id"`
		Actor      *Actor `json:"actor,omitempty"`
	}{id, actor}
	return c.resource(ctx, request{method: http.MethodPost, path: resourcePath(id, verb), body: body, call: call, changes: true})
}

func resourcePath(id, verb string) string {
	return "provisioning/resources/" + url.PathEscape(id) + verb
}

func (c *Client) resource(ctx context.Context, r request) (Resource, error) {
	var out Resource
	header, err := c.do(ctx, r, &out)
	if err == nil && out.Status == "" {
		err = unreadable(http.StatusOK, errors.New("the answer has no status"))
	}
	if err == nil {
		out.RetryAfter = retryAfter(header, c.config.Signer.now())
	}
	return out, err
}

// Find looks a resource up by the orchestrator's own id (capability
// resources:find). found is false when the provider has none. A resource in
// status error with CodeInterrupted was begun and not finished: send the create
// again under the same keys.
func (c *Client) Find(ctx context.Context, call Call, orchestratorResourceID string) (r Resource, found bool, err error) {
	var page ResourcePage
	_, err = c.do(ctx, request{
		method: http.MethodGet, path: "provisioning/resources", call: call,
		query: url.Values{"orchestrator_resource_id": {orchestratorResourceID}},
	}, &page)
	if err == nil && page.Data == nil { // "none" is an empty list, never an answer without one
		err = unreadable(http.StatusOK, errors.New("the answer has no data"))
	}
	if err != nil || len(page.Data) == 0 {
		return Resource{}, false, err
	}
	if len(page.Data) > 1 {
		return Resource{}, false, &Error{Code: CodeProviderFailure, HTTPStatus: http.StatusOK, Message: "two resources under one orchestrator_resource_id"}
	}
	return page.Data[0], true, nil
}

// List reads all resources of the account, removed ones of the last 30 days
// included (capability resources:find). It carries no secrets.
func (c *Client) List(ctx context.Context, call Call) ([]Resource, error) {
	var all []Resource
	err := c.pages(ctx, request{method: http.MethodGet, path: "provisioning/resources", call: call}, func(data json.RawMessage) error {
		var page []Resource
		if err := json.Unmarshal(data, &page); err != nil {
			return err
		}
		all = append(all, page...)
		return nil
	})
	return all, err
}

// Quote prices one exact thing (capability quotes). The bearer may be empty before
// an account exists.
func (c *Client) Quote(ctx context.Context, call Call, in QuoteRequest) (Quote, error) {
	var q Quote
	_, err := c.do(ctx, request{method: http.MethodPost, path: "provisioning/quotes", body: in, call: call}, &q)
	if err == nil && (q.ID == "" || q.Item == "" || q.Currency == "") {
		err = &Error{Code: CodeProviderFailure, HTTPStatus: http.StatusOK, Message: "the quote has no id, item or currency"}
	}
	return q, err
}

// DeepLink asks for a single-use login URL (section 13).
func (c *Client) DeepLink(ctx context.Context, call Call, in DeepLinkRequest) (DeepLink, error) {
	var link DeepLink
	_, err := c.do(ctx, request{method: http.MethodPost, path: "provisioning/deep_links", body: in, call: call, changes: true}, &link)
	if err == nil && checkedURL(link.URL) == "" {
		err = &Error{Code: CodeProviderFailure, HTTPStatus: http.StatusOK, Message: "the deep link is not an https URL"}
	}
	return link, err
}

// request is one call to be made.
type request struct {
	method  string
	path    string // below the base URL
	url     string // instead of path: the token endpoint
	query   url.Values
	body    any // JSON
	form    url.Values
	call    Call
	changes bool  // a state-changing call
	limit   int64 // of the answer in bytes; 0 is MaxResponseBytes
}

// do makes one call and reads its answer into out. The body's type or status
// decides first, the HTTP status second (P13).
func (c *Client) do(ctx context.Context, r request, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := c.request(ctx, r)
	if err != nil {
		return nil, local(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.lost(err, connected.Load())
	}
	defer resp.Body.Close()
	limit := r.limit
	if limit == 0 {
		limit = MaxResponseBytes
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return resp.Header, unreadable(resp.StatusCode, fmt.Errorf("reading answer: %w", err))
	}
	if int64(len(body)) > limit {
		return resp.Header, unreadable(resp.StatusCode, fmt.Errorf("the answer is larger than %d bytes", limit))
	}
	return resp.Header, c.decide(resp, body, out)
}

// decide tells success from failure.
func (c *Client) decide(resp *http.Response, body []byte, out any) error {
	if f, failed := ParseFailure(body); failed {
		return &Error{
			Code: either(f.Code, CodeProviderFailure), Message: f.Message, HTTPStatus: resp.StatusCode, ID: f.ID, Envelope: f.Envelope,
			RetryAfter: retryAfter(resp.Header, c.config.Signer.now()), Unknown: undecided(resp.StatusCode, f),
		}
	}
	members, err := Object(body)
	said := err == nil && (stringOf(members["type"]) != "" || stringOf(members["status"]) != "")
	if said || (err == nil && resp.StatusCode/100 == 2) {
		if err := json.Unmarshal(body, out); err != nil {
			return unreadable(resp.StatusCode, fmt.Errorf("reading answer: %w", err))
		}
		return nil
	}
	if resp.StatusCode/100 == 2 {
		return unreadable(resp.StatusCode, fmt.Errorf("reading answer: %w", err))
	}
	return &Error{
		Code: CodeProviderFailure, Message: http.StatusText(resp.StatusCode), HTTPStatus: resp.StatusCode,
		RetryAfter: retryAfter(resp.Header, c.config.Signer.now()), Unknown: undecided(resp.StatusCode, Failure{}),
	}
}

// undecided tells whether a failed answer leaves open what the provider did. A 5xx
// counts as decided only when a protocol envelope names a reason: server_error is
// what a provider says that broke half-way. 408 and 3xx come from something in
// between.
func undecided(status int, f Failure) bool {
	switch {
	case status/100 == 2:
		return false
	case status >= 500:
		return f.Envelope == EnvelopeNone || f.Envelope == EnvelopeDetail || f.Code == "" ||
			f.Code == CodeServerError || f.Code == CodeProxyFailed
	case status == http.StatusRequestTimeout, status/100 == 3:
		return f.Envelope == EnvelopeNone
	}
	return false
}

func (c *Client) request(ctx context.Context, r request) (*http.Request, error) {
	body, contentType, err := r.encoded()
	if err != nil {
		return nil, err
	}
	target, public := c.base+r.path, c.public+r.path
	if r.url != "" {
		target, public = r.url, r.url
	}
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("making call: %w", err)
	}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		// No GetBody: net/http would send a body again by itself, with the same
		// signature, because of the Idempotency-Key header.
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set(HeaderVersion, Version)
	req.Header.Set("Accept", "application/json")
	if r.call.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.call.Bearer)
	}
	if r.form != nil && c.config.ClientID != "" {
		req.SetBasicAuth(url.QueryEscape(c.config.ClientID), url.QueryEscape(c.config.ClientSecret))
	}
	if r.call.IdempotencyKey != "" {
		req.Header.Set(HeaderIdempotencyKey, r.call.IdempotencyKey)
	}
	return req, c.sign(req, public, body, r.changes)
}

func (r request) encoded() (body []byte, contentType string, err error) {
	switch {
	case r.form != nil:
		return []byte(r.form.Encode()), "application/x-www-form-urlencoded", nil
	case r.body != nil:
		body, err = encode(r.body)
		return body, "application/json", err
	}
	return nil, "", nil
}

func (c *Client) sign(req *http.Request, public string, body []byte, changes bool) error {
	signer := c.config.Signer
	signature, err := signer.header(body, changes)
	if err != nil {
		return err
	}
	neutral := c.config.Profile == ProfilePurser
	req.Header.Set(HeaderSignature, signature)
	if neutral {
		req.Header.Set(HeaderNeutralSignature, signature)
	}
	if signer.key == nil {
		return nil
	}
	token, err := signer.token(req.Method, public, c.base, body)
	if err != nil {
		return err
	}
	req.Header.Set(HeaderSignatureV2, token)
	if neutral {
		req.Header.Set(HeaderNeutralSignatureV2, token)
	}
	return nil
}

// local is a failure before anything left this machine.
func local(err error) *Error {
	return &Error{Code: CodeProviderFailure, Message: "the call was not made", Err: err}
}

// lost is a call without an answer. It is certain that nothing was done only when
// no connection came about: net/http's own transport tells that, and a dial error
// does. Any other RoundTripper is not trusted to have sent nothing.
func (c *Client) lost(err error, connected bool) *Error {
	var dial *net.OpError
	_, traced := c.config.Transport.(*http.Transport)
	never := !connected && (traced || (errors.As(err, &dial) && dial.Op == "dial"))
	return &Error{Code: CodeProviderFailure, Message: "no answer came", Unknown: !never, Err: err}
}

func unreadable(status int, err error) *Error {
	return &Error{Code: CodeProviderFailure, Message: "the answer cannot be used", HTTPStatus: status, Unknown: status/100 == 2 || status >= 500, Err: err}
}

// retryAfter reads integer seconds or an HTTP date (4.2).
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 && seconds < 1<<30 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}
