package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

func (s *session) approvals() *cobra.Command {
	return &cobra.Command{
		Use: "approvals", Short: "List plans that wait for a person", Args: needs(), Example: "  purser approvals",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Plan], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Plan]{}, err
			}
			return all(ctx, c.ListApprovals)
		}, func(p *page, v purser.List[purser.Plan]) {
			if len(v.Items) == 0 {
				p.line("Nothing waits for a person.")
				return
			}
			planTable(p, v.Items)
			p.line("next: purser approve %s", v.Items[0].ID)
		}),
	}
}

func (s *session) approve() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "approve PLAN", Short: "Show a plan and approve exactly it; with your signature", Args: needs("PLAN"),
		Long: "Show a plan and approve exactly what is shown. With a passphrase, the digest that is signed is computed here, from the terms on the screen.\n" +
			"Who has passkeys only gets the address of the plan's page, and the command waits for the decision there.",
		Example: "  purser approve pln_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
			c, err := s.client()
			if err != nil {
				return plan, err
			}
			plan, stood, err := toDecide(ctx, c, args[0])
			if err != nil {
				return plan, err
			}
			shown := &page{}
			showTerms(shown, plan, stood)
			if _, err := s.Err.Write([]byte(shown.String())); err != nil { // never sign what could not be shown
				return plan, err
			}
			var signature *purser.Signature
			if s.signedAct != "" { // the person was sent to the plan's page before
				err = s.decidedThere(ctx, c, plan.ID, purser.Challenge{Link: s.address() + "/approvals/" + plan.ID, NotAfter: plan.ExpiresAt})
			} else {
				signature, err = s.consent(c).Approve(ctx, plan)
			}
			if errors.Is(err, errDecided) {
				return s.decided(ctx, c, plan.ID)
			}
			if err != nil && purser.CodeOf(err) != purser.Forbidden { // as in signed
				return plan, err
			}
			if ctx, err = s.keyed(ctx, c); err != nil {
				return plan, err
			}
			return c.Approve(ctx, purser.Approve{Plan: plan.ID, Act: signature})
		}, func(p *page, v purser.Plan) {
			if v.State == purser.PlanWaiting {
				p.line("Your yes to %s counts; %d of %d people have approved.", v.ID, len(v.Votes), v.Needs)
				return
			}
			p.line("Approved %s.", v.ID)
			p.line("next: purser apply %s", v.ID)
		}),
	})
}

// toDecide is a plan with its budgets as they are now. Only people see those: an agent gets
// the plan, and its refusal when it asks to sign.
func toDecide(ctx context.Context, c *client.Client, id string) (plan purser.Plan, stood string, err error) {
	review, err := c.Review(ctx, purser.PlanRef{Plan: id})
	if purser.CodeOf(err) == purser.Forbidden {
		plan, err = c.ShowPlan(ctx, purser.PlanRef{Plan: id})
		return plan, asPlanned, err
	}
	review.Plan.Budgets = review.Budgets
	return review.Plan, asNow, err
}

// decided is a plan after a person decided on its page.
func (s *session) decided(ctx context.Context, c *client.Client, id string) (purser.Plan, error) {
	plan, err := c.ShowPlan(ctx, purser.PlanRef{Plan: id})
	if err == nil && plan.State == purser.PlanIsDenied {
		why := "a person said no on the plan's page"
		if plan.Approval != nil && plan.Approval.Reason != "" {
			why += ": " + plan.Approval.Reason
		}
		err = purser.Errorf(purser.PlanDenied, "%s", why).WithHint("make another plan")
	}
	return plan, err
}

func (s *session) deny() *cobra.Command {
	var in purser.Deny
	cmd := s.changing(&cobra.Command{
		Use: "deny PLAN", Short: "Deny a plan, with a reason for the agent", Args: needs("PLAN"),
		Example: "  purser deny pln_01jd... --reason \"too dear; look for a cheaper domain\"",
		RunE: does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
			in.Plan = args[0]
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return plan, err
			}
			return c.Deny(ctx, in)
		}, func(p *page, v purser.Plan) { p.line("Denied %s; nothing was bought.", v.ID) }),
	})
	cmd.Flags().StringVar(&in.Reason, "reason", "", "why; the agent reads it")
	return cmd
}
