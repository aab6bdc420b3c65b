package mcpapi

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/gate"
)

// written counts what of an answer was flushed.
type written struct {
	http.ResponseWriter
	bytes, left int
}

func (w *written) Write(p []byte) (int, error) {
	w.bytes += len(p)
	return w.ResponseWriter.Write(p)
}

func (w *written) Flush() {
	w.ResponseWriter.(http.Flusher).Flush()
	w.left = w.bytes
}

type writtenKey struct{}

// A decision that is told here counts as told when its answer has left (RULES 21).
func TestAnAnswerIsSentWhenItHasLeft(t *testing.T) {
	o := &doortest.Office{}
	g, err := gate.New(gate.Config{Authenticator: o, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	type mark struct{}
	var decided, sent, early atomic.Int64
	operations := o.Operations()
	for i := range operations {
		do := operations[i].Do
		operations[i].Do = func(ctx context.Context, by purser.Actor, in any) (any, error) {
			if ctx.Value(mark{}) != nil {
				decided.Add(1)
			}
			return do(ctx, by, in)
		}
	}
	door := g.Wrap(New(Config{Operations: operations, Gate: g, Version: "test", Random: rand.Reader, Answering: func(ctx context.Context) (context.Context, func()) {
		w := ctx.Value(writtenKey{}).(*written)
		return context.WithValue(ctx, mark{}, true), func() {
			if w.bytes != w.left {
				early.Add(1)
			}
			sent.Add(1)
		}
	}}))
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &written{ResponseWriter: w}
		door.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), writtenKey{}, out)))
		asked.Add(1)
	}))
	session := dial(t, s.URL, doortest.Agent)
	for range 3 {
		if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "stop", Arguments: map[string]any{"scope": "run", "reason": "r"}}); err != nil {
			t.Fatal(err)
		}
	}
	_ = session.Close()
	s.Close() // after it, every request is over
	if decided.Load() != 3 || sent.Load() != asked.Load() || early.Load() != 0 {
		t.Errorf("%d decisions were marked; %d of %d answers were called sent, %d before they had left", decided.Load(), sent.Load(), asked.Load(), early.Load())
	}
}
