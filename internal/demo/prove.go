package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/purser-dev/purser"
)

// prove exports the log and has it verified by a process that has the export,
// the key and nothing else.
func (v *Voyage) prove(ctx context.Context) error {
	dir := filepath.Join(v.Dir, "auditor")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making the auditor's folder: %w", err)
	}
	head, err := v.person.AuditLog(ctx, purser.AskAudit{Limit: 1})
	if err != nil {
		return fmt.Errorf("reading the audit log's key: %w", err)
	}
	export, err := os.OpenFile(filepath.Join(dir, "audit.jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("exporting the audit log: %w", err)
	}
	if err := v.person.ExportAudit(ctx, purser.ExportAudit{}, export); err != nil {
		_ = export.Close()
		return fmt.Errorf("exporting the audit log: %w", err)
	}
	if err := export.Close(); err != nil {
		return fmt.Errorf("exporting the audit log: %w", err)
	}
	return v.verify(ctx, dir, head.PublicKey)
}

func (v *Voyage) verify(ctx context.Context, dir, key string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, v.Program, "audit", "verify", "audit.jsonl", "--key", key, "--json")
	cmd.Env, cmd.Dir, cmd.Stdout = []string{}, dir, &out
	failed := cmd.Run()
	var said struct {
		Data  Audit         `json:"data"`
		Error *purser.Error `json:"error"`
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil {
		return fmt.Errorf("reading the verifier's verdict: %w", err)
	}
	if failed != nil {
		if said.Error != nil {
			return said.Error
		}
		return fmt.Errorf("verifying the audit log: %w", failed)
	}
	v.Result.Audit = Audit{said.Data.Records, true} // the exit code says so, not the text
	v.Say("a separate process verified %d records of the audit log with the export and the key alone", said.Data.Records)
	return nil
}

// settle gathers money and orders, and the time that the machine took.
func (v *Voyage) settle(ctx context.Context) error {
	run, err := v.person.ShowRun(ctx, purser.RunRef{Run: v.run.ID})
	if err != nil {
		return fmt.Errorf("reading the budget: %w", err)
	}
	in := func(minor int64) purser.Money {
		return purser.Money{Amount: minor, Currency: run.Budget.Limit.Currency}
	}
	r := &v.Result
	r.Budget = Budget{Limit: run.Budget.Limit, Captured: in(run.Budget.Captured), Held: in(run.Budget.Held)}
	r.Left = in(run.Budget.Left)
	r.Steps = v.plan.Terms.Steps
	r.Orders = []Order{}
	live := true
	for _, o := range v.plan.Orders {
		r.Orders = append(r.Orders, Order{o.ID, o.Step, o.State, o.Resource})
		live = live && o.State == purser.OrderLive
	}
	r.MachineMS = (v.Now().Sub(v.began) - v.asked).Milliseconds()
	r.OK = live && len(r.Orders) > 0 && r.Audit.Verified && r.Checks.DNS && r.Checks.TLS && r.Checks.Body
	if !r.OK {
		return purser.Errorf(purser.InvalidState, "not everything came true: orders live %v, audit %v, checks %+v", live, r.Audit.Verified, r.Checks)
	}
	return nil
}
