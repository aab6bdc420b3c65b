package office_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/identity/identitytest"
)

const origin = "http://localhost:7627"

type device = identitytest.Device

func newDevice(t testing.TB) *device { t.Helper(); return identitytest.New(t, origin) }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// toSign gets the challenge of a request from the office.
func (h *house) toSign(by purser.Actor, operation string, in any) purser.Challenge {
	h.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		h.t.Fatal(err)
	}
	var request map[string]any
	if err := json.Unmarshal(raw, &request); err != nil {
		h.t.Fatal(err)
	}
	return must[purser.Challenge](h, by, "ask_act", purser.AskAct{Operation: operation, Request: request})
}

// member is somebody with a browser: a device and a session.
type member struct {
	purser.Actor
	device *device
	cookie string
	codes  []string
}

// by is the actor of a cookie.
func (h *house) session(cookie string) purser.Actor {
	h.t.Helper()
	by, err := h.o.AuthenticateSession(h.ctx, cookie, "test")
	if err != nil {
		h.t.Fatalf("the session: %v", explain(err))
	}
	return by
}

// signs is the member's passkey signature on a request.
func (h *house) signs(m member, operation string, in any) *purser.Signature {
	h.t.Helper()
	return m.device.Act(h.toSign(m.Actor, operation, in))
}

// owns gives the owner of the house, who has a passphrase, a passkey as well.
func (h *house) owns() member {
	h.t.Helper()
	d := newDevice(h.t)
	by := h.owner
	in := purser.AddPasskey{Passkey: d.Make(must[purser.AskedPasskey](h, by, "ask_own_passkey", purser.None{}), "laptop")}
	in.Act = h.sign("add_passkey", in)
	made := must[purser.Passkey](h, by, "add_passkey", in)
	m := h.signsIn(d)
	m.codes = made.RecoveryCodes
	return m
}

// signsIn signs a device's person in, on a new browser.
func (h *house) signsIn(d *device) member {
	h.t.Helper()
	in := must[purser.SignedIn](h, purser.Actor{Browser: "Test/1.0", Source: "test"}, "sign_in", purser.SignIn{Passkey: h.asksIn(d)})
	return member{Actor: h.session(in.Token), device: d, cookie: in.Token}
}

// asksIn answers a sign-in challenge.
func (h *house) asksIn(d *device) *purser.Assertion {
	h.t.Helper()
	c := must[purser.Challenge](h, purser.Actor{Source: "test"}, "ask_sign_in", purser.AskSignIn{})
	challenge, err := base64.RawURLEncoding.DecodeString(c.Random)
	if err != nil {
		h.t.Fatal(err)
	}
	a := d.Answer(challenge)
	return &a
}

// joins lets the owner invite somebody, who accepts with a new device.
func (h *house) joins(owner member, role purser.Role, name string) member {
	h.t.Helper()
	invite := purser.Invite{Role: role}
	invite.Act = h.signs(owner, "invite", invite)
	link := must[purser.Invitation](h, owner.Actor, "invite", invite).Link
	code := codeOf(h.t, link)
	stranger := purser.Actor{Browser: "Test/1.0", Source: "test"}
	d := newDevice(h.t)
	asked := must[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "accept_invitation", Code: code})
	in := must[purser.SignedIn](h, stranger, "accept_invitation", purser.AcceptInvitation{
		Code: code, Name: name, Email: name + "@example.org", Passkey: *d.Make(asked, "phone"),
	})
	return member{Actor: h.session(in.Token), device: d, cookie: in.Token, codes: in.RecoveryCodes}
}
