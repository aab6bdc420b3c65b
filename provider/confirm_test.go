package provider_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

// listener is an orchestrator that is told decisions (9.7); it may be made to fail.
type listener struct {
	mu     sync.Mutex
	status int
	heard  []map[string]string
	auth   string
	path   string
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var body map[string]string
	_ = json.NewDecoder(r.Body).Decode(&body)
	l.auth, l.path = r.Header.Get("Authorization"), r.URL.EscapedPath()
	l.heard = append(l.heard, body)
	w.WriteHeader(l.status)
	_, _ = io.WriteString(w, `{}`)
}

func (l *listener) answers(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = status
}

// waiting is the request that waits for consent; its id needs escaping in a URL.
func waiting(r *rig) app.AccountRequest {
	in := r.request("acctreq_b", "ann@example.com")
	in.ID = "acctreq_b/1"
	return in
}

// consents is a rig whose person is signed in, with an account of hers and a
// request that waits. decide answers it.
func consents(t *testing.T, l *listener) (r *rig, decide func(decision string) *httptest.ResponseRecorder) {
	t.Helper()
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	r = newRig(t, func(c *provider.Config) {
		c.Orchestrators = []provider.Orchestrator{{
			Name: "purser", Secrets: c.Secrets, ConfirmURL: server.URL + "/v2/provisioning/account_requests/{id}/confirm", ProviderKey: "the provider key",
		}}
		c.Secrets = nil
		c.Hooks.SignedIn = func(*http.Request) (string, bool) { return "ann@example.com", true }
	})
	r.connect("ann@example.com")
	answer, err := r.client.AccountRequest(t.Context(), waiting(r))
	if err != nil || answer.RequiresAuth == nil {
		t.Fatalf("%+v, %v", answer, err)
	}
	target, err := url.Parse(answer.RequiresAuth.Target())
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	r.p.ServeHTTP(page, httptest.NewRequest(http.MethodGet, target.RequestURI(), nil))
	csrf := csrfField.FindStringSubmatch(page.Body.String())
	if csrf == nil {
		t.Fatalf("HTTP %d %s", page.Code, page.Body)
	}
	return r, func(decision string) *httptest.ResponseRecorder {
		form := url.Values{"state": {target.Query().Get("state")}, "csrf": {strings.ReplaceAll(csrf[1], "&#43;", "+")}, "decision": {decision}}
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, "/app/consent", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.p.ServeHTTP(rec, req)
		return rec
	}
}

func TestAnApprovalIsToldToTheOrchestratorWithACodeThatWorks(t *testing.T) {
	l := &listener{status: http.StatusOK}
	r, decide := consents(t, l)
	if rec := decide("approve"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "close this window") {
		t.Fatalf("HTTP %d %s", rec.Code, rec.Body)
	}
	if len(l.heard) != 1 || l.auth != "Bearer the provider key" || l.path != "/v2/provisioning/account_requests/acctreq_b%2F1/confirm" {
		t.Fatalf("heard %v at %s with %q", l.heard, l.path, l.auth)
	}
	told := l.heard[0]
	if told["decision"] != "approved" || told["confirmation_secret"] != waiting(r).ConfirmationSecret {
		t.Errorf("told %v", told)
	}
	if _, err := r.client.Exchange(t.Context(), told["code"], verifier); err != nil {
		t.Errorf("the code told: %v", err)
	}
	if rec := decide("approve"); rec.Code != http.StatusNotFound {
		t.Errorf("again: HTTP %d, want 404: it is used up", rec.Code)
	}
}

func TestADecisionThatCouldNotBeToldIsToldAgainAndNotChanged(t *testing.T) {
	l := &listener{status: http.StatusInternalServerError}
	r, decide := consents(t, l)
	if rec := decide("approve"); rec.Code != http.StatusBadGateway {
		t.Fatalf("HTTP %d, want 502", rec.Code)
	}
	if rec := decide("deny"); rec.Code != http.StatusConflict {
		t.Errorf("the other answer: HTTP %d, want 409", rec.Code)
	}
	// Even untold, the request is answered from now on (9.3).
	answer, err := r.client.AccountRequest(t.Context(), waiting(r))
	if err != nil || answer.Type != app.AnswerOAuth {
		t.Errorf("a repeat: %+v, %v; want oauth", answer, err)
	}
	l.answers(http.StatusOK)
	if rec := decide("approve"); rec.Code != http.StatusOK {
		t.Errorf("told again: HTTP %d %s", rec.Code, rec.Body)
	}
	first, last := l.heard[0]["code"], l.heard[len(l.heard)-1]["code"]
	if _, err := r.client.Exchange(t.Context(), first, verifier); code(err) != app.CodeInvalidGrant {
		t.Errorf("the code of the lost answer: %v, want invalid_grant", err)
	}
	if _, err := r.client.Exchange(t.Context(), last, verifier); err != nil {
		t.Errorf("the code told last: %v", err)
	}
}

func TestADenialIsToldAndTheRequestMayBeAskedAnew(t *testing.T) {
	l := &listener{status: http.StatusOK}
	r, decide := consents(t, l)
	if rec := decide("deny"); rec.Code != http.StatusOK {
		t.Fatalf("HTTP %d %s", rec.Code, rec.Body)
	}
	if told := l.heard[0]; told["decision"] != "denied" || told["code"] != "" || told["error"] != "access_denied" {
		t.Errorf("told %v", told)
	}
	answer, err := r.client.AccountRequest(t.Context(), waiting(r))
	if err != nil || answer.Type != app.AnswerRequiresAuth {
		t.Errorf("asked anew: %+v, %v; want requires_auth", answer, err)
	}
}

func TestADeepLinkEndsAfterTenMinutesAndWithItsAccount(t *testing.T) {
	var r *rig
	sessions := 0
	accounts := provider.NewAccountBook(provider.NewMemoryStore())
	active := true
	r = newRig(t, func(c *provider.Config) {
		c.Manifest.DeepLinkPurposes = []string{"dashboard"}
		c.Hooks.Accounts = verifiedAccounts{accounts, &active}
		c.Hooks.Session = func(http.ResponseWriter, *http.Request, provider.Account) error { sessions++; return nil }
	})
	bearer := r.connect("ann@example.com").AccessToken
	open := func() string {
		link, err := r.client.DeepLink(t.Context(), app.Call{Bearer: bearer}, app.DeepLinkRequest{Path: "/x"})
		if err != nil {
			t.Fatal(err)
		}
		return link.URL
	}
	visit := func(target string) string {
		u, _ := url.Parse(target)
		rec := httptest.NewRecorder()
		r.p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, u.RequestURI(), nil))
		return rec.Header().Get("Location")
	}
	good, late, gone := open(), open(), open()
	if at := visit(good); at != "/x" || sessions != 1 {
		t.Errorf("led to %q with %d sessions, want /x and one", at, sessions)
	}
	active = false
	if at := visit(gone); !strings.Contains(at, "expired_or_invalid_token") || sessions != 1 {
		t.Errorf("of an account that is gone: led to %q with %d sessions", at, sessions)
	}
	active = true
	r.clock.pass(10 * time.Minute)
	if at := visit(late); at != "https://seller.example/?error=expired_or_invalid_token" || sessions != 1 {
		t.Errorf("too late: led to %q with %d sessions", at, sessions)
	}
}

type verifiedAccounts struct {
	provider.Accounts
	active *bool
}

func (v verifiedAccounts) Account(ctx context.Context, id string) (provider.Account, error) {
	a, err := v.Accounts.Account(ctx, id)
	a.EmailVerified, a.Active = true, *v.active
	return a, err
}

func TestWhatExpiredIsDroppedAndNothingElse(t *testing.T) {
	r := newRig(t, nil)
	r.connect("ann@example.com")
	count := func() (n int) {
		err := r.store.View(t.Context(), func(tx provider.Tx) error {
			all, err := tx.List("", "", 1000)
			n = len(all)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	r.clock.pass(91 * 24 * time.Hour)
	if _, err := r.client.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What stays is the account and its email.
	if after := count(); before < 5 || after != 2 {
		t.Errorf("%d records before and %d after, want two left", before, after)
	}
}

func TestAnEmailThatTheProviderVerifiedOpensDeepLinks(t *testing.T) {
	sessions := 0
	r := newRig(t, func(c *provider.Config) {
		c.Manifest.DeepLinkPurposes = []string{"dashboard"}
		c.Hooks.Session = func(http.ResponseWriter, *http.Request, provider.Account) error { sessions++; return nil }
	})
	bearer := r.connect("ann@example.com").AccessToken
	for _, want := range []int{0, 1} {
		link, err := r.client.DeepLink(t.Context(), app.Call{Bearer: bearer}, app.DeepLinkRequest{})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(link.URL)
		if err != nil {
			t.Fatal(err)
		}
		r.p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, u.RequestURI(), nil))
		if sessions != want {
			t.Errorf("%d sessions, want %d", sessions, want)
		}
		if err := r.p.VerifyEmail(t.Context(), "Ann@Example.com"); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.p.VerifyEmail(t.Context(), "nobody@example.com"); !errors.Is(err, provider.ErrNoAccount) {
		t.Errorf("nobody: %v, want ErrNoAccount", err)
	}
}
