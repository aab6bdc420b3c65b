package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) add() *cobra.Command {
	var in purser.Add
	var currency string
	cmd := s.changing(&cobra.Command{
		Use: "add SERVICE", Short: "Plan and apply one service", Args: needs("SERVICE"),
		Long:    "Plan and apply one service of the catalog. When a person must approve it, the plan waits and its identifier is in the error.",
		Example: "  purser add local/mail:inbox --set username=hello\n  purser add local/registrar:domain --set domain=superseal.club --dry-run",
	})
	f := cmd.Flags()
	flags := newStepFlags(f)
	f.StringVar(&in.Purpose, "purpose", "", "what it is for; shown to the person who approves, quoted")
	f.StringVar(&in.Run, "run", "", "run (default: the agent's own; a person's opens one)")
	f.StringVar(&currency, "currency", "USD", "currency of amounts that name none")
	f.BoolVar(&in.DryRun, "dry-run", false, "show the plan and buy nothing")
	f.BoolVar(&in.Meant, "again", false, "a repeat on purpose; a person must sign it")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		steps, err := flags.steps(args, currency)
		if err != nil {
			return plan, err
		}
		steps[0].Meant = in.Meant
		if in.Project, err = s.project(in.Project); err != nil {
			return plan, err
		}
		c, err := s.client()
		if err != nil {
			return plan, err
		}
		if err := typed(ctx, c, steps); err != nil {
			return plan, err
		}
		requests, err := s.stageAll(ctx, c, steps)
		if err != nil {
			return plan, err
		}
		in.StepRequest = requests[0]
		if ctx, err = s.keyed(ctx, c); err != nil {
			return plan, err
		}
		if plan, err = c.Add(ctx, in); err != nil || in.DryRun {
			return plan, err
		}
		return s.ended(ctx, c, plan)
	}, s.showBought(&in.DryRun))
	return place(cmd, &in.Project, &in.Env)
}

// showBought shows what came of it, or with --dry-run what would.
func (s *session) showBought(dry *bool) func(*page, purser.Plan) {
	return func(p *page, v purser.Plan) {
		if *dry {
			showTerms(p, v, asPlanned)
			p.line("dry run: nothing was kept or bought")
			return
		}
		showOutcome(p, v)
	}
}
