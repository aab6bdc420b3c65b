package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/consent"
)

// consent asks the person at the terminal (RULES 1).
func (s *session) consent(c *client.Client) consent.Consent {
	return consent.Consent{Server: c, Passphrase: func(ctx context.Context, doc act.Document) ([]byte, error) {
		what := strings.ReplaceAll(doc.Operation, "_", " ")
		if doc.Decision != "" {
			what = doc.Decision + " this plan"
		}
		until := time.UnixMicro(doc.NotAfter).Local().Format("15:04:05")
		prompt := fmt.Sprintf("Passphrase, to %s at %s (until %s): ", what, doc.Origin, until)
		return s.askSecret(ctx, "\""+what+"\" loosens a control; it", prompt)
	}}
}

// signed does what always needs a person's signature: it signs the request, and
// then sends it.
func signed[In, Out any](ctx context.Context, s *session, c *client.Client, operation string, in In, put func(*In, *purser.Signature), call func(context.Context, In) (Out, error)) (Out, error) {
	var none Out
	signature, err := s.consent(c).Sign(ctx, operation, in)
	switch {
	case purser.CodeOf(err) == purser.Forbidden:
		// Only a person may ask what to sign. The operation itself says why in the
		// right words, and puts the attempt on the record.
		return call(ctx, in)
	case err != nil:
		return none, err
	}
	put(&in, signature)
	return call(ctx, in)
}

// signedIfAsked first tries without a signature: lowering a limit or using what
// an agent's run allows needs none.
func signedIfAsked[In, Out any](ctx context.Context, s *session, c *client.Client, operation string, in In, put func(*In, *purser.Signature), call func(context.Context, In) (Out, error)) (Out, error) {
	out, err := call(ctx, in)
	if purser.CodeOf(err) != purser.NeedsPerson {
		return out, err
	}
	return signed(ctx, s, c, operation, in, put, call)
}
