package canonical

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Walk checks that raw is canonical already, byte for byte, without allocating,
// and calls visit for each member of the outer object (key without its quotes,
// as written) or element of the outer array (key nil). It stops at visit's error.
// A nil visit only checks. The slices are parts of raw.
//
// It exists beside Reform because the verifier reads a million records in seconds.
func Walk(raw []byte, visit func(key, value []byte) error) error {
	w := walker{in: raw, visit: visit}
	if err := w.value(0); err != nil {
		return err
	}
	if w.at != len(raw) {
		return w.fault("something follows the value")
	}
	return nil
}

type walker struct {
	in    []byte
	at    int
	visit func(key, value []byte) error
}

func (w *walker) fault(reason string) error {
	return fmt.Errorf("not canonical JSON at byte %d: %s", w.at, reason)
}

func (w *walker) take(c byte) bool {
	if w.at < len(w.in) && w.in[w.at] == c {
		w.at++
		return true
	}
	return false
}

func (w *walker) value(depth int) error {
	if w.at >= len(w.in) {
		return w.fault("expected a value")
	}
	if depth > MaxDepth {
		return w.fault("nested too deep")
	}
	switch w.in[w.at] {
	case '{':
		return w.members(depth+1, '}')
	case '[':
		return w.members(depth+1, ']')
	case '"':
		_, err := w.text()
		return err
	case 't':
		return w.word("true")
	case 'f':
		return w.word("false")
	case 'n':
		return w.word("null")
	}
	return w.integer()
}

func (w *walker) word(s string) error {
	if !bytes.HasPrefix(w.in[w.at:], []byte(s)) {
		return w.fault("expected a value")
	}
	w.at += len(s)
	return nil
}

func (w *walker) integer() error {
	n, err := integer(w.in[w.at:])
	if err != nil {
		return w.fault(err.Error())
	}
	if n == 2 && w.in[w.at] == '-' && w.in[w.at+1] == '0' {
		return w.fault("minus zero")
	}
	w.at += n
	return nil
}

// members walks an object or an array up to end.
func (w *walker) members(depth int, end byte) error {
	w.at++
	var last name
	for first := true; ; first = false {
		if w.take(end) {
			return nil
		}
		if !first && !w.take(',') {
			return w.fault("expected , or the end")
		}
		var key name
		if end == '}' {
			var err error
			if key, err = w.key(); err != nil {
				return err
			}
			if !first && !last.precedes(key) {
				return w.fault("a key out of order")
			}
			last = key
		}
		from := w.at
		if err := w.value(depth); err != nil {
			return err
		}
		if depth == 1 && w.visit != nil {
			if err := w.visit(key.written, w.in[from:w.at]); err != nil {
				return err
			}
		}
	}
}

func (w *walker) key() (name, error) {
	if w.at >= len(w.in) || w.in[w.at] != '"' {
		return name{}, w.fault("expected a key")
	}
	key, err := w.text()
	if err == nil && !w.take(':') {
		err = w.fault("expected :")
	}
	return key, err
}

// text returns what stands between the quotes.
func (w *walker) text() (name, error) {
	w.at++
	from, plain := w.at, true
	for w.at < len(w.in) {
		switch c := w.in[w.at]; {
		case c == '"':
			w.at++
			return name{w.in[from : w.at-1], plain}, nil
		case c == '\\':
			n := escapeLength(w.in[w.at:])
			if n == 0 {
				return name{}, w.fault("an escape that RFC 8785 writes otherwise")
			}
			plain = false
			w.at += n
		case c < 0x20:
			return name{}, w.fault("a control character that is not escaped")
		case c < utf8.RuneSelf:
			w.at++
		default:
			plain = false
			r, n := utf8.DecodeRune(w.in[w.at:])
			if r == utf8.RuneError && n == 1 {
				return name{}, w.fault("text that is not UTF-8")
			}
			w.at += n
		}
	}
	return name{}, w.fault("a string that does not end")
}

// escapeLength returns the length of the canonical escape at the start of in, or 0.
func escapeLength(in []byte) int {
	if len(in) >= 2 && bytes.IndexByte([]byte(`"\bfnrt`), in[1]) >= 0 {
		return 2
	}
	if len(in) < 6 || in[1] != 'u' || in[2] != '0' || in[3] != '0' || in[4] > '1' || in[4] < '0' {
		return 0
	}
	low := bytes.IndexByte([]byte("0123456789abcdef"), in[5])
	if low < 0 || shortEscape((in[4]-'0')<<4|byte(low)) != 0 {
		return 0
	}
	return 6
}

// A name is a string as written. It is plain if it has neither escapes nor
// letters beyond ASCII: then its bytes sort as its UTF-16 units do.
type name struct {
	written []byte
	plain   bool
}

// precedes reports whether a comes strictly before b.
func (a name) precedes(b name) bool {
	if a.plain && b.plain {
		return bytes.Compare(a.written, b.written) < 0
	}
	return CompareUTF16(decode(a.written), decode(b.written)) < 0
}

// decode takes the escapes out of a string that was walked already.
func decode(written []byte) string {
	p := parser{in: append(bytes.Clone(written), '"')}
	s, err := p.text()
	if err != nil {
		panic("canonical: walked text does not decode: " + err.Error())
	}
	return s
}
