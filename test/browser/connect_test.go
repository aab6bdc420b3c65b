package browser

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/purser-dev/purser"
)

// editor is a program that asks to be connected, with a name that is an attack.
type editor struct {
	t        *testing.T
	config   oauth2.Config
	verifier string
	answers  chan url.Values
}

const hostile = "<b id=x>Editor</b>\u202e<script>alert(1)</script>"

// edit registers the program at a server; it listens on a port of its own.
func edit(t *testing.T, server string) *editor {
	t.Helper()
	e := &editor{t: t, verifier: oauth2.GenerateVerifier(), answers: make(chan url.Values, 1)}
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cb" {
			e.answers <- r.URL.Query()
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>back</title>back at the program"))
	}))
	t.Cleanup(back.Close)
	text, err := json.Marshal(map[string]any{"client_name": hostile, "redirect_uris": []string{"http://127.0.0.1/cb"}, "token_endpoint_auth_method": "none"})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := raw(t, http.MethodPost, server+"/oauth/register", string(text), "Content-Type", "application/json")
	var registered struct {
		ID string `json:"client_id"`
	}
	if err := json.Unmarshal([]byte(answer), &registered); err != nil || status != http.StatusCreated {
		t.Fatalf("registering: %d %s", status, answer)
	}
	e.config = oauth2.Config{
		ClientID: registered.ID, RedirectURL: back.URL + "/cb", Scopes: []string{"read", "spend"},
		Endpoint: oauth2.Endpoint{AuthURL: server + "/oauth/authorize", TokenURL: server + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	return e
}

// address is what the program opens in the person's browser.
func (e *editor) address() string {
	return e.config.AuthCodeURL("s1", oauth2.S256ChallengeOption(e.verifier))
}

func (e *editor) answer() url.Values {
	e.t.Helper()
	select {
	case q := <-e.answers:
		return q
	case <-time.After(patience):
		e.t.Fatal("the program gets no answer")
		return nil
	}
}

func TestAPersonConnectsAProgramWithABudget(t *testing.T) {
	t.Parallel()
	server, link := serve(t)
	b := open(t, server)
	b.setUp(link)
	b.visit("/")
	if got := b.act(`<form data-do="create_project"><input name="name" value="shop"></form>`); got.Done == nil {
		t.Fatalf("making a project: %+v", got)
	}
	e := edit(t, server)

	// Who is not signed in signs in first, and comes back to the same question.
	b.signOut()
	b.visit(e.address())
	b.sees("Sign in with a passkey")
	b.signIn()
	b.sees("wants to work for you here")
	b.sees("nobody can say which one")
	b.sees("it registered itself; anybody can")
	if text := b.text(); !strings.Contains(text, "<b id=x>Editor</b>") || strings.Contains(text, "\u202e") || eval[bool](b, `!!document.querySelector("#x")`) {
		t.Errorf("the program's name is shown as %q", text)
	}
	b.usable()
	form := `form[data-act="grant"]`
	b.fill(form, "budget", "12.50")
	b.fill(form, "purpose", "write a page")
	b.press(form)
	q := e.answer()
	if q.Get("state") != "s1" || q.Get("iss") != server || q.Get("code") == "" {
		t.Fatalf("the program hears %v", q)
	}
	token, err := e.config.Exchange(t.Context(), q.Get("code"), oauth2.VerifierOption(e.verifier))
	if err != nil {
		t.Fatal(err)
	}
	agent := b.dial(token.AccessToken)
	run, err := agent.ShowRun(t.Context(), purser.RunRef{})
	if err != nil || run.Budget.Limit != (purser.Money{Amount: 1250, Currency: "USD"}) || run.Purpose != "write a page" || len(run.Reveal) != 0 {
		t.Errorf("its run: %+v %v", run, err)
	}

	// The person sees it among the agents, and disconnects it.
	b.visit("/agents")
	b.sees("Connected clients")
	b.usable()
	b.press(`form[data-do="revoke_grant"]`)
	b.sees("revoked")
	if _, err := agent.Whoami(t.Context(), purser.None{}); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("after it was disconnected: %v", err)
	}
	verify(t, b)
}

func TestAPersonSaysNoToAProgram(t *testing.T) {
	t.Parallel()
	server, link := serve(t)
	b := open(t, server)
	b.setUp(link)
	e := edit(t, server)
	b.visit(e.address())
	b.sees("there is none yet")
	b.press(`form[data-do="decline"]`)
	b.sees("back at the program")
	if q := e.answer(); q.Get("error") != "access_denied" || q.Get("state") != "s1" || q.Has("code") {
		t.Errorf("the program hears %v", q)
	}
	// A wrong request is not passed on to where a stranger's program would have it.
	b.visit(strings.Replace(e.address(), "redirect_uri=http", "redirect_uri=javascript", 1))
	b.sees("invalid_redirect_uri")
	verify(t, b)
}

func TestAPersonConfirmsADeviceByItsCode(t *testing.T) {
	t.Parallel()
	server, link := serve(t)
	b := open(t, server)
	b.setUp(link)
	asked, err := b.dial("").AskDevice(t.Context(), "laptop of <i>ada</i>")
	if err != nil {
		t.Fatal(err)
	}
	b.visit("/device")
	b.fill("#device form", "code", "BBBB-BBBB")
	b.press("#device form")
	b.sees("no device shows this code")
	b.visit("/device")
	b.fill("#device form", "code", strings.ToLower(asked.UserCode))
	b.press("#device form")
	b.sees("Does your device show exactly this code?")
	b.sees(asked.UserCode)
	b.sees("laptop of <i>ada</i>")
	b.usable()
	b.press(`form[data-do="confirm_device"]`)
	b.sees("The device is signed in")
	in, err := b.dial("").RedeemDevice(t.Context(), asked.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	if me, err := b.dial(in.Token).Whoami(t.Context(), purser.None{}); err != nil || me.Kind != purser.Person || me.Name != "Ada" {
		t.Errorf("the device is %+v %v", me, err)
	}
	denied, err := b.dial("").AskDevice(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	b.visit(denied.CompletePage)
	b.press(`form[data-do="deny_device"]`)
	b.sees("You said no")
	if _, err := b.dial("").RedeemDevice(t.Context(), denied.DeviceCode); purser.CodeOf(err) != purser.AccessDenied {
		t.Errorf("a denied device: %v", err)
	}

	// The command line, which waits for the page.
	said, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code, _ := b.typed("", write, "login")
		_ = write.Close()
		ended <- code
	}()
	b.visit(strings.Fields(linkIn(t, said, "and compare it"))[2])
	b.sees("purser of ")
	b.press(`form[data-do="confirm_device"]`)
	if code := <-ended; code != 0 {
		t.Errorf("purser login: exit %d", code)
	}
	b.visit("/settings/passkeys")
	b.sees("Command line")
	verify(t, b)
}
