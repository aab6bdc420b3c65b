package office

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/canonical"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// once does f in the organization's turn, and remembers the answer under the
// actor's idempotency key: the same key with the same request gets the same
// answer, with another request it is key_reused.
func once[In, Out any](ctx context.Context, o *Office, by purser.Actor, operation string, in In, f func(*store.Turn) (Out, error)) (out Out, err error) {
	hash, err := keyHash(by, operation, in)
	if err != nil {
		return out, err
	}
	decide := func(f func(*store.Turn) (Out, error)) error {
		return o.turn(ctx, by.Organization, func(t *store.Turn) error {
			out, err = onceIn(ctx, o, t, by, hash, func() (Out, error) { return f(t) })
			if purser.CodeOf(err) == purser.KeyReused { // a refusal as all others are: on the record
				err = o.refuse(t, recordOf(by, operation, targetOf(in)), asError(err))
			}
			return err
		})
	}
	undone := false
	err = decide(func(t *store.Turn) (Out, error) {
		out, err := f(t)
		var kept *store.Refused
		undone = err != nil && !errors.As(err, &kept)
		return out, err
	})
	if code := purser.CodeOf(err); undone && (spend.Sticky(code) || code.Info().Class == purser.ClassPerson) {
		// With its turn all that f had written was undone, as it must be; that it said no is
		// kept in another.
		no := asError(err)
		err = decide(func(t *store.Turn) (none Out, err error) {
			return none, o.refuse(t, recordOf(by, operation, targetOf(in)), no)
		})
	}
	return out, err
}

// targetOf is what a request is about, as far as it says so.
func targetOf(in any) string {
	members, err := requestOf(in)
	if err != nil {
		return ""
	}
	for _, name := range []string{"plan", "run", "resource", "hold", "stop", "project", "id"} {
		if id, ok := members[name].(string); ok && canName(id) {
			return id
		}
	}
	return ""
}

// onceIn is once inside a turn that was taken already.
func onceIn[Out any](ctx context.Context, o *Office, t *store.Turn, by purser.Actor, hash string, f func() (Out, error)) (out Out, err error) {
	if by.Key == "" {
		return f()
	}
	row, err := t.Key(ctx, db.KeyParams{Organization: t.Org, Principal: by.ID, Key: by.Key})
	switch {
	case err == nil:
		return replay[Out](o, t.Org, by, row, hash)
	case !missing(err):
		return out, fmt.Errorf("looking up the idempotency key: %w", err)
	}
	out, err = f()
	code := purser.Code("")
	if err != nil {
		if code = purser.CodeOf(err); !spend.Sticky(code) {
			return out, err
		}
	}
	if kept := o.keep(ctx, t, by, hash, code, out, err); kept != nil {
		return out, kept
	}
	return out, err
}

func (o *Office) keep(ctx context.Context, t *store.Turn, by purser.Actor, hash string, code purser.Code, out any, failed error) error {
	answer := toJSON(out)
	if failed != nil {
		answer = toJSON(asError(failed))
	}
	sealed, err := o.sealText(seal.NewSecret(answer), t.Org, "keys", by.ID+"/"+by.Key, "answer")
	if err != nil {
		return err
	}
	return t.InsertKey(ctx, db.InsertKeyParams{
		Organization: t.Org, Principal: by.ID, Key: by.Key, RequestHash: hash, Code: string(code), Answer: sealed, At: store.Micro(t.Now),
	})
}

func replay[Out any](o *Office, org string, by purser.Actor, row db.Key, hash string) (out Out, err error) {
	if row.RequestHash != hash {
		return out, purser.Errorf(purser.KeyReused, "the idempotency key %q was used for another request", by.Key).
			WithHint("use a new key for a new request")
	}
	answer, err := o.openText(row.Answer, org, "keys", by.ID+"/"+by.Key, "answer")
	if err != nil {
		return out, err
	}
	if row.Code != "" {
		var failed purser.Error
		if err := json.Unmarshal([]byte(answer.Reveal()), &failed); err != nil {
			return out, fmt.Errorf("reading a kept refusal: %w", err)
		}
		failed.Replay = true
		return out, &failed
	}
	if err := json.Unmarshal([]byte(answer.Reveal()), &out); err != nil {
		return out, fmt.Errorf("reading a kept answer: %w", err)
	}
	return out, nil
}

// keyHash is what a key stands for: the request, and the run it was made in, since
// an agent of one name may work in several.
func keyHash(by purser.Actor, operation string, in any) (string, error) {
	return requestHash(operation+" "+by.Run, in)
}

// requestHash is the SHA-256 of the operation and the canonical request (RULES 10).
func requestHash(operation string, in any) (string, error) {
	body, err := requestOf(in)
	if err != nil {
		return "", err
	}
	return canonical.Digest(map[string]any{"operation": operation, "request": body})
}

// requestOf is a request as a JSON object, without the signed act that goes with it.
func requestOf(in any) (map[string]any, error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("writing a request: %w", err)
	}
	var body map[string]any
	if err := decodeNumbers(raw, &body); err != nil {
		return nil, err
	}
	delete(body, "act")
	return body, nil
}

// asError finds the coded error that is to be shown or kept.
func asError(err error) *purser.Error {
	var e *purser.Error
	if ok := asCoded(err, &e); ok {
		return e
	}
	return purser.Errorf(purser.Internal, "a fault of the program")
}
