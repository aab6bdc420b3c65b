package office_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/blob"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
)

// house is an office with everything real but the provider.
type house struct {
	t      testing.TB
	ctx    context.Context
	o      *office.Office
	ops    map[string]office.Operation
	store  *store.Store
	seller *seller
	shop   *deployer
	box    seal.Box
	dir    string
	db     string
	seed   []byte
	lease  time.Duration             // longer than any machine needs; a test that needs one to be over calls endLeases
	mail   map[string]office.Courier // of notices, by way; nil: none
	wire   string                    // the provider's manifest

	access    drawer // keys of access tokens
	documents shelf

	mu    sync.Mutex
	shift time.Duration // of the clock
	still time.Time     // where the clock stands still; the zero time: it runs
	trace func(tx int64, statement string) error

	touched bool // rows were changed behind the office's back

	signer  act.Signer
	owner   purser.Actor
	token   string
	project purser.Project
	keys    int
}

const passphrase = "correct horse battery staple"

func open(t testing.TB, database string, change ...func(*house)) *house {
	t.Helper()
	h := &house{
		t: t, ctx: t.Context(), dir: t.TempDir(), db: database, seller: newSeller(), shop: &deployer{}, seed: make([]byte, 32), lease: 10 * time.Minute,
		wire: manifest,
	}
	for _, f := range change {
		f(h)
	}
	if _, err := rand.Read(h.seed); err != nil {
		t.Fatal(err)
	}
	box, err := seal.OpenKeyFile(filepath.Join(h.dir, "key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h.box = box
	h.start()
	t.Cleanup(func() {
		h.watch(nil)
		h.atTheEnd()
		h.stop()
	})
	h.setUp()
	return h
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.still.IsZero() {
		return h.still.Add(h.shift)
	}
	return time.Now().Add(h.shift)
}

// later moves the clock of the house. Spends are refused from then on, because it
// no longer agrees with the database's.
func (h *house) later(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shift += d
}

// standing stops the clock of a house, but for later: what is counted by the minute or
// waits for seconds does not depend on the machine then. Nothing is spent under it for
// long, because the database's clock goes on.
func standing(h *house) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.still = time.Now()
}

// endLeases is the end of the time of each call that is out, as far as the database
// knows: any office may look these orders up and call again.
func (h *house) endLeases() {
	h.t.Helper()
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(h.ctx, "UPDATE orders SET lease_until = 0 WHERE state = 'buying'"); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) traced(tx int64, statement string) error {
	h.mu.Lock()
	f := h.trace
	h.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(tx, statement)
}

func (h *house) watch(f func(tx int64, statement string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trace = f
}

// start opens the office over the database as it is.
func (h *house) start() {
	h.t.Helper()
	s, err := store.Open(context.WithoutCancel(h.ctx), store.Config{Database: h.db, Now: h.now, Trace: h.traced, BatchTime: time.Hour})
	if err != nil {
		h.t.Fatal(err)
	}
	blobs, err := blob.Open(filepath.Join(h.dir, "blobs"), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	h.store = s
	access, err := oauth.OpenKeys(context.WithoutCancel(h.ctx), &h.access, h.now, rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	usd := func(n int64) purser.Money { return purser.Money{Amount: n, Currency: "USD"} }
	h.o, err = office.New(context.WithoutCancel(h.ctx), office.Config{
		Store: s, Seller: h.seller, Deployer: h.shop, Blobs: blobs, Box: h.box, AuditSeed: h.seed, PublicURL: func() string { return "http://localhost:7627" },
		Defaults: office.Defaults{
			RunBudget: usd(2000), Threshold: usd(1000), ProviderMonth: usd(10000), OrdersPerHour: 5, RequestTTL: 24 * time.Hour, SignTTL: 10 * time.Minute,
			Grace: 7 * 24 * time.Hour, StopDeadline: time.Minute, PlanTTL: time.Hour, Lease: h.lease,
			SessionLife: 24 * time.Hour, SessionIdle: time.Hour, Reminder: 2 * time.Hour, KeepNotices: 90 * 24 * time.Hour,
		},
		Now: h.now, Random: rand.Reader, Access: access, Documents: &h.documents, Couriers: h.mail,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.ops = map[string]office.Operation{}
	for _, op := range h.o.Operations() {
		h.ops[op.Name] = op
	}
}

func (h *house) stop() {
	h.o.Close()
	if err := h.store.Close(); err != nil {
		h.t.Error(err)
	}
}

// restart is a new process over the same database.
func (h *house) restart() {
	h.stop()
	h.start()
}

// ownersKDF makes the key of each house's owner of a passphrase, with the smallest
// parameters that are accepted; and once for all, because it is made to take long.
var (
	ownersKDF    = act.KDF{Name: "argon2id", Salt: []byte("the salt of all."), Time: 2, MemoryKiB: 19 << 10, Threads: 1}
	ownersSigner = sync.OnceValues(func() (act.Signer, error) { return act.Derive([]byte(passphrase), ownersKDF) })
)

func (h *house) setUp() {
	h.t.Helper()
	code, needed, err := h.o.SetupCode(h.ctx)
	if err != nil || !needed {
		h.t.Fatalf("set-up code: needed %v, %v", needed, err)
	}
	kdf := ownersKDF
	if h.signer, err = ownersSigner(); err != nil {
		h.t.Fatal(err)
	}
	in := must[purser.SignedIn](h, purser.Actor{}, "set_up", purser.SetUp{
		Code: code, Organization: "Home", Name: "Ada", Email: "ada@example.org", PublicKey: base64.RawURLEncoding.EncodeToString(h.signer.PublicKey()),
		KDF: &purser.KDF{Salt: base64.RawURLEncoding.EncodeToString(kdf.Salt), MemoryKiB: kdf.MemoryKiB, Time: kdf.Time, Parallelism: kdf.Threads},
	})
	h.token = in.Token
	if h.owner, err = h.o.Authenticate(h.ctx, in.Token, "test"); err != nil {
		h.t.Fatal(err)
	}
	h.project = must[purser.Project](h, h.owner, "create_project", purser.CreateProject{Name: "shop"})
	secret, key := seal.NewSecret("signing"), seal.NewSecret("pur_prv_"+strings.Repeat("a", 52))
	name, err := h.o.RegisterProvider(h.ctx, h.wire, secret, key)
	if err == nil {
		err = h.o.Fetch(h.ctx, name)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

const manifest = `{"name":"Local","base_url":"http://127.0.0.1:1/app/","oauth_token_endpoint":"http://127.0.0.1:1/app/oauth/token",
	"tos_url":"http://127.0.0.1:1/terms","capabilities":["quotes","resources:find","resources:deprovision"],"payment_credential_types":["sandbox"]}`

// do calls an operation as an actor, with a new idempotency key.
func do[Out any](h *house, by purser.Actor, name string, in any) (Out, error) {
	h.mu.Lock()
	h.keys++
	if by.Key == "" {
		by.Key = fmt.Sprintf("key-%d", h.keys)
	}
	h.mu.Unlock()
	out, err := h.ops[name].Do(h.ctx, by, in)
	if err != nil {
		var none Out
		return none, err
	}
	return out.(Out), nil
}

func must[Out any](h *house, by purser.Actor, name string, in any) Out {
	h.t.Helper()
	out, err := do[Out](h, by, name, in)
	if err != nil {
		h.t.Fatalf("%s: %v", name, explain(err))
	}
	return out
}

func explain(err error) string {
	var e *purser.Error
	if errors.As(err, &e) {
		b, _ := json.Marshal(e)
		return fmt.Sprintf("%s (cause: %v)", b, e.Cause)
	}
	return err.Error()
}

// requestBody is a request as a door hands it on.
func requestBody(t testing.TB, in any) (out map[string]any) {
	t.Helper()
	raw, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sign makes the owner's signature on a request.
func (h *house) sign(operation string, in any) *purser.Signature {
	h.t.Helper()
	c := must[purser.Challenge](h, h.owner, "ask_act", purser.AskAct{Operation: operation, Request: requestBody(h.t, in)})
	doc, err := json.Marshal(c.Document)
	if err != nil {
		h.t.Fatal(err)
	}
	d, err := act.Parse(canonicalJSON(h.t, doc))
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := h.signer.Sign(d)
	if err != nil {
		h.t.Fatal(err)
	}
	return &purser.Signature{
		Nonce: c.Nonce, Method: s.Method, PublicKey: base64.RawURLEncoding.EncodeToString(s.PublicKey), Signature: base64.RawURLEncoding.EncodeToString(s.Signature),
	}
}

// run makes a run with a budget, and the actor of its agent.
func (h *house) run(cents int64, change ...func(*purser.CreateRun)) (purser.Run, purser.Actor) {
	h.t.Helper()
	in := purser.CreateRun{Project: h.project.ID, Budget: purser.Money{Amount: cents, Currency: "USD"}}
	for _, f := range change {
		f(&in)
	}
	in.Act = h.sign("create_run", in)
	run := must[purser.Run](h, h.owner, "create_run", in)
	agent, err := h.o.Authenticate(h.ctx, run.Token, "test")
	if err != nil {
		h.t.Fatal(err)
	}
	return run, agent
}

func (h *house) approve(plan string) purser.Plan {
	h.t.Helper()
	return must[purser.Plan](h, h.owner, "approve", purser.Approve{Plan: plan, Act: h.sign("approve", purser.Approve{Plan: plan})})
}

// books fails the test unless everything balances.
func (h *house) books() {
	h.t.Helper()
	b, err := do[purser.Books](h, h.owner, "check_books", purser.None{})
	if err != nil || !b.OK {
		h.t.Errorf("books: %v %v", b.Faults, err)
	}
}

// records reads the organization's whole log.
func (h *house) records() []audit.Record {
	h.t.Helper()
	rows, err := store.RecordsAfter(context.WithoutCancel(h.ctx), h.store.Read(), h.owner.Organization, 0, 1<<40, 100000)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []audit.Record
	for _, row := range rows {
		r, err := audit.ParseRecord(row.Leaf)
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// recorded counts the records of a log in which a word stands.
func (h *house) recorded(log, word string) (n int) {
	h.t.Helper()
	rows, err := store.RecordsAfter(context.WithoutCancel(h.ctx), h.store.Read(), log, 0, 1<<40, 100000)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, row := range rows {
		if bytes.Contains(row.Leaf, []byte(word)) {
			n++
		}
	}
	return n
}

// counted counts records of an action with an outcome.
func (h *house) counted(action, outcome string) int {
	h.t.Helper()
	n := 0
	for _, r := range h.records() {
		if r.Action == action && r.Outcome == outcome {
			n++
		}
	}
	return n
}

// moved sums the money events of a kind, in minor units.
func (h *house) moved(kind string) (n int, sum int64) {
	h.t.Helper()
	spend := must[purser.Spend](h, h.owner, "spend", purser.AskSpend{Page: purser.Page{Limit: 200}})
	for _, e := range spend.Events {
		if e.Kind == kind {
			n, sum = n+1, sum+e.Amount.Amount
		}
	}
	return n, sum
}

// atTheEnd is what must hold after every test, whatever it did (T12): the books
// balance, and from the log alone come the same balances. Unless the test itself
// changed rows behind the office's back.
func (h *house) atTheEnd() {
	if h.touched || h.t.Failed() || h.t.Skipped() {
		return
	}
	h.ctx = context.WithoutCancel(h.ctx) // the test's own is over
	h.books()
	h.verify()
}

// sql changes a row behind the office's back.
func (h *house) sql(statement string, args ...any) {
	h.t.Helper()
	h.touched = true
	if err := h.trySQL(statement, args...); err != nil {
		h.t.Fatalf("%s: %v", statement, err)
	}
}

// ask asks the database for one number.
func (h *house) ask(question string, args ...any) (n int64) {
	h.t.Helper()
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.QueryRowContext(h.ctx, question, args...).Scan(&n); err != nil {
		h.t.Fatalf("%s: %v", question, err)
	}
	return n
}

func (h *house) dial() (*sql.DB, error) {
	if strings.HasPrefix(h.db, "postgres://") {
		return sql.Open("pgx", h.db)
	}
	return sql.Open("sqlite", "file:"+h.db+"?_pragma=busy_timeout(10000)")
}

func (h *house) trySQL(statement string, args ...any) error {
	h.touched = true
	conn, err := h.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	out, err := conn.ExecContext(h.ctx, statement, args...)
	if err != nil {
		return err
	}
	if n, err := out.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("changed %d rows: %w", n, err)
	}
	return nil
}

// planned makes a plan, with a person's yes where one is needed.
func (h *house) planned(agent purser.Actor, steps ...purser.StepRequest) purser.Plan {
	h.t.Helper()
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: steps})
	if plan.State == purser.PlanWaiting {
		plan = h.approve(plan.ID)
	}
	return plan
}

func domain(name string) purser.StepRequest {
	return purser.StepRequest{Service: "local/registrar:domain", Configuration: map[string]any{"domain": name}}
}

func refused(t testing.TB, err error, want purser.Code) *purser.Error {
	t.Helper()
	if purser.CodeOf(err) != want {
		t.Fatalf("got %v, want %s", explainOrNil(err), want)
	}
	var e *purser.Error
	errors.As(err, &e)
	return e
}

func explainOrNil(err error) string {
	if err == nil {
		return "no error"
	}
	return explain(err)
}

// eventually polls until it holds. Its limit only ends a test that hangs: 64 callers
// who wait for one organization's turn on a busy machine take their time.
func (h *house) eventually(what string, holds func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("not within five minutes: %s", what)
		}
	}
}

// carriedOut waits until what follows the stops is done, and on the record.
func (h *house) carriedOut() {
	h.t.Helper()
	h.eventually("what follows the stops is done", func() bool { return h.ask("SELECT count(*) FROM stop_effects WHERE state = 'pending'") == 0 })
}

// seller is a provider that counts, and can lose its answers, answer late, twice
// and lie. What it sold stays sold, whatever the answer was.
type seller struct {
	mu       sync.Mutex
	sold     map[string]app.Resource // by order
	creates  int
	removed  []string
	price    int64
	renewal  int64
	item     func(domain string) string
	email    string
	terms    string
	words    string // of its catalog
	currency string // of domains; empty: USD
	links    int
	renewals int
	renew    func() (app.Token, error)          // nil: a new pair that lasts an hour
	create   func(create) (app.Resource, error) // nil: works
	link     func(ctx context.Context, work func() (app.Token, error)) (app.Token, error)
	pay      func(ctx context.Context, token string, order string, amount int64) error
	quote    func(*app.Quote)
	quoteErr error
	find     func(work func() (app.Resource, bool, error)) (app.Resource, bool, error)
	get      func(app.Resource) (app.Resource, error)
	finds    int
	removing error
	rotate   func() error                                                     // nil: works
	update   func()                                                           // when a change reaches it
	ends     time.Time                                                        // of the credentials that it hands out; zero: it does not say
	asks     func(req app.AccountRequest, code string) (office.Linked, error) // what an account request needs first; a code only when one came back
}

// create is one call that reached the seller. Its work sells, once for an order.
type create struct {
	n    int
	ctx  context.Context
	req  app.CreateRequest
	work func() (app.Resource, error)
}

func (s *seller) set(f func(*seller)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *seller) count() (creates, sold int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.creates, len(s.sold)
}

func newSeller() *seller {
	return &seller{sold: map[string]app.Resource{}, price: 1200, renewal: 2400, terms: "Be kind.", words: "One exact name.", item: func(d string) string { return d }}
}

func (s *seller) Services(context.Context, office.Provider) ([]app.Service, error) {
	services := []app.CatalogService{
		{
			ID: "hosting:pro", Kind: app.KindPlan, Categories: []string{"compute"}, Description: "More of everything.",
			Pricing:        app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "$5.00 per month", XPrice: &app.Price{Currency: "USD", AmountMinor: 500, Interval: "month"}}}},
			AllowedUpdates: []app.Update{{Service: "hosting:static", Direction: "down"}},
		},
		{
			ID: "registrar:domain", Kind: app.KindDeployable, Categories: []string{"domains"}, Description: s.words,
			Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "By the name"}}},
		},
		{
			ID: "hosting:static", Kind: app.KindDeployable, Categories: []string{"Web hosting", "compute"}, Description: "Files.",
			Pricing: app.Pricing{Type: app.PriceFree}, XEnv: map[string]string{"account": "CLOUDFLARE_ACCOUNT_ID", "token": "CLOUDFLARE_API_TOKEN"},
		},
		{ID: "odd:thing", Kind: app.KindDeployable, Description: "Ask us.", Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "Contact sales"}}}},
	}
	var out []app.Service
	for _, c := range services {
		n, _ := c.Normalized("Local")
		out = append(out, n)
	}
	return out, nil
}

func (s *seller) Terms(context.Context, string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms, nil
}

func (s *seller) token(ctx context.Context, req app.AccountRequest) (app.Token, error) {
	s.mu.Lock()
	s.links++
	hook, email := s.link, req.Email
	if s.email != "" {
		email = s.email
	}
	s.mu.Unlock()
	work := func() (app.Token, error) {
		return app.Token{AccessToken: "access", RefreshToken: "refresh", ExpiresIn: 3600, Account: &app.TokenAccount{ID: "acct_1", PrimaryEmail: email}}, nil
	}
	if hook != nil {
		return hook(ctx, work)
	}
	return work()
}

func (s *seller) Refresh(context.Context, office.Provider, seal.Secret) (app.Token, error) {
	s.mu.Lock()
	s.renewals++
	renew := s.renew
	s.mu.Unlock()
	if renew != nil {
		return renew()
	}
	return app.Token{AccessToken: "access2", RefreshToken: "refresh2", ExpiresIn: 3600}, nil
}

func (s *seller) Quote(_ context.Context, _ office.Provider, _ seal.Secret, req app.QuoteRequest) (app.Quote, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quoteErr != nil {
		return app.Quote{}, s.quoteErr
	}
	q := app.Quote{ID: "q_" + req.ServiceID, Item: req.ServiceID, Currency: "USD", Interval: "once"}
	switch req.ServiceID {
	case "registrar:domain":
		domain, _ := req.Configuration["domain"].(string)
		q.Item, q.AmountMinor = s.item(domain), app.Minor(s.price)
		if s.currency != "" {
			q.Currency = s.currency
		}
		q.Renewal = &app.Renewal{AmountMinor: app.Minor(s.renewal), Currency: q.Currency, Interval: "year"}
	case "hosting:pro":
		q.AmountMinor, q.Interval, q.Renewal = 500, "month", &app.Renewal{AmountMinor: 500, Currency: "USD", Interval: "month"}
	case "odd:thing":
		return q, purser.Errorf(purser.ProviderFailure, "no quote")
	}
	if s.quote != nil {
		s.quote(&q)
	}
	return q, nil
}

func (s *seller) Create(ctx context.Context, _ office.Provider, _ seal.Secret, _ string, req app.CreateRequest) (app.Resource, error) {
	s.mu.Lock()
	s.creates++
	n, hook, pay := s.creates, s.create, s.pay
	s.mu.Unlock()
	work := func() (app.Resource, error) {
		s.mu.Lock()
		r, there := s.sold[req.OrchestratorResourceID]
		amount := map[string]int64{"hosting:pro": 500, "registrar:domain": s.price}[req.ServiceID]
		s.mu.Unlock()
		if there {
			return r, nil
		}
		if amount > 0 && req.Payment == nil {
			return app.Resource{}, purser.Errorf(purser.PaymentDeclined, "no payment")
		}
		if amount > 0 && pay != nil {
			if err := pay(ctx, req.Payment.Token, req.OrchestratorResourceID, amount); err != nil {
				return app.Resource{}, err
			}
		}
		r = app.Resource{Status: app.StatusComplete, ID: "r_" + req.OrchestratorResourceID, ServiceID: req.ServiceID, Complete: &app.Complete{AccessConfiguration: map[string]string{"token": "s3cret", "account": "a1"}}}
		s.mu.Lock()
		r.Complete.ExpiresAt = app.At(s.ends)
		s.sold[req.OrchestratorResourceID] = r
		s.mu.Unlock()
		return r, nil
	}
	if hook != nil {
		return hook(create{n, ctx, req, work})
	}
	return work()
}

func (s *seller) Get(_ context.Context, _ office.Provider, _ seal.Secret, id string) (app.Resource, error) {
	s.mu.Lock()
	r, hook := s.sold[strings.TrimPrefix(id, "r_")], s.get
	s.mu.Unlock()
	if hook != nil {
		return hook(r)
	}
	return r, nil
}

// Find answers without credentials, as APP section 19 says.
func (s *seller) Find(_ context.Context, _ office.Provider, _ seal.Secret, order string) (app.Resource, bool, error) {
	s.mu.Lock()
	s.finds++
	hook := s.find
	s.mu.Unlock()
	work := func() (app.Resource, bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r, ok := s.sold[order]
		if ok {
			r.Complete = &app.Complete{}
		}
		return r, ok, nil
	}
	if hook != nil {
		return hook(work)
	}
	return work()
}

func (s *seller) List(context.Context, office.Provider, seal.Secret) ([]app.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []app.Resource
	for _, r := range s.sold {
		out = append(out, r)
	}
	return out, nil
}

func (s *seller) Remove(_ context.Context, _ office.Provider, _ seal.Secret, _, id string) (app.Resource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removing != nil {
		return app.Resource{}, s.removing
	}
	s.removed = append(s.removed, id)
	for order, r := range s.sold {
		if r.ID == id {
			s.sold[order] = app.Resource{Status: app.StatusRemoved, ID: id}
		}
	}
	return app.Resource{Status: app.StatusRemoved, ID: id}, nil
}

type deployer struct {
	names    map[string]bool // of the sites, when a test asks
	mu       sync.Mutex
	deployed []string
	hook     func(ctx context.Context, work func() (string, error)) (string, error)
}

func (d *deployer) Takes(categories, outputs []string) bool {
	return slices.Contains(categories, "compute") && slices.Contains(outputs, "CLOUDFLARE_API_TOKEN")
}

func (d *deployer) Deploy(ctx context.Context, dep office.Deployment) (string, error) {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	if hook != nil {
		return hook(ctx, func() (string, error) { return d.work(dep) })
	}
	return d.work(dep)
}

func (d *deployer) work(dep office.Deployment) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range dep.Files {
		r, err := dep.Open(f.SHA256)
		if err != nil {
			return "", err
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return "", err
		}
		_ = r.Close()
	}
	if d.names != nil {
		d.names[dep.Name] = true
	}
	d.deployed = append(d.deployed, dep.Domain)
	return "https://" + dep.Domain + "/", nil
}

// rail lets the seller charge the office, as a provider does over HTTP.
func (h *house) rail() func(ctx context.Context, token, order string, amount int64) error {
	return func(ctx context.Context, token, order string, amount int64) error {
		out, err := h.ops["charge"].Do(ctx, purser.Actor{Kind: purser.Provider, ID: "local"}, purser.Charge{
			Token: token, AmountMinor: amount, Currency: "USD", IdempotencyKey: "charge/" + order, ResourceID: "r_" + order,
		})
		if err != nil {
			return err
		}
		if c := out.(purser.Charged); c.Status != "succeeded" {
			return purser.Errorf(purser.PaymentDeclined, "the charge was %s", c.Status)
		}
		return nil
	}
}

// link makes the account at the provider, which needs a person the first time.
func (h *house) link(agent purser.Actor) {
	h.t.Helper()
	plan := h.planned(agent, purser.StepRequest{Service: "local/hosting:static", Name: "first"})
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
}

// refundable makes the seller give money back within a week of buying, and charge
// once only: what needs no person below the run's threshold.
func (s *seller) refundable() {
	s.set(func(s *seller) {
		s.quote = func(q *app.Quote) {
			q.RefundableUntil, q.Renewal = app.Time{Time: time.Now().Add(7 * 24 * time.Hour)}, nil
		}
	})
}
