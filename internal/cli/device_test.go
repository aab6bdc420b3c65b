package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLoginAsksAsSeldomAsTheServerWants(t *testing.T) {
	var asked atomic.Int64
	var early atomic.Int64
	last := time.Now()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/oauth/device" {
			_, _ = fmt.Fprint(w, `{"device_code":"pur_dev_1","user_code":"BCDF-GHJK","verification_uri":"x","expires_in":900,"interval":1}`)
			return
		}
		n, pause := asked.Add(1), time.Since(last)
		last = time.Now()
		switch n {
		case 1:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"authorization_pending","code":"authorization_pending"}`)
		case 2:
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"slow_down","code":"too_many_tries"}`)
		default:
			if pause < 2*time.Second {
				early.Add(1)
			}
			_, _ = fmt.Fprint(w, `{"access_token":"pur_per_1","person":"per_1","name":"Ada","organization":"org_1","expires_at":"2030-01-01T00:00:00Z"}`)
		}
	}))
	defer s.Close()
	home := t.TempDir()
	var out, errs bytes.Buffer
	code := Run(t.Context(), []string{"login"}, World{
		Out: &out, Err: &errs, Environ: []string{"PURSER_URL=" + s.URL, "HOME=" + home}, Dir: home, Now: time.Now, Random: rand.Reader, Version: "v0.0.0",
	})
	if code != 0 || asked.Load() != 3 || early.Load() != 0 || !strings.Contains(out.String(), "as Ada") {
		t.Errorf("exit %d after %d questions, %d too early: %s%s", code, asked.Load(), early.Load(), out.String(), errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), new(map[string]any)); err == nil {
		t.Error("a person is shown JSON")
	}
}
