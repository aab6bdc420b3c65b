package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

const benchSecret = "a signing secret of usual length"

// BenchmarkCreate sends signed creates over loopback, each of one more notebook, and
// the same requests to a handler that only parses their JSON. Callers run in the same
// process and cost both the same.
//
// ratio is what a request costs on one core at the bare handler over what it costs at
// the example: from many short turns, of which the least disturbed tenth counts, so that
// it says the same on a machine that others use. creates/s and bare/s are the best of
// some longer turns with eight connections on all cores.
func BenchmarkCreate(b *testing.B) {
	handler, err := newNotes("http://localhost", benchSecret)
	if err != nil {
		b.Fatal(err)
	}
	token := benchToken(b, handler)
	bare := http.HandlerFunc(parseOnly)
	b.ReportMetric(cost(b, bare, handler, token), "ratio")
	var most [2]float64
	for range 9 {
		most[0], most[1] = max(most[0], rate(b, bare, token)), max(most[1], rate(b, handler, token))
	}
	b.ReportMetric(most[1], "creates/s")
	b.ReportMetric(most[0], "bare/s")
	b.ReportMetric(0, "ns/op")
}

// cost is the ratio of what one request takes, by turns of six.
func cost(b *testing.B, bare, handler http.Handler, token string) float64 {
	b.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	const turns, requests = 1500, 6
	var took [2][]float64
	var origins [2]string
	for i, h := range []http.Handler{bare, handler} {
		server := httptest.NewServer(h)
		defer server.Close()
		origins[i] = server.URL
	}
	for turn := range turns {
		for i, origin := range origins {
			begin := time.Now()
			for n := range requests {
				if err := create(client, origin, token, fmt.Sprintf("cost-%d-%d-%d", i, turn, n)); err != nil {
					b.Fatal(err)
				}
			}
			took[i] = append(took[i], time.Since(begin).Seconds())
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	return took[0][turns/10] / took[1][turns/10]
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
