package app

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestAKeySetRefetchesOnceAMinuteAndOutlivesAnOutage(t *testing.T) {
	now := time.Unix(vectorTime, 0)
	fetches, down, kids := 0, false, []string{"k1"}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fetches++
		if down || r.Header.Get("Authorization") != "Bearer token" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"public_keys":[{"kid":"short","crv":"Ed25519","x":"AAAA"},{"kid":"other","crv":"P-256","x":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w"}`)
		for _, kid := range kids {
			_, _ = fmt.Fprintf(w, `,{"kid":%q,"crv":"Ed25519","x":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w","expires_at":%q}`, kid, now.Add(time.Hour).UTC().Format(time.RFC3339))
		}
		_, _ = io.WriteString(w, `]}`)
	})
	set := &KeySet{URL: url, Token: "token", Now: func() time.Time { return now }}
	for _, step := range []struct {
		title   string
		pass    time.Duration
		before  func()
		kid     string
		want    bool
		fetches int
	}{
		{"the first look fetches", 0, nil, "k1", true, 1},
		{"the next does not", 0, nil, "k1", true, 1},
		{"an unknown kid waits for its minute", 59 * time.Second, func() { kids = []string{"k1", "k2"} }, "k2", false, 1},
		{"then refetches once", time.Second, nil, "k2", true, 2},
		{"another curve is no key", time.Minute, nil, "other", false, 3},
		{"a short key is no key", time.Minute, nil, "short", false, 4},
		{"an outage keeps the last good keys", 6 * time.Minute, func() { down = true }, "k1", true, 5},
		{"until each one's expiry", time.Hour, nil, "k1", false, 6},
	} {
		now = now.Add(step.pass)
		if step.before != nil {
			step.before()
		}
		if _, ok := set.Find(t.Context(), step.kid); ok != step.want || fetches != step.fetches {
			t.Errorf("%s: found %v after %d fetches, want %v after %d", step.title, ok, fetches, step.want, step.fetches)
		}
	}
}
