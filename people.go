package purser

import "time"

// AskPasskey asks what a browser needs to make a passkey for somebody who holds a
// code and is not signed in.
type AskPasskey struct {
	For   string `json:"for"`             // set_up, accept_invitation or recover_access
	Code  string `json:"code"`            // the set-up, invitation or recovery code
	Email string `json:"email,omitempty"` // recover_access: whose code it is; else shown by the browser
	Name  string `json:"name,omitempty"`  // shown by the browser
}

// AskedPasskey is what navigator.credentials.create is given.
type AskedPasskey struct {
	Person    string         `json:"person"`    // whom it is for
	Challenge string         `json:"challenge"` // base64url
	Options   map[string]any `json:"options"`   // PublicKeyCredentialCreationOptionsJSON
	Role      Role           `json:"role,omitempty"`
	NotAfter  time.Time      `json:"not_after"`
}

// NewPasskey is what a browser answered to it. Texts are base64url.
type NewPasskey struct {
	Person      string `json:"person"`
	Challenge   string `json:"challenge"`
	Name        string `json:"name,omitempty"` // for the person to know it again: "phone"
	Credential  string `json:"credential"`
	Attestation string `json:"attestation"`
	ClientData  string `json:"client_data"`
}

// Assertion is a passkey's answer to a challenge that is no act. Texts are base64url.
type Assertion struct {
	Challenge         string `json:"challenge"`
	Credential        string `json:"credential"`
	AuthenticatorData string `json:"authenticator_data"`
	ClientData        string `json:"client_data"`
	Signature         string `json:"signature"`
}

// Passkey is one of a person's.
type Passkey struct {
	ID            string     `json:"id"`
	Person        string     `json:"person"`
	Name          string     `json:"name"`
	Credential    string     `json:"credential"` // base64url
	Synced        bool       `json:"synced"`     // its maker keeps copies on other devices
	CreatedAt     time.Time  `json:"created_at"`
	UsedAt        *time.Time `json:"used_at,omitempty"`
	RecoveryCodes []string   `json:"recovery_codes,omitempty"` // with a person's first; shown once
	Link          string     `json:"link,omitempty"`           // where a browser makes the passkey that was asked for without one; shown once
}

// Passkeys are a person's passkeys, and what is left to get in without one.
type Passkeys struct {
	Items         []Passkey `json:"items"`
	RecoveryCodes int       `json:"recovery_codes"` // unused
	Passphrase    bool      `json:"passphrase"`     // there is one, for the terminal
}

// AddPasskey adds one to those of the person who signs it. Without a passkey it
// makes a link, good for fifteen minutes and once, with which a browser makes one.
type AddPasskey struct {
	Passkey *NewPasskey `json:"passkey,omitempty"`
	Act     *Signature  `json:"act,omitempty"`
}

// PasskeyRef names a passkey.
type PasskeyRef struct {
	Passkey string `json:"passkey"`
}

// Recovery makes new recovery codes; the old ones stop working.
type Recovery struct {
	Act *Signature `json:"act,omitempty"`
}

// RecoveryCodes are shown once.
type RecoveryCodes struct {
	Codes []string `json:"codes"`
}

// RecoverAccess signs a person in with a recovery code and a new passkey. All other
// sessions of the person end, unless the code is that of add_passkey's link.
type RecoverAccess struct {
	Email   string     `json:"email"`
	Code    string     `json:"code"`
	Passkey NewPasskey `json:"passkey"`
}

// PersonInfo is a person of the organization.
type PersonInfo struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Email      string     `json:"email"`
	Role       Role       `json:"role"`
	Passkeys   int        `json:"passkeys"`
	Passphrase bool       `json:"passphrase"`
	CreatedAt  time.Time  `json:"created_at"`
	SeenAt     *time.Time `json:"seen_at,omitempty"`
}

// Invite makes a link for one person to join.
type Invite struct {
	Role    Role       `json:"role"`
	Expires string     `json:"expires,omitempty"` // Go duration; default 72h, at most 720h
	Act     *Signature `json:"act,omitempty"`
}

// Invitation is a link that one person can use once.
type Invitation struct {
	ID        string    `json:"id"`
	Role      Role      `json:"role"`
	Person    string    `json:"person"`         // who invited
	Link      string    `json:"link,omitempty"` // only in the answer that makes it
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// InvitationRef names an invitation.
type InvitationRef struct {
	Invitation string `json:"invitation"`
}

// AcceptInvitation makes a person of who holds the link.
type AcceptInvitation struct {
	Code    string     `json:"code"`
	Name    string     `json:"name"`
	Email   string     `json:"email"`
	Passkey NewPasskey `json:"passkey"`
}

// SetRole changes what a person may do. It ends the person's sessions.
type SetRole struct {
	Person string     `json:"person"`
	Role   Role       `json:"role"`
	Act    *Signature `json:"act,omitempty"`
}

// FirstPasskey lets a person who signs nothing yet make a first passkey.
type FirstPasskey struct {
	Person string     `json:"person"`
	Act    *Signature `json:"act,omitempty"`
}

// PasskeyLink is the page on which a passkey is made. It works once, for 15 minutes.
type PasskeyLink struct {
	Link string `json:"link,omitempty"` // only in the answer that makes it
}

// RemovePerson ends a person's sessions, passkeys, invitations and runs.
type RemovePerson struct {
	Person string     `json:"person"`
	Act    *Signature `json:"act,omitempty"`
}

// Session is a sign-in that is in force: of a browser or of a command line.
type Session struct {
	ID        string     `json:"id"`
	Person    string     `json:"person"`
	Kind      string     `json:"kind"`            // browser or token
	Label     string     `json:"label,omitempty"` // what the browser calls itself: untrusted
	Current   bool       `json:"current"`         // the one that asks
	CreatedAt time.Time  `json:"created_at"`
	SeenAt    *time.Time `json:"seen_at,omitempty"`
	ExpiresAt time.Time  `json:"expires_at"`
}

// SessionRef names a session.
type SessionRef struct {
	Session string `json:"session"`
}

// ActRef names an act that waits to be signed, by its nonce.
type ActRef struct {
	Nonce string `json:"nonce"`
	Wait  int    `json:"wait,omitempty"` // seconds to wait for the signature, at most 55; default 0
}

// AnswerAct signs an act that another program asked for.
type AnswerAct struct {
	Nonce     string    `json:"nonce"`
	Signature Signature `json:"signature"`
}

// Act is what a person is asked to sign, and how far it got.
type Act struct {
	Challenge
	Operation string         `json:"operation"`
	Request   map[string]any `json:"request"` // members that are secret are left out
	State     string         `json:"state"`   // waiting, signed, used or expired
	Signature *Signature     `json:"signature,omitempty"`
}

// SetTwoPeople sets the amount above which two people must approve.
type SetTwoPeople struct {
	Above Money      `json:"above"`
	Off   bool       `json:"off,omitempty"` // one person is enough again for this currency
	Act   *Signature `json:"act,omitempty"`
}

// TwoPeople are the amounts above which two people must approve. With any of
// them, a plan in a currency that is not listed needs two as well.
type TwoPeople struct {
	Above []Money `json:"above"`
}

// LowerCeiling makes a new plan of one that waits, with less for a step whose
// price is a person's ceiling. The old plan is denied.
type LowerCeiling struct {
	Plan    string `json:"plan"`
	Step    int    `json:"step,omitempty"` // default: the only one with a ceiling
	Ceiling Money  `json:"ceiling"`
}
