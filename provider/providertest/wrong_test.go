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

// wrongProviders: each breaks one rule. testdata/wrong_providers.txt says which
// cases fail on it; all others pass.
var wrongProviders = []struct {
	name   string
	change func(*provider.Config)
	tamper func() func(http.Handler) http.Handler
	on     string // the variant; default base
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
}
