package office

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/oauth"
)

// Operation joins one operation of the contract with the method that does it.
// The doors walk the list of them and know nothing more.
type Operation struct {
	purser.Operation
	In, Out reflect.Type
	// Do runs it; in is a value of type In. Errors that are safe to show are
	// *purser.Error; anything else is shown as internal.
	Do func(ctx context.Context, by purser.Actor, in any) (any, error)
}

// On makes an Operation from a method and its name in purser.Operations.
// A name that is not there is a fault of the program.
func On[In, Out any](name string, do func(context.Context, purser.Actor, In) (Out, error)) Operation {
	for _, op := range purser.Operations() {
		if op.Name == name {
			return Operation{
				Operation: op, In: reflect.TypeFor[In](), Out: reflect.TypeFor[Out](),
				Do: func(ctx context.Context, by purser.Actor, in any) (any, error) {
					if err := admit(op, by); err != nil {
						return nil, err
					}
					return do(ctx, by, in.(In))
				},
			}
		}
	}
	panic("office: no operation is called " + name)
}

// admit checks who may call an operation. What a person must sign is checked by
// the operation itself, in its deciding turn.
func admit(op purser.Operation, by purser.Actor) error {
	switch {
	case op.Who == purser.Anyone:
		return nil
	case by.Kind == "":
		return purser.Errorf(purser.NotSignedIn, "%s needs a credential", op.Name).WithHint("purser login")
	case by.Kind == purser.Agent && op.Loosens && op.Who != purser.Agents:
		return purser.Errorf(purser.SelfApproval, "an agent's credential never satisfies %s", op.Name).
			WithHint("ask the person behind the run")
	case by.Kind == purser.Agent && !mayUse(by.Scope, op):
		return purser.Errorf(purser.Forbidden, "the client was connected to read only, and %s does more", op.Name).
			WithHint("connect it again, with the scope spend")
	case op.Who == purser.Agents && (by.Kind == purser.Agent || by.Kind == purser.Person),
		op.Spends() && (by.Kind == purser.Agent || by.Kind == purser.Platform),
		op.Who == purser.People && by.Kind == purser.Person,
		op.Who == purser.Providers && by.Kind == purser.Provider,
		op.Who == purser.MayApprove && by.Kind == purser.Person && by.Role != purser.Viewer,
		op.Who == purser.Owners && by.Kind == purser.Person && by.Role == purser.Owner:
		return nil
	}
	return purser.Errorf(purser.Forbidden, "this credential (%s) may not %s", by.Kind, op.Name)
}

// mayUse reports whether the scopes of a connected client's token, if it has any,
// reach an operation. Whoever may do anything may stop.
func mayUse(scope string, op purser.Operation) bool {
	return scope == "" || op.Method == "GET" || op.Name == "stop" || op.Name == "end_run" || slices.Contains(strings.Fields(scope), oauth.ScopeSpend)
}
