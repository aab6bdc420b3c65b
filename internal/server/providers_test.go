package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/consent"
	"github.com/purser-dev/purser/internal/seller"
	"github.com/purser-dev/purser/internal/seller/fakes"
	"github.com/purser-dev/purser/provider"
)

// buyer is the owner of a whole server, who signs what must be signed.
type buyer struct {
	t      *testing.T
	server *Server
	*client.Client
	signer consent.Consent
	token  string // the owner's
	key    string // of the provider that was registered last
}

func newBuyer(t *testing.T) *buyer {
	t.Helper()
	s, _ := start(t, settings(t, map[string]any{"database": "sqlite:" + filepath.Join(t.TempDir(), "p.db")}), quiet())
	b := &buyer{t: t, server: s, token: signUp(t, s)}
	b.Client = dial(t, s, b.token)
	b.signer = consent.Consent{Server: b.Client, Passphrase: func(context.Context, act.Document) ([]byte, error) { return []byte(passphrase), nil }}
	if _, err := b.CreateProject(t.Context(), purser.CreateProject{Name: "shop"}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *buyer) sign(operation string, in any) *purser.Signature {
	b.t.Helper()
	sig, err := b.signer.Sign(b.t.Context(), operation, in)
	if err != nil {
		b.t.Fatalf("signing %s: %v", operation, err)
	}
	return sig
}

func (b *buyer) register(manifest, profile string) purser.ProviderInfo {
	b.t.Helper()
	in := purser.AddProvider{Manifest: manifest, SigningSecret: fakes.Secret, Profile: profile}
	in.Act = b.sign("add_provider", in)
	p, err := b.AddProvider(b.t.Context(), in)
	if err != nil || p.State != "ok" {
		b.t.Fatalf("registering: %+v %v", p, err)
	}
	b.key = p.ProviderKey
	return p
}

// bought does what ends in a plan, and approves it when a person must.
func (b *buyer) bought(what string, do func(context.Context) (purser.Plan, error)) (purser.Plan, error) {
	b.t.Helper()
	plan, err := do(b.t.Context())
	var no *purser.Error
	if !errors.As(err, &no) || no.Code != purser.NeedsApproval {
		return plan, err
	}
	shown, err := b.ShowPlan(b.t.Context(), purser.PlanRef{Plan: no.Plan})
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	sig, err := b.signer.Approve(b.t.Context(), shown)
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	if _, err := b.Approve(b.t.Context(), purser.Approve{Plan: shown.ID, Act: sig}); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	return b.Apply(b.t.Context(), purser.Apply{Plan: shown.ID})
}

func (b *buyer) must(what string, do func(context.Context) (purser.Plan, error)) purser.Plan {
	b.t.Helper()
	plan, err := b.bought(what, do)
	if err != nil || plan.State != purser.PlanDone {
		b.t.Fatalf("%s: the plan is %q: %s", what, plan.State, said(err))
	}
	return plan
}

func said(err error) string {
	raw, _ := json.Marshal(err)
	return fmt.Sprintf("%v %s", err, raw)
}

func (b *buyer) add(step purser.StepRequest) func(context.Context) (purser.Plan, error) {
	return func(ctx context.Context) (purser.Plan, error) {
		return b.Add(ctx, purser.Add{StepRequest: step, Project: "shop"})
	}
}

// resource is what a plan bought.
func (b *buyer) resource(name string) purser.Resource {
	b.t.Helper()
	status, err := b.Status(b.t.Context(), purser.AskStatus{Project: "shop"})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range status.Resources {
		if r.Name == name {
			return r
		}
	}
	b.t.Fatalf("there is no resource %q", name)
	return purser.Resource{}
}

// env is what a program of the environment is started with.
func (b *buyer) env(resource string) map[string]string {
	b.t.Helper()
	in := purser.Exec{Project: "shop", Resource: resource}
	in.Act = b.sign("exec", in)
	out, err := b.Exec(b.t.Context(), in)
	if err != nil {
		b.t.Fatalf("exec: %v", err)
	}
	return out.Env
}

func (b *buyer) destroy(r purser.Resource, mode string) purser.Removal {
	b.t.Helper()
	in := purser.Remove{Resource: r.ID, Mode: mode, Project: "shop", Confirm: r.Name}
	in.Act = b.sign("remove", in)
	out, err := b.Remove(b.t.Context(), in)
	if err != nil {
		b.t.Fatalf("removing: %s", said(err))
	}
	return out
}

// The orchestrator links, buys, updates, rotates and removes at three providers
// that were written in three ways.
func TestOneOrchestratorLivesWithThreeKindsOfProviders(t *testing.T) {
	notes, posthog, sample := fakes.NewNotes(t, nil), fakes.NewPosthog(t), fakes.NewSample(t)
	b := newBuyer(t)
	b.register(notes.Manifest, "")
	b.register(posthog.Manifest, "stripe")
	b.register(sample.Manifest, "")

	for _, c := range []struct {
		provider, service, better string
		steps                     []purser.StepRequest
		ceiling                   *purser.Money
		secret                    string // its variable
		now                       func(id string) string
		mode                      string
		minted                    bool // an update gives new credentials
	}{
		{"notes", "notebook", "shelf", []purser.StepRequest{{Service: "notes/notebook", Name: "mine"}}, nil, "MINE_API_KEY", notes.Key, "destroy", false},
		{
			"posthog", "analytics", "session_replay",
			[]purser.StepRequest{{Service: "posthog/free", Name: "plan"}, {Service: "posthog/analytics", Name: "stats"}},
			nil,
			"STATS_PERSONAL_API_KEY", posthog.Key, "detach", false,
		},
		{"sample", "small", "large", []purser.StepRequest{{Service: "sample/small", Name: "db"}}, nil, "DB_PASSWORD", sample.Password, "destroy", true},
	} {
		t.Run(c.provider, func(t *testing.T) {
			b.t = t
			for _, step := range c.steps {
				b.must("buying "+step.Service, b.add(step))
			}
			r := b.resource(c.steps[len(c.steps)-1].Name)
			first := c.now(r.ProviderID)
			if got := b.env(r.ID)[c.secret]; got == "" || got != first {
				t.Errorf("the environment has %q, the provider %q", got, first)
			}

			updated := b.must("updating", func(ctx context.Context) (purser.Plan, error) {
				return b.Update(ctx, purser.UpdateResource{Resource: r.ID, Service: c.better, Project: "shop"})
			})
			if r = b.resource(r.Name); r.Service != c.better || len(updated.Orders) != 1 {
				t.Errorf("after the update it is %s in %d orders", r.Service, len(updated.Orders))
			}
			if now := c.now(r.ProviderID); b.env(r.ID)[c.secret] != now || (now != first) != c.minted {
				t.Errorf("after the update the environment has %q, the provider %q (before %q)", b.env(r.ID)[c.secret], now, first)
			}

			before := c.now(r.ProviderID)
			rotation, err := b.Rotate(t.Context(), purser.ResourceRef{Resource: r.ID, Project: "shop"})
			if err != nil || !rotation.Rotated {
				t.Fatalf("rotating: %+v %s", rotation, said(err))
			}
			if now := c.now(r.ProviderID); now == before || b.env(r.ID)[c.secret] != now {
				t.Errorf("after the rotation the environment has %q, the provider %q (before %q)", b.env(r.ID)[c.secret], now, before)
			}

			out := b.destroy(r, c.mode)
			if c.mode == "destroy" && (!out.Done || c.now(r.ProviderID) != "") {
				t.Errorf("after the removal: %+v, the provider has %q", out, c.now(r.ProviderID))
			}
		})
	}
	b.t = t

	if env := sample.Calls("POST", "/resources"); len(env) != 1 || env[0].Body["orchestrator_resource_id"] == nil || env[0].Key == "" {
		t.Errorf("the sample provider got %+v", env)
	}
	if n := len(sample.Calls("POST", "/oauth/token")); n != 0 {
		t.Errorf("%d token calls to a provider that hands out credentials", n)
	}
	for _, c := range posthog.Calls("POST", "/account_requests") {
		block, _ := c.Body["orchestrator"].(map[string]any)
		if block["type"] != "stripe" {
			t.Errorf("PostHog was told %v", block)
		}
	}
}

// A provider says the failure of an update with HTTP 200; nothing changes here.
func TestARefusalUnderHTTP200IsARefusal(t *testing.T) {
	inTurn(t)
	sample := fakes.NewSample(t)
	b := newBuyer(t)
	b.register(sample.Manifest, "")
	b.must("buying", b.add(purser.StepRequest{Service: "sample/small", Name: "db", Configuration: map[string]any{"port": 6432}}))
	if env := b.env(b.resource("db").ID); env["DB_PORT"] != "6432" || env["DB_TLS"] != "true" || env["DB_OPTIONS"] != `{"pool":5}` {
		t.Errorf("the credentials came as %v", env)
	}
	// O15: one is allowed, and the provider is not asked for another.
	_, err := b.bought("a second", b.add(purser.StepRequest{Service: "sample/small", Name: "other"}))
	if purser.CodeOf(err) != purser.ConstraintReached {
		t.Errorf("a second one: %s", said(err))
	}
	_, err = b.bought("an excluded one", b.add(purser.StepRequest{Service: "sample/large", Name: "big"}))
	if purser.CodeOf(err) != purser.ConstraintReached {
		t.Errorf("one that excludes the first: %s", said(err))
	}
	if n := len(sample.Calls("POST", "/resources")); n != 1 {
		t.Errorf("%d creates were sent", n)
	}
}

// O14: a component without its plan is refused here, naming the plan.
func TestAComponentWithoutItsPlanIsNotOrdered(t *testing.T) {
	inTurn(t)
	posthog := fakes.NewPosthog(t)
	b := newBuyer(t)
	b.register(posthog.Manifest, "stripe")
	_, err := b.bought("buying", b.add(purser.StepRequest{Service: "posthog/analytics"}))
	if purser.CodeOf(err) != purser.PlanRequired || !strings.Contains(said(err), "posthog/free") {
		t.Errorf("got %s", said(err))
	}
	if n := len(posthog.Calls("POST", "")); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// careful is a notes provider that knows ann already and asks her.
func careful(t *testing.T, s func() string, mode string, key func() string) *fakes.Notes {
	t.Helper()
	return fakes.NewNotes(t, func(c *provider.Config) {
		c.Hooks.Accounts = nil
		c.Hooks.SignedIn = func(*http.Request) (string, bool) { return "ann@example.org", true }
		o := &c.Orchestrators[0]
		switch mode {
		case "A":
			o.CallbackURL = s() + "/v1/flows/callback"
		case "B":
			o.ConfirmURL, o.ProviderKey = s()+"/v2/provisioning/account_requests/{id}/confirm", key()
		}
	})
}

// browser is a person's, with cookies and without redirects.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func fetch(t *testing.T, c *http.Client, method, target string, header map[string]string, body string) (status int, location, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Location"), string(raw)
}

// known makes ann's account at a provider by hand, so that the next one who asks is
// asked for consent.
func known(t *testing.T, n *fakes.Notes) {
	t.Helper()
	m, err := app.ParseManifest([]byte(n.Manifest))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := app.NewSigner(app.SignerConfig{Secrets: []string{fakes.Secret}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := app.NewClient(app.ClientConfig{BaseURL: m.BaseURL, TokenURL: m.OAuthTokenEndpoint, Signer: signer, Account: "another"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.AccountRequest(t.Context(), app.AccountRequest{ID: "acctreq_before", Email: "ann@example.org"})
	if err != nil || answer.Type != app.AnswerOAuth {
		t.Fatalf("the first account: %+v %v", answer, err)
	}
}

var startLink = regexp.MustCompile(`(http\S+/v1/flows/(acctreq_\w+)/start)`)

// asked plans an account at notes and gives the flow that waits for ann.
func (b *buyer) asked() (plan, link, flow string) {
	b.t.Helper()
	_, err := b.bought("linking", func(ctx context.Context) (purser.Plan, error) {
		return b.Link(ctx, purser.LinkProvider{Provider: "notes", Project: "shop"})
	})
	var no *purser.Error
	if !errors.As(err, &no) || no.Code != purser.NeedsPerson {
		b.t.Fatalf("linking: %s", said(err))
	}
	m := startLink.FindStringSubmatch(no.Hint)
	if m == nil {
		b.t.Fatalf("the hint is %q", no.Hint)
	}
	return no.Plan, m[1], m[2]
}

func (b *buyer) state(plan string) purser.PlanState {
	b.t.Helper()
	p, err := b.ShowPlan(b.t.Context(), purser.PlanRef{Plan: plan})
	if err != nil {
		b.t.Fatal(err)
	}
	return p.State
}

// ticket asks for a link that a browser can open.
func (b *buyer) ticket(flow, token string) (status int, link string) {
	b.t.Helper()
	status, _, text := fetch(b.t, http.DefaultClient, "POST", b.server.URL()+"/v1/flows/"+flow+"/ticket", map[string]string{"Authorization": "Bearer " + token}, "")
	var out struct {
		URL string `json:"url"`
	}
	_ = json.Unmarshal([]byte(text), &out)
	return status, out.URL
}

func TestAPersonAgreesInABrowserAndThePlanGoesOn(t *testing.T) {
	b := newBuyer(t)
	notes := careful(t, b.server.URL, "A", nil)
	b.register(notes.Manifest, "")
	known(t, notes)
	plan, link, flow := b.asked()
	if got := b.state(plan); got != purser.PlanApplying {
		t.Fatalf("while ann is asked, the plan is %s", got)
	}
	ann, other, forger := browser(t), browser(t), browser(t)
	home, err := url.Parse(b.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	forger.Jar.SetCookies(home, []*http.Cookie{{Name: "purser_flow_" + flow, Value: "forged", Path: "/"}})
	if status, _, _ := fetch(t, ann, "GET", link, nil, ""); status != http.StatusUnauthorized {
		t.Errorf("the link opens without a ticket: %d", status)
	}
	made := aRun(t, b)
	if status, _ := b.ticket(flow, made.Token); status != http.StatusForbidden {
		t.Errorf("an agent gets a ticket: %d", status)
	}
	status, once := b.ticket(flow, b.token)
	if status != http.StatusOK {
		t.Fatalf("the ticket: %d", status)
	}
	status, page, _ := fetch(t, ann, "GET", once, nil, "")
	if status != http.StatusSeeOther || !strings.HasPrefix(page, notes.URL) {
		t.Fatalf("the link leads to %d %q", status, page)
	}
	if status, _, _ := fetch(t, ann, "GET", once, nil, ""); status == http.StatusSeeOther {
		t.Error("a ticket opens twice")
	}
	callback := agree(t, ann, page, "approve")

	// Rubbish, another browser, another state: an error page, and nothing is exchanged.
	u, _ := url.Parse(callback)
	for name, try := range map[string]struct {
		by    *http.Client
		query url.Values
	}{
		"another browser": {other, u.Query()},
		"a forged cookie": {forger, u.Query()},
		"another state":   {ann, url.Values{"code": u.Query()["code"], "state": {"cs_other"}}},
		"no state":        {ann, url.Values{"code": u.Query()["code"]}},
		"no code":         {ann, url.Values{"state": u.Query()["state"]}},
		"two states":      {ann, url.Values{"code": u.Query()["code"], "state": {u.Query().Get("state"), "x"}}},
	} {
		if status, _, _ := fetch(t, try.by, "GET", b.server.URL()+"/v1/flows/callback?"+try.query.Encode(), nil, ""); status < 400 {
			t.Errorf("%s: HTTP %d", name, status)
		}
		if got := b.state(plan); got != purser.PlanApplying {
			t.Fatalf("%s: the plan is %s", name, got)
		}
	}
	status, _, text := fetch(t, ann, "GET", callback, nil, "")
	if status != http.StatusOK || !strings.Contains(text, "Agreed") {
		t.Fatalf("the callback: %d %s", status, text)
	}
	eventually(t, "the plan goes on by itself", func() bool { return b.state(plan) == purser.PlanDone })
	if status, _, _ := fetch(t, ann, "GET", callback, nil, ""); status < 400 {
		t.Error("a used state is taken again")
	}
	b.must("buying there", b.add(purser.StepRequest{Service: "notes/notebook", Name: "mine"}))
}

// aRun makes a run in the project that is there.
func aRun(t *testing.T, b *buyer) purser.Run {
	t.Helper()
	in := purser.CreateRun{Project: "shop", Budget: purser.Money{Amount: 2000, Currency: "USD"}}
	in.Act = b.sign("create_run", in)
	made, err := b.CreateRun(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

var hidden = regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`)

// agree reads a consent page and decides; it gives where the browser is sent.
func agree(t *testing.T, ann *http.Client, page, decision string) string {
	t.Helper()
	status, _, text := fetch(t, ann, "GET", page, nil, "")
	if status != http.StatusOK {
		t.Fatalf("the consent page: %d %s", status, text)
	}
	form := url.Values{"decision": {decision}}
	for _, m := range hidden.FindAllStringSubmatch(text, -1) {
		if m[1] != "decision" {
			form.Set(m[1], m[2])
		}
	}
	u, _ := url.Parse(page)
	u.RawQuery = ""
	status, location, text := fetch(t, ann, "POST", u.String(), map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Origin": u.Scheme + "://" + u.Host, "Sec-Fetch-Site": "same-origin",
	}, form.Encode())
	if status >= 400 {
		t.Fatalf("deciding: %d %s", status, text)
	}
	return location
}

func TestAPersonWhoDoesNotAgreeEndsThePlan(t *testing.T) {
	b := newBuyer(t)
	notes := careful(t, b.server.URL, "A", nil)
	b.register(notes.Manifest, "")
	known(t, notes)
	plan, _, flow := b.asked()
	ann := browser(t)
	_, once := b.ticket(flow, b.token)
	_, page, _ := fetch(t, ann, "GET", once, nil, "")
	callback := agree(t, ann, page, "deny")
	if _, _, text := fetch(t, ann, "GET", callback, nil, ""); !strings.Contains(text, "Not agreed") {
		t.Errorf("the page says %s", text)
	}
	eventually(t, "the plan has failed", func() bool { return b.state(plan) == purser.PlanFailed })
	p, err := b.ShowPlan(t.Context(), purser.PlanRef{Plan: plan})
	if err != nil || p.Error == nil || p.Error.Provider == nil || p.Error.Provider.Code != "access_denied" {
		t.Errorf("it failed with %s (%v)", said(p.Error), err)
	}
}

func TestAProviderConfirmsAnAccountRequestItself(t *testing.T) {
	inTurn(t)
	for _, code := range []string{"", "with a code"} {
		t.Run("code "+code, func(t *testing.T) {
			b := newBuyer(t)
			notes := careful(t, b.server.URL, "A", nil) // its page is not opened here: the provider calls
			b.register(notes.Manifest, "")
			key := b.key
			known(t, notes)
			plan, _, flow := b.asked()
			_, once := b.ticket(flow, b.token)
			_, page, _ := fetch(t, browser(t), "GET", once, nil, "")
			u, _ := url.Parse(page)
			secret := u.Query().Get("state")

			at := b.server.URL() + "/v2/provisioning/account_requests/" + flow
			confirm := func(key, id, body string) (int, string) {
				status, _, text := fetch(t, http.DefaultClient, "POST", strings.Replace(at, flow, id, 1)+"/confirm",
					map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}, body)
				var out struct {
					Type, Status string
					Error        struct{ Code string }
				}
				_ = json.Unmarshal([]byte(text), &out)
				return status, out.Status + out.Error.Code
			}
			yes := fmt.Sprintf(`{"confirmation_secret":%q,"decision":"approved"}`, secret)
			for _, c := range []struct {
				name, key, id, body string
				status              int
				code                string
			}{
				{"no key, and rubbish", "", "acctreq_x", "rubbish", 401, "unauthorized"},
				{"a person's key", b.token, flow, yes, 401, "unauthorized"},
				{"another request, and rubbish", key, "acctreq_x", "rubbish", 404, "not_found"},
				{"rubbish", key, flow, "rubbish", 400, "invalid_request"},
				{"no decision", key, flow, `{"confirmation_secret":"x"}`, 400, "invalid_request"},
				{"another decision", key, flow, `{"confirmation_secret":"x","decision":"maybe"}`, 400, "invalid_request"},
				{"another secret", key, flow, `{"confirmation_secret":"x","decision":"approved"}`, 403, "forbidden"},
			} {
				if status, got := confirm(c.key, c.id, c.body); status != c.status || got != c.code {
					t.Errorf("%s: %d %s, want %d %s", c.name, status, got, c.status, c.code)
				}
			}
			status, _, text := fetch(t, http.DefaultClient, "GET", at, map[string]string{"Authorization": "Bearer " + key}, "")
			if status != 200 || strings.Contains(text, secret) || !strings.Contains(text, `"status":"pending"`) || !strings.Contains(text, `"email":"ann@example.org"`) {
				t.Errorf("reading it: %d %s", status, text)
			}
			if code != "" { // a code of the provider's own page
				callback := agree(t, browser(t), page, "approve")
				c, _ := url.Parse(callback)
				yes = fmt.Sprintf(`{"confirmation_secret":%q,"decision":"approved","code":%q}`, secret, c.Query().Get("code"))
			} else {
				agree(t, browser(t), page, "approve") // the provider knows that ann agreed; its code goes nowhere
			}
			for range 2 {
				if status, got := confirm(key, flow, yes); status != 200 || got != "approved" {
					t.Fatalf("confirming: %d %s", status, got)
				}
			}
			no := fmt.Sprintf(`{"confirmation_secret":%q,"decision":"denied"}`, secret)
			if status, got := confirm(key, flow, no); status != 409 || got != "invalid_state" {
				t.Errorf("another decision afterwards: %d %s", status, got)
			}
			eventually(t, "the plan goes on by itself", func() bool { return b.state(plan) == purser.PlanDone })
		})
	}
}

func TestWhatAProviderAsksForIsToldByAPersonAndTheOrderGoesOn(t *testing.T) {
	inTurn(t)
	schema := []byte(`{"type":"object","required":["team"],"properties":{"team":{"type":"string","enum":["red","blue"]}},"additionalProperties":false}`)
	notes := fakes.NewNotes(t, func(c *provider.Config) {
		c.Hooks.Information = func(_ context.Context, r provider.Request) ([]byte, error) {
			if r.Information["team"] == "blue" {
				return nil, nil
			}
			return schema, nil
		}
		c.Hooks.AccountInformation = func(_ context.Context, q provider.AccountQuestion) ([]byte, error) {
			if q.Information["team"] == "red" {
				return nil, nil
			}
			return schema, nil
		}
	})
	b := newBuyer(t)
	b.register(notes.Manifest, "")
	_, err := b.bought("buying", b.add(purser.StepRequest{Service: "notes/notebook", Name: "mine"}))
	for _, team := range []string{"red", "blue"} { // the account first, then the resource
		var no *purser.Error
		if !errors.As(err, &no) || no.Code != purser.NeedsInformation || no.Provider == nil || !json.Valid([]byte(no.Provider.Message)) {
			t.Fatalf("before %s: %s", team, said(err))
		}
		plan, _ := b.ShowPlan(t.Context(), purser.PlanRef{Plan: no.Plan})
		order := plan.Orders[len(plan.Orders)-1]
		if plan.State != purser.PlanApplying || order.State != purser.OrderPlaced {
			t.Fatalf("the plan is %s, the order %s", plan.State, order.State)
		}
		if len(order.Questions) != 1 || order.Questions[0].Name != "team" || len(order.Questions[0].Choices) != 2 || !order.Questions[0].Required {
			t.Errorf("the form is %+v", order.Questions)
		}
		inform := func(information map[string]any, signed bool) error {
			in := purser.Inform{Order: order.ID, Information: information}
			if signed {
				in.Act = b.sign("inform", in)
			}
			_, err := b.Inform(t.Context(), in)
			return err
		}
		for _, wrong := range []map[string]any{{}, {"team": "green"}, {"team": 1}, {"team": team, "more": "x"}} {
			if err := inform(wrong, true); purser.CodeOf(err) != purser.InvalidRequest {
				t.Errorf("%v is taken: %v", wrong, err)
			}
		}
		if err := inform(map[string]any{"team": team}, false); purser.CodeOf(err) != purser.NeedsPerson {
			t.Errorf("without a signature: %v", err)
		}
		if err := inform(map[string]any{"team": team}, true); err != nil {
			t.Fatalf("telling %s: %s", team, said(err))
		}
		if err := inform(map[string]any{"team": team}, true); team == "blue" && err == nil {
			t.Error("an order that waits for nothing is told something")
		}
		_, err = b.Apply(t.Context(), purser.Apply{Plan: no.Plan})
	}
	if err != nil {
		t.Fatalf("after all was told: %s", said(err))
	}
	if r := b.resource("mine"); notes.Key(r.ProviderID) == "" || notes.Made() != 1 {
		t.Errorf("%d were made", notes.Made())
	}
}

func TestOurPublicDocumentsNameKeysThatVerify(t *testing.T) {
	inTurn(t)
	b := newBuyer(t)
	for _, header := range []map[string]string{nil, {"Authorization": "Bearer anything"}} {
		status, _, text := fetch(t, http.DefaultClient, "GET", b.server.URL()+"/v2/provisioning/public_keys", header, "")
		var out struct {
			Keys []seller.PublicKey `json:"public_keys"`
		}
		if err := json.Unmarshal([]byte(text), &out); err != nil || status != 200 || len(out.Keys) != 1 || out.Keys[0].Curve != "Ed25519" {
			t.Fatalf("the keys: %d %s", status, text)
		}
	}
	status, _, text := fetch(t, http.DefaultClient, "GET", b.server.URL()+"/.well-known/purser-client.json", nil, "")
	var client struct {
		ID        string   `json:"client_id"`
		Redirects []string `json:"redirect_uris"`
		Method    string   `json:"token_endpoint_auth_method"`
		JWKS      string   `json:"jwks_uri"`
	}
	if err := json.Unmarshal([]byte(text), &client); err != nil || status != 200 || client.ID != b.server.URL()+"/.well-known/purser-client.json" ||
		client.Method != "private_key_jwt" || len(client.Redirects) != 1 || len(text) > 5<<10 {
		t.Fatalf("the document: %d %s", status, text)
	}
	status, _, text = fetch(t, http.DefaultClient, "GET", client.JWKS, nil, "")
	var set struct{ Keys []seller.JWK }
	if err := json.Unmarshal([]byte(text), &set); err != nil || status != 200 || len(set.Keys) != 1 || set.Keys[0].Alg != "ES256" || strings.Contains(text, `"d"`) {
		t.Fatalf("the key set: %d %s", status, text)
	}
	x, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil || len(x) != sha256.Size {
		t.Errorf("x is %d bytes (%v)", len(x), err)
	}
}

func TestAChangeTakesTheCatalogsNamesAndSaysWhatIsPossible(t *testing.T) {
	notes := fakes.NewNotes(t, nil)
	b := newBuyer(t)
	b.register(notes.Manifest, "")
	b.must("buying", b.add(purser.StepRequest{Service: "notes/notebook", Name: "mine"}))
	for _, c := range []struct {
		name string
		call func(context.Context, purser.UpdateResource) (purser.Plan, error)
		to   string
		hint string
	}{
		{"larger, to nothing", b.Upgrade, "", "it may become: notes/shelf"},
		{"larger, to itself", b.Upgrade, "notes/notebook", "it may become: notes/shelf"},
		{"smaller", b.Downgrade, "shelf", "nothing that is sold now"},
	} {
		_, err := c.call(t.Context(), purser.UpdateResource{Resource: "mine", Service: c.to, Project: "shop"})
		var no *purser.Error
		if !errors.As(err, &no) || no.Code != purser.InvalidState || !strings.Contains(no.Hint, c.hint) {
			t.Errorf("%s: %s, want a hint with %q", c.name, said(err), c.hint)
		}
	}
	b.must("upgrading", func(ctx context.Context) (purser.Plan, error) {
		return b.Upgrade(ctx, purser.UpdateResource{Resource: "mine", Service: "notes/shelf", Project: "shop"})
	})
	id := b.resource("mine").ProviderID
	if _, err := b.Remove(t.Context(), purser.Remove{Resource: "mine", Mode: "detach", Project: "shop"}); err != nil {
		t.Fatalf("detaching: %s", said(err))
	}
	b.must("adopting", func(ctx context.Context) (purser.Plan, error) {
		return b.Adopt(ctx, purser.Adopt{Provider: "notes", ProviderID: id, Service: "notes/shelf", Name: "again", Project: "shop"})
	})
}
