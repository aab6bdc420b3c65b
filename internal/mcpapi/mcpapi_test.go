package mcpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/gate"
)

func serve(t *testing.T, log io.Writer) (*httptest.Server, *doortest.Office) {
	t.Helper()
	o := &doortest.Office{}
	g, err := gate.New(gate.Config{Authenticator: o, Log: slog.New(slog.NewTextHandler(log, nil)), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g.Wrap(New(Config{Operations: o.Operations(), Gate: g, Version: "test", Random: rand.Reader})))
	t.Cleanup(s.Close)
	return s, o
}

// bearer adds a credential to each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// dial connects the SDK's own client.
func dial(t *testing.T, url, token string) *mcp.ClientSession {
	t.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: url, HTTPClient: &http.Client{Transport: bearer(token)}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

// viaTool is the door, called through the SDK's client.
type viaTool struct {
	t   *testing.T
	url string
}

func (v viaTool) Call(ctx context.Context, token, op, key string, members map[string]any) ([]byte, error) {
	for _, o := range purser.Operations() {
		if o.Name == op && o.Changes {
			members[keyMember] = key
		}
	}
	result, err := dial(v.t, v.url, token).CallTool(ctx, &mcp.CallToolParams{Name: op, Arguments: members})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(result.StructuredContent)
	if err != nil {
		return nil, err
	}
	same(v.t, text, []byte(result.Content[0].(*mcp.TextContent).Text))
	if result.IsError {
		var f failed
		if err := json.Unmarshal(text, &f); err != nil {
			return nil, err
		}
		f.Error.RetryAfter = time.Duration(f.RetryAfter) * time.Second
		if (f.Provider != nil) != (f.Note != "") {
			v.t.Errorf("a provider's words without a note: %s", text)
		}
		return nil, f.Error
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	delete(out, "note") // its own test
	return json.Marshal(out)
}

// same checks that programs and models read the same.
func same(t *testing.T, a, b []byte) {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil || !cmp.Equal(x, y) {
		t.Errorf("structured %s\ntext %s", a, b)
	}
}

func TestMCPDoesWhatGoDoes(t *testing.T) {
	s, o := serve(t, io.Discard)
	doortest.Run(t, o, viaTool{t, s.URL})
}

func TestTheToolsAreThoseOfTheTableAndNoneLoosensAControl(t *testing.T) {
	s, _ := serve(t, io.Discard)
	listed, err := dial(t, s.URL, doortest.Agent).ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, tool := range listed.Tools {
		got = append(got, tool.Name)
	}
	for _, op := range purser.Operations() {
		if op.Tool {
			want = append(want, op.Name)
		}
		// An agent's set_budget lowers its own run's limit, and nothing else: the office's
		// tests hold it to that.
		if op.Tool && (op.Loosens && op.Name != "set_budget" || op.Who != purser.Agents && op.Who != purser.Bearers && !op.Spends()) {
			t.Errorf("%s is a tool and loosens a control, or is not for agents", op.Name)
		}
		if op.Tool != (hints[op.Name] != "") {
			t.Errorf("%s: a tool needs a hint, and only a tool", op.Name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, never := range []string{"approve", "deny", "resume", "extend_run", "create_run", "exec", "resolve", "remove", "add_provider", "open", "inform"} {
		if slices.Contains(got, never) {
			t.Errorf("%s is a tool", never)
		}
	}
}

func TestSchemasAreExplicit(t *testing.T) {
	s, _ := serve(t, io.Discard)
	listed, err := dial(t, s.URL, doortest.Agent).ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	changes := map[string]bool{}
	for _, op := range purser.Operations() {
		changes[op.Name] = op.Changes
	}
	for _, tool := range listed.Tools {
		text, _ := json.Marshal(tool.InputSchema)
		for _, bad := range []string{`"null"`, "$ref", "nullable", `"act"`} {
			if bytes.Contains(text, []byte(bad)) {
				t.Errorf("%s: %s in %s", tool.Name, bad, text)
			}
		}
		schema := tool.InputSchema.(map[string]any)
		members, _ := schema["properties"].(map[string]any)
		if schema["type"] != "object" || schema["additionalProperties"] != false || (members[keyMember] != nil) != changes[tool.Name] {
			t.Errorf("%s: %s", tool.Name, text)
		}
		if tool.Annotations == nil || tool.Annotations.ReadOnlyHint == changes[tool.Name] {
			t.Errorf("%s: %+v", tool.Name, tool.Annotations)
		}
	}
}

// What cannot be told is not promised.
func TestNothingIsOfferedBesideToolsAndWhatCanBeRead(t *testing.T) {
	s, _ := serve(t, io.Discard)
	got, _ := json.Marshal(dial(t, s.URL, doortest.Agent).InitializeResult().Capabilities)
	if string(got) != `{"resources":{},"tools":{}}` {
		t.Errorf("capabilities %s", got)
	}
}

func TestTheSameServerWorksInMemory(t *testing.T) {
	o := &doortest.Office{}
	server := Server(Config{Operations: o.Operations(), Version: "test", Random: rand.Reader})
	by, _ := o.Authenticate(t.Context(), doortest.Agent, "")
	for _, tt := range []struct {
		name string
		ctx  context.Context
		fail bool
	}{
		{"with a caller", context.WithValue(t.Context(), callerOf{}, caller{actor: by}), false},
		{"without one", t.Context(), true},
	} {
		here, there := mcp.NewInMemoryTransports()
		ss, err := server.Connect(tt.ctx, there, nil)
		if err != nil {
			t.Fatal(err)
		}
		cs, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), here, nil)
		if err != nil {
			t.Fatal(err)
		}
		result, err := cs.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami", Arguments: map[string]any{}})
		if err != nil || result.IsError != tt.fail {
			t.Errorf("%s: %v, %+v", tt.name, err, result)
		}
		_ = cs.Close()
		_ = ss.Wait()
	}
}

func TestACredentialIsNeeded(t *testing.T) {
	s, o := serve(t, io.Discard)
	for _, token := range []string{"", "nobody"} {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
		req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("token %q: %d %q", token, resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
		}
	}
	if made := o.Made(); len(made) > 0 {
		t.Errorf("%d calls arrived", len(made))
	}
}

func TestAKeyIsTheCallersOrNewForEachCall(t *testing.T) {
	s, o := serve(t, io.Discard)
	session := dial(t, s.URL, doortest.Agent)
	stop := func(key any) *mcp.CallToolResult {
		t.Helper()
		members := map[string]any{"scope": "run", "reason": "r"}
		if key != "" {
			members[keyMember] = key
		}
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "stop", Arguments: members})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	for _, key := range []any{"mine", "", "", nil} {
		if stop(key).IsError {
			t.Errorf("key %v is refused", key)
		}
	}
	made := o.Made()
	if len(made) != 4 || made[0].By.Key != "mine" || made[1].By.Key == made[2].By.Key || !purser.ValidID(purser.PrefixKey, made[1].By.Key) {
		t.Errorf("%+v", made)
	}
	for _, key := range []any{"a b", 7, strings.Repeat("k", 256), "ä"} {
		if !stop(key).IsError {
			t.Errorf("key %v is taken", key)
		}
	}
	read, _ := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "status", Arguments: map[string]any{keyMember: "k"}})
	if !read.IsError {
		t.Error("a read takes a key")
	}
}

func TestAFailureNamesTheKeyUnderWhichTheCallGoesOn(t *testing.T) {
	s, o := serve(t, io.Discard)
	result, err := dial(t, s.URL, doortest.Agent).CallTool(t.Context(), &mcp.CallToolParams{
		Name: "plan", Arguments: map[string]any{"purpose": "ask", "steps": []any{map[string]any{"service": "a/b"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := result.StructuredContent.(map[string]any)
	if key := o.Made()[0].By.Key; got[keyMember] != key || got["plan"] != "pln_7" || got["class"] != "needs_person" || got["hint"] == "" {
		t.Errorf("%v, key %s", got, key)
	}
}

func TestProvidersWordsAreMarkedAsData(t *testing.T) {
	s, _ := serve(t, io.Discard)
	session := dial(t, s.URL, doortest.Agent)
	for op, marked := range map[string]bool{"search": true, "catalog": true, "show_plan": true, "whoami": false, "list_budgets": false} {
		members := map[string]any{"search": map[string]any{"words": "x"}, "show_plan": map[string]any{"plan": "p"}}[op]
		if members == nil {
			members = map[string]any{}
		}
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: op, Arguments: members})
		if err != nil || result.IsError {
			t.Fatalf("%s: %v %+v", op, err, result)
		}
		text := result.Content[0].(*mcp.TextContent).Text
		if strings.HasPrefix(text, `{"note":"`) != marked {
			t.Errorf("%s: %.80s", op, text)
		}
	}
}

func TestItAnswersCurl(t *testing.T) {
	s, _ := serve(t, io.Discard)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL,
		strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{}}}`))
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "Authorization": {"Bearer " + doortest.Agent},
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || !bytes.Contains(body, []byte(`"structuredContent":{"kind":`)) {
		t.Errorf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
}

func TestTheLogNamesTheToolAndHoldsNoToken(t *testing.T) {
	var log bytes.Buffer
	s, _ := serve(t, &log)
	session := dial(t, s.URL, doortest.Agent)
	_, _ = session.CallTool(t.Context(), &mcp.CallToolParams{Name: "plan", Arguments: map[string]any{"purpose": "fault", "steps": []any{map[string]any{"service": "a"}}}})
	s.Close() // the line is written after the answer
	if !regexp.MustCompile(`op=plan actor=agent id=agt_1 code=internal .*cause=`).MatchString(log.String()) || strings.Contains(log.String(), doortest.Agent) {
		t.Errorf("log:\n%s", log.String())
	}
}
