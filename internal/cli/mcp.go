package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) mcp() *cobra.Command {
	return &cobra.Command{
		Use: "mcp", Short: "Speak MCP on standard input and output: a pipe to the server's /mcp", Args: needs(),
		Long: "Speak MCP on standard input and output, for clients that start a program instead of calling a URL.\n" +
			"The tools are the server's; the credential is PURSER_TOKEN, the agent's own.",
		Example: "  PURSER_URL=http://localhost:7627 PURSER_TOKEN=... purser mcp",
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := s.token()
			if err != nil {
				return err
			}
			if token == "" {
				return purser.Errorf(purser.NotSignedIn, "there is no token for %s", s.address()).
					WithHint("PURSER_TOKEN=... purser mcp; a token comes from: purser run create")
			}
			return s.pipe(cmd.Context(), token)
		},
	}
}

// bearer adds the credential to each request, and to no other host: redirects
// are not followed.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	answer, err := b.next.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusUnauthorized {
		return nil, errors.Join(errRefused, answer.Body.Close())
	}
	return answer, err
}

// errRefused is a token that the server does not take; the MCP library would say
// so in words only.
var errRefused error = purser.Errorf(purser.NotSignedIn, "the server does not take this token").
	WithHint("a person makes a new one: purser run create")

// dialMCP opens an MCP session with a server's /mcp.
//
// hears gets what the server tells unasked; nothing set: nothing.
func dialMCP(ctx context.Context, url, token, version string, hears hears) (*mcp.ClientSession, error) {
	caller := mcp.NewClient(&mcp.Implementation{Name: "purser", Version: version}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{}, ProgressNotificationHandler: hears.progress, ResourceUpdatedHandler: hears.updated,
	})
	session, err := caller.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: url + "/mcp",
		HTTPClient: &http.Client{
			Transport:     bearer{token, http.DefaultTransport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		DisableStandaloneSSE: true, // the server sends nothing unasked
	}, nil)
	if errors.Is(err, errRefused) {
		return nil, errRefused
	}
	if err != nil {
		return nil, purser.Errorf(purser.Unavailable, "%s/mcp cannot be used: %v", url, err).WithHint("purser up")
	}
	return session, nil
}

// hears is what a client of a server's /mcp is told beside its answers.
type hears struct {
	progress func(context.Context, *mcp.ProgressNotificationClientRequest) // of a call, before its answer
	updated  func(context.Context, *mcp.ResourceUpdatedNotificationRequest)
}

// pipe offers the server's tools on standard input and output. Both sides speak
// the revision that they agreed on with us, so an old client can use a new server.
func (s *session) pipe(ctx context.Context, token string) error {
	var here *mcp.Server
	upstream, err := dialMCP(ctx, s.address(), token, s.program(), hears{
		progress: func(ctx context.Context, r *mcp.ProgressNotificationClientRequest) {
			for session := range here.Sessions() { // the one on standard output; a call comes before its progress
				_ = session.NotifyProgress(ctx, r.Params) // who does not listen misses nothing of the answer
			}
		},
		updated: func(ctx context.Context, r *mcp.ResourceUpdatedNotificationRequest) {
			_ = here.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: r.Params.URI})
		},
	})
	if err != nil {
		return err
	}
	defer upstream.Close()
	about := upstream.InitializeResult()
	here = mcp.NewServer(about.ServerInfo, &mcp.ServerOptions{
		Instructions: about.Instructions, Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}, Resources: &mcp.ResourceCapabilities{}},
		// Here is a session, so that a client of any revision can be told.
		SubscribeHandler: func(ctx context.Context, r *mcp.SubscribeRequest) error {
			return upstream.Subscribe(ctx, &mcp.SubscribeParams{URI: r.Params.URI})
		},
		UnsubscribeHandler: func(ctx context.Context, r *mcp.UnsubscribeRequest) error {
			return upstream.Unsubscribe(ctx, &mcp.UnsubscribeParams{URI: r.Params.URI})
		},
	})
	for template, err := range upstream.ResourceTemplates(ctx, nil) {
		if err != nil {
			return fmt.Errorf("listing what the server can be asked for: %w", err)
		}
		here.AddResourceTemplate(template, func(ctx context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return upstream.ReadResource(ctx, &mcp.ReadResourceParams{URI: r.Params.URI})
		})
	}
	for tool, err := range upstream.Tools(ctx, nil) {
		if err != nil {
			return fmt.Errorf("listing the server's tools: %w", err)
		}
		here.AddTool(tool, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return upstream.CallTool(ctx, &mcp.CallToolParams{Meta: r.Params.Meta, Name: r.Params.Name, Arguments: r.Params.Arguments})
		})
	}
	turns := &turns{answered: make(chan struct{}, 1)}
	err = here.Run(ctx, &mcp.IOTransport{Reader: &asking{turns: turns, in: s.In, stop: ctx.Done()}, Writer: &answering{turns: turns, out: s.Out}})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// turns counts requests and answers, because an input that ends (a pipe, a here
// document) must not end the session before the last answer.
type turns struct {
	open     atomic.Int64
	answered chan struct{}
}

// count adds n for each message of a chunk that is a request or an answer:
// both have an id, and are one line each.
func (t *turns) count(rest *[]byte, chunk []byte, n int64) {
	*rest = append(*rest, chunk...)
	for {
		line, after, whole := bytes.Cut(*rest, []byte("\n"))
		if !whole {
			return
		}
		*rest = after
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(line, &m) == nil && m.ID != nil && (m.Method != "") == (n > 0) {
			t.open.Add(n)
		}
	}
}

// asking is standard input; its end waits for the answers.
type asking struct {
	*turns
	in   io.ReadCloser
	stop <-chan struct{}
	line []byte
}

func (a *asking) Close() error { return a.in.Close() }

func (a *asking) Read(p []byte) (int, error) {
	n, err := a.in.Read(p)
	a.count(&a.line, p[:n], 1)
	if err == nil || n > 0 {
		return n, nil
	}
	// A call takes at most a minute; one that was cancelled is never answered.
	patience := time.After(time.Minute)
	for a.open.Load() > 0 {
		select {
		case <-a.answered:
		case <-patience:
			return 0, err
		case <-a.stop:
			return 0, err
		}
	}
	return 0, err
}

// answering is standard output.
type answering struct {
	*turns
	out  io.Writer
	line []byte
}

func (a *answering) Close() error { return nil }

func (a *answering) Write(p []byte) (int, error) {
	n, err := a.out.Write(p)
	a.count(&a.line, p[:n], -1)
	select {
	case a.answered <- struct{}{}:
	default: // whoever waits is told already
	}
	return n, err
}
