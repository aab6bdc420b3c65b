package appapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/seller"
)

// desk is an office that remembers what it was asked.
type desk struct {
	started, finished int
	answer            office.FlowAnswer
	err               error
}

func (d *desk) FlowTicket(context.Context, purser.Actor, string) (office.Ticket, error) {
	return office.Ticket{URL: "https://us.example/v1/flows/f/start?ticket=t"}, d.err
}

func (d *desk) StartFlow(context.Context, purser.Actor, string, string) (office.Started, error) {
	d.started++
	return office.Started{URL: "https://provider.example/go?state=s", Session: seal.NewSecret("session"), ExpiresAt: time.Now().Add(time.Minute)}, d.err
}

func (d *desk) FinishFlow(_ context.Context, in office.FlowAnswer) (string, bool, error) {
	d.finished++
	d.answer = in
	return "notes <b>", true, d.err
}

func (d *desk) ShowFlow(context.Context, purser.Actor, string) (office.AccountRequest, error) {
	return office.AccountRequest{ID: "acctreq_1"}, d.err
}

func (d *desk) ConfirmFlow(_ context.Context, _ purser.Actor, id string, read func() (office.ConfirmFlow, error)) (office.Confirmed, error) {
	if d.err != nil {
		return office.Confirmed{}, d.err
	}
	in, err := read()
	return office.Confirmed{ID: id, Status: in.Decision}, err
}

// Authenticate knows a provider and a person.
func (d *desk) Known(string, time.Duration) (purser.Actor, bool) { return purser.Actor{}, false }

func (d *desk) Authenticate(_ context.Context, bearer, _ string) (purser.Actor, error) {
	switch bearer {
	case "provider":
		return purser.Actor{Kind: purser.Provider, ID: "notes"}, nil
	case "person":
		return purser.Actor{Kind: purser.Person, ID: "per_1", Role: purser.Owner}, nil
	}
	return purser.Actor{}, purser.Errorf(purser.NotSignedIn, "no")
}

type keys struct{ err error }

func (k keys) Public() []seller.PublicKey  { return []seller.PublicKey{} }
func (k keys) JWKS() ([]seller.JWK, error) { return []seller.JWK{}, k.err }

// serve is the door behind a gate, at a public origin.
func serve(t *testing.T, d *desk, origin string) (http.Handler, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	g, err := gate.New(gate.Config{
		Hosts: []string{"us.example"}, Authenticator: d, Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, h := range Doors(Config{Office: d, Keys: keys{}, Gate: g, Origin: func() string { return origin }}) {
		mux.Handle(pattern, h)
	}
	return g.Wrap(mux), log
}

func call(h http.Handler, method, target, bearer, body string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "us.example"
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAFlowIsTiedToABrowserByACookieThatNoScriptAndNoOtherHostSets(t *testing.T) {
	for origin, want := range map[string]struct {
		name   string
		secure bool
	}{
		"https://us.example":    {"__Host-purser_flow_acctreq_1", true},
		"http://localhost:7627": {"purser_flow_acctreq_1", false},
	} {
		h, log := serve(t, &desk{}, origin)
		w := call(h, "GET", "/v1/flows/acctreq_1/start?ticket=one-time", "", "")
		all := w.Result().Cookies()
		if w.Code != http.StatusSeeOther || len(all) != 1 {
			t.Fatalf("%s: %d with %v", origin, w.Code, all)
		}
		c := all[0]
		if c.Name != want.name || c.Secure != want.secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 || c.MaxAge > 60 {
			t.Errorf("%s: the cookie is %+v", origin, c)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: the answer may be kept: %q", origin, got)
		}
		if got := w.Header().Get("Referrer-Policy"); got != "no-referrer" {
			t.Errorf("%s: the provider sees where the browser came from: %q", origin, got)
		}
		if strings.Contains(log.String(), "one-time") || strings.Contains(log.String(), "session") {
			t.Errorf("the log tells a secret: %s", log)
		}
	}
}

func TestOnlyThisBrowsersCookiesComeWithACallback(t *testing.T) {
	d := &desk{}
	h, log := serve(t, d, "https://us.example")
	w := call(h, "GET", "/v1/flows/callback?code=top-code&state=top-state", "", "",
		&http.Cookie{Name: "__Host-purser_flow_a", Value: "one"}, &http.Cookie{Name: "purser_flow_a", Value: "planted"}, &http.Cookie{Name: "other", Value: "x"})
	if w.Code != http.StatusOK || len(d.answer.Sessions) != 1 || d.answer.Sessions[0].Reveal() != "one" || d.answer.Code != "top-code" || d.answer.State != "top-state" {
		t.Errorf("%d: %+v", w.Code, d.answer)
	}
	if body := w.Body.String(); strings.Contains(body, "<b>") {
		t.Errorf("a provider's name is markup here: %s", body)
	}
	if strings.Contains(log.String(), "top-") {
		t.Errorf("the log tells a secret: %s", log)
	}
}

func TestWhatIsNoGetUsesNothingUp(t *testing.T) {
	d := &desk{}
	h, _ := serve(t, d, "https://us.example")
	for _, target := range []string{"/v1/flows/acctreq_1/start?ticket=t", "/v1/flows/callback?code=c&state=s"} {
		if w := call(h, "HEAD", target, "", ""); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("HEAD %s: %d", target, w.Code)
		}
	}
	if w := call(h, "GET", "/v1/flows/callback?code=c&state=s&state=s2", "", ""); w.Code != http.StatusBadRequest {
		t.Errorf("two states: %d", w.Code)
	}
	if d.started != 0 || d.finished != 0 {
		t.Errorf("%d started, %d finished", d.started, d.finished)
	}
}

func TestAFailureIsTypedForAProviderAndTellsNoCause(t *testing.T) {
	for _, c := range []struct {
		err    error
		bearer string
		status int
		code   string
	}{
		{nil, "", 401, "unauthorized"},
		{nil, "person", 401, "unauthorized"},
		{purser.Errorf(purser.NotFound, "x"), "provider", 404, "not_found"},
		{purser.Errorf(purser.Forbidden, "x"), "provider", 403, "forbidden"},
		{purser.Errorf(purser.InvalidState, "x"), "provider", 409, "invalid_state"},
		{purser.Errorf(purser.PlanExpired, "x"), "provider", 410, "expired"},
		{errors.New("the-cause"), "provider", 500, "server_error"},
	} {
		h, _ := serve(t, &desk{err: c.err}, "https://us.example")
		for method, target := range map[string]string{"GET": "/v2/provisioning/account_requests/acctreq_1", "POST": "/v2/provisioning/account_requests/acctreq_1/confirm"} {
			w := call(h, method, target, c.bearer, `{}`)
			var out struct {
				Type, ID string
				Error    struct{ Code string }
			}
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != c.status || out.Type != "error" || out.ID != "acctreq_1" || out.Error.Code != c.code {
				t.Errorf("%s, %v: %d %s", method, c.err, w.Code, w.Body)
			}
			if strings.Contains(w.Body.String(), "the-cause") {
				t.Errorf("a cause is told: %s", w.Body)
			}
		}
	}
}

func TestAConfirmationIsAnObjectOfABearableSize(t *testing.T) {
	h, _ := serve(t, &desk{}, "https://us.example")
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"fine":              {`{"confirmation_secret":"s","decision":"approved","more":{}}`, 200},
		"not JSON":          {`decision=approved`, 400},
		"a list":            {`[]`, 400},
		"nothing":           {``, 400},
		"a number for text": {`{"decision":1}`, 400},
		"a megabyte":        {`{"x":"` + strings.Repeat("a", 1<<20) + `"}`, 413},
	} {
		if w := call(h, "POST", "/v2/provisioning/account_requests/acctreq_1/confirm", "provider", c.body); w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
