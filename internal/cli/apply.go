package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

func (s *session) apply() *cobra.Command {
	var in purser.Apply
	cmd := s.changing(&cobra.Command{
		Use: "apply PLAN", Short: "Execute an approved plan; the same call again joins it", Args: needs("PLAN"),
		Long: "Execute an approved plan and follow it to its end. The same call again joins the one that runs; it never buys twice.\n" +
			"A plan that still needs a person is waited for.",
		Example: "  purser apply pln_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (plan purser.Plan, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return plan, err
			}
			in.Plan = args[0]
			plan, err = c.Apply(ctx, in)
			if err != nil {
				return plan, err
			}
			return s.ended(ctx, c, plan)
		}, showOutcome),
	})
	cmd.Flags().IntVar(&in.Wait, "wait", 0, "seconds to wait for a plan that still needs a person (default: 55)")
	return cmd
}

// ended follows a plan that is still applied until it ends. Looking changes
// nothing, so no key is spent on it.
func (s *session) ended(ctx context.Context, c *client.Client, plan purser.Plan) (purser.Plan, error) {
	for plan.State == purser.PlanApplying && !stuck(plan) {
		select {
		case <-ctx.Done():
			return plan, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
		var err error
		if plan, err = c.ShowPlan(ctx, purser.PlanRef{Plan: plan.ID}); err != nil {
			return plan, fmt.Errorf("following plan %s: %w", plan.ID, err)
		}
	}
	if plan.State == purser.PlanDone {
		return plan, nil
	}
	return plan, unfinished(plan)
}

// stuck reports whether an order waits for a person: nothing moves until then.
func stuck(plan purser.Plan) bool {
	for _, o := range plan.Orders {
		if o.State == purser.OrderUnknown {
			return true
		}
	}
	return false
}

// unfinished is a plan that did not come to its end. The exit code says why.
func unfinished(plan purser.Plan) error {
	err := plan.Error
	if err == nil {
		err = purser.Errorf(purser.InvalidState, "plan %s is %s", plan.ID, plan.State)
		for _, o := range plan.Orders {
			if o.State == purser.OrderUnknown {
				err = purser.Errorf(purser.OutcomeUnknown, "the outcome of order %s (%s) is not known", o.ID, o.What).
					WithHint("look at the provider, then: purser resolve %s --outcome live --found ID, or --outcome failed", o.ID)
			}
		}
	}
	err.Plan = plan.ID
	return &failure{error: err, data: plan, text: func(p *page) { showOutcome(p, plan) }}
}

func showOutcome(p *page, v purser.Plan) {
	p.line("Plan %s: %s", v.ID, v.State)
	showOrders(p, v.Orders)
}
