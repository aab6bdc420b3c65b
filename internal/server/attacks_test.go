package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/identity/identitytest"
	"github.com/purser-dev/purser/internal/seller/fakes"
)

// raid is a server with an owner, an agent and somebody who attacks both.
type raid struct {
	*desk
	ahead  atomic.Int64 // by how much the server's clock is
	device *identitytest.Device
	agent  *client.Client
	cookie string // of the owner's browser: name=value
	notes  *fakes.Notes
}

func openRaid(t *testing.T) *raid {
	t.Helper()
	r := &raid{notes: fakes.NewNotes(t, nil)}
	opt := quiet()
	opt.Now = func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
	s, _ := start(t, settings(t, nil), opt)
	token := signUp(t, s)
	r.desk = &desk{t, s, token, dial(t, s, token)}
	r.agent = dial(t, s, run(t, r.person).Token)
	r.device = identitytest.New(t, s.URL())
	asked, err := r.person.AskOwnPasskey(t.Context(), purser.None{})
	if err != nil {
		t.Fatal(err)
	}
	in := purser.AddPasskey{Passkey: r.device.Make(asked, "laptop")}
	if in.Act, err = r.desk.consent().Sign(t.Context(), "add_passkey", in); err != nil {
		t.Fatal(err)
	}
	if _, err := r.person.AddPasskey(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	provider := purser.AddProvider{Manifest: r.notes.Manifest, SigningSecret: fakes.Secret}
	provider.Act = r.sign("add_provider", provider)
	if _, err := r.person.AddProvider(t.Context(), provider); err != nil {
		t.Fatal(said(err))
	}
	r.cookie = r.signsIn("")
	return r
}

// sign is the owner's passkey on a request.
func (r *raid) sign(operation string, in any, change ...func(*identitytest.Device)) *purser.Signature {
	r.t.Helper()
	var request map[string]any
	raw, err := json.Marshal(in)
	if err == nil {
		err = json.Unmarshal(raw, &request)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := r.person.AskAct(r.t.Context(), purser.AskAct{Operation: operation, Request: request})
	if err != nil {
		r.t.Fatal(said(err))
	}
	d := *r.device
	for _, f := range change {
		f(&d)
	}
	out := d.Act(c)
	r.device.Counter = d.Counter
	return out
}

// signsIn signs the owner in on a browser that has a cookie already, and gives the
// cookie that the server sets.
func (r *raid) signsIn(before string) string {
	r.t.Helper()
	c, err := r.person.AskSignIn(r.t.Context(), purser.AskSignIn{})
	if err != nil {
		r.t.Fatal(err)
	}
	challenge, err := base64.RawURLEncoding.DecodeString(c.Random)
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"passkey": r.device.Answer(challenge)})
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.s.URL()+"/session/sign_in", strings.NewReader(string(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}}
	if before != "" {
		req.Header.Set("Cookie", before)
	}
	resp, err := alone.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || len(resp.Cookies()) != 1 {
		r.t.Fatalf("signing in: %d %v", resp.StatusCode, resp.Cookies())
	}
	return resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
}

// plan is one that waits for a person.
func (r *raid) plan(name string) purser.Plan {
	r.t.Helper()
	p, err := r.agent.Plan(r.t.Context(), purser.MakePlan{Steps: []purser.StepRequest{{Service: "notes/notebook", Name: name}}})
	if err != nil {
		r.t.Fatal(said(err))
	}
	return p
}

// send is a request of a browser or a program; what it gives is the status and
// where it is sent on to.
func (r *raid) send(method, path, body string, headers ...string) (got, text string) {
	r.t.Helper()
	header := map[string]string{}
	for i := 0; i < len(headers); i += 2 {
		header[headers[i]] = headers[i+1]
	}
	status, location, text := fetch(r.t, alone, method, r.s.URL()+path, header, body)
	return strings.TrimSpace(fmt.Sprint(status, " ", location)), text
}

// asked is the answer to an authorization request with one parameter changed.
func (r *raid) asked(id, name, value string) string {
	v := url.Values{
		"response_type": {"code"}, "client_id": {id}, "redirect_uri": {redirect}, "code_challenge_method": {"S256"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())},
	}
	v.Set(name, value)
	got, _ := r.send("GET", "/oauth/authorize?"+v.Encode(), "")
	if status, to, sent := strings.Cut(got, " "); sent {
		return status + " " + query(r.t, to).Get("error") + " code=" + query(r.t, to).Get("code")
	}
	return got
}

// token is the answer to a token request.
func (r *raid) token(v url.Values) string {
	resp, out := r.form("/oauth/token", v, "")
	return fmt.Sprint(resp.StatusCode, " ", out["error"])
}

// refusals counts what the logs say of an action: refused records of the
// organization, or what was counted in the minutes of the installation's log.
func (r *raid) refusals(log, what string) (n int) {
	r.t.Helper()
	for after := int64(0); ; {
		page, err := r.person.AuditLog(r.t.Context(), purser.AskAudit{Log: log, After: after, Limit: 200})
		if err != nil {
			r.t.Fatal(said(err))
		}
		for _, record := range page.Records {
			detail, _ := record.Record["detail"].(map[string]any)
			switch {
			case log == "" && record.Action == what && record.Outcome == "refused":
				n++
			case log != "" && record.Action == "refused_unauthenticated" && record.Outcome == "refused":
				text, _ := detail[what].(string)
				counted, _ := strconv.Atoi(text)
				n += counted
			}
		}
		if after = page.Next; after == 0 {
			return n
		}
	}
}

// Each attack comes to the real doors, is refused, and stands in a log: the
// organization's where somebody's credential was shown, the installation's where
// nobody answers for it (RULES 22).
//
// What only a browser can show is tested elsewhere: TestForeignTextStaysText of
// internal/console (a provider's words and terms with HTML, script, turning marks
// and 10,000 characters), TestAViolationOfThePolicyIsCounted there, and
// TestAChangeComesFromAPageOfOurs of test/browser. Every other way to make an
// assertion wrong is in TestAPasskeyApprovesOnlyWhatItSigned of internal/office.
func TestAttacksAreRefusedAndRecorded(t *testing.T) {
	r := openRaid(t)
	ctx := t.Context()
	one, two := r.plan("one"), r.plan("two")
	id := r.register("http://127.0.0.1/cb")
	approve := func(c *client.Client, plan string, sig *purser.Signature) string {
		_, err := c.Approve(ctx, purser.Approve{Plan: plan, Act: sig})
		return string(purser.CodeOf(err))
	}
	named := func(name string) func() string {
		return func() string {
			var m map[string]any
			if err := json.Unmarshal([]byte(r.notes.Manifest), &m); err != nil {
				t.Fatal(err)
			}
			m["name"] = name
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			in := purser.AddProvider{Manifest: string(text), SigningSecret: fakes.Secret}
			in.Act = r.sign("add_provider", in)
			_, err = r.person.AddProvider(ctx, in)
			return string(purser.CodeOf(err))
		}
	}
	// code is a granted one, and what redeems it.
	code := func() url.Values {
		verifier := oauth2.GenerateVerifier()
		cfg := r.oauth2Config(id)
		asked, _ := r.open(cfg.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
		return url.Values{
			"grant_type": {"authorization_code"}, "client_id": {id}, "redirect_uri": {redirect}, "code_verifier": {verifier},
			"code": {query(t, r.grant(asked).Redirect).Get("code")},
		}
	}
	name, _, _ := strings.Cut(r.cookie, "=")
	fixed := name + "=pur_ses_" + strings.Repeat("a", 52)
	stop := `{"scope":"organization","reason":"csrf"}`
	from := func(header ...string) []string {
		return append([]string{"Cookie", r.cookie, "Content-Type", "application/json", "Idempotency-Key", "k"}, header...)
	}
	first := func(got, _ string) string { return got }
	for _, tt := range []struct {
		name      string
		attack    func() string
		want      string
		log, what string
	}{
		{"approval by an agent's token", func() string { return approve(r.agent, one.ID, nil) }, "self_approval_forbidden", "", "approve"},
		{"approval by an agent's token with the owner's assertion", func() string {
			return approve(r.agent, one.ID, r.sign("approve", purser.Approve{Plan: one.ID}))
		}, "self_approval_forbidden", "", "approve"},
		{"an assertion for another digest", func() string {
			return approve(r.person, one.ID, r.sign("approve", purser.Approve{Plan: two.ID}))
		}, "wrong_signature", "", "approve"},
		{"an assertion made inside another site's page", func() string {
			return approve(r.person, one.ID, r.sign("approve", purser.Approve{Plan: one.ID}, func(d *identitytest.Device) { d.Cross = true }))
		}, "wrong_signature", "", "approve"},
		{"a replayed assertion", func() string {
			sig := r.sign("approve", purser.Approve{Plan: one.ID})
			if _, err := r.person.Approve(ctx, purser.Approve{Plan: one.ID, Act: sig}); err != nil {
				t.Fatal(said(err))
			}
			return approve(r.person, one.ID, sig)
		}, "wrong_signature", "", "approve"},
		{"a provider named in HTML", named("<b>notes</b>"), "invalid_request", "", "add_provider"},
		{"a provider named as a script", named("<script>alert(1)</script>"), "invalid_request", "", "add_provider"},
		{"a provider named from right to left", named("no\u202eset"), "invalid_request", "", "add_provider"},
		{"a provider with a name of 10,000 characters", named(strings.Repeat("x", 10000)), "invalid_request", "", "add_provider"},
		{"a code without its PKCE verifier", func() string {
			v := code()
			v.Del("code_verifier")
			return r.token(v)
		}, "400 invalid_grant", "", "redeem_code"},
		{"a refresh token that comes twice", func() string {
			_, out := r.form("/oauth/token", code(), "")
			v := url.Values{"grant_type": {"refresh_token"}, "client_id": {id}, "refresh_token": {fmt.Sprint(out["refresh_token"])}}
			if resp, again := r.form("/oauth/token", v, ""); resp.StatusCode != http.StatusOK {
				t.Fatalf("refreshing: %d %v", resp.StatusCode, again)
			}
			return r.token(v)
		}, "400 invalid_grant", "", "refresh_grant"},

		{"PKCE plain", func() string { return r.asked(id, "code_challenge_method", "plain") }, "303 invalid_request code=", "installation", "authorize_invalid_request"},
		{"no PKCE", func() string { return r.asked(id, "code_challenge", "") }, "303 invalid_request code=", "installation", "authorize_invalid_request"},
		{"an answer to another's address", func() string { return r.asked(id, "redirect_uri", "https://evil.example/cb") }, "400", "installation", "authorize_invalid_redirect_uri"},
		{"code in a redirect URI", func() string { return r.asked(id, "redirect_uri", "javascript:alert(1)") }, "400", "installation", "authorize_invalid_redirect_uri"},
		{"code in a redirect URI that is registered", func() string {
			resp, _ := r.post("/oauth/register", "application/json", `{"client_name":"x","redirect_uris":["javascript:alert(1)"],"token_endpoint_auth_method":"none"}`, "")
			return strconv.Itoa(resp.StatusCode)
		}, "400", "installation", "register_client"},
		{"a line break in a redirect URI that is registered", func() string {
			resp, _ := r.post("/oauth/register", "application/json", `{"redirect_uris":["https://client.example/cb\r\nLocation: https://evil.example"]}`, "")
			return strconv.Itoa(resp.StatusCode)
		}, "400", "installation", "register_client"},
		{"an open redirect of a form", func() string {
			return first(r.send("POST", "/theme", "theme=dark&back=https%3A%2F%2Fevil.example%2F", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"))
		}, "303 /", "installation", "open_redirect"},
		{"an open redirect after the sign-in", func() string {
			got, text := r.send("GET", "/sign-in?next=%2F%5Cevil.example", "")
			return fmt.Sprint(got, " ", strings.Contains(text, "evil.example"))
		}, "200 false", "installation", "open_redirect"},
		{"CSRF by a page of another site", func() string {
			return first(r.send("POST", "/do/stop", stop, from("Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")...))
		}, "403", "installation", "cross_origin"},
		{"CSRF by whoever hides where it comes from", func() string { return first(r.send("POST", "/do/stop", stop, from()...)) }, "403", "installation", "cross_origin"},
		{"CSRF at the API", func() string {
			return first(r.send("POST", "/v1/stops", stop, from("Sec-Fetch-Site", "same-origin")...))
		}, "401", "installation", "no_credential"},
		{"a name that was bound anew", func() string {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.s.URL()+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "evil.example"
			resp, err := alone.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return strconv.Itoa(resp.StatusCode)
		}, "403", "installation", "unknown_host"},
		{"clickjacking", func() string {
			got, text := r.send("GET", "/approvals/"+two.ID, "", from("Sec-Fetch-Site", "cross-site", "Sec-Fetch-Dest", "iframe")...)
			return fmt.Sprint(got, " ", strings.Contains(text, two.ID))
		}, "403 false", "installation", "framed"},
		{"a script in a page, of which the browser tells", func() string {
			return first(r.send("POST", "/csp-reports", `{"csp-report":{"violated-directive":"script-src"}}`, "Content-Type", "application/csp-report", "Sec-Fetch-Site", "same-origin"))
		}, "204", "installation", "csp_report"},
		{"a fixed session", func() string {
			if set := r.signsIn(fixed); set == fixed || !strings.HasPrefix(set, name+"=") {
				t.Errorf("signing in adopts the session %s", set)
			}
			return first(r.send("GET", "/people", "", "Cookie", fixed))
		}, "303 /sign-in?next=%2Fpeople", "installation", "session"},
		{"a fixed session beside the right one", func() string { return first(r.send("GET", "/people", "", "Cookie", r.cookie+"; "+fixed)) }, "303 /sign-in?next=%2Fpeople", "installation", "two_sessions"},
	} {
		before := r.refusals(tt.log, tt.what)
		if got := tt.attack(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if tt.log != "" { // a minute is recorded when it is over
			r.ahead.Add(int64(time.Minute))
			if err := r.s.parts.office.Due(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(5 * time.Minute); r.refusals(tt.log, tt.what) <= before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("%s: %s is not on the record of the log %q", tt.name, tt.what, tt.log)
				break
			}
		}
	}
	if got := first(r.send("GET", "/people", "", "Cookie", r.cookie)); got != "200" {
		t.Errorf("the owner's own session answers %s after all that", got)
	}
}
