package seller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	sdk "github.com/purser-dev/purser/provider"

	"github.com/purser-dev/purser/internal/seal"
)

const signing = "whsec_test"

func newSeller(http http.RoundTripper) *Seller {
	return New(Config{HTTP: http, Now: time.Now, Random: rand.Reader, Origin: func() string { return "http://localhost:1" }, Account: "acct_1"})
}

// registered is a provider at base, e.g. "http://127.0.0.1:1/app/".
func registered(base string) Provider {
	return Provider{Name: "notes", Profile: "purser", Secret: seal.NewSecret(signing), Manifest: app.Manifest{
		Name: "notes", BaseURL: base, OAuthTokenEndpoint: base + "oauth/token",
		Capabilities: []string{app.CapQuotes, app.CapFind, app.CapDeprovision}, PaymentCredentialTypes: []string{app.PaymentSandbox},
	}}
}

// shop is a real provider made with the SDK.
type shop struct {
	Provider
	made atomic.Int64 // resources
}

func openShop(t *testing.T) *shop {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	s := &shop{Provider: registered(server.URL + "/app/")}
	p, err := sdk.New(sdk.Config{
		Manifest: s.Manifest, Secrets: []string{signing}, Store: sdk.NewMemoryStore(),
		Catalog: []app.CatalogService{
			{ID: "free", Description: "Notes", Categories: []string{"notes"}, Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}},
			{ID: "paid", Description: "More notes", Categories: []string{"notes"}, Kind: app.KindDeployable, Pricing: app.Pricing{
				Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "5.00 USD/month"}},
			}},
		},
		Hooks: sdk.Hooks{
			Quote: func(_ context.Context, r sdk.QuoteRequest) (app.Quote, error) {
				return app.Quote{Item: "notes", AmountMinor: 500, Currency: "USD", Interval: "month"}, nil
			},
			Provision: func(context.Context, sdk.Request) (sdk.Provisioned, error) {
				return sdk.Provisioned{AccessConfiguration: map[string]string{"token": fmt.Sprint("secret ", s.made.Add(1))}}, nil
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler = p
	return s
}

func request(id string) app.AccountRequest {
	return app.AccountRequest{ID: id, Email: "ada@example.com", Name: "Ada"}
}

func TestAProviderIsBoughtFromFromLinkToRemove(t *testing.T) {
	shop, s, ctx := openShop(t), newSeller(nil), t.Context()
	services, err := s.Services(ctx, shop.Provider)
	if err != nil || len(services) != 2 || services[0].Reference() != "notes/free" {
		t.Fatalf("services %+v (%v)", services, err)
	}
	linked, err := s.Link(ctx, shop.Provider, request("acctreq_1"))
	token := linked.Token
	if err != nil || token.Account == nil || token.Account.PrimaryEmail != "ada@example.com" {
		t.Fatalf("token %+v (%v)", token.Account, err)
	}
	access := seal.NewSecret(token.AccessToken)
	quote, err := s.Quote(ctx, shop.Provider, access, app.QuoteRequest{ServiceID: "paid"})
	if err != nil || quote.AmountMinor != 500 {
		t.Fatalf("quote %+v (%v)", quote, err)
	}
	order := app.CreateRequest{
		ServiceID: "paid", OrchestratorResourceID: "ord_1", QuoteID: quote.ID,
		Payment: &app.Payment{Type: app.PaymentSandbox, Token: "sbx_1"},
	}
	made, err := s.Create(ctx, shop.Provider, access, "ord_1/1", order)
	if err != nil || made.Status != app.StatusComplete || made.Complete.AccessConfiguration["token"] != "secret 1" {
		t.Fatalf("resource %+v (%v)", made, err)
	}
	again, err := s.Create(ctx, shop.Provider, access, "ord_1/1", order)
	if err != nil || again.ID != made.ID || shop.made.Load() != 1 {
		t.Errorf("the same create again made %q, then %q: %d in all (%v)", made.ID, again.ID, shop.made.Load(), err)
	}
	if got, err := s.Get(ctx, shop.Provider, access, made.ID); err != nil || !cmp.Equal(got.Complete, made.Complete) {
		t.Errorf("get %+v (%v)", got, err)
	}
	if got, found, err := s.Find(ctx, shop.Provider, access, "ord_1"); err != nil || !found || got.ID != made.ID {
		t.Errorf("find %+v %v (%v)", got, found, err)
	}
	if _, found, err := s.Find(ctx, shop.Provider, access, "ord_2"); err != nil || found {
		t.Errorf("an order that was never sent was found: %v (%v)", found, err)
	}
	if all, err := s.List(ctx, shop.Provider, access); err != nil || len(all) != 1 || all[0].ID != made.ID {
		t.Errorf("list %+v (%v)", all, err)
	}
	fresh, err := s.Refresh(ctx, shop.Provider, seal.NewSecret(token.RefreshToken))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, shop.Provider, access, made.ID); purser.CodeOf(err) != purser.ProviderFailure {
		t.Errorf("the old token still reads: %v", err)
	}
	access = seal.NewSecret(fresh.AccessToken)
	if gone, err := s.Remove(ctx, shop.Provider, access, "ord_2/1", made.ID); err != nil || gone.Status != app.StatusRemoved {
		t.Errorf("remove %+v (%v)", gone, err)
	}
}

// losing is a network that does the work and loses the answer.
type losing struct {
	http.RoundTripper
	suffix string // of the paths whose answers are lost
	left   atomic.Int64
}

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, l.suffix) && l.left.Add(-1) >= 0 {
		_ = resp.Body.Close()
		return nil, errors.New("connection reset")
	}
	return resp, err
}

func TestALostAnswerOfALinkIsMadeGoodByTheSameRequest(t *testing.T) {
	for _, path := range []string{"/account_requests", "/token"} {
		t.Run(path, func(t *testing.T) {
			shop := openShop(t)
			network := &losing{RoundTripper: http.DefaultTransport, suffix: path}
			network.left.Store(1)
			if _, err := newSeller(network).Link(t.Context(), shop.Provider, request("acctreq_1")); purser.CodeOf(err) != purser.OutcomeUnknown {
				t.Fatalf("got %v", err)
			}
			// Another process, which knows nothing of the first try, sends it again.
			linked, err := newSeller(nil).Link(t.Context(), shop.Provider, request("acctreq_1"))
			if err != nil || linked.Token.Account.LinkAction == "linked_existing" {
				t.Fatalf("account %+v (%v)", linked.Token.Account, err)
			}
			// The account is there once: another request for it is asked for consent.
			if second, err := newSeller(nil).Link(t.Context(), shop.Provider, request("acctreq_2")); second.Consent == nil {
				t.Errorf("a second request: %+v (%v)", second, err)
			}
		})
	}
}

func TestALostAnswerOfACreateIsUnknownAndFound(t *testing.T) {
	shop := openShop(t)
	linked, err := newSeller(nil).Link(t.Context(), shop.Provider, request("acctreq_1"))
	if err != nil {
		t.Fatal(err)
	}
	access := seal.NewSecret(linked.Token.AccessToken)
	network := &losing{RoundTripper: http.DefaultTransport, suffix: "/resources"}
	network.left.Store(1)
	s := newSeller(network)
	_, err = s.Create(t.Context(), shop.Provider, access, "ord_1/1", app.CreateRequest{ServiceID: "free", OrchestratorResourceID: "ord_1"})
	if purser.CodeOf(err) != purser.OutcomeUnknown {
		t.Fatalf("got %v", err)
	}
	if n := shop.made.Load(); n != 1 {
		t.Fatalf("the seller sent the create %d times: that is for the office to decide", n)
	}
	if _, found, err := s.Find(t.Context(), shop.Provider, access, "ord_1"); err != nil || !found {
		t.Errorf("found %v (%v)", found, err)
	}
}

func TestAnAccountThatIsThereNeedsAPersonAndSaysWhereToGo(t *testing.T) {
	shop, s := openShop(t), newSeller(nil)
	if _, err := s.Link(t.Context(), shop.Provider, request("acctreq_1")); err != nil {
		t.Fatal(err)
	}
	linked, err := s.Link(t.Context(), shop.Provider, request("acctreq_2"))
	c := linked.Consent
	if err != nil || c == nil || !strings.HasPrefix(c.URL, shop.Manifest.BaseURL) || !strings.Contains(c.URL, "state="+c.Secret) || c.State != c.Secret {
		t.Errorf("got %+v (%v)", c, err)
	}
}

func TestNoTwoCallsAtOnceCarryTheSameSignature(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	p, s := script(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Header.Get(app.HeaderSignature)]++
		_, _ = io.WriteString(w, `{"status":"complete","id":"r"}`)
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := s.Create(t.Context(), p, seal.NewSecret("t"), "k", app.CreateRequest{ServiceID: "free"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(seen) != 20 {
		t.Errorf("%d signatures for 20 calls", len(seen))
	}
}

// script is a provider that answers as it is told.
func script(t *testing.T, answer http.HandlerFunc) (Provider, *Seller) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return registered(server.URL + "/"), newSeller(server.Client().Transport)
}

func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func hangsUp(w http.ResponseWriter, _ *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = c.Close()
	}
}

func halfAnAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"status":"comp`)
}

// The one difference that matters: after the left code the office may send again,
// after outcome_unknown it must look first.
func TestEachFailureHasTheCodeThatTellsWhatIsCertain(t *testing.T) {
	const unknown, down, failed = purser.OutcomeUnknown, purser.ProviderDown, purser.ProviderFailure
	for name, c := range map[string]struct {
		answer                http.HandlerFunc
		whenChanging, whenGet purser.Code
	}{
		"hangs up":                    {hangsUp, unknown, down},
		"half an answer":              {halfAnAnswer, unknown, down},
		"no JSON":                     {says(200, "<html>"), unknown, down},
		"no envelope":                 {says(200, "{}"), unknown, down},
		"a page of a proxy":           {says(502, "<html>bad gateway"), unknown, down},
		"a broken provider":           {says(500, `{"error":{"code":"server_error","message":"x"}}`), unknown, down},
		"a framework's words":         {says(500, `{"detail":"x"}`), unknown, down},
		"a redirect":                  {says(302, "", "Location", "/elsewhere"), unknown, down},
		"an error under HTTP 200":     {says(200, `{"status":"error","id":"","error":{"code":"unknown_service","message":"x"}}`), failed, failed},
		"a refusal":                   {says(400, `{"status":"error","id":"","error":{"code":"invalid_request","message":"x"}}`), failed, failed},
		"the wrong envelope":          {says(400, `{"type":"error","error":{"code":"invalid_request","message":"x"}}`), failed, failed},
		"a refusal with a reason":     {says(500, `{"status":"error","id":"r","error":{"code":"remove_failed","message":"x"}}`), failed, failed},
		"not known there":             {says(404, `{"status":"error","id":"r","error":{"code":"not_found","message":"x"}}`), failed, failed},
		"too many requests":           {says(429, `{"status":"error","id":"","error":{"code":"rate_limited","message":"x"}}`, "Retry-After", "7"), down, down},
		"too many, says a proxy":      {says(429, `slow down`, "Retry-After", "7"), down, down},
		"down for a while, it says":   {says(503, `{"error":{"code":"maintenance","message":"x"}}`, "Retry-After", "7"), down, down},
		"another price":               {says(409, `{"status":"error","id":"","error":{"code":"quote_changed","message":"x"}}`), purser.QuoteChanged, purser.QuoteChanged},
		"an old quote":                {says(409, `{"status":"error","id":"","error":{"code":"quote_expired","message":"x"}}`), purser.QuoteExpired, purser.QuoteExpired},
		"no payment":                  {says(400, `{"status":"error","id":"","error":{"code":"requires_payment_credentials","message":"x"}}`), purser.PaymentDeclined, purser.PaymentDeclined},
		"no payment, in older words":  {says(200, `{"status":"error","error":{"code":"billing_activation_failed","message":"x"}}`), purser.PaymentDeclined, purser.PaymentDeclined},
		"a resource that has no name": {says(200, `{"status":"complete"}`), unknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := script(t, c.answer)
			_, err := s.Create(t.Context(), p, seal.NewSecret("t"), "k", app.CreateRequest{ServiceID: "free"})
			check(t, "create", err, c.whenChanging)
			_, err = s.Get(t.Context(), p, seal.NewSecret("t"), "r")
			check(t, "get", err, c.whenGet)
		})
	}
}

func check(t *testing.T, call string, err error, want purser.Code) {
	t.Helper()
	var e *purser.Error
	switch {
	case want == "" && err == nil:
	case !errors.As(err, &e) || e.Code != want:
		t.Errorf("%s: got %v, want %s", call, err, want)
	case strings.Contains(e.Detail+e.Hint, signing):
		t.Errorf("%s: the secret is in %q", call, e.Detail)
	}
}

func TestAProviderThatIsNotThereDidNothing(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	p := registered(server.URL + "/")
	server.Close()
	_, err := newSeller(nil).Create(t.Context(), p, seal.NewSecret("t"), "k", app.CreateRequest{ServiceID: "free"})
	check(t, "create", err, purser.ProviderDown)
}

func TestAProviderThatIsSlowMayHaveActed(t *testing.T) {
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	p, s := script(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
	t.Cleanup(func() { close(release) })
	for call, want := range map[string]purser.Code{"create": purser.OutcomeUnknown, "get": purser.ProviderDown} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		var err error
		if call == "create" {
			_, err = s.Create(ctx, p, seal.NewSecret("t"), "k", app.CreateRequest{ServiceID: "free"})
		} else {
			_, err = s.Get(ctx, p, seal.NewSecret("t"), "r")
		}
		check(t, call, err, want)
	}
}

func TestEveryCallThatReadsIsNeverOfUnknownOutcome(t *testing.T) {
	p, s := script(t, hangsUp)
	access := seal.NewSecret("t")
	for call, f := range map[string]func() error{
		"services": func() error { _, err := s.Services(t.Context(), p); return err },
		"quote":    func() error { _, err := s.Quote(t.Context(), p, access, app.QuoteRequest{ServiceID: "x"}); return err },
		"get":      func() error { _, err := s.Get(t.Context(), p, access, "r"); return err },
		"find":     func() error { _, _, err := s.Find(t.Context(), p, access, "o"); return err },
		"list":     func() error { _, err := s.List(t.Context(), p, access); return err },
		"terms":    func() error { _, err := s.Terms(t.Context(), p.Manifest.BaseURL); return err },
	} {
		check(t, call, f(), purser.ProviderDown)
	}
	for call, f := range map[string]func() error{
		"remove":  func() error { _, err := s.Remove(t.Context(), p, access, "k", "r"); return err },
		"refresh": func() error { _, err := s.Refresh(t.Context(), p, access); return err },
		"link":    func() error { _, err := s.Link(t.Context(), p, request("a")); return err },
	} {
		check(t, call, f(), purser.OutcomeUnknown)
	}
}

func TestAnAnswerAboutSomethingElseIsNotTaken(t *testing.T) {
	access := seal.NewSecret("t")
	p, s := script(t, says(200, `{"status":"complete","id":"other","complete":{"access_configuration":{"k":"another's"}}}`))
	if r, err := s.Get(t.Context(), p, access, "r"); purser.CodeOf(err) != purser.ProviderFailure || r.Complete != nil {
		t.Errorf("get gave %+v (%v)", r, err)
	}
	for _, body := range []string{
		`{"data":[{"status":"complete","id":"r","orchestrator_resource_id":"ord_2"}]}`,
		`{"data":[{"status":"complete","id":"r"}]}`, // the whole account, which happens to have one
	} {
		p, s := script(t, says(200, body))
		if _, found, err := s.Find(t.Context(), p, access, "ord_1"); purser.CodeOf(err) != purser.ProviderFailure || found {
			t.Errorf("%s: found %v (%v)", body, found, err)
		}
	}
	p, s = script(t, says(200, `{"quote_id":"q","item":"x","amount_minor":-1,"currency":"USD","interval":"once","tax_minor":0}`))
	if _, err := s.Quote(t.Context(), p, access, app.QuoteRequest{ServiceID: "x"}); purser.CodeOf(err) != purser.ProviderFailure {
		t.Errorf("a negative quote: %v", err)
	}
}

func TestWhatAManifestDoesNotDeclareIsNotAsked(t *testing.T) {
	var calls atomic.Int64
	p, s := script(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	p.Manifest.Capabilities = nil
	access := seal.NewSecret("t")
	_, err := s.Quote(t.Context(), p, access, app.QuoteRequest{ServiceID: "x"})
	check(t, "quote", err, purser.ProviderFailure)
	_, _, err = s.Find(t.Context(), p, access, "o")
	check(t, "find", err, purser.ProviderFailure)
	_, err = s.List(t.Context(), p, access)
	check(t, "list", err, purser.ProviderFailure)
	p.Profile = "dance"
	_, err = s.Services(t.Context(), p)
	check(t, "a profile that is not spoken", err, purser.ProviderFailure)
	if calls.Load() != 0 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestTheWordsOfAProviderAreQuotedCutAndHarmless(t *testing.T) {
	message := "pay \\u001b[31mme\\u202e now\\n" + strings.Repeat("x", 10_000)
	p, s := script(t, says(403, `{"status":"error","id":"","error":{"code":"for\u0000bidden","message":"`+message+`"}}`))
	_, err := s.Create(t.Context(), p, seal.NewSecret("t"), "k", app.CreateRequest{ServiceID: "free"})
	var e *purser.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	want := &purser.ProviderSaid{Code: "forbidden", Message: "pay [31mme now " + strings.Repeat("x", maxSaid-len("pay [31mme now ")) + "…", Status: 403}
	if diff := cmp.Diff(want, e.Provider); diff != "" || strings.Contains(e.Detail, "xxx") {
		t.Errorf("%q: %s", e.Detail, diff)
	}
}

func TestARateLimitTellsWhenToComeAgain(t *testing.T) {
	p, s := script(t, says(429, `{"status":"error","error":{"code":"rate_limited","message":"x"}}`, "Retry-After", "7"))
	_, err := s.Create(t.Context(), p, seal.NewSecret("t"), "k", app.CreateRequest{ServiceID: "free"})
	var e *purser.Error
	if !errors.As(err, &e) || e.RetryAfter != 7*time.Second {
		t.Errorf("got %+v", err)
	}
}
