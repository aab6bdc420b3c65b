// Package cloudflare deploys static sites over Cloudflare's Workers API, to the vendor or to the local cloud.
package cloudflare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Target is an account to deploy to. BaseURL ends in /client/v4. Token is a bearer
// token with the right to edit Workers.
type Target struct {
	BaseURL, AccountID, Token string
	// HTTP sends the requests; nil is a client with a limit of two minutes each.
	HTTP *http.Client
	// Pause waits between tries; nil waits for real. Tests give their own.
	Pause func(context.Context, time.Duration) error
}

// Error is a failed call. Status and Code are the vendor's (0 when there was no
// answer). Unknown is true when the call may have changed what is live and nobody
// could tell: look before repeating. Its text is the vendor's and untrusted.
type Error struct {
	Op           string
	Status, Code int
	Message      string
	Unknown      bool

	retry bool
	after time.Duration
	cause error
}

func (e *Error) Error() string {
	text := "cloudflare: " + e.Op
	if e.Status != 0 {
		text += fmt.Sprintf(": HTTP %d", e.Status)
	}
	if e.Code != 0 {
		text += fmt.Sprintf(" (code %d)", e.Code)
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.Unknown {
		text += "; the outcome is unknown"
	}
	return text
}

func (e *Error) Unwrap() error { return e.cause }

// Codes of the vendor that have a meaning here.
const (
	codeScriptMissing  = 10007
	codeServiceMissing = 10090
	codeZoneMissing    = 100114
)

// Missing tells that the script, or the account's subdomain, does not exist.
func (e *Error) Missing() bool {
	return e.Status == http.StatusNotFound || e.Code == codeScriptMissing || e.Code == codeServiceMissing
}

const (
	maxAnswer     = 16 << 20
	requestTime   = 2 * time.Minute
	longestPause  = time.Minute
	tries         = 3
	uploadTries   = 5
	maxMessage    = 500
	retryInterval = time.Second
)

type client struct {
	Target
	base, account string // "…/client/v4" and "/accounts/ID"
}

func newClient(t Target) (*client, error) {
	base, err := url.Parse(t.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("cloudflare: %q is not a base URL", t.BaseURL)
	}
	if t.HTTP == nil {
		t.HTTP = &http.Client{Timeout: requestTime}
	}
	if t.Pause == nil {
		t.Pause = pause
	}
	hc := *t.HTTP
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.HTTP = &hc // a redirect would carry the token elsewhere
	return &client{t, strings.TrimSuffix(t.BaseURL, "/"), "/accounts/" + url.PathEscape(t.AccountID)}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// request is one call; path follows the base URL. Body makes the body anew for each try.
type request struct {
	op, method, path string
	contentType      string
	body             func() (io.Reader, error)
	token            string
	tries            int
}

func jsonBody(in any) (func() (io.Reader, error), error) {
	data, err := json.Marshal(in)
	return func() (io.Reader, error) { return bytes.NewReader(data), nil }, err
}

// get asks and decodes the result.
func (c *client) get(ctx context.Context, op, path string, result any) error {
	return c.do(ctx, request{op: op, method: http.MethodGet, path: path}, result)
}

// send sends JSON and decodes the result.
func (c *client) send(ctx context.Context, op, method, path string, in, result any) error {
	body, err := jsonBody(in)
	if err != nil {
		return err
	}
	return c.do(ctx, request{op: op, method: method, path: path, contentType: "application/json", body: body}, result)
}

// do tries a request again on 5xx, 429 and lost connections, which is safe because
// each request of a deploy may be repeated.
func (c *client) do(ctx context.Context, r request, result any) error {
	if r.tries == 0 {
		r.tries = tries
	}
	var unclear bool
	for try := 1; ; try++ {
		err := c.once(ctx, r, result)
		var failed *Error
		if !errors.As(err, &failed) {
			return err
		}
		unclear = unclear || failed.Unknown
		failed.Unknown = unclear // an earlier try may have done the work
		if !failed.retry || try == r.tries || failed.after > longestPause || ctx.Err() != nil {
			return failed
		}
		if try == 1 && failed.after == 0 {
			continue
		}
		if err := c.Pause(ctx, max(failed.after, retryInterval)); err != nil {
			return failed
		}
	}
}

func (c *client) once(ctx context.Context, r request, result any) error {
	var body io.Reader
	if r.body != nil {
		var err error
		if body, err = r.body(); err != nil {
			return err
		}
	}
	hr, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, body)
	if err != nil {
		return err
	}
	token := c.Token
	if r.token != "" {
		token = r.token
	}
	hr.Header.Set("Authorization", "Bearer "+token)
	if r.contentType != "" {
		hr.Header.Set("Content-Type", r.contentType)
	}
	changes := r.method != http.MethodGet
	answer, err := c.HTTP.Do(hr)
	if err != nil {
		return &Error{Op: r.op, Message: "no answer", Unknown: changes, retry: true, cause: err}
	}
	defer answer.Body.Close()
	return read(r, answer, result)
}

// read takes the envelope apart.
func read(r request, answer *http.Response, result any) error {
	changes := r.method != http.MethodGet
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil || len(data) > maxAnswer {
		return &Error{Op: r.op, Status: answer.StatusCode, Message: "the answer broke off", Unknown: changes, retry: true, cause: err}
	}
	var envelope struct {
		Success bool `json:"success"`
		Errors  []struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Result json.RawMessage `json:"result"`
	}
	parsed := json.Unmarshal(data, &envelope) == nil
	if parsed && envelope.Success && answer.StatusCode < 300 {
		if result == nil || len(envelope.Result) == 0 {
			return nil
		}
		if err := json.Unmarshal(envelope.Result, result); err != nil {
			return &Error{Op: r.op, Status: answer.StatusCode, Message: "the answer has another form", Unknown: changes, cause: err}
		}
		return nil
	}
	failed := &Error{Op: r.op, Status: answer.StatusCode, after: retryAfter(answer.Header)}
	failed.retry = answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests
	failed.Unknown = changes && (answer.StatusCode >= 500 || answer.StatusCode < 300)
	if len(envelope.Errors) > 0 {
		failed.Code = envelope.Errors[0].Code
		failed.Message = envelope.Errors[0].Message[:min(len(envelope.Errors[0].Message), maxMessage)]
	}
	return failed
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
