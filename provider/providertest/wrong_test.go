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
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

// resign signs a request anew, so that a layer may change it.
func resign(r *http.Request, body []byte) {
	r.Header.Set(app.HeaderSignature, app.SignatureHeader([]string{secret}, time.Now().Unix(), body))
	setBody(r, body)
}

func setBody(r *http.Request, body []byte) {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
}

// bodyOf reads a body and leaves it to be read again, breaking off where it broke off.
func bodyOf(r *http.Request) []byte {
	length := r.ContentLength
	body, err := io.ReadAll(r.Body)
	setBody(r, body)
	if err != nil {
		r.ContentLength = length
	}
	return body
}

// requests is a layer that changes what comes in.
func requests(change func(r *http.Request, body []byte)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body := bodyOf(r); r.ContentLength <= int64(len(body)) { // else it broke off
				change(r, body)
			}
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

// wrongProviders: each breaks one rule. testdata/wrong_providers.txt says which
// cases fail on it; all others pass.
var wrongProviders = []struct {
	name   string
	change func(*provider.Config)
	tamper func() func(http.Handler) http.Handler
	both   func() (func(*provider.Config), func(http.Handler) http.Handler) // where the two share something
	on     string                                                           // the variant; default base
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
	},
	{
		name: "checks no signature at all",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, body []byte) { resign(r, body) })
		},
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
	},
	{
		name: "checks no version",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) { r.Header.Set(app.HeaderVersion, app.Version) })
		},
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
	},
	{
		name: "knows no Idempotency-Key",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) { r.Header.Del(app.HeaderIdempotencyKey) })
		},
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
	},
	{
		name: "mints a secret on each read",
		change: func(c *provider.Config) {
			var n atomic.Int64
			c.Hooks.Read = func(context.Context, provider.Resource) (provider.Provisioned, error) {
				return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": fmt.Sprint("minted-", n.Add(1))}}, nil
			}
		},
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
	},
	{
		name: "takes what it got of a body that broke off",
		tamper: func() func(http.Handler) http.Handler {
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					setBody(r, body)
					next.ServeHTTP(w, r)
				})
			}
		},
	},
	{
		name: "opens another page each time it is asked for consent",
		tamper: func() func(http.Handler) http.Handler {
			var n atomic.Int64
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				edits(rec, func(m map[string]any) {
					auth, ok := m["requires_auth"].(map[string]any)
					if !ok {
						return
					}
					page := fmt.Sprintf("%v&page=%d", auth["url"], n.Add(1))
					auth["url"], auth["redirect"] = page, map[string]any{"url": page}
				})
			})
		},
	},
	{
		name: "links existing accounts without asking",
		change: func(c *provider.Config) {
			c.Orchestrators = slices.Clone(c.Orchestrators)
			c.Orchestrators[0].SilentExisting = true
		},
	},
	{
		name: "takes any token for its own",
		change: func(c *provider.Config) {
			c.Orchestrators = slices.Clone(c.Orchestrators[:1])
			c.Orchestrators[0].Secrets = []string{secret, otherSecret}
		},
	},
	{
		name: "sells paid things for nothing",
		change: func(c *provider.Config) {
			c.Hooks.Subscribed = func(context.Context, provider.Account, string) (bool, error) { return true, nil }
		},
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
	},
	{
		name: "shows everybody everything",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			first, issued := "", map[string]bool{}
			return func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					form, _ := url.ParseQuery(string(bodyOf(r)))
					verifier := form.Get("code_verifier")
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
						if verifier == strings.Repeat("v", 43) {
							return // of another orchestrator
						}
						issued[token.AccessToken] = true
						if first == "" {
							first = token.AccessToken
						}
					})(next).ServeHTTP(w, r)
				})
			}
		},
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
	},
	{
		name: "checks the bearer after the body",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/resources") && !json.Valid(body) && rec.Code == http.StatusUnauthorized {
					says(rec, http.StatusBadRequest, `{"status":"error","id":"","error":{"code":"invalid_request","message":""}}`)
				}
			})
		},
	},
	{
		name: "mints a secret again on a retry",
		tamper: func() func(http.Handler) http.Handler {
			var n atomic.Int64
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if isCreate(r) {
					edits(rec, func(m map[string]any) {
						if complete, ok := m["complete"].(map[string]any); ok {
							complete["access_configuration"] = map[string]any{"api_key": fmt.Sprint("minted-", n.Add(1))}
						}
					})
				}
			})
		},
	},
	{
		name:   "refuses a bad V2 signature that it should only log",
		change: func(c *provider.Config) { c.Orchestrators[0].V2 = provider.Require },
	},
	{
		name:   "only logs a bad V2 signature that it should refuse",
		change: func(c *provider.Config) { c.Orchestrators[0].V2 = provider.Log },
		on:     "strict",
	},
	{
		name:   "lets a captured signature open another path",
		change: func(c *provider.Config) { c.Orchestrators[0].Replay = provider.Log },
		on:     "strict",
	},
	{
		name: "tolerates sixty seconds only",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) {
				s, err := app.ParseSignature(r.Header.Get(app.HeaderSignature))
				if err != nil {
					return
				}
				var at int64
				_, _ = fmt.Sscan(s.Stamp, &at)
				if gap := time.Now().Unix() - at; gap > 60 || gap < -60 {
					r.Header.Set(app.HeaderSignature, "t=1,v1=00")
				}
			})
		},
	},
	{
		name: "reads only hex in lower case",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) {
				if value := r.Header.Get(app.HeaderSignature); value != strings.ToLower(value) {
					r.Header.Set(app.HeaderSignature, "t=1,v1=00")
				}
			})
		},
	},
	{
		name: "matches no slash at the end of a path",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if strings.HasSuffix(r.URL.Path, "/") {
					says(rec, http.StatusNotFound, `{"error":{"code":"not_found","message":""}}`)
				}
			})
		},
	},
	{
		name: "answers a spent refresh token again",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			first := map[string][]byte{}
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				form, _ := url.ParseQuery(string(body))
				token := form.Get("refresh_token")
				if !at(r, "/oauth/token") || token == "" {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if rec.Code == http.StatusOK {
					first[token] = bytes.Clone(rec.Body.Bytes())
				} else if first[token] != nil {
					says(rec, http.StatusOK, string(first[token]))
				}
			})
		},
	},
	{
		name: "offers what it does not declare",
		change: func(c *provider.Config) {
			c.Manifest.DeepLinkPurposes = []string{"dashboard"}
			c.Hooks.Quote = func(context.Context, provider.QuoteRequest) (app.Quote, error) {
				return app.Quote{Item: "thing", Currency: "USD", Interval: "once"}, nil
			}
			c.Hooks.Update = func(context.Context, provider.Resource, provider.Request) (provider.Provisioned, error) {
				return provider.Provisioned{}, nil
			}
			c.Hooks.Rotate = func(context.Context, provider.Resource) (provider.Provisioned, error) {
				return provider.Provisioned{AccessConfiguration: map[string]string{"api_key": "new"}}, nil
			}
		},
		on: "plain",
	},
	{
		name: "hides that it has no secret",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Body.String(), app.CodeServerError) {
					says(rec, http.StatusUnauthorized, `{"error":{"code":"invalid_signature","message":""}}`)
				}
			})
		},
	},
	{
		name:   "links another workspace than was asked for",
		change: func(c *provider.Config) { c.WorkspaceKey = "another_key" },
		on:     "silent",
	},
	{
		name:   "asks although it should link silently",
		change: func(c *provider.Config) { c.Orchestrators[0].SilentExisting = false },
		on:     "silent",
	},
	{
		name: "takes any email for attested",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, body []byte) {
				if at(r, "/account_requests") && bytes.Contains(body, []byte(`["name"]`)) {
					resign(r, bytes.ReplaceAll(body, []byte(`["name"]`), []byte(`["name","email"]`)))
				}
			})
		},
		on: "silent",
	},
	{
		name: "invents an account when it cannot make one",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Body.String(), app.CodeAccountCreation) {
					says(rec, http.StatusOK, `{"type":"oauth","oauth":{"code":"anything"}}`)
				}
			})
		},
	},
	{
		name: "calls a dead region its own fault",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if rec.Code == http.StatusBadGateway {
					says(rec, http.StatusInternalServerError, `{"error":{"code":"server_error","message":""}}`)
				}
			})
		},
	},
	{
		name: "asks for information without saying which",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				edits(rec, func(m map[string]any) {
					if m["needs_information"] != nil {
						m["needs_information"] = map[string]any{"schema": map[string]any{}}
					}
				})
			})
		},
	},
	{
		name: "refuses scopes that are not its default",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				if at(r, "/account_requests") && bytes.Contains(body, []byte("conformance:write")) {
					says(rec, http.StatusBadRequest, `{"type":"error","error":{"code":"invalid_scope","message":""}}`)
				}
			})
		},
	},
	{
		name: "breaks with its catalog",
		both: func() (func(*provider.Config), func(http.Handler) http.Handler) {
			var down atomic.Bool
			return func(c *provider.Config) {
					live := c.Hooks.Services
					c.Hooks.Services = func(ctx context.Context) ([]app.CatalogService, error) {
						services, err := live(ctx)
						down.Store(err != nil)
						return services, err
					}
				}, answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
					if at(r, "/services") && down.Load() {
						says(rec, http.StatusServiceUnavailable, `{"error":{"code":"server_error","message":""}}`)
					}
				})
		},
	},
	{
		name: "refuses without saying for how long",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) { rec.Header().Del("Retry-After") })
		},
	},
	{
		name: "counts requests although budgets are off",
		tamper: func() func(http.Handler) http.Handler {
			var last atomic.Bool
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				// The second account request in a row that would make an account.
				if !at(r, "/account_requests") || rec.Code != http.StatusOK {
					last.Store(false)
				} else if last.Swap(true) {
					rec.Header().Set("Retry-After", "60")
					says(rec, http.StatusTooManyRequests, `{"type":"error","error":{"code":"rate_limited","message":""}}`)
				}
			})
		},
	},
	{
		name: "gives partners a token of a year",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/oauth/token") {
					edits(rec, func(m map[string]any) { m["expires_in"] = 365 * 86400 })
				}
			})
		},
		on: "generic",
	},
	{
		name: "lets every partner do everything",
		change: func(c *provider.Config) {
			c.Generic.Rights = func(context.Context, provider.PartnerDocument) (provider.PartnerRights, error) {
				return provider.PartnerRights{GitHub: true, Payer: true}, nil
			}
		},
		on: "generic",
	},
	{
		name: "spends a partner's budget on refusals",
		tamper: func() func(http.Handler) http.Handler {
			var refused atomic.Int64
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/account_requests") && rec.Code == http.StatusForbidden && refused.Add(1) > 20 {
					says(rec, http.StatusTooManyRequests, `{"type":"error","error":{"code":"rate_limited","message":""}}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "asks no client for its proof",
		change: func(c *provider.Config) {
			c.Generic.HTTP = documents(func(m map[string]any) { m["token_endpoint_auth_method"] = "none" })
		},
		on: "generic",
	},
	{
		name: "keeps no ceiling of scopes",
		change: func(c *provider.Config) {
			c.Generic.HTTP = documents(func(m map[string]any) {
				if block, ok := m["dev.purser"].(map[string]any); ok {
					block["scopes"] = []string{}
				}
			})
		},
		on: "generic",
	},
	{
		name: "answers 400 where a verifier or challenge is missing",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/oauth/token") && strings.Contains(rec.Body.String(), app.CodeInvalidRequest) {
					rec.Code = http.StatusBadRequest
				}
			})
		},
		on: "generic",
	},
	{
		name: "links a partner's user silently",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Body.String(), app.AnswerRequiresAuth) {
					says(rec, http.StatusOK, `{"type":"oauth","oauth":{"code":"anything"}}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "answers clients in another envelope",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Body.String(), app.CodeInvalidClient) {
					says(rec, http.StatusUnauthorized, `{"type":"error","error":{"code":"unauthorized","message":""}}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "registers whom it does not know",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/client_registration") && rec.Code == http.StatusBadRequest {
					says(rec, http.StatusOK, `{"registered":true,"checks":[]}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "opens the payer to anybody",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(r.URL.Path, "/payer") && (rec.Code == http.StatusForbidden || rec.Code == http.StatusUnauthorized) {
					says(rec, http.StatusOK, `{"data":[]}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "passes over what a payer may not change",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if r.Method == http.MethodPatch && rec.Code == http.StatusBadRequest {
					says(rec, http.StatusOK, `{"webhook_url":null,"spend_alert_usd":null}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "forgets what a payer sets",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if r.Method == http.MethodGet && at(r, "/payer") && rec.Code == http.StatusOK {
					says(rec, http.StatusOK, `{"webhook_url":null,"spend_alert_usd":null}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "makes a grant without a code",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, body []byte) {
				var m map[string]any
				if at(r, "/github/grants") && json.Unmarshal(body, &m) == nil && m["code"] == nil {
					m["code"] = "good"
					raw, _ := json.Marshal(m)
					setBody(r, raw)
				}
			})
		},
		on: "generic",
	},
	{
		name: "hides what GitHub says",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/github/grants") && rec.Code == http.StatusBadGateway {
					says(rec, http.StatusInternalServerError, `{"type":"error","error":{"code":"server_error","message":"internal error"}}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "shows any grant to anybody",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/repositories") && rec.Code == http.StatusNotFound {
					says(rec, http.StatusOK, `{"gh_login":"ada","installations":[],"repositories":[]}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "connects any installation",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/github_integration") && rec.Code == http.StatusBadRequest {
					says(rec, http.StatusOK, `{"status":"complete","id":"res_1"}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "says nothing of a wrong assertion",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/client_registration") {
					edits(rec, func(m map[string]any) { m["checks"] = []any{} })
				}
			})
		},
		on: "generic",
	},
	{
		name: "tells its limits to anybody",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/limits") && rec.Code == http.StatusUnauthorized {
					says(rec, http.StatusOK, `{"tier":"public"}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "uses a consent up when its page is opened",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			opened := map[string]int{}
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if !at(r, "/consent") || r.Method != http.MethodGet {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				state := r.URL.Query().Get("state")
				if opened[state]++; opened[state] > 1 {
					says(rec, http.StatusNotFound, `{"type":"error","error":{"code":"not_found","message":""}}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "lets an approval be repeated",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			var last []byte
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if !at(r, "/consent") || r.Method != http.MethodPost {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if rec.Code == http.StatusOK {
					last = bytes.Clone(rec.Body.Bytes())
				} else if last != nil && rec.Code == http.StatusNotFound {
					says(rec, http.StatusOK, string(last))
				}
			})
		},
		on: "generic",
	},
	{
		name: "lets anybody approve",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/consent") && rec.Code == http.StatusForbidden {
					says(rec, http.StatusOK, `{"redirect_url":"https://orchestrator.example/callback?code=x&state=y"}`)
				}
			})
		},
		on: "generic",
	},
	{
		name: "makes each bare create anew",
		tamper: func() func(http.Handler) http.Handler {
			var n atomic.Int64
			return requests(func(r *http.Request, body []byte) {
				var m map[string]any
				if !isCreate(r) || json.Unmarshal(body, &m) != nil || m["project_id"] == nil || m["orchestrator_resource_id"] != nil {
					return
				}
				m["project_id"] = fmt.Sprint(m["project_id"], n.Add(1))
				changed, _ := json.Marshal(m)
				resign(r, changed)
			})
		},
	},
	{
		name: "refuses members that it does not know",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				if bytes.Contains(body, []byte("unknown_member")) {
					says(rec, http.StatusBadRequest, `{"status":"error","id":"","error":{"code":"invalid_request","message":""}}`)
				}
			})
		},
	},
	{
		name: "judges a body by its Content-Type",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if r.Header.Get("Content-Type") == "text/plain" {
					says(rec, http.StatusUnsupportedMediaType, "Unsupported Media Type")
				}
			})
		},
	},
	{
		name: "compares Bearer by its case",
		tamper: func() func(http.Handler) http.Handler {
			return requests(func(r *http.Request, _ []byte) {
				if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && !strings.HasPrefix(r.Header.Get("Authorization"), "Basic ") {
					r.Header.Del("Authorization")
				}
			})
		},
	},
	{
		name: "lets caches keep credentials",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) { rec.Header().Del("Cache-Control") })
		},
	},
	{
		name: "reads the payload of a removal",
		tamper: func() func(http.Handler) http.Handler {
			return exchanges(func(r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
				var m map[string]any
				if at(r, "/remove") && json.Unmarshal(body, &m) != nil {
					says(rec, http.StatusBadRequest, `{"status":"error","id":"","error":{"code":"invalid_request","message":""}}`)
				}
			})
		},
	},
	{
		name: "restores once only",
		tamper: func() func(http.Handler) http.Handler {
			var mu sync.Mutex
			restored := map[string]bool{}
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				mu.Lock()
				defer mu.Unlock()
				if at(r, "/restore") && restored[r.URL.Path] {
					says(rec, http.StatusConflict, `{"status":"error","id":"","error":{"code":"invalid_state","message":""}}`)
				}
				restored[r.URL.Path] = true
			})
		},
	},
	{
		name:   "takes attested for verified",
		change: func(c *provider.Config) { c.Hooks.Accounts = credulous{c.Hooks.Accounts} },
	},
	{
		name: "looks at a deep link's body before its capability",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(_ *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Body.String(), app.CodeDeepLinksNotEnabled) {
					says(rec, http.StatusBadRequest, `{"status":"error","id":"","error":{"code":"invalid_path","message":""}}`)
				}
			})
		},
	},
	{
		name: "leads wherever it is asked to",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if at(r, "/deep_links") && rec.Code == http.StatusBadRequest {
					says(rec, http.StatusOK, `{"purpose":"dashboard","url":"https://seller.example/login?token=x"}`)
				}
			})
		},
	},
	{
		name: "has a page of its own for a dead link",
		tamper: func() func(http.Handler) http.Handler {
			return answers(func(r *http.Request, rec *httptest.ResponseRecorder) {
				if strings.Contains(rec.Header().Get("Location"), "expired_or_invalid_token") {
					rec.Header().Del("Location")
					says(rec, http.StatusGone, "gone")
				}
			})
		},
	},
	{
		name:   "forwards to another region twice",
		change: func(c *provider.Config) { c.HTTP = twice{} },
	},
}

// credulous believes every email.
type credulous struct{ provider.Accounts }

func (c credulous) Account(ctx context.Context, id string) (provider.Account, error) {
	a, err := c.Accounts.Account(ctx, id)
	a.EmailVerified = true
	return a, err
}

// twice sends an account request two times.
type twice struct{}

func (twice) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	setBody(r, body)
	if at(r, "/account_requests") {
		first, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		_ = first.Body.Close()
		setBody(r, body)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// documents fetches client documents and changes them.
func documents(change func(m map[string]any)) provider.Doer { return fetcher{change} }

type fetcher struct{ change func(m map[string]any) }

func (f fetcher) Do(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if json.Unmarshal(body, &m) == nil {
		f.change(m)
		body, _ = json.Marshal(m)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
