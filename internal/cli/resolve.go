package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) resolve() *cobra.Command {
	var in purser.Resolve
	cmd := s.changing(&cobra.Command{
		Use: "resolve ORDER --outcome live|failed", Short: "Say what became of an order that nobody can look up; asks for your signature", Args: needs("ORDER"),
		Long: "Say what became of an order whose answer was lost at a provider that cannot be asked. Look at the provider first.\n" +
			"live: it is there, under the identifier that --found names. failed: nothing came of it; what is still held goes back, and what was charged is the provider's to give back.",
		Example: "  purser resolve ord_01jd... --outcome failed",
	})
	cmd.Flags().StringVar(&in.Outcome, "outcome", "", "live or failed")
	cmd.Flags().StringVar(&in.Found, "found", "", "with live: its exact identifier at the provider, which is read back")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (order purser.Order, err error) {
		if in.Order = args[0]; in.Outcome != "live" && in.Outcome != "failed" {
			return order, misused(cmd, "--outcome is live or failed")
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return order, err
		}
		return signed(ctx, s, c, "resolve", in, func(in *purser.Resolve, a *purser.Signature) { in.Act = a }, c.Resolve)
	}, func(p *page, v purser.Order) { showOrders(p, []purser.Order{v}) })
	return cmd
}
