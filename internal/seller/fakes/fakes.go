// Package fakes is providers that behave as real ones were seen to, for tests of the orchestrator's side of APP.
package fakes

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

// Secret signs the calls to every fake.
const Secret = "whsec_fakes"

// Call is one request that a fake got.
type Call struct {
	Method, Path, Key, Bearer string
	Body                      map[string]any
}

// log remembers what a fake was asked.
type log struct {
	mu    sync.Mutex
	calls []Call
}

// Calls are the requests of a method whose path ends so, in their order.
func (l *log) Calls(method, suffix string) []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Call
	for _, c := range l.calls {
		if c.Method == method && strings.HasSuffix(c.Path, suffix) {
			out = append(out, c)
		}
	}
	return out
}

// read takes a request's body and remembers the call.
func (l *log) read(r *http.Request) ([]byte, Call, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, app.MaxRequestBytes))
	c := Call{
		Method: r.Method, Path: r.URL.Path, Key: r.Header.Get(app.HeaderIdempotencyKey),
		Bearer: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), Body: map[string]any{},
	}
	if err == nil && len(raw) > 0 {
		_ = json.Unmarshal(raw, &c.Body) // a form is kept apart by its route
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	return raw, c, err
}

// signed checks the HMAC signature (APP 5.1).
func signed(r *http.Request, raw []byte) bool {
	s, err := app.ParseSignature(r.Header.Get(app.HeaderSignature))
	if err != nil || !s.Fresh(time.Now()) {
		return false
	}
	_, ok := s.Match(Secret, raw)
	return ok
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

type object = map[string]any

func text(v any) string {
	s, _ := v.(string)
	return s
}

func random(prefix string) string { return prefix + rand.Text() }

// manifest is a fake's manifest text.
func manifest(t *testing.T, m app.Manifest) string {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
