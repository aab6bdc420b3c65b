package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Times of a signing key.
const (
	publishFirst = 10 * time.Minute    // it is published so long before it signs
	signingLife  = 30 * 24 * time.Hour // then the next one takes over
	keptAfter    = 24 * time.Hour      // no token that it signed lives so long
	reloadAfter  = time.Minute         // another replica may have made a new one
)

// tokenType is the typ of an access token (RFC 9068): no other kind of signed
// text passes for one.
const tokenType = "at+jwt"

// Claims are what an access token says (RFC 9068 2.2).
type Claims struct {
	Issuer       string `json:"iss"`
	Subject      string `json:"sub"` // the agent
	Audience     string `json:"aud"` // one resource
	Client       string `json:"client_id"`
	ID           string `json:"jti"`
	IssuedAt     int64  `json:"iat"` // seconds
	ExpiresAt    int64  `json:"exp"`
	Scope        string `json:"scope"`
	Run          string `json:"run"`
	Organization string `json:"organization"`
}

// ErrToken is for text that is not an access token of ours.
var ErrToken = errors.New("this is not an access token of this server")

// Vault keeps the keys, sealed. Save replaces old by fresh only if nothing else was
// saved meanwhile, and says whether it did; old is empty when there was nothing.
type Vault interface {
	Load(ctx context.Context) ([]byte, error)
	Save(ctx context.Context, old, fresh []byte) (bool, error)
}

// Keys sign access tokens with ES256. They are safe for concurrent use.
type Keys struct {
	vault  Vault
	now    func() time.Time
	random io.Reader

	mu     sync.Mutex
	ring   []key // oldest first
	loaded time.Time
}

type key struct {
	ID     string    `json:"kid"`
	Scalar []byte    `json:"d"`
	Made   time.Time `json:"made"`
}

// OpenKeys loads the keys, and makes the first.
func OpenKeys(ctx context.Context, vault Vault, now func() time.Time, random io.Reader) (*Keys, error) {
	k := &Keys{vault: vault, now: now, random: random}
	return k, k.Refresh(ctx)
}

// Refresh loads the keys again, drops what is over and makes the next one when it
// is time. Of replicas that do so at once, one wins.
func (k *Keys) Refresh(ctx context.Context) error {
	for range 3 {
		raw, err := k.vault.Load(ctx)
		if err != nil {
			return fmt.Errorf("loading the keys of access tokens: %w", err)
		}
		var ring []key
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &ring); err != nil {
				return fmt.Errorf("reading the keys of access tokens: %w", err)
			}
		}
		whole, changed, err := k.complete(ring)
		if err != nil {
			return err
		}
		saved := true
		if changed {
			fresh, err := json.Marshal(whole)
			if err != nil {
				return fmt.Errorf("writing the keys of access tokens: %w", err)
			}
			if saved, err = k.vault.Save(ctx, raw, fresh); err != nil {
				return fmt.Errorf("keeping the keys of access tokens: %w", err)
			}
		}
		if saved {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.ring, k.loaded = whole, k.now()
			return nil
		}
	}
	return errors.New("keeping the keys of access tokens: others keep changing them")
}

func (k *Keys) complete(ring []key) (whole []key, changed bool, err error) {
	now := k.now()
	for _, key := range ring {
		if now.Before(key.Made.Add(publishFirst + signingLife + publishFirst + keptAfter)) {
			whole = append(whole, key)
		}
	}
	changed = len(whole) != len(ring)
	if n := len(whole); n == 0 || !now.Before(whole[n-1].Made.Add(signingLife)) {
		made, err := newKey(k.random, now)
		if err != nil {
			return nil, false, err
		}
		whole, changed = append(whole, made), true
	}
	return whole, changed, nil
}

func newKey(random io.Reader, now time.Time) (key, error) {
	for {
		b := make([]byte, 32)
		if _, err := io.ReadFull(random, b); err != nil {
			return key{}, fmt.Errorf("making a key of access tokens: %w", err)
		}
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
		if err != nil {
			continue // not below the order of the curve: once in 2^32
		}
		public, err := private.PublicKey.Bytes()
		if err != nil {
			return key{}, fmt.Errorf("making a key of access tokens: %w", err)
		}
		sum := sha256.Sum256(public)
		return key{ID: base64.RawURLEncoding.EncodeToString(sum[:9]), Scalar: b, Made: now.UTC().Truncate(time.Second)}, nil
	}
}

func (k key) private() (*ecdsa.PrivateKey, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), k.Scalar)
	if err != nil {
		return nil, fmt.Errorf("reading a key of access tokens: %w", err)
	}
	return private, nil
}

// fresh is the ring, loaded again now and then. While the vault cannot be read, the
// last keys stay.
func (k *Keys) fresh() []key {
	k.mu.Lock()
	ring, old := k.ring, k.now().Sub(k.loaded) > reloadAfter
	k.mu.Unlock()
	if !old {
		return ring
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = k.Refresh(ctx) // the old ring goes on
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ring
}

// Sign writes an access token. The newest key that has been public for long enough
// signs; the very first one has nobody to wait for.
func (k *Keys) Sign(c Claims) (string, error) {
	ring := k.fresh()
	chosen := ring[0]
	for _, key := range ring {
		if !k.now().Before(key.Made.Add(publishFirst)) {
			chosen = key
		}
	}
	private, err := chosen.private()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: chosen.ID}},
		(&jose.SignerOptions{}).WithType(tokenType))
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("writing an access token: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing an access token: %w", err)
	}
	return signed.CompactSerialize()
}

// Verify reads an access token that a key of this server signed. Its time is not
// looked at: a stopped run's token says that it was stopped, however old it is.
func (k *Keys) Verify(text string) (Claims, error) {
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(signed.Signatures) != 1 {
		return Claims{}, ErrToken
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != tokenType {
		return Claims{}, ErrToken
	}
	for _, key := range k.fresh() {
		if key.ID != header.KeyID {
			continue
		}
		private, err := key.private()
		if err != nil {
			return Claims{}, err
		}
		payload, err := signed.Verify(&private.PublicKey)
		if err != nil {
			return Claims{}, ErrToken
		}
		var c Claims
		if json.Unmarshal(payload, &c) != nil {
			return Claims{}, ErrToken
		}
		return c, nil
	}
	return Claims{}, ErrToken
}

// JWKS is the set of public keys (RFC 7517).
func (k *Keys) JWKS() (jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	for _, key := range k.fresh() {
		private, err := key.private()
		if err != nil {
			return set, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &private.PublicKey, KeyID: key.ID, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set, nil
}
