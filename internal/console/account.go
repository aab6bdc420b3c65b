package console

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"github.com/a-h/templ"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/form"
	"github.com/purser-dev/purser/internal/gate"
)

// accountDoors are the pages and answers of signing: see the top of static/act.js
// for what a form of any page can do with them. The screens are listed with the
// others.
func (c *Console) accountDoors() map[string]http.Handler {
	return map[string]http.Handler{
		"POST /do/{operation}":      http.HandlerFunc(c.perform),
		"POST /session/{operation}": http.HandlerFunc(c.enter),
		"POST /unsent":              http.HandlerFunc(c.unsent),
		"POST /sign-out":            http.HandlerFunc(c.signOut),
		"GET /sign-in":              c.open("sign_in", c.signIn),
		"GET /set-up":               c.open("set_up", c.setUp),
		"GET /invitation":           c.open("invitation", c.invitation),
		"GET /recover":              c.open("recover", c.recover),
	}
}

// unsent are the attributes of a form that static/act.js sends. Pressed before that
// script is there, or without one, a form would put its fields, a recovery code
// among them, into the address; so it posts them to where nothing reads them.
var unsent = templ.Attributes{"method": "post", "action": "/unsent"}

// unsent tells who pressed a button too early that nothing was done.
func (c *Console) unsent(w http.ResponseWriter, r *http.Request) {
	v := c.visit(w, r, "unsent")
	v.by, _ = c.Sessions.Session(r) // most know who they are, and see the menu
	v.fail(purser.Errorf(purser.InvalidRequest, "the page was not ready when the button was pressed, and nothing was done").
		WithHint("go back, load that page again and press the button; it needs JavaScript, to ask for your passkey"))
}

// open answers with a page that needs no session.
func (c *Console) open(name string, show func(*visit) (page, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := c.visit(w, r, name)
		p, err := show(v)
		if err != nil {
			v.fail(err)
			return
		}
		v.show(http.StatusOK, p)
	})
}

// perform runs one operation for a script of a page, as the HTTP door does for
// programs: members in, JSON or a problem out. Who it is says the session.
func (c *Console) perform(w http.ResponseWriter, r *http.Request) {
	out, err := c.performed(w, r)
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	answer(w, form.Whole(out))
}

func (c *Console) performed(w http.ResponseWriter, r *http.Request) (any, error) {
	op, known := c.operations[r.PathValue("operation")]
	if !known || op.Who == purser.Providers || slices.Contains(entering, op.Name) {
		return nil, purser.Errorf(purser.NotFound, "no page calls an operation of this name")
	}
	gate.EntryOf(r.Context()).Name(op.Name)
	by, err := c.Sessions.Session(r)
	if op.Who == purser.Anyone {
		by, err = c.stranger(r)
	}
	if err != nil {
		return nil, err
	}
	if by.Key = r.Header.Get("Idempotency-Key"); op.Changes && !purser.ValidKey(by.Key) {
		return nil, purser.Errorf(purser.InvalidRequest, "the request has no key").WithHint("load the page again")
	}
	members, err := body(w, r)
	if err != nil {
		return nil, err
	}
	in, err := form.Fill(op.In, members)
	if err != nil {
		return nil, err
	}
	return op.Do(r.Context(), by, in)
}

// stranger is who is not signed in, on a page of ours.
func (c *Console) stranger(r *http.Request) (purser.Actor, error) {
	if err := c.Gate.SamePage(r); err != nil {
		return purser.Actor{}, err
	}
	return c.Gate.Anonymous(r)
}

// bodyLimit bounds what a page sends, in bytes.
const bodyLimit = 1 << 20

// body reads the members of a JSON request. No form of another site can send that
// type without being asked first.
func body(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, purser.Errorf(purser.InvalidRequest, "the body must be application/json")
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		return nil, purser.Errorf(purser.TooLarge, "the request broke off, or is larger than %d bytes", bodyLimit)
	}
	return form.Parse(text)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // who is gone needs no answer
}

// entering are the operations that begin a session.
var entering = []string{"set_up", "sign_in", "accept_invitation", "recover_access"}

// entered is what a script learns of it; the token goes into the cookie only.
type entered struct {
	Name          string   `json:"name"`
	RecoveryCodes []string `json:"recovery_codes,omitempty"`
}

// enter begins a session. It is always a new one, and the one before ends.
func (c *Console) enter(w http.ResponseWriter, r *http.Request) {
	in, err := c.newSession(w, r)
	if err != nil {
		gate.Problem(w, r, err)
		return
	}
	if old, err := c.Sessions.Session(r); err == nil {
		// What is left of it ends by itself when this fails.
		_, _ = c.operations["sign_out"].Do(r.Context(), old, purser.SignOut{})
	}
	c.Gate.SetCookie(w, in.Token, in.ExpiresAt)
	answer(w, entered{in.Name, in.RecoveryCodes})
}

func (c *Console) newSession(w http.ResponseWriter, r *http.Request) (in purser.SignedIn, err error) {
	op := c.operations[r.PathValue("operation")]
	if !slices.Contains(entering, op.Name) {
		return in, purser.Errorf(purser.NotFound, "nothing of this name begins a session")
	}
	gate.EntryOf(r.Context()).Name(op.Name)
	by, err := c.stranger(r)
	if err != nil {
		return in, err
	}
	members, err := body(w, r)
	if err != nil {
		return in, err
	}
	filled, err := form.Fill(op.In, members)
	if err != nil {
		return in, err
	}
	if by.Browser = r.UserAgent(); by.Browser == "" {
		by.Browser = "a browser without a name"
	}
	out, err := op.Do(r.Context(), by, filled)
	if err != nil {
		return in, err
	}
	return out.(purser.SignedIn), nil
}

// signOut ends the session and takes it out of the browser. Twice is fine.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	v := c.visit(w, r, "sign_out")
	by, err := c.Sessions.Session(r)
	if err == nil {
		_, err = c.operations["sign_out"].Do(r.Context(), by, purser.SignOut{})
	}
	if err != nil && purser.CodeOf(err) != purser.NotSignedIn {
		v.fail(err)
		return
	}
	c.Gate.DropCookie(w)
	http.Redirect(w, r, c.SignIn, http.StatusSeeOther)
}

func (c *Console) signIn(v *visit) (page, error) {
	next := c.Gate.Onward(v.r, v.r.URL.Query().Get("next"))
	return page{title: "Sign in", parts: []part{{id: "sign-in", body: signInForm(v, next)}}}, nil
}

// invited asks what a code is good for; a bad one is told before anything is typed.
func (v *visit) invited(purpose string) (purser.AskedPasskey, error) {
	by, err := v.console.Gate.Anonymous(v.r)
	if err != nil {
		return purser.AskedPasskey{}, err
	}
	v.by = purser.Actor{}
	out, err := v.console.operations["ask_passkey"].Do(v.ctx, by, purser.AskPasskey{For: purpose, Code: v.r.URL.Query().Get("code")})
	if err != nil {
		return purser.AskedPasskey{}, err
	}
	return out.(purser.AskedPasskey), nil
}

func (c *Console) setUp(v *visit) (page, error) {
	if _, err := v.invited("set_up"); err != nil {
		return page{}, err
	}
	return page{title: "Set up Purser", parts: []part{{id: "set-up", body: setUpForm(v, v.r.URL.Query().Get("code"))}}}, nil
}

func (c *Console) invitation(v *visit) (page, error) {
	asked, err := v.invited("accept_invitation")
	if err != nil {
		return page{}, err
	}
	return page{title: "You are invited", parts: []part{{id: "invitation", body: invitationForm(v, v.r.URL.Query().Get("code"), asked.Role)}}}, nil
}

func (c *Console) recover(v *visit) (page, error) {
	return page{title: "Make a new passkey", parts: []part{{id: "recover", body: recoverForm(v, v.r.URL.Query(), c.Gate.Onward(v.r, v.r.URL.Query().Get("next")))}}}, nil
}

// waitingAct shows what another program of the person asks to be signed.
func (c *Console) waitingAct(v *visit) (page, error) {
	a, err := do[purser.Act](v, "show_act", purser.ActRef{Nonce: v.r.PathValue("act")})
	if err != nil {
		return page{}, err
	}
	return page{title: "Sign: " + words(a.Operation), parts: []part{{id: "act", body: actForm(v, a)}}}, nil
}

func (c *Console) people(v *visit) (page, error) {
	p := peoplePage{owner: v.by.Role == purser.Owner}
	list, err := do[purser.List[purser.PersonInfo]](v, "list_people", purser.None{})
	if err != nil {
		return page{}, err
	}
	p.people = list.Items
	if p.two, err = do[purser.TwoPeople](v, "two_people", purser.None{}); err != nil {
		return page{}, err
	}
	if p.owner {
		open, err := do[purser.List[purser.Invitation]](v, "list_invitations", purser.None{})
		if err != nil {
			return page{}, err
		}
		p.invitations = open.Items
	}
	parts := []part{{id: "people", body: peopleList(v, p)}}
	if p.owner {
		parts = append(parts, part{id: "invite", body: inviteForm(v, p)})
	}
	return page{title: "People", parts: append(parts, part{id: "two-people", body: twoPeopleForm(v, p)})}, nil
}

// peoplePage is what the screen of people shows.
type peoplePage struct {
	owner       bool
	people      []purser.PersonInfo
	invitations []purser.Invitation
	two         purser.TwoPeople
}

func (c *Console) passkeys(v *visit) (page, error) {
	keys, err := do[purser.Passkeys](v, "list_passkeys", purser.None{})
	if err != nil {
		return page{}, err
	}
	sessions, err := do[purser.List[purser.Session]](v, "list_sessions", purser.None{})
	if err != nil {
		return page{}, err
	}
	return page{title: "Passkeys and sessions", parts: []part{
		{id: "passkeys", body: passkeyList(v, keys)}, {id: "recovery", body: recoveryPart(v, keys)}, {id: "sessions", body: sessionList(v, sessions.Items)},
	}}, nil
}

// first is a value of a query, made fit to be a field's.
func first(q url.Values, name string) string { return short(q.Get(name), 200) }
