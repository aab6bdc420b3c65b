package seller

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
)

// Times of a signing key (APP 5.4).
const (
	publishFirst = 10 * time.Minute    // a key is published so long before it signs
	signingLife  = 90 * 24 * time.Hour // then the next one takes over
	keptAfter    = 24 * time.Hour      // its last token has long ended then
	reloadAfter  = time.Minute         // another replica may have made a new one
	assertionTTL = 4 * time.Minute     // APP 15.3 allows five
	wholeLife    = publishFirst + signingLife + keptAfter
)

// Vault keeps the keys, sealed. Save replaces old by fresh only if nothing else was
// saved meanwhile, and says whether it did; old is empty when there was nothing.
type Vault interface {
	Load(ctx context.Context) ([]byte, error)
	Save(ctx context.Context, old, fresh []byte) (bool, error)
}

// Keys are the installation's own: Ed25519 for the second signature of each call,
// and one on P-256 for private_key_jwt. They are safe for concurrent use.
type Keys struct {
	vault  Vault
	now    func() time.Time
	random io.Reader

	mu     sync.Mutex
	kept   keyring
	loaded time.Time
}

// keyring is what the vault keeps.
type keyring struct {
	Ed25519 []signingKey `json:"ed25519"` // oldest first
	P256    []byte       `json:"p256"`    // the private scalar
}

type signingKey struct {
	ID   string    `json:"kid"`
	Seed []byte    `json:"seed"`
	Made time.Time `json:"made"`
}

// OpenKeys loads the keys, and makes them on the first start.
func OpenKeys(ctx context.Context, vault Vault, now func() time.Time, random io.Reader) (*Keys, error) {
	k := &Keys{vault: vault, now: now, random: random}
	return k, k.Refresh(ctx)
}

// Refresh loads the keys again and makes the next one when it is time: ten minutes
// before the last one stops signing. Of replicas that do so at once, one wins.
func (k *Keys) Refresh(ctx context.Context) error {
	for range 3 {
		raw, err := k.vault.Load(ctx)
		if err != nil {
			return fmt.Errorf("loading the signing keys: %w", err)
		}
		var ring keyring
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &ring); err != nil {
				return fmt.Errorf("reading the signing keys: %w", err)
			}
		}
		changed, err := k.complete(&ring)
		if err != nil {
			return err
		}
		saved := true
		if changed {
			fresh, err := json.Marshal(ring)
			if err != nil {
				return fmt.Errorf("writing the signing keys: %w", err)
			}
			if saved, err = k.vault.Save(ctx, raw, fresh); err != nil {
				return fmt.Errorf("keeping the signing keys: %w", err)
			}
		}
		if saved {
			k.mu.Lock()
			k.kept, k.loaded = ring, k.now()
			k.mu.Unlock()
			return nil
		}
	}
	return errors.New("keeping the signing keys: others keep changing them")
}

// complete makes what is missing and drops what is over.
func (k *Keys) complete(ring *keyring) (changed bool, err error) {
	now := k.now()
	live := ring.Ed25519[:0:0]
	for _, key := range ring.Ed25519 {
		if now.Before(key.Made.Add(wholeLife)) {
			live = append(live, key)
		}
	}
	changed = len(live) != len(ring.Ed25519)
	if n := len(live); n == 0 || !now.Before(live[n-1].Made.Add(signingLife)) {
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(k.random, seed); err != nil {
			return false, fmt.Errorf("making a signing key: %w", err)
		}
		sum := sha256.Sum256(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
		live = append(live, signingKey{ID: base64.RawURLEncoding.EncodeToString(sum[:9]), Seed: seed, Made: now.UTC().Truncate(time.Second)})
		changed = true
	}
	ring.Ed25519 = live
	if len(ring.P256) == 0 {
		if ring.P256, err = newScalar(k.random); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// newScalar makes a private key of P-256: a number from 1 to the order less one.
func newScalar(random io.Reader) ([]byte, error) {
	order := elliptic.P256().Params().N
	for {
		b := make([]byte, 32)
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("making a client key: %w", err)
		}
		if n := new(big.Int).SetBytes(b); n.Sign() > 0 && n.Cmp(order) < 0 {
			return b, nil
		}
	}
}

// fresh is the keyring, loaded again now and then: another replica may have made a
// new key. While the vault cannot be read, the last keys stay.
func (k *Keys) fresh() keyring {
	k.mu.Lock()
	old := k.now().Sub(k.loaded) >= reloadAfter
	if old {
		k.loaded = k.now() // one of those who ask now loads
	}
	k.mu.Unlock()
	if old {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = k.Refresh(ctx) // the last keys stay
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept
}

// signing is the newest key that was published long enough to sign with; nil on an
// installation's first ten minutes.
func (k *Keys) signing(now time.Time, issuer string) *app.Key {
	keys := k.fresh().Ed25519
	for i := len(keys) - 1; i >= 0; i-- {
		if key := keys[i]; !now.Before(key.Made.Add(publishFirst)) {
			return &app.Key{ID: key.ID, Issuer: issuer, Private: ed25519.NewKeyFromSeed(key.Seed)}
		}
	}
	return nil
}

// PublicKey is a key that providers verify our calls with (APP 5.4).
type PublicKey struct {
	ID        string   `json:"kid"`
	Curve     string   `json:"crv"`
	X         string   `json:"x"`
	ExpiresAt app.Time `json:"expires_at"`
}

// Public lists the keys that sign, have signed or will.
func (k *Keys) Public() []PublicKey {
	out := []PublicKey{}
	for _, key := range k.fresh().Ed25519 {
		x := ed25519.NewKeyFromSeed(key.Seed).Public().(ed25519.PublicKey)
		out = append(out, PublicKey{ID: key.ID, Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(x), ExpiresAt: app.At(key.Made.Add(wholeLife))})
	}
	return out
}

// JWK is a public key as RFC 7517 writes it.
type JWK struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	ID    string `json:"kid"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// JWKS lists the keys that our assertions are verified with (APP 15.3).
func (k *Keys) JWKS() ([]JWK, error) {
	key, err := k.client()
	if err != nil {
		return nil, err
	}
	x, y, err := point(key)
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding
	return []JWK{{Type: "EC", Curve: "P-256", Use: "sig", Alg: "ES256", ID: clientKeyID(x, y), X: text.EncodeToString(x), Y: text.EncodeToString(y)}}, nil
}

func (k *Keys) client() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), k.fresh().P256)
	if err != nil {
		return nil, fmt.Errorf("reading the client key: %w", err)
	}
	return key, nil
}

func point(key *ecdsa.PrivateKey) (x, y []byte, err error) {
	raw, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, nil, fmt.Errorf("reading the client key: %w", err)
	}
	return raw[1:33], raw[33:], nil
}

func clientKeyID(x, y []byte) string {
	sum := sha256.Sum256(append(append([]byte{}, x...), y...))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// Assertion proves that we are clientID to the token endpoint audience, once
// (APP 15.3, RFC 7523).
func (k *Keys) Assertion(clientID, audience string, now time.Time) (string, error) {
	key, err := k.client()
	if err != nil {
		return "", err
	}
	x, y, err := point(key)
	if err != nil {
		return "", err
	}
	jti, err := app.Random(k.random, "")
	if err != nil {
		return "", err
	}
	head := map[string]any{"alg": "ES256", "typ": "JWT", "kid": clientKeyID(x, y)}
	claims := map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": jti, "iat": now.Unix(), "exp": now.Add(assertionTTL).Unix(),
	}
	signed := ""
	for _, part := range []map[string]any{head, claims} {
		raw, err := json.Marshal(part)
		if err != nil {
			return "", fmt.Errorf("writing an assertion: %w", err)
		}
		signed += base64.RawURLEncoding.EncodeToString(raw) + "."
	}
	signed = signed[:len(signed)-1]
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(k.random, key, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing an assertion: %w", err)
	}
	var signature [64]byte // r and s, 32 bytes each (RFC 7518, 3.4)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}
