package form

import (
	"encoding"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Member is one member of an input.
type Member struct {
	Type     reflect.Type
	Optional bool

	index []int // of the field
	own   bool  // its type reads JSON in a way of its own
}

// Members lists a struct's members by their JSON names, embedded ones included.
// The map is everybody's: it is read only.
func Members(t reflect.Type) map[string]Member { return shapeOf(t).members }

// shape is what reflection finds about a struct.
type shape struct {
	members map[string]Member
	names   []string // of the members, sorted
	needed  []string // those of them that are not optional
	// fields says that each name stands for one field, which can be set.
	fields bool
}

// shapes are the shapes that were asked for, one for each struct of the contract.
var shapes sync.Map // reflect.Type to *shape

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s, _ := shapes.LoadOrStore(t, newShape(t))
	return s.(*shape)
}

func newShape(t reflect.Type) *shape {
	s := &shape{members: map[string]Member{}, fields: !readsJSON(t)}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || name == "" {
			continue
		}
		_, twice := s.members[name]
		if twice || f.Anonymous || behindPointer(t, f.Index) || strings.Contains(options, "string") {
			s.fields = false
		}
		s.members[name] = Member{f.Type, strings.Contains(options, "omitempty"), f.Index, own(f.Type)}
	}
	s.names = slices.Sorted(maps.Keys(s.members))
	for _, name := range s.names {
		if !s.members[name].Optional {
			s.needed = append(s.needed, name)
		}
	}
	return s
}

// behindPointer reports whether a field is of an embedded struct that may be nil.
func behindPointer(t reflect.Type, index []int) bool {
	for _, i := range index[:len(index)-1] {
		if t = t.Field(i).Type; t.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}

// own reports whether a type, or that of its elements, reads JSON by itself. What
// is within a struct says the struct's shape.
func own(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if readsJSON(t) {
			return true
		}
		t = t.Elem()
	}
	return t.Kind() != reflect.Struct && readsJSON(t)
}

func readsJSON(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// object puts members that were checked into their fields.
func (s *shape) object(to reflect.Value, members map[string]any) error {
	if !s.fields {
		return viaJSON(to, members)
	}
	for name, v := range members {
		m := s.members[name]
		place := to.FieldByIndex(m.index)
		var err error
		if m.own {
			err = viaJSON(place, v)
		} else {
			err = set(place, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// set puts one value that was checked into its place. It comes to the same as
// json.Marshal and json.Unmarshal, which it asks where the contract leaves the form
// to others.
func set(to reflect.Value, v any) error {
	switch to.Kind() {
	case reflect.String:
		to.SetString(replaced(v.(string)))
	case reflect.Bool:
		to.SetBool(v.(bool))
	case reflect.Int, reflect.Int64:
		n, err := v.(json.Number).Int64()
		to.SetInt(n)
		return err
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return set(to.Elem(), v)
	case reflect.Struct:
		return shapeOf(to.Type()).object(to, v.(map[string]any))
	case reflect.Slice:
		list := v.([]any)
		if list == nil {
			return nil
		}
		if words, ok := to.Addr().Interface().(*[]string); ok {
			*words = make([]string, len(list))
			for i, e := range list {
				(*words)[i] = replaced(e.(string))
			}
			return nil
		}
		to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
		for i, e := range list {
			if err := set(to.Index(i), e); err != nil {
				return err
			}
		}
	default:
		return viaJSON(to, v)
	}
	return nil
}

// replaced is text as JSON can hold it: each byte that is no UTF-8 becomes U+FFFD.
func replaced(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}
