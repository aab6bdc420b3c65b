package provider_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

const secret = "a signing secret"

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond) // time passes between two looks
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// seller is a backend that counts: what it made by resource id, what it charged by key.
type seller struct {
	mu          sync.Mutex
	made        map[string]int
	charges     map[string]int
	provisions  int
	activations []provider.Payment
	refunds     []string
	price       app.Minor
	removed     []string

	beforePay, afterPay, beforeMake, afterMake error
	pending                                    bool
}

func newSeller() *seller {
	return &seller{made: map[string]int{}, charges: map[string]int{}, price: 500}
}

func (s *seller) pay(_ context.Context, p provider.Payment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.activations = append(s.activations, p)
	if s.beforePay != nil {
		return s.beforePay
	}
	s.charges[p.Key] = 1 // equal keys are one charge
	return s.afterPay
}

func (s *seller) refund(_ context.Context, p provider.Payment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refunds = append(s.refunds, p.Key)
	delete(s.charges, p.Key)
	return nil
}

func (s *seller) provision(_ context.Context, r provider.Request) (provider.Provisioned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.provisions++
	if s.beforeMake != nil {
		return provider.Provisioned{}, s.beforeMake
	}
	s.made[r.ID] = 1 // equal ids are one thing
	if s.afterMake != nil {
		return provider.Provisioned{}, s.afterMake
	}
	if s.pending {
		return provider.Provisioned{Pending: true, RetryAfter: 3 * time.Second}, nil
	}
	if r.Service == "plan" {
		return provider.Provisioned{}, nil
	}
	return provider.Provisioned{AccessConfiguration: map[string]string{"key": "credential-of-" + r.ID}}, nil
}

func (s *seller) read(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[r.ID] == 0 {
		return provider.Provisioned{}, provider.ErrGone
	}
	if s.pending {
		return provider.Provisioned{Pending: true}, nil
	}
	if r.Status == app.StatusPending {
		return provider.Provisioned{AccessConfiguration: map[string]string{"key": "credential-of-" + r.ID}}, nil
	}
	return provider.Provisioned{}, nil
}

func (s *seller) remove(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(s.removed, r.ID)
	delete(s.made, r.ID)
	return provider.Provisioned{}, nil
}

func (s *seller) quote(_ context.Context, r provider.QuoteRequest) (app.Quote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, _ := r.Configuration["name"].(string)
	return app.Quote{Item: r.Service + " " + item, AmountMinor: s.price, Currency: "USD", Interval: "once"}, nil
}

func (s *seller) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func paid(minor app.Minor) app.Pricing {
	return app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{
		Type: app.PriceFreeform, Freeform: "5 USD", XPrice: &app.Price{Currency: "USD", AmountMinor: minor, Interval: "once"},
	}}}
}

var testCatalog = []app.CatalogService{
	{ID: "free", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}, AllowedUpdates: []app.Update{{Service: "paid", Direction: "up"}}},
	{ID: "paid", Kind: app.KindDeployable, Pricing: paid(500), ConfigurationSchema: &app.Schema{Type: "object", Properties: map[string]app.Property{"name": {Type: "string"}}}},
	{ID: "plan", Kind: app.KindPlan, Pricing: paid(900)},
	{ID: "part", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceComponent, Component: &app.Component{
		Options: []app.Option{{ParentServiceIDs: []string{"plan"}, Type: app.PriceFree}},
	}}},
}

// rig is a provider on loopback and the orchestrator that buys from it.
type rig struct {
	t      *testing.T
	clock  *clock
	seller *seller
	store  provider.Store
	config provider.Config
	server *httptest.Server
	p      *provider.Provider
	client *app.Client
	signer *app.Signer
}

func newRig(t *testing.T, change func(*provider.Config)) *rig {
	t.Helper()
	r := &rig{t: t, clock: newClock(), seller: newSeller(), store: provider.NewMemoryStore()}
	var handler http.Handler
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { handler.ServeHTTP(w, req) }))
	t.Cleanup(r.server.Close)
	s := r.seller
	r.config = provider.Config{
		Manifest: app.Manifest{
			Name: "test", BaseURL: r.server.URL + "/app/", OAuthTokenEndpoint: r.server.URL + "/app/oauth/token",
			Capabilities: []string{app.CapFind, app.CapQuotes, app.CapCut}, PaymentCredentialTypes: []string{app.PaymentSandbox},
			WebsiteURL: "https://seller.example/",
		},
		Catalog: testCatalog, Secrets: []string{secret}, Store: r.store, Now: r.clock.Now,
		Hooks: provider.Hooks{
			ActivatePayment: s.pay, RefundPayment: s.refund, Provision: s.provision, Read: s.read, Remove: s.remove, Quote: s.quote,
		},
	}
	if change != nil {
		change(&r.config)
	}
	r.restart()
	handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.p.ServeHTTP(w, req) })
	r.client = r.orchestrator(secret)
	return r
}

// restart is a new process over the same store.
func (r *rig) restart() {
	r.t.Helper()
	p, err := provider.New(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.p = p
}

func (r *rig) orchestrator(secrets ...string) *app.Client {
	r.t.Helper()
	signer, err := app.NewSigner(app.SignerConfig{Secrets: secrets, Now: r.clock.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.signer = signer
	client, err := app.NewClient(app.ClientConfig{
		BaseURL: r.server.URL + "/app/", TokenURL: r.server.URL + "/app/oauth/token", Signer: signer,
		Account: "acct_payer", Organization: "org_payer", Transport: r.server.Client().Transport,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return client
}

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

func (r *rig) request(id, email string) app.AccountRequest {
	return app.AccountRequest{
		ID: id, Email: email, Name: "Jane Doe", KYC: &app.KYC{VerifiedFields: []string{"email"}},
		ConfirmationSecret: "cs_0123456789abcdef_" + id, CodeChallenge: app.Challenge(verifier),
	}
}

// connect makes an account and gives its token.
func (r *rig) connect(email string) app.Token {
	r.t.Helper()
	answer, err := r.client.AccountRequest(r.t.Context(), r.request("acctreq_"+email[:3], email))
	if err != nil || answer.OAuth == nil {
		r.t.Fatalf("account request: %+v, %v", answer, err)
	}
	token, err := r.client.Exchange(r.t.Context(), answer.OAuth.Code, verifier)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

func sandbox(token string) *app.Payment { return &app.Payment{Type: app.PaymentSandbox, Token: token} }

func code(err error) string {
	var e *app.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Code
}

func unknown(err error) bool {
	var e *app.Error
	return errors.As(err, &e) && e.Unknown
}
