package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/testpg"
)

// call is the message of the wire that belongs to an order step.
type call struct{ method, path, body string }

const rail = "/v1/rail/charges"

// calls are where each step of the demo's plan can be cut: the message whose
// loss hurts most. The deployment has two: the first and the one that publishes.
var calls = []call{
	{"POST", "/provisioning/account_requests", ""},
	{"POST", "/oauth/token", ""},
	{"POST", "/provisioning/resources", "hosting:pro"},
	{"POST", rail, "hosting:pro"},
	{"POST", "/provisioning/quotes", "registrar:domain"},
	{"POST", "/provisioning/resources", "registrar:domain"},
	{"POST", rail, domain},
	{"POST", "/provisioning/resources", "hosting:static"},
	{"POST", "/assets-upload-session", ""},
	{"PUT", "/workers/", ""},
}

// fate is what becomes of the held message after the kill.
type fate struct {
	name string
	at   moment
	late bool // it is delivered after all, when the victim is back
	cut  func(call) bool
}

var fates = []fate{
	{"before the work, and the message is lost", before, false, everywhere},
	{"before the work, and the message arrives late", before, true, everywhere},
	// A purchase ends after its charge, so the two cannot both be cut there.
	{"after the work, and the answer is lost", after, false, func(c call) bool { return c.path != rail }},
	{"after the charge, and the answer is lost", after, false, func(c call) bool { return c.path == rail }},
}

func everywhere(call) bool { return true }

// Drill f, wider: the server or the cloud dies at each call of each step, and
// comes back. One plan goes through all of it.
func TestAKillAtEachStepLosesNothingAndBuysNothingTwice(t *testing.T) {
	whole(t)
	for _, victim := range []string{"server", "cloud"} {
		for _, f := range fates {
			t.Run(victim+" killed "+f.name, func(t *testing.T) {
				t.Parallel()
				h := build(t, "", 2000)
				plan := h.approved(t, h.steps(t)...)
				gates := h.gates(f)
				h.applying(t, plan.ID)
				for _, g := range gates {
					h.strike(t, victim, g, f)
				}
				h.bought(t, h.ends(t, plan.ID))
				h.settled(t)
				h.served(t)
			})
		}
	}
}

// On PostgreSQL another process may be in the call, so a killed server's lease
// must run out (a minute, and as much as clocks may differ) before the order is
// begun anew.
func TestAKillOnPostgreSQLWaitsForTheLease(t *testing.T) {
	whole(t)
	for _, c := range []call{{"POST", "/provisioning/account_requests", ""}, {"POST", "/provisioning/resources", "registrar:domain"}, {"PUT", "/workers/", ""}} {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			h := build(t, testpg.Open(t), 2000)
			plan := h.approved(t, h.steps(t)...)
			g := h.wire.hold(after, c.method, c.path, c.body)
			h.applying(t, plan.ID)
			h.strike(t, "server", g, fates[2])
			h.bought(t, h.ends(t, plan.ID))
			h.settled(t)
			h.served(t)
		})
	}
}

// On PostgreSQL, too, the cloud may die at any step.
func TestACloudKilledAtEachStepIsFoundAgainOnPostgreSQL(t *testing.T) {
	whole(t)
	h := build(t, testpg.Open(t), 2000)
	plan := h.approved(t, h.steps(t)...)
	gates := h.gates(fates[2])
	h.applying(t, plan.ID)
	for _, g := range gates {
		h.strike(t, "cloud", g, fates[2])
	}
	h.bought(t, h.ends(t, plan.ID))
	h.settled(t)
	h.served(t)
}

// gates puts up a gate for each call that is cut. All at once: a gate that is put
// up after the kill before it could be too late.
func (h *house) gates(f fate) (all []*gate) {
	for _, c := range calls {
		if f.cut(c) {
			all = append(all, h.wire.hold(f.at, c.method, c.path, c.body))
		}
	}
	return all
}

// strike kills the victim while a call is held, and brings it back.
func (h *house) strike(t *testing.T, victim string, g *gate, f fate) {
	t.Helper()
	g.wait(t)
	// A charge that comes after its order was begun anew is refused, and that ends
	// the order: TestALateChargeIsRefused.
	f.late = f.late && !(victim == "server" && g.path == rail)
	kill(t, map[string]*child.Process{"server": h.server, "cloud": h.cloud}[victim])
	if !f.late {
		g.let(false)
		g.done(t)
	}
	if victim == "server" {
		h.restartServer(t)
	} else {
		h.startCloud(t)
	}
	if f.late {
		g.let(true) // its work may run into the next gate
	}
}

// A server that was killed while the provider charged begins the order anew, and
// the token of before dies with that. The charge that arrives then takes nothing,
// and the order fails honestly, its money given back.
func TestALateChargeIsRefused(t *testing.T) {
	whole(t)
	h := build(t, "", 2000)
	plan := h.approved(t, purser.StepRequest{Service: "local/hosting:pro"})
	g := h.wire.hold(before, "POST", rail, "hosting:pro")
	h.applying(t, plan.ID)
	g.wait(t)
	held := time.Now()
	kill(t, h.server)
	h.restartServer(t)
	h.begun(t, plan.ID, 2, 2)
	patient := time.Since(held) < 24*time.Second // after 25 a seller gives a charge up
	g.let(true)
	g.done(t)
	plan = h.ends(t, plan.ID)
	if !patient && plan.State == purser.PlanDone { // and is asked again, with a token that lives
		h.bought(t, plan)
		h.settled(t)
		return
	}
	order := plan.Orders[1]
	if plan.State != purser.PlanFailed || order.State != purser.OrderFailed || order.Captured.Amount != 0 {
		t.Errorf("the plan is %s, its order %s with %v captured; want both failed and nothing captured", plan.State, order.State, order.Captured)
	}
	for _, r := range h.listed(t) {
		if r.Status == app.StatusComplete {
			t.Errorf("the provider made %s for nothing", r.ID)
		}
	}
	if paid := h.receipts(t); len(paid) > 0 {
		t.Errorf("the seller was paid %v", paid)
	}
	h.settled(t)
}

// begun waits until the order of a step was begun so many times.
func (h *house) begun(t *testing.T, plan string, step, times int) {
	t.Helper()
	eventually(t, fmt.Sprintf("order %d is begun %d times", step, times), func() bool {
		shown, err := h.person.ShowPlan(t.Context(), purser.PlanRef{Plan: plan})
		return err == nil && len(shown.Orders) >= step && shown.Orders[step-1].Attempts >= times
	})
}

// An agent that dies leaves a plan that goes on without it; the next process with
// its token joins.
func TestAnAgentKilledAtEachStepChangesNothing(t *testing.T) {
	whole(t)
	h := build(t, "", 2000)
	agent, events := h.startAgent(t)
	plan := awaitPlan(t, events)
	gates := h.gates(fates[0])
	h.person.approves(t, plan)
	for _, g := range gates {
		g.wait(t)
		kill(t, agent)
		agent = h.startApply(t, plan)
		g.let(true) // its work may run into the next gate
	}
	if err := agent.Err(); err != nil {
		t.Errorf("the last agent, which lived: %v", err)
	}
	h.bought(t, h.ends(t, plan))
	if n := h.wire.count("POST /app/provisioning/resources "); n != 3 {
		t.Errorf("the provider was asked to create %d times, want 3: the server was never in doubt", n)
	}
	h.settled(t)
	h.served(t)
}

// startAgent starts the demo's agent as the demo does.
func (h *house) startAgent(t *testing.T) (*child.Process, *bufio.Scanner) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	cmd := exec.Command(program, "demo-agent", "--site", filepath.Join(h.dir, "site"), "--domain", domain, "--env", "development")
	cmd.Stdout = write
	p := h.startAs(t, cmd)
	_ = write.Close() // the agent has its own
	return p, bufio.NewScanner(read)
}

func (h *house) startApply(t *testing.T, plan string) *child.Process {
	t.Helper()
	return h.startAs(t, exec.Command(program, "apply", plan, "--json"))
}

// startAs starts a process with the agent's token and nothing else.
func (h *house) startAs(t *testing.T, cmd *exec.Cmd) *child.Process {
	t.Helper()
	cmd.Env, cmd.Dir = []string{"PURSER_URL=" + h.url, "PURSER_TOKEN=" + h.run.Token}, t.TempDir()
	p, err := child.Start(cmd, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	return p
}

// awaitPlan reads what the agent tells until it waits for a person.
func awaitPlan(t *testing.T, events *bufio.Scanner) string {
	t.Helper()
	for events.Scan() {
		var e struct{ Event, Text, Plan string }
		if err := json.Unmarshal(events.Bytes(), &e); err != nil || e.Event == "failed" {
			t.Fatalf("the agent says %s (%v)", events.Bytes(), err)
		}
		if e.Event == "waits" {
			return e.Plan
		}
	}
	t.Fatalf("the agent ended before it waited: %v", events.Err())
	return ""
}
