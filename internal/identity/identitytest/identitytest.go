// Package identitytest is an authenticator with its browser, in software, for tests: what it says can be made wrong in each way that an attacker could.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
)

// Device is an authenticator and its browser in software: what it says can be
// made wrong in each way that an attacker could.
type Device struct {
	t          testing.TB
	Key        crypto.Signer
	credential []byte
	Counter    uint32
	Origin     string
	RP         string
	Flags      byte
	Kind       string // of the client data
	Cross      bool
}

// New makes one for the relying party localhost, on pages of an origin.
func New(t testing.TB, origin string) *Device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	return &Device{t: t, Key: key, credential: id, Origin: origin, RP: "localhost", Flags: 1 | 4, Kind: "webauthn.get"}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (d *Device) client(kind string, challenge []byte) []byte {
	raw, err := json.Marshal(map[string]any{"type": kind, "challenge": b64(challenge), "origin": d.Origin, "crossOrigin": d.Cross})
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

func (d *Device) head(flags byte) []byte {
	sum := sha256.Sum256([]byte(d.RP))
	return binary.BigEndian.AppendUint32(append(sum[:], flags), d.Counter)
}

// Make answers navigator.credentials.create.
func (d *Device) Make(asked purser.AskedPasskey, name string) *purser.NewPasskey {
	d.t.Helper()
	challenge, err := base64.RawURLEncoding.DecodeString(asked.Challenge)
	if err != nil {
		d.t.Fatal(err)
	}
	public := d.Key.Public().(*ecdsa.PublicKey)
	point, err := public.Bytes() // 4, x, y
	if err != nil {
		d.t.Fatal(err)
	}
	// A COSE key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}.
	cose := append([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33]...)
	cose = append(append(cose, 0x22, 0x58, 32), point[33:]...)
	data := append(d.head(d.Flags|0x40), make([]byte, 16)...) // no AAGUID
	data = append(binary.BigEndian.AppendUint16(data, uint16(len(d.credential))), d.credential...)
	data = append(data, cose...)
	// {"fmt": "none", "attStmt": {}, "authData": data}
	object := append([]byte{0xa3, 0x63}, "fmt"...)
	object = append(append(object, 0x64), "none"...)
	object = append(append(object, 0x67), "attStmt"...)
	object = append(append(object, 0xa0, 0x68), "authData"...)
	object = append(append(object, 0x59, byte(len(data)>>8), byte(len(data))), data...)
	return &purser.NewPasskey{
		Person: asked.Person, Challenge: asked.Challenge, Name: name, Credential: b64(d.credential),
		Attestation: b64(object), ClientData: b64(d.client("webauthn.create", challenge)),
	}
}

// Answer signs a challenge, as navigator.credentials.get does.
func (d *Device) Answer(challenge []byte) purser.Assertion {
	d.t.Helper()
	d.Counter++
	client, data := d.client(d.Kind, challenge), d.head(d.Flags)
	sum := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), sum[:]...))
	sig, err := d.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		d.t.Fatal(err)
	}
	return purser.Assertion{
		Challenge: b64(challenge), Credential: b64(d.credential), AuthenticatorData: b64(data), ClientData: b64(client), Signature: b64(sig),
	}
}

// SPKI is the device's key as the server keeps it.
func (d *Device) SPKI() []byte {
	der, err := x509.MarshalPKIXPublicKey(d.Key.Public())
	if err != nil {
		d.t.Fatal(err)
	}
	return der
}

// Act signs a document that ask_act gave.
func (d *Device) Act(c purser.Challenge) *purser.Signature {
	d.t.Helper()
	doc, err := canonical.JSON(c.Document)
	if err != nil {
		d.t.Fatal(err)
	}
	challenge := sha256.Sum256(doc)
	a := d.Answer(challenge[:])
	return &purser.Signature{
		Nonce: c.Nonce, Method: "passkey", Signature: a.Signature, Credential: a.Credential, AuthenticatorData: a.AuthenticatorData, ClientData: a.ClientData,
	}
}
