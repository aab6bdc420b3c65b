package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"

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
	return b.next.RoundTrip(r)
}

// dialMCP opens an MCP session with a server's /mcp.
func dialMCP(ctx context.Context, url, token, version string) (*mcp.ClientSession, error) {
	caller := mcp.NewClient(&mcp.Implementation{Name: "purser", Version: version}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
	session, err := caller.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: url + "/mcp",
		HTTPClient: &http.Client{
			Transport:     bearer{token, http.DefaultTransport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		DisableStandaloneSSE: true, // the server sends nothing unasked
	}, nil)
	if err != nil {
		return nil, purser.Errorf(purser.Unavailable, "%s/mcp cannot be used: %v", url, err).WithHint("purser up")
	}
	return session, nil
}

// pipe offers the server's tools on standard input and output. Both sides speak
// the revision that they agreed on with us, so an old client can use a new server.
func (s *session) pipe(ctx context.Context, token string) error {
	upstream, err := dialMCP(ctx, s.address(), token, s.program())
	if err != nil {
		return err
	}
	defer upstream.Close()
	about := upstream.InitializeResult()
	here := mcp.NewServer(about.ServerInfo, &mcp.ServerOptions{Instructions: about.Instructions, Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}}})
	for tool, err := range upstream.Tools(ctx, nil) {
		if err != nil {
			return fmt.Errorf("listing the server's tools: %w", err)
		}
		here.AddTool(tool, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return upstream.CallTool(ctx, &mcp.CallToolParams{Meta: r.Params.Meta, Name: r.Params.Name, Arguments: r.Params.Arguments})
		})
	}
	err = here.Run(ctx, &mcp.IOTransport{Reader: s.In, Writer: nopCloser{s.Out}})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
