package seller

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/seal"
)

func TestAProviderOfAnotherVersionIsAskedNothingElse(t *testing.T) {
	for _, tc := range []struct {
		name, health string
		status       int
		want         purser.Code
		asked        bool
	}{
		{"ours is listed", `{"supported_versions":["0.1d","9"],"status":"ok"}`, 200, "", true},
		{"ours is not listed", `{"supported_versions":["9"],"status":"ok"}`, 200, purser.NotAvailable, false},
		{"it refuses our version", `{"error":{"code":"invalid_api_version","message":"9 only"}}`, 400, purser.NotAvailable, false},
		{"a health that does not answer says nothing", `{"error":{"code":"server_error","message":""}}`, 500, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := false
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/provisioning/health" {
					w.WriteHeader(tc.status)
					_, _ = w.Write([]byte(tc.health))
					return
				}
				asked = true
				_, _ = w.Write([]byte(`{"data":[{"id":"a","kind":"plan","description":"x","categories":[],"pricing":{"type":"free"}}]}`))
			}))
			defer s.Close()
			p := Provider{Name: "other", Profile: "purser", Secret: seal.NewSecret("s"), Manifest: app.Manifest{BaseURL: s.URL + "/", OAuthTokenEndpoint: s.URL + "/token"}}
			_, err := New(Config{Now: time.Now, Random: nil, Origin: func() string { return "http://localhost" }}).Services(t.Context(), p)
			if got := purser.CodeOf(err); err != nil && got != tc.want || err == nil && tc.want != "" || asked != tc.asked {
				t.Errorf("err %v, services asked %v; want %q, %v", err, asked, tc.want, tc.asked)
			}
		})
	}
}
