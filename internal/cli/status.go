package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) status() *cobra.Command {
	var in purser.AskStatus
	cmd := &cobra.Command{
		Use: "status", Short: "Show what waits, runs, lives and costs", Args: needs(), Example: "  purser status\n  purser status --env production",
		RunE: does(s, func(ctx context.Context, _ []string) (status purser.Status, err error) {
			c, err := s.client()
			if err != nil {
				return status, err
			}
			if in.Project, err = s.project(in.Project); err != nil {
				return status, err
			}
			return c.Status(ctx, in)
		}, showStatus),
	}
	return place(cmd, &in.Project, &in.Env)
}

func showStatus(p *page, v purser.Status) {
	if len(v.Stops) > 0 {
		p.line("STOPPED:")
		stopTable(p, v.Stops)
		p.line("")
	}
	if len(v.Waiting) > 0 {
		p.line("Waiting for a person:")
		planTable(p, v.Waiting)
		p.line("next: purser approve %s", v.Waiting[0].ID)
		p.line("")
	}
	if len(v.Untold) > 0 {
		p.line("Nobody could be told within a day:")
		for _, n := range v.Untold {
			p.line("  %s  %s (%s)", clock(n.CreatedAt), n.Subject, delivered(n))
		}
		p.line("next: purser notices test")
		p.line("")
	}
	if len(v.Unsettled) > 0 {
		p.line("Not settled yet:")
		showOrders(p, v.Unsettled)
		p.line("")
	}
	if len(v.Resources) > 0 {
		resourceTable(p, v.Resources)
		p.line("")
	}
	if len(v.Runs) > 0 {
		runTable(p, v.Runs)
		p.line("")
	}
	budgetTable(p, v.Budgets)
	p.line("committed: %s a month", sum(v.RunRate))
	for _, w := range v.Witnesses {
		p.line("%s", witnessed(w))
	}
}

// witnessed tells in one line how far a witness is.
func witnessed(w purser.WitnessState) string {
	text := fmt.Sprintf("witness %s: has the checkpoint of %d records, %d behind", w.Place, w.Size, w.Behind)
	if w.Fails > 0 {
		text += fmt.Sprintf("; %d tries failed: %s", w.Fails, w.Error)
	}
	return text
}

func resourceTable(p *page, list []purser.Resource) {
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.ID, r.Name, r.Env, r.State, r.Provider + "/" + r.Service, r.Item, r.Cap, r.URL})
	}
	p.table([]string{"RESOURCE", "NAME", "ENV", "STATE", "SERVICE", "ITEM", "CAP", "URL"}, rows)
}

func showOrders(p *page, list []purser.Order) {
	if len(list) == 0 {
		return
	}
	var rows [][]string
	for _, o := range list {
		why := ""
		if o.Error != nil {
			why = string(o.Error.Code) + ": " + o.Error.Detail
		}
		rows = append(rows, []string{o.ID, o.What, string(o.State), o.Held.String(), o.Captured.String(), o.Resource, why})
	}
	p.table([]string{"ORDER", "WHAT", "STATE", "HELD", "SPENT", "RESOURCE", "WHY"}, rows)
	for _, o := range list {
		if next := o.ToResolve(); next != "" {
			p.line("%s: %s", o.ID, next)
		}
	}
}
