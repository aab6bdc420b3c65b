package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) deploy() *cobra.Command {
	var in purser.Deploy
	cmd := s.changing(&cobra.Command{
		Use: "deploy DIR", Short: "Deploy a folder at a name", Args: needs("DIR"),
		Long: "Deploy a folder. It is read here, file by file; links and unreadable files are refused by name before anything happens.\n" +
			"Production takes committed work only, and asks a person.",
		Example: "  purser deploy site --domain superseal.club --env production",
	})
	f := cmd.Flags()
	f.StringVar(&in.Domain, "domain", "", "name to serve it at; it must be yours already")
	f.StringVar(&in.Service, "service", "", "hosting service (default: the one that takes files)")
	f.StringVar(&in.Name, "name", "", "name of the resource")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for; shown to the person who approves, quoted")
	f.StringVar(&in.Run, "run", "", "run (default: the agent's own; a person's opens one)")
	f.BoolVar(&in.DryRun, "dry-run", false, "show the plan and deploy nothing")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
		if in.Project, err = s.project(in.Project); err != nil {
			return plan, err
		}
		c, err := s.client()
		if err != nil {
			return plan, err
		}
		staged, err := s.stage(ctx, c, args[0])
		if err != nil {
			return plan, err
		}
		in.Manifest = staged.Manifest
		if ctx, err = s.keyed(ctx, c); err != nil {
			return plan, err
		}
		if plan, err = c.Deploy(ctx, in); err != nil || in.DryRun {
			return plan, err
		}
		return s.ended(ctx, c, plan)
	}, s.showBought(&in.DryRun))
	return place(cmd, &in.Project, &in.Env)
}
