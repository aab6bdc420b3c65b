package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) spend() *cobra.Command {
	var in purser.AskSpend
	cmd := &cobra.Command{
		Use: "spend", Short: "List money by event, with sums and budgets", Args: needs(),
		Example: "  purser spend\n  purser spend --run run_01jd... --json",
		RunE: does(s, func(ctx context.Context, _ []string) (spend purser.Spend, err error) {
			c, err := s.client()
			if err != nil {
				return spend, err
			}
			if in.Project, err = s.project(in.Project); err != nil {
				return spend, err
			}
			spend, err = c.Spend(ctx, in)
			for err == nil && spend.NextCursor != "" && spend.NextCursor != in.Cursor {
				var more purser.Spend
				in.Cursor = spend.NextCursor
				more, err = c.Spend(ctx, in)
				spend.Events, spend.NextCursor = append(spend.Events, more.Events...), more.NextCursor
			}
			return spend, err
		}, func(p *page, v purser.Spend) {
			var rows [][]string
			for _, e := range v.Events {
				rows = append(rows, []string{fmt.Sprint(e.Seq), clock(e.At), e.Kind, e.Amount.String(), e.Provider, e.Order})
			}
			p.table([]string{"RECORD", "AT", "EVENT", "AMOUNT", "PROVIDER", "ORDER"}, rows)
			p.line("")
			p.line("spent %s, held %s, returned %s", sum(v.Captured), sum(v.Held), sum(v.Refunded))
			p.line("")
			budgetTable(p, v.Budgets)
		}),
	}
	cmd.Flags().StringVar(&in.Project, "project", "", "only this project (default: of .purser.yaml, else all)")
	cmd.Flags().StringVar(&in.Run, "run", "", "only this run")
	return cmd
}
