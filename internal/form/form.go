// Package form reads the members of a request into an operation's input and names every fault in them.
//
// HTTP and MCP take the same members: a name in JSON is the name in the struct's
// tag, exactly. A value that is refused is never repeated in the message, because
// a secret typed into a wrong place must not come back.
package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/edit"
)

// Parse reads one JSON object. An empty text is an empty object.
func Parse(text []byte) (map[string]any, error) {
	if len(text) <= quickMost {
		if members, ok := parseQuick(string(text)); ok {
			return members, nil
		}
	}
	return parse(text)
}

// parse is Parse for every text.
func parse(text []byte) (map[string]any, error) {
	members := map[string]any{}
	if len(bytes.TrimSpace(text)) == 0 {
		return members, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&members); err != nil || members == nil {
		return nil, unreadable(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, purser.Errorf(purser.InvalidRequest, "something follows the JSON object")
	}
	if name, twice := repeated(json.NewDecoder(bytes.NewReader(text))); twice {
		return nil, purser.Errorf(purser.InvalidRequest, "%s stands twice in one object", shorten(name))
	}
	return members, nil
}

// repeated finds a name that stands twice in one object of a JSON text: readers differ
// in which of the two they take (RFC 7493, section 2.3).
func repeated(d *json.Decoder) (name string, twice bool) {
	t, err := d.Token()
	open, _ := t.(json.Delim)
	if err != nil || open != '{' && open != '[' {
		return "", false
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			t, _ := d.Token()
			name, _ := t.(string)
			if seen[name] {
				return name, true
			}
			seen[name] = true
		}
		if name, twice := repeated(d); twice {
			return name, true
		}
	}
	_, _ = d.Token() // the end, as it was read before
	return "", false
}

// unreadable says where JSON breaks off, without repeating it.
func unreadable(err error) *purser.Error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return purser.Errorf(purser.InvalidRequest, "the JSON cannot be read at byte %d", syntax.Offset)
	}
	return purser.Errorf(purser.InvalidRequest, "the request is not one whole JSON object")
}

// Fill makes a value of type t, a struct, from members as Parse gives them.
// Unknown and missing members and wrong types are invalid_request, all at once.
func Fill(t reflect.Type, members map[string]any) (any, error) {
	var c checker
	c.object("", members, t)
	if len(c.faults) > 0 {
		return nil, c.err()
	}
	in := reflect.New(t).Elem()
	if err := shapeOf(t).object(in, members); err != nil {
		return nil, err
	}
	return in.Interface(), nil
}

// viaJSON puts a value into its place as encoding/json does.
func viaJSON(to reflect.Value, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("reading members: %w", err)
	}
	if err := json.Unmarshal(text, to.Addr().Interface()); err != nil {
		return purser.Errorf(purser.InvalidRequest, "a member has a wrong form").WithCause(err)
	}
	return nil
}

// Text turns the text of a path or a query into the member it stands for: a
// number or a boolean where t's member is one.
func Text(t reflect.Type, name, text string) any {
	m, ok := Members(t)[name]
	if !ok {
		return text
	}
	switch m.Type.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint8, reflect.Uint32:
		return json.Number(text)
	case reflect.Bool:
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	}
	return text
}

// checker walks members beside the type that they must fit.
type checker struct{ faults []string }

// faultLimit is how many faults one message names.
const faultLimit = 20

func (c *checker) fault(at, format string, args ...any) {
	c.faults = append(c.faults, strings.TrimSpace(at+" "+fmt.Sprintf(format, args...)))
}

func (c *checker) err() *purser.Error {
	more := ""
	if n := len(c.faults) - faultLimit; n > 0 {
		c.faults, more = c.faults[:faultLimit], fmt.Sprintf("; and %d more", n)
	}
	return purser.Errorf(purser.InvalidRequest, "%s%s", strings.Join(c.faults, "; "), more)
}

func (c *checker) object(at string, members map[string]any, t reflect.Type) {
	known := shapeOf(t)
	var few [16]string // most requests have no more
	given := few[:0]
	for name := range members {
		given = append(given, name)
	}
	slices.Sort(given)
	for _, name := range given {
		m, ok := known.members[name]
		switch {
		case !ok:
			c.fault(join(at, shorten(name)), "is not known%s", nearest(name, known.names))
		case members[name] == nil:
			delete(members, name) // null is the same as left out
		default:
			c.value(join(at, name), members[name], m.Type)
		}
	}
	for _, name := range known.needed {
		if _, given := members[name]; !given {
			c.fault(join(at, name), "is missing")
		}
	}
}

func (c *checker) value(at string, v any, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Struct:
		if m, ok := v.(map[string]any); ok {
			c.object(at, m, t)
			return
		}
		c.fault(at, "must be an object")
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			c.fault(at, "must be a list")
		}
		for i, e := range list {
			if text, plain := e.(string); plain && t.Elem().Kind() == reflect.String && canonical.Keepable(text) {
				continue
			}
			c.value(fmt.Sprintf("%s[%d]", at, i), e, t.Elem())
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			c.fault(at, "must be an object")
		}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			c.value(join(at, shorten(name)), m[name], t.Elem())
		}
	case reflect.Interface:
		c.free(at, v)
	default:
		c.scalar(at, v, t)
	}
}

// free checks members whose form the contract leaves to a provider.
func (c *checker) free(at string, v any) {
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err == nil && !canonical.Exact(n) || err != nil && !strings.ContainsAny(v.String(), ".eE") {
			c.fault(at, "is a number too large to be exact; write it as text")
		}
	case string:
		c.keepable(at, v)
	case []any:
		for i, e := range v {
			c.free(fmt.Sprintf("%s[%d]", at, i), e)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			c.free(join(at, shorten(name)), v[name])
		}
	}
}

func (c *checker) scalar(at string, v any, t reflect.Type) {
	switch t.Kind() {
	case reflect.String:
		text, ok := v.(string)
		if !ok {
			c.fault(at, "must be text")
		}
		c.keepable(at, text)
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			c.fault(at, "must be true or false")
		}
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(digits(v), 10, 64)
		switch {
		case err != nil:
			c.fault(at, "must be a whole number")
		case !canonical.Exact(n): // no record can say it
			c.fault(at, "is a number too large to be exact")
		}
	case reflect.Uint8, reflect.Uint32:
		if _, err := strconv.ParseUint(digits(v), 10, t.Bits()); err != nil {
			c.fault(at, "must be a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
		}
	default:
		c.fault(at, "cannot be given") // no input has such a type; a test walks them all
	}
}

func (c *checker) keepable(at, text string) {
	if !canonical.Keepable(text) {
		c.fault(at, "must be text without the character U+0000")
	}
}

// digits is the text of a number as JSON writes it, and empty for anything else:
// that of a path or a query may have a plus or zeros before it.
func digits(v any) string {
	n, _ := v.(json.Number)
	text := n.String()
	if d := strings.TrimPrefix(text, "-"); strings.HasPrefix(d, "+") || len(d) > 1 && d[0] == '0' {
		return ""
	}
	return text
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// shorten quotes a stranger's member name, and no more of it than helps.
func shorten(name string) string {
	if len(name) > 40 {
		name = strings.ToValidUTF8(name[:40], "") + "..."
	}
	return strings.Trim(strconv.QuoteToASCII(name), `"`)
}

// nearest names the known member that was probably meant.
func nearest(name string, known []string) string {
	if len(name) > 40 {
		return ""
	}
	best, least := "", 3 // further away is no help
	for _, k := range known {
		if d := edit.Distance(strings.ToLower(name), k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}
