package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
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
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return nil, purser.Errorf(purser.Unavailable, "no Purser server answers at %s", url).WithHint("purser up").WithCause(err)
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
			key, arguments, err := s.withKey(tool, r.Params.Arguments)
			if err != nil {
				return nil, err
			}
			answer, err := upstream.CallTool(ctx, &mcp.CallToolParams{Meta: r.Params.Meta, Name: r.Params.Name, Arguments: arguments})
			if no := s.unheard(err, key); no != nil && ctx.Err() == nil {
				return refusal(no, key)
			}
			return answer, err
		})
	}
	turns := &turns{answered: make(chan struct{}, 1)}
	out := &answering{turns: turns, out: s.Out}
	err = here.Run(ctx, &mcp.IOTransport{Reader: &asking{turns: turns, in: s.In, lines: bufio.NewReader(s.In), refuse: out.refuse, stop: ctx.Done()}, Writer: out})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// withKey gives a call that changes something its idempotency key, unless it has one: were
// the server's answer lost, nobody would know the one that the server makes.
func (s *session) withKey(tool *mcp.Tool, arguments json.RawMessage) (key string, _ json.RawMessage, err error) {
	const member = "idempotency_key"
	schema, _ := tool.InputSchema.(map[string]any)
	properties, _ := schema["properties"].(map[string]any)
	if _, changes := properties[member]; !changes {
		return "", arguments, nil
	}
	given, text := map[string]json.RawMessage{}, bytes.TrimSpace(arguments)
	if len(text) == 0 || string(text) == "null" {
		text = []byte("{}")
	}
	if json.Unmarshal(text, &given) != nil {
		return "", arguments, nil // the server says what is wrong with it
	}
	value, has := given[member]
	none := string(value) == "null" // as models say that they leave it out
	if has && !none {
		_ = json.Unmarshal(value, &key) // as said
		return key, arguments, nil
	}
	if key, err = purser.NewID(purser.PrefixKey, time.Now(), s.Random); err != nil {
		return "", nil, err
	}
	// The text itself goes on, with what may be wrong in it: another would hide that.
	if none {
		return key, instead(text, member, `"`+key+`"`), nil
	}
	joint := ","
	if len(given) == 0 {
		joint = ""
	}
	return key, slices.Concat([]byte(`{"`+member+`":"`+key+`"`+joint), text[1:]), nil
}

// instead is the text of an object with another value of a member that it has.
func instead(object []byte, member, value string) []byte {
	r, old := json.NewDecoder(bytes.NewReader(object)), json.RawMessage{}
	_, _ = r.Token() // none of it fails: it was read before
	for r.More() {
		name, _ := r.Token()
		_ = r.Decode(&old)
		if end := int(r.InputOffset()); name == member {
			return slices.Concat(object[:end-len(old)], []byte(value), object[end:])
		}
	}
	return object
}

// unheard says what it means that a call got no answer of the server; nil: it got one. key
// is the call's, if it changes something.
func (s *session) unheard(err error, key string) *purser.Error {
	const rejected = -32005 // by the library's transport, which no server answers
	var said *jsonrpc.Error
	var coded *purser.Error
	var dial *net.OpError
	switch {
	case err == nil, errors.As(err, &said) && said.Code != rejected:
		return nil
	case errors.As(err, &coded):
		return coded
	case key == "" || errors.As(err, &dial) && dial.Op == "dial":
		again := "call it again"
		if key != "" {
			again += ", under the same key,"
		}
		return purser.Errorf(purser.Unavailable, "no Purser server answers at %s", s.address()).WithHint("%s when it is up: purser up", again)
	}
	return purser.Errorf(purser.OutcomeUnknown, "the answer of %s was lost", s.address()).
		WithHint("the same call with this idempotency_key tells what became of it, and does nothing twice")
}

// refusal is a tool error in the server's form.
func refusal(no *purser.Error, key string) (*mcp.CallToolResult, error) {
	text, err := json.Marshal(struct {
		*purser.Error
		Class purser.Class `json:"class"`
		Key   string       `json:"idempotency_key,omitempty"`
	}{no, no.Code.Info().Class, key})
	if err != nil {
		return nil, err
	}
	return &mcp.CallToolResult{IsError: true, StructuredContent: json.RawMessage(text), Content: []mcp.Content{&mcp.TextContent{Text: string(text)}}}, nil
}

// turns counts requests and answers, because an input that ends (a pipe, a here
// document) must not end the session before the last answer.
type turns struct {
	open     atomic.Int64
	answered chan struct{}
}

// asking is standard input, a message a line; its end waits for the answers. The library
// ends a session with the first line that it cannot read, so what is no message is
// refused here. A batch, which only old revisions know, is handed on message by message,
// and answered so: a batch that the library takes amiss would end the session too.
type asking struct {
	*turns
	in     io.Closer
	lines  *bufio.Reader
	refuse func(id any, code int, why string) error
	stop   <-chan struct{}
	rest   []byte // was read, and is to be handed on
}

func (a *asking) Close() error { return a.in.Close() }

func (a *asking) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		line, err := a.line()
		if refused := a.take(bytes.TrimSpace(line)); refused != nil {
			return 0, refused
		}
		if err != nil && len(a.rest) == 0 {
			a.await()
			return 0, err
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// line reads a line. Of one that is too long only what makes it so is kept.
func (a *asking) line() (line []byte, err error) {
	for {
		part, err := a.lines.ReadSlice('\n')
		if len(line) <= mcp.DefaultMaxLineLength {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// take puts the messages of a line where they are handed on, and refuses what is none.
func (a *asking) take(line []byte) error {
	var batch []json.RawMessage
	switch {
	case len(line) == 0:
		return nil
	case len(line) > mcp.DefaultMaxLineLength:
		return a.refuse(nil, jsonrpc.CodeInvalidRequest, "the line is too long")
	case !json.Valid(line):
		return a.refuse(nil, jsonrpc.CodeParseError, "the line is not JSON")
	case line[0] != '[':
		batch = append(batch, line)
	case json.Unmarshal(line, &batch) != nil || len(batch) == 0:
		return a.refuse(nil, jsonrpc.CodeInvalidRequest, "the batch is empty")
	}
	for _, text := range batch {
		message, err := jsonrpc.DecodeMessage(text)
		request, asks := message.(*jsonrpc.Request)
		response, answers := message.(*jsonrpc.Response)
		if err != nil || answers && response.Result == nil && response.Error == nil {
			if err := a.refuse(idOf(text), jsonrpc.CodeInvalidRequest, "this is no JSON-RPC 2.0 message"); err != nil {
				return err
			}
			continue
		}
		if asks && request.IsCall() {
			a.open.Add(1)
		}
		a.rest = append(append(a.rest, text...), '\n')
	}
	return nil
}

// idOf is the id of a message that cannot be read otherwise; nil, which is null, if that cannot be either.
func idOf(text []byte) any {
	var m struct {
		ID any `json:"id"`
	}
	_ = json.Unmarshal(text, &m) // as said
	if id, err := jsonrpc.MakeID(m.ID); err == nil {
		return id.Raw()
	}
	return nil
}

// await waits for the answers that are due. A call takes at most a minute; one that was
// cancelled is never answered.
func (a *asking) await() {
	patience := time.After(time.Minute)
	for a.open.Load() > 0 {
		select {
		case <-a.answered:
		case <-patience:
			return
		case <-a.stop:
			return
		}
	}
}

// answering is standard output.
type answering struct {
	*turns
	mu   sync.Mutex
	out  io.Writer
	line []byte
}

func (a *answering) Close() error { return nil }

func (a *answering) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.out.Write(p)
	a.count(p[:n])
	select {
	case a.answered <- struct{}{}:
	default: // whoever waits is told already
	}
	return n, err
}

// count notes each message of a chunk that is an answer: it has an id, no method, and
// is one line.
func (a *answering) count(chunk []byte) {
	a.line = append(a.line, chunk...)
	for {
		line, after, whole := bytes.Cut(a.line, []byte("\n"))
		if !whole {
			return
		}
		a.line = after
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(line, &m) == nil && m.ID != nil && m.Method == "" {
			a.open.Add(-1)
		}
	}
}

// refuse answers what is no message, which nobody counted.
func (a *answering) refuse(id any, code int, why string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return json.NewEncoder(a.out).Encode(struct {
		Version string         `json:"jsonrpc"`
		ID      any            `json:"id"`
		Error   *jsonrpc.Error `json:"error"`
	}{"2.0", id, &jsonrpc.Error{Code: int64(code), Message: why}})
}
