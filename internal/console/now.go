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
	return page{title: "Now", parts: []part{
		{id: "month", live: true, label: "This month", body: monthTiles(v)},
		{id: "waits", live: true, body: waitingPart(v, waiting.Items, false)},
		{id: "unsettled", live: true, body: unsettledPart(v.overview.Unsettled)},
		{id: "running", live: true, body: runningPart(v, running)},
	}}, nil
}
