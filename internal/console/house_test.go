package console

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/blob"
	"github.com/purser-dev/purser/internal/consent"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/httpapi"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
)

const passphrase = "correct horse battery staple"

// house is a console over a real office on SQLite; only the providers are played.
type house struct {
	tb       testing.TB
	db       string
	office   *office.Office
	console  *Console
	server   *httptest.Server
	shop     *shop
	ops      map[string]office.Operation
	owner    purser.Actor
	project  purser.Project
	sessions *oneSession
	stands   atomic.Pointer[time.Time] // the clock stands there; nil: it goes

	mu   sync.Mutex
	keys int
}

// now is the clock of everything in the house.
func (h *house) now() time.Time {
	if at := h.stands.Load(); at != nil {
		return *at
	}
	return time.Now()
}

// oneSession says who sits at every browser.
type oneSession struct {
	mu sync.Mutex
	by purser.Actor
}

func (s *oneSession) Session(*http.Request) (purser.Actor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by.Kind == "" {
		return s.by, purser.Errorf(purser.NotSignedIn, "nobody is signed in on this browser")
	}
	return s.by, nil
}

func (s *oneSession) set(by purser.Actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = by
}

// quick are the least parameters that count: tests sign often.
var quick = act.KDF{Name: "argon2id", Salt: []byte("0123456789abcdef"), Time: 2, MemoryKiB: 19 << 10, Threads: 1}

func open(tb testing.TB, changes ...func(*office.Config)) *house {
	tb.Helper()
	dir := tb.TempDir()
	h := &house{tb: tb, db: filepath.Join(dir, "purser.db"), shop: newShop(), ops: map[string]office.Operation{}, sessions: &oneSession{}}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Database: h.db, Now: h.now})
	if err != nil {
		tb.Fatal(err)
	}
	box, err := seal.OpenKeyFile(filepath.Join(dir, "key"), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	blobs, err := blob.Open(filepath.Join(dir, "blobs"), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	usd := func(n int64) purser.Money { return purser.Money{Amount: n, Currency: "USD"} }
	config := office.Config{
		Store: s, Seller: h.shop, Deployer: noDeployer{}, Blobs: blobs, Box: box, AuditSeed: make([]byte, 32),
		PublicURL: func() string { return "http://localhost:7627" },
		Defaults: office.Defaults{
			RunBudget: usd(2000), Threshold: usd(1000), ProviderMonth: usd(100000), OrdersPerHour: 500, RequestTTL: 24 * time.Hour, SignTTL: 10 * time.Minute,
			Grace: 7 * 24 * time.Hour, StopDeadline: 5 * time.Second, PlanTTL: time.Hour, Lease: 5 * time.Second,
		},
		Now: h.now, Random: rand.Reader,
	}
	for _, change := range changes {
		change(&config)
	}
	if h.office, err = office.New(ctx, config); err != nil {
		tb.Fatal(err)
	}
	h.shop.office = h.office
	for _, op := range h.office.Operations() {
		h.ops[op.Name] = op
	}
	h.setUp()
	h.serve()
	tb.Cleanup(func() {
		h.office.Leave()
		h.server.Close()
		h.office.Close()
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// serve puts the console behind a gate, as the server does.
func (h *house) serve() {
	h.tb.Helper()
	g, err := gate.New(gate.Config{Authenticator: h.office, Log: slog.New(slog.DiscardHandler), Now: h.now, Random: rand.Reader})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.console = New(Config{Office: h.office, Gate: g, Sessions: h.sessions, SignIn: "/sign-in", Random: rand.Reader, Version: "test", Now: h.now, Origin: func() string { return h.server.URL }})
	h.server = httptest.NewServer(httpapi.New(httpapi.Config{Office: h.office, Gate: g, Version: "test", Doors: h.console.Doors(), Lost: h.console.Lost()}))
}

func (h *house) setUp() {
	h.tb.Helper()
	code, _, err := h.office.SetupCode(context.Background())
	if err != nil {
		h.tb.Fatal(err)
	}
	signer, err := act.Derive([]byte(passphrase), quick)
	if err != nil {
		h.tb.Fatal(err)
	}
	text := base64.RawURLEncoding
	in := must[purser.SignedIn](h, purser.Actor{}, "set_up", purser.SetUp{
		Code: code, Organization: "Harbour Lane", Name: "Ada Lindqvist", Email: "ada@example.org", PublicKey: text.EncodeToString(signer.PublicKey()),
		KDF: &purser.KDF{Salt: text.EncodeToString(quick.Salt), MemoryKiB: quick.MemoryKiB, Time: quick.Time, Parallelism: quick.Threads},
	})
	if h.owner, err = h.office.Authenticate(context.Background(), in.Token, "test"); err != nil {
		h.tb.Fatal(err)
	}
	h.sessions.set(h.owner)
}

// provider registers a seller by name. Quill quotes nothing: its catalog's price,
// or a person's ceiling, is what counts.
func (h *house) provider(name string) {
	h.tb.Helper()
	can := `"quotes","resources:find","resources:deprovision"`
	if name == "Quill" {
		can = `"resources:find","resources:deprovision"`
	}
	manifest := fmt.Sprintf(`{"name":%q,"base_url":"https://%[2]s.example/app/","oauth_token_endpoint":"https://%[2]s.example/app/oauth/token","tos_url":"https://%[2]s.example/terms",
		"privacy_policy_url":"https://%[2]s.example/privacy","capabilities":[%[3]s],"payment_credential_types":["sandbox"]}`, name, strings.ToLower(name), can)
	key := seal.NewSecret("pur_prv_" + strings.Repeat(strings.ToLower(name[:1]), 52))
	registered, err := h.office.RegisterProvider(context.Background(), manifest, seal.NewSecret("signing"), key)
	if err == nil {
		err = h.office.Fetch(context.Background(), registered)
	}
	if err != nil {
		h.tb.Fatal(err)
	}
}

// try calls an operation as an actor, with a new idempotency key.
func try[Out any](h *house, by purser.Actor, name string, in any) (Out, error) {
	h.mu.Lock()
	h.keys++
	by.Key = fmt.Sprintf("key-%d", h.keys)
	h.mu.Unlock()
	var none Out
	out, err := h.ops[name].Do(context.Background(), by, in)
	if err != nil {
		return none, err
	}
	return out.(Out), nil
}

func must[Out any](h *house, by purser.Actor, name string, in any) Out {
	h.tb.Helper()
	out, err := try[Out](h, by, name, in)
	if err != nil {
		h.tb.Fatalf("%s: %v", name, err)
	}
	return out
}

// AskAct lets the house sign as a command line does.
func (h *house) AskAct(ctx context.Context, in purser.AskAct) (purser.Challenge, error) {
	out, err := h.ops["ask_act"].Do(ctx, h.owner, in)
	if err != nil {
		return purser.Challenge{}, err
	}
	return out.(purser.Challenge), nil
}

func (h *house) signer() consent.Consent {
	return consent.Consent{Server: h, Passphrase: func(context.Context, act.Document) ([]byte, error) { return []byte(passphrase), nil }}
}

func (h *house) sign(operation string, in any) *purser.Signature {
	h.tb.Helper()
	s, err := h.signer().Sign(context.Background(), operation, in)
	if err != nil {
		h.tb.Fatalf("signing %s: %v", operation, err)
	}
	return s
}

// run makes a run of an agent, and the actor that has its token.
func (h *house) run(agent, purpose string, cents int64) (purser.Run, purser.Actor) {
	h.tb.Helper()
	if h.project.ID == "" {
		h.project = must[purser.Project](h, h.owner, "create_project", purser.CreateProject{Name: "superseal"})
	}
	in := purser.CreateRun{Project: h.project.ID, Agent: agent, Purpose: purpose, Budget: purser.Money{Amount: cents, Currency: "USD"}}
	in.Act = h.sign("create_run", in)
	r := must[purser.Run](h, h.owner, "create_run", in)
	by, err := h.office.Authenticate(context.Background(), r.Token, "test")
	if err != nil {
		h.tb.Fatal(err)
	}
	return r, by
}

func (h *house) plan(by purser.Actor, purpose string, steps ...purser.StepRequest) purser.Plan {
	h.tb.Helper()
	return must[purser.Plan](h, by, "plan", purser.MakePlan{Purpose: purpose, Steps: steps})
}

func (h *house) approve(p purser.Plan) {
	h.tb.Helper()
	s, err := h.signer().Approve(context.Background(), must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: p.ID}))
	if err != nil {
		h.tb.Fatalf("signing a plan: %v", err)
	}
	must[purser.Plan](h, h.owner, "approve", purser.Approve{Plan: p.ID, Act: s})
}

// buy plans, approves and applies.
func (h *house) buy(by purser.Actor, steps ...purser.StepRequest) purser.Plan {
	h.tb.Helper()
	p := h.plan(by, "", steps...)
	if p.State == purser.PlanWaiting {
		h.approve(p)
	}
	return must[purser.Plan](h, by, "apply", purser.Apply{Plan: p.ID})
}

func domain(provider, name string) purser.StepRequest {
	return purser.StepRequest{Service: provider + "/registrar:domain", Configuration: map[string]any{"domain": name}}
}

// sql changes rows behind the office's back.
func (h *house) sql(statements ...string) {
	h.tb.Helper()
	conn, err := sql.Open("sqlite", "file:"+h.db+"?_pragma=busy_timeout(10000)")
	if err != nil {
		h.tb.Fatal(err)
	}
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(context.Background(), s); err != nil {
			h.tb.Fatalf("%s: %v", s, err)
		}
	}
}

// get fetches a page as a browser does.
func (h *house) get(path string) (status int, header http.Header, body string) {
	h.tb.Helper()
	return h.send(http.MethodGet, path, "")
}

func (h *house) post(path, form string) (status int, header http.Header, body string) {
	h.tb.Helper()
	return h.send(http.MethodPost, path, form)
}

func (h *house) send(method, path, form string) (status int, header http.Header, body string) {
	h.tb.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, h.server.URL+path, strings.NewReader(form))
	if err != nil {
		h.tb.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return h.exchange(r)
}

func (h *house) exchange(r *http.Request) (status int, header http.Header, body string) {
	h.tb.Helper()
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := c.Do(r)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		h.tb.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

// shop plays every provider. What it sold stays sold.
type shop struct {
	office *office.Office

	mu    sync.Mutex
	sold  map[string]app.Resource // by order
	words string                  // replaces every description, when not empty
	item  string                  // replaces every item of a quote, when not empty
	terms string
	ends  time.Time     // of the credentials that it hands out; zero: it does not say
	wait  chan struct{} // when not nil, Create waits until it is closed
}

func newShop() *shop {
	return &shop{sold: map[string]app.Resource{}, terms: "1. You pay for what you order.\n2. A registered name is yours for a year and cannot be returned.\n3. We keep your e-mail address."}
}

// set changes how the shop behaves.
func (s *shop) set(f func(*shop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// prices are what the services cost, in cents: now, and again at each interval.
var prices = map[string]struct {
	now, again int64
	interval   string
}{
	"registrar:domain": {1200, 1800, "year"}, "hosting:pro": {500, 500, "month"}, "postgres:small": {900, 900, "month"}, "mail:inbox": {300, 300, "month"}, "gpu:hour": {4000, 0, "once"},
}

var items = map[string]string{
	"hosting:pro": "Pro hosting, 1 site", "hosting:static": "Static hosting, 1 site", "postgres:small": "PostgreSQL 18, 1 GB", "mail:inbox": "1 inbox", "advice:hours": "Advice",
}

func (s *shop) Services(_ context.Context, p office.Provider) ([]app.Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	paid := func(id, category, words, text string, cents int64, interval string) app.CatalogService {
		return app.CatalogService{
			ID: id, Kind: app.KindDeployable, Categories: []string{category}, Description: words, XEnv: map[string]string{"token": strings.ToUpper(strings.ReplaceAll(id, ":", "_")) + "_TOKEN"},
			Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: text, XPrice: &app.Price{Currency: "USD", AmountMinor: app.Minor(cents), Interval: interval}}}},
		}
	}
	all := []app.CatalogService{
		{ID: "registrar:domain", Kind: app.KindDeployable, Categories: []string{"domains"}, Description: "One exact name for a year. The price is quoted for the name.", Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "By the name"}}}},
		paid("hosting:pro", "compute", "Static sites on our edge, with a certificate of your own.", "$5.00 per month", 500, "month"),
		{ID: "hosting:static", Kind: app.KindDeployable, Categories: []string{"compute"}, Description: "Static sites for small things.", Pricing: app.Pricing{Type: app.PriceFree}},
		paid("postgres:small", "database", "PostgreSQL 18 with 1 GB, backed up each night.", "$9.00 per month", 900, "month"),
		paid("mail:inbox", "mail", "One inbox that receives and sends.", "$3.00 per month", 300, "month"),
		{ID: "advice:hours", Kind: app.KindDeployable, Categories: []string{"people"}, Description: "Somebody who knows looks at it.", Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "Contact sales"}}}},
	}
	var out []app.Service
	for _, c := range all {
		if s.words != "" {
			c.Description = s.words
		}
		n, _ := c.Normalized(p.Name)
		out = append(out, n)
	}
	return out, nil
}

func (s *shop) Terms(context.Context, string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms, nil
}

func (s *shop) Link(_ context.Context, p office.Provider, req app.AccountRequest) (office.Linked, error) {
	token := app.Token{AccessToken: "access", RefreshToken: "refresh", ExpiresIn: 3600, Account: &app.TokenAccount{ID: "acct_1", PrimaryEmail: req.Email}}
	return office.Linked{Token: token, BaseURL: p.Manifest.BaseURL}, nil
}

func (s *shop) Redeem(context.Context, office.Provider, app.AccountRequest, string) (office.Linked, error) {
	return office.Linked{}, purser.Errorf(purser.ProviderFailure, "nobody was asked")
}

func (s *shop) Refresh(context.Context, office.Provider, seal.Secret) (app.Token, error) {
	return app.Token{AccessToken: "access2", RefreshToken: "refresh2", ExpiresIn: 3600}, nil
}

func (s *shop) Quote(_ context.Context, _ office.Provider, _ seal.Secret, req app.QuoteRequest) (app.Quote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := app.Quote{ID: "q_" + req.ServiceID, Item: items[req.ServiceID], Currency: "USD", Interval: "once"}
	p, priced := prices[req.ServiceID]
	if req.ServiceID == "advice:hours" {
		return q, purser.Errorf(purser.ProviderFailure, "no quote")
	}
	if name, ok := req.Configuration["domain"].(string); ok {
		q.Item = name
	}
	if s.item != "" {
		q.Item = s.item
	}
	if priced {
		q.AmountMinor = app.Minor(p.now)
		if p.again > 0 {
			q.Renewal = &app.Renewal{AmountMinor: app.Minor(p.again), Currency: "USD", Interval: p.interval}
			if p.interval == "month" {
				q.Interval = "month"
			}
		}
	}
	return q, nil
}

func (s *shop) Create(ctx context.Context, p office.Provider, _ seal.Secret, _ string, req app.CreateRequest) (app.Resource, error) {
	s.mu.Lock()
	r, there := s.sold[req.OrchestratorResourceID]
	wait := s.wait
	s.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return app.Resource{}, purser.Errorf(purser.OutcomeUnknown, "no answer")
		}
	}
	if there {
		return r, nil
	}
	if cost := prices[req.ServiceID].now; cost > 0 && req.Payment != nil {
		if err := s.charge(ctx, p.Name, req, cost); err != nil {
			return app.Resource{}, err
		}
	}
	r = app.Resource{
		Status: app.StatusComplete, ID: "r_" + req.OrchestratorResourceID, ServiceID: req.ServiceID,
		Complete: &app.Complete{AccessConfiguration: map[string]string{"token": "s3cret", "url": "https://" + strings.ToLower(p.Name) + ".example/"}},
	}
	s.set(func(s *shop) { r.Complete.ExpiresAt = app.At(s.ends); s.sold[req.OrchestratorResourceID] = r })
	return r, nil
}

func (s *shop) charge(ctx context.Context, provider string, req app.CreateRequest, cost int64) error {
	_, err := s.office.Charge(ctx, purser.Actor{Kind: purser.Provider, ID: strings.ToLower(provider)}, purser.Charge{
		Token: req.Payment.Token, AmountMinor: cost, Currency: "USD", IdempotencyKey: "charge/" + req.OrchestratorResourceID, ResourceID: "r_" + req.OrchestratorResourceID,
	})
	return err
}

func (s *shop) Get(_ context.Context, _ office.Provider, _ seal.Secret, id string) (app.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sold[strings.TrimPrefix(id, "r_")], nil
}

func (s *shop) Find(_ context.Context, _ office.Provider, _ seal.Secret, order string) (app.Resource, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.sold[order]
	return r, ok, nil
}

func (s *shop) List(context.Context, office.Provider, seal.Secret) ([]app.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []app.Resource
	for r := range maps.Values(s.sold) {
		out = append(out, r)
	}
	return out, nil
}

func (s *shop) Remove(_ context.Context, _ office.Provider, _ seal.Secret, _, id string) (app.Resource, error) {
	return app.Resource{Status: app.StatusRemoved, ID: id}, nil
}

func (s *shop) Update(context.Context, office.Provider, seal.Secret, string, string, app.UpdateRequest) (app.Resource, error) {
	return app.Resource{}, purser.Errorf(purser.ProviderFailure, "nothing changes here")
}

func (s *shop) Rotate(context.Context, office.Provider, seal.Secret, string, string) (app.Resource, error) {
	return app.Resource{}, purser.Errorf(purser.ProviderFailure, "nothing rotates here")
}

func (s *shop) DeepLink(context.Context, office.Provider, seal.Secret, string, string) (app.DeepLink, error) {
	return app.DeepLink{}, purser.Errorf(purser.ProviderFailure, "there is no page")
}

type noDeployer struct{}

func (noDeployer) Takes(_, _ []string) bool { return false }

func (noDeployer) Deploy(context.Context, office.Deployment) (string, error) {
	return "", purser.Errorf(purser.NotAvailable, "nothing is deployed here")
}
