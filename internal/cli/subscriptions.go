package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) subscriptions() *cobra.Command {
	cmd := &cobra.Command{
		Use: "subscriptions", Short: "List recurring charges", Args: needs(), Example: "  purser subscriptions\n  purser subscriptions cancel sub_01jd...",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Subscription], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Subscription]{}, err
			}
			return c.Subscriptions(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.Subscription]) { subscriptionTable(p, v.Items) }),
	}
	cmd.AddCommand(s.changing(&cobra.Command{
		Use: "cancel SUBSCRIPTION", Short: "Cancel a recurring charge at its next date", Args: needs("SUBSCRIPTION"),
		Example: "  purser subscriptions cancel sub_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (sub purser.Subscription, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return sub, err
			}
			return c.CancelSubscription(ctx, purser.SubscriptionRef{Subscription: args[0]})
		}, func(p *page, v purser.Subscription) { subscriptionTable(p, []purser.Subscription{v}) }),
	}))
	return cmd
}

func subscriptionTable(p *page, list []purser.Subscription) {
	var rows [][]string
	for _, v := range list {
		next := "-"
		if v.NextAt != nil {
			next = clock(*v.NextAt)
		}
		rows = append(rows, []string{v.ID, v.What, v.State, v.Amount.String() + " per " + v.Interval, v.Maximum.String(), next})
	}
	p.table([]string{"SUBSCRIPTION", "WHAT", "STATE", "AMOUNT", "AT MOST", "NEXT"}, rows)
}
