package provider

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // hashes of the algorithms below
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/app"
)

// assertionType is the only form of client assertion (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Limits of an assertion (15.3).
const (
	assertionLife = 300
	assertionSkew = 30
)

// assertion is a parsed client assertion.
type assertion struct {
	alg, kid  string
	signed    string
	signature []byte
	claims    struct {
		Iss string       `json:"iss"`
		Sub string       `json:"sub"`
		Aud app.Audience `json:"aud"`
		Exp int64        `json:"exp"`
		Iat int64        `json:"iat"`
		JTI string       `json:"jti"`
	}
}

func parseAssertion(token string) (a assertion, err error) {
	parts := strings.Split(token, ".")
	if len(token) > 8<<10 || len(parts) != 3 {
		return a, errors.New("the assertion is not a compact JWS")
	}
	var raw [3][]byte
	for i, part := range parts {
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return a, errors.New("the assertion is not base64url")
		}
	}
	head, err := app.Object(raw[0])
	if err != nil || head["crit"] != nil || json.Unmarshal(raw[1], &a.claims) != nil {
		return a, errors.New("the assertion is not readable")
	}
	_ = json.Unmarshal(head["alg"], &a.alg)
	_ = json.Unmarshal(head["kid"], &a.kid)
	a.signed, a.signature = parts[0]+"."+parts[1], raw[2]
	return a, nil
}

// assert proves a confidential client. The assertion is used up by it, wherever it
// was sent (15.3).
func (p *Provider) assert(ctx context.Context, known *partner, kind, token string) error {
	if kind != assertionType || token == "" {
		return errors.New("a client assertion is needed")
	}
	a, err := parseAssertion(token)
	if err != nil {
		return err
	}
	if err := p.checkClaims(a, known.Document.ClientID); err != nil {
		return err
	}
	keys, err := p.partners.keys(ctx, p, known.Document.JWKSURI, false)
	if err != nil {
		return err
	}
	key, ok := choose(keys, a)
	if !ok {
		if keys, err = p.partners.keys(ctx, p, known.Document.JWKSURI, true); err != nil {
			return err
		}
		if key, ok = choose(keys, a); !ok {
			return errors.New("the assertion is signed by an unknown key")
		}
	}
	if !key.verifies(a) {
		return errors.New("the assertion has a wrong signature")
	}
	return p.cfg.Store.Update(ctx, func(tx Tx) error {
		id := "jti/" + known.Name + "/" + hash(a.claims.JTI)
		var used stamp
		found, err := get(tx, id, &used)
		if err != nil {
			return err
		}
		if found {
			return errors.New("the assertion was used before")
		}
		now := p.cfg.Now()
		return put(tx, id, stamp{now}, now.Add((assertionLife+2*assertionSkew)*time.Second))
	})
}

func (p *Provider) checkClaims(a assertion, clientID string) error {
	c, now := a.claims, p.cfg.Now().Unix()
	switch {
	case c.Iss == "" || c.Sub == "" || len(c.Aud) == 0 || c.Exp == 0 || c.Iat == 0 || c.JTI == "":
		return errors.New("the assertion lacks one of exp, iat, iss, sub, aud, jti")
	case c.Iss != clientID || c.Sub != clientID:
		return errors.New("the assertion is of another client")
	case !slices.Contains(c.Aud, p.cfg.Generic.Issuer) && !slices.Contains(c.Aud, p.cfg.Manifest.OAuthTokenEndpoint):
		return errors.New("the assertion is for another audience")
	case c.Exp-c.Iat > assertionLife || c.Exp < c.Iat:
		return errors.New("the assertion lives too long")
	case now > c.Exp+assertionSkew || c.Iat > now+assertionSkew:
		return errors.New("the assertion is expired or from the future")
	}
	return nil
}

// jwk is a public key of a client.
type jwk struct {
	KID string `json:"kid"`
	KTY string `json:"kty"`
	Alg string `json:"alg"`
	Use string `json:"use"`
	N   string `json:"n"`
	E   string `json:"e"`
	CRV string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`

	rsa *rsa.PublicKey
	ec  *ecdsa.PublicKey
}

// choose picks the key of an assertion; several keys need a kid.
func choose(keys []jwk, a assertion) (jwk, bool) {
	if a.kid == "" {
		if len(keys) == 1 {
			return keys[0], true
		}
		return jwk{}, false
	}
	for _, k := range keys {
		if k.KID == a.kid {
			return k, true
		}
	}
	return jwk{}, false
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// read decodes the numbers of a key; false: it is none that is used here.
func (k *jwk) read() bool {
	number := func(s string) *big.Int {
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(raw) == 0 {
			return nil
		}
		return new(big.Int).SetBytes(raw)
	}
	switch k.KTY {
	case "RSA":
		n, e := number(k.N), number(k.E)
		if n == nil || e == nil || n.BitLen() < 2048 || n.BitLen() > 8192 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
			return false
		}
		k.rsa = &rsa.PublicKey{N: n, E: int(e.Int64())}
		return true
	case "EC":
		curve := curves[k.CRV]
		x, errX := base64.RawURLEncoding.DecodeString(k.X)
		y, errY := base64.RawURLEncoding.DecodeString(k.Y)
		if curve == nil || errX != nil || errY != nil {
			return false
		}
		size := (curve.Params().BitSize + 7) / 8
		if len(x) != size || len(y) != size {
			return false
		}
		key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y)) // refuses a point off the curve
		k.ec = key
		return err == nil
	}
	return false
}

var (
	hashes   = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}
	ecCurves = map[string]elliptic.Curve{"256": elliptic.P256(), "384": elliptic.P384(), "512": elliptic.P521()}
)

// verifies checks a signature by RS, PS or ES 256, 384 or 512, and by nothing else.
func (k jwk) verifies(a assertion) bool {
	if len(a.alg) != 5 || (k.Alg != "" && k.Alg != a.alg) {
		return false
	}
	family, bits := a.alg[:2], a.alg[2:]
	h, ok := hashes[bits]
	if !ok {
		return false
	}
	digest := h.New()
	digest.Write([]byte(a.signed))
	sum := digest.Sum(nil)
	switch {
	case family == "RS" && k.rsa != nil:
		return rsa.VerifyPKCS1v15(k.rsa, h, sum, a.signature) == nil
	case family == "PS" && k.rsa != nil:
		return rsa.VerifyPSS(k.rsa, h, sum, a.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case family == "ES" && k.ec != nil && k.ec.Curve == ecCurves[bits]:
		size := (k.ec.Curve.Params().BitSize + 7) / 8
		if len(a.signature) != 2*size {
			return false
		}
		return ecdsa.Verify(k.ec, sum, new(big.Int).SetBytes(a.signature[:size]), new(big.Int).SetBytes(a.signature[size:]))
	}
	return false
}

// partners keeps the key sets of clients: an hour, a failure for 60 s, and one
// forced look for an unknown kid per 60 s (15.3).
type partners struct {
	mu   sync.Mutex
	sets map[string]keySet
}

type keySet struct {
	keys    []jwk
	err     error
	fetched time.Time
	until   time.Time
}

func (s *partners) keys(ctx context.Context, p *Provider, target string, force bool) ([]jwk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := p.cfg.Now()
	set, known := s.sets[target]
	if known && now.Before(set.until) && (!force || now.Sub(set.fetched) < time.Minute) {
		return set.keys, set.err
	}
	set = keySet{fetched: now, until: now.Add(documentLife)}
	if set.keys, set.err = p.fetchKeys(ctx, target); set.err != nil {
		set.until = now.Add(time.Minute)
	}
	if s.sets == nil || len(s.sets) > 1000 { // forgotten is only slower
		s.sets = map[string]keySet{}
	}
	s.sets[target] = set
	return set.keys, set.err
}

func (p *Provider) fetchKeys(ctx context.Context, target string) ([]jwk, error) {
	raw, _, err := p.fetch(ctx, target, maxJWKS)
	if err != nil {
		return nil, errors.New("the key set could not be fetched")
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil || len(set.Keys) == 0 || len(set.Keys) > maxJWKSKeys {
		return nil, errors.New("the key set is not one of 1 to 10 keys")
	}
	usable := set.Keys[:0]
	for _, k := range set.Keys {
		if k.Use != "enc" && k.read() {
			usable = append(usable, k)
		}
	}
	return usable, nil
}
