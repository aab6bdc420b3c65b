package test

import (
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
)

const (
	phrase = "correct horse battery staple"
	email  = "ada@example.com"
)

// signer is the person's key. All houses share it: deriving is slow on purpose.
var signer = sync.OnceValues(func() (act.Signer, error) { return act.Derive([]byte(phrase), kdf) })

var kdf = act.DefaultKDF([]byte("sixteen bytes...."))

// person is the owner, with a client and the key.
type person struct{ *client.Client }

// signUp makes the organization with its set-up code, and returns its owner and
// the token.
func signUp(t *testing.T, url, code string) (person, string) {
	t.Helper()
	key, err := signer()
	if err != nil {
		t.Fatal(err)
	}
	in, err := dial(t, url, "").SetUp(t.Context(), purser.SetUp{
		Code: code, Organization: "Analytical", Name: "Ada", Email: email, PublicKey: encode(key.PublicKey()),
		KDF: &purser.KDF{Salt: encode(kdf.Salt), MemoryKiB: kdf.MemoryKiB, Time: kdf.Time, Parallelism: kdf.Threads},
	})
	if err != nil {
		t.Fatalf("signing up: %v", err)
	}
	return person{dial(t, url, in.Token)}, in.Token
}

func dial(t *testing.T, url, token string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signs gives a request its act.
func (p person) signs(t *testing.T, operation string, in any) *purser.Signature {
	t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var request map[string]any
	if err := json.Unmarshal(text, &request); err != nil {
		t.Fatal(err)
	}
	delete(request, "act")
	asked, err := p.AskAct(t.Context(), purser.AskAct{Operation: operation, Request: request})
	if err != nil {
		t.Fatalf("asking for the act %s: %v", operation, err)
	}
	raw, err := canonical.JSON(asked.Document)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := act.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer()
	if err != nil {
		t.Fatal(err)
	}
	s, err := key.Sign(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &purser.Signature{Nonce: doc.Nonce, Method: s.Method, PublicKey: encode(s.PublicKey), Signature: encode(s.Signature)}
}

// approves signs exactly this plan.
func (p person) approves(t *testing.T, plan string) {
	t.Helper()
	signed := p.signs(t, "approve", map[string]any{"plan": plan, "decision": act.Approve})
	if _, err := p.Approve(t.Context(), purser.Approve{Plan: plan, Act: signed}); err != nil {
		t.Fatalf("approving: %v", err)
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
