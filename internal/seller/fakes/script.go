package fakes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/purser-dev/purser/app"
)

// Script is a provider that answers what a test says, and works otherwise.
type Script struct {
	log
	Manifest string
	URL      string

	said   sync.Mutex
	says   map[string]func(n int, c Call) (status int, body string) // by "METHOD suffix"
	counts map[string]int
	keeps  []http.Header // of all requests
}

// NewScript starts one. It ends with the test.
func NewScript(t *testing.T, change func(*app.Manifest)) *Script {
	t.Helper()
	s := &Script{says: map[string]func(int, Call) (int, string){}, counts: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL + "/"
	m := app.Manifest{
		Name: "script", BaseURL: s.URL, OAuthTokenEndpoint: s.URL + "oauth/token", PaymentCredentialTypes: []string{app.PaymentSandbox},
		Capabilities: []string{app.CapUpdate, app.CapRotate, app.CapDeprovision},
	}
	if change != nil {
		change(&m)
	}
	s.Manifest = manifest(t, m)
	return s
}

// Say scripts the answers to a method and the end of a path; n counts from 1. A
// status of 0 is the usual answer.
func (s *Script) Say(method, suffix string, f func(n int, c Call) (status int, body string)) {
	s.said.Lock()
	defer s.said.Unlock()
	s.says[method+" "+suffix] = f
	s.counts[method+" "+suffix] = 0
}

// Always answers the same.
func Always(status int, body string) func(int, Call) (int, string) {
	return func(int, Call) (int, string) { return status, body }
}

// Headers are those of all requests.
func (s *Script) Headers() []http.Header {
	s.said.Lock()
	defer s.said.Unlock()
	return append([]http.Header{}, s.keeps...)
}

// The usual answers, with members that nobody knows (O1).
var usual = []struct{ method, suffix, body string }{
	{"GET", "/services", `{"data":[{"id":"thing","description":"A thing","categories":["storage"],"kind":"deployable","pricing":{"type":"free","x":1},"x":{"y":[]}},` +
		`{"id":"odd","kind":"sculpture","pricing":{"type":"barter"}}],"x":{}}`},
	{"POST", "/account_requests", `{"type":"oauth","oauth":{"code":"c","x":1},"x":{"type":"error"}}`},
	{"POST", "/token", `{"token_type":"bearer","access_token":"at","refresh_token":"rt","expires_in":3600,"x":1,"account":{"id":"a","x":{}}}`},
	{"POST", "/resources", `{"status":"complete","id":"r1","x":{},"complete":{"access_configuration":{"key":"k1"},"x":1}}`},
	{"GET", "/resources/r1", `{"status":"complete","id":"r1","complete":{"access_configuration":{"key":"k1"}}}`},
	{"POST", "/update_service", `{"status":"complete","id":"r1","complete":{"access_configuration":null}}`},
	{"POST", "/rotate_credentials", `{"status":"complete","id":"r1","complete":{"access_configuration":{"key":"k2"}}}`},
	{"POST", "/remove", `{"status":"removed","id":"r1"}`},
}

// ServeHTTP answers.
func (s *Script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, c, _ := s.read(r)
	s.said.Lock()
	s.keeps = append(s.keeps, r.Header.Clone())
	status, body := 0, ""
	for what, f := range s.says {
		if method, suffix, _ := strings.Cut(what, " "); method == r.Method && strings.HasSuffix(r.URL.Path, suffix) {
			s.counts[what]++
			status, body = f(s.counts[what], c)
		}
	}
	s.said.Unlock()
	for _, u := range usual {
		if status == 0 && u.method == r.Method && strings.HasSuffix(r.URL.Path, u.suffix) {
			status, body = http.StatusOK, u.body
		}
	}
	if status == 0 {
		status, body = http.StatusNotFound, `{"detail":"Not Found"}`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
