package seller

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/app"
)

// memory is a vault without a database.
type memory struct {
	mu   sync.Mutex
	kept []byte
	down bool
}

var errDown = errors.New("no database")

func (m *memory) Load(context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return nil, errDown
	}
	return bytes.Clone(m.kept), nil
}

func (m *memory) Save(_ context.Context, old, fresh []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !bytes.Equal(m.kept, old) {
		return false, nil
	}
	m.kept = bytes.Clone(fresh)
	return true, nil
}

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newKeys(t *testing.T, v Vault, c *clock) *Keys {
	t.Helper()
	k, err := OpenKeys(t.Context(), v, c.now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAKeyIsPublishedTenMinutesBeforeItSignsAndUntilItsTokensAreOver(t *testing.T) {
	c, v := &clock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, &memory{}
	k := newKeys(t, v, c)
	published := func(id string) bool {
		for _, p := range k.Public() {
			if p.ID == id {
				return true
			}
		}
		return false
	}
	if k.signing(c.at, "o") != nil || len(k.Public()) != 1 {
		t.Fatalf("at the start: signs %v, %d published", k.signing(c.at, "o"), len(k.Public()))
	}
	first := k.Public()[0].ID
	c.at = c.at.Add(publishFirst - time.Second)
	if k.signing(c.at, "o") != nil {
		t.Error("it signs before ten minutes are over")
	}
	c.at = c.at.Add(time.Second)
	if key := k.signing(c.at, "o"); key == nil || key.ID != first {
		t.Fatalf("after ten minutes %v signs", key)
	}
	// Over four months, minute by minute when the key changes: whoever signs was
	// published for ten minutes, and stays published while a token of it may be alive.
	since, signed, second := map[string]time.Time{first: c.at.Add(-publishFirst)}, map[string]time.Time{}, ""
	for began := c.at; c.at.Sub(began) < 120*24*time.Hour; {
		step := time.Hour
		if age := c.at.Sub(began); age > signingLife-time.Hour && age < signingLife+2*time.Hour {
			step = time.Minute
		}
		c.at = c.at.Add(step)
		for _, p := range k.Public() {
			if since[p.ID].IsZero() {
				since[p.ID] = c.at
			}
		}
		key := k.signing(c.at, "o")
		if key == nil || c.at.Sub(since[key.ID]) < publishFirst {
			t.Fatalf("at %v %v signs", c.at, key)
		}
		if key.ID != first {
			second = key.ID
		}
		signed[key.ID] = c.at
		for id, last := range signed {
			if c.at.Sub(last) < 10*time.Minute && !published(id) {
				t.Fatalf("at %v a key that signed at %v is gone", c.at, last)
			}
		}
	}
	if second == "" || published(first) {
		t.Errorf("after four months: second %q, the first still published: %v", second, published(first))
	}
}

func TestTwoReplicasHaveTheSameKeys(t *testing.T) {
	c, v := &clock{time.Now()}, &memory{}
	all := make([]*Keys, 8)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			k, err := OpenKeys(t.Context(), v, c.now, rand.Reader)
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = k
		})
	}
	wg.Wait()
	for _, k := range all {
		if k.Public()[0].ID != all[0].Public()[0].ID {
			t.Error("two replicas have different keys")
		}
	}
	v.down = true
	c.at = c.at.Add(time.Hour)
	if all[0].signing(c.at, "o") == nil {
		t.Error("without the database nothing signs")
	}
}

func TestAnAssertionIsWhatRFC7523WantsAndItsKeyVerifiesIt(t *testing.T) {
	c := &clock{time.Now()}
	k := newKeys(t, &memory{}, c)
	seen := map[string]bool{}
	for range 3 {
		token, err := k.Assertion("https://us.example/c.json", "https://p.example/token", c.at)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		var head, claims map[string]any
		for i, to := range []*map[string]any{&head, &claims} {
			raw, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err != nil || json.Unmarshal(raw, to) != nil {
				t.Fatalf("part %d of %q", i, token)
			}
		}
		set, err := k.JWKS()
		if err != nil || head["alg"] != "ES256" || head["kid"] != set[0].ID {
			t.Fatalf("head %v, set %v (%v)", head, set, err)
		}
		life := claims["exp"].(float64) - claims["iat"].(float64)
		if claims["iss"] != "https://us.example/c.json" || claims["sub"] != claims["iss"] || claims["aud"] != "https://p.example/token" || life <= 0 || life > 300 {
			t.Errorf("claims %v", claims)
		}
		if jti := claims["jti"].(string); jti == "" || seen[jti] {
			t.Errorf("the jti %q is not new", jti)
		} else {
			seen[jti] = true
		}
		coordinate := func(s string) []byte {
			raw, err := base64.RawURLEncoding.DecodeString(s)
			if err != nil || len(raw) != 32 {
				t.Fatalf("a coordinate of %d bytes (%v)", len(raw), err)
			}
			return raw
		}
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil || len(signature) != 64 {
			t.Fatalf("the signature has %d bytes (%v)", len(signature), err)
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, coordinate(set[0].X)...), coordinate(set[0].Y)...))
		if err != nil {
			t.Fatal(err)
		}
		if !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			t.Error("the published key does not verify it")
		}
	}
}

func TestEachCallCarriesTheSecondSignatureOnceAKeyMaySign(t *testing.T) {
	c := &clock{time.Now()}
	k := newKeys(t, &memory{}, c)
	headers := []map[string][]string{}
	p, s := script(t, recording(&headers))
	s.cfg.Keys, s.cfg.Now = k, c.now
	get := func() string {
		if _, err := s.Get(t.Context(), p, secretOf("t"), "r"); err != nil {
			t.Fatal(err)
		}
		return first(headers[len(headers)-1][app.HeaderSignatureV2])
	}
	if got := get(); got != "" {
		t.Errorf("a key signs that was just published: %q", got)
	}
	c.at = c.at.Add(publishFirst)
	token := get()
	x, err := base64.RawURLEncoding.DecodeString(k.Public()[0].X)
	if err != nil {
		t.Fatal(err)
	}
	find := func(kid string) (ed25519.PublicKey, bool) { return x, kid == k.Public()[0].ID }
	claims, err := app.VerifyJWT(token, find, app.Expected{
		Method: "GET", URL: p.Manifest.BaseURL + "provisioning/resources/r", Audience: p.Manifest.BaseURL, Issuer: s.cfg.Origin(), Now: c.at,
	})
	if err != nil || claims.Iss != s.cfg.Origin() {
		t.Errorf("claims %+v (%v)", claims, err)
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
