package providertest_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
)

const (
	secret      = "a signing secret"
	otherSecret = "the other secret"
)

// house is a provider that keeps every rule, with the doors of the test hooks. A
// hook that switches something makes the provider anew over the same store.
type house struct {
	t      *testing.T
	base   string // origin
	server *httptest.Server
	store  provider.Store
	change func(*provider.Config) // what makes it wrong

	first, second atomic.Pointer[provider.Provider] // two base paths
	europe        *httptest.Server
	forwarded     atomic.Int64

	mu          sync.Mutex
	variant     variant
	switches    map[string]bool
	limits      provider.Limits
	accounts    map[string]*resident // by folded email
	nextTeam    int
	keys        map[string]string
	minted      int
	activations []string
	failNext    bool
	subscribed  map[string]bool
	conflicts   map[string]bool
	asked       map[string]bool
	rights      map[string]provider.PartnerRights
	signedIn    string
}

// resident is an account of the house.
type resident struct {
	provider.Account
	firstName string
	welcomed  int
}

// variant is a way to configure a right provider, and the suite for it.
type variant struct {
	name     string
	provider func(*provider.Config)
	suite    func(*providertest.Config)
}

var capabilities = []string{app.CapFind, app.CapQuotes, app.CapRotate, app.CapUpdate, app.CapLink, app.CapCut}

var seed = sha256.Sum256([]byte("the orchestrator's key"))

var variants = []variant{
	{"base", nil, nil},
	{"silent", func(c *provider.Config) { c.Orchestrators[0].SilentExisting = true }, func(c *providertest.Config) {
		c.Profile, c.ExistingAccounts = providertest.Stripe, "silent"
	}},
	{"strict", func(c *provider.Config) {
		c.Orchestrators[0].V2, c.Orchestrators[0].Replay = provider.Require, provider.Require
	}, func(c *providertest.Config) {
		c.V2Mode, c.ReplayGuard = "require", "reject"
	}},
	{"plain", func(c *provider.Config) {
		c.Manifest.Capabilities, c.Manifest.DeepLinkPurposes = nil, nil
		c.Hooks.Quote, c.Hooks.Rotate, c.Hooks.Update, c.Hooks.Link, c.Hooks.Cut = nil, nil, nil, nil, nil
	}, func(c *providertest.Config) { c.Capabilities, c.DeepLinkPurpose = nil, "" }},
	{"interop", nil, func(c *providertest.Config) { c.Interop = true }},
	{"generic", func(c *provider.Config) {
		backend := &hub{}
		c.Generic.GitHub, c.Generic.Payer = backend, backend
	}, func(c *providertest.Config) {
		c.Profile, c.Features = providertest.Generic, []string{"github_grants", "payer"}
		c.GitHubCodes = map[string]string{"good": "good", "failing": "failing", "down": "down", "denied": "denied", "no_email": "no_email"}
	}},
}

func freeform(text string, minor app.Minor) app.Pricing {
	return app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: text, XPrice: &app.Price{Currency: "USD", AmountMinor: minor, Interval: "month"}}}}
}

var catalog = []app.CatalogService{
	{ID: "thing", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}, AllowedUpdates: []app.Update{{Service: "better", Direction: "up"}}},
	{ID: "better", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}},
	{ID: "paid", Kind: app.KindDeployable, Pricing: freeform("5.00 USD per month", 500)},
	{ID: "plan", Kind: app.KindPlan, Pricing: app.Pricing{Type: app.PriceFree}},
}

// open builds a house of a variant, made wrong by change and tamper.
func open(t *testing.T, name string, change func(*provider.Config), tamper func(http.Handler) http.Handler) *house {
	t.Helper()
	h := &house{
		t: t, store: provider.NewMemoryStore(), change: change, switches: map[string]bool{}, accounts: map[string]*resident{}, nextTeam: 100,
		keys: map[string]string{}, subscribed: map[string]bool{}, conflicts: map[string]bool{}, asked: map[string]bool{}, rights: map[string]provider.PartnerRights{},
	}
	for _, v := range variants {
		if v.name == name || name == "" && v.name == "base" {
			h.variant = v
		}
	}
	h.server = httptest.NewUnstartedServer(nil)
	h.base = "http://" + h.server.Listener.Addr().String()
	h.europe = h.openEurope()
	h.rebuild()
	mux := http.NewServeMux()
	doors := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			h.second.Load().ServeHTTP(w, r)
			return
		}
		h.first.Load().ServeHTTP(w, r)
	}))
	if tamper != nil {
		doors = tamper(doors)
	}
	mux.Handle("/", doors)
	mux.HandleFunc("POST /hooks/{name}", h.hook)
	h.server.Config.Handler = mux
	h.server.Start()
	t.Cleanup(h.server.Close)
	return h
}

// openEurope is the other region: another node with a store of its own.
func (h *house) openEurope() *httptest.Server {
	var node atomic.Pointer[provider.Provider]
	europe := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/account_requests") && r.Header.Get("Provisioning-Forwarded") != "" {
			h.forwarded.Add(1)
		}
		node.Load().ServeHTTP(w, r)
	}))
	h.t.Cleanup(europe.Close)
	p, err := provider.New(provider.Config{
		Manifest: app.Manifest{Name: "europe", BaseURL: europe.URL + "/app/", OAuthTokenEndpoint: europe.URL + "/app/oauth/token"},
		Catalog:  catalog, Secrets: []string{secret}, Store: provider.NewMemoryStore(), Region: "EU",
		Hooks: provider.Hooks{Provision: func(context.Context, provider.Request) (provider.Provisioned, error) {
			return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": "european"}}, nil
		}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	node.Store(p)
	return europe
}

// rebuild makes the provider as the switches say.
func (h *house) rebuild() {
	for _, door := range []struct {
		path string
		to   *atomic.Pointer[provider.Provider]
	}{{"/app/", &h.first}, {"/v2/", &h.second}} {
		config := h.config(door.path)
		if h.variant.provider != nil {
			h.variant.provider(&config)
		}
		if h.change != nil {
			h.change(&config)
		}
		h.switched(&config)
		p, err := provider.New(config)
		if err != nil {
			h.t.Fatal(err)
		}
		door.to.Store(p)
	}
}

// switched applies the test hooks that need another configuration.
func (h *house) switched(c *provider.Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.Orchestrators[0].Limits = h.limits
	if h.switches[providertest.HookNoSecret] {
		for i := range c.Orchestrators {
			c.Orchestrators[i].Secrets = nil
		}
	}
	if h.switches[providertest.HookNoDeepLinks] {
		c.Orchestrators[0].NoDeepLinks = true
	}
	if h.switches[providertest.HookThrottle] {
		c.GlobalPerMinute = 1
	}
	if h.switches[providertest.HookRegionDown] {
		c.Regions = map[string]string{"EU": "http://127.0.0.1:1/app/"}
	}
	if h.switches[providertest.HookBreakRotation] {
		c.Hooks.Rotate = func(context.Context, provider.Resource) (provider.Provisioned, error) {
			return provider.Provisioned{}, errors.New("the backend is down")
		}
	}
	if h.switches[providertest.HookBreakRemoval] {
		c.Hooks.Remove = func(context.Context, provider.Resource) (provider.Provisioned, error) {
			return provider.Provisioned{}, errors.New("the backend is down")
		}
	}
}

// config is a provider that keeps every rule.
func (h *house) config(path string) provider.Config {
	key := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	return provider.Config{
		Manifest: app.Manifest{
			Name: "right", BaseURL: h.base + path, OAuthTokenEndpoint: h.base + path + "oauth/token",
			Capabilities: capabilities, PaymentCredentialTypes: []string{app.PaymentSandbox}, DeepLinkPurposes: []string{"dashboard"},
			AccountConfigurationSchema: json.RawMessage(`{"type":"object","properties":{"team_id":{"type":"integer"},"region":{"type":"string"}}}`),
			WebsiteURL:                 "https://seller.example/",
		},
		Catalog: catalog,
		Orchestrators: []provider.Orchestrator{
			{
				Name: "purser", Secrets: []string{secret}, CallbackURL: "https://orchestrator.example/callback", ClientID: "a client", ClientSecret: "its secret",
				PublicKey: func(_ context.Context, kid string) (ed25519.PublicKey, bool) { return key, kid == "k1" },
			},
			{Name: "other", Secrets: []string{otherSecret}, SilentExisting: true},
		},
		Store: h.store, WorkspaceKey: "team_id", LinkSchema: []byte(`{"type":"object","required":["instance"],"properties":{"instance":{"type":"string"}}}`),
		Region: "US", Regions: map[string]string{"US": h.base + path, "EU": h.europe.URL + "/app/"},
		Generic: &provider.Generic{Loopback: true, DefaultService: "thing", Rights: func(_ context.Context, d provider.PartnerDocument) (provider.PartnerRights, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if r, said := h.rights[d.ClientID]; said {
				return r, nil
			}
			return provider.PartnerRights{GitHub: true, Payer: true}, nil
		}},
		Hooks: h.hooks(),
	}
}

func (h *house) hooks() provider.Hooks {
	return provider.Hooks{
		Accounts: h, SignedIn: h.whoIs, LoginURL: func(string) string { return "https://seller.example/login" },
		AccountInformation: func(_ context.Context, q provider.AccountQuestion) ([]byte, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !h.asked[strings.ToLower(q.Email)] || q.Information["team"] != nil {
				return nil, nil
			}
			return []byte(`{"type":"object","required":["team"]}`), nil
		},
		Services: func(context.Context) ([]app.CatalogService, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.switches[providertest.HookCatalogDown] {
				return nil, errors.New("the backend is down")
			}
			return catalog, nil
		},
		Quote: func(_ context.Context, r provider.QuoteRequest) (app.Quote, error) {
			return app.Quote{Item: r.Service, AmountMinor: 500, Currency: "USD", Interval: "month"}, nil
		},
		Subscribed: func(_ context.Context, a provider.Account, _ string) (bool, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.subscribed[strings.ToLower(a.Email)], nil
		},
		ActivatePayment: h.activate,
		Provision: func(_ context.Context, r provider.Request) (provider.Provisioned, error) {
			return h.give(r.ID, false), nil
		},
		Link: func(_ context.Context, r provider.Request) (provider.Provisioned, error) {
			return h.give(r.ID, false), nil
		},
		Update: func(context.Context, provider.Resource, provider.Request) (provider.Provisioned, error) {
			return provider.Provisioned{}, nil
		},
		Rotate: func(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
			return h.give(r.ID, true), nil
		},
		Cut:     func(context.Context, provider.Resource) error { return nil },
		Restore: func(context.Context, provider.Resource) error { return nil },
		Session: func(w http.ResponseWriter, _ *http.Request, a provider.Account) error {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: a.ID})
			return nil
		},
	}
}

func (h *house) give(id string, anew bool) provider.Provisioned {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[id] == "" || anew {
		h.minted++
		h.keys[id] = fmt.Sprintf("credential-%d-of-%s", h.minted, id)
	}
	return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": h.keys[id]}}
}

func (h *house) activate(_ context.Context, p provider.Payment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failNext {
		h.failNext = false
		return provider.Errorf(app.CodeRequiresPayment, "declined")
	}
	sum := sha256.Sum256([]byte(p.Token))
	h.activations = append(h.activations, hex.EncodeToString(sum[:]))
	return nil
}

func (h *house) whoIs(*http.Request) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.signedIn, h.signedIn != ""
}

// Find, Create and Account make the house a provider.Accounts.
func (h *house) Find(_ context.Context, email string) (provider.Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[strings.ToLower(email)]; a != nil {
		return a.copy(), nil
	}
	return provider.Account{}, provider.ErrNoAccount
}

func (h *house) Account(_ context.Context, id string) (provider.Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.accounts {
		if a.ID == id {
			return a.copy(), nil
		}
	}
	return provider.Account{}, provider.ErrNoAccount
}

func (a *resident) copy() provider.Account {
	c := a.Account
	c.Teams = slices.Clone(a.Teams)
	return c
}

func (h *house) Create(_ context.Context, in provider.NewAccount) (provider.Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	email := strings.ToLower(in.Email)
	if exists, conflict := h.conflicts[email]; conflict {
		delete(h.conflicts, email)
		if exists {
			h.settle(in)
		}
		return provider.Account{}, provider.ErrAccountExists
	}
	if h.accounts[email] != nil {
		return provider.Account{}, provider.ErrAccountExists
	}
	return h.settle(in).copy(), nil
}

// settle makes an account with one workspace. The lock is held.
func (h *house) settle(in provider.NewAccount) *resident {
	a := &resident{firstName: in.FirstName, welcomed: 1}
	a.ID, a.Email, a.DisplayName, a.Active, a.CreatedFor = "acct_"+in.Email, in.Email, in.Name, true, in.RequestKey
	a.Teams = []app.Team{h.team()}
	h.accounts[strings.ToLower(in.Email)] = a
	return a
}

// team numbers workspaces downwards, so that a later one would sort first.
func (h *house) team() app.Team {
	h.nextTeam--
	return app.Team{ID: h.nextTeam, Name: fmt.Sprint("Team ", h.nextTeam)}
}

// hook answers the test hooks of the suite.
func (h *house) hook(w http.ResponseWriter, r *http.Request) {
	var in struct {
		On                             bool
		Email, State, Decision, Cookie string
		Exists                         bool
		ID, Workspace                  any
		ClientID                       string `json:"client_id"`
		Accounts, Enabled, Payer       bool
		AccountRequests                int `json:"account_requests"`
		TokenExchanges                 int `json:"token_exchanges"`
		ResourceCreates                int `json:"resource_creates"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	email := strings.ToLower(in.Email)
	answer := map[string]any{}
	name := r.PathValue("name")
	h.mu.Lock()
	a := h.accounts[email]
	switch name {
	case providertest.HookUser:
		answer["first_name"], answer["verified"], answer["welcome_messages"] = a.firstName, a.EmailVerified, a.welcomed
	case providertest.HookConflict:
		h.conflicts[email] = in.Exists
	case providertest.HookForwarded:
		answer["count"] = h.forwarded.Load()
	case providertest.HookDeactivate:
		a.Active = false
	case providertest.HookAddWorkspace:
		team := h.team()
		a.Teams = append([]app.Team{team}, a.Teams...)
		answer["id"] = team.ID
	case providertest.HookDenyWorkspace:
		a.Teams = slices.DeleteFunc(a.Teams, func(t app.Team) bool { return fmt.Sprint(t.ID) == fmt.Sprint(in.ID) })
	case providertest.HookActivations:
		answer["count"] = len(h.activations)
		if n := len(h.activations); n > 0 {
			answer["last"] = h.activations[n-1]
		}
	case providertest.HookFailActivation:
		h.failNext = true
	case providertest.HookSubscribe:
		h.subscribed[email] = true
	case providertest.HookVerify:
		a.EmailVerified = true
	case providertest.HookAsk:
		h.asked[email] = true
	case providertest.HookRights:
		h.rights[in.ClientID] = provider.PartnerRights{Disabled: !in.Enabled, NoAccounts: !in.Accounts, GitHub: true, Payer: in.Payer}
	case providertest.HookSessionOf:
		for _, one := range h.accounts {
			if strings.Contains(in.Cookie, "session="+one.ID) || strings.Contains(in.Cookie, `session="`+one.ID) {
				answer["email"] = one.Email
			}
		}
	case providertest.HookLimits:
		h.limits = provider.Limits{AccountRequests: in.AccountRequests, TokenExchanges: in.TokenExchanges, ResourceCreates: in.ResourceCreates}
	default:
		h.switches[name] = in.On
	}
	h.mu.Unlock()
	h.outside(r.Context(), name, email, in.State, in.Decision, in.Workspace, answer)
	_ = json.NewEncoder(w).Encode(answer)
}

// outside is what hooks do through the provider's own doors, without the lock.
func (h *house) outside(ctx context.Context, name, email, state, decision string, workspace any, answer map[string]any) {
	switch name {
	case providertest.HookNoSecret, providertest.HookNoDeepLinks, providertest.HookRegionDown, providertest.HookBreakRotation,
		providertest.HookBreakRemoval, providertest.HookLimits:
		h.rebuild()
	case providertest.HookThrottle:
		h.rebuild()
		h.first.Load().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/app/provisioning/health", nil)) // the one that is let in
	case providertest.HookRevoke:
		if err := h.first.Load().RevokeSessions(ctx, "purser"); err != nil {
			h.t.Error(err)
		}
	case providertest.HookPending:
		h.waiting(ctx, state, answer)
	case providertest.HookForeign:
		answer["code"] = h.stranger().code("", "")
		answer["refresh_token"] = h.stranger().token("").RefreshToken
	case providertest.HookForeignThing:
		s := h.stranger()
		made, err := s.Create(ctx, app.Call{Bearer: s.token(email).AccessToken}, app.CreateRequest{ServiceID: "thing"})
		if err == nil { // else the provider is too wrong to have one
			answer["id"] = made.ID
		}
	case providertest.HookPage, providertest.HookConsent:
		h.consent(name, email, state, decision, workspace, answer)
	}
}

// waiting reads the pending consent out of the store.
func (h *house) waiting(ctx context.Context, state string, answer map[string]any) {
	sum := sha256.Sum256([]byte(state))
	err := h.store.View(ctx, func(tx provider.Tx) error {
		raw, err := tx.Get("consent/" + hex.EncodeToString(sum[:]))
		if err != nil {
			return err
		}
		var record struct {
			Email, Payer string
			Scopes       []string
		}
		if err := json.Unmarshal(raw, &record); err != nil {
			return err
		}
		answer["email"], answer["account"], answer["scopes"], answer["region"] = record.Email, record.Payer, record.Scopes, "US"
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// consent is a person at the browser.
func (h *house) consent(name, email, state, decision string, workspace any, answer map[string]any) {
	h.signIn("taken@example.com")
	page := h.browse(http.MethodGet, "/app/consent?state="+state, nil)
	if name == providertest.HookPage {
		h.signIn(email)
		answer["status"] = h.browse(http.MethodGet, "/app/consent?state="+state, nil).Code
		return
	}
	csrf := "none"
	if m := csrfField.FindStringSubmatch(page.Body.String()); m != nil {
		csrf = strings.NewReplacer("&#43;", "+").Replace(m[1])
	}
	h.signIn(email)
	body, _ := json.Marshal(map[string]string{"state": state, "csrf": csrf, "decision": decision, "workspace": fmt.Sprint(workspace)})
	rec := h.browse(http.MethodPost, "/app/consent", strings.NewReader(string(body)))
	answer["status"], answer["body"] = rec.Code, json.RawMessage(rec.Body.Bytes())
}

func (h *house) signIn(email string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signedIn = email
}

func (h *house) browse(method, path string, body io.Reader) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(method, path, body)
	req.Header.Set("Content-Type", "application/json")
	h.server.Config.Handler.ServeHTTP(rec, req)
	return rec
}

// visitor is an orchestrator beside the suite.
type visitor struct {
	*app.Client
	h *house
	n *atomic.Int64
}

var strangers atomic.Int64

func (h *house) stranger() visitor { return h.visitor(otherSecret) }

func (h *house) visitor(secret string) visitor {
	signer, err := app.NewSigner(app.SignerConfig{Secrets: []string{secret}, Key: &app.Key{ID: "k1", Private: ed25519.NewKeyFromSeed(seed[:])}})
	if err != nil {
		h.t.Fatal(err)
	}
	client, err := app.NewClient(app.ClientConfig{BaseURL: h.base + "/app/", TokenURL: h.base + "/app/oauth/token", Signer: signer, Account: "acct_1"})
	if err != nil {
		h.t.Fatal(err)
	}
	return visitor{client, h, &strangers}
}

// code is a fresh code; "" when the provider is too wrong to give one.
func (v visitor) code(email, challenge string) string {
	if email == "" {
		email = fmt.Sprintf("stranger%d@example.com", v.n.Add(1))
	}
	answer, err := v.AccountRequest(context.Background(), app.AccountRequest{Email: email, CodeChallenge: challenge, KYC: &app.KYC{VerifiedFields: []string{"email"}}})
	if err != nil || answer.OAuth == nil {
		return ""
	}
	return answer.OAuth.Code
}

func (v visitor) token(email string) app.Token {
	verifier := strings.Repeat("v", 43)
	token, err := v.Exchange(context.Background(), v.code(email, app.Challenge(verifier)), verifier)
	if err != nil {
		return app.Token{}
	}
	return token
}

// judge runs the suite against a house. only limits the cases; nil is all.
func judge(t *testing.T, name string, change func(*provider.Config), tamper func(http.Handler) http.Handler, only []string) providertest.Report {
	t.Helper()
	h := open(t, name, change, tamper)
	h.mu.Lock()
	workspace := h.settle(provider.NewAccount{Email: "taken@example.com"}).Teams[0].ID
	h.mu.Unlock()
	config := providertest.Config{
		BaseURL: h.base + "/app/", TokenURL: h.base + "/app/oauth/token", SigningSecret: secret, Capabilities: capabilities,
		SecondBaseURL: h.base + "/v2/", SecondTokenURL: h.base + "/v2/oauth/token",
		V2Seed: base64.RawURLEncoding.EncodeToString(seed[:]), V2KeyID: "k1", V2Mode: "log", ClientID: "a client", ClientSecret: "its secret",
		FreeService: "thing", PaidService: "paid", PlanService: "plan", UpdateTarget: "better",
		PaymentType: app.PaymentSandbox, PaymentToken: "sbx_1", DeepLinkPurpose: "dashboard",
		ExistingEmail: "taken@example.com", WorkspaceKey: "team_id", Workspace: workspace, OtherRegion: "EU",
		ForeignBearer: h.stranger().token("").AccessToken, TestHooks: map[string]string{}, Transport: h.server.Client().Transport, Only: only,
	}
	for _, hook := range []string{
		providertest.HookNoSecret, providertest.HookUser, providertest.HookConflict, providertest.HookPending, providertest.HookForwarded, providertest.HookRegionDown,
		providertest.HookForeign, providertest.HookDeactivate, providertest.HookRevoke, providertest.HookAddWorkspace, providertest.HookDenyWorkspace,
		providertest.HookActivations, providertest.HookFailActivation, providertest.HookSubscribe, providertest.HookForeignThing, providertest.HookVerify,
		providertest.HookSessionOf, providertest.HookNoDeepLinks, providertest.HookLimits, providertest.HookThrottle, providertest.HookCatalogDown,
		providertest.HookBreakRotation, providertest.HookBreakRemoval, providertest.HookAsk, providertest.HookRights, providertest.HookConsent, providertest.HookPage,
	} {
		config.TestHooks[hook] = h.base + "/hooks/" + hook
	}
	if h.variant.suite != nil {
		h.variant.suite(&config)
	}
	return providertest.Run(t.Context(), config)
}
