package server

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/issuer/issuertest"
)

// visitor is somebody's browser.
type visitor struct {
	t    *testing.T
	s    *Server
	http *http.Client
}

func browse(t *testing.T, s *Server) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, s, &http.Client{Jar: jar}}
}

func (v *visitor) get(address string) (*http.Response, string) {
	v.t.Helper()
	resp, err := v.http.Get(address)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp, string(text)
}

// do calls an operation as a page of the console does.
func (v *visitor) do(operation string, in, out any) *purser.Error {
	v.t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		v.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.s.URL()+"/do/"+operation, strings.NewReader(string(text)))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Idempotency-Key", rand.Text())
	resp, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		var e purser.Error
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			v.t.Fatalf("%s: %d %v", operation, resp.StatusCode, err)
		}
		return &e
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		v.t.Fatal(err)
	}
	return nil
}

func (v *visitor) whoami() (me purser.WhoAmI, err *purser.Error) {
	v.t.Helper()
	err = v.do("whoami", purser.None{}, &me)
	return me, err
}

// signIn goes through the issuer and says where the browser ends.
func (v *visitor) signIn() (*http.Response, string) {
	v.t.Helper()
	return v.get(v.s.URL() + "/sign-in/issuer?next=/device")
}

// joined is a server that takes people from an issuer.
func joined(t *testing.T, flags map[string]any) (*Server, *issuertest.Issuer, *client.Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	u := issuertest.Open(t, "http://localhost:"+port+"/sign-in/issuer/callback")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(issuertest.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"oidc.issuer": u.URL, "oidc.client_id": issuertest.Client, "oidc.client_secret_file": secret, "oidc.allowed_domains": "example.org"}
	for k, v := range flags {
		all[k] = v
	}
	opt := quiet()
	opt.Listener = l
	s, _ := start(t, settings(t, all), opt)
	return s, u, owner(t, s)
}

func person(email string, groups ...string) issuertest.Account {
	return issuertest.Account{"email": email, "email_verified": true, "name": "Grace", "groups": groups}
}

func TestAPersonOfTheIssuerReadsAndReducesAndLoosensNothing(t *testing.T) {
	s, u, ann := joined(t, map[string]any{"oidc.provision": "all", "oidc.roles": "finance=approver"})
	u.Is("sub-1", person("grace@example.org", "finance"))
	v := browse(t, s)
	if resp, text := v.signIn(); resp.StatusCode != 200 || resp.Request.URL.Path != "/device" {
		t.Fatalf("the browser ends at %s: %d\n%s", resp.Request.URL, resp.StatusCode, text)
	}
	me, no := v.whoami()
	if no != nil || me.Name != "Grace" || me.Role != purser.Approver || me.Kind != purser.Person {
		t.Fatalf("%+v %v", me, no)
	}
	if no := v.do("create_project", purser.CreateProject{Name: "shop"}, new(purser.Project)); no != nil {
		t.Fatal(no)
	}
	run := purser.CreateRun{Project: "shop", Budget: purser.Money{Amount: 100, Currency: "USD"}}
	if no := v.do("create_run", run, new(purser.Run)); no == nil || no.Code != purser.NeedsPerson {
		t.Errorf("a run without a passkey: %v", no)
	}
	var stop purser.StopInfo
	if no := v.do("stop", purser.Stop{Scope: "organization", Reason: "reducing"}, &stop); no != nil {
		t.Errorf("stopping: %v", no)
	}

	// The first passkey is an owner's to allow, by a signature.
	in := purser.FirstPasskey{Person: me.ID}
	if no := v.do("first_passkey", in, new(purser.PasskeyLink)); no == nil || no.Code != purser.Forbidden {
		t.Errorf("allowing oneself: %v", no)
	}
	if _, err := ann.FirstPasskey(t.Context(), in); purser.CodeOf(err) != purser.NeedsPerson {
		t.Errorf("an owner's token alone: %v", err)
	}
	desk := &desk{t: t, s: s, person: ann}
	var err error
	if in.Act, err = desk.consent().Sign(t.Context(), "first_passkey", in); err != nil {
		t.Fatal(err)
	}
	link, err := ann.FirstPasskey(t.Context(), in)
	if err != nil || !strings.HasPrefix(link.Link, s.URL()+"/recover?") {
		t.Errorf("an owner's signature: %+v %v", link, err)
	}
	mine, err := ann.Whoami(t.Context(), purser.None{})
	if err != nil {
		t.Fatal(err)
	}
	own := purser.FirstPasskey{Person: mine.ID}
	if own.Act, err = desk.consent().Sign(t.Context(), "first_passkey", own); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.FirstPasskey(t.Context(), own); purser.CodeOf(err) != purser.InvalidState {
		t.Errorf("for somebody who signs already: %v", err)
	}

	// A role follows the groups, down too.
	u.Is("sub-1", person("grace@example.org"))
	if resp, text := v.signIn(); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if me, no := v.whoami(); no != nil || me.Role != purser.Viewer {
		t.Errorf("out of the group: %+v %v", me, no)
	}
	page, err := ann.AuditLog(t.Context(), purser.AskAudit{})
	if err != nil {
		t.Fatal(err)
	}
	log := fmt.Sprint(page.Records)
	for _, action := range []string{"provision_person", "sign_in_upstream", "follow_groups", "first_passkey"} {
		if !strings.Contains(log, action) {
			t.Errorf("%s is not on the record", action)
		}
	}
}

func TestWhoMayNotComeInIsRefusedAndRecorded(t *testing.T) {
	inTurn(t)
	s, u, ann := joined(t, map[string]any{"oidc.provision": "groups", "oidc.roles": "staff=viewer"})
	for name, a := range map[string]issuertest.Account{
		"not verified":        {"email": "grace@example.org", "email_verified": false, "groups": []string{"staff"}},
		"no word of it":       {"email": "grace@example.org", "groups": []string{"staff"}},
		"no address":          {"email_verified": true, "groups": []string{"staff"}},
		"another domain":      person("grace@elsewhere.example", "staff"),
		"a domain that looks": person("grace@example.org.elsewhere.example", "staff"),
		"two addresses":       person("grace@elsewhere.example,grace@example.org", "staff"),
		"no group":            person("grace@example.org"),
		"another group":       person("grace@example.org", "guests"),
	} {
		u.Is("sub-"+name, a)
		v := browse(t, s)
		if resp, _ := v.signIn(); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
		if me, no := v.whoami(); no == nil {
			t.Errorf("%s is signed in as %+v", name, me)
		}
	}
	page, err := ann.AuditLog(t.Context(), purser.AskAudit{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range page.Records {
		if r.Action == "sign_in_upstream" && r.Outcome == "refused" {
			n++
		}
	}
	if n != 8 {
		t.Errorf("%d refusals are on the record", n)
	}
	// An owner who is here signs in under the same verified address, and stays one.
	u.Is("sub-ann", person("ann@example.org"))
	v := browse(t, s)
	if resp, text := v.signIn(); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if me, no := v.whoami(); no != nil || me.Role != purser.Owner || me.Name != "Ann" {
		t.Errorf("%+v %v", me, no)
	}
	if resp, _ := v.signIn(); resp.StatusCode != 200 {
		t.Errorf("again: %d", resp.StatusCode)
	}
}

func TestAnAnswerOfTheIssuerCountsOnceForTheBrowserThatAsked(t *testing.T) {
	s, u, _ := joined(t, map[string]any{"oidc.provision": "all"})
	u.Is("sub-1", person("grace@example.org"))
	// trip goes to the issuer and stops before the way back.
	trip := func(v *visitor) string {
		back := ""
		v.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if strings.HasPrefix(r.URL.String(), s.URL()+"/sign-in/issuer/callback") {
				back = r.URL.String()
				return http.ErrUseLastResponse
			}
			return nil
		}
		v.signIn()
		v.http.CheckRedirect = nil
		if query(t, back).Get("code") == "" {
			t.Fatalf("the issuer answers at %q", back)
		}
		return back
	}
	change := func(address, name, value string) string {
		a, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		q := a.Query()
		q.Set(name, value)
		a.RawQuery = q.Encode()
		return a.String()
	}
	for name, try := range map[string]func() *http.Response{
		"another browser": func() *http.Response {
			resp, _ := browse(t, s).get(trip(browse(t, s)))
			return resp
		},
		"another question": func() *http.Response {
			v := browse(t, s)
			resp, _ := v.get(change(trip(v), "state", "x"))
			return resp
		},
		"another issuer": func() *http.Response {
			v := browse(t, s)
			resp, _ := v.get(change(trip(v), "iss", "https://evil.example"))
			return resp
		},
		"a code of another trip": func() *http.Response { // PKCE and nonce are this browser's
			v, w := browse(t, s), browse(t, s)
			resp, _ := v.get(change(trip(v), "code", query(t, trip(w)).Get("code")))
			return resp
		},
		"a repeated parameter": func() *http.Response {
			v := browse(t, s)
			resp, _ := v.get(trip(v) + "&code=x")
			return resp
		},
		"twice": func() *http.Response {
			v := browse(t, s)
			back := trip(v)
			if resp, text := v.get(back); resp.StatusCode != 200 {
				t.Fatalf("once: %d %s", resp.StatusCode, text)
			}
			resp, _ := v.get(back)
			return resp
		},
		"a no": func() *http.Response {
			u.Is("", nil)
			resp, _ := browse(t, s).signIn()
			u.Is("sub-1", person("grace@example.org"))
			return resp
		},
	} {
		if resp := try(); resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d at %s", name, resp.StatusCode, resp.Request.URL)
		}
	}
	v := browse(t, s)
	if resp, _ := v.get(s.URL() + "/sign-in/issuer?next=//evil.example/"); resp.Request.URL.Host != strings.TrimPrefix(s.URL(), "http://") {
		t.Errorf("the way on leads to %s", resp.Request.URL)
	}
}

func TestAServerStartsWhileItsIssuerIsAway(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	s, _ := start(t, settings(t, map[string]any{"oidc.issuer": away.URL, "oidc.client_id": issuertest.Client}), quiet())
	if resp, _ := browse(t, s).signIn(); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("answered %d", resp.StatusCode)
	}
}
