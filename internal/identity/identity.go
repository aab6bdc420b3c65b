// Package identity is the passkey of a person: what a browser is asked for, and whether what it answers may be kept.
//
// Only making a passkey is here, where a library reads what authenticators write
// in CBOR. Its key is kept as SubjectPublicKeyInfo, so that what it signs later
// is checked by package act, online and offline with the same few lines.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/act"
)

// timeout is how long a browser shows its dialog.
const timeout = 5 * time.Minute

// The signatures that are asked for, the first before the next: COSE algorithms
// (RFC 9053) that act.Assertion checks.
var algorithms = []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgES256, webauthncose.AlgEdDSA, webauthncose.AlgRS256}

// Party is the relying party: the server as passkeys know it. They are bound to
// its ID, a host name, for ever.
type Party struct {
	ID     string // the host of the first origin that a passkey was made at
	Origin string // public_url as it is now: scheme, host and port
}

// HostOf is the host name of an origin. An address is none: WebAuthn refuses it.
func HostOf(origin string) (string, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" {
		return "", purser.Errorf(purser.InvalidState, "public_url %q has no host name", origin)
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return "", purser.Errorf(purser.InvalidState, "public_url %s is an address, and passkeys need a name", origin).
			WithHint("open http://localhost:PORT, or set public_url to https://NAME")
	}
	return strings.ToLower(u.Hostname()), nil
}

// Check refuses an origin at which passkeys of this party do not work.
func (p Party) Check() error {
	host, err := HostOf(p.Origin)
	if err == nil && host != p.ID && !strings.HasSuffix(host, "."+p.ID) {
		err = purser.Errorf(purser.InvalidState, "passkeys were made for %s, and public_url is now %s: none of them works here", p.ID, p.Origin).
			WithHint("set public_url back to a name of %s, or let each person sign in with a recovery code", p.ID)
	}
	return err
}

// User is whom a passkey is made for.
type User struct {
	ID   string // goes into the authenticator; it tells nothing about the person
	Name string // e-mail address, shown when the person chooses a passkey
	Show string // the person's name
}

// Creation is what navigator.credentials.create is given
// (PublicKeyCredentialCreationOptionsJSON): a discoverable passkey that verifies
// the person, and none of those that are excluded.
func (p Party) Creation(challenge []byte, u User, exclude []string) (map[string]any, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	kinds, known := []any{}, []any{}
	for _, a := range algorithms {
		kinds = append(kinds, map[string]any{"type": "public-key", "alg": int64(a)})
	}
	for _, id := range exclude {
		known = append(known, map[string]any{"type": "public-key", "id": id})
	}
	return map[string]any{
		"rp":                 map[string]any{"id": p.ID, "name": "Purser"},
		"user":               map[string]any{"id": encode([]byte(u.ID)), "name": u.Name, "displayName": u.Show},
		"challenge":          encode(challenge),
		"pubKeyCredParams":   kinds,
		"timeout":            timeout.Milliseconds(),
		"excludeCredentials": known,
		"attestation":        "none",
		"authenticatorSelection": map[string]any{
			"residentKey": "required", "requireResidentKey": true, "userVerification": "required",
		},
	}, nil
}

// Passkey is one that may be kept.
type Passkey struct {
	Credential string // base64url, as the authenticator named it
	PublicKey  []byte // SubjectPublicKeyInfo, DER
	Counter    uint32
	Synced     bool // its maker keeps copies on other devices
}

// Made reads what the browser answered to Creation: attestation object and client
// data, base64url. Anything that is not a new, verified passkey of this party for
// this challenge is wrong_signature.
func (p Party) Made(challenge []byte, u User, credential, attestation, clientData string) (Passkey, error) {
	made, err := p.verify(challenge, u, credential, attestation, clientData)
	if err != nil {
		return Passkey{}, purser.Errorf(purser.WrongSignature, "the browser's answer is no new passkey of this server").
			WithHint("try again; use a passkey that asks for a fingerprint, face or PIN").WithCause(detailed(err))
	}
	return made, nil
}

func (p Party) verify(challenge []byte, u User, credential, attestation, clientData string) (Passkey, error) {
	w, err := webauthn.New(&webauthn.Config{RPID: p.ID, RPDisplayName: "Purser", RPOrigins: []string{p.Origin}})
	if err != nil {
		return Passkey{}, err
	}
	raw, err := json.Marshal(map[string]any{
		"id": credential, "rawId": credential, "type": "public-key",
		"response": map[string]any{"attestationObject": attestation, "clientDataJSON": clientData},
	})
	if err != nil {
		return Passkey{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(raw)
	if err != nil {
		return Passkey{}, err
	}
	if parsed.Response.CollectedClientData.CrossOrigin {
		return Passkey{}, errors.New("it was made inside a page of another origin")
	}
	session := webauthn.SessionData{
		Challenge: encode(challenge), RelyingPartyID: p.ID, UserID: []byte(u.ID), UserVerification: protocol.VerificationRequired,
	}
	for _, a := range algorithms {
		session.CredParams = append(session.CredParams, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: a})
	}
	c, err := w.CreateCredential(user{u}, session, parsed)
	if err != nil {
		return Passkey{}, err
	}
	if !c.Flags.UserVerified || !c.Flags.UserPresent {
		return Passkey{}, errors.New("nobody was verified")
	}
	der, err := publicKey(c.PublicKey)
	if err != nil {
		return Passkey{}, err
	}
	return Passkey{Credential: encode(c.ID), PublicKey: der, Counter: c.Authenticator.SignCount, Synced: c.Flags.BackupEligible}, nil
}

// publicKey turns a COSE key into the form that package act checks.
func publicKey(cose []byte) ([]byte, error) {
	parsed, err := webauthncose.ParsePublicKey(cose)
	if err != nil {
		return nil, err
	}
	var key crypto.PublicKey
	switch k := parsed.(type) {
	case webauthncose.EC2PublicKeyData:
		if key, err = ecdsaKey(k); err != nil {
			return nil, err
		}
	case webauthncose.OKPPublicKeyData:
		key = ed25519.PublicKey(k.XCoord)
	case webauthncose.RSAPublicKeyData:
		e := new(big.Int).SetBytes(k.Exponent)
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, errors.New("the exponent is too large")
		}
		key = &rsa.PublicKey{N: new(big.Int).SetBytes(k.Modulus), E: int(e.Int64())}
	default:
		return nil, fmt.Errorf("a key of type %T", parsed)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err == nil {
		err = act.CheckPublicKey(der)
	}
	return der, err
}

func ecdsaKey(k webauthncose.EC2PublicKeyData) (*ecdsa.PublicKey, error) { return k.ToECDSA() }

// detailed keeps what the library hides from its message.
func detailed(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%w: %s", err, e.DevInfo)
	}
	return err
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// user is a User as the library wants it.
type user struct{ User }

func (u user) WebAuthnID() []byte                         { return []byte(u.ID) }
func (u user) WebAuthnName() string                       { return u.Name }
func (u user) WebAuthnDisplayName() string                { return u.Show }
func (u user) WebAuthnCredentials() []webauthn.Credential { return nil }
