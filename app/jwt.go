package app

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Limits of the EdDSA signature (5.3).
const (
	maxTokenBytes = 8 << 10
	clockSkew     = 60 * time.Second
	tokenLife     = 300 * time.Second
	maxTokenLife  = 600
)

// Key is an orchestrator's Ed25519 signing key.
type Key struct {
	ID      string // kid
	Issuer  string // iss, may be empty
	Private ed25519.PrivateKey
}

// Claims are those of the EdDSA signature (5.3). The first four are required.
type Claims struct {
	Version int      `json:"version"`
	HTM     string   `json:"htm"`
	Digest  string   `json:"digest"`
	Exp     int64    `json:"exp"` // Unix seconds
	HTU     string   `json:"htu,omitempty"`
	Iat     int64    `json:"iat,omitempty"`
	Iss     string   `json:"iss,omitempty"`
	Aud     Audience `json:"aud,omitempty"`
	JTI     string   `json:"jti,omitempty"`
}

// Audience is a string or a list of them.
type Audience []string

// UnmarshalJSON reads a string or an array.
func (a *Audience) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*a = nil
		if one != "" {
			*a = Audience{one}
		}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(a))
}

// MarshalJSON writes one audience as a string.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// BodyDigest is base64url(SHA-256(body)); the empty body has one too.
func BodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// SignJWT signs claims as a compact JWS with alg EdDSA.
func SignJWT(k Key, claims Claims) (string, error) {
	head, err := encode(struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		Kid string `json:"kid"`
	}{"EdDSA", "JWT", k.ID})
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	body, err := encode(claims)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	b64 := base64.RawURLEncoding
	signed := b64.EncodeToString(head) + "." + b64.EncodeToString(body)
	return signed + "." + b64.EncodeToString(ed25519.Sign(k.Private, []byte(signed))), nil
}

// token signs one request for the V2 header.
func (s *Signer) token(method, target, audience string, body []byte) (string, error) {
	jti, err := Random(s.random, "")
	if err != nil {
		return "", err
	}
	now := s.now()
	claims := Claims{
		Version: 1, HTM: method, Digest: BodyDigest(body), Exp: now.Add(tokenLife).Unix(), Iat: now.Unix(),
		HTU: target, Iss: s.key.Issuer, JTI: jti,
	}
	if audience != "" {
		claims.Aud = Audience{audience}
	}
	return SignJWT(*s.key, claims)
}

// Expected is what a V2 token is held against.
type Expected struct {
	Method   string
	URL      string // the request's public URL; htu is compared with scheme, host and path
	Issuer   string // compared when set and claimed
	Audience string // the provider's base_url
	Body     []byte
	Now      time.Time

	// Seen remembers a jti until a time and tells whether it was there; nil: not checked.
	Seen func(jti string, until time.Time) bool
}

// VerifyJWT checks a V2 token (5.3) against the key that find gives for its kid.
func VerifyJWT(token string, find func(kid string) (ed25519.PublicKey, bool), want Expected) (Claims, error) {
	if len(token) > maxTokenBytes {
		return Claims{}, errors.New("verifying token: longer than 8 KiB")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Claims{}, errors.New("verifying token: not three parts")
	}
	var raw [3][]byte
	for i, part := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			return Claims{}, errors.New("verifying token: not base64url")
		}
		raw[i] = b
	}
	kid, err := joseKid(raw[0])
	if err != nil {
		return Claims{}, err
	}
	key, ok := find(kid)
	if !ok || len(key) != ed25519.PublicKeySize {
		return Claims{}, errors.New("verifying token: unknown key")
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), raw[2]) {
		return Claims{}, errors.New("verifying token: wrong signature")
	}
	var claims Claims
	if err := json.Unmarshal(raw[1], &claims); err != nil {
		return Claims{}, errors.New("verifying token: claims are not readable")
	}
	return claims, claims.check(want)
}

func joseKid(raw []byte) (string, error) {
	head, err := Object(raw)
	if err != nil {
		return "", errors.New("verifying token: header is not readable")
	}
	if stringOf(head["alg"]) != "EdDSA" {
		return "", errors.New("verifying token: alg is not EdDSA")
	}
	if head["typ"] != nil && stringOf(head["typ"]) != "JWT" {
		return "", errors.New("verifying token: typ is not JWT")
	}
	if head["crit"] != nil {
		return "", errors.New("verifying token: crit is refused")
	}
	return stringOf(head["kid"]), nil
}

func (c Claims) check(want Expected) error {
	now := want.Now.Unix()
	skew := int64(clockSkew / time.Second)
	switch {
	case c.Version != 1:
		return errors.New("verifying token: version is not 1")
	case c.HTM != strings.ToUpper(want.Method):
		return errors.New("verifying token: other method")
	case subtle.ConstantTimeCompare([]byte(c.Digest), []byte(BodyDigest(want.Body))) != 1:
		return errors.New("verifying token: other body")
	case c.Exp <= now-skew:
		return errors.New("verifying token: expired")
	case c.HTU != "" && !sameTarget(c.HTU, want.URL):
		return errors.New("verifying token: other target")
	case c.Iat != 0 && (c.Iat > now+skew || c.Exp-c.Iat > maxTokenLife):
		return errors.New("verifying token: issue time")
	case c.Iss != "" && want.Issuer != "" && c.Iss != want.Issuer:
		return errors.New("verifying token: other issuer")
	case len(c.Aud) > 0 && want.Audience != "" && !slices.Contains(c.Aud, want.Audience):
		return errors.New("verifying token: other audience")
	case c.JTI != "" && want.Seen != nil && want.Seen(c.JTI, time.Unix(c.Exp, 0).Add(clockSkew)):
		return errors.New("verifying token: used before")
	}
	return nil
}

// sameTarget compares scheme, host without default port, and path.
func sameTarget(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	if errA != nil || errB != nil {
		return false
	}
	return strings.EqualFold(ua.Scheme, ub.Scheme) && hostOf(ua) == hostOf(ub) && pathOf(ua) == pathOf(ub)
}

func hostOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch strings.ToLower(u.Scheme) {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

func pathOf(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
