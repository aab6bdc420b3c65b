package seal

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Kind is the prefix of a token. It tells a reader, and a scanner of leaked
// text, whose token was found; what the token may do stands in the database only.
type Kind string

// The kinds of tokens.
const (
	AgentToken    Kind = "pur_agt_"
	PersonToken   Kind = "pur_per_"
	ProviderToken Kind = "pur_prv_"
	SessionToken  Kind = "pur_ses_" // in a cookie of a browser, and nowhere else
	PlatformToken Kind = "pur_plt_"
	// What leads to a token, and is none.
	GrantCode    Kind = "pur_cod_" // an authorization code
	RefreshToken Kind = "pur_ref_" // of a client's grant
	DeviceCode   Kind = "pur_dev_" // of a device that signs in
	ClientSecret Kind = "pur_cli_" // of a client that registered
)

var kinds = []Kind{AgentToken, PersonToken, ProviderToken, PlatformToken, SessionToken, GrantCode, RefreshToken, DeviceCode, ClientSecret}

const tokenBytes = 32 // 256 bits: a stored SHA-256 needs no salt and no stretching

var (
	tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

	// ErrToken is for text that is not a token of a known kind.
	ErrToken = errors.New("this is not a token")
)

// NewToken makes a token of 256 random bits: the kind and 52 lower-case letters
// and digits.
func NewToken(kind Kind, random io.Reader) (Secret, error) {
	if !kind.known() {
		return Secret{}, fmt.Errorf("making a token: %w: kind %q", ErrToken, kind)
	}
	var b [tokenBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Secret{}, fmt.Errorf("making a token: %w", err)
	}
	return NewSecret(string(kind) + tokenText.EncodeToString(b[:])), nil
}

// ParseToken returns the kind of what a caller sent, ErrToken if it cannot be a
// token. It exists to refuse rubbish before the database is asked.
func ParseToken(sent string) (Kind, error) {
	if len(sent) < len(AgentToken) {
		return "", ErrToken
	}
	kind, rest := Kind(sent[:len(AgentToken)]), sent[len(AgentToken):]
	b, err := tokenText.DecodeString(rest)
	// Encoding again refuses line breaks and stray last bits, which decoding forgives.
	if !kind.known() || err != nil || len(b) != tokenBytes || tokenText.EncodeToString(b) != rest {
		return "", ErrToken
	}
	return kind, nil
}

func (k Kind) known() bool { return slices.Contains(kinds, k) }

// HashToken returns the SHA-256 (32 bytes) that is stored and looked up instead of the token.
func HashToken(token Secret) []byte {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return sum[:]
}

// TokenMatches compares a token with a stored hash in constant time.
func TokenMatches(token Secret, hash []byte) bool {
	return subtle.ConstantTimeCompare(HashToken(token), hash) == 1
}

// Redact replaces each token in text by its prefix and [secret], for text that
// comes from outside and goes to a log.
func Redact(text string) string {
	for _, kind := range kinds {
		parts := strings.Split(text, string(kind))
		for i, part := range parts[1:] {
			rest := strings.TrimLeft(part, "abcdefghijklmnopqrstuvwxyz234567")
			if rest != part {
				parts[i+1] = hidden + rest
			}
		}
		text = strings.Join(parts, string(kind))
	}
	return text
}
