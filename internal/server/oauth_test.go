package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/consent"
)

// desk is a server with an owner who connects clients.
type desk struct {
	t      *testing.T
	s      *Server
	token  string
	person *client.Client
}

func openDesk(t *testing.T, flags map[string]any) *desk {
	t.Helper()
	s, _ := start(t, settings(t, flags), quiet())
	token := signUp(t, s)
	d := &desk{t, s, token, dial(t, s, token)}
	if _, err := d.person.CreateProject(t.Context(), purser.CreateProject{Name: "shop"}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) consent() consent.Consent {
	return consent.Consent{Server: d.person, Passphrase: func(context.Context, act.Document) ([]byte, error) { return []byte(passphrase), nil }}
}

// alone does not follow redirects: they are what is looked at.
var alone = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// open opens an authorization request as a browser does, and returns its
// identifier, or where else the browser was sent.
func (d *desk) open(address string) (id string, resp *http.Response) {
	d.t.Helper()
	resp, err := alone.Get(address)
	if err != nil {
		d.t.Fatal(err)
	}
	_ = resp.Body.Close()
	id, _ = strings.CutPrefix(resp.Header.Get("Location"), "/connect/")
	return id, resp
}

// grant lets the owner say yes to a request, and returns where the browser goes.
func (d *desk) grant(id string, change ...func(*purser.GrantClient)) purser.Granted {
	d.t.Helper()
	a, err := d.person.ShowAuthorization(d.t.Context(), purser.AuthorizationRef{Authorization: id})
	if err != nil {
		d.t.Fatalf("%q: %v", id, err)
	}
	in := purser.GrantClient{
		Authorization: a.ID, Client: a.Client, Redirect: a.Redirect, Resource: a.Resource, Scope: a.Scope, Project: "shop", Budget: purser.Money{Amount: 2000, Currency: "USD"},
	}
	for _, f := range change {
		f(&in)
	}
	if in.Act, err = d.consent().Sign(d.t.Context(), "grant", in); err != nil {
		d.t.Fatal(err)
	}
	out, err := d.person.Grant(d.t.Context(), in)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// register registers a public client.
func (d *desk) register(redirects ...string) string {
	d.t.Helper()
	text, err := json.Marshal(map[string]any{"client_name": "Test", "redirect_uris": redirects, "token_endpoint_auth_method": "none"})
	if err != nil {
		d.t.Fatal(err)
	}
	resp, body := d.post("/oauth/register", "application/json", string(text), "")
	var out struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil || resp.StatusCode != 201 || out.ID == "" {
		d.t.Fatalf("registering: %d %s", resp.StatusCode, body)
	}
	return out.ID
}

func (d *desk) post(path, kind, text, bearer string) (*http.Response, string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.s.URL()+path, strings.NewReader(text))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := alone.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp, string(body)
}

func (d *desk) form(path string, values url.Values, bearer string) (*http.Response, map[string]any) {
	d.t.Helper()
	resp, body := d.post(path, "application/x-www-form-urlencoded", values.Encode(), bearer)
	var out map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			d.t.Fatalf("%s answers %d %q", path, resp.StatusCode, body)
		}
	}
	return resp, out
}

const redirect = "http://127.0.0.1:51004/cb"

// oauth2Config is a client as x/oauth2 wants it described.
func (d *desk) oauth2Config(id string) oauth2.Config {
	return oauth2.Config{
		ClientID: id, RedirectURL: redirect, Scopes: []string{"read", "spend"},
		Endpoint: oauth2.Endpoint{
			AuthURL: d.s.URL() + "/oauth/authorize", TokenURL: d.s.URL() + "/oauth/token", DeviceAuthURL: d.s.URL() + "/oauth/device", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// connected brings a client of x/oauth2 to its tokens.
func (d *desk) connected(resource string, change ...func(*purser.GrantClient)) (oauth2.Config, *oauth2.Token, purser.Granted) {
	d.t.Helper()
	cfg, verifier := d.oauth2Config(d.register("http://127.0.0.1/cb")), oauth2.GenerateVerifier()
	id, _ := d.open(cfg.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", resource)))
	granted := d.grant(id, change...)
	token, err := cfg.Exchange(d.t.Context(), query(d.t, granted.Redirect).Get("code"), oauth2.VerifierOption(verifier), oauth2.SetAuthURLParam("resource", resource))
	if err != nil {
		d.t.Fatal(err)
	}
	return cfg, token, granted
}

func query(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func TestAClientOfXOAuth2GetsAndRefreshesAnAgentsToken(t *testing.T) {
	d := openDesk(t, nil)
	cfg, token, granted := d.connected(d.s.URL())
	agent := dial(t, d.s, token.AccessToken)
	if me, err := agent.Whoami(t.Context(), purser.None{}); err != nil || me.Kind != purser.Agent || me.Run != granted.Run.ID || me.Scope != "read spend" {
		t.Errorf("the client is %+v, %v", me, err)
	}
	if _, err := agent.Approve(t.Context(), purser.Approve{Plan: "pln_x"}); purser.CodeOf(err) != purser.SelfApproval {
		t.Errorf("a client approves: %v", err)
	}
	old := *token
	token.Expiry = time.Now().Add(-time.Minute)
	fresh, err := cfg.TokenSource(t.Context(), token).Token()
	if err != nil || fresh.AccessToken == old.AccessToken || fresh.RefreshToken == old.RefreshToken {
		t.Fatalf("refreshing: %v", err)
	}
	if _, err := dial(t, d.s, fresh.AccessToken).Whoami(t.Context(), purser.None{}); err != nil {
		t.Errorf("the new token: %v", err)
	}
	// The old refresh token is a copy in a thief's hand.
	old.Expiry = time.Now().Add(-time.Minute)
	var refused *oauth2.RetrieveError
	if _, err := cfg.TokenSource(t.Context(), &old).Token(); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("a reused refresh token: %v", err)
	}
	if _, err := dial(t, d.s, fresh.AccessToken).Whoami(t.Context(), purser.None{}); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("after the reuse: %v", err)
	}
}

func TestTheMCPSDKsClientConnectsByItselfOnceAPersonAgrees(t *testing.T) {
	d := openDesk(t, map[string]any{"clients.local_documents": true})
	var document *httptest.Server
	document = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"client_id": document.URL + "/client.json", "client_name": "SDK", "redirect_uris": []string{"http://127.0.0.1/cb"}})
	}))
	defer document.Close()
	for name, cfg := range map[string]auth.AuthorizationCodeHandlerConfig{
		"by registering": {DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "SDK", RedirectURIs: []string{redirect}, GrantTypes: []string{"authorization_code", "refresh_token"}},
		}},
		"by its document": {ClientIDMetadataDocumentConfig: &auth.ClientIDMetadataDocumentConfig{URL: document.URL + "/client.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			var granted purser.Granted
			cfg.RedirectURL = redirect
			cfg.AuthorizationCodeFetcher = func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
				id, resp := d.open(args.URL)
				if !strings.HasPrefix(id, "aut_") {
					return nil, fmt.Errorf("the browser is sent to %s (%d)", resp.Header.Get("Location"), resp.StatusCode)
				}
				granted = d.grant(id)
				q := query(t, granted.Redirect)
				return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
			}
			if name == "by its document" {
				// The SDK takes https only, as it must; what it does with the address is
				// the same, so the test hands it over as a client that is known already.
				cfg.PreregisteredClient = &oauthex.ClientCredentials{ClientID: cfg.ClientIDMetadataDocumentConfig.URL}
				cfg.ClientIDMetadataDocumentConfig = nil
			}
			handler, err := auth.NewAuthorizationCodeHandler(&cfg)
			if err != nil {
				t.Fatal(err)
			}
			session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
				&mcp.StreamableClientTransport{Endpoint: d.s.URL() + "/mcp", OAuthHandler: handler, DisableStandaloneSSE: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = session.Close() }()
			result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami", Arguments: map[string]any{}})
			if err != nil || result.IsError {
				t.Fatalf("%v %+v", err, result)
			}
			me, _ := result.StructuredContent.(map[string]any)
			if me["kind"] != "agent" || me["run"] != granted.Run.ID {
				t.Errorf("the client is %v", me)
			}
			stop, err := d.person.Stop(t.Context(), purser.Stop{Scope: "run", ID: granted.Run.ID, Reason: "enough"})
			if err != nil {
				t.Fatal(err)
			}
			result, err = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami", Arguments: map[string]any{}})
			if err != nil || !result.IsError || result.StructuredContent.(map[string]any)["code"] != "stopped" {
				t.Errorf("after the stop %s the client hears %v %+v", stop.ID, err, result)
			}
		})
	}
}

func TestTheServerSaysWhereToAskForAToken(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	for path, at := range map[string]string{"/mcp": "/mcp", "/v1/whoami": "/v1"} {
		resp, err := http.Get(d.s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		want := `Bearer realm="purser", resource_metadata="` + d.s.URL() + "/.well-known/oauth-protected-resource" + at + `"`
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
		meta, err := oauthex.GetProtectedResourceMetadata(t.Context(), d.s.URL()+"/.well-known/oauth-protected-resource"+at, d.s.URL()+at, http.DefaultClient)
		if err != nil || len(meta.AuthorizationServers) != 1 || meta.AuthorizationServers[0] != d.s.URL() {
			t.Errorf("%s: %+v %v", at, meta, err)
		}
	}
	server, err := oauthex.GetAuthServerMeta(t.Context(), d.s.URL()+"/.well-known/oauth-authorization-server", d.s.URL(), http.DefaultClient)
	if err != nil || len(server.CodeChallengeMethodsSupported) != 1 || server.CodeChallengeMethodsSupported[0] != "S256" {
		t.Errorf("%+v %v", server, err)
	}
	// What is signed can be checked by anybody who has the key set.
	_, token, _ := d.connected(d.s.URL() + "/mcp")
	keys := oidc.NewRemoteKeySet(t.Context(), d.s.URL()+"/oauth/jwks")
	verifier := oidc.NewVerifier(d.s.URL(), keys, &oidc.Config{ClientID: d.s.URL() + "/mcp", SupportedSigningAlgs: []string{"ES256"}})
	if _, err := verifier.Verify(t.Context(), token.AccessToken); err != nil {
		t.Errorf("by the key set: %v", err)
	}
}

func TestATokenForOneDoorIsNoTokenAtAnother(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	_, token, _ := d.connected(d.s.URL() + "/mcp")
	if _, err := dial(t, d.s, token.AccessToken).Whoami(t.Context(), purser.None{}); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("at /v1: %v", err)
	}
	tools(t, d.s.URL(), token.AccessToken)
	page, err := d.person.AuditLog(t.Context(), purser.AskAudit{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(fmt.Sprint(page.Records), "another resource") {
		t.Error("it is not on the record")
	}
}

func TestAWrongAuthorizationRequestIsNeverAnsweredElsewhere(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	local, far := d.register("http://127.0.0.1/cb"), d.register("https://client.example/cb")
	sum := oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())
	whole := url.Values{
		"response_type": {"code"}, "client_id": {local}, "redirect_uri": {redirect}, "code_challenge": {sum}, "code_challenge_method": {"S256"}, "state": {"s1"},
	}
	for name, tt := range map[string]struct {
		change func(url.Values)
		error  string // at the client's redirect; empty: a page
	}{
		"unknown client":     {func(v url.Values) { v.Set("client_id", "cli_x") }, ""},
		"another's redirect": {func(v url.Values) { v.Set("redirect_uri", "https://client.example/cb") }, ""},
		"javascript":         {func(v url.Values) { v.Set("redirect_uri", "javascript:alert(1)") }, ""},
		"user name":          {func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:51004@evil.example/cb") }, ""},
		"fragment":           {func(v url.Values) { v.Set("redirect_uri", redirect+"#x") }, ""},
		"no redirect":        {func(v url.Values) { v.Del("redirect_uri") }, ""},
		"repeated redirect":  {func(v url.Values) { v.Add("redirect_uri", redirect) }, ""},
		"repeated state":     {func(v url.Values) { v.Add("state", "s2") }, ""},
		"no PKCE":            {func(v url.Values) { v.Del("code_challenge") }, "invalid_request"},
		"PKCE plain":         {func(v url.Values) { v.Set("code_challenge_method", "plain") }, "invalid_request"},
		"implicit":           {func(v url.Values) { v.Set("response_type", "token") }, "unsupported_response_type"},
		"another server":     {func(v url.Values) { v.Set("resource", "https://mcp.example/mcp") }, "invalid_target"},
		"no PKCE at a far address": {func(v url.Values) {
			v.Set("client_id", far)
			v.Set("redirect_uri", "https://client.example/cb")
			v.Del("code_challenge")
		}, ""},
	} {
		v, err := url.ParseQuery(whole.Encode())
		if err != nil {
			t.Fatal(err)
		}
		tt.change(v)
		_, resp := d.open(d.s.URL() + "/oauth/authorize?" + v.Encode())
		location := resp.Header.Get("Location")
		if tt.error == "" {
			if resp.StatusCode < 400 || location != "" {
				t.Errorf("%s: %d %s", name, resp.StatusCode, location)
			}
			continue
		}
		q := query(t, location)
		if !strings.HasPrefix(location, redirect+"?") || q.Get("error") != tt.error || q.Get("state") != "s1" || q.Get("iss") != d.s.URL() || q.Has("code") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, location)
		}
	}
	id, resp := d.open(d.s.URL() + "/oauth/authorize?" + whole.Encode())
	if !strings.HasPrefix(id, "aut_") {
		t.Errorf("the right one: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
}

func TestNoCredentialOpensThePageOfConsent(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	_, token, _ := d.connected(d.s.URL())
	for name, bearer := range map[string]string{"an agent": token.AccessToken, "a person's token on a disk": d.token} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.s.URL()+"/oauth/authorize?client_id=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := alone.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	page, err := d.person.AuditLog(t.Context(), purser.AskAudit{})
	if err != nil || !strings.Contains(fmt.Sprint(page.Records), "show_authorization") {
		t.Errorf("an agent at the page is not on the record: %v", err)
	}
}

func TestTheTokenEndpointTakesOneFormOnly(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	id := d.register("http://127.0.0.1/cb")
	good := url.Values{"grant_type": {"authorization_code"}, "client_id": {id}, "code": {"x"}, "redirect_uri": {redirect}, "code_verifier": {oauth2.GenerateVerifier()}}
	for name, tt := range map[string]struct {
		send  func() (*http.Response, string)
		code  int
		error string
	}{
		"an unknown code": {func() (*http.Response, string) {
			return d.post("/oauth/token", "application/x-www-form-urlencoded", good.Encode(), "")
		}, 400, "invalid_grant"},
		"JSON": {func() (*http.Response, string) { return d.post("/oauth/token", "application/json", "{}", "") }, 400, "invalid_request"},
		"in the query": {func() (*http.Response, string) {
			return d.post("/oauth/token?"+good.Encode(), "application/x-www-form-urlencoded", "", "")
		}, 400, "invalid_request"},
		"a repeated member": {func() (*http.Response, string) {
			return d.post("/oauth/token", "application/x-www-form-urlencoded", good.Encode()+"&code=y", "")
		}, 400, "invalid_request"},
		"no client": {func() (*http.Response, string) {
			return d.post("/oauth/token", "application/x-www-form-urlencoded", "grant_type=authorization_code&code=x", "")
		}, 400, "invalid_request"},
		"an unknown client": {func() (*http.Response, string) {
			return d.post("/oauth/token", "application/x-www-form-urlencoded", "grant_type=authorization_code&code=x&client_id=cli_x", "")
		}, 401, "invalid_client"},
		"a password": {func() (*http.Response, string) {
			return d.post("/oauth/token", "application/x-www-form-urlencoded", "grant_type=password&client_id="+id, "")
		}, 400, "unsupported_grant_type"},
		"a device for another client": {func() (*http.Response, string) {
			return d.post("/oauth/device", "application/x-www-form-urlencoded", "client_id="+id, "")
		}, 400, "unauthorized_client"},
		"a large body": {func() (*http.Response, string) {
			return d.post("/oauth/token", "application/x-www-form-urlencoded", strings.Repeat("a", 70<<10), "")
		}, 413, "invalid_request"},
	} {
		resp, body := tt.send()
		var out map[string]string
		if err := json.Unmarshal([]byte(body), &out); err != nil || resp.StatusCode != tt.code || out["error"] != tt.error || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
}

func TestRevocationAndIntrospectionAreAnsweredOverHTTP(t *testing.T) {
	inTurn(t)
	d := openDesk(t, nil)
	cfg, token, granted := d.connected(d.s.URL())
	if resp, out := d.form("/oauth/introspect", url.Values{"token": {token.AccessToken}}, d.token); resp.StatusCode != 200 || out["active"] != true || out["run"] != granted.Run.ID {
		t.Errorf("introspecting: %d %v", resp.StatusCode, out)
	}
	if resp, _ := d.form("/oauth/introspect", url.Values{"token": {token.AccessToken}}, ""); resp.StatusCode != 401 {
		t.Errorf("a stranger introspects: %d", resp.StatusCode)
	}
	if resp, _ := d.form("/oauth/revoke", url.Values{"token": {token.RefreshToken}, "client_id": {cfg.ClientID}}, ""); resp.StatusCode != 200 {
		t.Errorf("revoking: %d", resp.StatusCode)
	}
	if resp, out := d.form("/oauth/introspect", url.Values{"token": {token.AccessToken}}, d.token); resp.StatusCode != 200 || out["active"] != false {
		t.Errorf("after it: %d %v", resp.StatusCode, out)
	}
	if resp, _ := d.form("/oauth/revoke", url.Values{"token": {"unknown"}, "client_id": {cfg.ClientID}}, ""); resp.StatusCode != 200 {
		t.Errorf("revoking nothing: %d", resp.StatusCode)
	}
}

func TestThirtyRedemptionsOverHTTPGiveOneToken(t *testing.T) {
	d := openDesk(t, nil)
	cfg, verifier := d.oauth2Config(d.register("http://127.0.0.1/cb")), oauth2.GenerateVerifier()
	id, _ := d.open(cfg.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
	code := query(t, d.grant(id).Redirect).Get("code")
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for range 30 {
		wg.Go(func() {
			if _, err := cfg.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n != 1 {
		t.Errorf("%d tokens", n)
	}
}

func TestADeviceSignsInByXOAuth2(t *testing.T) {
	d := openDesk(t, nil)
	cfg := d.oauth2Config("purser-cli")
	asked, err := cfg.DeviceAuth(t.Context(), oauth2.SetAuthURLParam("device_name", "laptop"))
	if err != nil || asked.Interval != 5 || asked.VerificationURI != d.s.URL()+"/device" || !strings.HasSuffix(asked.VerificationURIComplete, asked.UserCode) {
		t.Fatalf("%+v %v", asked, err)
	}
	who, err := d.s.parts.office.Authenticate(t.Context(), d.token, "test")
	if err != nil {
		t.Fatal(err)
	}
	who.Session, who.Key = true, rand.Text()
	if _, err := d.s.parts.office.ConfirmDevice(t.Context(), who, purser.DeviceRef{Code: asked.UserCode}); err != nil {
		t.Fatal(err)
	}
	asked.Interval = 1
	token, err := cfg.DeviceAccessToken(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	if me, err := dial(t, d.s, token.AccessToken).Whoami(t.Context(), purser.None{}); err != nil || me.Kind != purser.Person {
		t.Errorf("the device is %+v %v", me, err)
	}
}
