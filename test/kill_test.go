package test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/purser-dev/purser/internal/child"
)

// call is the message of the wire that belongs to an order step.
type call struct{ name, method, path, body string }

// calls are where each step of the demo's plan can be cut: the message whose
// loss hurts most. The deployment has two: the first and the one that publishes.
var calls = []call{
	{"link", "POST", "/provisioning/account_requests", ""},
	{"link's token", "POST", "/oauth/token", ""},
	{"hosting:pro", "POST", "/provisioning/resources", "hosting:pro"},
	{"hosting:pro's charge", "POST", "/v1/rail/charges", "hosting:pro"},
	{"registrar:domain's quote", "POST", "/provisioning/quotes", "registrar:domain"},
	{"registrar:domain", "POST", "/provisioning/resources", "registrar:domain"},
	{"registrar:domain's charge", "POST", "/v1/rail/charges", domain},
	{"hosting:static", "POST", "/provisioning/resources", "hosting:static"},
	{"the upload", "POST", "/assets-upload-session", ""},
	{"the deployment", "PUT", "/workers/", ""},
}

// fate is what becomes of the held message after the kill.
type fate struct {
	name string
	at   moment
	late bool // it is delivered after all, when the victim is back
}

var fates = []fate{
	{"before the work, and the message is lost", before, false},
	{"before the work, and the message arrives late", before, true},
	{"after the work, and the answer is lost", after, false},
}

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
				gates := h.gates(f.at)
				h.applying(t, plan.ID)
				for i, g := range gates {
					h.strike(t, victim, calls[i].name, g, f)
				}
				h.bought(t, h.ends(t, plan.ID, patience))
				h.settled(t)
				h.served(t)
			})
		}
	}
}

// gates puts up a gate for each call. All at once: a gate that is put up after
// the kill before it could be too late.
func (h *house) gates(at moment) (all []*gate) {
	for _, c := range calls {
		all = append(all, h.wire.hold(at, c.method, c.path, c.body))
	}
	return all
}

// strike kills the victim while a call is held, and brings it back.
func (h *house) strike(t *testing.T, victim, name string, g *gate, f fate) {
	t.Helper()
	t.Log(name)
	g.wait(t)
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
		g.let(true)
		g.done(t)
	}
}

// An agent that dies leaves a plan that goes on without it; the next process with
// its token joins.
func TestAnAgentKilledAtEachStepChangesNothing(t *testing.T) {
	whole(t)
	h := build(t, "", 2000)
	agent, events := h.startAgent(t)
	plan := awaitPlan(t, events)
	gates := h.gates(before)
	h.person.approves(t, plan)
	for i, g := range gates {
		g.wait(t)
		kill(t, agent)
		t.Log(calls[i].name)
		agent = h.startApply(t, plan)
		g.let(true)
		g.done(t)
	}
	if err := agent.Err(); err != nil {
		t.Errorf("the last agent, which lived: %v", err)
	}
	h.bought(t, h.ends(t, plan, patience))
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
