package gate

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/purser-dev/purser"
)

// problem is RFC 9457 with the members of a purser.Error.
type problem struct {
	Type       string               `json:"type"`
	Title      string               `json:"title"`
	Status     int                  `json:"status"`
	Detail     string               `json:"detail"`
	Code       purser.Code          `json:"code"`
	Class      purser.Class         `json:"class"`
	Hint       string               `json:"hint,omitempty"`
	RetryAfter int64                `json:"retry_after,omitempty"` // seconds
	Budgets    []purser.BudgetLine  `json:"budgets,omitempty"`
	Blockers   []purser.Blocker     `json:"blockers,omitempty"`
	Provider   *purser.ProviderSaid `json:"provider,omitempty"`
	Plan       string               `json:"plan,omitempty"`
	Reference  string               `json:"reference,omitempty"`
	Replay     bool                 `json:"replay,omitempty"`
}

// Problem answers a request with what may be shown of an error, and notes it.
func Problem(w http.ResponseWriter, r *http.Request, err error) {
	e := EntryOf(r.Context()).Fail(err)
	write(w, r, e, e.Code.Info().HTTP)
}

// ProblemStatus is Problem with another status than the code's own: HTTP says
// "method not allowed" and "unsupported media type" more exactly.
func ProblemStatus(w http.ResponseWriter, r *http.Request, err error, status int) {
	write(w, r, EntryOf(r.Context()).Fail(err), status)
}

func write(w http.ResponseWriter, r *http.Request, e *purser.Error, status int) {
	info := e.Code.Info()
	p := problem{
		Type: "https://purser.dev/errors/" + string(e.Code), Title: info.Meaning, Status: status,
		Detail: e.Detail, Code: e.Code, Class: info.Class, Hint: e.Hint, RetryAfter: seconds(e.RetryAfter),
		Budgets: e.Budgets, Blockers: e.Blockers, Provider: e.Provider, Plan: e.Plan, Reference: e.Reference, Replay: e.Replay,
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	if status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", EntryOf(r.Context()).howToSignIn())
	}
	var text bytes.Buffer
	_ = json.NewEncoder(&text).Encode(p) // our own type, which can be written
	h.Set("Content-Length", strconv.Itoa(text.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text.Bytes()) // the caller is gone: nobody is left to tell
	}
}

// seconds rounds up: who comes back then must not be too early again.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// watched remembers whether an answer has begun, and which.
type watched struct {
	http.ResponseWriter
	begun bool
	code  int
}

func (w *watched) WriteHeader(code int) {
	if !w.begun && code >= http.StatusOK {
		w.begun, w.code = true, code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *watched) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun, w.code = true, http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
