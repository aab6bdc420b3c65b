package purser

import "time"

// ActorKind tells people and programs apart.
type ActorKind string

const (
	Person   ActorKind = "person"
	Agent    ActorKind = "agent"
	Provider ActorKind = "provider" // a provider's connection to the rail
	Platform ActorKind = "platform" // a program that meters what agents spend
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
	Remembered   bool       `json:"-"`                      // the database did not say whose the credential is: the deciding turn asks
	Ended        error      `json:"-"`                      // why the credential does no more than what Operation.Spends says
	Browser      string     `json:"-"`                      // what a browser calls itself, when the console asks for it: signing in then makes a session
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
// code that the first start prints. Anyone else is wrong_signature. The owner
// gives a passkey, in a browser, or the public key of a passphrase, on a terminal.
type SetUp struct {
	Code         string      `json:"code"`
	Organization string      `json:"organization"` // a name for people
	Name         string      `json:"name"`
	Email        string      `json:"email"`
	Timezone     string      `json:"timezone,omitempty"` // IANA name; months begin and end there; default UTC
	Passkey      *NewPasskey `json:"passkey,omitempty"`
	KDF          *KDF        `json:"kdf,omitempty"`
	PublicKey    string      `json:"public_key,omitempty"` // Ed25519, base64url
}

// SignedIn is a person's new token: it reads, proposes and reduces, and loosens nothing.
type SignedIn struct {
	Token         string    `json:"token"`
	Organization  string    `json:"organization"`
	Person        string    `json:"person"`
	Name          string    `json:"name"`
	ExpiresAt     time.Time `json:"expires_at"`
	RecoveryCodes []string  `json:"recovery_codes,omitempty"` // with a first passkey; shown once
}

// AskSignIn asks for a challenge to sign. An unknown address gets one too, so
// that the answer does not tell who has an account. Without an address the
// challenge is for any passkey.
type AskSignIn struct {
	Email string `json:"email,omitempty"`
}

// SignIn answers a challenge: with a passphrase's act, or with a passkey.
type SignIn struct {
	Email   string     `json:"email,omitempty"`
	Act     *Signature `json:"act,omitempty"`
	Passkey *Assertion `json:"passkey,omitempty"`
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
	Document map[string]any `json:"document,omitempty"`
	Nonce    string         `json:"nonce"` // the act's name, where it waits to be signed elsewhere
	NotAfter time.Time      `json:"not_after"`
	KDF      *KDF           `json:"kdf,omitempty"`       // of the person's passphrase; nil: the person has none
	Passkeys []string       `json:"passkeys,omitempty"`  // credential identifiers (base64url) that may answer
	RP       string         `json:"rp,omitempty"`        // the host name that passkeys are bound to
	Random   string         `json:"challenge,omitempty"` // signing in with any passkey: these bytes (base64url), no document
	Link     string         `json:"link,omitempty"`      // where the person signs it in a browser
}

// Signature is a person's signed yes to one challenge; each works once.
type Signature struct {
	Nonce             string `json:"nonce"`
	Method            string `json:"method"`               // passkey or passphrase
	PublicKey         string `json:"public_key,omitempty"` // passphrase: base64url
	Signature         string `json:"signature"`            // base64url, as all below
	Credential        string `json:"credential,omitempty"` // passkey: which one
	AuthenticatorData string `json:"authenticator_data,omitempty"`
	ClientData        string `json:"client_data,omitempty"`
}

// Accepted answers an operation that has nothing else to say.
type Accepted struct {
	OK bool `json:"ok"`
}
