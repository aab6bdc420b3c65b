package providertest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
)

const secret = "a signing secret"

func TestTheMemoryStoreIsAStore(t *testing.T) {
	providertest.TestStore(t, func(*testing.T) provider.Store { return provider.NewMemoryStore() })
}

func freeform(text string, minor app.Minor) app.Pricing {
	return app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: text, XPrice: &app.Price{Currency: "USD", AmountMinor: minor, Interval: "month"}}}}
}

// rightConfig is a provider that keeps every rule.
func rightConfig(base string) provider.Config {
	var mu sync.Mutex
	keys := map[string]string{}
	fresh := atomic.Int64{}
	give := func(id string, anew bool) provider.Provisioned {
		mu.Lock()
		defer mu.Unlock()
		if keys[id] == "" || anew {
			keys[id] = fmt.Sprintf("credential-%d-of-%s", fresh.Add(1), id)
		}
		return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": keys[id]}}
	}
	return provider.Config{
		Manifest: app.Manifest{
			Name: "right", BaseURL: base + "/app/", OAuthTokenEndpoint: base + "/app/oauth/token",
			Capabilities: capabilities, PaymentCredentialTypes: []string{app.PaymentSandbox},
		},
		Catalog: []app.CatalogService{
			{ID: "thing", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}, AllowedUpdates: []app.Update{{Service: "better", Direction: "up"}}},
			{ID: "better", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}},
			{ID: "paid", Kind: app.KindDeployable, Pricing: freeform("5.00 USD per month", 500)},
			{ID: "plan", Kind: app.KindPlan, Pricing: app.Pricing{Type: app.PriceFree}},
		},
		Orchestrators: []provider.Orchestrator{
			{Name: "purser", Secrets: []string{secret}, CallbackURL: "https://orchestrator.example/callback"},
			{Name: "other", Secrets: []string{"the other secret"}},
		},
		Store: provider.NewMemoryStore(),
		Hooks: provider.Hooks{
			Quote: func(_ context.Context, r provider.QuoteRequest) (app.Quote, error) {
				return app.Quote{Item: r.Service, AmountMinor: 500, Currency: "USD", Interval: "month"}, nil
			},
			Provision: func(_ context.Context, r provider.Request) (provider.Provisioned, error) {
				return give(r.ID, false), nil
			},
			Update: func(context.Context, provider.Resource, provider.Request) (provider.Provisioned, error) {
				return provider.Provisioned{}, nil
			},
			Rotate: func(_ context.Context, r provider.Resource) (provider.Provisioned, error) {
				return give(r.ID, true), nil
			},
		},
	}
}

var capabilities = []string{app.CapFind, app.CapQuotes, app.CapRotate, app.CapUpdate}

// judge runs the suite against a provider behind a tampering layer. only limits
// the cases for speed; nil is all.
func judge(t *testing.T, change func(*provider.Config), tamper func(http.Handler) http.Handler, only []string) providertest.Report {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	config := rightConfig(base)
	if change != nil {
		change(&config)
	}
	p, err := provider.New(config)
	if err != nil {
		t.Fatal(err)
	}
	handler := http.Handler(p)
	if tamper != nil {
		handler = tamper(handler)
	}
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	return providertest.Run(t.Context(), providertest.Config{
		BaseURL: base + "/app/", TokenURL: base + "/app/oauth/token", SigningSecret: secret, Capabilities: capabilities,
		FreeService: "thing", PaidService: "paid", PlanService: "plan", UpdateTarget: "better",
		PaymentType: app.PaymentSandbox, PaymentToken: "sbx_1",
		ExistingEmail: existing(t, base), ForeignBearer: foreign(t, base),
		Transport: server.Client().Transport, Only: only,
	})
}

// existing makes an account that the suite finds taken.
func existing(t *testing.T, base string) string {
	t.Helper()
	connect(t, base, secret, "taken@example.com")
	return "taken@example.com"
}

// foreign makes a token of another orchestrator.
func foreign(t *testing.T, base string) string {
	t.Helper()
	return connect(t, base, "the other secret", "stranger@example.com")
}

func connect(t *testing.T, base, secret, email string) string {
	t.Helper()
	signer, err := app.NewSigner(app.SignerConfig{Secrets: []string{secret}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := app.NewClient(app.ClientConfig{BaseURL: base + "/app/", TokenURL: base + "/app/oauth/token", Signer: signer, Account: "acct_1"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.AccountRequest(t.Context(), app.AccountRequest{Email: email, CodeChallenge: app.Challenge(strings.Repeat("v", 43))})
	if err != nil || answer.OAuth == nil {
		return "" // a provider too wrong for a set-up: its cases are then skipped
	}
	token, err := client.Exchange(t.Context(), answer.OAuth.Code, strings.Repeat("v", 43))
	if err != nil {
		return ""
	}
	return token.AccessToken
}

func TestARightProviderPassesEveryCase(t *testing.T) {
	report := judge(t, nil, nil, nil)
	if !report.OK() || len(report.IDs(providertest.Skipped)) > 0 || !report.SafeToResend() {
		t.Error(report)
	}
}

// cannotFail are cases that no wrong provider here fails, each with its reason.
var cannotFail = map[string]string{}

func TestEachCaseCanFail(t *testing.T) {
	failing := map[string]bool{}
	for _, wrong := range wrongProviders {
		for _, id := range wrong.fails {
			failing[id] = true
		}
	}
	for _, id := range judge(t, nil, nil, nil).IDs(providertest.Passed) {
		if failing[id] == (cannotFail[id] != "") {
			t.Errorf("%s: a wrong provider fails it: %v, a reason why none can: %q; want one of both", id, failing[id], cannotFail[id])
		}
	}
}

// resign signs a request anew, so that a layer may change it.
func resign(r *http.Request, body []byte) {
	r.Header.Set(app.HeaderSignature, app.SignatureHeader([]string{secret}, time.Now().Unix(), body))
	setBody(r, body)
}

func setBody(r *http.Request, body []byte) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

func bodyOf(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body)
	setBody(r, body)
	return body
}

// requests is a layer that changes what comes in.
func requests(change func(r *http.Request, body []byte)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			change(r, bodyOf(r))
			next.ServeHTTP(w, r)
		})
	}
}

// answers is a layer that changes what goes out.
func answers(change func(r *http.Request, rec *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			change(r, rec)
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})
	}
}

// exchanges is a layer that sees both.
func exchanges(change func(r *http.Request, body []byte, rec *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := bodyOf(r)
			answers(func(r *http.Request, rec *httptest.ResponseRecorder) { change(r, body, rec) })(next).ServeHTTP(w, r)
		})
	}
}

// says replaces an answer.
func says(rec *httptest.ResponseRecorder, status int, body string) {
	rec.Code, rec.Body = status, bytes.NewBufferString(body)
}

// edits changes the members of a 200.
func edits(rec *httptest.ResponseRecorder, edit func(m map[string]any)) {
	var m map[string]any
	if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &m) != nil {
		return
	}
	edit(m)
	raw, _ := json.Marshal(m)
	rec.Body = bytes.NewBuffer(raw)
}

func at(r *http.Request, suffix string) bool { return strings.HasSuffix(r.URL.Path, suffix) }

func isCreate(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/provisioning/resources")
}

// wrongProviders: each breaks one rule, and fails exactly these cases.
var wrongProviders = []struct {
	name   string
	change func(*provider.Config)
	tamper func() func(http.Handler) http.Handler
	fails  []string
}{
	{
		name: "accepts a stale signature",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, body []byte) {
				s, err := app.ParseSignature(r.Header.Get(app.HeaderSignature))
				if err != nil {
					return
				}
				if _, ok := s.Match(secret, body); ok {
					resign(r, body)
				}
			})
		},
		fails: []string{"S3"},
	},
	{
		name: "checks no signature at all",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, body []byte) { resign(r, body) })
		},
		fails: []string{"S2", "S3", "S4", "S10", "S51", "S52", "S53", "A5", "T5", "R14", "R15", "Q5"},
	},
	{
		name: "reads only the first v1 value",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) {
				if parts := strings.SplitN(r.Header.Get(app.HeaderSignature), ",v1=", 3); len(parts) == 3 {
					r.Header.Set(app.HeaderSignature, parts[0]+",v1="+parts[1])
				}
			})
		},
		fails: []string{"S50"},
	},
	{
		name: "checks no version",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) { r.Header.Set(app.HeaderVersion, app.Version) })
		},
		fails: []string{"S7", "S8", "R58"},
	},
	{
		name: "forgets the body of an Idempotency-Key",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			first := map[string][]byte{}
			return requests(func(r *http.Request, body []byte) {
				key := r.Header.Get("Authorization") + r.URL.Path + r.Header.Get(app.HeaderIdempotencyKey)
				if r.Header.Get(app.HeaderIdempotencyKey) == "" {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if first[key] == nil {
					first[key] = body
				}
				resign(r, first[key])
			})
		},
		fails: []string{"R51"},
	},
	{
		name: "knows no Idempotency-Key",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) { r.Header.Del(app.HeaderIdempotencyKey) })
		},
		fails: []string{"R51", "R54", "R56", "X51", "M1"},
	},
	{
		name: "makes a second resource for the same orchestrator_resource_id",
		tamper: func() func(http.Handler) http.Handler {
			var n atomic.Int64
			return requests(func(r *http.Request, body []byte) {
				var m map[string]any
				if !isCreate(r) || json.Unmarshal(body, &m) != nil || m["orchestrator_resource_id"] == nil {
					return
				}
				m["orchestrator_resource_id"] = fmt.Sprint(m["orchestrator_resource_id"], n.Add(1))
				changed, _ := json.Marshal(m)
				r.Header.Del(app.HeaderIdempotencyKey)
				resign(r, changed)
			})
		},
		fails: []string{"R50", "R51", "R52", "R53", "R54", "R56", "X50", "M1", "F1", "Q4"},
	},
	{
		name: "redeems a code twice",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			first := map[string][]byte{}
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					form, _ := url.ParseQuery(string(bodyOf(r)))
					code := form.Get("code")
					if !strings.HasSuffix(r.URL.Path, "/oauth/token") || code == "" {
						next.ServeHTTP(w, r)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if first[code] == nil {
						rec := httptest.NewRecorder()
						next.ServeHTTP(rec, r)
						if rec.Code != http.StatusOK {
							w.WriteHeader(rec.Code)
							_, _ = w.Write(rec.Body.Bytes())
							return
						}
						first[code] = rec.Body.Bytes()
					}
					w.Header().Set("Cache-Control", "no-store")
					_, _ = w.Write(first[code])
				})
			}
		},
		fails: []string{"T51", "T54"},
	},
	{
		name: "burns a code on a wrong verifier",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			burnt := map[string]bool{}
			return requests(func(r *http.Request, body []byte) {
				form, _ := url.ParseQuery(string(body))
				code, verifier := form.Get("code"), form.Get("code_verifier")
				if code == "" {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if burnt[code] {
					form.Set("code", "burnt")
					setBody(r, []byte(form.Encode()))
				}
				if strings.HasPrefix(verifier, "www") {
					burnt[code] = true
				}
			})
		},
		fails: []string{"T50"},
	},
	{
		name: "leaks its framework's error pages",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if rec.Code == http.StatusNotFound || rec.Code == http.StatusMethodNotAllowed {
					rec.Body = bytes.NewBufferString("<html>Traceback (most recent call last)</html>")
				}
			})
		},
		fails: []string{"S55"},
	},
	{
		name: "answers errors with HTTP 200",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if rec.Code == http.StatusBadRequest && strings.Contains(r.URL.Path, "/resources") {
					rec.Code = http.StatusOK
				}
			})
		},
		fails: []string{"R3", "R4", "R5", "R11", "R17", "R56", "R57", "R58", "R59", "U4", "U5", "U50", "X2"},
	},
	{
		name: "mints a secret on each read",
		change: func(c *provider.Config) {
			var n atomic.Int64
			c.Hooks.Read = func(context.Context, provider.Resource) (provider.Provisioned, error) {
				return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": fmt.Sprint("minted-", n.Add(1))}}, nil
			}
		},
		fails: []string{"R10", "X1"},
	},
	{
		name: "shows secrets in its list",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			var made []string
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				mu.Lock()
				defer mu.Unlock()
				if isCreate(r) && rec.Code == http.StatusOK {
					made = append(made, rec.Body.String())
				}
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/resources") {
					trimmed := strings.TrimSuffix(strings.TrimSpace(rec.Body.String()), "}")
					quoted, _ := json.Marshal(made)
					rec.Body = bytes.NewBufferString(trimmed + `,"debug":` + strings.ReplaceAll(string(quoted), `\"`, `'`) + `}`)
				}
			})
		},
		fails: []string{"F1", "F3"},
	},
	{
		name: "links existing accounts without asking",
		change: func(c *provider.Config) {
			c.Orchestrators = slices.Clone(c.Orchestrators)
			c.Orchestrators[0].SilentExisting = true
		},
		fails: []string{"A16"},
	},
	{
		name: "takes any token for its own",
		change: func(c *provider.Config) {
			c.Orchestrators = []provider.Orchestrator{{Name: "purser", Secrets: []string{secret, "the other secret"}}}
		},
		fails: []string{"R15"},
	},
	{
		name: "sells paid things for nothing",
		change: func(c *provider.Config) {
			c.Hooks.Subscribed = func(context.Context, provider.Account, string) (bool, error) { return true, nil }
		},
		fails: []string{"R5", "R59"},
	},
	{
		name: "ignores what was quoted",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, body []byte) {
				var m map[string]any
				if !isCreate(r) || json.Unmarshal(body, &m) != nil || m["quote_id"] == nil {
					return
				}
				delete(m, "quote_id")
				changed, _ := json.Marshal(m)
				resign(r, changed)
			})
		},
		fails: []string{"Q2", "Q3"},
	},
	{
		name: "finds nothing it made",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/resources") {
					rec.Body = bytes.NewBufferString(`{"data":[]}`)
				}
			})
		},
		fails: []string{"F1", "F3"},
	},
	{
		name: "forgets account requests",
		tamper: func() func(http.Handler) http.Handler {
			var n atomic.Int64
			return requests(func(r *http.Request, body []byte) {
				var m map[string]any
				_, err := app.ParseSignature(r.Header.Get(app.HeaderSignature))
				if !strings.HasSuffix(r.URL.Path, "/account_requests") || err != nil || json.Unmarshal(body, &m) != nil || m["object"] == nil {
					return
				}
				if id, ok := m["id"].(string); ok {
					m["id"] = fmt.Sprint(id, "-", n.Add(1))
				}
				changed, _ := json.Marshal(m)
				resign(r, changed)
			})
		},
		fails: []string{"A1", "A50", "A51", "A52", "A55", "R15"},
	},
	{
		name: "keeps the old access token after a refresh",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			now := map[string]string{} // an old access token -> the live one
			byRefresh := map[string]string{}
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					form, _ := url.ParseQuery(string(bodyOf(r)))
					mu.Lock()
					if old := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); now[old] != "" {
						r.Header.Set("Authorization", "Bearer "+now[old])
					}
					mu.Unlock()
					rec := httptest.NewRecorder()
					next.ServeHTTP(rec, r)
					var token app.Token
					if strings.HasSuffix(r.URL.Path, "/oauth/token") && json.Unmarshal(rec.Body.Bytes(), &token) == nil && token.AccessToken != "" {
						mu.Lock()
						if old := byRefresh[form.Get("refresh_token")]; old != "" {
							now[old] = token.AccessToken
						}
						byRefresh[token.RefreshToken] = token.AccessToken
						mu.Unlock()
					}
					for name, values := range rec.Header() {
						w.Header()[name] = values
					}
					w.WriteHeader(rec.Code)
					_, _ = w.Write(rec.Body.Bytes())
				})
			}
		},
		fails: []string{"E1"},
	},
	{
		name: "speaks another version",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/health") {
					edits(rec, func(m map[string]any) { m["supported_versions"] = []string{"9.9z"} })
				}
			})
		},
		fails: []string{"S1"},
	},
	{
		name: "publishes entries without a price",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/services") {
					says(rec, http.StatusOK, `{"data":[{"id":"thing","kind":"deployable"}]}`)
				}
			})
		},
		fails: []string{"S54"},
	},
	{
		name: "lets its framework judge bodies",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if rec.Code == http.StatusRequestEntityTooLarge || strings.Contains(rec.Body.String(), app.CodeBodyNotDecodable) {
					says(rec, http.StatusInternalServerError, "<html>Internal Server Error</html>")
				}
			})
		},
		fails: []string{"S56", "S57"},
	},
	{
		name: "echoes configuration",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				if at(r, "/account_requests") && bytes.Contains(body, []byte("conformance_block")) {
					edits(rec, func(m map[string]any) { m["configuration"] = string(body) })
				}
			})
		},
		fails: []string{"A4"},
	},
	{
		name: "validates no account request",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/account_requests") && rec.Code == http.StatusBadRequest {
					says(rec, http.StatusOK, `{"type":"oauth","oauth":{"code":"anything"}}`)
				}
			})
		},
		fails: []string{"S57", "A6", "A7", "A9", "A11", "A13", "A54", "A56"},
	},
	{
		name: "knows neither the old spelling nor null",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				if at(r, "/account_requests") && (bytes.Contains(body, []byte("organisation")) || bytes.Contains(body, []byte(":null"))) {
					says(rec, http.StatusBadRequest, `{"type":"error","error":{"code":"invalid_request","message":""}}`)
				}
			})
		},
		fails: []string{"A22", "A53"},
	},
	{
		name: "answers token errors as a framework does",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/oauth/token") && rec.Code >= 400 {
					says(rec, rec.Code, `{"detail":"Bad Request"}`)
				}
			})
		},
		fails: []string{"T5", "T6", "T7", "T8", "T50", "T51", "T52", "T53"},
	},
	{
		name: "demands a signature on every token call",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/oauth/token") && r.Header.Get(app.HeaderSignature) == "" {
					says(rec, http.StatusUnauthorized, `{"error":"invalid_request","error_description":""}`)
				}
			})
		},
		fails: []string{"T3", "T10"},
	},
	{
		name: "tells nothing about the account",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/oauth/token") {
					edits(rec, func(m map[string]any) { delete(m, "account") })
				}
			})
		},
		fails: []string{"A51", "T1"},
	},
	{
		name: "drops service_id",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(r.URL.Path, "/resources") {
					edits(rec, func(m map[string]any) { delete(m, "service_id") })
				}
			})
		},
		fails: []string{"R1", "U1"},
	},
	{
		name: "never delivers what is paid, nor plans",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				if isCreate(r) && rec.Code == http.StatusOK && (bytes.Contains(body, []byte(`"paid"`)) || bytes.Contains(body, []byte(`"plan"`))) {
					says(rec, http.StatusOK, `{"status":"error","id":"","error":{"code":"server_error","message":""}}`)
				}
			})
		},
		fails: []string{"R6", "R18", "Q4"},
	},
	{
		name: "shows everybody everything",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			first, issued := "", map[string]bool{}
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					if issued[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
						r.Header.Set("Authorization", "Bearer "+first)
					}
					mu.Unlock()
					answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
						var token app.Token
						if !at(r, "/oauth/token") || json.Unmarshal(rec.Body.Bytes(), &token) != nil || token.AccessToken == "" {
							return
						}
						mu.Lock()
						defer mu.Unlock()
						issued[token.AccessToken] = true
						if first == "" {
							first = token.AccessToken
						}
					})(next).ServeHTTP(w, r)
				})
			}
		},
		fails: []string{"T52", "R12", "R15", "R55", "F3", "F4", "E1"},
	},
	{
		name: "works on what was removed",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Body.String(), app.CodeInvalidState) {
					says(rec, http.StatusOK, `{"status":"complete","id":"r","complete":{"access_configuration":{"a":"b"}}}`)
				}
			})
		},
		fails: []string{"M2"},
	},
	{
		name: "finds what it never made",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if strings.TrimSpace(rec.Body.String()) == `{"data":[]}` {
					says(rec, http.StatusOK, `{"data":[{"status":"complete","id":"res_other"}]}`)
				}
			})
		},
		fails: []string{"F2", "F4"},
	},
	{
		name: "quotes without naming the item",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/quotes") {
					edits(rec, func(m map[string]any) { delete(m, "item") })
				}
			})
		},
		fails: []string{"Q1"},
	},
}

func TestEachWrongProviderFailsExactlyItsCases(t *testing.T) {
	for _, wrong := range wrongProviders {
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			var tamper func(http.Handler) http.Handler
			if wrong.tamper != nil {
				tamper = wrong.tamper()
			}
			report := judge(t, wrong.change, tamper, nil)
			got := report.IDs(providertest.Failed)
			if diff := cmp.Diff(wrong.fails, got); diff != "" {
				t.Errorf("failing cases (-want +got):\n%s\n%s", diff, report)
			}
		})
	}
}

func TestAReportShowsNoSecret(t *testing.T) {
	report := judge(t, func(c *provider.Config) {
		c.Hooks.Read = func(context.Context, provider.Resource) (provider.Provisioned, error) {
			return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": "a-minted-credential"}}, nil
		}
	}, nil, []string{"R10"})
	if text := report.String(); !strings.Contains(text, "failed  R10") || strings.Contains(text, "a-minted-credential") {
		t.Errorf("want a failure of R10 without the credential:\n%s", text)
	}
}

func TestACaseWithoutItsInputsIsSkippedWithAReason(t *testing.T) {
	report := providertest.Run(t.Context(), providertest.Config{BaseURL: "http://127.0.0.1:1/", Only: []string{"R1", "A16", "F1"}})
	for _, result := range report.Results {
		if result.Outcome != providertest.Skipped || result.Detail == "" {
			t.Errorf("%+v, want it skipped with a reason", result)
		}
	}
	if len(report.Results) != 3 || report.OK() {
		t.Errorf("%d results, OK %v; want three and not OK", len(report.Results), report.OK())
	}
}
