package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) budget() *cobra.Command {
	return family("budget", "See and set limits", s.budgetShow(), s.budgetSet())
}

func (s *session) budgetShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show every budget with what is left", Args: needs(), Example: "  purser budget show",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.BudgetLine], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.BudgetLine]{}, err
			}
			return c.ListBudgets(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.BudgetLine]) { budgetTable(p, v.Items) }),
	}
}

// limitSet shows a limit that was set, and says so when it is spent already.
func limitSet(p *page, v purser.BudgetLine) {
	budgetTable(p, []purser.BudgetLine{v})
	if v.Replay {
		p.line("this key was decided before: the limit as it was set then; purser budget show tells what it is now")
		return
	}
	if use := v.Held + v.Captured - v.Refunded; use > 0 && v.Left == 0 {
		until := "the limit is raised"
		if v.ResetsAt != nil {
			until = clock(*v.ResetsAt) + ", or until " + until
		}
		p.line("%s of it is used already: what is new is refused until %s. Nothing is reversed.", purser.Money{Amount: use, Currency: v.Limit.Currency}, until)
	}
}

func (s *session) budgetSet() *cobra.Command {
	var in purser.SetBudget
	var limit, currency string
	var thresholds []int
	cmd := s.changing(&cobra.Command{
		Use: "set SCOPE [ID]", Short: "Set a limit; raising one asks for your signature", Args: needs("SCOPE", "[ID]"),
		Long:    "Set the limit of an organization, project, provider, run, category or label, in a period. Every one that covers a spend must allow it. A first limit counts what was spent before it in its period; a label's, what is spent from then on. Lowering takes effect at once; raising asks for your signature. An agent lowers its own run's limits, and sets no other.",
		Example: "  purser budget set project shop --limit 50\n  purser budget set provider local --limit \"100.00 USD\"\n  purser budget set label team=search --period day --limit 5",
	})
	cmd.Flags().StringVar(&limit, "limit", "", "the new limit: 20, 20.00 or \"20.00 USD\"")
	cmd.Flags().StringVar(&currency, "currency", "USD", "currency of an amount that names none")
	cmd.Flags().StringVar(&in.Period, "period", "", "hour, day, week, month or total (default month; a run: its whole life)")
	cmd.Flags().IntSliceVar(&thresholds, "thresholds", nil, "percentages of the limit that people are told of (at first 50,80,100)")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (line purser.BudgetLine, err error) {
		if limit == "" {
			return line, misused(cmd, "purser budget set needs --limit")
		}
		in.Scope, in.ID, in.Thresholds = args[0], first(args[1:]), thresholds
		if in.Limit, err = amount(limit, currency); err != nil {
			return line, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return line, err
		}
		return signedIfAsked(ctx, s, c, "set_budget", in, func(in *purser.SetBudget, a *purser.Signature) { in.Act = a }, c.SetBudget)
	}, limitSet)
	return cmd
}
