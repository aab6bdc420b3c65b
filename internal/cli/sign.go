package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/act"
	"github.com/purser-dev/purser/internal/consent"
)

// consent asks the person at the terminal (RULES 1): for the passphrase, or, who
// has passkeys only, to sign in a browser.
func (s *session) consent(c *client.Client) consent.Consent {
	out := consent.Consent{Server: c, Passphrase: func(ctx context.Context, doc act.Document) ([]byte, error) {
		what := strings.ReplaceAll(doc.Operation, "_", " ")
		if doc.Decision != "" {
			what = doc.Decision + " this plan"
		}
		until := time.UnixMicro(doc.NotAfter).Local().Format("15:04:05")
		prompt := fmt.Sprintf("Passphrase, to %s at %s (until %s): ", what, doc.Origin, until)
		return s.askSecret(ctx, "\""+what+"\" loosens a control; it", prompt)
	}, Elsewhere: func(ctx context.Context, asked purser.Challenge) (*purser.Signature, error) {
		if plan, ok := strings.CutPrefix(asked.Link[strings.LastIndex(asked.Link, "/")+1:], purser.PrefixPlan+"_"); ok {
			return nil, s.decidedThere(ctx, c, purser.PrefixPlan+"_"+plan, asked)
		}
		return s.signedThere(ctx, c, asked)
	}}
	if s.signedAct != "" {
		out.Server = askedBefore{c, s.signedAct}
	}
	return out
}

// askedBefore is the question of an earlier start of the same command, which the
// person was sent to a page with.
type askedBefore struct {
	*client.Client
	nonce string
}

func (a askedBefore) AskAct(ctx context.Context, _ purser.AskAct) (purser.Challenge, error) {
	got, err := a.ShowAct(ctx, purser.ActRef{Nonce: a.nonce})
	return got.Challenge, err
}

// elsewhere is what a program gets that cannot wait: where the person signs, and
// how to go on.
type elsewhere struct {
	State  string    `json:"state"` // waiting
	Link   string    `json:"link"`
	Resume string    `json:"resume"` // the same command with --signed RESUME goes on
	Until  time.Time `json:"until"`
}

// sent tells the person where to sign. Under --json it ends the command, unless
// this is the start that waits.
func (s *session) sent(asked purser.Challenge, resume string) error {
	if s.json && s.signedAct == "" {
		no := purser.Errorf(purser.NeedsPerson, "a person must sign it in a browser, at %s", asked.Link).
			WithHint("then type the same command with --signed %s", resume)
		return &failure{error: no, data: elsewhere{"waiting", asked.Link, resume, asked.NotAfter}}
	}
	s.note("Open this page and sign with your passkey, until %s:", asked.NotAfter.Local().Format("15:04:05"))
	s.note("  %s", asked.Link)
	return nil
}

// waitEach is how long one question for the person's answer waits, in seconds.
const waitEach = 30

// signedThere waits for the signature that the person makes on a page. What was
// signed was compared with the request before.
func (s *session) signedThere(ctx context.Context, c *client.Client, asked purser.Challenge) (*purser.Signature, error) {
	if err := s.sent(asked, asked.Nonce); err != nil {
		return nil, err
	}
	for {
		got, err := c.ShowAct(ctx, purser.ActRef{Nonce: asked.Nonce, Wait: waitEach})
		switch {
		case err != nil:
			return nil, err
		case got.Signature != nil:
			return got.Signature, nil
		case got.State != "waiting":
			return nil, purser.Errorf(purser.NeedsPerson, "nobody signed it in time: it is %s", got.State).WithHint("type the same command again")
		}
	}
}

// errDecided ends an approval that a person gave, or refused, on the plan's page.
var errDecided = errors.New("the plan was decided on its page")

// decidedThere waits until the person decided a plan on its page: a yes, a no, or
// one of two yeses.
func (s *session) decidedThere(ctx context.Context, c *client.Client, id string, asked purser.Challenge) error {
	if err := s.sent(asked, id); err != nil {
		return err
	}
	before, wait := -1, 0
	for {
		plan, err := c.ShowPlan(ctx, purser.PlanRef{Plan: id, Wait: wait})
		if err != nil {
			return err
		}
		if plan.State != purser.PlanWaiting || before >= 0 && len(plan.Votes) > before {
			return errDecided
		}
		if before < 0 {
			before = len(plan.Votes)
		}
		if s.Now().After(plan.ExpiresAt) {
			return purser.Errorf(purser.PlanExpired, "nobody decided the plan in time").WithHint("make a new plan")
		}
		if plan.Needs <= 1 {
			wait = waitEach // the server answers when it was decided
			continue
		}
		// The first of two yeses decides nothing, so nothing waits for it.
		if err := s.pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// pause waits, unless the person interrupts.
func (s *session) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// signed does what always needs a person's signature: it signs the request, and
// then sends it.
func signed[In, Out any](ctx context.Context, s *session, c *client.Client, operation string, in In, put func(*In, *purser.Signature), call func(context.Context, In) (Out, error)) (Out, error) {
	var none Out
	signature, err := s.consent(c).Sign(ctx, operation, in)
	switch code := purser.CodeOf(err); {
	case err == nil:
	case slices.Contains([]purser.Code{purser.Forbidden, purser.NotFound, purser.InvalidRequest, purser.InvalidState}, code):
		// There is nothing to sign: only a person may ask, and for what is there. The operation
		// itself says why, puts the attempt on the record, and answers a key of before.
		out, said := call(ctx, in)
		if purser.CodeOf(said) == purser.NeedsPerson {
			said = err
		}
		return out, said
	default:
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
