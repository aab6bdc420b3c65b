package cloudflare

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestWhatIsTriedAgainAndWhatStaysUnknown(t *testing.T) {
	const success, refusal = `{"success":true,"result":null}`, `{"success":false,"errors":[{"code":7,"message":"no"}]}`
	type answer struct {
		status     int // 0 cuts the connection
		retryAfter string
		body       string
	}
	for _, tt := range []struct {
		name    string
		answers []answer // the last one repeats
		calls   int
		unknown bool
		status  int // of the error; -1 is success
		longest time.Duration
	}{
		{"success", []answer{{200, "", success}}, 1, false, -1, 0},
		{"a refusal", []answer{{400, "", refusal}}, 1, false, 400, 0},
		{"one server error", []answer{{500, "", ""}, {200, "", success}}, 2, false, -1, 0},
		{"server errors", []answer{{503, "", "<html>"}}, 3, true, 503, time.Second},
		{"too many requests", []answer{{429, "7", refusal}, {200, "", success}}, 2, false, -1, 7 * time.Second},
		{"a pause that is too long", []answer{{429, "3600", refusal}}, 1, false, 429, 0},
		{"lost, then refused", []answer{{}, {409, "", refusal}}, 2, true, 409, 0},
		{"success that is no JSON", []answer{{200, "", "<html>hello"}}, 1, true, 200, 0},
		{"a redirect", []answer{{302, "", ""}}, 1, false, 302, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				a := tt.answers[min(calls, len(tt.answers)-1)]
				calls++
				if a.status == 0 {
					panic(http.ErrAbortHandler)
				}
				if a.retryAfter != "" {
					w.Header().Set("Retry-After", a.retryAfter)
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(a.status)
				w.Write([]byte(a.body))
			}))
			defer server.Close()
			var longest time.Duration
			c, err := newClient(Target{BaseURL: server.URL, Token: "secret", Pause: func(_ context.Context, d time.Duration) error {
				longest = max(longest, d)
				return nil
			}})
			ok(t, err)
			err = c.send(t.Context(), "testing", http.MethodPut, "/x", struct{}{}, nil)
			var failed *Error
			if errors.As(err, &failed) == (tt.status == -1) {
				t.Fatalf("error = %v", err)
			}
			if failed != nil && (failed.Status != tt.status || failed.Unknown != tt.unknown || strings.Contains(err.Error(), "secret")) {
				t.Errorf("error = %v, unknown %v; want HTTP %d, unknown %v", err, failed.Unknown, tt.status, tt.unknown)
			}
			if calls != tt.calls || longest != tt.longest {
				t.Errorf("%d calls with a pause of %v, want %d and %v", calls, longest, tt.calls, tt.longest)
			}
		})
	}
}

func TestABaseURLThatIsNoneIsAnError(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:80", "ftp://x/", "http://", "://"} {
		if err := Remove(t.Context(), Target{BaseURL: bad}, "x"); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
