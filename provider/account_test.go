package provider_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

// withConsent is a provider with a session: the cookie names who is signed in.
func withConsent(c *provider.Config) {
	c.Secrets = nil
	c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret}, CallbackURL: "https://orchestrator.example/callback?kept=1"}}
	c.Hooks.SignedIn = func(r *http.Request) (string, bool) {
		cookie, err := r.Cookie("who")
		if err != nil {
			return "", false
		}
		return cookie.Value, true
	}
	c.Hooks.LoginURL = func(back string) string { return "https://seller.example/login?back=" + url.QueryEscape(back) }
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func TestAnExistingAccountIsLinkedByItsPersonOnly(t *testing.T) {
	r := newRig(t, withConsent)
	r.connect("ann@example.com")
	request := r.request("acctreq_consent", "Ann@Example.com")
	answer, err := r.client.AccountRequest(t.Context(), request)
	if err != nil || answer.Type != app.AnswerRequiresAuth {
		t.Fatalf("%+v, %v; want requires_auth", answer, err)
	}
	again, err := r.client.AccountRequest(t.Context(), request)
	if err != nil || again.RequiresAuth.Target() != answer.RequiresAuth.Target() {
		t.Errorf("a repeat sends elsewhere: %v, %v", again, err)
	}
	page := strings.TrimPrefix(answer.RequiresAuth.Target(), r.server.URL)
	state := request.ConfirmationSecret

	if status, header, _ := r.raw("GET", page, "", nil); status != http.StatusFound || !strings.HasPrefix(header.Get("Location"), "https://seller.example/login?back=") {
		t.Errorf("nobody signed in: %d %s, want the login page", status, header.Get("Location"))
	}
	if status, _, _ := r.raw("GET", page, "", map[string]string{"Cookie": "who=mallory@example.com"}); status != http.StatusForbidden {
		t.Errorf("another person: %d, want 403", status)
	}
	status, header, body := r.raw("GET", page, "", map[string]string{"Cookie": "who=ann@example.com"})
	csrf := csrfField.FindStringSubmatch(body)
	if status != http.StatusOK || csrf == nil || header.Get("X-Frame-Options") != "DENY" {
		t.Fatalf("the page: %d %s", status, body)
	}
	form := func(fields ...string) string {
		values := url.Values{"state": {state}, "csrf": {csrf[1]}, "decision": {"approve"}}
		for i := 0; i < len(fields); i += 2 {
			values.Set(fields[i], fields[i+1])
		}
		return values.Encode()
	}
	post := func(body, who string) (int, http.Header) {
		status, header, _ := r.raw("POST", "/app/consent", body, map[string]string{
			"Cookie": "who=" + who, "Content-Type": "application/x-www-form-urlencoded",
		})
		return status, header
	}
	for name, try := range map[string]struct {
		body, who string
		want      int
	}{
		"another person":    {form(), "mallory@example.com", http.StatusForbidden},
		"a forged form":     {form("csrf", "forged"), "ann@example.com", http.StatusForbidden},
		"an unknown state":  {form("state", "cs_other"), "ann@example.com", http.StatusNotFound},
		"no decision":       {form("decision", ""), "ann@example.com", http.StatusBadRequest},
		"an odd decision":   {form("decision", "maybe"), "ann@example.com", http.StatusBadRequest},
		"a malformed state": {form("state", "<script>"), "ann@example.com", http.StatusNotFound},
	} {
		if status, _ := post(try.body, try.who); status != try.want {
			t.Errorf("%s: %d, want %d", name, status, try.want)
		}
	}
	status, header = post(form(), "ann@example.com")
	target, err := url.Parse(header.Get("Location"))
	if err != nil || status != http.StatusSeeOther || target.Host != "orchestrator.example" || target.Query().Get("state") != state || target.Query().Get("kept") != "1" {
		t.Fatalf("approved: %d %s", status, header.Get("Location"))
	}
	token, err := r.client.Exchange(t.Context(), target.Query().Get("code"), verifier)
	if err != nil || token.Account.LinkAction != "linked_existing" || token.Account.PrimaryEmail != "ann@example.com" {
		t.Errorf("%+v, %v", token.Account, err)
	}
	if status, _ := post(form(), "ann@example.com"); status != http.StatusNotFound {
		t.Errorf("the state was not consumed: %d", status)
	}
	if answer, err := r.client.AccountRequest(t.Context(), request); err != nil || answer.Type != app.AnswerOAuth {
		t.Errorf("a repeat after the approval: %+v, %v; want oauth", answer, err)
	}
}

func TestARefusedConsentTellsTheOrchestrator(t *testing.T) {
	r := newRig(t, withConsent)
	r.connect("ann@example.com")
	request := r.request("acctreq_refuse", "ann@example.com")
	answer, err := r.client.AccountRequest(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	who := map[string]string{"Cookie": "who=ann@example.com"}
	_, _, body := r.raw("GET", strings.TrimPrefix(answer.RequiresAuth.Target(), r.server.URL), "", who)
	who["Content-Type"] = "application/json"
	status, _, body := r.raw("POST", "/app/consent",
		`{"state":"`+request.ConfirmationSecret+`","csrf":"`+csrfField.FindStringSubmatch(body)[1]+`","decision":"deny"}`, who)
	if status != http.StatusOK || !strings.Contains(body, "error=access_denied") || strings.Contains(body, "code=") {
		t.Errorf("%d %s; want a redirect_url with access_denied and no code", status, body)
	}
}

func TestAConsentIsPendingTenMinutes(t *testing.T) {
	r := newRig(t, withConsent)
	r.connect("ann@example.com")
	answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_slow", "ann@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	r.clock.pass(601 * time.Second)
	_, header, _ := r.raw("GET", strings.TrimPrefix(answer.RequiresAuth.Target(), r.server.URL), "", map[string]string{"Cookie": "who=ann@example.com"})
	if to := header.Get("Location"); to != "https://seller.example/?error=expired_or_invalid_state" {
		t.Errorf("sent to %q", to)
	}
}

func TestSilentLinkingNeedsTheSettingAndAVerifiedEmail(t *testing.T) {
	for _, test := range []struct {
		title    string
		silent   bool
		verified []string
		want     string
	}{
		{"both", true, []string{"email"}, app.AnswerOAuth},
		{"not the setting", false, []string{"email"}, app.AnswerRequiresAuth},
		{"not verified", true, []string{"name"}, app.AnswerRequiresAuth},
	} {
		t.Run(test.title, func(t *testing.T) {
			r := newRig(t, func(c *provider.Config) {
				c.Secrets = nil
				c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret}, SilentExisting: test.silent}}
			})
			r.connect("ann@example.com")
			request := r.request("acctreq_again", "ann@example.com")
			request.KYC.VerifiedFields = test.verified
			if answer, err := r.client.AccountRequest(t.Context(), request); err != nil || answer.Type != test.want {
				t.Errorf("%+v, %v; want %s", answer, err, test.want)
			}
		})
	}
}

func TestATokenServesOnlyTheOrchestratorItWasIssuedTo(t *testing.T) {
	r := newRig(t, func(c *provider.Config) {
		c.Orchestrators = []provider.Orchestrator{{Name: "other", Secrets: []string{"the other secret"}}}
	})
	token := r.connect("ann@example.com")
	other := r.orchestrator("the other secret")
	if _, err := other.Get(t.Context(), app.Call{Bearer: token.AccessToken}, "res_1"); code(err) != app.CodeUnauthorized {
		t.Errorf("its bearer: %v, want unauthorized", err)
	}
	if _, err := other.Refresh(t.Context(), token.RefreshToken); code(err) != app.CodeInvalidGrant {
		t.Errorf("its refresh token: %v, want invalid_grant", err)
	}
	if _, err := r.client.Refresh(t.Context(), token.RefreshToken); err != nil {
		t.Errorf("the refresh token no longer works at its own: %v", err)
	}
}

// bookWith is an account book that can lose answers.
type bookWith struct {
	provider.Accounts
	create func(context.Context, provider.NewAccount) (provider.Account, error)
	off    bool
}

func (b *bookWith) Create(ctx context.Context, a provider.NewAccount) (provider.Account, error) {
	if b.create != nil {
		return b.create(ctx, a)
	}
	return b.Accounts.Create(ctx, a)
}

func (b *bookWith) Account(ctx context.Context, id string) (provider.Account, error) {
	a, err := b.Accounts.Account(ctx, id)
	a.Active = a.Active && !b.off
	return a, err
}

func TestAnAccountRequestInterruptedAfterTheAccountWasMadeIsFinished(t *testing.T) {
	store := provider.NewMemoryStore()
	book := &bookWith{Accounts: provider.NewAccountBook(store)}
	r := newRig(t, func(c *provider.Config) { c.Store, c.Hooks.Accounts = store, book })
	book.create = func(ctx context.Context, a provider.NewAccount) (provider.Account, error) {
		if _, err := book.Accounts.Create(ctx, a); err != nil {
			return provider.Account{}, err
		}
		return provider.Account{}, errors.New("answer lost")
	}
	if _, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com")); !unknown(err) {
		t.Fatalf("answered %v, want an unknown outcome", err)
	}
	book.create = nil
	// Another request for the same email must not get the account that way.
	if answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_2", "ann@example.com")); err != nil || answer.Type != app.AnswerRequiresAuth {
		t.Errorf("another request: %+v, %v; want requires_auth", answer, err)
	}
	if answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com")); err != nil || answer.Type != app.AnswerOAuth {
		t.Errorf("the retry: %+v, %v; want oauth", answer, err)
	}
}

func TestAnInterruptedRequestDoesNotGetAnAccountThatAnotherMade(t *testing.T) {
	store := provider.NewMemoryStore()
	book := &bookWith{Accounts: provider.NewAccountBook(store)}
	r := newRig(t, func(c *provider.Config) { c.Store, c.Hooks.Accounts = store, book })
	book.create = func(context.Context, provider.NewAccount) (provider.Account, error) {
		return provider.Account{}, errors.New("not made")
	}
	if _, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com")); !unknown(err) {
		t.Fatalf("answered %v, want an unknown outcome", err)
	}
	book.create = nil
	r.connect("ann@example.com")
	if answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com")); err != nil || answer.Type != app.AnswerRequiresAuth {
		t.Errorf("the retry: %+v, %v; want requires_auth", answer, err)
	}
}

func TestACreationConflictTakesTheExistingBranchOrFails(t *testing.T) {
	store := provider.NewMemoryStore()
	book := &bookWith{Accounts: provider.NewAccountBook(store)}
	r := newRig(t, func(c *provider.Config) { c.Store, c.Hooks.Accounts = store, book })
	book.create = func(context.Context, provider.NewAccount) (provider.Account, error) {
		return provider.Account{}, provider.ErrAccountExists
	}
	if _, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com")); code(err) != app.CodeAccountCreation {
		t.Errorf("a conflict with nobody: %v, want account_creation_failed", err)
	}
	book.create = func(ctx context.Context, a provider.NewAccount) (provider.Account, error) {
		a.RequestKey = "" // somebody else was faster
		if _, err := book.Accounts.Create(ctx, a); err != nil {
			return provider.Account{}, err
		}
		return provider.Account{}, provider.ErrAccountExists
	}
	if answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_2", "bob@example.com")); err != nil || answer.Type != app.AnswerRequiresAuth {
		t.Errorf("a conflict with somebody: %+v, %v; want requires_auth", answer, err)
	}
}

func TestADeactivatedUserLosesBearerAndRefresh(t *testing.T) {
	store := provider.NewMemoryStore()
	book := &bookWith{Accounts: provider.NewAccountBook(store)}
	r := newRig(t, func(c *provider.Config) { c.Store, c.Hooks.Accounts = store, book })
	token := r.connect("ann@example.com")
	book.off = true
	if _, err := r.client.Get(t.Context(), app.Call{Bearer: token.AccessToken}, "res_1"); code(err) != app.CodeUnauthorized {
		t.Errorf("bearer: %v", err)
	}
	if _, err := r.client.Refresh(t.Context(), token.RefreshToken); code(err) != app.CodeInvalidGrant {
		t.Errorf("refresh: %v", err)
	}
}

func TestRevokedSessionsEndCodesAndTokens(t *testing.T) {
	r := newRig(t, nil)
	token := r.connect("ann@example.com")
	answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_open", "bob@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.p.RevokeSessions(t.Context(), "purser"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Get(t.Context(), app.Call{Bearer: token.AccessToken}, "res_1"); code(err) != app.CodeUnauthorized {
		t.Errorf("bearer: %v", err)
	}
	if _, err := r.client.Refresh(t.Context(), token.RefreshToken); code(err) != app.CodeInvalidGrant {
		t.Errorf("refresh: %v", err)
	}
	if _, err := r.client.Exchange(t.Context(), answer.OAuth.Code, verifier); code(err) != app.CodeInvalidGrant {
		t.Errorf("code: %v", err)
	}
	r.connect("eve@example.com") // new ones work
}

func TestAccessTokensEndAfterAnHourAndSurviveARestart(t *testing.T) {
	r := newRig(t, nil)
	token := r.connect("ann@example.com")
	r.restart()
	call := app.Call{Bearer: token.AccessToken}
	if _, err := r.client.Get(t.Context(), call, "res_1"); code(err) != app.CodeForbidden {
		t.Errorf("after a restart: %v, want forbidden (an unknown resource, a known bearer)", err)
	}
	r.clock.pass(time.Hour)
	if _, err := r.client.Get(t.Context(), call, "res_1"); code(err) != app.CodeUnauthorized {
		t.Errorf("after an hour: %v, want unauthorized", err)
	}
}

func TestLimitsAnswerInTheRoutesEnvelopeWithRetryAfter(t *testing.T) {
	r := newRig(t, func(c *provider.Config) {
		c.Secrets = nil
		c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret}, Limits: provider.Limits{AccountRequests: 2, TokenExchanges: 1, ResourceCreates: 1}}}
	})
	token := r.connect("ann@example.com")
	call := app.Call{Bearer: token.AccessToken}
	in := app.CreateRequest{ServiceID: "free"}
	if _, err := r.client.Create(t.Context(), call, in); err != nil {
		t.Fatal(err)
	}
	answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_2", "bob@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	_, created := r.client.Create(t.Context(), call, in)
	_, exchanged := r.client.Exchange(t.Context(), answer.OAuth.Code, verifier)
	_, asked := r.client.AccountRequest(t.Context(), r.request("acctreq_3", "eve@example.com"))
	for name, got := range map[string]struct {
		err      error
		envelope app.Envelope
	}{
		"create": {created, app.EnvelopeStatus}, "token": {exchanged, app.EnvelopeTyped}, "account": {asked, app.EnvelopeTyped},
	} {
		var e *app.Error
		if !errors.As(got.err, &e) || e.Code != app.CodeRateLimited || e.HTTPStatus != 429 || e.Envelope != got.envelope || e.RetryAfter <= 0 {
			t.Errorf("%s: %v, want 429 in the %s envelope with Retry-After", name, got.err, got.envelope)
		}
	}
	if _, err := r.client.Exchange(t.Context(), answer.OAuth.Code, verifier); code(err) != app.CodeInvalidGrant {
		t.Errorf("a limited exchange burns the code, but: %v", err)
	}
}

func TestTheGlobalThrottleAsksForThirtySeconds(t *testing.T) {
	r := newRig(t, func(c *provider.Config) { c.GlobalPerMinute = 1 })
	_, _ = r.client.Health(t.Context())
	_, err := r.client.Health(t.Context())
	var e *app.Error
	if !errors.As(err, &e) || e.Code != app.CodeRateLimited || e.Envelope != app.EnvelopeFlat || e.RetryAfter != 30*time.Second {
		t.Errorf("%v, want a flat 429 with Retry-After 30", err)
	}
}

func TestTheEdDSASignatureIsLookedAtAsConfigured(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		title string
		mode  provider.Mode
		key   *app.Key
		want  string
	}{
		{"log accepts none", provider.Log, nil, ""},
		{"log accepts an unknown key", provider.Log, &app.Key{ID: "k2", Private: private}, ""},
		{"require refuses none", provider.Require, nil, app.CodeInvalidSignature},
		{"require refuses an unknown key", provider.Require, &app.Key{ID: "k2", Private: private}, app.CodeInvalidSignature},
		{"require accepts a known key", provider.Require, &app.Key{ID: "k1", Private: private}, ""},
		{"off does not look", provider.Off, &app.Key{ID: "k2", Private: private}, ""},
	} {
		t.Run(test.title, func(t *testing.T) {
			r := newRig(t, func(c *provider.Config) {
				c.Secrets = nil
				c.Orchestrators = []provider.Orchestrator{{
					Name: "purser", Secrets: []string{secret}, V2: test.mode,
					PublicKey: func(_ context.Context, kid string) (ed25519.PublicKey, bool) { return public, kid == "k1" },
				}}
			})
			signer, err := app.NewSigner(app.SignerConfig{Secrets: []string{secret}, Key: test.key, Now: r.clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			client, err := app.NewClient(app.ClientConfig{BaseURL: r.server.URL + "/app", TokenURL: r.server.URL + "/app/oauth/token", Signer: signer})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Health(t.Context()); code(err) != test.want {
				t.Errorf("answered %v, want %q", err, test.want)
			}
		})
	}
}

func TestARepeatedSignatureIsRefusedWhereAsked(t *testing.T) {
	r := newRig(t, func(c *provider.Config) {
		c.Secrets = nil
		c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret}, Replay: provider.Require}}
	})
	token := r.connect("ann@example.com").AccessToken
	made, err := r.client.Create(t.Context(), app.Call{Bearer: token}, app.CreateRequest{ServiceID: "free"})
	if err != nil {
		t.Fatal(err)
	}
	send := func(path, body, bearer, key string, at int64) int {
		header := map[string]string{
			app.HeaderVersion: app.Version, "Authorization": "Bearer " + bearer,
			app.HeaderSignature: app.SignatureHeader([]string{secret}, at, []byte(body)),
		}
		if key != "" {
			header[app.HeaderIdempotencyKey] = key
		}
		status, _, _ := r.raw("POST", path, body, header)
		return status
	}
	now := r.clock.Now().Unix()
	create := "/app/provisioning/resources"
	for _, step := range []struct {
		title      string
		path, body string
		key        string
		at         int64
		want       int
	}{
		{"the first", create, `{"service_id":"free"}`, "", now - 10, 200},
		{"the same again", create, `{"service_id":"free"}`, "", now - 10, 401},
		{"signed afresh", create, `{"service_id":"free"}`, "", now - 11, 200},
		{"with a key", create, `{"service_id":"free","environment":"dev"}`, "k1", now - 12, 200},
		{"the same with its key", create, `{"service_id":"free","environment":"dev"}`, "k1", now - 12, 200},
		{"moved to another path", create + "/" + made.ID + "/remove", `{"service_id":"free"}`, "", now - 10, 401},
		{"a removal", create + "/" + made.ID + "/remove", `{}`, "", now - 13, 200},
		{"the same removal", create + "/" + made.ID + "/remove", `{}`, "", now - 13, 200},
	} {
		if got := send(step.path, step.body, token, step.key, step.at); got != step.want {
			t.Errorf("%s: HTTP %d, want %d", step.title, got, step.want)
		}
	}
}

func TestCredentialsAreHandedOverWhereConfigured(t *testing.T) {
	r := newRig(t, func(c *provider.Config) {
		c.Secrets = nil
		c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret}, Credentials: true}}
	})
	ask := func() string {
		answer, err := r.client.AccountRequest(t.Context(), r.request("acctreq_1", "ann@example.com"))
		if err != nil || answer.Type != app.AnswerCredentials {
			t.Fatalf("%+v, %v", answer, err)
		}
		return answer.Credentials.Bearer.AccessToken
	}
	first := ask()
	second := ask()
	if _, err := r.client.Get(t.Context(), app.Call{Bearer: first}, "res_1"); code(err) != app.CodeUnauthorized {
		t.Errorf("the earlier pair: %v, want it revoked", err)
	}
	if _, err := r.client.Get(t.Context(), app.Call{Bearer: second}, "res_1"); code(err) != app.CodeForbidden {
		t.Errorf("the fresh pair: %v, want it known", err)
	}
}

func TestClientCredentialsAreCheckedWhenPresented(t *testing.T) {
	r := newRig(t, func(c *provider.Config) {
		c.Secrets = nil
		c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret}, ClientID: "purser", ClientSecret: "p:s+s"}}
	})
	for _, test := range []struct{ id, secret, want string }{
		{"purser", "p:s+s", ""}, {"", "", ""}, {"purser", "wrong", app.CodeInvalidClient}, {"other", "p:s+s", app.CodeInvalidClient},
	} {
		client, err := app.NewClient(app.ClientConfig{
			BaseURL: r.server.URL + "/app", TokenURL: r.server.URL + "/app/oauth/token", Signer: r.signer, Account: "a",
			ClientID: test.id, ClientSecret: test.secret,
		})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.AccountRequest(t.Context(), r.request("acctreq_"+test.id+test.want, "ann"+test.id+test.want+"@example.com"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Exchange(t.Context(), answer.OAuth.Code, verifier); code(err) != test.want {
			t.Errorf("%q %q: %v, want %q", test.id, test.secret, err, test.want)
		}
	}
}
