package purser

import "time"

// ActorKind tells people and programs apart.
type ActorKind string

const (
	Person   ActorKind = "person"
	Agent    ActorKind = "agent"
	Provider ActorKind = "provider" // a provider's connection to the rail
	System   ActorKind = "system"   // renewals, recovery, the first start
)

// Actor is who does something, as the door established it from a credential.
type Actor struct {
	Kind         ActorKind  `json:"kind"`
	ID           string     `json:"id"`
	Name         string     `json:"name,omitempty"`
	Organization string     `json:"organization,omitempty"`
	Project      string     `json:"project,omitempty"`      // of an agent's run
	Run          string     `json:"run,omitempty"`          // an agent's token belongs to one run
	DelegatedBy  string     `json:"delegated_by,omitempty"` // the person behind an agent
	Role         Role       `json:"role,omitempty"`         // of a person
	Scope        string     `json:"scope,omitempty"`        // of a connected client's token: read, or read and spend; empty: no such limit
	Session      bool       `json:"-"`                      // a person who is signed in with a browser
	Audience     string     `json:"-"`                      // the resource that a connected client's token is for (RFC 8707)
	Token        string     `json:"-"`                      // the token's identifier, never its value
	Source       string     `json:"-"`                      // network address, for counting failed sign-ins
	Key          string     `json:"-"`                      // the request's idempotency key (RULES 10)
	ExpiresAt    *time.Time `json:"-"`                      // of the credential
}

// Role is what a person may do.
type Role string

const (
	Owner    Role = "owner"
	Approver Role = "approver"
	Viewer   Role = "viewer"
)

// WhoAmI answers which credential is held and what it may do.
type WhoAmI struct {
	Actor
	OrganizationName string     `json:"organization_name"`
	ExpiresAt        *time.Time `json:"expires_at,omitempty"`
}

// KDF says how a person's signing key is made from the passphrase (Argon2id,
// RFC 9106). The server keeps it and the public key; the passphrase stays with
// the person.
type KDF struct {
	Salt        string `json:"salt"`       // base64url without padding
	MemoryKiB   uint32 `json:"memory_kib"` //
	Time        uint32 `json:"time"`       // passes
	Parallelism uint8  `json:"parallelism"`
}

// SetUp makes the first organization and its owner; it needs the single-use
// code that the first start prints. Anyone else is wrong_signature.
type SetUp struct {
	Code         string `json:"code"`
	Organization string `json:"organization"` // a name for people
	Name         string `json:"name"`
	Email        string `json:"email"`
	Timezone     string `json:"timezone,omitempty"` // IANA name; months begin and end there; default UTC
	KDF          KDF    `json:"kdf"`
	PublicKey    string `json:"public_key"` // Ed25519, base64url
}

// SignedIn is a person's new token: it reads, proposes and reduces, and loosens nothing.
type SignedIn struct {
	Token        string    `json:"token"`
	Organization string    `json:"organization"`
	Person       string    `json:"person"`
	Name         string    `json:"name"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// AskSignIn asks for a challenge to sign. An unknown address gets one too, so
// that the answer does not tell who has an account.
type AskSignIn struct {
	Email string `json:"email"`
}

// SignIn answers a challenge.
type SignIn struct {
	Email string    `json:"email"`
	Act   Signature `json:"act"`
}

// SignOut ends the token that is used.
type SignOut struct{}

// AskAct asks what to sign before an operation that loosens a control (RULES 1).
// Request is the body that will be sent, without its act member; for approve it
// holds the plan and the decision.
type AskAct struct {
	Operation string         `json:"operation"`
	Request   map[string]any `json:"request"`
}

// Challenge is what is to be signed: SHA-256 over the RFC 8785 form of Document.
type Challenge struct {
	Document map[string]any `json:"document"`
	Nonce    string         `json:"nonce"`
	NotAfter time.Time      `json:"not_after"`
	KDF      KDF            `json:"kdf"`
}

// Signature is a person's signed yes to one challenge; each works once.
type Signature struct {
	Nonce     string `json:"nonce"`
	Method    string `json:"method"`     // passphrase; passkey later
	PublicKey string `json:"public_key"` // base64url
	Signature string `json:"signature"`  // base64url
}

// Accepted answers an operation that has nothing else to say.
type Accepted struct {
	OK bool `json:"ok"`
}
