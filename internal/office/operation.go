package office

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/oauth"
)

// Operation joins one operation of the contract with the method that does it.
// The doors walk the list of them and know nothing more.
type Operation struct {
	purser.Operation
	In, Out reflect.Type
	Instead string // what whoever may not call it is told to do, where that is not plain
	// Do runs it; in is a value of type In. Errors that are safe to show are
	// *purser.Error; anything else is shown as internal.
	Do func(ctx context.Context, by purser.Actor, in any) (any, error)
}

// On makes an Operation from a method and its name in purser.Operations.
// A name that is not there is a fault of the program.
func On[In, Out any](name string, do func(context.Context, purser.Actor, In) (Out, error), instead ...string) Operation {
	at := slices.IndexFunc(purser.Operations(), func(op purser.Operation) bool { return op.Name == name })
	if at < 0 {
		panic("office: no operation is called " + name)
	}
	op := Operation{
		Operation: purser.Operations()[at], In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](), Instead: strings.Join(instead, "; "),
	}
	op.Do = func(ctx context.Context, by purser.Actor, in any) (any, error) {
		if err := admit(op, by); err != nil {
			return nil, err
		}
		if !op.Spends() { // which look at each of their members themselves
			if member, why := odd(reflect.ValueOf(in), mostOf(op.Operation)); why != "" {
				return nil, purser.Errorf(purser.InvalidRequest, "%s: %s", member, why)
			}
		}
		return do(ctx, by, in.(In))
	}
	return op
}

// mostText is the longest text of a request, in bytes: a record repeats some of them
// and holds few of that length. A provider's manifest is longer.
const (
	mostText     = 16 << 10
	mostManifest = 1 << 20
)

func mostOf(op purser.Operation) int {
	if op.Name == "add_provider" || op.Name == "ask_act" { // which is asked of it too
		return mostManifest
	}
	return mostText
}

// odd finds a text or a number in a request that no database or no record takes, so that
// whoever looks for it or writes it down need not ask. It says which member and why.
func odd(v reflect.Value, most int) (member, why string) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); len(s) > most || !canonical.Keepable(s) || !utf8.ValidString(s) {
			why = fmt.Sprintf("a text of UTF-8 without NUL, of at most %d bytes", most)
		}
	case reflect.Int, reflect.Int64:
		if !canonical.Exact(v.Int()) {
			why = fmt.Sprintf("a number of at most %d", int64(canonical.MaxInteger))
		}
	case reflect.Pointer, reflect.Interface:
		return odd(v.Elem(), most)
	case reflect.Struct:
		for i := 0; i < v.NumField() && why == ""; i++ {
			if !v.Field(i).CanInterface() { // not of the request
				continue
			}
			if member, why = odd(v.Field(i), most); why != "" && member == "" {
				member, _, _ = strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			}
		}
	case reflect.Slice:
		for i := 0; v.Type().Elem().Kind() != reflect.Uint8 && i < v.Len() && why == ""; i++ {
			member, why = odd(v.Index(i), most)
		}
	case reflect.Map:
		for each := v.MapRange(); why == "" && each.Next(); {
			if member, why = odd(each.Key(), most); why == "" {
				member, why = odd(each.Value(), most)
			}
		}
	}
	return member, why
}

// admit checks who may call an operation. What a person must sign is checked by
// the operation itself, in its deciding turn.
func admit(op Operation, by purser.Actor) error {
	switch {
	case op.Who == purser.Anyone:
		return nil
	case by.Ended != nil && !op.Spends():
		return by.Ended
	case by.Kind == "":
		return purser.Errorf(purser.NotSignedIn, "%s needs a credential", op.Name).WithHint("purser login")
	case by.Kind == purser.Agent && op.Loosens && op.Who != purser.Agents:
		return purser.Errorf(purser.SelfApproval, "an agent's credential never satisfies %s", op.Name).
			WithHint("ask the person behind the run")
	case by.Kind == purser.Agent && !mayUse(by.Scope, op.Operation):
		return purser.Errorf(purser.Forbidden, "the client was connected to read only, and %s does more", op.Name).
			WithHint("connect it again, with the scope spend")
	case (op.Who == purser.Agents || op.Who == purser.Bearers) && (by.Kind == purser.Agent || by.Kind == purser.Person),
		(op.Spends() || op.Who == purser.Bearers) && by.Kind == purser.Platform,
		op.Spends() && by.Kind == purser.Agent,
		op.Who == purser.People && by.Kind == purser.Person,
		op.Who == purser.Providers && by.Kind == purser.Provider,
		op.Who == purser.MayApprove && by.Kind == purser.Person && by.Role != purser.Viewer,
		op.Who == purser.Owners && by.Kind == purser.Person && by.Role == purser.Owner:
		return nil
	}
	hint := op.Instead
	if hint == "" && op.Spends() && by.Kind == purser.Person {
		hint = "an agent does it, with its run's token in PURSER_TOKEN: purser run create --budget AMOUNT"
	}
	return purser.Errorf(purser.Forbidden, "this credential (%s) may not %s", by.Kind, op.Name).WithHint("%s", hint)
}

// mayUse reports whether the scopes of a connected client's token, if it has any,
// reach an operation. Whoever may do anything may stop.
func mayUse(scope string, op purser.Operation) bool {
	return scope == "" || op.Method == "GET" || op.Name == "stop" || op.Name == "end_run" || slices.Contains(strings.Fields(scope), oauth.ScopeSpend)
}
