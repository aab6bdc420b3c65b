// Package consent turns a person's passphrase into the signature of exactly one act that the person was shown.
//
// The server says what is to be signed; nothing of that is trusted. The document
// must name the operation and the digest of the request that this program is
// about to send (RULES 1, 11), or it is not signed.
package consent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/canonical"
)

// asker is the one call that this package makes.
type asker interface {
	AskAct(ctx context.Context, in purser.AskAct) (purser.Challenge, error)
}

// Consent asks a person. Passphrase is called after everything was checked, and
// gets the document that will be signed; what it returns is wiped.
type Consent struct {
	Server     asker
	Passphrase func(ctx context.Context, doc act.Document) ([]byte, error)
	// Elsewhere gets the signature of a person who has passkeys only, from the page
	// that the challenge names. The document was checked before. Nil: needs_person.
	Elsewhere func(ctx context.Context, c purser.Challenge) (*purser.Signature, error)
}

// Sign gets a signature for an operation. request is the operation's request
// with its act member empty.
func (c Consent) Sign(ctx context.Context, operation string, request any) (*purser.Signature, error) {
	body, err := members(request)
	if err != nil {
		return nil, err
	}
	digest, err := canonical.Digest(body)
	if err != nil {
		return nil, fmt.Errorf("digesting the request of %s: %w", operation, err)
	}
	return c.sign(ctx, purser.AskAct{Operation: operation, Request: body}, func(doc act.Document) error {
		if doc.Operation != operation || doc.RequestDigest != digest {
			return foreign("it names %q with digest %s, and not this %s", doc.Operation, doc.RequestDigest, operation)
		}
		return nil
	})
}

// Approve gets a signature for a plan. The digest is computed here, from the
// terms that the person was shown, and not taken from the server's word.
func (c Consent) Approve(ctx context.Context, plan purser.Plan) (*purser.Signature, error) {
	digest, err := Digest(plan)
	if err != nil {
		return nil, err
	}
	request := map[string]any{"plan": plan.ID, "decision": act.Approve}
	return c.sign(ctx, purser.AskAct{Operation: "approve", Request: request}, func(doc act.Document) error {
		if doc.PlanDigest != digest || doc.Decision != act.Approve {
			return foreign("it names the plan digest %s, and the plan shown has %s", doc.PlanDigest, digest)
		}
		if !SameCeiling(doc.Ceiling, Ceiling(plan.Terms)) {
			return foreign("it names another ceiling than the plan shown")
		}
		return nil
	})
}

// Digest computes a plan's digest from its terms; plan_changed when the server
// gave another one.
func Digest(plan purser.Plan) (string, error) {
	digest, err := canonical.Digest(plan.Terms)
	if err != nil {
		return "", fmt.Errorf("digesting plan %s: %w", plan.ID, err)
	}
	if digest != plan.Digest {
		return "", purser.Errorf(purser.PlanChanged, "the terms shown have the digest %s and the server says %s", digest, plan.Digest).
			WithHint("do not approve it; look for another version of the program on the server")
	}
	return digest, nil
}

// Ceiling is the most that the steps of a plan without a price may cost together;
// nil when each has one, or when they are not of one currency.
func Ceiling(terms purser.PlanTerms) *act.Money {
	var sum *act.Money
	for _, s := range terms.Steps {
		switch {
		case !s.Price.Ceiling:
			continue
		case sum == nil:
			sum = &act.Money{Currency: s.Price.Currency}
		case sum.Currency != s.Price.Currency:
			return nil
		}
		total, ok := purser.Sum(sum.Amount, s.Price.Now)
		if !ok {
			return nil
		}
		sum.Amount = total
	}
	return sum
}

// SameCeiling compares what was signed with what a plan allows.
func SameCeiling(a, b *act.Money) bool { return a == b || a != nil && b != nil && *a == *b }

func (c Consent) sign(ctx context.Context, ask purser.AskAct, check func(act.Document) error) (*purser.Signature, error) {
	challenge, err := c.Server.AskAct(ctx, ask)
	if err != nil {
		return nil, err
	}
	doc, err := document(challenge)
	if err != nil {
		return nil, err
	}
	if err := check(doc); err != nil {
		return nil, err
	}
	return c.answer(ctx, challenge, doc)
}

// SignIn answers a sign-in challenge. A document for anything else is not
// signed, so that signing in can never be turned into an approval.
func (c Consent) SignIn(ctx context.Context, challenge purser.Challenge) (*purser.Signature, error) {
	doc, err := document(challenge)
	if err != nil {
		return nil, err
	}
	if doc.Operation != "sign_in" {
		return nil, foreign("it is not a sign-in but %q", doc.Operation+doc.Decision)
	}
	return c.answer(ctx, challenge, doc)
}

func (c Consent) answer(ctx context.Context, challenge purser.Challenge, doc act.Document) (*purser.Signature, error) {
	if challenge.KDF == nil {
		if c.Elsewhere == nil {
			return nil, purser.Errorf(purser.NeedsPerson, "this person signs with a passkey, and there is none here").WithHint("open %s", challenge.Link)
		}
		return c.Elsewhere(ctx, challenge)
	}
	passphrase, err := c.Passphrase(ctx, doc)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	signer, err := signer(passphrase, *challenge.KDF)
	if err != nil {
		return nil, err
	}
	signed, err := signer.Sign(doc)
	if err != nil {
		return nil, err
	}
	return &purser.Signature{
		Nonce: doc.Nonce, Method: signed.Method,
		PublicKey: encode(signed.PublicKey), Signature: encode(signed.Signature),
	}, nil
}

// NewKey makes the parameters and the public key of a new passphrase, for set_up.
func NewKey(passphrase []byte, random io.Reader) (*purser.KDF, string, error) {
	if err := act.CheckPassphrase(passphrase); err != nil {
		return nil, "", purser.Errorf(purser.InvalidRequest, "%v", err).WithHint("take four or more words")
	}
	salt := make([]byte, 16)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, "", fmt.Errorf("making a salt: %w", err)
	}
	d := act.DefaultKDF(salt)
	kdf := purser.KDF{Salt: encode(salt), MemoryKiB: d.MemoryKiB, Time: d.Time, Parallelism: d.Threads}
	s, err := act.Derive(passphrase, d)
	if err != nil {
		return nil, "", err
	}
	return &kdf, encode(s.PublicKey()), nil
}

func signer(passphrase []byte, k purser.KDF) (act.Signer, error) {
	salt, err := base64.RawURLEncoding.DecodeString(k.Salt)
	if err != nil {
		return act.Signer{}, foreign("its salt is not base64url")
	}
	s, err := act.Derive(passphrase, act.KDF{Name: "argon2id", Salt: salt, Time: k.Time, MemoryKiB: k.MemoryKiB, Threads: k.Parallelism})
	if err != nil { // weak parameters would let a false server guess the passphrase
		return act.Signer{}, foreign("%v", err)
	}
	return s, nil
}

func document(c purser.Challenge) (act.Document, error) {
	raw, err := canonical.JSON(c.Document)
	if err != nil {
		return act.Document{}, foreign("it cannot be read: %v", err)
	}
	doc, err := act.Parse(raw)
	if err != nil {
		return act.Document{}, foreign("%v", err)
	}
	if doc.Nonce != c.Nonce {
		return act.Document{}, foreign("it holds another nonce than the challenge")
	}
	return doc, nil
}

// foreign refuses a challenge. Nothing was signed then.
func foreign(format string, args ...any) *purser.Error {
	return purser.Errorf(purser.WrongSignature, "the server asks to sign something else: "+format, args...).
		WithHint("nothing was signed; check the server's address")
}

// members is the request as the server will read it, without its act.
func members(request any) (map[string]any, error) {
	raw, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading the request back: %w", err)
	}
	delete(m, "act")
	return m, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
