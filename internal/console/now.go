package console

import "github.com/purser-dev/purser"

// now is the first page: what waits for the person, what runs, what it costs.
func (c *Console) now(v *visit) (page, error) {
	waiting, err := do[purser.List[purser.Plan]](v, "list_approvals", purser.Page{Limit: 5})
	if err != nil {
		return page{}, err
	}
	runs, err := do[purser.List[purser.Run]](v, "list_runs", purser.Page{Limit: 12})
	if err != nil {
		return page{}, err
	}
	var running []purser.Run
	for _, r := range runs.Items {
		if (r.State == "active" || r.State == "stopped") && len(running) < 8 {
			running = append(running, r)
		}
	}
	first, err := v.firstSteps(len(runs.Items) == 0)
	if err != nil {
		return page{}, err
	}
	p := page{title: "Now"}
	if len(first) > 0 {
		p.parts = append(p.parts, part{id: "first", body: firstPart(first)})
	}
	p.parts = append(p.parts, []part{
		{id: "month", live: true, label: "This month", body: monthTiles(v)},
		{id: "waits", live: true, body: waitingPart(v, waiting.Items, false)},
		{id: "unsettled", live: true, body: unsettledPart(v.overview.Unsettled)},
		{id: "running", live: true, body: runningPart(v, running)},
	}...)
	return p, nil
}

// firstStep is something to do before an agent can work.
type firstStep struct {
	what, why, path string
	done            bool
}

// firstSteps are shown until there was a run, to who may take them.
func (v *visit) firstSteps(none bool) ([]firstStep, error) {
	if !none || v.by.Role == purser.Viewer {
		return nil, nil
	}
	budgets, err := do[purser.List[purser.BudgetLine]](v, "list_budgets", purser.None{})
	if err != nil {
		return nil, err
	}
	sellers, err := do[purser.List[purser.ProviderInfo]](v, "list_providers", purser.None{})
	if err != nil {
		return nil, err
	}
	projects, err := do[purser.List[purser.Project]](v, "list_projects", purser.Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	return []firstStep{
		{"Set a limit for the month", "No agent spends above it, whatever it does. Each run and provider has its own beside it.", "/settings#limit", len(budgets.Items) > 0},
		{"Register a provider", "Whoever sells: hosting, domains, databases. Nothing is bought from anybody else.", "/providers#new", len(sellers.Items) > 0},
		{"Make a project", "One app or codebase; what is bought for it is listed there.", "/projects#new", len(projects.Items) > 0},
		{"Start a run, or connect an MCP client to " + v.console.Origin() + "/mcp", "The agent gets a budget, an end and a purpose, and a token that is worth nothing else.", "/runs#new", false},
	}, nil
}
