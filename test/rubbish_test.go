package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-dev/purser"
)

// What is typed wrongly is an error with its code, its exit code and what to type
// next, before money moves.
func TestRubbishIsRefusedWithTheNextCommandBeforeMoneyMoves(t *testing.T) {
	whole(t)
	h := build(t, "", 500)
	files := t.TempDir()
	write(t, files, "broken.yaml", []byte("steps:\n  - service: [\n"))
	write(t, files, "unknown.yaml", []byte("steps:\n  - service: local/hosting:pro\n    prise: 5\n"))
	write(t, files, "empty.yaml", nil)
	write(t, files, "rubbish.yaml", bytes.Repeat([]byte{0xff, 0x00}, 1000))
	for _, c := range []struct {
		typed string
		exit  int
		code  purser.Code
	}{
		{"plan local/registrar:domain --set domain=superseal.club --colour red", 2, purser.InvalidRequest},
		{"plan", 2, purser.InvalidRequest},
		{"plan -f broken.yaml", 2, purser.InvalidRequest},
		{"plan -f unknown.yaml", 2, purser.InvalidRequest},
		{"plan -f empty.yaml", 2, purser.InvalidRequest},
		{"plan -f rubbish.yaml", 2, purser.InvalidRequest},
		{"plan -f nowhere.yaml", 2, purser.InvalidRequest},
		{"plan local/hosting:pra", 6, purser.UnknownService},
		{"plan nobody/hosting:pro", 6, purser.UnknownProvider},
		{"plan local", 2, purser.InvalidRequest},
		{"plan local/registrar:domain", 2, purser.InvalidRequest},
		{"plan local/registrar:domain --set domain=", 2, purser.InvalidRequest},
		{"plan local/registrar:domain --set domain=not_a_name", 2, purser.InvalidRequest},
		{"plan local/registrar:domain --set domain=superseal.club --set colour=red", 2, purser.InvalidRequest},
		{"plan local/registrar:domain --set domain=example.com", 4, purser.NotAvailable},
		{"plan local/registrar:domain --set domain=superseal.nowhere", 4, purser.NotAvailable},
		{"add local/registrar:domain --set domain=superseal.club --set domain", 2, purser.InvalidRequest},
		{"add local/registrar:domain --set domain=superseal.dev", 4, purser.BudgetExceeded},
		{"apply", 2, purser.InvalidRequest},
		{"deploy nowhere --domain superseal.club", 2, purser.UnsafeFolder},
	} {
		t.Run(c.typed, func(t *testing.T) {
			cmd := exec.Command(program, append(strings.Fields(c.typed), "--json")...)
			cmd.Env, cmd.Dir = []string{"PURSER_URL=" + h.url, "PURSER_TOKEN=" + h.run.Token, "HOME=" + files, "PATH=" + os.Getenv("PATH")}, files
			out, err := cmd.Output()
			var said struct {
				Error *purser.Error
				Data  *purser.Plan
			}
			if err == nil || json.Unmarshal(out, &said) != nil || said.Error == nil {
				t.Fatalf("it ended with %v and said %s", err, out)
			}
			if exit := cmd.ProcessState.ExitCode(); exit != c.exit || said.Error.Code != c.code {
				t.Errorf("exit %d, %s; want %d, %s: %s", exit, said.Error.Code, c.exit, c.code, out)
			}
			if said.Error.Hint == "" && len(said.Error.Blockers) == 0 {
				t.Errorf("there is nothing to do next: %s", out)
			}
		})
	}
	h.soldNothing(t, 0)
	if files, err := filepath.Glob(filepath.Join(files, "*")); err != nil || len(files) != 4 {
		t.Errorf("a refused command wrote something: %v %v", files, err)
	}
}

// A premium name costs more than the budget: every budget that is too small is
// named with what is left, and no order is placed.
func TestAPremiumNameAboveTheBudgetIsNeverOrdered(t *testing.T) {
	whole(t)
	h := build(t, "", 500)
	_, err := h.agent.Plan(t.Context(), purser.MakePlan{Steps: []purser.StepRequest{
		{Service: "local/hosting:pro"},
		{Service: "local/registrar:domain", Configuration: map[string]any{"domain": "superseal.dev"}},
	}})
	if purser.CodeOf(err) != purser.BudgetExceeded {
		t.Errorf("the plan is answered %v", err)
	}
	h.soldNothing(t, 0)
	if n := h.wire.count("POST /app/provisioning/account_requests"); n != 0 {
		t.Errorf("an account was asked for %d times", n)
	}
}
