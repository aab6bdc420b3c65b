package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) remove() *cobra.Command {
	var in purser.Remove
	var detach, retire, destroy bool
	cmd := s.changing(&cobra.Command{
		Use: "remove RESOURCE --detach|--retire|--destroy", Short: "Detach, retire or destroy a resource", Args: needs("RESOURCE"),
		Long: "End a resource in one of three ways:\n" +
			"  --detach   keep it at the provider, and forget it here\n" +
			"  --retire   cancel its renewal now, and delete it after the grace; purser restore brings it back until then\n" +
			"  --destroy  delete it now, for ever; asks for its name and for the passphrase",
		Example: "  purser remove site --retire\n  purser remove res_01jd... --destroy --dry-run",
	})
	f := cmd.Flags()
	f.BoolVar(&detach, "detach", false, "keep it at the provider, forget it here")
	f.BoolVar(&retire, "retire", false, "cancel the renewal now, delete after the grace")
	f.BoolVar(&destroy, "destroy", false, "delete it now, for ever")
	f.BoolVar(&in.DryRun, "dry-run", false, "say what it would mean, and do nothing")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (removal purser.Removal, err error) {
		in.Resource = args[0]
		for mode, chosen := range map[string]bool{"detach": detach, "retire": retire, "destroy": destroy} {
			if chosen && in.Mode != "" {
				return removal, misused(cmd, "only one of --detach, --retire and --destroy")
			}
			if chosen {
				in.Mode = mode
			}
		}
		if in.Mode == "" {
			return removal, misused(cmd, "say how: --detach, --retire or --destroy")
		}
		if in.Project, err = s.project(in.Project); err != nil {
			return removal, err
		}
		c, err := s.client()
		if err != nil {
			return removal, err
		}
		if destroy && !in.DryRun {
			if in.Confirm, err = s.ask(ctx, "destroying", "This cannot be undone. Type the resource's name: "); err != nil {
				return removal, err
			}
		}
		if ctx, err = s.keyed(ctx, c); err != nil {
			return removal, err
		}
		removal, err = signedIfAsked(ctx, s, c, "remove", in, func(in *purser.Remove, a *purser.Signature) { in.Act = a }, c.Remove)
		if err == nil && removal.Error != nil {
			return removal, &failure{error: removal.Error, data: removal, text: func(p *page) { showRemoval(p, removal) }}
		}
		return removal, err
	}, showRemoval)
	return place(cmd, &in.Project, &in.Env)
}

func showRemoval(p *page, v purser.Removal) {
	resourceTable(p, []purser.Resource{v.Resource})
	state := "would be done"
	switch {
	case v.Done:
		state = "done"
	case v.Pending:
		state = "begun; the provider still works on it"
	}
	p.line("%s: %s", v.Mode, state)
	p.line("stops paying %s; not refunded %s", sum(v.StopsPaying), sum(v.NotRefunded))
	for _, c := range v.Consequences {
		p.line("  %s", c)
	}
	if v.Mode == "retire" && v.Done {
		p.line("to bring it back: purser restore %s", v.Resource.ID)
	}
}

func (s *session) restore() *cobra.Command {
	var in purser.Restore
	cmd := s.changing(&cobra.Command{
		Use: "restore RESOURCE", Short: "Bring a retired resource back within its grace; asks for your signature if it costs again", Args: needs("RESOURCE"),
		Example: "  purser restore res_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (r purser.Resource, err error) {
			in.Resource = args[0]
			if in.Project, err = s.project(in.Project); err != nil {
				return r, err
			}
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return r, err
			}
			return signedIfAsked(ctx, s, c, "restore", in, func(in *purser.Restore, a *purser.Signature) { in.Act = a }, c.Restore)
		}, func(p *page, v purser.Resource) { resourceTable(p, []purser.Resource{v}) }),
	})
	return place(cmd, &in.Project, &in.Env)
}
