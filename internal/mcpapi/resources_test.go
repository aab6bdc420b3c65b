package mcpapi

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
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

// teller is an office with one plan, whose log a test writes.
type teller struct {
	*doortest.Office
	log     chan []purser.Event
	leaving chan struct{}

	mu       sync.Mutex
	state    purser.PlanState
	watching int
}

func (t *teller) Operations() []office.Operation {
	ops := t.Office.Operations()
	for i, op := range ops {
		if op.Name == "show_plan" {
			ops[i] = office.On("show_plan", func(_ context.Context, _ purser.Actor, in purser.PlanRef) (purser.Plan, error) {
				t.mu.Lock()
				defer t.mu.Unlock()
				if in.Plan != "pln_1" {
					return purser.Plan{}, purser.Errorf(purser.NotFound, "no plan %q", in.Plan)
				}
				return purser.Plan{ID: in.Plan, State: t.state}, nil
			})
		}
	}
	return ops
}

func (t *teller) events(ctx context.Context, _ purser.Actor, _ purser.AskEvents, f func([]purser.Event, int64) error) error {
	t.count(1)
	defer t.count(-1)
	if err := f(nil, 1); err != nil {
		return err
	}
	for {
		select {
		case e := <-t.log:
			if err := f(e, 2); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-t.leaving:
			return nil
		}
	}
}

func (t *teller) count(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watching += n
}

func (t *teller) watchers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watching
}

func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in two minutes: %s", what)
		}
	}
}

// serve puts it behind its door; done gets each answer that is over.
func (t *teller) serve(tb testing.TB) (url string, done chan string) {
	tb.Helper()
	g, err := gate.New(gate.Config{Authenticator: t, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
	if err != nil {
		tb.Fatal(err)
	}
	done = make(chan string, 1000)
	door := g.Wrap(New(Config{Operations: t.Operations(), Gate: g, Version: "test", Random: rand.Reader, Events: t.events}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		door.ServeHTTP(w, r)
		done <- w.Header().Get("Content-Type")
	}))
	tb.Cleanup(s.Close)
	return s.URL, done
}

// listener is the SDK's own client.
func listener(t *testing.T, url, token string) (session *mcp.ClientSession, heard chan string) {
	t.Helper()
	heard = make(chan string, 100)
	c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { heard <- r.Params.URI },
	})
	session, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: url, HTTPClient: &http.Client{Transport: bearer(token)}, DisableStandaloneSSE: true,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session, heard
}

// What an agent subscribed to is told as it happens, and read again: a yes, without
// asking each minute.
func TestWhoSubscribesToAPlanIsToldOfItsChanges(t *testing.T) {
	office := &teller{Office: &doortest.Office{}, log: make(chan []purser.Event), leaving: make(chan struct{}), state: purser.PlanWaiting}
	url, done := office.serve(t)
	session, heard := listener(t, url, doortest.Agent)
	templates, err := session.ListResourceTemplates(t.Context(), nil)
	if err != nil || len(templates.ResourceTemplates) != 2 || !session.InitializeResult().Capabilities.Resources.Subscribe {
		t.Fatalf("it offers %+v, %v", templates, err)
	}
	const plan = "purser://plans/pln_1"
	read := func() string {
		t.Helper()
		got, err := session.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: plan})
		if err != nil {
			t.Fatal(err)
		}
		return got.Contents[0].Text
	}
	if text := read(); !strings.Contains(text, `"state":"needs_approval"`) || !strings.Contains(text, note) {
		t.Errorf("it reads %s", text)
	}
	if err := session.Subscribe(t.Context(), &mcp.SubscribeParams{URI: plan}); err != nil {
		t.Fatal(err)
	}
	within(t, "it listens", func() bool { return office.watchers() == 1 })
	tell := func(target string) {
		office.log <- []purser.Event{{Seq: 2, Action: "approve", Target: target, Outcome: "accepted", Run: "run_1"}}
	}
	// The answer to the subscription comes a little after the watch begins; what is
	// told in between is read by who reads after subscribing.
	times := 0
	within(t, "it is told of its plan", func() bool {
		tell("pln_1")
		times++
		for end := time.Now().Add(3 * time.Second); len(heard) == 0 && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		return len(heard) > 0
	})
	before := len(heard)
	office.mu.Lock()
	office.state = purser.PlanReady
	office.mu.Unlock()
	if text := read(); !strings.Contains(text, `"state":"ready"`) {
		t.Errorf("then it reads %s", text)
	}
	tell("pln_2")
	tell("res_1")
	tell("ord_1") // an order of its run
	within(t, "it is told of an order", func() bool { return len(heard) > before })
	if err := session.Unsubscribe(t.Context(), &mcp.UnsubscribeParams{URI: plan}); err != nil {
		t.Fatal(err)
	}
	within(t, "nobody watches for it any more", func() bool { return office.watchers() == 0 })
	within(t, "the answer is over", func() bool {
		for len(done) > 0 {
			if <-done == "text/event-stream" {
				return true
			}
		}
		return false
	})
	if n := len(heard); n > times+1 {
		t.Errorf("it is told %d times, of %d changes", n, times+1)
	}
	for len(heard) > 0 {
		if uri := <-heard; uri != plan {
			t.Errorf("it is told of %s", uri)
		}
	}
}

// Two who listen to one plan are told by one watch; when the server leaves, both of
// their requests end.
func TestListeningEndsWithTheServer(t *testing.T) {
	office := &teller{Office: &doortest.Office{}, log: make(chan []purser.Event), leaving: make(chan struct{}), state: purser.PlanWaiting}
	url, done := office.serve(t)
	var all []chan string
	for range 2 {
		session, heard := listener(t, url, doortest.Agent)
		all = append(all, heard)
		if err := session.Subscribe(t.Context(), &mcp.SubscribeParams{URI: "purser://plans/pln_1"}); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "both are told", func() bool {
		select {
		case office.log <- []purser.Event{{Target: "pln_1"}}:
		default:
		}
		return len(all[0]) > 0 && len(all[1]) > 0
	})
	if n := office.watchers(); n != 1 {
		t.Errorf("%d watches of one plan", n)
	}
	close(office.leaving)
	ended := 0
	within(t, "both requests end", func() bool {
		for len(done) > 0 {
			if <-done == "text/event-stream" {
				ended++
			}
		}
		return ended == 2
	})
}

// Who may not read it is told of nothing, and who speaks an older revision hears that
// it needs another way.
func TestASubscriptionThatCannotBeIsRefused(t *testing.T) {
	office := &teller{Office: &doortest.Office{}, log: make(chan []purser.Event), leaving: make(chan struct{}), state: purser.PlanWaiting}
	url, _ := office.serve(t)
	for name, c := range map[string]struct{ token, version, method, params, says string }{
		"another's plan":       {doortest.Agent, listens, "subscriptions/listen", `"notifications":{"resourceSubscriptions":["purser://plans/pln_9"]}`, "Resource not found"},
		"what has no address":  {doortest.Agent, listens, "subscriptions/listen", `"notifications":{"resourceSubscriptions":["file:///etc/passwd"]}`, "Resource not found"},
		"an address too deep":  {doortest.Agent, listens, "subscriptions/listen", `"notifications":{"resourceSubscriptions":["purser://plans/pln_1/x"]}`, "Resource not found"},
		"a stopped agent":      {doortest.Halted, listens, "subscriptions/listen", `"notifications":{"resourceSubscriptions":["purser://plans/pln_1"]}`, "stopped"},
		"an older revision":    {doortest.Agent, "2025-06-18", "resources/subscribe", `"uri":"purser://plans/pln_1"`, "2026-07-28"},
		"to read another's":    {doortest.Agent, "2025-06-18", "resources/read", `"uri":"purser://plans/pln_9"`, "Resource not found"},
		"to read when stopped": {doortest.Halted, "2025-06-18", "resources/read", `"uri":"purser://plans/pln_1"`, "stopped"},
	} {
		meta := ""
		if c.version == listens {
			meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + listens + `","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}},`
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+c.method+`","params":{`+meta+c.params+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{
			"Authorization": "Bearer " + c.token, "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": c.version, "Mcp-Method": c.method,
		} {
			r.Header.Set(k, v)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if !strings.Contains(string(body), c.says) || !strings.Contains(string(body), `"error"`) || slices.Contains([]int{0}, answer.StatusCode) {
			t.Errorf("%s: %d %s", name, answer.StatusCode, body)
		}
	}
	if n := office.watchers(); n != 0 {
		t.Errorf("%d watch for it", n)
	}
}
