package consent

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
)

const phrase = "correct horse battery staple"

// server makes honest challenges, which a case then spoils.
type server struct {
	kdf   *purser.KDF
	spoil func(doc map[string]any, c *purser.Challenge)
	made  act.Document
}

func (s *server) AskAct(_ context.Context, in purser.AskAct) (purser.Challenge, error) {
	d := act.Document{Organization: "org_1", Approver: "per_1", Nonce: "0123456789abcdef", NotAfter: time.Now().Add(time.Minute).UnixMicro(), Origin: "http://localhost:7627"}
	if in.Operation == "approve" {
		d.PlanDigest, d.Decision = digestOf(plan().Terms), in.Request["decision"].(string)
	} else {
		d.Operation, d.RequestDigest = in.Operation, digestOf(in.Request)
	}
	s.made = d
	return s.challenge(d)
}

func (s *server) challenge(d act.Document) (purser.Challenge, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return purser.Challenge{}, err
	}
	c := purser.Challenge{Nonce: d.Nonce, KDF: s.kdf}
	if err := json.Unmarshal(raw, &c.Document); err != nil {
		return c, err
	}
	if s.spoil != nil {
		s.spoil(c.Document, &c)
	}
	return c, nil
}

func digestOf(v any) string {
	d, err := canonical.Digest(v)
	if err != nil {
		panic(err)
	}
	return d
}

func plan() purser.Plan {
	p := purser.Plan{ID: "pln_1", Terms: purser.PlanTerms{V: 1, Purpose: "a site", Steps: []purser.PlanStep{{N: 1, Item: "superseal.club", Configuration: map[string]any{"years": 1.0}}}}}
	p.Digest = digestOf(p.Terms)
	return p
}

func consent(t *testing.T) (Consent, *server, string) {
	t.Helper()
	kdf, public, err := NewKey([]byte(phrase), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{kdf: kdf}
	return Consent{Server: s, Passphrase: func(context.Context, act.Document) ([]byte, error) { return []byte(phrase), nil }}, s, public
}

func verify(t *testing.T, d act.Document, s *purser.Signature, public string) {
	t.Helper()
	bytesOf := func(text string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := act.VerifyBy(d, act.Signature{Method: s.Method, PublicKey: bytesOf(s.PublicKey), Signature: bytesOf(s.Signature)}, bytesOf(public)); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
}

func TestWhatWasShownIsSigned(t *testing.T) {
	c, s, public := consent(t)
	request := purser.CreateRun{Project: "shop", Budget: purser.Money{Amount: 2000, Currency: "USD"}, Act: &purser.Signature{Nonce: "never part of it"}}
	signed, err := c.Sign(t.Context(), "create_run", request)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, s.made, signed, public)
	signed, err = c.Approve(t.Context(), plan())
	if err != nil {
		t.Fatal(err)
	}
	verify(t, s.made, signed, public)
}

func TestNothingElseIsSigned(t *testing.T) {
	other := digestOf("something else")
	c, s, _ := consent(t)
	c.Passphrase = func(context.Context, act.Document) ([]byte, error) {
		t.Error("the passphrase was asked for")
		return []byte(phrase), nil
	}
	for name, spoil := range map[string]func(map[string]any, *purser.Challenge){
		"another operation":   func(d map[string]any, _ *purser.Challenge) { d["operation"] = "set_budget" },
		"another request":     func(d map[string]any, _ *purser.Challenge) { d["request_digest"] = other },
		"another nonce":       func(_ map[string]any, c *purser.Challenge) { c.Nonce = "fedcba9876543210" },
		"an unknown member":   func(d map[string]any, _ *purser.Challenge) { d["also"] = "everything" },
		"a plan":              func(d map[string]any, _ *purser.Challenge) { d["plan_digest"] = other },
		"another version":     func(d map[string]any, _ *purser.Challenge) { d["v"] = 2.0 },
		"nothing":             func(_ map[string]any, c *purser.Challenge) { c.Document = nil },
		"one without a limit": func(d map[string]any, _ *purser.Challenge) { d["not_after"] = 0.0 },
	} {
		s.spoil = spoil
		if _, err := c.Sign(t.Context(), "create_run", purser.CreateRun{Project: "shop"}); purser.CodeOf(err) != purser.WrongSignature {
			t.Errorf("%s: %v, want wrong_signature", name, err)
		}
	}
	s.spoil = func(d map[string]any, _ *purser.Challenge) { d["plan_digest"] = other }
	if _, err := c.Approve(t.Context(), plan()); purser.CodeOf(err) != purser.WrongSignature {
		t.Errorf("another plan: %v, want wrong_signature", err)
	}
	s.spoil = func(d map[string]any, _ *purser.Challenge) { d["decision"] = "deny" }
	if _, err := c.Approve(t.Context(), plan()); purser.CodeOf(err) != purser.WrongSignature {
		t.Errorf("another decision: %v, want wrong_signature", err)
	}
	s.spoil = nil
	changed := plan()
	changed.Terms.Steps[0].Item = "superseal.cc"
	if _, err := c.Approve(t.Context(), changed); purser.CodeOf(err) != purser.PlanChanged {
		t.Errorf("terms that do not have the plan's digest: %v, want plan_changed", err)
	}
	for name, kdf := range map[string]*purser.KDF{
		"one pass of no memory": {Salt: s.kdf.Salt, MemoryKiB: 8, Time: 1, Parallelism: 1},
		"a salt that is none":   {Salt: "!", MemoryKiB: 65536, Time: 2, Parallelism: 2},
	} {
		c.Passphrase = func(context.Context, act.Document) ([]byte, error) { return []byte(phrase), nil }
		s.spoil = func(_ map[string]any, c *purser.Challenge) { c.KDF = kdf }
		if _, err := c.Sign(t.Context(), "create_run", purser.CreateRun{}); purser.CodeOf(err) != purser.WrongSignature {
			t.Errorf("%s: %v, want wrong_signature", name, err)
		}
	}
}

func TestASignInSignsNothingButASignIn(t *testing.T) {
	c, s, public := consent(t)
	d := act.Document{Organization: "org_1", Approver: "per_1", Operation: "sign_in", RequestDigest: digestOf("x"), Nonce: "0123456789abcdef", NotAfter: 1, Origin: "o"}
	challenge, err := s.challenge(d)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := c.SignIn(t.Context(), challenge)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, d, signed, public)
	d.Operation = "create_run"
	if challenge, err = s.challenge(d); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SignIn(t.Context(), challenge); purser.CodeOf(err) != purser.WrongSignature {
		t.Errorf("a run as a sign-in: %v, want wrong_signature", err)
	}
}

func TestWithoutAPassphraseNothingIsSigned(t *testing.T) {
	c, _, _ := consent(t)
	no := errors.New("no terminal")
	c.Passphrase = func(context.Context, act.Document) ([]byte, error) { return nil, no }
	if _, err := c.Sign(t.Context(), "resume", purser.Resume{Stop: "stp_1"}); !errors.Is(err, no) {
		t.Errorf("Sign: %v, want the reason", err)
	}
	if _, _, err := NewKey([]byte("short"), rand.Reader); purser.CodeOf(err) != purser.InvalidRequest {
		t.Errorf("a short passphrase: %v, want invalid_request", err)
	}
}
