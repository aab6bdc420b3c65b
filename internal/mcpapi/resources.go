package mcpapi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/form"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/office"
)

// listens is the first revision of MCP in which a server without sessions can tell
// of a change: one request, subscriptions/listen, is answered for as long as it is
// open. Before it, a subscription needs a session, which no server here has: who
// speaks an older revision waits with show_plan, or hears the progress of its call.
const listens = "2026-07-28"

// kind is something that an agent can read under an address of its own, and be told
// of when it changes.
type kind struct {
	prefix, name, description string
	operation                 string
	member                    string // of the operation's request, which takes the identifier
}

var kinds = []kind{
	{"purser://plans/", "plan", "A plan with its state: subscribe to it to be told when a person decided, and as it is applied.", "show_plan", "plan"},
	{"purser://runs/", "run", "Your run: its budget, its orders, when it ends. Subscribe to it to be told of all that happens in it.", "show_run", "run"},
}

// resources reads what has an address, and tells of its changes.
type resources struct {
	operations map[string]office.Operation
	events     Events
	server     *mcp.Server

	mu      sync.Mutex
	watches map[string]*watch // by address
}

// watch tells all who listen to one address.
type watch struct {
	ready   chan struct{} // closed when nothing is missed any more
	failed  error         // why nobody can be told; set before ready is closed
	end     context.CancelFunc
	callers map[*mcp.ServerSession]context.CancelFunc // ends the request that listens
}

func newResources(c Config) *resources {
	r := &resources{operations: map[string]office.Operation{}, events: c.Events, watches: map[string]*watch{}}
	for _, op := range c.Operations {
		r.operations[op.Name] = op
	}
	return r
}

// offer adds what can be read to the server.
func (r *resources) offer(server *mcp.Server) {
	r.server = server
	for _, k := range kinds {
		server.AddResourceTemplate(&mcp.ResourceTemplate{
			Name: k.name, Description: k.description, MIMEType: "application/json", URITemplate: k.prefix + "{" + k.member + "}",
		}, func(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			text, err := r.read(ctx, req.Params.URI)
			if err != nil {
				return nil, r.refusal(ctx, req.Params.URI, err)
			}
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: req.Params.URI, MIMEType: "application/json", Text: text}}}, nil
		})
	}
}

// refusal is an error with nothing in it but what may be shown.
func (r *resources) refusal(ctx context.Context, uri string, err error) error {
	e := gate.EntryOf(ctx).Fail(err)
	if e.Code == purser.NotFound {
		return mcp.ResourceNotFoundError(uri)
	}
	text := string(e.Code) + ": " + e.Detail
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return errors.New(text)
}

// named finds what an address names.
func named(uri string) (k kind, id string, err error) {
	for _, k := range kinds {
		if id, ok := strings.CutPrefix(uri, k.prefix); ok && id != "" && !strings.ContainsAny(id, "/?#") {
			return k, id, nil
		}
	}
	return kind{}, "", purser.Errorf(purser.NotFound, "there is nothing under this address")
}

// read does the operation that shows it, as the caller: who may not see it is told so.
func (r *resources) read(ctx context.Context, uri string) (string, error) {
	k, id, err := named(uri)
	if err != nil {
		return "", err
	}
	gate.EntryOf(ctx).Name(k.operation)
	from, ok := ctx.Value(callerOf{}).(caller)
	if !ok {
		return "", purser.Errorf(purser.NotSignedIn, "there is no credential")
	}
	op := r.operations[k.operation]
	in, err := form.Fill(op.In, map[string]any{k.member: id})
	if err != nil {
		return "", err
	}
	out, err := op.Do(ctx, from.actor, in)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(quoted{note, out})
	return string(text), err
}

// subscribe lets the caller be told of one address, if it may read it. It returns
// when no change can be missed any more.
func (r *resources) subscribe(ctx context.Context, req *mcp.SubscribeRequest) error {
	uri := req.Params.URI
	from, err := r.mayListen(ctx, req)
	if err != nil {
		return r.refusal(ctx, uri, err)
	}
	gate.EntryOf(ctx).Name("mcp_listen")
	r.mu.Lock()
	w := r.watches[uri]
	if w == nil {
		// It lives as long as anybody listens, so it hangs on no caller's request.
		watching, end := context.WithCancel(context.WithoutCancel(ctx))
		w = &watch{ready: make(chan struct{}), end: end, callers: map[*mcp.ServerSession]context.CancelFunc{}}
		r.watches[uri] = w
		go r.watch(watching, w, uri, from.actor)
	}
	w.callers[req.Session] = from.end
	r.mu.Unlock()
	select {
	case <-w.ready:
	case <-ctx.Done():
		r.leave(uri, req.Session)
		return ctx.Err()
	}
	if w.failed != nil {
		r.leave(uri, req.Session)
		return r.refusal(ctx, uri, w.failed)
	}
	return nil
}

func (r *resources) mayListen(ctx context.Context, req *mcp.SubscribeRequest) (caller, error) {
	from, _ := ctx.Value(callerOf{}).(caller)
	if about := req.Session.InitializeParams(); about == nil || about.ProtocolVersion < listens {
		return from, purser.Errorf(purser.InvalidRequest, "subscriptions need the revision %s of MCP", listens).
			WithHint("wait with show_plan, or send a progress token with apply")
	}
	_, err := r.read(ctx, req.Params.URI)
	return from, err
}

func (r *resources) unsubscribe(_ context.Context, req *mcp.UnsubscribeRequest) error {
	r.leave(req.Params.URI, req.Session)
	return nil
}

// leave takes a listener off; the last one ends the watch.
func (r *resources) leave(uri string, session *mcp.ServerSession) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.watches[uri]
	if w == nil {
		return
	}
	delete(w.callers, session)
	if len(w.callers) == 0 {
		w.end()
		delete(r.watches, uri)
	}
}

// watch tells of each change until nobody listens. When it can tell no more (the
// server leaves, a stop ended the agent), it ends the requests of all who listen.
func (r *resources) watch(ctx context.Context, w *watch, uri string, by purser.Actor) {
	k, id, _ := named(uri)
	told := sync.OnceFunc(func() { close(w.ready) })
	err := r.events(ctx, by, purser.AskEvents{After: -1}, func(events []purser.Event, _ int64) error {
		told()
		for _, e := range events {
			if k.concerns(id, by, e) {
				return r.server.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: uri})
			}
		}
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	w.failed = err
	told()
	w.end()
	for _, end := range w.callers {
		end()
	}
	if r.watches[uri] == w {
		delete(r.watches, uri)
	}
}

// concerns reports whether an event may have changed what has this identifier: itself,
// an order of its run, or a stop. One time too many is read again and harmless.
func (k kind) concerns(id string, by purser.Actor, e purser.Event) bool {
	switch {
	case e.Target == id || e.Action == "stop" || e.Action == "resume":
		return true
	case k.member == "run":
		return e.Run == id
	}
	return e.Run == by.Run && strings.HasPrefix(e.Target, purser.PrefixOrder)
}
