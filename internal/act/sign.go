package act

import (
	"bytes"
	"crypto/ed25519"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// The ways a person signs: a passphrase on a terminal, a passkey in a browser.
const (
	MethodPassphrase = "passphrase"
	MethodPasskey    = "passkey"
)

// domain precedes the challenge in what a passphrase key signs, so that no other
// signature of that key, now or later, can be taken for an act.
const domain = "purser act v1 passphrase\x00"

// Bounds of the key derivation. A client refuses weaker parameters, because a
// false server could send them to get a public key from which the passphrase is
// cheap to guess, and larger ones, because they would stop the person's machine.
const (
	minMemoryKiB, maxMemoryKiB = 19 << 10, 1 << 20
	minSalt, maxSalt           = 16, 64
	maxTime, maxThreads        = 16, 16
)

// KDF holds the parameters of Argon2id (RFC 9106) under which a passphrase
// becomes a key. They are public and stored beside the public key; the salt is
// random for each person.
type KDF struct {
	Name      string `json:"name"`       // "argon2id"
	Salt      []byte `json:"salt"`       // 16 to 64 bytes
	Time      uint32 `json:"time"`       // passes
	MemoryKiB uint32 `json:"memory_kib"` // kibibytes
	Threads   uint8  `json:"threads"`    // lanes
}

// Signature is a person's signature over a Document, and the key that made it.
// Byte fields are standard base64 in JSON.
type Signature struct {
	Method    string   `json:"method"`
	PublicKey []byte   `json:"public_key"` // passphrase: 32 bytes of Ed25519; passkey: SubjectPublicKeyInfo, DER
	Signature []byte   `json:"signature"`
	Passkey   *Passkey `json:"passkey,omitempty"` // of a passkey only
}

// Passkey is what a passkey's signature is over, beside the challenge. Nothing of
// it can be made again later, so it is kept with the signature.
type Passkey struct {
	AuthenticatorData []byte `json:"authenticator_data"`
	ClientData        []byte `json:"client_data"` // JSON of the browser; it holds the challenge and the origin
}

// DefaultKDF returns the parameters for a new passphrase with this salt: 64 MiB,
// two passes, two lanes, about 100 ms on a laptop.
func DefaultKDF(salt []byte) KDF {
	return KDF{Name: "argon2id", Salt: salt, Time: 2, MemoryKiB: 64 << 10, Threads: 2}
}

// Check refuses parameters that Derive would not use.
func (k KDF) Check() error {
	switch {
	case k.Name != "argon2id":
		return fmt.Errorf("unknown key derivation %q", k.Name)
	case len(k.Salt) < minSalt || len(k.Salt) > maxSalt:
		return fmt.Errorf("a salt of %d bytes; %d to %d are allowed", len(k.Salt), minSalt, maxSalt)
	case k.MemoryKiB < minMemoryKiB || k.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("%d KiB of memory; %d to %d are allowed", k.MemoryKiB, minMemoryKiB, maxMemoryKiB)
	case k.Time < 1 || k.Time > maxTime || k.Threads < 1 || k.Threads > maxThreads:
		return fmt.Errorf("%d passes and %d lanes; 1 to %d and 1 to %d are allowed", k.Time, k.Threads, maxTime, maxThreads)
	case k.Time == 1 && k.MemoryKiB < 46<<10:
		return errors.New("one pass needs at least 46 MiB of memory")
	}
	return nil
}

// A Signer holds a person's key for as long as one act takes. It prints without the key.
type Signer struct{ key *ed25519.PrivateKey }

// String hides the key from logs.
func (s Signer) String() string { return "[signer]" }

// PublicKey returns the 32 bytes that the server stores and an auditor compares.
func (s Signer) PublicKey() []byte {
	return bytes.Clone((*s.key)[ed25519.SeedSize:])
}

// Derive makes the person's key from the passphrase, on the person's machine.
// The passphrase is trimmed and normalised (see CheckPassphrase); its policy is
// not checked here, so that a wrong guess fails as a wrong signature.
func Derive(passphrase []byte, k KDF) (Signer, error) {
	if err := k.Check(); err != nil {
		return Signer{}, fmt.Errorf("deriving the key: %w", err)
	}
	normal := normalise(passphrase)
	seed := argon2.IDKey(normal, k.Salt, k.Time, k.MemoryKiB, k.Threads, ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	clear(seed)
	clear(normal)
	return Signer{&key}, nil
}

// Sign signs the document's challenge.
func (s Signer) Sign(d Document) (Signature, error) {
	if s.key == nil {
		return Signature{}, errors.New("signing the act: no key was derived")
	}
	message, err := signed(d)
	if err != nil {
		return Signature{}, fmt.Errorf("signing the act: %w", err)
	}
	return Signature{Method: MethodPassphrase, PublicKey: s.PublicKey(), Signature: ed25519.Sign(*s.key, message)}, nil
}

func signed(d Document) ([]byte, error) {
	challenge, err := d.Challenge()
	if err != nil {
		return nil, err
	}
	return append([]byte(domain), challenge[:]...), nil
}

// Verify checks the signature against the public key that it carries:
// ErrUnknownMethod, ErrSignature, ErrDocument. It says nothing about whose key
// that is, about the time or about the nonce; a server uses VerifyBy.
func Verify(d Document, s Signature) error {
	switch {
	case s.Method == MethodPasskey:
		return verifyPasskey(d, s)
	case s.Method != MethodPassphrase:
		return fmt.Errorf("%w %q: this version verifies %q and %q", ErrUnknownMethod, s.Method, MethodPasskey, MethodPassphrase)
	case s.Passkey != nil:
		return fmt.Errorf("%w: a passphrase signs no assertion", ErrSignature)
	}
	message, err := signed(d)
	if err != nil {
		return err
	}
	if len(s.PublicKey) != ed25519.PublicKeySize || !ed25519.Verify(s.PublicKey, message, s.Signature) {
		return ErrSignature
	}
	return nil
}

// VerifyBy is Verify for a key that the server already knows as the approver's.
// A signature by any other key is ErrSignature.
func VerifyBy(d Document, s Signature, registered []byte) error {
	if subtle.ConstantTimeCompare(s.PublicKey, registered) != 1 {
		return fmt.Errorf("%w: another key made it", ErrSignature)
	}
	return Verify(d, s)
}

// Bounds of a passphrase, in characters after normalisation.
const (
	MinPassphrase     = 12
	maxPassphrase     = 1024
	minDistinctLetter = 5
)

// CheckPassphrase says in words why a new passphrase is refused, or nil. White
// space around it is dropped and the rest is brought to Unicode NFC, so that two
// keyboards that spell one letter differently make one key; space inside and
// letter case count. It must then be valid UTF-8 without control characters,
// have 12 to 1024 characters, and at least 5 different ones. There are no rules
// about digits or symbols: length is what Argon2id multiplies.
func CheckPassphrase(passphrase []byte) error {
	if !utf8.Valid(passphrase) {
		return errors.New("the passphrase is not valid UTF-8")
	}
	normal := normalise(passphrase)
	defer clear(normal)
	different := map[rune]bool{}
	length := 0
	for _, r := range string(normal) {
		if r < 0x20 || (0x7f <= r && r < 0xa0) {
			return errors.New("the passphrase contains a control character")
		}
		different[r] = true
		length++
	}
	switch {
	case length < MinPassphrase:
		return fmt.Errorf("the passphrase has %d characters; it needs at least %d", length, MinPassphrase)
	case length > maxPassphrase:
		return fmt.Errorf("the passphrase has %d characters; at most %d are allowed", length, maxPassphrase)
	case len(different) < minDistinctLetter:
		return fmt.Errorf("the passphrase repeats %d characters; it needs at least %d different ones", len(different), minDistinctLetter)
	}
	return nil
}

// normalise returns a copy, never the caller's bytes.
func normalise(passphrase []byte) []byte {
	return norm.NFC.Append(nil, []byte(strings.TrimSpace(string(passphrase)))...)
}
