package app

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
)

// Challenge is the S256 challenge of a PKCE verifier (RFC 7636, 4.2).
func Challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Answers tells, in constant time, whether verifier answers an S256 challenge.
func Answers(challenge, verifier string) bool {
	return subtle.ConstantTimeCompare([]byte(challenge), []byte(Challenge(verifier))) == 1
}

// ValidChallenge tells whether s has the form of a challenge or verifier: 43 to
// 128 characters of [A-Za-z0-9_-] (9.1).
func ValidChallenge(s string) bool {
	return len(s) >= 43 && len(s) <= 128 && urlSafe(s)
}

// ValidState tells whether s may be a confirmation secret or an OAuth state (9.1).
func ValidState(s string) bool { return s != "" && len(s) <= 256 && urlSafe(s) }

func urlSafe(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// Random is prefix followed by 256 random bits as base64url: a verifier, a
// confirmation secret, an id. A nil source is the system's.
func Random(source io.Reader, prefix string) (string, error) {
	if source == nil {
		source = rand.Reader
	}
	var b [32]byte
	if _, err := io.ReadFull(source, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(b[:]), nil
}
