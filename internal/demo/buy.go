package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/child"
)

// Event is one line that the agent writes on its standard output.
type Event struct {
	Event string        `json:"event"` // did, waits, done, failed
	Text  string        `json:"text,omitempty"`
	Plan  string        `json:"plan,omitempty"`
	Error *purser.Error `json:"error,omitempty"`
}

// buy lets the agent work: a process with nothing but its token and the URL, in
// an empty folder of its own, that talks MCP over HTTP.
func (v *Voyage) buy(ctx context.Context) error {
	home := filepath.Join(v.Dir, "agent")
	if err := os.Mkdir(home, 0o700); err != nil {
		return fmt.Errorf("making the agent's folder: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	defer read.Close()
	cmd := exec.Command(v.Program, "demo-agent", "--site", v.site.Root, "--domain", v.Domain, "--env", v.env)
	cmd.Env = []string{"PURSER_URL=" + v.Ready.URL, "PURSER_TOKEN=" + v.run.Token}
	cmd.Dir, cmd.Stdout = home, write
	agent, err := child.Start(cmd, true)
	_ = write.Close() // the agent has its own
	if err != nil {
		return err
	}
	defer func() { _ = agent.Stop(0) }() // it has ended, or must
	stop := context.AfterFunc(ctx, func() { _ = read.Close() })
	defer stop()
	v.Say("the agent (pid %d) has its token, the URL and an empty folder", agent.Pid())
	return v.follow(ctx, read)
}

// follow reads what the agent tells, and answers when it waits for a person.
func (v *Voyage) follow(ctx context.Context, out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading what the agent tells: %w", err)
		}
		switch e.Event {
		case "did":
			v.Say("agent: %s", e.Text)
		case "waits":
			v.Say("agent: %s", e.Text)
			if err := v.decide(ctx, e.Plan); err != nil {
				return err
			}
		case "failed":
			return v.failed(ctx, e)
		case "done":
			v.Say("agent: %s", e.Text)
			var err error
			v.plan, err = v.person.ShowPlan(ctx, purser.PlanRef{Plan: e.Plan})
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return purser.Errorf(purser.Unavailable, "the agent ended without a word; the server's log ends with:\n%s", tail(v.serverLog()))
}

// failed tells what the agent could not do, with the orders as the person sees them.
func (v *Voyage) failed(ctx context.Context, e Event) error {
	err := e.Error
	if err == nil {
		err = purser.Errorf(purser.Internal, "%s", e.Text)
	}
	if e.Plan != "" {
		if plan, lookErr := v.person.ShowPlan(ctx, purser.PlanRef{Plan: e.Plan}); lookErr == nil {
			var states []string
			for _, o := range plan.Orders {
				states = append(states, fmt.Sprintf("%s %s", o.What, o.State))
			}
			if len(states) > 0 {
				v.Say("orders: %s", strings.Join(states, "; "))
			}
		}
	}
	return fmt.Errorf("the agent's work: %w", err)
}
