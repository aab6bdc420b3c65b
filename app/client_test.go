package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func clientOf(t *testing.T, base string, change func(*ClientConfig)) *Client {
	t.Helper()
	signer, err := NewSigner(SignerConfig{Secrets: []string{vectorSecret}, Key: &Key{ID: "k1", Private: vectorKey()}})
	if err != nil {
		t.Fatal(err)
	}
	config := ClientConfig{BaseURL: base + "/app", TokenURL: base + "/app/oauth/token", Signer: signer, Account: "acct_1", Organization: "org_1"}
	if change != nil {
		change(&config)
	}
	c, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

func TestTheBodyDecidesBeforeTheHTTPStatus(t *testing.T) {
	for _, test := range []struct {
		title, body string
		status      int
		code        string // "" is success
		unknown     bool
	}{
		{"complete", `{"status":"complete","id":"r"}`, 200, "", false},
		{"complete with unknown members and no service id", `{"status":"complete","id":"r","x":{"y":1},"complete":{"z":1}}`, 200, "", false},
		{"pending by 202", `{"status":"pending","id":"r"}`, 202, "", false},
		{"complete by 500", `{"status":"complete","id":"r"}`, 500, "", false},
		{"an unknown status", `{"status":"dreaming","id":"r"}`, 200, "", false},
		{"a status error by 200", `{"status":"error","id":"r","error":{"code":"unknown_service","message":"m"}}`, 200, CodeUnknownService, false},
		{"a flat error by 200", `{"error":{"code":"x"}}`, 200, "x", false},
		{"a refusal", `{"status":"error","id":"r","error":{"code":"quote_changed"}}`, 409, CodeQuoteChanged, false},
		{"a framework's refusal", `{"detail":"no"}`, 422, CodeProviderFailure, false},
		{"a page by 404", `<html>`, 404, CodeProviderFailure, false},
		{"a page by 408", `<html>`, 408, CodeProviderFailure, true},
		{"a page by 502", `<html>`, 502, CodeProviderFailure, true},
		{"nothing by 500", ``, 500, CodeProviderFailure, true},
		{"a framework's 500", `{"detail":"oops"}`, 500, CodeProviderFailure, true},
		{"server_error, which may have done half", `{"status":"error","id":"r","error":{"code":"server_error"}}`, 500, CodeServerError, true},
		{"a decided 5xx", `{"status":"error","id":"r","error":{"code":"remove_failed"}}`, 500, CodeRemoveFailed, false},
		{"a redirect", ``, 307, CodeProviderFailure, true},
		{"a page by 200", `<html>`, 200, CodeProviderFailure, true},
		{"a list by 200", `[]`, 200, CodeProviderFailure, true},
		{"an object without status by 200", `{"ok":true}`, 200, CodeProviderFailure, true},
		{"a status of another kind by 200", `{"status":5}`, 200, CodeProviderFailure, true},
		{"too much", `{"status":"complete","id":"` + strings.Repeat("x", MaxResponseBytes) + `"}`, 200, CodeProviderFailure, true},
	} {
		t.Run(test.title, func(t *testing.T) {
			var calls atomic.Int64
			base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := clientOf(t, base, nil).Create(t.Context(), Call{Bearer: "b", IdempotencyKey: "k"}, CreateRequest{ServiceID: "s"})
			var e *Error
			if errors.As(err, &e) != (test.code != "") || (e != nil && (e.Code != test.code || e.Unknown != test.unknown || e.HTTPStatus != test.status)) {
				t.Errorf("%#v, want code %q, unknown %v", err, test.code, test.unknown)
			}
			if calls.Load() != 1 {
				t.Errorf("%d calls, want one", calls.Load())
			}
		})
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var calls atomic.Int64
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			http.Redirect(w, r, "/elsewhere", status)
		})
		c := clientOf(t, base, nil)
		_, read := c.Get(t.Context(), Call{Bearer: "b"}, "r")
		_, made := c.Create(t.Context(), Call{Bearer: "b"}, CreateRequest{ServiceID: "s"})
		if read == nil || made == nil || calls.Load() != 2 {
			t.Errorf("%d: %v, %v after %d calls; want two failures after two", status, read, made, calls.Load())
		}
	}
}

func TestAnAnswerThatNeverComesIsUnknownUnlessNothingWasSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dropped := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	half := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"status":`)
	})
	for _, test := range []struct {
		title, base string
		transport   http.RoundTripper
		unknown     bool
	}{
		{"nobody listens", closed, nil, false},
		{"the connection drops after the request", dropped, nil, true},
		{"half an answer", half, nil, true},
		{"a foreign transport fails for reasons of its own", closed, roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost") }), true},
		{"a foreign transport cannot dial", closed, roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
		}), false},
	} {
		c := clientOf(t, test.base, func(c *ClientConfig) { c.Transport = test.transport })
		_, err := c.Create(t.Context(), Call{Bearer: "b", IdempotencyKey: "k"}, CreateRequest{ServiceID: "s"})
		var e *Error
		if !errors.As(err, &e) || e.Unknown != test.unknown {
			t.Errorf("%s: %#v, want unknown %v", test.title, err, test.unknown)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestACallEndsAfterThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, "http://localhost", func(c *ClientConfig) {
			c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
		})
		begin := time.Now()
		_, err := c.Create(t.Context(), Call{}, CreateRequest{ServiceID: "s"})
		var e *Error
		if took := time.Since(begin); !errors.As(err, &e) || !e.Unknown || took != 30*time.Second {
			t.Errorf("%v after %v, want an unknown outcome after 30 s", err, took)
		}
	})
}

func TestEachAttemptIsSignedAfreshOverTheBytesSent(t *testing.T) {
	seen := map[string]bool{}
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		header := r.Header.Get(HeaderSignature)
		s, err := ParseSignature(header)
		if _, ok := s.Match(vectorSecret, body); err != nil || !ok || !s.Fresh(time.Now()) || seen[header] {
			t.Errorf("signature %q of %s: %v", header, body, err)
		}
		seen[header] = true
		want := Expected{Method: "POST", URL: "http://" + r.Host + r.URL.Path, Audience: "http://" + r.Host + "/app/", Body: body, Now: time.Now()}
		if _, err := VerifyJWT(r.Header.Get(HeaderSignatureV2), findVectorKey, want); err != nil {
			t.Errorf("V2: %v", err)
		}
		if r.Header.Get(HeaderNeutralSignature) != header || r.Header.Get(HeaderVersion) != Version || r.Header.Get(HeaderIdempotencyKey) != "k" {
			t.Errorf("headers %v", r.Header)
		}
		_, _ = io.WriteString(w, `{"status":"complete","id":"r"}`)
	})
	c := clientOf(t, base, nil)
	for range 3 {
		if _, err := c.Create(t.Context(), Call{Bearer: "b", IdempotencyKey: "k"}, CreateRequest{ServiceID: "s"}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheProfileShapesTheOrchestratorBlock(t *testing.T) {
	var got map[string]any
	var header http.Header
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		got, header = body["orchestrator"].(map[string]any), r.Header
		_, _ = io.WriteString(w, `{"type":"requires_auth","requires_auth":{"url":"http://evil.example/"}}`)
	})
	for profile, want := range map[Profile]map[string]any{
		ProfilePurser: {"type": "purser", "account": "acct_1", "purser": map[string]any{"account": "acct_1", "organization": "org_1"}},
		ProfileStripe: {"type": "stripe", "stripe": map[string]any{"account": "acct_1", "organization": "org_1", "organisation": "org_1"}},
	} {
		answer, err := clientOf(t, base, func(c *ClientConfig) { c.Profile = profile }).AccountRequest(t.Context(), AccountRequest{Email: "a@b.example"})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", profile, err, diff)
		}
		if neutral := header.Get(HeaderNeutralSignature) != ""; neutral != (profile == ProfilePurser) {
			t.Errorf("%s: neutral header %v", profile, neutral)
		}
		if answer.RequiresAuth.Target() != "" {
			t.Error("an http URL of another host would be opened")
		}
	}
}

func TestACatalogIsReadPageByPageAndEnds(t *testing.T) {
	for _, test := range []struct {
		title string
		next  func(cursor string) string
		want  int
	}{
		{"one page", func(string) string { return `null` }, 1},
		{"an empty cursor", func(string) string { return `""` }, 1},
		{"three pages", func(c string) string { return map[string]string{"": `"a"`, "a": `"b"`, "b": `null`}[c] }, 3},
		{"a repeated cursor", func(string) string { return `"a"` }, 2},
		{"no data", nil, -1},
		{"no end", func(c string) string { return `"` + c + `x"` }, 100},
	} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if test.next == nil {
				_, _ = io.WriteString(w, `{"data":null}`)
				return
			}
			_, _ = io.WriteString(w, `{"data":[{"id":"s"}],"next_cursor":`+test.next(r.URL.Query().Get("cursor"))+`}`)
		})
		entries, err := clientOf(t, base, nil).Services(t.Context())
		if (err != nil) != (test.want < 0) || len(entries) != max(test.want, 0) {
			t.Errorf("%s: %d entries, %v; want %d", test.title, len(entries), err, test.want)
		}
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"30": 30 * time.Second, "Mon, 23 Nov 2026 12:01:00 GMT": time.Minute, "": 0, "-1": 0, "soon": 0, "Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q is %v, want %v", value, got, want)
		}
	}
}

func TestAClientRefusesInsecureURLs(t *testing.T) {
	signer, err := NewSigner(SignerConfig{Secrets: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	for base, want := range map[string]bool{
		"https://p.example/app": true, "http://127.0.0.1:1/app": true, "http://[::1]:1/": true, "http://localhost:1/": true,
		"http://p.example/app": false, "http://127.0.0.1.evil.example/": false, "ftp://localhost/": false, "/app": false, "": false, "https://u:p@p.example/": false,
	} {
		if _, err := NewClient(ClientConfig{BaseURL: base, TokenURL: "https://p.example/t", Signer: signer}); (err == nil) != want {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := NewClient(ClientConfig{BaseURL: "https://p.example/", TokenURL: "https://p.example/t"}); err == nil {
		t.Error("a client without a signer was made")
	}
}

func TestFindTellsNoneFromOneAndRefusesTwo(t *testing.T) {
	for body, want := range map[string]string{
		`{"data":[]}`: "none", `{}`: "error", `{"data":null}`: "error", `{"data":[{"status":"complete","id":"r1"}]}`: "r1", `{"data":[{"id":"a"},{"id":"b"}]}`: "error",
	} {
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		r, found, err := clientOf(t, base, nil).Find(t.Context(), Call{Bearer: "b"}, "o1")
		got := "none"
		if found {
			got = r.ID
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestAnEndedContextSendsNothing(t *testing.T) {
	var calls atomic.Int64
	base := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := clientOf(t, base, nil).Create(ctx, Call{}, CreateRequest{ServiceID: "s"})
	var e *Error
	if !errors.As(err, &e) || e.Unknown || calls.Load() != 0 {
		t.Errorf("%v after %d calls, want a certain failure", err, calls.Load())
	}
}

func TestAHundredResourcesCanBeCutInOneSecond(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"complete","id":"r"}`)
	})
	now := time.Now()
	signer, err := NewSigner(SignerConfig{Secrets: []string{"s"}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, base, func(c *ClientConfig) { c.Signer = signer })
	for i := range 100 {
		if _, err := c.Cut(t.Context(), Call{Bearer: "b"}, fmt.Sprint("res_", i), nil); err != nil {
			t.Fatalf("resource %d: %v", i, err)
		}
	}
}
