package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/mcpapi"
)

// A client of an older revision, on standard input and output, is told of what it
// subscribed to: the pipe is its session.
func TestThePipeTellsOfWhatWasSubscribedTo(t *testing.T) {
	log := make(chan []purser.Event)
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
	mux := http.NewServeMux()
	mux.Handle("/mcp", door)
	server := httptest.NewServer(mux)
	defer server.Close() // waits for the listening request, which ends with the pipe

	in, type_, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	printed, out := io.Pipe()
	s := &session{World: World{In: in, Out: out, Version: "test"}, server: server.URL}
	ctx, end := context.WithCancel(t.Context())
	defer func() { end(); _ = type_.Close(); server.CloseClientConnections() }()
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
	send := func(line string) {
		t.Helper()
		if _, err := fmt.Fprintln(type_, line); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) string {
		t.Helper()
		for patience := time.After(2 * time.Minute); ; {
			select {
			case line, open := <-lines:
				if !open {
					t.Fatalf("it ended before %s: %v", want, <-ended)
				}
				if strings.Contains(line, want) {
					return line
				}
			case <-patience:
				t.Fatalf("it never says %s", want)
			}
		}
	}
	send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
	if about := hear(`"id":1`); !strings.Contains(about, `"subscribe":true`) || !strings.Contains(about, `"protocolVersion":"2025-06-18"`) {
		t.Errorf("it offers %s", about)
	}
	send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	send(`{"jsonrpc":"2.0","id":2,"method":"resources/templates/list"}`)
	hear(`purser://plans/{plan}`)
	send(`{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"purser://plans/pln_9"}}`)
	hear(`"uri":"purser://plans/pln_9"`)
	send(`{"jsonrpc":"2.0","id":4,"method":"resources/subscribe","params":{"uri":"purser://plans/pln_9"}}`)
	hear(`"id":4`)
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
	if line := hear("notifications/resources/updated"); !strings.Contains(line, `"uri":"purser://plans/pln_9"`) {
		t.Errorf("it says %s", line)
	}
	close(told)
	_ = type_.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the pipe ends with %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the pipe does not end with its input")
	}
}
