package office_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/canonical"
)

func canonicalJSON(t testing.TB, raw []byte) []byte {
	t.Helper()
	out, err := canonical.Reform(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// staged uploads a small folder and returns its manifest.
func (h *house) staged(by purser.Actor, files map[string]string) string {
	h.t.Helper()
	in := purser.Stage{}
	for path, body := range files {
		sum := sha256.Sum256([]byte(body))
		in.Files = append(in.Files, purser.File{Path: path, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(body))})
		if err := h.o.PutBlob(h.ctx, by, hex.EncodeToString(sum[:]), int64(len(body)), strings.NewReader(body)); err != nil {
			h.t.Fatal(err)
		}
	}
	return must[purser.Staged](h, by, "stage", in).Manifest
}

func voyage(manifest string) purser.MakePlan {
	return purser.MakePlan{Purpose: "put the shop live", Steps: []purser.StepRequest{
		{Service: "local/hosting:pro"},
		{Service: "local/registrar:domain", Configuration: map[string]any{"domain": "SuperSeal.club"}},
		{Service: "local/hosting:static", Configuration: map[string]any{"domain": "superseal.club"}, Manifest: manifest},
	}}
}

// The main job, with everything real but the provider: planned by an agent,
// approved by a person, paid within the budget, proved by the log.
func TestAnAgentTakesAFolderLiveWithinItsBudget(t *testing.T) {
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		run, agent := h.run(2000)
		manifest := h.staged(agent, map[string]string{"index.html": "<h1>hello</h1>", "a/b.css": "h1{}"})
		plan := must[purser.Plan](h, agent, "plan", voyage(manifest))
		if plan.State != purser.PlanWaiting || len(plan.Terms.Steps) != 5 {
			t.Fatalf("plan is %s with %d steps", plan.State, len(plan.Terms.Steps))
		}
		if got := plan.Totals.Now[0].Amount; got != 1700 {
			t.Errorf("the plan costs %d now, want 1700", got)
		}
		if _, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID, Wait: 1}); purser.CodeOf(err) != purser.NeedsApproval {
			t.Fatalf("apply before the approval: %v", err)
		}
		h.approve(plan.ID)
		done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		if done.State != purser.PlanDone || len(done.Orders) != 5 {
			t.Fatalf("plan is %s with %d orders: %v", done.State, len(done.Orders), done.Error)
		}
		show := must[purser.Run](h, agent, "show_run", purser.RunRef{})
		if show.Budget.Captured != 1700 || show.Budget.Held != 0 || show.Budget.Left != 300 {
			t.Errorf("run's budget: %+v", show.Budget)
		}
		status := must[purser.Status](h, agent, "status", purser.AskStatus{})
		if len(status.Resources) != 3 || len(status.Unsettled) != 0 || len(status.Subscribed) != 2 {
			t.Errorf("%d resources, %d unsettled, %d subscriptions", len(status.Resources), len(status.Unsettled), len(status.Subscribed))
		}
		h.books()
		h.verify()
		_ = run
	})
}

// verify exports the log and verifies it with nothing but the key.
func (h *house) verify() audit.Report {
	h.t.Helper()
	var export bytes.Buffer
	if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{}, &export); err != nil {
		h.t.Fatal(err)
	}
	page := must[purser.AuditPage](h, h.owner, "audit_log", purser.AskAudit{})
	report, err := audit.Verify(&export, page.PublicKey, audit.VerifyOptions{Books: true})
	if err != nil || !report.Verified {
		h.t.Errorf("verify: %v %s", err, report)
	}
	return report
}
