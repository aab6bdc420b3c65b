package mcpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
)

// asksForProgress reports whether a request may want notices before its answer, which
// takes a stream; every other is answered in one piece of JSON. The body is read and
// put back.
func asksForProgress(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	// One byte more than the limit, so that the handler refuses what is too large.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit+1))
	rest := io.Reader(bytes.NewReader(body))
	if err != nil {
		rest = io.MultiReader(rest, failing{err})
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{rest, r.Body}
	return bytes.Contains(body, []byte(`"progressToken"`))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// slow lists the tools that wait: for a person, a provider or the end of a plan.
var slow = map[string]bool{
	"apply": true, "add": true, "deploy": true, "link": true, "show_plan": true, "update": true, "upgrade": true, "downgrade": true, "rotate": true,
}

// report tells an agent, while a call of it waits, what happens in its run: that a
// person decided, each order as it goes on. It tells only who asked to be told, by a
// progress token. The call that it returns ends it.
func (t *tool) report(ctx context.Context, req *mcp.CallToolRequest) (silence func()) {
	from, _ := ctx.Value(callerOf{}).(caller)
	token := req.Params.GetProgressToken()
	if t.events == nil || token == nil || !slow[t.op.Name] || from.actor.Ended != nil || from.actor.Kind != purser.Agent {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() {
		said := 0.0
		tell := func(text string) error {
			said++
			return req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: said, Message: text})
		}
		// What cannot be told is in the answer as well.
		_ = t.events(ctx, from.actor, purser.AskEvents{After: -1}, func(events []purser.Event, _ int64) error {
			if len(events) == 0 {
				return tell("waiting") // so that a client with little patience sees that we live
			}
			for _, e := range events {
				if err := tell(fmt.Sprintf("%s %s: %s", e.Action, e.Target, e.Outcome)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return func() {
		cancel()
		told.Wait()
	}
}
