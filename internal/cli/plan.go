package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) plan() *cobra.Command {
	var in purser.MakePlan
	var file, currency string
	cmd := s.changing(&cobra.Command{
		Use: "plan [SERVICE...]", Short: "Plan exact purchases with quotes; nothing is bought",
		Long: "Plan exact purchases. Each service may be followed by its own --set, --dir, --name and --ceiling.\n" +
			"With -f the steps come from a file: {purpose, steps: [{service, name, set: {...}, ceiling, dir}]}.",
		Example: "  purser plan local/hosting:pro local/registrar:domain --set domain=superseal.club local/hosting:static --dir site\n  purser plan -f stack.yaml --env production",
		Args:    cobra.ArbitraryArgs,
	})
	f := cmd.Flags()
	flags := newStepFlags(f)
	f.StringVarP(&file, "file", "f", "", "read the steps from this YAML file")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for; shown to the person who approves, quoted")
	f.StringVar(&in.Run, "run", "", "run (default: the agent's own)")
	f.StringVar(&currency, "currency", "USD", "currency of amounts that name none")
	f.BoolVar(&in.DryRun, "dry-run", false, "show the plan and keep nothing")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		steps, err := flags.steps(args, currency)
		if err != nil {
			return plan, err
		}
		switch {
		case file != "" && len(args) > 0:
			return plan, misused(cmd, "give services or -f, not both")
		case file != "":
			var purpose string
			if purpose, steps, err = readPlanFile(s.path(file), currency); err != nil {
				return plan, err
			}
			if in.Purpose == "" {
				in.Purpose = purpose
			}
		case len(args) == 0:
			return plan, misused(cmd, "purser plan needs at least one SERVICE, or -f FILE")
		}
		if in.Project, err = s.project(in.Project); err != nil {
			return plan, err
		}
		c, err := s.client()
		if err != nil {
			return plan, err
		}
		if file == "" {
			if err := typed(ctx, c, steps); err != nil {
				return plan, err
			}
		}
		if in.Steps, err = s.stageAll(ctx, c, steps); err != nil {
			return plan, err
		}
		if ctx, err = s.keyed(ctx, c); err != nil {
			return plan, err
		}
		return c.Plan(ctx, in)
	}, showPlan)
	return place(cmd, &in.Project, &in.Env)
}
