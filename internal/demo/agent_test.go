package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/purser-dev/purser"
)

// desk answers the agent's tools from a script: each call takes the next answer
// of its tool, the last one again and again.
type desk struct {
	answers map[string][]any
	called  []string
	sent    int
}

func (d *desk) CallTool(_ context.Context, in *mcp.CallToolParams) (*mcp.CallToolResult, error) {
	d.called = append(d.called, in.Name)
	list := d.answers[in.Name]
	if len(list) > 1 {
		d.answers[in.Name] = list[1:]
	}
	_, refused := list[0].(*purser.Error)
	return &mcp.CallToolResult{StructuredContent: list[0], IsError: refused}, nil
}

func (d *desk) UploadBlobs(_ context.Context, missing []string, open func(string) (io.ReadCloser, int64, error), _ func(int64)) error {
	for _, sha := range missing {
		r, _, err := open(sha)
		if err != nil {
			return err
		}
		d.sent++
		_ = r.Close()
	}
	return nil
}

func (d *desk) work(t *testing.T) (events []Event, err error) {
	t.Helper()
	site := t.TempDir()
	if err := writeSite(site, "superseal.club"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Worker{Tools: d, Upload: d, Site: site, Domain: "superseal.club", Env: "production", Out: &out}.Work(t.Context())
	for line := range strings.Lines(out.String()) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events, err
}

func script() *desk {
	const needs = "first purchase at local"
	return &desk{answers: map[string][]any{
		"search": {purser.List[purser.Service]{}},
		"stage":  {purser.Staged{Manifest: "sha256:m", Missing: []string{}}},
		"plan":   {purser.Plan{ID: "pln_1", State: purser.PlanWaiting}},
		"apply": {
			&purser.Error{Code: purser.NeedsApproval, Detail: needs, Plan: "pln_1"},
			purser.Plan{ID: "pln_1", State: purser.PlanDone, Orders: []purser.Order{{State: purser.OrderLive}}},
		},
	}}
}

func TestTheAgentWaitsForThePersonAndThenApplies(t *testing.T) {
	d := script()
	events, err := d.work(t)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range events {
		kinds = append(kinds, e.Event)
	}
	if got := strings.Join(kinds, " "); got != "did did did waits done" {
		t.Errorf("the agent told: %s", got)
	}
	if got := strings.Join(d.called, " "); got != "search stage plan apply apply" {
		t.Errorf("the agent called: %s", got)
	}
}

func TestTheAgentTellsWhyItFailed(t *testing.T) {
	for name, c := range map[string]struct {
		tool   string
		answer any
		code   purser.Code
	}{
		"a person said no":        {"apply", &purser.Error{Code: purser.PlanDenied}, purser.PlanDenied},
		"the domain is taken":     {"plan", &purser.Error{Code: purser.NotAvailable}, purser.NotAvailable},
		"the budget is small":     {"plan", &purser.Error{Code: purser.BudgetExceeded}, purser.BudgetExceeded},
		"a step failed":           {"apply", purser.Plan{ID: "pln_1", State: purser.PlanFailed, Error: &purser.Error{Code: purser.QuoteChanged}}, purser.QuoteChanged},
		"an outcome is not known": {"apply", purser.Plan{ID: "pln_1", State: purser.PlanVoid}, purser.InvalidState},
	} {
		t.Run(name, func(t *testing.T) {
			d := script()
			d.answers[c.tool] = []any{c.answer}
			events, err := d.work(t)
			last := events[len(events)-1]
			if err == nil || last.Event != "failed" || last.Error == nil || last.Error.Code != c.code {
				t.Errorf("the agent ended with %+v (%v), want failed with %s", last, err, c.code)
			}
		})
	}
}

func TestTheAgentUploadsWhatTheServerLacks(t *testing.T) {
	d := script()
	style, err := pages.ReadFile("site/style.css")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(style)
	d.answers["stage"] = []any{purser.Staged{Missing: []string{hex.EncodeToString(sum[:])}}}
	if _, err := d.work(t); err != nil || d.sent != 1 {
		t.Errorf("%d files were uploaded (%v), want 1", d.sent, err)
	}
	d.answers["stage"] = []any{purser.Staged{Missing: []string{"0000"}}}
	if _, err := d.work(t); err == nil {
		t.Error("a hash that no file has was uploaded")
	}
}
