package mcpapi

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
)

// waiter is an office in which apply waits until a decision comes, and whose events
// are those of the decision.
type waiter struct {
	*doortest.Office
	decided chan struct{}
	watched chan purser.Actor
	told    chan struct{} // closed when the decision was told
	left    sync.WaitGroup
}

func (w *waiter) Operations() []office.Operation {
	ops := w.Office.Operations()
	for i, op := range ops {
		if op.Name == "apply" {
			ops[i] = office.On("apply", func(ctx context.Context, _ purser.Actor, in purser.Apply) (purser.Plan, error) {
				select {
				case <-w.decided:
					<-w.told // the work that follows lasts longer
					return purser.Plan{ID: in.Plan, State: purser.PlanDone}, nil
				case <-ctx.Done():
					return purser.Plan{}, ctx.Err()
				}
			})
		}
	}
	return ops
}

func (w *waiter) events(ctx context.Context, by purser.Actor, _ purser.AskEvents, f func([]purser.Event, int64) error) error {
	w.left.Add(1)
	defer w.left.Done()
	if err := f(nil, 1); err != nil {
		return err
	}
	w.watched <- by
	select {
	case <-w.decided:
	case <-ctx.Done():
		return nil
	}
	err := f([]purser.Event{{Seq: 2, Action: "approve", Target: "pln_1", Outcome: "accepted", Run: by.Run}, {Seq: 3, Action: "apply", Target: "pln_1", Outcome: "accepted"}}, 3)
	close(w.told)
	<-ctx.Done() // until it is silenced
	return err
}

// The SDK's own client hears, before the answer, what happens; and nothing after it.
func TestACallThatWaitsTellsItsProgress(t *testing.T) {
	w := &waiter{Office: &doortest.Office{}, decided: make(chan struct{}), watched: make(chan purser.Actor, 1), told: make(chan struct{})}
	g, err := gate.New(gate.Config{Authenticator: w, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(chan string, 100)
	door := g.Wrap(New(Config{Operations: w.Operations(), Gate: g, Version: "test", Random: rand.Reader, Events: w.events}))
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		door.ServeHTTP(rw, r)
		kinds <- rw.Header().Get("Content-Type")
	}))
	defer s.Close()
	said := make(chan string, 100)
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { said <- r.Params.Message },
	})
	session, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: s.URL, HTTPClient: &http.Client{Transport: bearer(doortest.Agent)}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	hear := func(want string) {
		t.Helper()
		select {
		case got := <-said:
			if got != want {
				t.Errorf("it says %q, not %q", got, want)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("nothing is said of %q", want)
		}
	}
	type answer struct {
		result *mcp.CallToolResult
		err    error
	}
	call := func(token bool) chan answer {
		params := &mcp.CallToolParams{Name: "apply", Arguments: map[string]any{"plan": "pln_1"}}
		if token {
			params.SetProgressToken("p1")
		}
		done := make(chan answer, 1)
		go func() {
			result, err := session.CallTool(t.Context(), params)
			done <- answer{result, err}
		}()
		return done
	}
	done := call(true)
	hear("waiting") // while nobody has decided
	if by := <-w.watched; by.Run != "run_1" {
		t.Errorf("it watches as %+v", by)
	}
	close(w.decided)
	hear("approve pln_1: accepted")
	hear("apply pln_1: accepted")
	got := <-done
	if got.err != nil || got.result.IsError || !strings.Contains(got.result.Content[0].(*mcp.TextContent).Text, `"state":"done"`) {
		t.Fatalf("%+v %v", got.result, got.err)
	}
	w.left.Wait() // whoever watched for the call has gone with it
	got = <-call(false)
	if got.err != nil || got.result.IsError {
		t.Fatalf("%+v %v", got.result, got.err)
	}
	if len(said) != 0 || len(w.watched) != 0 {
		t.Errorf("it says %q to one who did not ask", <-said)
	}
	_ = session.Close()
	s.Close() // once each answer has left, the door has said what it was
	streams := 0
	for len(kinds) > 0 {
		if kind := <-kinds; kind == "text/event-stream" {
			streams++
		}
	}
	if streams != 1 {
		t.Errorf("%d answers were streams, of one call that asked for it", streams)
	}
}

func TestABodyIsPutBackWhole(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want bool
	}{
		"one that asks":     {`{"params":{"_meta":{"progressToken":1}}}`, true},
		"one that does not": {`{"params":{}}`, false},
		"none":              {"", false},
		"one too large":     {strings.Repeat("x", bodyLimit+10), false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(c.body))
		if got := asksForProgress(httptest.NewRecorder(), r); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		back, err := io.ReadAll(r.Body)
		if len(c.body) <= bodyLimit && (err != nil || string(back) != c.body) {
			t.Errorf("%s: %d bytes of %d come back, %v", name, len(back), len(c.body), err)
		}
		if len(c.body) > bodyLimit && err == nil {
			t.Errorf("%s: nobody hears of it", name)
		}
	}
}
