package form

import (
	"encoding/json"
	"unicode/utf8"
)

// quickMost is the longest text that is read by parseQuick, because what it returns
// keeps all of the text in memory.
const quickMost = 4 << 10

// parseQuick reads the JSON that programs send most: text without escapes, whole
// numbers, true, false and null, in lists and objects that are not deep. ok is false
// for all else, right or wrong, and encoding/json says which.
func parseQuick(text string) (members map[string]any, ok bool) {
	q := quick{rest: text}
	if q.space() != '{' {
		return nil, false
	}
	v, ok := q.value(8)
	if !ok || q.space() != 0 || q.rest != "" {
		return nil, false
	}
	return v.(map[string]any), true
}

// quick is what is left to read.
type quick struct{ rest string }

// space skips white space and returns the byte after it, 0 at the end.
func (q *quick) space() byte {
	for i := range len(q.rest) {
		switch q.rest[i] {
		case ' ', '\n', '\r', '\t':
		default:
			q.rest = q.rest[i:]
			return q.rest[0]
		}
	}
	q.rest = ""
	return 0
}

// take skips one byte after white space, if it is c.
func (q *quick) take(c byte) bool {
	if q.space() != c {
		return false
	}
	q.rest = q.rest[1:]
	return true
}

func (q *quick) value(deep int) (any, bool) {
	switch c := q.space(); {
	case c == '"':
		return boxed(q.text())
	case c == '-' || '0' <= c && c <= '9':
		return q.number()
	case c == '{' && deep > 0:
		return q.object(deep - 1)
	case c == '[' && deep > 0:
		return q.list(deep - 1)
	case c == 't':
		return true, q.word("true")
	case c == 'f':
		return false, q.word("false")
	case c == 'n':
		return nil, q.word("null")
	}
	return nil, false
}

func boxed(text string, ok bool) (any, bool) { return text, ok }

func (q *quick) word(w string) bool {
	if len(q.rest) < len(w) || q.rest[:len(w)] != w {
		return false
	}
	q.rest = q.rest[len(w):]
	return true
}

// text reads what is within quotes.
func (q *quick) text() (string, bool) {
	ascii := true
	for i := 1; i < len(q.rest); i++ {
		switch c := q.rest[i]; {
		case c == '"':
			text := q.rest[1:i]
			q.rest = q.rest[i+1:]
			return text, ascii || utf8.ValidString(text)
		case c == '\\' || c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", false
}

// number reads a whole number. A byte after it that would make it another is no
// comma and no bracket, so that it is refused there.
func (q *quick) number() (any, bool) {
	first := 0
	if q.rest[0] == '-' {
		first = 1
	}
	end := first
	for end < len(q.rest) && '0' <= q.rest[end] && q.rest[end] <= '9' {
		end++
	}
	if end == first || q.rest[first] == '0' && end > first+1 {
		return nil, false
	}
	n := json.Number(q.rest[:end])
	q.rest = q.rest[end:]
	return n, true
}

func (q *quick) object(deep int) (any, bool) {
	members := map[string]any{}
	q.take('{')
	if q.take('}') {
		return members, true
	}
	for q.space() == '"' {
		name, ok := q.text()
		if !ok || !q.take(':') {
			break
		}
		v, ok := q.value(deep)
		if _, twice := members[name]; !ok || twice {
			break
		}
		members[name] = v
		if q.take('}') {
			return members, true
		}
		if !q.take(',') {
			break
		}
	}
	return nil, false
}

func (q *quick) list(deep int) (any, bool) {
	list := []any{}
	q.take('[')
	if q.take(']') {
		return list, true
	}
	for {
		v, ok := q.value(deep)
		if !ok {
			return nil, false
		}
		list = append(list, v)
		if q.take(']') {
			return list, true
		}
		if !q.take(',') {
			return nil, false
		}
	}
}
