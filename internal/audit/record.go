// Package audit is the record that proves: what one decision leaves behind, the Merkle tree over all of an organization's records, its signed checkpoints, and the verifier that needs only an export and a public key.
//
// It does no I/O beyond the readers and writers it is given. The store keeps
// leaves, tree hashes and checkpoints, and writes them in the transaction of
// the decision.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/purser-dev/purser/internal/act"
)

// MaxLeaf is the largest record in bytes; the verifier's memory is bound by it.
const MaxLeaf = 256 << 10

// Outcomes of a record.
const (
	Accepted = "accepted"
	Refused  = "refused"
	Failed   = "failed"
	Unknown  = "unknown"
)

// Actions that the verifier knows: names of operations, as all actions of people
// and agents are. The others are the office's own.
const (
	ActionApprove = "approve" // accepted only with the person's signed decision attached
	ActionDeny    = "deny"
)

// ErrRecord is for a record that cannot be written, or not read back.
var ErrRecord = errors.New("this is not an audit record")

// A Record is one decision, refusals included. Empty members are left out of the leaf.
type Record struct {
	Seq            int64             `json:"seq"` // dense from 1; leaf index + 1
	TS             int64             `json:"ts"`  // microseconds since 1970 UTC, never decreasing
	Actor          Actor             `json:"actor"`
	Org            string            `json:"org"` // organization id, or "installation"
	Project        string            `json:"project,omitempty"`
	Env            string            `json:"env,omitempty"`
	Run            string            `json:"run,omitempty"`
	Action         string            `json:"action"`
	Target         string            `json:"target,omitempty"`
	PlanDigest     string            `json:"plan_digest,omitempty"`
	Quote          string            `json:"quote,omitempty"`
	Approval       string            `json:"approval,omitempty"`
	IdempotencyKey string            `json:"idempotency_key,omitempty"`
	Policy         *Policy           `json:"policy,omitempty"`
	Budgets        []BudgetLine      `json:"budgets,omitempty"`
	Money          *Amounts          `json:"money,omitempty"`
	Provider       *Provider         `json:"provider,omitempty"`
	Outcome        string            `json:"outcome"`
	PromptHash     string            `json:"prompt_hash,omitempty"`
	Attach         *Attachment       `json:"attach,omitempty"`
	Detail         map[string]string `json:"detail,omitempty"` // small facts of the action, never a secret
}

// Actor is who acted: a person, an agent, a provider, a platform or the system.
type Actor struct {
	Kind        string `json:"kind"`
	ID          string `json:"id"`
	Key         string `json:"key,omitempty"` // id of the credential, never the credential
	DelegatedBy string `json:"delegated_by,omitempty"`
}

// Policy is what the guards said.
type Policy struct {
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons,omitempty"` // codes
}

// BudgetLine is one budget after the decision, in minor units. What is used is
// Held + Captured - Refunded (RULES 5).
type BudgetLine struct {
	Scope    string `json:"scope"`  // for example "project:prj_1"
	Window   string `json:"window"` // for example "2026-11", or "run"
	Currency string `json:"currency"`
	Limit    int64  `json:"limit"`
	Held     int64  `json:"held"`
	Captured int64  `json:"captured"`
	Refunded int64  `json:"refunded,omitempty"`
	// Change is what this decision added to the use; 0 for a refusal, negative
	// for a release. The verifier holds an accepted line with Change > 0 to its
	// limit, and re-derives each use by summing changes (VerifyOptions.Books).
	Change int64 `json:"change,omitempty"`
}

// Use returns Held + Captured - Refunded.
func (b BudgetLine) Use() int64 { return b.Held + b.Captured - b.Refunded }

// Money is an amount in minor units of an ISO 4217 currency.
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Amounts are what was expected, the most that was allowed and what was paid or given
// back. Captured is what a hold had cost by the word of the person who gave the rest of
// it back. Overrun is what of what was paid lies above the hold, and so outside all
// budgets (RULES 5).
type Amounts struct {
	Expected *Money `json:"expected,omitempty"`
	Ceiling  *Money `json:"ceiling,omitempty"`
	Actual   *Money `json:"actual,omitempty"`
	Captured *Money `json:"captured,omitempty"`
	Overrun  *Money `json:"overrun,omitempty"`
}

// Provider names the other party's side of the decision.
type Provider struct {
	RequestID string `json:"request_id,omitempty"`
	ChargeID  string `json:"charge_id,omitempty"`
}

// Attachment is a person's signed act, with all that is needed to check it for
// ever. It is attached only to the record of the act itself: actor.kind is
// "person" and actor.id the document's approver; for a plan the actions are
// ActionApprove and ActionDeny, for other acts the record's action is the
// document's operation.
type Attachment struct {
	Document  json.RawMessage `json:"document"` // act.Document, canonical
	Signature act.Signature   `json:"signature"`
}

// Attach puts a signed act into an attachment.
func Attach(d act.Document, s act.Signature) (*Attachment, error) {
	raw, err := d.Canonical()
	if err != nil {
		return nil, err
	}
	return &Attachment{raw, s}, nil
}

// Leaf returns the canonical bytes that enter the tree, or ErrRecord. A caller
// that gets an error writes nothing and decides nothing.
func (r Record) Leaf() ([]byte, error) {
	switch {
	case r.Seq < 1:
		return nil, fmt.Errorf("%w: seq %d", ErrRecord, r.Seq)
	case r.TS < 1:
		return nil, fmt.Errorf("%w: ts %d", ErrRecord, r.TS)
	case r.Org == "" || r.Action == "" || r.Outcome == "" || r.Actor.Kind == "" || r.Actor.ID == "":
		return nil, fmt.Errorf("%w: org, action, outcome or actor is empty", ErrRecord)
	}
	w := writer{to: make([]byte, 0, 640+176*len(r.Budgets))} // of a charge; what is longer grows
	if w.record(&r); w.err != nil {
		return nil, w.err
	}
	leaf := w.to
	if len(leaf) > MaxLeaf {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrRecord, len(leaf), MaxLeaf)
	}
	return leaf, nil
}

// ParseRecord reads a leaf back. Members that this version does not know are ignored.
func ParseRecord(leaf []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(leaf, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}
