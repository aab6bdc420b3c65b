package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/folder"
)

// toolCaller is the agent's one way to do anything: MCP.
type toolCaller interface {
	CallTool(ctx context.Context, in *mcp.CallToolParams) (*mcp.CallToolResult, error)
}

// uploader sends a folder's files, with the agent's own token.
type uploader interface {
	UploadBlobs(ctx context.Context, missing []string, open func(sha256 string) (io.ReadCloser, int64, error), progress func(bytes int64)) error
}

// Worker is the demo's agent. It runs in a process of its own and holds its
// token, the server's address and the path of the folder, and nothing else.
type Worker struct {
	Tools  toolCaller
	Upload uploader
	Site   string
	Domain string
	Env    string
	Out    io.Writer // one Event per line
}

// Work searches, plans, asks, and when the person said yes applies.
func (w Worker) Work(ctx context.Context) error {
	plan, err := w.work(ctx)
	if err == nil {
		return w.tell(Event{Event: "done", Plan: plan.ID, Text: fmt.Sprintf("applied %s: %d of %d orders live", plan.ID, live(plan), len(plan.Orders))})
	}
	e := Event{Event: "failed", Plan: plan.ID, Text: err.Error()}
	var known *purser.Error
	if errors.As(err, &known) {
		e.Error = known
	}
	return errors.Join(err, w.tell(e))
}

func (w Worker) work(ctx context.Context) (purser.Plan, error) {
	var found purser.List[purser.Service]
	if err := w.call(ctx, "search", purser.Search{Words: "static hosting"}, &found); err != nil {
		return purser.Plan{}, err
	}
	if err := w.did("searched the catalog: %d services fit; they are proposals, nothing was bought", len(found.Items)); err != nil {
		return purser.Plan{}, err
	}
	staged, err := w.stage(ctx)
	if err != nil {
		return purser.Plan{}, err
	}
	plan, err := w.plan(ctx, staged)
	if err != nil {
		return plan, err
	}
	return w.apply(ctx, plan)
}

func (w Worker) stage(ctx context.Context) (purser.Staged, error) {
	f, err := folder.Walk(ctx, w.Site)
	if err != nil {
		return purser.Staged{}, err
	}
	var staged purser.Staged
	if err := w.call(ctx, "stage", f.Stage(), &staged); err != nil {
		return staged, err
	}
	if len(staged.Missing) > 0 {
		if err := f.Send(ctx, w.Upload, staged.Missing); err != nil {
			return staged, fmt.Errorf("uploading the folder: %w", err)
		}
	}
	return staged, w.did("staged %d files, %d bytes; uploaded %d", staged.Files, staged.Bytes, len(staged.Missing))
}

func (w Worker) plan(ctx context.Context, staged purser.Staged) (purser.Plan, error) {
	var plan purser.Plan
	err := w.call(ctx, "plan", purser.MakePlan{
		Env: w.Env, Purpose: "take the folder live on " + w.Domain,
		Steps: []purser.StepRequest{
			{Service: "local/hosting:pro"},
			{Service: "local/registrar:domain", Configuration: map[string]any{"domain": w.Domain}},
			{Service: "local/hosting:static", Configuration: map[string]any{"domain": w.Domain}, Manifest: staged.Manifest},
		},
	}, &plan)
	if err != nil {
		return plan, err
	}
	return plan, w.did("planned %d steps as %s", len(plan.Terms.Steps), plan.ID)
}

// apply goes on as soon as the person has decided: a call for a plan that waits
// waits with it, at most for the time of one call, and is then made again.
func (w Worker) apply(ctx context.Context, plan purser.Plan) (purser.Plan, error) {
	id := plan.ID
	if plan.State == purser.PlanWaiting {
		if err := w.tell(Event{Event: "waits", Plan: id, Text: fmt.Sprintf("was told needs_approval; a person must decide %s", id)}); err != nil {
			return plan, err
		}
	}
	for {
		err := w.call(ctx, "apply", purser.Apply{Plan: id}, &plan)
		plan.ID = id
		switch {
		case purser.CodeOf(err) == purser.NeedsApproval && ctx.Err() == nil:
			if err := pause(ctx, 50*time.Millisecond); err != nil { // never a busy loop
				return plan, err
			}
		case err != nil:
			return plan, err
		case plan.State == purser.PlanDone:
			return plan, nil
		case plan.State == purser.PlanApplying:
		case plan.Error != nil:
			return plan, plan.Error
		default:
			return plan, purser.Errorf(purser.InvalidState, "plan %s is %s", id, plan.State)
		}
	}
}

// call uses one tool. A tool's error is data: it carries the code.
func (w Worker) call(ctx context.Context, tool string, in, out any) error {
	result, err := w.Tools.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: in})
	if err != nil {
		return fmt.Errorf("calling %s: %w", tool, err)
	}
	text, err := json.Marshal(result.StructuredContent)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", tool, err)
	}
	if result.IsError {
		told := &purser.Error{Code: purser.Internal, Detail: tool + " failed and did not say why"}
		if err := json.Unmarshal(text, told); err != nil {
			return fmt.Errorf("reading the error of %s: %w", tool, err)
		}
		return told
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", tool, err)
	}
	return nil
}

func (w Worker) did(format string, args ...any) error {
	return w.tell(Event{Event: "did", Text: fmt.Sprintf(format, args...)})
}

func (w Worker) tell(e Event) error {
	if err := json.NewEncoder(w.Out).Encode(e); err != nil {
		return fmt.Errorf("telling what was done: %w", err)
	}
	return nil
}

func live(plan purser.Plan) (n int) {
	for _, o := range plan.Orders {
		if o.State == purser.OrderLive {
			n++
		}
	}
	return n
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
