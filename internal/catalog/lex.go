package catalog

import "strings"

// maxPriceText is the longest text, in bytes, that is read for prices. Real ones
// stay below 500; a longer one is prose, and prose has conditions.
const maxPriceText = 600

type tokenKind int

const (
	tokenNumber tokenKind = iota
	tokenWord
	tokenMark // one of $ € £ / , ; + ( ) : . -
)

type token struct {
	kind  tokenKind
	text  string
	glued bool // no space between this token and the one before
}

// lex cuts a price text into tokens. A character outside the small alphabet (a
// dash of a range, a tilde, letters of another script) makes the text unreadable:
// what is not understood could change the price.
func lex(text string) ([]token, bool) {
	if len(text) > maxPriceText {
		return nil, false
	}
	var tokens []token
	for i, glued := 0, false; i < len(text); {
		if text[i] == ' ' {
			i, glued = i+1, false
			continue
		}
		t, ok := next(text[i:])
		if !ok {
			return nil, false
		}
		t.glued = glued
		tokens = append(tokens, t)
		i, glued = i+len(t.text), true
	}
	return tokens, true
}

func next(s string) (token, bool) {
	switch c := s[0]; {
	case isDigit(c):
		n := len(s) - len(strings.TrimLeft(s, "0123456789.,"))
		return token{kind: tokenNumber, text: strings.TrimRight(s[:n], ".,")}, true
	case isLetter(c):
		n := 1
		for n < len(s) && isLetter(s[n]) {
			n++
		}
		return token{kind: tokenWord, text: s[:n]}, true
	case strings.IndexByte("$/,;+():.-", c) >= 0:
		return token{kind: tokenMark, text: s[:1]}, true
	}
	for _, sign := range []string{"€", "£"} {
		if strings.HasPrefix(s, sign) {
			return token{kind: tokenMark, text: sign}, true
		}
	}
	return token{}, false
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// decimal is a number as written: "1,250.50" is whole "1250", fraction "50", grouped.
type decimal struct {
	whole, fraction string
	grouped         bool
}

const (
	maxWholeDigits    = 12
	maxFractionDigits = 9
)

// readDecimal refuses what two readers could read differently: "1.000" (one, or a
// thousand), "1,00" (one, or a typing error), "007", and figures beyond any price.
func readDecimal(s string) (decimal, bool) {
	whole, fraction, dotted := strings.Cut(s, ".")
	groups := strings.Split(whole, ",")
	for i, g := range groups {
		if !allDigits(g) || i > 0 && len(g) != 3 || i == 0 && len(groups) > 1 && (len(g) > 3 || g[0] == '0') {
			return decimal{}, false
		}
	}
	whole = strings.Join(groups, "")
	switch {
	case len(whole) > maxWholeDigits || len(fraction) > maxFractionDigits:
		return decimal{}, false
	case len(whole) > 1 && whole[0] == '0':
		return decimal{}, false
	case dotted && !allDigits(fraction):
		return decimal{}, false
	case len(fraction) == 3 && whole != "0":
		return decimal{}, false
	}
	return decimal{whole, fraction, len(groups) > 1}, true
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// String gives plain decimal text, without group separators.
func (d decimal) String() string {
	if d.fraction == "" {
		return d.whole
	}
	return d.whole + "." + d.fraction
}
