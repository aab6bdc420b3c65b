package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

const benchSecret = "a signing secret of usual length"

// BenchmarkCreate sends signed creates over loopback, each of one more notebook, and
// the same requests to a handler that only parses their JSON. ratio is the example's
// rate over the bare handler's. Callers run in the same process and cost both the same.
func BenchmarkCreate(b *testing.B) {
	handler, err := newNotes("http://localhost", benchSecret)
	if err != nil {
		b.Fatal(err)
	}
	token := benchToken(b, handler)
	var creates, bare, ratios []float64
	for range 9 { // by turns, so that whatever else the machine does meets both
		one, other := rate(b, http.HandlerFunc(parseOnly), token), rate(b, handler, token)
		bare, creates, ratios = append(bare, one), append(creates, other), append(ratios, other/one)
	}
	b.ReportMetric(median(creates), "creates/s")
	b.ReportMetric(median(bare), "bare/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(figures []float64) float64 {
	slices.Sort(figures)
	return figures[len(figures)/2]
}

// parseOnly is what no provider can be quicker than.
func parseOnly(w http.ResponseWriter, r *http.Request) {
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
	_, _ = io.WriteString(w, `{"status":"complete","id":"res_1","service_id":"notebook","complete":{"access_configuration":{"api_key":"value"}}}`+"\n")
}

// benchToken links an account.
func benchToken(b *testing.B, handler http.Handler) string {
	b.Helper()
	send := func(path, kind, body string, into any) {
		rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		sign(req, kind, []byte(body))
		handler.ServeHTTP(rec, req)
		if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), into) != nil {
			b.Fatalf("%s: HTTP %d %s", path, rec.Code, rec.Body)
		}
	}
	var answer app.AccountAnswer
	send("/app/provisioning/account_requests", "application/json", `{"email":"a@example.com","orchestrator":{"type":"purser","account":"acct"}}`, &answer)
	var token app.Token
	send("/app/oauth/token", "application/x-www-form-urlencoded", "grant_type=authorization_code&code="+answer.OAuth.Code, &token)
	return token.AccessToken
}

func sign(req *http.Request, kind string, body []byte) {
	req.Header.Set("Content-Type", kind)
	req.Header.Set(app.HeaderVersion, app.Version)
	req.Header.Set(app.HeaderSignature, app.SignatureHeader([]string{benchSecret}, time.Now().Unix(), body))
}

// rate is how many creates a handler answers in a second, from eight connections.
func rate(b *testing.B, handler http.Handler, token string) float64 {
	b.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	const connections, lasting = 8, 400 * time.Millisecond
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	counts := make(chan int, connections)
	begin := time.Now()
	for n := range connections {
		go func() {
			done := 0
			for ; time.Since(begin) < lasting; done++ {
				if err := create(client, server.URL, token, fmt.Sprintf("%d-%d-%d", begin.UnixNano(), n, done)); err != nil {
					b.Error(err)
					break
				}
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

// create sends what the orchestrator sends.
func create(client *http.Client, origin, token, id string) error {
	body, err := json.Marshal(app.CreateRequest{
		ServiceID: "notebook", Configuration: map[string]any{"title": "Recipes"}, ProjectID: "prj_bench",
		OrchestratorResourceID: id, Environment: app.EnvironmentDev, Actor: &app.Actor{Email: "a@example.com"},
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, origin+"/app/provisioning/resources", bytes.NewReader(body))
	if err != nil {
		return err
	}
	sign(req, "application/json", body)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(app.HeaderIdempotencyKey, id)
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
