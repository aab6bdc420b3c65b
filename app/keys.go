package app

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// PublicKey is an orchestrator's key as published at GET /v2/provisioning/public_keys (5.4).
type PublicKey struct {
	KID       string `json:"kid"`
	Curve     string `json:"crv"` // "Ed25519"
	X         string `json:"x"`   // base64url of 32 bytes
	ExpiresAt Time   `json:"expires_at"`
}

// PublicKeys is that document.
type PublicKeys struct {
	PublicKeys []PublicKey `json:"public_keys"`
}

// How long a key set is fresh, and how often an unknown kid may refetch it (5.4).
const (
	keysFresh   = 300 * time.Second
	keysRefetch = 60 * time.Second
)

// KeySet is a provider's view of an orchestrator's public keys: cached for 300 s,
// refetched once for an unknown kid, at most every 60 s. While refetching fails,
// the last good keys stay valid until each one's own expiry.
type KeySet struct {
	URL    string           // of the document; https, or http on loopback
	Token  string           // bearer sent with the fetch, if any
	Client *http.Client     // nil: one with a 10 s limit
	Now    func() time.Time // nil: time.Now

	mu      sync.Mutex
	keys    map[string]key
	fetched time.Time // last good fetch
	tried   time.Time
}

type key struct {
	public  ed25519.PublicKey
	expires time.Time
}

// Find gives the unexpired key of a kid.
func (s *KeySet) Find(ctx context.Context, kid string) (ed25519.PublicKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	_, known := s.keys[kid]
	if stale := now.Sub(s.fetched) >= keysFresh; (stale || !known) && (s.tried.IsZero() || now.Sub(s.tried) >= keysRefetch) {
		s.tried = now
		if keys, err := s.fetch(ctx); err == nil {
			s.keys, s.fetched = keys, now
		}
	}
	found, ok := s.keys[kid]
	return found.public, ok && now.Before(found.expires)
}

func (s *KeySet) fetch(ctx context.Context) (map[string]key, error) {
	if err := CheckURL(s.URL); err != nil {
		return nil, fmt.Errorf("fetching public keys: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetching public keys: %w", err)
	}
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	client := s.Client
	if client == nil {
		client = &http.Client{Timeout: connectTimeout}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching public keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching public keys: HTTP %d", resp.StatusCode)
	}
	var doc PublicKeys
	if err := json.NewDecoder(io.LimitReader(resp.Body, MaxResponseBytes)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("fetching public keys: %w", err)
	}
	keys := map[string]key{}
	for _, k := range doc.PublicKeys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if k.Curve != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			continue // a key of another kind is none of ours
		}
		keys[k.KID] = key{x, k.ExpiresAt.Time}
	}
	return keys, nil
}
