package office_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store/db"
)

func codeOf(t testing.TB, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("code") == "" {
		t.Fatalf("%q is no link with a code (%v)", link, err)
	}
	return u.Query().Get("code")
}

// RULES 11: only a fresh assertion over the very document, made here, by a verified
// person with a known key, approves. Each other is refused and on the record.
func TestAPasskeyApprovesOnlyWhatItSigned(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		owner := h.owns()
		viewer := h.joins(owner, purser.Viewer, "vera")
		_, agent := h.run(2000)
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		other := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("other.club")}})
		in := purser.Approve{Plan: plan.ID}
		// with is an approval by the owner's device, made wrong in one way.
		with := func(change func(*device)) func() *purser.Signature {
			return func() *purser.Signature {
				good := *owner.device
				defer func() { owner.device.Counter++ }()
				change(&good)
				return good.Act(h.toSign(owner.Actor, "approve", in))
			}
		}
		fresh := func() *purser.Signature { return owner.device.Act(h.toSign(owner.Actor, "approve", in)) }
		changed := func(f func(*purser.Signature)) func() *purser.Signature {
			return func() *purser.Signature { s := fresh(); f(s); return s }
		}
		for _, tt := range []struct {
			name string
			by   purser.Actor
			sig  func() *purser.Signature
			want purser.Code
			says string
		}{
			{"an agent's token", agent, nil, purser.SelfApproval, ""},
			{"an agent's token with the owner's signature", agent, fresh, purser.SelfApproval, ""},
			{"a session without a signature", owner.Actor, func() *purser.Signature { return nil }, purser.NeedsPerson, ""},
			{"a viewer's passkey", viewer.Actor, func() *purser.Signature { return h.signs(viewer, "approve", in) }, purser.Forbidden, ""},
			{"a page of another origin", owner.Actor, with(func(d *device) { d.Origin = "http://localhost:3000" }), purser.WrongSignature, "localhost:3000"},
			{"another relying party", owner.Actor, with(func(d *device) { d.RP = "example.org" }), purser.WrongSignature, "relying party"},
			{"nobody verified", owner.Actor, with(func(d *device) { d.Flags = 1 }), purser.WrongSignature, "verify"},
			{"nobody present", owner.Actor, with(func(d *device) { d.Flags = 4 }), purser.WrongSignature, "present"},
			{"inside another's page", owner.Actor, with(func(d *device) { d.Cross = true }), purser.WrongSignature, "another origin"},
			{"the answer to a registration", owner.Actor, with(func(d *device) { d.Kind = "webauthn.create" }), purser.WrongSignature, "no assertion"},
			{"a copied authenticator", owner.Actor, with(func(d *device) { d.Counter = 0 }), purser.WrongSignature, "backwards"},
			{"another key under the same name", owner.Actor, with(func(d *device) { d.Key = newDevice(t).Key }), purser.WrongSignature, ""},
			{"another plan's signature", owner.Actor, func() *purser.Signature { return h.signs(owner, "approve", purser.Approve{Plan: other.ID}) }, purser.WrongSignature, "not the one"},
			{"another act's signature", owner.Actor, func() *purser.Signature {
				return h.signs(owner, "set_budget", purser.SetBudget{Scope: "organization", Limit: usd(2)})
			}, purser.WrongSignature, "something else"},
			{"an answer to another question", owner.Actor, func() *purser.Signature {
				s, c := fresh(), h.toSign(owner.Actor, "approve", in)
				s.Nonce = c.Nonce
				return s
			}, purser.WrongSignature, "another challenge"},
			{"another person's passkey", owner.Actor, func() *purser.Signature { return viewer.device.Act(h.toSign(owner.Actor, "approve", in)) }, purser.WrongSignature, "another person"},
			{"a passkey that nobody knows", owner.Actor, func() *purser.Signature { return newDevice(t).Act(h.toSign(owner.Actor, "approve", in)) }, purser.WrongSignature, "not known"},
			{"a passkey called a passphrase", owner.Actor, changed(func(s *purser.Signature) { s.Method = "passphrase" }), purser.WrongSignature, ""},
			{"half a signature", owner.Actor, changed(func(s *purser.Signature) { s.Signature = s.Signature[:20] }), purser.WrongSignature, ""},
			{"no client data", owner.Actor, changed(func(s *purser.Signature) { s.ClientData = "" }), purser.WrongSignature, ""},
			{"no authenticator data", owner.Actor, changed(func(s *purser.Signature) { s.AuthenticatorData = "" }), purser.WrongSignature, ""},
			{"rubbish", owner.Actor, changed(func(s *purser.Signature) { s.ClientData, s.Signature = "!", "!" }), purser.WrongSignature, ""},
		} {
			request, refusals := in, h.counted("approve", "refused")
			if tt.sig != nil {
				request.Act = tt.sig()
			}
			_, err := do[purser.Plan](h, tt.by, "approve", request)
			if purser.CodeOf(err) != tt.want || !strings.Contains(explainOrNil(err), tt.says) {
				t.Errorf("%s: %v, want %s that says %q", tt.name, explainOrNil(err), tt.want, tt.says)
			}
			if n := h.counted("approve", "refused"); n != refusals+1 {
				t.Errorf("%s: %d refusals on the record, want %d", tt.name, n, refusals+1)
			}
		}
		in.Act = fresh()
		if got := must[purser.Plan](h, owner.Actor, "approve", in); got.State != purser.PlanReady || got.Approval.Method != "passkey" {
			t.Errorf("approved: %s, %+v", got.State, got.Approval)
		}
		_, err := do[purser.Plan](h, owner.Actor, "approve", in) // replayed
		refused(t, err, purser.WrongSignature)
		h.books()
		report := h.verify()
		if !slices.ContainsFunc(report.Approvers, func(a audit.Approver) bool {
			return a.Method == "passkey" && string(a.PublicKey) == string(owner.device.SPKI())
		}) {
			t.Errorf("the verifier names no passkey: %+v", report.Approvers)
		}
	})
}

// What the verifier reads is checked again offline; a byte of any part of it
// changed is found, even by who holds the log's key.
func TestAPasskeysActIsCheckedFromTheRecordAlone(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	owner := h.owns()
	in := purser.SetBudget{Scope: "organization", Limit: usd(900000)}
	in.Act = h.signs(owner, "set_budget", in)
	must[purser.BudgetLine](h, owner.Actor, "set_budget", in)
	var kept *audit.Attachment
	for _, r := range h.records() {
		if r.Action == "set_budget" {
			kept = r.Attach
		}
	}
	if kept == nil || kept.Signature.Method != act.MethodPasskey {
		t.Fatalf("the record holds %+v", kept)
	}
	doc, err := act.Parse(kept.Document)
	if err != nil {
		t.Fatal(err)
	}
	if err := act.Verify(doc, kept.Signature); err != nil {
		t.Errorf("as it is: %v", err)
	}
	raw, err := json.Marshal(kept.Signature)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*act.Signature){
		"the signature":          func(s *act.Signature) { s.Signature[8] ^= 1 },
		"the authenticator data": func(s *act.Signature) { s.Passkey.AuthenticatorData[33] ^= 1 },
		"the flags":              func(s *act.Signature) { s.Passkey.AuthenticatorData[32] &^= 4 },
		"the client data":        func(s *act.Signature) { s.Passkey.ClientData = append(s.Passkey.ClientData, ' ') },
		"the key":                func(s *act.Signature) { s.PublicKey = newDevice(t).SPKI() },
		"no assertion":           func(s *act.Signature) { s.Passkey = nil },
		"another method":         func(s *act.Signature) { s.Method = act.MethodPassphrase },
	} {
		var s act.Signature
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		change(&s)
		if act.Verify(doc, s) == nil {
			t.Errorf("%s changed: it verifies", name)
		}
	}
	doc.Origin = "http://localhost:1"
	if act.Verify(doc, kept.Signature) == nil {
		t.Error("another origin in the document: it verifies")
	}
}

func TestSigningInByPasskeyBeginsANewSessionEachTime(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		owner := h.owns()
		again := h.signsIn(owner.device)
		if again.cookie == owner.cookie || again.Token == owner.Token {
			t.Error("two sign-ins share a session")
		}
		stranger := purser.Actor{Browser: "Test/1.0", Source: "test"}
		used := h.asksIn(owner.device)
		must[purser.SignedIn](h, stranger, "sign_in", purser.SignIn{Passkey: used})
		for name, a := range map[string]func() *purser.Assertion{
			"the same answer again": func() *purser.Assertion { return used },
			"a challenge of nobody": func() *purser.Assertion { a := owner.device.Answer([]byte("0123456789abcdef")); return &a },
			"one of an act": func() *purser.Assertion {
				c := h.toSign(owner.Actor, "set_budget", purser.SetBudget{Scope: "organization", Limit: usd(5000)})
				a := owner.device.Answer([]byte(c.Nonce))
				return &a
			},
			"an unknown passkey": func() *purser.Assertion { return h.asksIn(newDevice(t)) },
			"without verification": func() *purser.Assertion {
				d := *owner.device
				owner.device.Counter++
				d.Flags = 1
				return h.asksIn(&d)
			},
			"at another origin": func() *purser.Assertion {
				d := *owner.device
				owner.device.Counter++
				d.Origin = "https://localhost.example.org"
				return h.asksIn(&d)
			},
		} {
			h.later(time.Minute) // past the limit of wrong tries
			_, err := do[purser.SignedIn](h, stranger, "sign_in", purser.SignIn{Passkey: a()})
			if purser.CodeOf(err) != purser.WrongSignature {
				t.Errorf("%s: %v, want wrong_signature", name, explainOrNil(err))
			}
		}
		// Each form of a credential opens its own door only.
		if _, err := h.o.Authenticate(h.ctx, owner.cookie, "test"); purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("a cookie as a bearer token: %v", explainOrNil(err))
		}
		if _, err := h.o.AuthenticateSession(h.ctx, h.token, "test"); purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("a bearer token as a cookie: %v", explainOrNil(err))
		}
		h.verify()
	})
}

func TestASessionEndsWhenItIsUnusedOldOrRevoked(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	owner := h.owns()
	ended := func(cookie, why string) {
		t.Helper()
		if _, err := h.o.AuthenticateSession(h.ctx, cookie, "test"); purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("%s: %v, want not_signed_in", why, explainOrNil(err))
		}
	}
	h.later(59 * time.Minute) // used within the hour, it goes on
	h.session(owner.cookie)
	h.later(59 * time.Minute)
	h.session(owner.cookie)
	h.later(61 * time.Minute)
	ended(owner.cookie, "unused for an hour")

	kept := h.signsIn(owner.device)
	for range 27 {
		h.later(53 * time.Minute)
		h.session(kept.cookie)
	}
	h.later(53 * time.Minute)
	ended(kept.cookie, "a day old")

	one, two := h.signsIn(owner.device), h.signsIn(owner.device)
	if n := len(must[purser.List[purser.Session]](h, one.Actor, "list_sessions", purser.None{}).Items); n < 2 {
		t.Errorf("%d sessions are listed, want both", n)
	}
	must[purser.Session](h, one.Actor, "revoke_session", purser.SessionRef{Session: two.Token})
	ended(two.cookie, "revoked")
	viewer := h.joins(one, purser.Viewer, "vera")
	_, err := do[purser.Session](h, viewer.Actor, "revoke_session", purser.SessionRef{Session: one.Token})
	refused(t, err, purser.NotFound)
	must[purser.Accepted](h, one.Actor, "sign_out", purser.SignOut{})
	ended(one.cookie, "signed out")
	h.verify()
}

func TestACodeMakesOnePasskeyOnce(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		owner := h.owns()
		stranger := purser.Actor{Browser: "Test/1.0", Source: "test"}
		invite := purser.Invite{Role: purser.Approver}
		invite.Act = h.signs(owner, "invite", invite)
		made := must[purser.Invitation](h, owner.Actor, "invite", invite)
		code := codeOf(t, made.Link)
		asked := must[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "accept_invitation", Code: code})
		accept := func(asked purser.AskedPasskey, change func(*purser.AcceptInvitation)) error {
			in := purser.AcceptInvitation{Code: code, Name: "Bob", Email: "bob@example.org", Passkey: *newDevice(t).Make(asked, "")}
			change(&in)
			_, err := do[purser.SignedIn](h, stranger, "accept_invitation", in)
			return err
		}
		none := func(*purser.AcceptInvitation) {}
		for name, err := range map[string]error{
			"another code":     accept(asked, func(in *purser.AcceptInvitation) { in.Code += "x" }),
			"another person":   accept(asked, func(in *purser.AcceptInvitation) { in.Passkey.Person = owner.ID }),
			"another question": accept(asked, func(in *purser.AcceptInvitation) { in.Passkey.Challenge = b64(make([]byte, 56)) }),
			"no attestation":   accept(asked, func(in *purser.AcceptInvitation) { in.Passkey.Attestation = b64([]byte{0xa0}) }),
			"at another origin": accept(asked, func(in *purser.AcceptInvitation) {
				d := newDevice(t)
				d.Origin = "http://localhost:1"
				in.Passkey = *d.Make(asked, "")
			}),
			"without verification": accept(asked, func(in *purser.AcceptInvitation) {
				d := newDevice(t)
				d.Flags = 1
				in.Passkey = *d.Make(asked, "")
			}),
		} {
			if purser.CodeOf(err) != purser.WrongSignature {
				t.Errorf("%s: %v, want wrong_signature", name, explainOrNil(err))
			}
		}
		h.later(time.Minute) // past the limit of wrong tries
		refused(t, accept(asked, func(in *purser.AcceptInvitation) { in.Email = "ada@example.org" }), purser.AlreadyExists)
		if err := accept(asked, none); err != nil {
			t.Fatalf("the right answer: %v", explain(err))
		}
		refused(t, accept(asked, none), purser.WrongSignature)
		_, err := do[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "accept_invitation", Code: code})
		refused(t, err, purser.WrongSignature)

		// A second invitation is taken back, and a third one runs out.
		for name, end := range map[string]func(purser.Invitation){
			"revoked": func(i purser.Invitation) {
				must[purser.Accepted](h, owner.Actor, "revoke_invitation", purser.InvitationRef{Invitation: i.ID})
			},
			"late": func(purser.Invitation) { h.later(73 * time.Hour) },
		} {
			by := h.signsIn(owner.device)
			invite.Act = h.signs(by, "invite", purser.Invite{Role: purser.Approver})
			i := must[purser.Invitation](h, by.Actor, "invite", invite)
			owner.Actor = by.Actor
			end(i)
			_, err := do[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "accept_invitation", Code: codeOf(t, i.Link)})
			if purser.CodeOf(err) != purser.WrongSignature {
				t.Errorf("%s: %v, want wrong_signature", name, explainOrNil(err))
			}
		}
		h.verify()
	})
}

func TestARecoveryCodeLetsInOnceAndEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	owner := h.owns()
	if len(owner.codes) != 10 {
		t.Fatalf("%d recovery codes, want 10", len(owner.codes))
	}
	stranger := purser.Actor{Browser: "Test/1.0", Source: "test"}
	recover := func(code string) (purser.SignedIn, error) {
		asked, err := do[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "recover_access", Email: "ADA@example.org ", Code: code})
		if err != nil {
			return purser.SignedIn{}, err
		}
		return do[purser.SignedIn](h, stranger, "recover_access", purser.RecoverAccess{Email: "ada@example.org", Code: code, Passkey: *newDevice(t).Make(asked, "new")})
	}
	if _, err := recover(strings.ToUpper(strings.ReplaceAll(owner.codes[0], "-", " "))); err != nil {
		t.Fatalf("a code as it was copied: %v", explain(err))
	}
	if _, err := h.o.AuthenticateSession(h.ctx, owner.cookie, "test"); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("the session before: %v, want not_signed_in", explainOrNil(err))
	}
	_, err := recover(owner.codes[0])
	refused(t, err, purser.WrongSignature)
	// So many wrong ones lock the address, for whoever asks and whether it is known.
	for i := range 12 {
		h.later(7 * time.Second) // from many minutes, so that only the address counts
		stranger.Source = string(rune('a' + i))
		_, err = recover("aaaa-aaaa-aaaa-aaaa")
	}
	refused(t, err, purser.TooManyTries)
	if _, err := recover(owner.codes[1]); purser.CodeOf(err) != purser.TooManyTries || !strings.Contains(explain(err), "locked until") {
		t.Errorf("a good code while locked: %v", explainOrNil(err))
	}
	h.signsIn(owner.device) // a passkey is never locked out
	h.later(16 * time.Minute)
	in, err := recover(owner.codes[1])
	if err != nil {
		t.Fatalf("after the lock: %v", explain(err))
	}
	// New codes end the old ones.
	by := h.session(in.Token)
	request := purser.Recovery{}
	request.Act = owner.device.Act(h.toSign(by, "recovery", request))
	fresh := must[purser.RecoveryCodes](h, by, "recovery", request).Codes
	_, err = recover(owner.codes[2])
	refused(t, err, purser.WrongSignature)
	if _, err := recover(fresh[0]); err != nil {
		t.Errorf("a new code: %v", explain(err))
	}
	h.verify()
}

func TestALinkFromTheTerminalMakesAPasskeyForAPassphrase(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	in := purser.AddPasskey{}
	in.Act = h.sign("add_passkey", in)
	link := must[purser.Passkey](h, h.owner, "add_passkey", in).Link
	stranger := purser.Actor{Browser: "Test/1.0", Source: "test"}
	code, d := codeOf(t, link), newDevice(t)
	asked := must[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "recover_access", Email: "ada@example.org", Code: code})
	must[purser.SignedIn](h, stranger, "recover_access", purser.RecoverAccess{Email: "ada@example.org", Code: code, Passkey: *d.Make(asked, "")})
	if _, err := h.o.Authenticate(h.ctx, h.token, "test"); err != nil {
		t.Errorf("the terminal that made the link was signed out: %v", explain(err))
	}
	h.signsIn(d)
	in.Act = h.sign("add_passkey", purser.AddPasskey{})
	link = must[purser.Passkey](h, h.owner, "add_passkey", in).Link
	h.later(16 * time.Minute)
	_, err := do[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "recover_access", Email: "ada@example.org", Code: codeOf(t, link)})
	refused(t, err, purser.WrongSignature)
	h.verify()
}

func TestPasskeysAreAddedListedAndRevoked(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	owner := h.owns()
	bob := h.joins(owner, purser.Approver, "bob")
	// Adding one needs one: a session alone is not enough.
	second := newDevice(t)
	in := purser.AddPasskey{Passkey: second.Make(must[purser.AskedPasskey](h, bob.Actor, "ask_own_passkey", purser.None{}), "key")}
	_, err := do[purser.Passkey](h, bob.Actor, "add_passkey", in)
	refused(t, err, purser.NeedsPerson)
	in.Act = h.signs(bob, "add_passkey", purser.AddPasskey{Passkey: newDevice(t).Make(must[purser.AskedPasskey](h, bob.Actor, "ask_own_passkey", purser.None{}), "other")})
	_, err = do[purser.Passkey](h, bob.Actor, "add_passkey", in)
	refused(t, err, purser.WrongSignature)
	stolen := in
	stolen.Act = h.signs(owner, "add_passkey", in) // the owner signs what was made for bob
	_, err = do[purser.Passkey](h, owner.Actor, "add_passkey", stolen)
	refused(t, err, purser.WrongSignature)
	in.Act = h.signs(bob, "add_passkey", purser.AddPasskey{Passkey: in.Passkey})
	key := must[purser.Passkey](h, bob.Actor, "add_passkey", in)
	in.Act = h.signs(bob, "add_passkey", purser.AddPasskey{Passkey: in.Passkey})
	_, err = do[purser.Passkey](h, bob.Actor, "add_passkey", in)
	refused(t, err, purser.WrongSignature) // its challenge was used

	keys := must[purser.Passkeys](h, bob.Actor, "list_passkeys", purser.None{})
	if len(keys.Items) != 2 || keys.RecoveryCodes != 10 || keys.Passphrase {
		t.Errorf("bob has %+v", keys)
	}
	for _, k := range keys.Items {
		if k.ID == key.ID {
			continue
		}
		_, err = do[purser.Passkey](h, h.joins(owner, purser.Approver, "eve").Actor, "revoke_passkey", purser.PasskeyRef{Passkey: k.ID})
		refused(t, err, purser.NotFound)
		must[purser.Passkey](h, bob.Actor, "revoke_passkey", purser.PasskeyRef{Passkey: k.ID})
	}
	request := purser.SetBudget{Scope: "organization", Limit: usd(777700)}
	request.Act = h.signs(bob, "set_budget", request)
	_, err = do[purser.BudgetLine](h, bob.Actor, "set_budget", request)
	refused(t, err, purser.WrongSignature)
	_, err = do[purser.Passkey](h, bob.Actor, "revoke_passkey", purser.PasskeyRef{Passkey: key.ID})
	refused(t, err, purser.InvalidState) // the last one
	h.verify()
}

func TestAnOrganizationAlwaysKeepsAnOwner(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		owner := h.owns()
		bob := h.joins(owner, purser.Approver, "bob")
		set := func(by member, person string, role purser.Role) error {
			in := purser.SetRole{Person: person, Role: role}
			in.Act = h.signs(by, "set_role", in)
			_, err := do[purser.PersonInfo](h, by.Actor, "set_role", in)
			return err
		}
		remove := func(by member, person string) error {
			in := purser.RemovePerson{Person: person}
			in.Act = h.signs(by, "remove_person", in)
			_, err := do[purser.Accepted](h, by.Actor, "remove_person", in)
			return err
		}
		refused(t, set(bob, bob.ID, purser.Owner), purser.Forbidden)
		refused(t, remove(bob, owner.ID), purser.Forbidden)
		refused(t, set(owner, owner.ID, purser.Viewer), purser.InvalidState)
		refused(t, remove(owner, owner.ID), purser.InvalidState)
		_, err := do[purser.PersonInfo](h, owner.Actor, "set_role", purser.SetRole{Person: bob.ID, Role: "king"})
		refused(t, err, purser.InvalidRequest)
		_, err = do[purser.PersonInfo](h, owner.Actor, "set_role", purser.SetRole{Person: bob.ID, Role: purser.Owner})
		refused(t, err, purser.NeedsPerson)

		if err := set(owner, bob.ID, purser.Owner); err != nil {
			t.Fatal(explain(err))
		}
		if _, err := h.o.AuthenticateSession(h.ctx, bob.cookie, "test"); purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("bob's session of the old role: %v, want not_signed_in", explainOrNil(err))
		}
		bob = h.signsIn(bob.device)
		run := purser.CreateRun{Project: h.project.ID, Budget: usd(100), Agent: "bobs"}
		run.Act = h.signs(bob, "create_run", run)
		agent := must[purser.Run](h, bob.Actor, "create_run", run)
		if err := remove(owner, bob.ID); err != nil {
			t.Fatal(explain(err))
		}
		if _, err := h.o.AuthenticateSession(h.ctx, bob.cookie, "test"); purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("a removed person's session: %v, want not_signed_in", explainOrNil(err))
		}
		if _, err := h.o.Authenticate(h.ctx, agent.Token, "test"); purser.CodeOf(err) != purser.RunEnded {
			t.Errorf("a removed person's agent: %v, want run_ended", explainOrNil(err))
		}
		_, err = do[purser.SignedIn](h, purser.Actor{Browser: "x", Source: "test"}, "sign_in", purser.SignIn{Passkey: h.asksIn(bob.device)})
		refused(t, err, purser.WrongSignature)
		_, err = do[purser.Accepted](h, owner.Actor, "remove_person", purser.RemovePerson{Person: bob.ID})
		refused(t, err, purser.NotFound)
		h.joins(owner, purser.Viewer, "bob") // the address is free again
		if n := len(must[purser.List[purser.PersonInfo]](h, owner.Actor, "list_people", purser.None{}).Items); n != 2 {
			t.Errorf("%d people, want 2", n)
		}
		h.verify()
	})
}

// RULES 11: two people, not two credentials.
func TestWhatIsDearNeedsTwoPeople(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		owner := h.owns()
		rule := purser.SetTwoPeople{Above: usd(1000)}
		set := func() error {
			rule.Act = h.signs(owner, "set_two_people", rule)
			_, err := do[purser.TwoPeople](h, owner.Actor, "set_two_people", rule)
			return err
		}
		refused(t, set(), purser.InvalidState) // nobody could satisfy it
		bob := h.joins(owner, purser.Approver, "bob")
		if err := set(); err != nil {
			t.Fatal(explain(err))
		}
		_, agent := h.run(3000)
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}}) // 12.00
		if plan.Needs != 2 {
			t.Fatalf("the plan needs %d people: %+v", plan.Needs, plan.Reasons)
		}
		approve := func(m member, plan string) (purser.Plan, error) {
			in := purser.Approve{Plan: plan}
			in.Act = h.signs(m, "approve", in)
			return do[purser.Plan](h, m.Actor, "approve", in)
		}
		first, err := approve(owner, plan.ID)
		if err != nil || first.State != purser.PlanWaiting || len(first.Votes) != 1 {
			t.Fatalf("after one yes: %s, %d votes, %v", first.State, len(first.Votes), explainOrNil(err))
		}
		// The same person's other credential is no second person.
		again := purser.Approve{Plan: plan.ID, Act: h.sign("approve", purser.Approve{Plan: plan.ID})}
		_, err = do[purser.Plan](h, h.owner, "approve", again)
		refused(t, err, purser.InvalidState)
		_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID, Wait: 1})
		refused(t, err, purser.NeedsApproval)
		second, err := approve(bob, plan.ID)
		if err != nil || second.State != purser.PlanReady {
			t.Fatalf("after the second yes: %s, %v", second.State, explainOrNil(err))
		}
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})

		// A yes of who may no longer give one does not count.
		plan = must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("other.club")}})
		eve := h.joins(owner, purser.Approver, "eve")
		if _, err := approve(eve, plan.ID); err != nil {
			t.Fatal(explain(err))
		}
		demote := purser.SetRole{Person: eve.ID, Role: purser.Viewer}
		demote.Act = h.signs(owner, "set_role", demote)
		must[purser.PersonInfo](h, owner.Actor, "set_role", demote)
		if got, err := approve(bob, plan.ID); err != nil || got.State != purser.PlanWaiting {
			t.Errorf("a viewer's old yes and bob's: %s, %v, want needs_approval", got.State, explainOrNil(err))
		}
		if got, err := approve(owner, plan.ID); err != nil || got.State != purser.PlanReady {
			t.Errorf("bob's and the owner's: %s, %v, want ready", got.State, explainOrNil(err))
		}
		rule = purser.SetTwoPeople{Above: usd(0), Off: true}
		if _, err := do[purser.TwoPeople](h, owner.Actor, "set_two_people", rule); purser.CodeOf(err) != purser.NeedsPerson {
			t.Errorf("switched off without a signature: %v", explainOrNil(err))
		}
		h.books()
		h.verify()
	})
}

func TestALowerCeilingIsANewPlan(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t), func(h *house) { h.wire = strings.Replace(manifest, `"quotes",`, "", 1) })
	_, agent := h.run(5000)
	unpriced := purser.StepRequest{Service: "local/odd:thing", Ceiling: &purser.Money{Amount: 3000, Currency: "USD"}}
	plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{unpriced}})
	for _, bad := range []int64{0, 3000, 3001} {
		_, err := do[purser.Plan](h, h.owner, "lower_ceiling", purser.LowerCeiling{Plan: plan.ID, Ceiling: usd(bad)})
		refused(t, err, purser.InvalidRequest)
	}
	_, err := do[purser.Plan](h, agent, "lower_ceiling", purser.LowerCeiling{Plan: plan.ID, Ceiling: usd(1000)})
	refused(t, err, purser.Forbidden)
	old := h.toSign(h.owner, "approve", purser.Approve{Plan: plan.ID})
	lower := must[purser.Plan](h, h.owner, "lower_ceiling", purser.LowerCeiling{Plan: plan.ID, Ceiling: usd(1000)})
	if lower.ID == plan.ID || lower.Digest == plan.Digest || lower.Terms.Steps[len(lower.Terms.Steps)-1].Price.Now != 1000 || lower.State != purser.PlanWaiting {
		t.Errorf("the new plan: %+v", lower)
	}
	if ceiling, _ := old.Document["ceiling"].(map[string]any); ceiling == nil {
		t.Errorf("the document of the old plan names no ceiling: %v", old.Document)
	}
	_, err = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	if purser.CodeOf(err) != purser.PlanDenied || !strings.Contains(explain(err), lower.ID) {
		t.Errorf("who waits for the old plan hears %v", explainOrNil(err))
	}
	h.approve(lower.ID)
	h.books()
	h.verify()
}

func TestAnActIsSignedElsewhereAndUsedHere(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	owner := h.owns()
	bob := h.joins(owner, purser.Owner, "bob")
	in := purser.CreateRun{Project: h.project.ID, Budget: usd(100), Purpose: "from a terminal"}
	c := h.toSign(h.owner, "create_run", in)
	if c.Link != origin+"/acts/"+c.Nonce {
		t.Errorf("the link is %q", c.Link)
	}
	shown := must[purser.Act](h, owner.Actor, "show_act", purser.ActRef{Nonce: c.Nonce})
	if shown.State != "waiting" || shown.Operation != "create_run" || shown.Request["purpose"] != "from a terminal" {
		t.Errorf("it shows %+v", shown)
	}
	_, err := do[purser.Act](h, bob.Actor, "show_act", purser.ActRef{Nonce: c.Nonce})
	refused(t, err, purser.NotFound)
	_, err = do[purser.Accepted](h, bob.Actor, "answer_act", purser.AnswerAct{Nonce: c.Nonce, Signature: *bob.device.Act(shown.Challenge)})
	refused(t, err, purser.WrongSignature)
	waiting := make(chan purser.Act, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), time.Minute)
		defer cancel()
		out, _ := h.ops["show_act"].Do(ctx, h.owner, purser.ActRef{Nonce: c.Nonce, Wait: 55})
		got, _ := out.(purser.Act)
		waiting <- got
	}()
	must[purser.Accepted](h, owner.Actor, "answer_act", purser.AnswerAct{Nonce: c.Nonce, Signature: *owner.device.Act(shown.Challenge)})
	got := <-waiting
	if got.State != "signed" || got.Signature == nil {
		t.Fatalf("who waits gets %+v", got)
	}
	in.Act = got.Signature
	must[purser.Run](h, h.owner, "create_run", in)
	if s := must[purser.Act](h, h.owner, "show_act", purser.ActRef{Nonce: c.Nonce}).State; s != "used" {
		t.Errorf("afterwards it is %s", s)
	}
	// A secret in a request is not shown, and the digest covers it.
	c = h.toSign(h.owner, "add_provider", purser.AddProvider{Manifest: "{}", SigningSecret: "hunter2"})
	text, err := json.Marshal(must[purser.Act](h, owner.Actor, "show_act", purser.ActRef{Nonce: c.Nonce}))
	if err != nil || strings.Contains(string(text), "hunter2") {
		t.Errorf("it shows %s, %v", text, err)
	}
	rows, err := h.store.Read().Challenge(h.ctx, db.ChallengeParams{Organization: h.owner.Organization, Nonce: c.Nonce})
	sealed, _ := base64.StdEncoding.DecodeString(rows.Request)
	if err != nil || len(sealed) == 0 || strings.Contains(string(sealed), "hunter2") {
		t.Errorf("it is stored as %q, %v", sealed, err)
	}
	h.verify()
}
