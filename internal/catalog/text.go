package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Caps on a provider's words, in bytes (DESIGN 10). What is cut ends with an ellipsis.
const (
	maxDescription = 1000
	maxOfferText   = 600
	maxName        = 120
)

// Plain makes a provider's words safe to show: valid UTF-8, at most limit bytes and
// the ellipsis, every control and every invisible or direction-turning character a
// space. It changes nothing else and understands nothing: a sentence that gives
// orders stays a sentence (drill j).
func Plain(text string, limit int) string {
	cut := len(text) > limit
	if cut {
		text = strings.ToValidUTF8(text[:limit], "") // the last character may be cut in two
	}
	text = strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
	if cut {
		text += "…"
	}
	return text
}

// Digest names a provider's whole text, so that a change is seen even behind the cap.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fold makes words comparable: without case and without accents.
func fold(text string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(text) {
		if !unicode.Is(unicode.Mn, r) {
			b.WriteRune(unicode.ToLower(unicode.ToUpper(r)))
		}
	}
	return b.String()
}

// words cuts folded text into words of letters and digits.
func words(text string) []string {
	return strings.FieldsFunc(fold(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
