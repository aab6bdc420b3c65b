package canonical

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A parser reads one JSON text (RFC 8259) from the left and never goes back.
type parser struct {
	in                []byte
	at                int
	refuseReplacement bool // see JSON
}

func (p *parser) fault(reason string) error {
	return fmt.Errorf("at byte %d: %s", p.at, reason)
}

func (p *parser) space() {
	for p.at < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.at]) >= 0 {
		p.at++
	}
}

// next skips space and takes c if it is there.
func (p *parser) next(c byte) bool {
	p.space()
	if p.at < len(p.in) && p.in[p.at] == c {
		p.at++
		return true
	}
	return false
}

// value appends the canonical form of the value that begins here.
func (p *parser) value(dst []byte, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, p.fault("nested too deep")
	}
	switch {
	case p.next('{'):
		return p.object(dst, depth+1)
	case p.next('['):
		return p.array(dst, depth+1)
	case p.next('"'):
		s, err := p.text()
		if err != nil {
			return nil, err
		}
		return AppendString(dst, s), nil
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(string(p.in[p.at:min(p.at+5, len(p.in))]), word) {
			p.at += len(word)
			return append(dst, word...), nil
		}
	}
	n, err := integer(p.in[p.at:])
	if err != nil {
		return nil, p.fault(err.Error())
	}
	number := p.in[p.at : p.at+n]
	p.at += n
	if string(number) == "-0" { // RFC 8785 section 3.2.2.3 writes minus zero as 0
		number = number[1:]
	}
	return append(dst, number...), nil
}

// integer returns the length of the integer at the start of in.
func integer(in []byte) (int, error) {
	i := 0
	if i < len(in) && in[i] == '-' {
		i++
	}
	first, n := i, int64(0)
	for ; i < len(in) && '0' <= in[i] && in[i] <= '9'; i++ {
		if n = n*10 + int64(in[i]-'0'); n > MaxInteger {
			return 0, fmt.Errorf("an integer beyond 2^53-1")
		}
	}
	switch {
	case i == first:
		return 0, fmt.Errorf("expected a value")
	case in[first] == '0' && i > first+1:
		return 0, fmt.Errorf("a number with a leading zero")
	case i < len(in) && (in[i] == '.' || in[i] == 'e' || in[i] == 'E'):
		return 0, fmt.Errorf("a number that is not a plain integer")
	}
	return i, nil
}

// text has read the opening quote. It returns the decoded string.
func (p *parser) text() (string, error) {
	var b strings.Builder
	for p.at < len(p.in) {
		switch c := p.in[p.at]; {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		case c < 0x20:
			return "", p.fault("a control character that is not escaped")
		default:
			r, n := utf8.DecodeRune(p.in[p.at:])
			if r == utf8.RuneError && n == 1 {
				return "", p.fault("text that is not UTF-8")
			}
			b.Write(p.in[p.at : p.at+n])
			p.at += n
		}
	}
	return "", p.fault("a string that does not end")
}

// escape reads \x, \uXXXX or a surrogate pair of two \uXXXX.
func (p *parser) escape() (rune, error) {
	if p.at+1 >= len(p.in) {
		return 0, p.fault("a string that does not end")
	}
	c := p.in[p.at+1]
	if c == 'u' {
		return p.unicodeEscape()
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return 0, p.fault("an unknown escape")
	}
	p.at += 2
	return rune("\"\\/\b\f\n\r\t"[i]), nil
}

func (p *parser) unicodeEscape() (rune, error) {
	r, ok := p.hex4()
	if !ok {
		return 0, p.fault("a \\u escape without four hexadecimal digits")
	}
	if r == utf8.RuneError && p.refuseReplacement {
		return 0, p.fault("text that is not UTF-8")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	low, ok := p.hex4()
	if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
		return pair, nil
	}
	return 0, p.fault("half of a surrogate pair")
}

// hex4 reads \uXXXX.
func (p *parser) hex4() (rune, bool) {
	if p.at+6 > len(p.in) || p.in[p.at] != '\\' || p.in[p.at+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range p.in[p.at+2 : p.at+6] {
		i := strings.IndexByte("0123456789abcdefABCDEF", c)
		if i < 0 {
			return 0, false
		}
		if i > 15 {
			i -= 6
		}
		r = r<<4 | rune(i)
	}
	p.at += 6
	return r, true
}

// AppendString writes s as RFC 8785 section 3.2.2.2 does: the two-character
// escapes where JSON has them, \u00xx in lower case for the other control
// characters, everything else as it is.
func AppendString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0 // of s; most texts have nothing to escape
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[done:i]...)
		done = i + 1
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else if short := shortEscape(c); short != 0 {
			dst = append(dst, '\\', short)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

// shortEscape returns the letter after the backslash for a control character that has one, or 0.
func shortEscape(c byte) byte {
	if i := strings.IndexByte("\b\f\n\r\t", c); i >= 0 {
		return "bfnrt"[i]
	}
	return 0
}

// CompareUTF16 orders two valid UTF-8 strings by their UTF-16 code units. It
// differs from the order of bytes only where a character above U+FFFF, whose
// units begin at D800, meets one between U+E000 and U+FFFF.
func CompareUTF16(a, b string) int {
	for a != "" && b != "" {
		ra, na := utf8.DecodeRuneInString(a)
		rb, nb := utf8.DecodeRuneInString(b)
		if ra != rb {
			if (ra > 0xffff) == (rb > 0xffff) {
				return cmp.Compare(ra, rb)
			}
			return cmp.Compare(firstUnit(ra), firstUnit(rb))
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b))
}

func firstUnit(r rune) rune {
	if high, _ := utf16.EncodeRune(r); high != utf8.RuneError {
		return high
	}
	return r
}
