// Package client calls the HTTP API of a Purser server, one method for each operation of the contract.
//
// Failures are *purser.Error with the code, the hint and all lists that the
// server sent. A server that cannot be reached is unavailable; a changing call
// whose answer was lost is outcome_unknown, and the same call under the same
// key (WithKey) tells what became of it.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// answerLimit bounds an answer that is read into memory, in bytes.
const answerLimit = 64 << 20

// Config says which server to call, and as whom.
type Config struct {
	URL        string       // of the server: http://localhost:7627
	Token      string       // bearer; empty for operations that anyone may call
	HTTPClient *http.Client // default: own connections, no redirects
	UserAgent  string       // default "purser"
	Random     io.Reader    // of idempotency keys; default crypto/rand
}

// Client calls one server with one credential. It is safe for concurrent use.
type Client struct {
	base   string
	config Config
	pause  func(context.Context, time.Duration) error
}

// New makes a client. An address that is not http or https is invalid_request.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, purser.Errorf(purser.InvalidRequest, "%q is not the address of a server", redacted(u, c.URL)).
			WithHint("write it like http://localhost:7627")
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Transport: transport(), CheckRedirect: stay}
	}
	if c.UserAgent == "" {
		c.UserAgent = "purser"
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return &Client{base: strings.TrimRight(c.URL, "/"), config: c, pause: pause}, nil
}

// redacted keeps a password that was typed into an address out of messages.
func redacted(u *url.URL, text string) string {
	if u == nil {
		return "the text given"
	}
	if u.User != nil {
		return u.Redacted()
	}
	return text
}

// transport waits for an answer longer than the longest operation (apply waits
// 55 seconds), and not for ever.
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.ResponseHeaderTimeout = 90 * time.Second
	t.MaxIdleConnsPerHost = 16
	return t
}

// stay refuses redirects: one would carry the token to another place.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

type keyOf struct{}

// WithKey gives the next changing call its idempotency key (1 to 255 visible
// ASCII characters). The same key with the same request gives the same outcome.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, keyOf{}, key)
}

// NewKey makes a key that nobody else makes, for callers that want to show it or to
// keep it. It begins with the time, so that keys that are made one after the other
// are stored side by side.
func (c *Client) NewKey() (string, error) {
	return purser.NewID(purser.PrefixKey, time.Now(), c.config.Random)
}

// key takes the caller's key, or makes one.
func (c *Client) key(ctx context.Context) (string, error) {
	if k, ok := ctx.Value(keyOf{}).(string); ok && k != "" {
		return k, nil
	}
	return c.NewKey()
}

// call is the one way in which operations travel.
func call[Out any](ctx context.Context, c *Client, name string, in any) (Out, error) {
	var out Out
	op, err := operation(name)
	if err != nil {
		return out, err
	}
	r, err := write(op, in)
	if err != nil {
		return out, err
	}
	if op.Changes {
		if r.key, err = c.key(ctx); err != nil {
			return out, err
		}
	}
	body, err := c.insist(ctx, r)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, purser.Errorf(purser.Unavailable, "%s does not answer like a Purser server", c.base).
			WithHint("check the address; a newer server needs a newer client").WithCause(err)
	}
	return out, nil
}

func operation(name string) (purser.Operation, error) {
	for _, op := range purser.Operations() {
		if op.Name == name {
			return op, nil
		}
	}
	return purser.Operation{}, fmt.Errorf("no operation is called %q", name)
}

// tries is how often one call is sent, under one key.
const tries = 3

// insist sends a request, and again where that is safe: reads, and changes under
// their key. Nobody listening is not worth waiting for; a lost answer is.
func (c *Client) insist(ctx context.Context, r request) ([]byte, error) {
	wait := 100 * time.Millisecond
	for n := 1; ; n++ {
		body, err := c.once(ctx, r)
		var e *purser.Error
		if err == nil || n == tries || !r.again() || !errors.As(err, &e) || !worthAgain(e) {
			return body, err
		}
		if c.pause(ctx, max(wait, e.RetryAfter)) != nil {
			return nil, err
		}
		wait *= 4
	}
}

// worthAgain reports whether the same request may go better within a moment.
func worthAgain(e *purser.Error) bool {
	var dial *net.OpError
	switch {
	case errors.Is(e.Cause, context.Canceled), errors.Is(e.Cause, context.DeadlineExceeded):
		return false
	case errors.As(e.Cause, &dial) && dial.Op == "dial":
		return false
	}
	return (e.Code == purser.Overloaded || e.Code == purser.Unavailable || e.Code == purser.OutcomeUnknown && e.Cause != nil) &&
		e.RetryAfter <= 2*time.Second
}

// once sends the request one time and reads the whole answer.
func (c *Client) once(ctx context.Context, r request) ([]byte, error) {
	resp, err := c.send(ctx, r, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return nil, problem(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case err != nil:
		return nil, c.lost(r, err)
	case len(body) > answerLimit:
		return nil, purser.Errorf(purser.TooLarge, "the server's answer is larger than %d MiB", answerLimit>>20)
	}
	return body, nil
}

// send makes one HTTP request with the client's credential.
func (c *Client) send(ctx context.Context, r request, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, body)
	if err != nil {
		return nil, purser.Errorf(purser.InvalidRequest, "the request cannot be sent to %s", c.base).WithCause(err)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", c.config.UserAgent)
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if c.config.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	resp, err := c.config.HTTPClient.Do(req)
	if err != nil {
		return nil, c.lost(r, err)
	}
	return resp, nil
}

// lost says what a missing answer means. The address is safe to show; the cause
// may hold more than that and stays inside.
func (c *Client) lost(r request, err error) *purser.Error {
	var dial *net.OpError
	if r.changes && (!errors.As(err, &dial) || dial.Op != "dial") {
		e := purser.Errorf(purser.OutcomeUnknown, "the answer of %s was lost", c.base).WithCause(err)
		if r.key != "" {
			e.Hint = "the same command with --key " + r.key + " tells what became of it, and does nothing twice"
		}
		return e
	}
	return purser.Errorf(purser.Unavailable, "no Purser server answers at %s", c.base).
		WithHint("purser up").WithCause(err)
}
