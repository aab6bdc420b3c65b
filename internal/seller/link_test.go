package seller

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// wire is a provider without a network, so that its waits cost no time: it answers
// the n-th account request and the n-th token call, the last ones for ever.
type wire struct {
	accounts, tokens []string // "STATUS BODY"
	requests         []app.AccountRequest
	blocks           []string
	forms            []string
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(r.URL.Path, "/token") {
		w.forms = append(w.forms, string(raw))
		return reply(w.tokens, len(w.forms)), nil
	}
	var req app.AccountRequest
	if err := json.Unmarshal(raw, &req); err != nil {
		return nil, err
	}
	w.requests, w.blocks = append(w.requests, req), append(w.blocks, string(req.Orchestrator))
	return reply(w.accounts, len(w.requests)), nil
}

func reply(script []string, n int) *http.Response {
	answer := script[min(n, len(script))-1]
	status := map[string]int{"200": 200, "202": 202, "400": 400, "429": 429}[answer[:3]]
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"5"}}, Body: io.NopCloser(strings.NewReader(answer[4:]))}
}

const (
	code        = `200 {"id":"acctreq_1","type":"oauth","oauth":{"code":"c"}}`
	registering = `202 {"type":"registering","retry_after":5}`
	granted     = `200 {"token_type":"Bearer","access_token":"at","expires_in":60,"account":{"id":"a","primary_email":"eve@example.com"}}`
	limited     = `429 {"type":"error","error":{"code":"rate_limited","message":"x"}}`
	burnt       = `400 {"error":"invalid_grant","error_description":"x"}`
)

func TestALinkGoesOnUntilItHasATokenOrAReason(t *testing.T) {
	for name, c := range map[string]struct {
		accounts, tokens []string
		code             purser.Code
		requests         int
		waited           time.Duration
	}{
		"a code":                         {[]string{code}, []string{granted}, "", 1, 0},
		"registering first":              {[]string{registering, registering, code}, []string{granted}, "", 3, 10 * time.Second},
		"registering for ever":           {[]string{registering}, nil, purser.ProviderDown, maxRounds, maxRounds * 5 * time.Second},
		"a limit on tokens":              {[]string{code}, []string{limited, granted}, "", 2, 5 * time.Second},
		"a code that ran out":            {[]string{code}, []string{burnt, granted}, "", 2, time.Second},
		"codes that never work":          {[]string{code}, []string{burnt}, purser.ProviderFailure, 2, time.Second},
		"a limit on account requests":    {[]string{limited}, nil, purser.ProviderDown, 1, 0},
		"credentials at once":            {[]string{`200 {"type":"credentials","credentials":{"type":"bearer","bearer":{"access_token":"at"}}}`}, nil, "", 1, 0},
		"credentials without a token":    {[]string{`200 {"type":"credentials","credentials":{"type":"bearer"}}`}, nil, purser.ProviderFailure, 1, 0},
		"credentials that are missing":   {[]string{`200 {"type":"credentials"}`}, nil, purser.ProviderFailure, 1, 0},
		"a code that is missing":         {[]string{`200 {"type":"oauth"}`}, nil, purser.ProviderFailure, 1, 0},
		"a token of another type":        {[]string{code}, []string{`200 {"token_type":"mac","access_token":"at"}`}, purser.ProviderFailure, 1, 0},
		"no token":                       {[]string{code}, []string{`200 {"token_type":"bearer"}`}, purser.OutcomeUnknown, 1, 0},
		"a person, in the older shape":   {[]string{`200 {"type":"requires_auth","requires_auth":{"url":"https://example.com/go"}}`}, nil, purser.NeedsPerson, 1, 0},
		"a person, without a URL":        {[]string{`200 {"type":"requires_auth"}`}, nil, purser.ProviderFailure, 1, 0},
		"a person, at a script":          {[]string{`200 {"type":"requires_auth","requires_auth":{"url":"javascript:alert(1)"}}`}, nil, purser.ProviderFailure, 1, 0},
		"more information":               {[]string{`200 {"type":"needs_information","needs_information":{"schema":{"required":["team"]}}}`}, nil, purser.NeedsInformation, 1, 0},
		"more information of no kind":    {[]string{`200 {"type":"needs_information","needs_information":{"schema":"team"}}`}, nil, purser.ProviderFailure, 1, 0},
		"more information, not said":     {[]string{`200 {"type":"needs_information"}`}, nil, purser.ProviderFailure, 1, 0},
		"another request's answer":       {[]string{`200 {"id":"acctreq_2","type":"oauth","oauth":{"code":"c"}}`}, nil, purser.ProviderFailure, 1, 0},
		"an answer that nobody knows":    {[]string{`200 {"type":"dance"}`}, nil, purser.ProviderFailure, 1, 0},
		"an error under HTTP 200":        {[]string{`200 {"type":"error","error":{"code":"account_request_expired","message":"x"}}`}, nil, purser.ProviderFailure, 1, 0},
		"a conflict with the first try":  {[]string{`400 {"type":"error","error":{"code":"idempotency_conflict","message":"x"}}`}, nil, purser.ProviderFailure, 1, 0},
		"an answer without an envelope":  {[]string{`200 {"ok":true}`}, nil, purser.OutcomeUnknown, 1, 0},
		"a conflict at the token's door": {[]string{code}, []string{`400 {"error":"invalid_client"}`}, purser.ProviderFailure, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{accounts: c.accounts, tokens: c.tokens}
				began := time.Now()
				linked, err := newSeller(w).Link(t.Context(), registered("https://example.com/"), request("acctreq_1"))
				if linked.Consent != nil && err == nil {
					err = purser.Errorf(purser.NeedsPerson, "%s", linked.Consent.URL)
				}
				check(t, "link", err, c.code)
				if c.code == "" && (linked.Token.AccessToken != "at" || linked.BaseURL != "https://example.com/") {
					t.Errorf("linked %+v", linked)
				}
				if waited := time.Since(began); len(w.requests) != c.requests || waited != c.waited {
					t.Errorf("%d requests in %v, want %d in %v", len(w.requests), waited, c.requests, c.waited)
				}
			})
		})
	}
}

// Whether the account is ours is for the office to say; it needs to see the words.
func TestTheAccountOfATokenIsHandedOnAsItCame(t *testing.T) {
	w := &wire{accounts: []string{code}, tokens: []string{granted}}
	linked, err := newSeller(w).Link(t.Context(), registered("https://example.com/"), request("acctreq_1"))
	if a := linked.Token.Account; err != nil || a == nil || a.PrimaryEmail != "eve@example.com" {
		t.Errorf("account %+v (%v)", a, err)
	}
}

func TestARequestSentAgainIsTheSameRequest(t *testing.T) {
	base := registered("https://example.com/")
	sent := func(p Provider, id string) app.AccountRequest {
		w := &wire{accounts: []string{`200 {"type":"oauth","oauth":{"code":"c"}}`}, tokens: []string{granted}}
		req := request(id)
		req.Orchestrator = json.RawMessage(`{"organization":"org_1"}`)
		if _, err := newSeller(w).Link(t.Context(), p, req); err != nil {
			t.Fatal(err)
		}
		verifier := strings.TrimPrefix(w.forms[0][strings.Index(w.forms[0], "code_verifier="):], "code_verifier=")
		verifier, _, _ = strings.Cut(verifier, "&")
		got := w.requests[0]
		if !app.Answers(got.CodeChallenge, verifier) || !app.ValidChallenge(verifier) || !app.ValidState(got.ConfirmationSecret) {
			t.Errorf("challenge %q, verifier %q, secret %q", got.CodeChallenge, verifier, got.ConfirmationSecret)
		}
		if left := time.Until(got.ExpiresAt.Time); left < 9*time.Minute || left > requestTTL {
			t.Errorf("expires in %v", left)
		}
		got.ExpiresAt = app.Time{}
		return got
	}
	first := sent(base, "acctreq_1")
	if diff := cmp.Diff(first, sent(base, "acctreq_1")); diff != "" {
		t.Errorf("the second was another: %s", diff)
	}
	other := base
	other.Name = "other"
	for _, changed := range []app.AccountRequest{sent(base, "acctreq_1x"), sent(other, "acctreq_1")} {
		if changed.CodeChallenge == first.CodeChallenge || changed.ConfirmationSecret == first.ConfirmationSecret {
			t.Error("two requests share a secret")
		}
	}
	want := `{"account":"acct_1","purser":{"account":"acct_1","organization":"org_1"},"type":"purser"}`
	if got := string(first.Orchestrator); got != want {
		t.Errorf("orchestrator %s, want %s", got, want)
	}
	stripe := base
	stripe.Profile = "stripe"
	if got := string(sent(stripe, "acctreq_1").Orchestrator); !strings.Contains(got, `"type":"stripe"`) {
		t.Errorf("the block of the stripe profile is %s", got)
	}
}

func TestALinkEndsWithItsCallersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{accounts: []string{registering}}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		began := time.Now()
		_, err := newSeller(w).Link(ctx, registered("https://example.com/"), request("acctreq_1"))
		var e *purser.Error
		if !errors.As(err, &e) || e.Code != purser.ProviderDown || e.RetryAfter != 5*time.Second {
			t.Errorf("got %+v", err)
		}
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("waited %v although the next wait could not end in time", waited)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := &wire{accounts: []string{registering}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		if _, err := newSeller(w).Link(ctx, registered("https://example.com/"), request("acctreq_1")); purser.CodeOf(err) != purser.ProviderDown {
			t.Errorf("got %v", err)
		}
	})
}

func TestARequestWithoutIdOrEmailIsNotSent(t *testing.T) {
	w := &wire{accounts: []string{code}, tokens: []string{granted}}
	for _, req := range []app.AccountRequest{{Email: "a@example.com"}, {ID: "acctreq_1"}} {
		if _, err := newSeller(w).Link(t.Context(), registered("https://example.com/"), req); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("got %v", err)
		}
	}
	if len(w.requests) != 0 {
		t.Errorf("%d requests", len(w.requests))
	}
}
