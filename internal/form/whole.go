package form

import "reflect"

// Whole returns v with each nil list made an empty one where its member is
// always written, so that readers find [] and not null. v itself stays as it is.
func Whole(v any) any {
	if v == nil {
		return nil
	}
	out := reflect.New(reflect.TypeOf(v)).Elem()
	out.Set(reflect.ValueOf(v))
	complete(out)
	return out.Interface()
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
