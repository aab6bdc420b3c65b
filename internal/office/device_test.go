package office_test

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
)

const origin = "http://localhost:7627"

// device is an authenticator and its browser in software: what it says can be
// made wrong in each way that an attacker could.
type device struct {
	t          testing.TB
	key        crypto.Signer
	credential []byte
	counter    uint32
	origin     string
	rp         string
	flags      byte
	kind       string // of the client data
	cross      bool
}

func newDevice(t testing.TB) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		t.Fatal(err)
	}
	return &device{t: t, key: key, credential: id, origin: origin, rp: "localhost", flags: 1 | 4, kind: "webauthn.get"}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (d *device) client(kind string, challenge []byte) []byte {
	raw, err := json.Marshal(map[string]any{"type": kind, "challenge": b64(challenge), "origin": d.origin, "crossOrigin": d.cross})
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

func (d *device) head(flags byte) []byte {
	sum := sha256.Sum256([]byte(d.rp))
	return binary.BigEndian.AppendUint32(append(sum[:], flags), d.counter)
}

// make answers navigator.credentials.create.
func (d *device) make(asked purser.AskedPasskey, name string) *purser.NewPasskey {
	d.t.Helper()
	challenge, err := base64.RawURLEncoding.DecodeString(asked.Challenge)
	if err != nil {
		d.t.Fatal(err)
	}
	public := d.key.Public().(*ecdsa.PublicKey)
	point, err := public.Bytes() // 4, x, y
	if err != nil {
		d.t.Fatal(err)
	}
	// A COSE key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}.
	cose := append([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33]...)
	cose = append(append(cose, 0x22, 0x58, 32), point[33:]...)
	data := append(d.head(d.flags|0x40), make([]byte, 16)...) // no AAGUID
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

// answer signs a challenge, as navigator.credentials.get does.
func (d *device) answer(challenge []byte) purser.Assertion {
	d.t.Helper()
	d.counter++
	client, data := d.client(d.kind, challenge), d.head(d.flags)
	sum := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), sum[:]...))
	sig, err := d.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		d.t.Fatal(err)
	}
	return purser.Assertion{
		Challenge: b64(challenge), Credential: b64(d.credential), AuthenticatorData: b64(data), ClientData: b64(client), Signature: b64(sig),
	}
}

// spki is the device's key as the server keeps it.
func (d *device) spki() []byte {
	der, err := x509.MarshalPKIXPublicKey(d.key.Public())
	if err != nil {
		d.t.Fatal(err)
	}
	return der
}

// act signs a document that ask_act gave.
func (d *device) act(c purser.Challenge) *purser.Signature {
	d.t.Helper()
	doc, err := json.Marshal(c.Document)
	if err != nil {
		d.t.Fatal(err)
	}
	challenge := sha256.Sum256(canonicalJSON(d.t, doc))
	a := d.answer(challenge[:])
	return &purser.Signature{
		Nonce: c.Nonce, Method: "passkey", Signature: a.Signature, Credential: a.Credential, AuthenticatorData: a.AuthenticatorData, ClientData: a.ClientData,
	}
}

// toSign gets the challenge of a request from the office.
func (h *house) toSign(by purser.Actor, operation string, in any) purser.Challenge {
	h.t.Helper()
	raw, err := json.Marshal(in)
	if err != nil {
		h.t.Fatal(err)
	}
	var request map[string]any
	if err := json.Unmarshal(raw, &request); err != nil {
		h.t.Fatal(err)
	}
	return must[purser.Challenge](h, by, "ask_act", purser.AskAct{Operation: operation, Request: request})
}

// member is somebody with a browser: a device and a session.
type member struct {
	purser.Actor
	device *device
	cookie string
	codes  []string
}

// by is the actor of a cookie.
func (h *house) session(cookie string) purser.Actor {
	h.t.Helper()
	by, err := h.o.AuthenticateSession(h.ctx, cookie, "test")
	if err != nil {
		h.t.Fatalf("the session: %v", explain(err))
	}
	return by
}

// signs is the member's passkey signature on a request.
func (h *house) signs(m member, operation string, in any) *purser.Signature {
	h.t.Helper()
	return m.device.act(h.toSign(m.Actor, operation, in))
}

// owns gives the owner of the house, who has a passphrase, a passkey as well.
func (h *house) owns() member {
	h.t.Helper()
	d := newDevice(h.t)
	by := h.owner
	in := purser.AddPasskey{Passkey: d.make(must[purser.AskedPasskey](h, by, "ask_own_passkey", purser.None{}), "laptop")}
	in.Act = h.sign("add_passkey", in)
	made := must[purser.Passkey](h, by, "add_passkey", in)
	m := h.signsIn(d)
	m.codes = made.RecoveryCodes
	return m
}

// signsIn signs a device's person in, on a new browser.
func (h *house) signsIn(d *device) member {
	h.t.Helper()
	in := must[purser.SignedIn](h, purser.Actor{Browser: "Test/1.0", Source: "test"}, "sign_in", purser.SignIn{Passkey: h.asksIn(d)})
	return member{Actor: h.session(in.Token), device: d, cookie: in.Token}
}

// asksIn answers a sign-in challenge.
func (h *house) asksIn(d *device) *purser.Assertion {
	h.t.Helper()
	c := must[purser.Challenge](h, purser.Actor{Source: "test"}, "ask_sign_in", purser.AskSignIn{})
	challenge, err := base64.RawURLEncoding.DecodeString(c.Random)
	if err != nil {
		h.t.Fatal(err)
	}
	a := d.answer(challenge)
	return &a
}

// joins lets the owner invite somebody, who accepts with a new device.
func (h *house) joins(owner member, role purser.Role, name string) member {
	h.t.Helper()
	invite := purser.Invite{Role: role}
	invite.Act = h.signs(owner, "invite", invite)
	link := must[purser.Invitation](h, owner.Actor, "invite", invite).Link
	code := codeOf(h.t, link)
	stranger := purser.Actor{Browser: "Test/1.0", Source: "test"}
	d := newDevice(h.t)
	asked := must[purser.AskedPasskey](h, stranger, "ask_passkey", purser.AskPasskey{For: "accept_invitation", Code: code})
	in := must[purser.SignedIn](h, stranger, "accept_invitation", purser.AcceptInvitation{
		Code: code, Name: name, Email: name + "@example.org", Passkey: *d.make(asked, "phone"),
	})
	return member{Actor: h.session(in.Token), device: d, cookie: in.Token, codes: in.RecoveryCodes}
}
