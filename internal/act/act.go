// Package act is the signed act of a person: the yes, no or permission that no credential on a disk can give.
//
// A person's client builds a Document, the person's key signs its challenge, and
// whoever has the document, the signature and the public key can check it for
// ever, without a server and without the passphrase.
package act

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/canonical"
)

// Version is the version of the documents that this package writes and accepts.
const Version = 1

// The two decisions on a plan.
const (
	Approve = "approve"
	Deny    = "deny"
)

// Faults of documents and signatures. They are wrapped with what was wrong.
var (
	ErrDocument      = errors.New("the document is not a person's act")
	ErrUnknownMethod = errors.New("unknown method")
	ErrSignature     = errors.New("the signature does not match")
	ErrExpired       = errors.New("the act has expired")
)

// Money is an amount in minor units of an ISO 4217 currency.
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// A Document says what a person allows. It has one of two shapes: a decision on
// a plan (RULES 11), which has PlanDigest, Decision and perhaps Ceiling, or any
// other loosening act (RULES 1), which has Operation and RequestDigest.
type Document struct {
	Organization string // organization id

	PlanDigest string // "sha256:" and hexadecimal, as canonical.Digest writes it
	Decision   string // Approve or Deny
	Ceiling    *Money // the most an unpriced plan may cost, or nil

	Operation     string // name of the operation, for example "resume"
	RequestDigest string // digest of the operation's request

	Approver string // id of the person
	Nonce    string // from the server, stored there, consumed by the deciding turn
	NotAfter int64  // microseconds since 1970 UTC; not valid after this instant
	Origin   string // public_url of the server that the person meant
}

// planWire and operationWire are what is signed: a ceiling that is not there is
// null, so that leaving it out and setting none cannot be confused.
type (
	planWire struct {
		V            int    `json:"v"`
		Organization string `json:"organization"`
		PlanDigest   string `json:"plan_digest"`
		Decision     string `json:"decision"`
		Ceiling      *Money `json:"ceiling"`
		Approver     string `json:"approver"`
		Nonce        string `json:"nonce"`
		NotAfter     int64  `json:"not_after"`
		Origin       string `json:"origin"`
	}
	operationWire struct {
		V             int    `json:"v"`
		Organization  string `json:"organization"`
		Operation     string `json:"operation"`
		RequestDigest string `json:"request_digest"`
		Approver      string `json:"approver"`
		Nonce         string `json:"nonce"`
		NotAfter      int64  `json:"not_after"`
		Origin        string `json:"origin"`
	}
)

// MarshalJSON writes the shape that Document describes; it fails with ErrDocument for neither or both.
func (d Document) MarshalJSON() ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	if d.Operation == "" {
		return json.Marshal(planWire{Version, d.Organization, d.PlanDigest, d.Decision, d.Ceiling, d.Approver, d.Nonce, d.NotAfter, d.Origin})
	}
	return json.Marshal(operationWire{Version, d.Organization, d.Operation, d.RequestDigest, d.Approver, d.Nonce, d.NotAfter, d.Origin})
}

// Check refuses a document that has neither shape or both, or leaves something empty (ErrDocument).
func (d Document) Check() error {
	plan := d.PlanDigest != "" || d.Decision != "" || d.Ceiling != nil
	operation := d.Operation != "" || d.RequestDigest != ""
	switch {
	case plan == operation:
		return fmt.Errorf("%w: it is neither a decision nor an operation, or both", ErrDocument)
	case plan && !isDigest(d.PlanDigest), operation && !isDigest(d.RequestDigest):
		return fmt.Errorf("%w: the digest is not sha256: and 64 lower-case hexadecimal digits", ErrDocument)
	case plan && d.Decision != Approve && d.Decision != Deny:
		return fmt.Errorf("%w: the decision is neither %s nor %s", ErrDocument, Approve, Deny)
	case d.Ceiling != nil && (d.Ceiling.Amount < 0 || len(d.Ceiling.Currency) != 3):
		return fmt.Errorf("%w: the ceiling is not an amount of a currency", ErrDocument)
	case operation && d.Operation == "":
		return fmt.Errorf("%w: the operation has no name", ErrDocument)
	case d.Organization == "" || d.Approver == "" || d.Origin == "":
		return fmt.Errorf("%w: organization, approver or origin is empty", ErrDocument)
	case len(d.Nonce) < 16:
		return fmt.Errorf("%w: the nonce has fewer than 16 characters", ErrDocument)
	case d.NotAfter <= 0:
		return fmt.Errorf("%w: it never expires", ErrDocument)
	}
	return nil
}

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 2*sha256.Size && strings.Trim(hex, "0123456789abcdef") == ""
}

// Canonical returns the document's RFC 8785 bytes: what is hashed, signed and kept in the audit record.
func (d Document) Canonical() ([]byte, error) {
	b, err := canonical.JSON(d)
	if err != nil {
		return nil, fmt.Errorf("writing the act: %w", err)
	}
	return b, nil
}

// Challenge returns SHA-256 of Canonical (RULES 11): the WebAuthn challenge, and
// what a passphrase key signs under its own domain.
func (d Document) Challenge() ([sha256.Size]byte, error) {
	b, err := d.Canonical()
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(b), nil
}

// ValidAt returns ErrExpired when now is later than NotAfter.
func (d Document) ValidAt(now time.Time) error {
	if now.UnixMicro() > d.NotAfter {
		return fmt.Errorf("%w: it was valid until %s", ErrExpired, time.UnixMicro(d.NotAfter).UTC().Format(time.RFC3339))
	}
	return nil
}

// Parse reads a document back from its canonical bytes. It refuses every other
// spelling and every unknown member with ErrDocument, so that a document means
// nothing that its signer's client did not show.
func Parse(raw []byte) (Document, error) {
	var w struct {
		planWire
		Operation     string `json:"operation"`
		RequestDigest string `json:"request_digest"`
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	d := Document{
		Organization: w.Organization, PlanDigest: w.PlanDigest, Decision: w.Decision, Ceiling: w.Ceiling,
		Operation: w.Operation, RequestDigest: w.RequestDigest,
		Approver: w.Approver, Nonce: w.Nonce, NotAfter: w.NotAfter, Origin: w.Origin,
	}
	// Writing it again finds what decoding forgave: other versions, unknown
	// members, members of the other shape, other letter cases, other spacing.
	again, err := d.Canonical()
	if err != nil {
		return Document{}, err
	}
	if string(again) != string(raw) {
		return Document{}, fmt.Errorf("%w: it is not in the canonical form of version %d", ErrDocument, Version)
	}
	return d, nil
}
