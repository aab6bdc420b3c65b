package client

import (
	"context"

	"github.com/purser-dev/purser"
)

// SetUp: make the first organization and its owner.
func (c *Client) SetUp(ctx context.Context, in purser.SetUp) (purser.SignedIn, error) {
	return call[purser.SignedIn](ctx, c, "set_up", in)
}

// AskSignIn: ask for a sign-in challenge.
func (c *Client) AskSignIn(ctx context.Context, in purser.AskSignIn) (purser.Challenge, error) {
	return call[purser.Challenge](ctx, c, "ask_sign_in", in)
}

// SignIn: sign in with a signed challenge.
func (c *Client) SignIn(ctx context.Context, in purser.SignIn) (purser.SignedIn, error) {
	return call[purser.SignedIn](ctx, c, "sign_in", in)
}

// SignOut: end the token that is used.
func (c *Client) SignOut(ctx context.Context, in purser.SignOut) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "sign_out", in)
}

// AskAct: ask what to sign before an operation that loosens a control.
func (c *Client) AskAct(ctx context.Context, in purser.AskAct) (purser.Challenge, error) {
	return call[purser.Challenge](ctx, c, "ask_act", in)
}

// Whoami: tell which credential is held and what it may do.
func (c *Client) Whoami(ctx context.Context, in purser.None) (purser.WhoAmI, error) {
	return call[purser.WhoAmI](ctx, c, "whoami", in)
}

// CreateProject: make a project.
func (c *Client) CreateProject(ctx context.Context, in purser.CreateProject) (purser.Project, error) {
	return call[purser.Project](ctx, c, "create_project", in)
}

// ListProjects: list projects.
func (c *Client) ListProjects(ctx context.Context, in purser.Page) (purser.List[purser.Project], error) {
	return call[purser.List[purser.Project]](ctx, c, "list_projects", in)
}

// Catalog: list services that can be bought, with numeric prices.
func (c *Client) Catalog(ctx context.Context, in purser.Catalog) (purser.List[purser.Service], error) {
	return call[purser.List[purser.Service]](ctx, c, "catalog", in)
}

// Search: search the catalog. Results are proposals; nothing is bought.
func (c *Client) Search(ctx context.Context, in purser.Search) (purser.List[purser.Service], error) {
	return call[purser.List[purser.Service]](ctx, c, "search", in)
}

// AddProvider: register a provider by its manifest.
func (c *Client) AddProvider(ctx context.Context, in purser.AddProvider) (purser.ProviderInfo, error) {
	return call[purser.ProviderInfo](ctx, c, "add_provider", in)
}

// ListProviders: list registered providers.
func (c *Client) ListProviders(ctx context.Context, in purser.None) (purser.List[purser.ProviderInfo], error) {
	return call[purser.List[purser.ProviderInfo]](ctx, c, "list_providers", in)
}

// CreateRun: make a run with a budget; its agent's token is shown once.
func (c *Client) CreateRun(ctx context.Context, in purser.CreateRun) (purser.Run, error) {
	return call[purser.Run](ctx, c, "create_run", in)
}

// ListRuns: list runs.
func (c *Client) ListRuns(ctx context.Context, in purser.Page) (purser.List[purser.Run], error) {
	return call[purser.List[purser.Run]](ctx, c, "list_runs", in)
}

// ShowRun: show a run with its budget and orders.
func (c *Client) ShowRun(ctx context.Context, in purser.RunRef) (purser.Run, error) {
	return call[purser.Run](ctx, c, "show_run", in)
}

// ExtendRun: give a run more time or money.
func (c *Client) ExtendRun(ctx context.Context, in purser.ExtendRun) (purser.Run, error) {
	return call[purser.Run](ctx, c, "extend_run", in)
}

// EndRun: end a run; its token stops working.
func (c *Client) EndRun(ctx context.Context, in purser.RunRef) (purser.Run, error) {
	return call[purser.Run](ctx, c, "end_run", in)
}

// ListAgents: list agents.
func (c *Client) ListAgents(ctx context.Context, in purser.None) (purser.List[purser.AgentInfo], error) {
	return call[purser.List[purser.AgentInfo]](ctx, c, "list_agents", in)
}

// RevokeAgent: revoke an agent and its tokens.
func (c *Client) RevokeAgent(ctx context.Context, in purser.AgentRef) (purser.AgentInfo, error) {
	return call[purser.AgentInfo](ctx, c, "revoke_agent", in)
}

// Stage: name a folder's files and learn which to upload.
func (c *Client) Stage(ctx context.Context, in purser.Stage) (purser.Staged, error) {
	return call[purser.Staged](ctx, c, "stage", in)
}

// Plan: plan exact purchases with quotes. Nothing is bought.
func (c *Client) Plan(ctx context.Context, in purser.MakePlan) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "plan", in)
}

// ShowPlan: show a plan with its state and orders.
func (c *Client) ShowPlan(ctx context.Context, in purser.PlanRef) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "show_plan", in)
}

// ListApprovals: list plans that wait for a person.
func (c *Client) ListApprovals(ctx context.Context, in purser.Page) (purser.List[purser.Plan], error) {
	return call[purser.List[purser.Plan]](ctx, c, "list_approvals", in)
}

// Approve: approve exactly this plan.
func (c *Client) Approve(ctx context.Context, in purser.Approve) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "approve", in)
}

// Deny: deny a plan, with a reason for the agent.
func (c *Client) Deny(ctx context.Context, in purser.Deny) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "deny", in)
}

// Apply: execute an approved plan. The same call again joins it.
func (c *Client) Apply(ctx context.Context, in purser.Apply) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "apply", in)
}

// Add: plan and apply one service.
func (c *Client) Add(ctx context.Context, in purser.Add) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "add", in)
}

// Deploy: plan and apply the deployment of a staged folder.
func (c *Client) Deploy(ctx context.Context, in purser.Deploy) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "deploy", in)
}

// Resolve: say what became of an order that nobody can look up.
func (c *Client) Resolve(ctx context.Context, in purser.Resolve) (purser.Order, error) {
	return call[purser.Order](ctx, c, "resolve", in)
}

// Status: show what waits, runs, lives and costs.
func (c *Client) Status(ctx context.Context, in purser.AskStatus) (purser.Status, error) {
	return call[purser.Status](ctx, c, "status", in)
}

// Spend: list money by event, with sums and budgets.
func (c *Client) Spend(ctx context.Context, in purser.AskSpend) (purser.Spend, error) {
	return call[purser.Spend](ctx, c, "spend", in)
}

// ListBudgets: list budgets with what is left.
func (c *Client) ListBudgets(ctx context.Context, in purser.None) (purser.List[purser.BudgetLine], error) {
	return call[purser.List[purser.BudgetLine]](ctx, c, "list_budgets", in)
}

// SetBudget: set a limit; raising one needs a signed act.
func (c *Client) SetBudget(ctx context.Context, in purser.SetBudget) (purser.BudgetLine, error) {
	return call[purser.BudgetLine](ctx, c, "set_budget", in)
}

// Subscriptions: list recurring charges.
func (c *Client) Subscriptions(ctx context.Context, in purser.None) (purser.List[purser.Subscription], error) {
	return call[purser.List[purser.Subscription]](ctx, c, "subscriptions", in)
}

// CancelSubscription: cancel a recurring charge at its next date.
func (c *Client) CancelSubscription(ctx context.Context, in purser.SubscriptionRef) (purser.Subscription, error) {
	return call[purser.Subscription](ctx, c, "cancel_subscription", in)
}

// Remove: detach, retire or destroy a resource.
func (c *Client) Remove(ctx context.Context, in purser.Remove) (purser.Removal, error) {
	return call[purser.Removal](ctx, c, "remove", in)
}

// Restore: bring a retired resource back within its grace.
func (c *Client) Restore(ctx context.Context, in purser.Restore) (purser.Resource, error) {
	return call[purser.Resource](ctx, c, "restore", in)
}

// Exec: hand out the credentials of an environment, for a child process.
func (c *Client) Exec(ctx context.Context, in purser.Exec) (purser.Variables, error) {
	return call[purser.Variables](ctx, c, "exec", in)
}

// Stop: stop spending in a scope, at once.
func (c *Client) Stop(ctx context.Context, in purser.Stop) (purser.StopInfo, error) {
	return call[purser.StopInfo](ctx, c, "stop", in)
}

// ShowStop: show a stop and what became of each revocation.
func (c *Client) ShowStop(ctx context.Context, in purser.StopRef) (purser.StopInfo, error) {
	return call[purser.StopInfo](ctx, c, "show_stop", in)
}

// ListStops: list stops that are in force.
func (c *Client) ListStops(ctx context.Context, in purser.None) (purser.List[purser.StopInfo], error) {
	return call[purser.List[purser.StopInfo]](ctx, c, "list_stops", in)
}

// Resume: lift a stop.
func (c *Client) Resume(ctx context.Context, in purser.Resume) (purser.StopInfo, error) {
	return call[purser.StopInfo](ctx, c, "resume", in)
}

// ListNotices: list what people were told, by which ways, and what became of it.
func (c *Client) ListNotices(ctx context.Context, in purser.Page) (purser.Notices, error) {
	return call[purser.Notices](ctx, c, "list_notices", in)
}

// SetNotices: choose of which kinds one is told, and by which ways.
func (c *Client) SetNotices(ctx context.Context, in purser.SetNotices) (purser.Notices, error) {
	return call[purser.Notices](ctx, c, "set_notices", in)
}

// TestNotices: send a test by every way, now.
func (c *Client) TestNotices(ctx context.Context, in purser.None) (purser.Notice, error) {
	return call[purser.Notice](ctx, c, "test_notices", in)
}

// AuditLog: read the audit log.
func (c *Client) AuditLog(ctx context.Context, in purser.AskAudit) (purser.AuditPage, error) {
	return call[purser.AuditPage](ctx, c, "audit_log", in)
}

// Prove: prove that a record is in the log; an agent gets its own run's.
func (c *Client) Prove(ctx context.Context, in purser.Prove) (purser.AuditProof, error) {
	return call[purser.AuditProof](ctx, c, "prove", in)
}

// Checkpoint: get a signed checkpoint of the log, with proof that it only grew.
func (c *Client) Checkpoint(ctx context.Context, in purser.AskCheckpoint) (purser.Checkpoint, error) {
	return call[purser.Checkpoint](ctx, c, "checkpoint", in)
}

// CheckBooks: walk the books and report every fault.
func (c *Client) CheckBooks(ctx context.Context, in purser.None) (purser.Books, error) {
	return call[purser.Books](ctx, c, "check_books", in)
}

// Charge: charge a payment token.
func (c *Client) Charge(ctx context.Context, in purser.Charge) (purser.Charged, error) {
	return call[purser.Charged](ctx, c, "charge", in)
}

// Refund: refund a charge.
func (c *Client) Refund(ctx context.Context, in purser.RefundCharge) (purser.Charged, error) {
	return call[purser.Charged](ctx, c, "refund", in)
}

// ShowProvider: show a provider with its last conformance.
func (c *Client) ShowProvider(ctx context.Context, in purser.ProviderRef) (purser.ProviderInfo, error) {
	return call[purser.ProviderInfo](ctx, c, "show_provider", in)
}

// RemoveProvider: forget a provider that nothing lives at.
func (c *Client) RemoveProvider(ctx context.Context, in purser.ProviderRef) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "remove_provider", in)
}

// RecordConformance: keep the result of a provider's conformance run.
func (c *Client) RecordConformance(ctx context.Context, in purser.RecordConformance) (purser.ProviderInfo, error) {
	return call[purser.ProviderInfo](ctx, c, "record_conformance", in)
}

// Link: plan and apply the linking of an account at a provider.
func (c *Client) Link(ctx context.Context, in purser.LinkProvider) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "link", in)
}

// Unlink: plan and apply forgetting the account at a provider.
func (c *Client) Unlink(ctx context.Context, in purser.UnlinkProvider) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "unlink", in)
}

// Open: get a page of a provider on which a person is signed in.
func (c *Client) Open(ctx context.Context, in purser.OpenLink) (purser.Link, error) {
	return call[purser.Link](ctx, c, "open", in)
}

// ProposeOpen: ask the people to open a page of a provider.
func (c *Client) ProposeOpen(ctx context.Context, in purser.ProposeOpen) (purser.Accepted, error) {
	return call[purser.Accepted](ctx, c, "propose_open", in)
}

// Adopt: plan and apply taking in a resource that is at the provider already.
func (c *Client) Adopt(ctx context.Context, in purser.Adopt) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "adopt", in)
}

// Update: plan and apply a change of a resource's configuration or service.
func (c *Client) Update(ctx context.Context, in purser.UpdateResource) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "update", in)
}

// Upgrade: plan and apply a change to a larger service.
func (c *Client) Upgrade(ctx context.Context, in purser.UpdateResource) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "upgrade", in)
}

// Downgrade: plan and apply a change to a smaller service.
func (c *Client) Downgrade(ctx context.Context, in purser.UpdateResource) (purser.Plan, error) {
	return call[purser.Plan](ctx, c, "downgrade", in)
}

// Rotate: replace a resource's credentials.
func (c *Client) Rotate(ctx context.Context, in purser.ResourceRef) (purser.Rotation, error) {
	return call[purser.Rotation](ctx, c, "rotate", in)
}

// ShowOrder: show an order, with what its provider asks for.
func (c *Client) ShowOrder(ctx context.Context, in purser.OrderRef) (purser.Order, error) {
	return call[purser.Order](ctx, c, "show_order", in)
}

// Inform: answer what a provider asked for before it goes on with an order.
func (c *Client) Inform(ctx context.Context, in purser.Inform) (purser.Order, error) {
	return call[purser.Order](ctx, c, "inform", in)
}

// Review: show a plan with all that a person should see before a decision.
func (c *Client) Review(ctx context.Context, in purser.PlanRef) (purser.Review, error) {
	return call[purser.Review](ctx, c, "review", in)
}

// ShowTerms: show the text that a hash of terms stands for.
func (c *Client) ShowTerms(ctx context.Context, in purser.TermsRef) (purser.TermsText, error) {
	return call[purser.TermsText](ctx, c, "show_terms", in)
}

// Overview: show at a glance what waits, runs and costs.
func (c *Client) Overview(ctx context.Context, in purser.None) (purser.Overview, error) {
	return call[purser.Overview](ctx, c, "overview", in)
}

// Report: add up money by day, provider and project, with a forecast.
func (c *Client) Report(ctx context.Context, in purser.AskReport) (purser.Report, error) {
	return call[purser.Report](ctx, c, "report", in)
}

// ListResources: list what was provisioned.
func (c *Client) ListResources(ctx context.Context, in purser.ListResources) (purser.List[purser.Resource], error) {
	return call[purser.List[purser.Resource]](ctx, c, "list_resources", in)
}

// ShowResource: show a resource.
func (c *Client) ShowResource(ctx context.Context, in purser.ResourceRef) (purser.Resource, error) {
	return call[purser.Resource](ctx, c, "show_resource", in)
}

// SearchAudit: find records of the audit log by words, the newest first.
func (c *Client) SearchAudit(ctx context.Context, in purser.SearchAudit) (purser.FoundRecords, error) {
	return call[purser.FoundRecords](ctx, c, "search_audit", in)
}
