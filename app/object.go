package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Object reads one JSON object, keeping its members raw: they share raw's memory.
// Explicit nulls are dropped, since null means absent (section 1, rule 2). Member names
// are compared exactly, unlike encoding/json's struct fields; of equal ones the last
// counts.
func Object(raw []byte) (map[string]json.RawMessage, error) {
	if !json.Valid(raw) {
		var members map[string]json.RawMessage
		return nil, fmt.Errorf("reading object: %w", json.Unmarshal(raw, &members))
	}
	raw = bytes.TrimLeft(raw, space)
	if raw[0] != '{' {
		return nil, errors.New("reading object: the value is none")
	}
	members := make(map[string]json.RawMessage, 8)
	for rest := bytes.TrimLeft(raw[1:], space); rest[0] != '}'; {
		name, after := value(rest)
		key, err := memberName(name)
		if err != nil {
			return nil, err
		}
		after = bytes.TrimLeft(after, space)[1:] // the colon
		member, after := value(bytes.TrimLeft(after, space))
		if string(member) == "null" {
			delete(members, key) // as absent as if the earlier one had been null
		} else {
			members[key] = member
		}
		if rest = bytes.TrimLeft(after, space); rest[0] == ',' {
			rest = bytes.TrimLeft(rest[1:], space)
		}
	}
	return members, nil
}

const space = " \t\r\n"

// memberName is a name as encoding/json would read it.
func memberName(quoted []byte) (string, error) {
	plain := quoted[1 : len(quoted)-1]
	for _, c := range plain {
		if c == '\\' || c >= 0x80 { // escapes, and UTF-8 that may be none
			var name string
			err := json.Unmarshal(quoted, &name)
			return name, err
		}
	}
	return string(plain), nil
}

// value cuts the value that valid JSON begins with from what follows.
func value(raw []byte) (value, rest []byte) {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			if quoted = !quoted; !quoted && depth == 0 {
				return raw[:i+1], raw[i+1:]
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth == 0 { // the end of what a number or a word stood in
				return bytes.TrimRight(raw[:i], space), raw[i:]
			}
			if depth--; depth == 0 {
				return raw[:i+1], raw[i+1:]
			}
		case c == ',' && depth == 0:
			return bytes.TrimRight(raw[:i], space), raw[i:]
		}
	}
	return raw, nil
}
