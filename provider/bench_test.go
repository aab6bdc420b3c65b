package provider_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

// BenchmarkCreate sends signed creates over loopback, each of one more resource, and
// the same requests to a handler that only parses the JSON. ratio is the provider's
// rate over the bare handler's.
func BenchmarkCreate(b *testing.B) {
	bare := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in app.CreateRequest
		if err == nil {
			err = json.Unmarshal(body, &in)
		}
		if err != nil {
			http.Error(w, "not JSON", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"complete","id":"res_1","service_id":"free","complete":{"access_configuration":{"key":"value"}}}` + "\n"))
	}))
	p, token := benchProvider(b)
	rates := [2]float64{}
	const rounds = 6 // by turns, so that whatever else the machine does meets both
	for range rounds {
		rates[0] += rate(b, bare, "any token") / rounds
		rates[1] += rate(b, p, token) / rounds
	}
	b.ReportMetric(rates[1], "creates/s")
	b.ReportMetric(rates[0], "bare/s")
	b.ReportMetric(rates[1]/rates[0], "ratio")
	b.ReportMetric(0, "ns/op")
}

// benchProvider is the smallest provider with the memory store, and a token of it.
func benchProvider(b *testing.B) (*provider.Provider, string) {
	b.Helper()
	p, err := provider.New(provider.Config{
		Manifest: app.Manifest{Name: "bench", BaseURL: "http://localhost/app/", OAuthTokenEndpoint: "http://localhost/app/oauth/token", Capabilities: []string{app.CapFind}},
		Catalog:  testCatalog, Secrets: []string{secret}, Store: provider.NewMemoryStore(),
		Hooks: provider.Hooks{Provision: func(_ context.Context, r provider.Request) (provider.Provisioned, error) {
			return provider.Provisioned{AccessConfiguration: map[string]string{"key": "value of " + r.ID}}, nil
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	send := func(path, kind, body string) []byte {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodPost, path, bytes.NewReader([]byte(body)))
		req.Header.Set("Content-Type", kind)
		req.Header.Set(app.HeaderVersion, app.Version)
		req.Header.Set(app.HeaderSignature, app.SignatureHeader([]string{secret}, time.Now().Unix(), []byte(body)))
		p.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK {
			b.Fatalf("%s: HTTP %d %s", path, rec.Code, rec.Body)
		}
		return rec.Body.Bytes()
	}
	var answer app.AccountAnswer
	raw := send("/app/provisioning/account_requests", "application/json", `{"email":"a@example.com","orchestrator":{"type":"purser","account":"acct"}}`)
	if err := json.Unmarshal(raw, &answer); err != nil {
		b.Fatal(err)
	}
	var token app.Token
	raw = send("/app/oauth/token", "application/x-www-form-urlencoded", "grant_type=authorization_code&code="+answer.OAuth.Code)
	if err := json.Unmarshal(raw, &token); err != nil {
		b.Fatal(err)
	}
	return p, token.AccessToken
}

// rate is how many creates a handler answers in a second, from eight connections.
func rate(b *testing.B, handler http.Handler, token string) float64 {
	b.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	const connections, lasting = 8, 500 * time.Millisecond
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	counts := make(chan int, connections)
	begin := time.Now()
	for n := range connections {
		go func() {
			done := 0
			for time.Since(begin) < lasting {
				if err := createOnce(client, server.URL, token, fmt.Sprintf("%d-%d-%d", begin.UnixNano(), n, done)); err != nil {
					b.Error(err)
					break
				}
				done++
			}
			counts <- done
		}()
	}
	total := 0
	for range connections {
		total += <-counts
	}
	return float64(total) / time.Since(begin).Seconds()
}

func createOnce(client *http.Client, origin, token, id string) error {
	body := []byte(`{"service_id":"free","configuration":{},"orchestrator_resource_id":"` + id + `","environment":"dev"}`)
	req, err := http.NewRequest(http.MethodPost, origin+"/app/provisioning/resources", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(app.HeaderVersion, app.Version)
	req.Header.Set(app.HeaderIdempotencyKey, id)
	req.Header.Set(app.HeaderSignature, app.SignatureHeader([]string{secret}, time.Now().Unix(), body))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d %s, %w", resp.StatusCode, answer, err)
	}
	return nil
}
