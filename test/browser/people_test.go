package browser

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

// setUp makes the owner, by the link that the first start prints.
func (b *tab) setUp(link string) {
	b.t.Helper()
	b.visit(link)
	b.fill("#set-up form", "organization", "Analytical")
	b.fill("#set-up form", "name", "Ada")
	b.fill("#set-up form", "email", "ada@example.org")
	b.press("#set-up form")
	b.sees("Keep these recovery codes")
}

// codes are the recovery codes on the page.
func (b *tab) codes() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("[data-codes] code")].map((c) => c.textContent)`)
}

func (b *tab) signIn() {
	b.t.Helper()
	b.press("#sign-in form")
}

func (b *tab) signOut() {
	b.t.Helper()
	eval[bool](b, `(document.querySelector("form[action='/sign-out']").submit(), true)`)
	b.at("/sign-in")
}

func TestTheOwnerSetsUpWithAPasskeyAndSignsInWithIt(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.visit("/people")
	b.at("/sign-in?next=%2Fpeople")
	b.visit(link)
	b.usable()
	b.setUp(link)
	b.usable()
	if n := len(b.codes()); n != 10 {
		t.Errorf("%d recovery codes are shown, want 10", n)
	}
	first := b.cookie()
	if first == nil || !first.HTTPOnly || first.SameSite != "Lax" || first.Path != "/" || !first.Session && first.Expires <= 0 {
		t.Errorf("the cookie is %+v", first)
	}
	if seen := eval[string](b, `document.cookie`); strings.Contains(seen, "pur_ses_") {
		t.Errorf("scripts can read the session: %s", seen)
	}
	b.visit(link) // once
	b.sees("was used")

	b.visit("/")
	b.signOut()
	if c := b.cookie(); c != nil {
		t.Errorf("after signing out the browser holds %+v", c)
	}
	if status, _ := raw(t, "GET", url+"/settings/passkeys", "", "Cookie", first.Name+"="+first.Value); status != http.StatusSeeOther {
		t.Errorf("the old session answers %d, want to be sent to sign in", status)
	}
	b.visit("/sign-in?next=/settings/passkeys")
	b.signIn()
	b.at("/settings/passkeys")
	if again := b.cookie(); again == nil || again.Value == first.Value {
		t.Error("two sign-ins share a session")
	}

	// Nothing leads to another server.
	for _, next := range []string{"https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/%5C%5Cevil.example"} {
		b.visit("/sign-in?next=" + next)
		if to := eval[string](b, `document.querySelector("[data-enter]").dataset.next`); to != "/" && !strings.HasPrefix(to, "/%5C") {
			t.Errorf("next=%s leads to %q", next, to)
		}
	}
}

func TestASecondPasskeyIsAddedAndTheFirstRevoked(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	first := b.key
	b.setUp(link)
	second := b.addAuthenticator(webauthn.AuthenticatorTransportUsb)
	b.visit("/settings/passkeys")
	b.fill(`form[data-act="add_passkey"]`, "passkey_name", "security key")
	// The person touches the new key to make the passkey, and then the old one to
	// confirm: two devices that both say yes would answer for each other.
	eval[bool](b, `(() => {
		const fetched = window.fetch, touched = new Promise((go) => { window.touchTheOld = go; });
		window.fetch = async (path, ...rest) => { if (path === "/do/ask_act") await touched; return fetched(path, ...rest); };
		return true;
	})()`)
	b.press(`form[data-act="add_passkey"]`)
	b.until(func() bool { return b.holds(second) == 1 }, func() string { return "the new key holds no passkey: " + b.text() })
	b.present(second, false)
	eval[bool](b, `(window.touchTheOld(), true)`)
	b.sees("security key")

	b.do(chromedp.Click(`form[data-do="revoke_passkey"]:has(strong) button`)) // the first of the list
	b.until(func() bool {
		return eval[int](b, `document.querySelectorAll("form[data-do='revoke_passkey']").length`) == 1
	},
		func() string { return "the first passkey is still listed: " + b.text() })
	b.press(`form[data-do="revoke_passkey"]`)
	b.sees("it is the last passkey")

	b.removeAuthenticator(first)
	b.present(second, true)
	b.visit("/settings/passkeys")
	b.signOut()
	b.signIn()
	b.at("/")

	// Without any passkey: a recovery code makes one.
	b.visit("/settings/passkeys")
	b.press(`#recovery form`)
	b.sees("Keep these recovery codes")
	code := b.codes()[3]
	b.visit("/")
	b.signOut()
	b.removeAuthenticator(second)
	b.addAuthenticator(webauthn.AuthenticatorTransportInternal)
	b.do(chromedp.Click(`a[href="/recover"]`))
	b.fill("#recover form", "email", "ada@example.org")
	b.fill("#recover form", "code", code)
	b.press("#recover form")
	b.at("/")
	b.visit("/settings/passkeys")
	b.sees("9 are left")
	verify(t, b)
}

// invites lets somebody join, in a browser and with a passkey of their own.
func (b *tab) invites(name, email, role string) *tab {
	b.t.Helper()
	b.visit("/people")
	b.fill("#invite form", "role", role)
	b.press("#invite form")
	b.sees("Send this link")
	invitation := eval[string](b, `document.querySelector("[data-result=link]").textContent`)
	in := open(b.t, b.url)
	in.visit(invitation)
	in.sees("You join as " + role)
	in.usable()
	in.fill("#invitation form", "name", name)
	in.fill("#invitation form", "email", email)
	in.press("#invitation form")
	in.sees("Keep these recovery codes")
	in.visit(invitation)
	in.sees("was used")
	return in
}

func TestTheInvitedJoinsAndApprovesExactlyWhatIsShown(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	ada := open(t, url)
	ada.setUp(link)
	bob := ada.invites("Bob", "bob@example.org", "approver")
	bob.visit("/people")
	bob.sees("ada@example.org")
	shop := sell(t, "desk")
	ada.hires(shop)
	plan := shop.plans(t, shop.lamp())
	approve := fmt.Sprintf(`<form data-act="approve" data-digest="%s"><input name="plan" value="%s"></form>`, plan.Digest, plan.ID)
	if got := bob.act(strings.Replace(approve, "sha256:", "sha256:0", 1)); got.Done != nil || !strings.Contains(got.Detail, "something else") {
		t.Errorf("another digest than the page shows: %+v", got)
	}
	if got := bob.act(approve); got.Done["state"] != "ready" {
		t.Fatalf("after Bob's yes: %+v", got)
	}
	done, err := shop.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID, Wait: 20})
	if err != nil || done.State != purser.PlanDone || done.Approval.Method != "passkey" {
		t.Errorf("applied: %s %+v, %v", done.State, done.Approval, err)
	}
	verify(t, ada)
}

// What a page of another site, or a program with a stolen cookie and no page, sends.
func TestAChangeComesFromAPageOfOurs(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	session := b.cookie().Name + "=" + b.cookie().Value
	stop := `{"scope":"organization","reason":"csrf"}`
	for _, tt := range []struct {
		name, path, body string
		header           []string
		want             int
	}{
		{"a page of another site", "/do/stop", stop, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"a page of another port", "/do/stop", stop, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:1"}, 403},
		{"neither header", "/do/stop", stop, nil, 403},
		{"typed by the person", "/do/stop", stop, []string{"Sec-Fetch-Site", "none"}, 403},
		{"a form's type", "/do/stop", stop, []string{"Sec-Fetch-Site", "same-origin", "Content-Type", "text/plain"}, 400},
		{"without a key", "/do/stop", stop, []string{"Sec-Fetch-Site", "same-origin", "Idempotency-Key", ""}, 400},
		{"the API takes no cookie", "/v1/stops", stop, []string{"Sec-Fetch-Site", "same-origin"}, 401},
		{"MCP takes no cookie", "/mcp", `{}`, []string{"Sec-Fetch-Site", "same-origin"}, 401},
		{"an approval without a signature", "/do/approve", `{"plan":"pln_1"}`, []string{"Sec-Fetch-Site", "same-origin"}, 404},
		{"a limit without a signature", "/do/set_budget", `{"scope":"organization","limit":{"amount":99999999,"currency":"USD"}}`, []string{"Sec-Fetch-Site", "same-origin"}, 403},
		{"signing in as somebody else from elsewhere", "/session/sign_in", `{}`, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"a session by the other door", "/do/sign_in", `{}`, []string{"Sec-Fetch-Site", "same-origin"}, 404},
		{"the rail's operations", "/do/charge", `{}`, []string{"Sec-Fetch-Site", "same-origin"}, 404},
		{"signing out from elsewhere", "/sign-out", ``, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		{"a page of ours", "/do/stop", stop, []string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		header := append([]string{"Cookie", session, "Content-Type", "application/json", "Idempotency-Key", "k-" + strings.ReplaceAll(tt.name, " ", "-")}, tt.header...)
		if status, body := raw(t, "POST", url+tt.path, tt.body, header...); status != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, status, body, tt.want)
		}
	}
	// A cookie that somebody else set is never adopted.
	fixed := b.cookie().Name + "=pur_ses_" + strings.Repeat("a", 52)
	if status, _ := raw(t, "GET", url+"/people", "", "Cookie", fixed); status != http.StatusSeeOther {
		t.Errorf("a fixed session answers %d", status)
	}
	if status, _ := raw(t, "GET", url+"/people", "", "Cookie", session+"; "+fixed); status != http.StatusSeeOther {
		t.Errorf("two sessions answer %d", status)
	}
	for _, h := range []string{"Content-Security-Policy", "X-Frame-Options"} {
		resp, err := http.Get(url + "/sign-in")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if v := resp.Header.Get(h); !strings.Contains(v, "DENY") && !strings.Contains(v, "frame-ancestors 'none'") {
			t.Errorf("%s is %q", h, v)
		}
	}
	verify(t, b)
}

func TestWhoIsRefusedHearsWhatToDo(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.visit("/set-up?code=wrong")
	b.sees("the set-up link is wrong, was used, or its time is over")
	b.setUp(link)
	b.visit("/")
	b.signOut()
	b.removeAuthenticator(b.key)
	b.addAuthenticator(webauthn.AuthenticatorTransportUsb) // an empty one
	b.signIn()
	b.sees("No passkey answered.")
	// A terminal asks for a signature; the page shows what it is, and signs it.
	b.visit("/recover")
	b.fill("#recover form", "email", "ada@example.org")
	b.fill("#recover form", "code", "nope")
	b.press("#recover form")
	b.sees("the e-mail address or the recovery code is wrong")
}

// A program with the person's token asks, the browser signs, the program goes on.
func TestAPageSignsWhatATerminalAsked(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	in := purser.SetBudget{Scope: "organization", Limit: purser.Money{Amount: 990000, Currency: "USD"}}
	c := b.program()
	asked, err := c.AskAct(t.Context(), purser.AskAct{Operation: "set_budget", Request: map[string]any{"scope": "organization", "limit": map[string]any{"amount": 990000, "currency": "USD"}}})
	if err != nil {
		t.Fatal(err)
	}
	b.visit(asked.Link)
	b.sees("990000")
	b.usable()
	b.press("#act form")
	b.sees("It is signed")
	got, err := c.ShowAct(t.Context(), purser.ActRef{Nonce: asked.Nonce, Wait: 10})
	if err != nil || got.State != "signed" {
		t.Fatalf("%+v, %v", got, err)
	}
	in.Act = got.Signature
	if _, err := c.SetBudget(client.WithKey(t.Context(), "k1"), in); err != nil {
		t.Errorf("with the signature: %v", err)
	}
	verify(t, b)
}

// RULES 1 on a terminal whose person has passkeys only: the page signs, and the
// command goes on by itself, or by its token where it cannot wait.
func TestACommandSendsWhoHasPasskeysToAPageAndWaits(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	b.visit("/people")
	token := b.token()
	set := []string{"budget", "set", "organization", "--limit", "4321"}

	code, answer := b.typed(token, io.Discard, append(set, "--json")...)
	data, _ := answer["data"].(map[string]any)
	page, _ := data["link"].(string)
	resume, _ := data["resume"].(string)
	if code != purser.ExitPerson || !strings.HasPrefix(page, url+"/acts/") || resume == "" {
		t.Fatalf("headless: exit %d, %v", code, answer)
	}
	b.visit(page)
	b.sees("432100")
	b.press("#act form")
	b.sees("It is signed")
	if code, answer := b.typed(token, io.Discard, "budget", "set", "organization", "--limit", "9999", "--json", "--signed", resume); code == 0 {
		t.Errorf("the signature went with another request: %v", answer)
	}
	if code, answer := b.typed(token, io.Discard, append(set, "--json", "--signed", resume)...); code != 0 {
		t.Errorf("with the signature: exit %d, %v", code, answer)
	}

	said, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code, _ := b.typed(token, write, "budget", "set", "organization", "--limit", "5432")
		_ = write.Close()
		ended <- code
	}()
	b.visit(linkIn(t, said, "/acts/"))
	b.press("#act form")
	if code := <-ended; code != 0 {
		t.Errorf("the command that waited: exit %d", code)
	}
	b.sees("It is signed") // the page goes on to say so
	verify(t, b)
}

// carries gives the tab a copy of another one's passkey, as a phone that shares the
// passkeys of a laptop has it.
func (b *tab) carries(from *tab) {
	b.t.Helper()
	kept, err := chromedp.Call(from.ctx, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: from.key})
	if err != nil {
		b.t.Fatalf("reading a passkey: %v", err)
	}
	// The library's own parameters always name a member that this device refuses.
	type credential struct {
		ID       []byte `json:"credentialId"`
		Resident bool   `json:"isResidentCredential"`
		RP       string `json:"rpId"`
		Private  []byte `json:"privateKey"`
		User     []byte `json:"userHandle"`
		Count    int64  `json:"signCount"`
	}
	type params struct {
		Device     webauthn.AuthenticatorID `json:"authenticatorId"`
		Credential credential               `json:"credential"`
	}
	add := cdp.Command[params, cdp.Empty]{Method: webauthn.CommandAddCredential}
	for _, c := range kept.Credentials {
		copied := credential{c.CredentialID, c.IsResidentCredential, c.RpID, c.PrivateKey, c.UserHandle, int64(c.SignCount)}
		if _, err := chromedp.Call(b.ctx, add, params{b.key, copied}); err != nil {
			b.t.Fatalf("copying a passkey: %v", err)
		}
	}
}

func TestASessionThatWasEndedIsOutAtOnce(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	phone := open(t, url)
	phone.carries(b)
	phone.visit("/sign-in?next=/approvals")
	phone.signIn()
	phone.at("/approvals")
	phone.sees("Nothing waits")
	b.visit("/settings/passkeys")
	b.usable()
	b.click(`#sessions form:not(:has(.tag)) button`) // the one that is not this one
	pressed := time.Now()
	b.until(func() bool { return eval[int](b, `document.querySelectorAll("#sessions form").length`) == 1 }, func() string { return "the session is still listed: " + b.text() })
	phone.sees("This session was ended.") // nobody loads the page again
	if took := time.Since(pressed); took > soon {
		t.Errorf("the other session is out after %v", took)
	}
	if strings.Contains(phone.text(), "Nothing waits") {
		t.Error("the page of an ended session still shows what it showed")
	}
	if status := eval[int](phone, `fetch("/do/overview", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }).then((r) => r.status)`); status != http.StatusUnauthorized {
		t.Errorf("its next request answers %d", status)
	}
	phone.click("#content a")
	phone.at("/sign-in?next=%2Fapprovals")
	b.visit("/people")
	b.usable()
	verify(t, b)
}

// A button that was pressed before the page's script came, or where no script runs,
// does nothing and puts nothing into the address: not a recovery code, not a secret.
func TestAButtonPressedTooEarlyDoesNothingAndTellsNobody(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	b.visit("/settings")
	b.block("*://*:*/static/act.js*")
	early := func(path, form string, fields ...string) {
		t.Helper()
		b.visit(path)
		for i := 0; i < len(fields); i += 2 {
			b.fill(form, fields[i], fields[i+1])
		}
		b.press(form)
		b.sees("nothing was done")
		b.at("/unsent")
	}
	early("/settings", `form[data-act="set_budget"]`, "limit", "77.77")
	early("/providers", `form[data-act="add_provider"]`, "manifest", "{}", "signing_secret", "s3cret")
	early("/recover", `form[data-enter="recover_access"]`, "email", "ada@example.org", "code", "a-recovery-code")
	b.block()
	b.visit("/settings")
	if strings.Contains(b.text(), "77.77") {
		t.Error("a limit was set without a signature")
	}
	b.fill(`form[data-act="set_budget"]`, "limit", "77.77")
	b.press(`form[data-act="set_budget"]`)
	b.sees("77.77 USD")
	verify(t, b)
}
