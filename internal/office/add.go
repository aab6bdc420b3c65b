package office

import (
	"context"

	"github.com/purser-dev/purser"
)

// Add plans and applies one service. When a person must decide first, it stops
// with needs_approval and the plan's identifier; apply goes on from there.
func (o *Office) Add(ctx context.Context, by purser.Actor, in purser.Add) (purser.Plan, error) {
	return o.planAndApply(ctx, by, "add", purser.MakePlan{
		Project: in.Project, Env: in.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{in.StepRequest},
	}, in.Wait)
}

// Deploy plans and applies the deployment of a staged folder. Without a service
// it takes the one of the catalog that takes files.
func (o *Office) Deploy(ctx context.Context, by purser.Actor, in purser.Deploy) (purser.Plan, error) {
	if in.Service == "" {
		ref, err := o.hosting(ctx)
		if err != nil {
			return purser.Plan{}, err
		}
		in.Service = ref
	}
	step := purser.StepRequest{Service: in.Service, Name: in.Name, Manifest: in.Manifest, Configuration: map[string]any{}}
	if in.Domain != "" {
		step.Configuration["domain"] = in.Domain
	}
	return o.planAndApply(ctx, by, "deploy", purser.MakePlan{
		Project: in.Project, Env: in.Env, Run: in.Run, Purpose: in.Purpose, DryRun: in.DryRun, Steps: []purser.StepRequest{step},
	}, in.Wait)
}

// hosting is the one service that takes files; which of several is meant is not
// for us to choose.
func (o *Office) hosting(ctx context.Context) (string, error) {
	all, err := o.entries(ctx, o.Store.Read(), "")
	if err != nil {
		return "", err
	}
	found := []string{}
	for _, e := range all {
		if o.Deployer.Takes(e.Categories, e.Outputs) {
			found = append(found, e.Ref.String())
		}
	}
	if len(found) != 1 {
		return "", purser.Errorf(purser.InvalidRequest, "%d services take files: name one", len(found)).WithHint("purser deploy DIR --service PROVIDER/SERVICE")
	}
	return found[0], nil
}

// planAndApply makes a plan and applies it. Whoever gave no time to wait for a person
// hears at once that one must decide.
func (o *Office) planAndApply(ctx context.Context, by purser.Actor, operation string, in purser.MakePlan, wait int) (purser.Plan, error) {
	plan, err := o.makePlan(ctx, by, operation, in)
	if err != nil || in.DryRun {
		return plan, err
	}
	if plan, err = o.ShowPlan(ctx, by, purser.PlanRef{Plan: plan.ID}); err != nil {
		return plan, err
	}
	if plan.State == purser.PlanWaiting && wait <= 0 {
		return purser.Plan{}, needsApproval(plan)
	}
	by.Key = "" // the plan is its own key from here
	return o.Apply(ctx, by, purser.Apply{Plan: plan.ID, Wait: wait})
}
