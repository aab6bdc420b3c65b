package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/mcpapi"
)

// A client of an older revision, on standard input and output, is told of what it
// subscribed to: the pipe is its session.
func TestThePipeTellsOfWhatWasSubscribedTo(t *testing.T) {
	log := make(chan []purser.Event)
	p := openPipe(t, log)
	p.send(hello)
	if about := p.hear(`"id":1`); !strings.Contains(about, `"subscribe":true`) || !strings.Contains(about, `"protocolVersion":"2025-06-18"`) {
		t.Errorf("it offers %s", about)
	}
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	p.send(`{"jsonrpc":"2.0","id":2,"method":"resources/templates/list"}`)
	p.hear(`purser://plans/{plan}`)
	p.send(`{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"purser://plans/pln_9"}}`)
	p.hear(`"uri":"purser://plans/pln_9"`)
	p.send(`{"jsonrpc":"2.0","id":4,"method":"resources/subscribe","params":{"uri":"purser://plans/pln_9"}}`)
	p.hear(`"id":4`)
	told := make(chan struct{})
	go func() {
		for {
			select {
			case log <- []purser.Event{{Action: "approve", Target: "pln_9", Outcome: "accepted"}}:
				time.Sleep(5 * time.Millisecond)
			case <-told:
				return
			}
		}
	}()
	if line := p.hear("notifications/resources/updated"); !strings.Contains(line, `"uri":"purser://plans/pln_9"`) {
		t.Errorf("it says %s", line)
	}
	close(told)
	p.close()
}

// What is no message is answered as JSON-RPC says, and the session goes on.
func TestThePipeRefusesWhatIsNoMessageAndGoesOn(t *testing.T) {
	p := openPipe(t, nil)
	tooLong := strings.Repeat(" ", mcp.DefaultMaxLineLength) + `{}`
	const none = `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"this is no JSON-RPC 2.0 message"}}`
	refuses := func() {
		t.Helper()
		for _, c := range []struct{ line, want string }{
			{`hello`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the line is not JSON"}}`},
			{`{"jsonrpc":"2.0","id":7,`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the line is not JSON"}}`},
			{`{"jsonrpc":"2.0","id":7,"method":"ping"}{}`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"the line is not JSON"}}`},
			{"[" + tooLong + "]", `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the line is too long"}}`},
			{`7`, none},
			{`null`, none},
			{`{}`, none},
			{`[1]`, none},
			{`[]`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the batch is empty"}}`},
			{`{"jsonrpc":"2.0","method":7}`, none},
			{`{"jsonrpc":"2.0","id":true,"method":"ping"}`, none},
			{`{"jsonrpc":"1.0","id":"a","method":"ping"}`, `{"jsonrpc":"2.0","id":"a","error":{"code":-32600,"message":"this is no JSON-RPC 2.0 message"}}`},
			{`{"jsonrpc":"2.0","id":8,"metod":"ping"}`, `{"jsonrpc":"2.0","id":8,"error":{"code":-32600,"message":"this is no JSON-RPC 2.0 message"}}`},
		} {
			p.send(c.line)
			if got := <-p.lines; got != c.want {
				t.Errorf("%.40s is answered\n%s, want\n%s", c.line, got, c.want)
			}
		}
	}
	refuses()
	p.send(hello)
	p.hear(`"id":1`)
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	refuses()
	p.send("\r\n" + `{"jsonrpc":"2.0","id":9,"method":"ping"}` + "\r")
	p.hear(`"id":9`)
	p.send(`[{"jsonrpc":"2.0","id":10,"method":"ping"}, 7, {"jsonrpc":"2.0","id":11,"method":"ping"}]`)
	var got []string
	for range 3 {
		got = append(got, <-p.lines)
	}
	slices.Sort(got)
	if want := []string{`{"jsonrpc":"2.0","id":10,"result":{}}`, `{"jsonrpc":"2.0","id":11,"result":{}}`, none}; !slices.Equal(got, want) {
		t.Errorf("a batch is answered %v", got)
	}
	// The last line of a here document may have no end, and is answered all the same.
	if _, err := io.WriteString(p.in, `{"jsonrpc":"2.0","id":12,"method":"ping"}`); err != nil {
		t.Fatal(err)
	}
	_ = p.in.Close()
	p.hear(`"id":12`)
	p.close()
}

// hello begins a session.
const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// An agent whose server is away hears it in the form of every other refusal, with the key
// under which the same call goes on; and the session goes on too.
func TestThePipeSaysUnderWhichKeyALostCallGoesOn(t *testing.T) {
	p := openPipe(t, nil)
	p.send(hello)
	p.hear(`"id":1`)
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	refused := func(id int, tool, arguments string) (said struct {
		Code  purser.Code
		Class purser.Class
		Hint  string
		Key   string `json:"idempotency_key"`
	},
	) {
		t.Helper()
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments))
		var line struct {
			Result struct {
				IsError           bool
				StructuredContent json.RawMessage
			}
		}
		text := p.hear(fmt.Sprintf(`"id":%d`, id))
		if err := json.Unmarshal([]byte(text), &line); err != nil || !line.Result.IsError || json.Unmarshal(line.Result.StructuredContent, &said) != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return said
	}
	const charge = `{"provider":"models","amount_minor":1,"currency":"USD"}`
	p.cut.Store(true)
	if got := refused(2, "charge_usage", charge); got.Code != purser.OutcomeUnknown || got.Class != purser.ClassUnknown || !purser.ValidKey(got.Key) {
		t.Errorf("an answer that was lost: %+v", got)
	}
	if got := refused(3, "charge_usage", `{"idempotency_key":"mine",`+charge[1:]); got.Code != purser.OutcomeUnknown || got.Key != "mine" {
		t.Errorf("under a key of its own: %+v", got)
	}
	// Some models say null for what they leave out.
	for id, arguments := range map[int]string{12: `{"idempotency_key": null ,` + charge[1:], 13: charge[:len(charge)-1] + `,"idempotency_key":null}`} {
		if got := refused(id, "charge_usage", arguments); got.Code != purser.OutcomeUnknown || !purser.ValidKey(got.Key) {
			t.Errorf("under no key in %s: %+v", arguments, got)
		}
	}
	if got := refused(4, "status", `{}`); got.Code != purser.Unavailable || got.Key != "" || got.Hint == "" {
		t.Errorf("a question: %+v", got)
	}
	p.cut.Store(false)
	p.send(`{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"charge_usage","arguments":{}}}`)
	if line := p.hear(`"id":5`); !strings.Contains(line, "invalid_request") || !strings.Contains(line, `"idempotency_key":"key_`) {
		t.Errorf("when it answers again: %s", line)
	}
	p.send(`{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"charge_usage","arguments":{"amount_minor":1,"amount_minor":2}}}`)
	if line := p.hear(`"id":6`); !strings.Contains(line, "stands twice") {
		t.Errorf("a member twice: %s", line)
	}
	p.send(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"charge_usage","arguments":{"labels":[null],"idempotency_key":null}}}`)
	if line := p.hear(`"id":7`); !strings.Contains(line, "labels[0]") || !strings.Contains(line, `"idempotency_key":"key_`) {
		t.Errorf("under no key: %s", line)
	}
	p.close()
}

// pipe is purser mcp with a server behind it, which tells what is put into log.
type pipe struct {
	t     *testing.T
	in    *os.File
	lines chan string // that were printed
	ended chan error
	cut   *atomic.Bool // the server hangs up on each call
}

func openPipe(t *testing.T, log <-chan []purser.Event) *pipe {
	t.Helper()
	office := &doortest.Office{}
	g, err := gate.New(gate.Config{Authenticator: office, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	door := g.Wrap(mcpapi.New(mcpapi.Config{
		Operations: office.Operations(), Gate: g, Version: "test", Random: rand.Reader,
		Events: func(ctx context.Context, _ purser.Actor, _ purser.AskEvents, f func([]purser.Event, int64) error) error {
			if err := f(nil, 0); err != nil {
				return err
			}
			for {
				select {
				case e := <-log:
					if err := f(e, 1); err != nil {
						return err
					}
				case <-ctx.Done():
					return nil
				}
			}
		},
	}))
	mux, cut := http.NewServeMux(), &atomic.Bool{}
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		if cut.Load() {
			panic(http.ErrAbortHandler)
		}
		door.ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close) // waits for the listening request, which ends with the pipe

	in, type_, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	printed, out := io.Pipe()
	s := &session{World: World{In: in, Out: out, Random: rand.Reader, Version: "test"}, server: server.URL}
	ctx, end := context.WithCancel(t.Context())
	t.Cleanup(func() { end(); _ = type_.Close(); server.CloseClientConnections() })
	ended := make(chan error, 1)
	go func() {
		err := s.pipe(ctx, doortest.Agent)
		_ = out.Close()
		ended <- err
	}()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for r := bufio.NewScanner(printed); r.Scan(); {
			lines <- r.Text()
		}
	}()
	return &pipe{t, type_, lines, ended, cut}
}

func (p *pipe) send(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pipe) hear(want string) string {
	p.t.Helper()
	for patience := time.After(2 * time.Minute); ; {
		select {
		case line, open := <-p.lines:
			if !open {
				p.t.Fatalf("it ended before %s: %v", want, <-p.ended)
			}
			if strings.Contains(line, want) {
				return line
			}
		case <-patience:
			p.t.Fatalf("it never says %s", want)
		}
	}
}

// close ends the input, and waits for the session's end.
func (p *pipe) close() {
	p.t.Helper()
	_ = p.in.Close()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("the pipe ends with %v", err)
		}
	case <-time.After(2 * time.Minute):
		p.t.Fatal("the pipe does not end with its input")
	}
}
