// Package seal keeps secrets: a value that does not print, a box that encrypts at rest, and tokens of which only hashes are stored.
package seal

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const hidden = "[secret]"

// A Secret is text that shows as [secret] wherever it is printed, logged or
// marshalled. Only Reveal gives it away, which is easy to search for. The zero
// Secret is empty.
type Secret struct {
	// A pointer, because fmt does not call the methods of an unexported field: it
	// prints what it finds there, and of a pointer it finds the address.
	text *string
}

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text. Each call is a place where a secret can leave.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is nothing to hide.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Equal compares in a time that does not depend on where the texts differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// Format writes [secret] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String returns [secret].
func (s Secret) String() string { return hidden }

// LogValue logs [secret].
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText writes [secret].
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON writes "[secret]".
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// UnmarshalText takes the text in, for requests and settings that carry a
// secret. It refuses "[secret]": that text was a secret once and was lost when
// it was written.
func (s *Secret) UnmarshalText(text []byte) error {
	if string(text) == hidden {
		return errors.New("reading a secret: this one was hidden when it was written")
	}
	*s = NewSecret(string(text))
	return nil
}
