package act

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Bounds of what a browser sends, in bytes. Real ones are far smaller.
const (
	maxClientData        = 4 << 10
	maxAuthenticatorData = 4 << 10
	minAuthenticatorData = sha256.Size + 1 + 4 // hash of the RP ID, flags, counter
)

// The flags of authenticator data (WebAuthn Level 3, section 6.1).
const (
	userPresent  = 1 << 0
	userVerified = 1 << 2
)

// An Assertion is what a passkey answers to a challenge: the signature, and the
// two texts that it is over.
type Assertion struct {
	AuthenticatorData []byte
	ClientData        []byte // the browser's JSON, byte for byte
	Signature         []byte
}

// Check verifies an assertion by the rules of WebAuthn Level 3, section 7.2, or
// returns ErrSignature with the reason: it is an answer to this challenge, given
// on a page of this origin and of no other, to a relying party that is the
// origin's host or a domain above it, with the person present and verified, and
// the key (DER, SubjectPublicKeyInfo) signed it. Keys are ES256, EdDSA or RS256.
// It returns the authenticator's counter, 0 when it keeps none.
func (a Assertion) Check(challenge []byte, origin string, publicKey []byte) (counter uint32, err error) {
	if err := checkClientData(a.ClientData, challenge, origin); err != nil {
		return 0, err
	}
	data := a.AuthenticatorData
	if len(data) < minAuthenticatorData || len(data) > maxAuthenticatorData {
		return 0, fmt.Errorf("%w: authenticator data of %d bytes", ErrSignature, len(data))
	}
	if !isRelyingParty(data[:sha256.Size], origin) {
		return 0, fmt.Errorf("%w: it was made for another relying party than that of %s", ErrSignature, origin)
	}
	switch flags := data[sha256.Size]; {
	case flags&userPresent == 0:
		return 0, fmt.Errorf("%w: nobody was present", ErrSignature)
	case flags&userVerified == 0:
		return 0, fmt.Errorf("%w: the authenticator did not verify who was there", ErrSignature)
	}
	sum := sha256.Sum256(a.ClientData)
	if err := checkKey(publicKey, append(bytes.Clone(data), sum[:]...), a.Signature); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(data[sha256.Size+1:]), nil
}

// checkClientData compares what the browser says of the question with the question.
func checkClientData(raw, challenge []byte, origin string) error {
	var said struct {
		Type        string  `json:"type"`
		Challenge   string  `json:"challenge"`
		Origin      string  `json:"origin"`
		CrossOrigin bool    `json:"crossOrigin"`
		TopOrigin   *string `json:"topOrigin"`
	}
	if len(raw) > maxClientData {
		return fmt.Errorf("%w: client data of %d bytes", ErrSignature, len(raw))
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return fmt.Errorf("%w: the client data is not JSON", ErrSignature)
	}
	want := base64.RawURLEncoding.EncodeToString(challenge)
	switch {
	case said.Type != "webauthn.get":
		return fmt.Errorf("%w: it is a %q and no assertion", ErrSignature, said.Type)
	case subtle.ConstantTimeCompare([]byte(said.Challenge), []byte(want)) != 1:
		return fmt.Errorf("%w: it answers another challenge", ErrSignature)
	case said.Origin != origin:
		return fmt.Errorf("%w: it was given at %q", ErrSignature, said.Origin)
	case said.CrossOrigin || said.TopOrigin != nil:
		return fmt.Errorf("%w: it was given inside a page of another origin", ErrSignature)
	}
	return nil
}

// isRelyingParty reports that hash is of the origin's host, or of a domain above
// it: a passkey may have been made when the server had a shorter name.
func isRelyingParty(hash []byte, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	name := u.Hostname()
	if _, err := netip.ParseAddr(name); err == nil {
		return false // WebAuthn knows names only
	}
	for first := true; name != "" && (first || strings.Contains(name, ".")); first = false {
		sum := sha256.Sum256([]byte(name))
		if subtle.ConstantTimeCompare(sum[:], hash) == 1 {
			return true
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return false
}

// CheckPublicKey refuses a passkey's key of a kind that Check does not know.
func CheckPublicKey(der []byte) error {
	_, err := parseKey(der)
	return err
}

// minRSA is the smallest RSA modulus that is taken, in bits.
const minRSA = 2048

func parseKey(der []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the public key cannot be read", ErrSignature)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	case ed25519.PublicKey:
		return k, nil
	case *rsa.PublicKey:
		if k.Size()*8 >= minRSA && k.Size()*8 <= 4*minRSA {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: the public key is not of ES256, EdDSA or RS256", ErrSignature)
}

func checkKey(der, message, signature []byte) error {
	key, err := parseKey(der)
	if err != nil {
		return err
	}
	sum, good := sha256.Sum256(message), false
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(k, sum[:], signature)
	case ed25519.PublicKey:
		good = ed25519.Verify(k, message, signature)
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], signature) == nil
	}
	if !good {
		return ErrSignature
	}
	return nil
}

// verifyPasskey checks an assertion over the document's challenge (RULES 11).
func verifyPasskey(d Document, s Signature) error {
	if s.Passkey == nil {
		return fmt.Errorf("%w: it lacks what the passkey signed", ErrSignature)
	}
	challenge, err := d.Challenge()
	if err != nil {
		return err
	}
	_, err = s.assertion().Check(challenge[:], d.Origin, s.PublicKey)
	return err
}

func (s Signature) assertion() Assertion {
	return Assertion{AuthenticatorData: s.Passkey.AuthenticatorData, ClientData: s.Passkey.ClientData, Signature: s.Signature}
}

// Counter is the authenticator's count of its signatures, 0 when it keeps none or
// no authenticator signed. One that goes back is a sign of a copied key.
func (s Signature) Counter() uint32 {
	if s.Passkey == nil || len(s.Passkey.AuthenticatorData) < minAuthenticatorData {
		return 0
	}
	return binary.BigEndian.Uint32(s.Passkey.AuthenticatorData[sha256.Size+1:])
}
