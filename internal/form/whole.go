package form

import (
	"reflect"
	"slices"
	"sync"
)

// Whole returns v with each nil list made an empty one where its member is
// always written, so that readers find [] and not null. v itself stays as it is.
func Whole(v any) any {
	if v == nil || !mayLack(reflect.TypeOf(v)) {
		return v
	}
	out := reflect.New(reflect.TypeOf(v)).Elem()
	out.Set(reflect.ValueOf(v))
	complete(out)
	return out.Interface()
}

// lacking are the types that were asked for, and whether a list can be nil in them.
var lacking sync.Map // reflect.Type to bool

func mayLack(t reflect.Type) bool {
	if lacks, ok := lacking.Load(t); ok {
		return lacks.(bool)
	}
	lacks := holdsList(t, nil)
	lacking.Store(t, lacks)
	return lacks
}

// holdsList reports whether complete has something to do in a value of type t, which
// is within the others.
func holdsList(t reflect.Type, within []reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return true
	case reflect.Pointer:
		return t.Elem().Kind() == reflect.Struct && holdsList(t.Elem(), within)
	case reflect.Struct:
		if slices.Contains(within, t) {
			return false
		}
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && holdsList(f.Type, append(within, t)) {
				return true
			}
		}
	}
	return false
}

func complete(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				complete(v.Field(i))
			}
		}
	case reflect.Pointer:
		if !v.IsNil() && v.Elem().Kind() == reflect.Struct {
			to := reflect.New(v.Type().Elem())
			to.Elem().Set(v.Elem())
			complete(to.Elem())
			v.Set(to)
		}
	case reflect.Slice:
		// A copy, because the caller's list may be shared with others.
		to := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(to, v)
		for i := range to.Len() {
			complete(to.Index(i))
		}
		v.Set(to)
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}
