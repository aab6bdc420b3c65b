package console

import (
	"net/url"
	"slices"

	"github.com/purser-dev/purser"
)

// runs lists runs, the newest first, with the form for a new one.
func (c *Console) runs(v *visit) (page, error) {
	list, err := do[purser.List[purser.Run]](v, "list_runs", purser.Page{Cursor: v.query("cursor"), Limit: 25})
	if err != nil {
		return page{}, err
	}
	projects, err := do[purser.List[purser.Project]](v, "list_projects", purser.Page{Limit: 200})
	if err != nil {
		return page{}, err
	}
	return page{title: "Runs", parts: []part{
		{id: "list", live: true, label: "Runs, the newest first", body: runsPart(v, list.Items)},
		{id: "older", body: more(after("/runs", list.NextCursor))},
		{id: "new", body: newRun(v, projects.Items)},
	}}, nil
}

// step is one order of a run with the movements of money that belong to it.
type step struct {
	order  purser.Order
	events []purser.MoneyEvent // in the order in which they happened
}

// run is one run: its budget, and a timeline of steps with money.
func (c *Console) run(v *visit) (page, error) {
	r, err := do[purser.Run](v, "show_run", purser.RunRef{Run: v.r.PathValue("run")})
	if err != nil {
		return page{}, err
	}
	money, err := do[purser.Spend](v, "spend", purser.AskSpend{Run: r.ID, Page: purser.Page{Limit: 200}})
	if err != nil {
		return page{}, err
	}
	p := page{title: runName(r), above: "Runs", abovePath: "/runs", parts: []part{
		{id: "run", live: true, label: "The run", body: runPart(v, r)},
		{id: "steps", live: true, body: stepsPart(v, timeline(r.Orders, money.Events))},
		{id: "change", body: changeRun(v, r)},
	}}
	if r.State == "active" {
		p.side = stopForm(v, "run", r.ID, "this run")
	}
	return p, nil
}

// timeline puts the movements of money to the orders that they belong to.
func timeline(orders []purser.Order, events []purser.MoneyEvent) []step {
	steps := make([]step, len(orders))
	at := map[string]int{}
	for i, o := range orders {
		steps[i].order, at[o.ID] = o, i
	}
	for _, e := range slices.Backward(events) { // they come newest first
		if i, ok := at[e.Order]; ok {
			steps[i].events = append(steps[i].events, e)
		}
	}
	return steps
}

// endRun ends a run; its agent's token stops working.
func (c *Console) endRun(v *visit) (string, error) {
	r, err := do[purser.Run](v, "end_run", purser.RunRef{Run: v.r.PathValue("run")})
	return "/runs/" + url.PathEscape(r.ID), err
}

// agents lists the programs that act for people.
func (c *Console) agents(v *visit) (page, error) {
	list, err := do[purser.List[purser.AgentInfo]](v, "list_agents", purser.None{})
	if err != nil {
		return page{}, err
	}
	clients, err := do[purser.List[purser.Grant]](v, "list_grants", purser.Page{Cursor: v.query("clients"), Limit: 50})
	if err != nil {
		return page{}, err
	}
	return page{title: "Agents", parts: []part{
		{id: "agents", live: true, label: "Agents", body: agentsPart(v, list.Items)},
		{id: "clients", live: true, body: clientsPart(v, clients)},
	}}, nil
}

// revokeAgent ends an agent and its tokens.
func (c *Console) revokeAgent(v *visit) (string, error) {
	_, err := do[purser.AgentInfo](v, "revoke_agent", purser.AgentRef{Agent: v.r.PathValue("agent")})
	return "/agents", err
}
