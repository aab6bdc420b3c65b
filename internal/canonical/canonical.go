// Package canonical writes JSON in the one form of RFC 8785, so that equal values have equal bytes and equal digests.
//
// Only integers of at most 2^53-1 are numbers here: money and times are integers
// in Purser, and a float in something that is signed is a mistake.
package canonical

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxInteger is the largest magnitude of a number, 2^53-1 (RFC 7493 section 2.2):
	// every JSON reader, JavaScript included, reads it back exactly.
	MaxInteger = 1<<53 - 1

	// MaxDepth is how deep arrays and objects may nest. Deeper input is refused
	// instead of growing the stack with a stranger's text.
	MaxDepth = 128
)

// Exact reports whether every reader of JSON takes a number for what it is.
func Exact(n int64) bool { return -MaxInteger <= n && n <= MaxInteger }

// Keepable reports whether every database keeps a text of UTF-8: PostgreSQL keeps none with
// the character U+0000.
func Keepable(text string) bool { return strings.IndexByte(text, 0) < 0 }

// JSON marshals v with encoding/json and returns its canonical form. It refuses
// floats and exponents, integers beyond MaxInteger, text that is not UTF-8 and
// objects in which a key appears twice.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("marshalling: %w", err)
	}
	// encoding/json writes the six characters \ufffd for a byte that was not
	// UTF-8, and U+FFFD itself as it is. Without this refusal two different
	// strings would have one digest.
	return reform(b.Bytes(), true)
}

// Reform returns the canonical form of one JSON text, with the refusals of JSON.
// Reform of its own result changes nothing.
func Reform(raw []byte) ([]byte, error) {
	return reform(raw, false)
}

func reform(raw []byte, refuseReplacement bool) ([]byte, error) {
	p := parser{in: raw, refuseReplacement: refuseReplacement}
	out, err := p.value(make([]byte, 0, len(raw)), 0)
	if err != nil {
		return nil, fmt.Errorf("reforming JSON: %w", err)
	}
	p.space()
	if p.at < len(p.in) {
		return nil, fmt.Errorf("reforming JSON: %w", p.fault("something follows the value"))
	}
	return out, nil
}

// Digest returns "sha256:" and the lower-case hexadecimal SHA-256 of JSON(v).
func Digest(v any) (string, error) {
	b, err := JSON(v)
	if err != nil {
		return "", err
	}
	return DigestBytes(b), nil
}

// DigestBytes is Digest for bytes that are canonical already, or that are no JSON at all (a file).
func DigestBytes(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// A member is one name of an object with its value in canonical form.
type member struct {
	key   string
	value []byte
}

// object has read '{'. It appends the members in the order of RFC 8785 section 3.2.3.
func (p *parser) object(dst []byte, depth int) ([]byte, error) {
	var members []member
	for first := true; ; first = false {
		if p.next('}') {
			break
		}
		if !first && !p.next(',') {
			return nil, p.fault("expected , or }")
		}
		m, err := p.member(depth)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b member) int { return CompareUTF16(a.key, b.key) })
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			if members[i-1].key == m.key {
				return nil, p.fault(fmt.Sprintf("the key %q appears twice", m.key))
			}
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, m.key), ':')
		dst = append(dst, m.value...)
	}
	return append(dst, '}'), nil
}

func (p *parser) member(depth int) (member, error) {
	if !p.next('"') {
		return member{}, p.fault("expected a key")
	}
	key, err := p.text()
	if err != nil {
		return member{}, err
	}
	if !p.next(':') {
		return member{}, p.fault("expected :")
	}
	value, err := p.value(nil, depth)
	return member{key, value}, err
}

func (p *parser) array(dst []byte, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for first := true; ; first = false {
		if p.next(']') {
			return append(dst, ']'), nil
		}
		if !first {
			if !p.next(',') {
				return nil, p.fault("expected , or ]")
			}
			dst = append(dst, ',')
		}
		var err error
		if dst, err = p.value(dst, depth); err != nil {
			return nil, err
		}
	}
}
