package console

import (
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/consent"
)

// approvals is the queue of what waits for a person.
func (c *Console) approvals(v *visit) (page, error) {
	waiting, err := do[purser.List[purser.Plan]](v, "list_approvals", purser.Page{Cursor: v.query("cursor"), Limit: 25})
	if err != nil {
		return page{}, err
	}
	return page{title: "Approvals", parts: []part{
		{id: "waits", live: true, label: "Plans that wait", body: waitingPart(v, waiting.Items, true)},
		{id: "older", body: more(after("/approvals", waiting.NextCursor))},
	}}, nil
}

// after is the address of the next page of a list; empty when there is none.
func after(path, cursor string) string {
	if cursor == "" {
		return ""
	}
	return path + "?" + url.Values{"cursor": {cursor}}.Encode()
}

// approval is exactly one plan: what a person has two minutes for.
func (c *Console) approval(v *visit) (page, error) {
	r, err := do[purser.Review](v, "review", purser.PlanRef{Plan: v.r.PathValue("plan")})
	if err != nil {
		return page{}, err
	}
	// The digest is computed from what is shown here, not taken over (RULES 11).
	if _, err := consent.Digest(r.Plan); err != nil {
		return page{}, err
	}
	signed, err := json.MarshalIndent(r.Plan.Terms, "", "  ")
	if err != nil {
		return page{}, err
	}
	waits := r.Plan.State == purser.PlanWaiting
	p := page{title: "Approval", above: "Approvals", abovePath: "/approvals", parts: []part{
		{id: "state", live: true, label: "State", body: planState(v, r.Plan)},
		{id: "differences", label: "What differs", body: differences(r)},
		{id: "what", label: "What is bought", body: whatPart(v, r)},
	}}
	if waits {
		p.title = "Approve this?"
		p.parts = append(p.parts, part{id: "decide", label: "Your decision", class: "decide", body: decidePart(v, r.Plan)})
	}
	p.parts = append(p.parts, []part{
		{id: "changes", body: changesPart(r)},
		{id: "budgets", body: budgetsPart(v, r)},
		{id: "shared", body: sharedPart(r.Plan)},
		{id: "files", body: filesPart(r.Plan)},
		{id: "who", body: whoPart(v, r)},
		{id: "why", body: whyPart(r)},
		{id: "signed", body: signedPart(r.Plan, string(signed))},
	}...)
	return p, nil
}

// deny is a person's no, with a reason that reaches the agent.
func (c *Console) deny(v *visit) (string, error) {
	plan := v.r.PathValue("plan")
	_, err := do[purser.Plan](v, "deny", purser.Deny{Plan: plan, Reason: v.r.PostForm.Get("reason")})
	return "/approvals/" + url.PathEscape(plan), err
}

// lower makes a new plan with a lower ceiling, which is then shown and signed.
func (c *Console) lower(v *visit) (string, error) {
	step, err := strconv.Atoi(v.r.PostForm.Get("step"))
	if err != nil {
		return "", purser.Errorf(purser.InvalidRequest, "the form names no step")
	}
	ceiling, err := purser.ParseMoney(v.r.PostForm.Get("ceiling"), v.r.PostForm.Get("currency"))
	if err != nil {
		return "", purser.Errorf(purser.InvalidRequest, "the ceiling is an amount like 5.00: %v", err)
	}
	made, err := do[purser.Plan](v, "lower_ceiling", purser.LowerCeiling{Plan: v.r.PathValue("plan"), Step: step, Ceiling: ceiling})
	return "/approvals/" + url.PathEscape(made.ID), err
}

// terms shows the text that a hash in a plan stands for.
func (c *Console) terms(v *visit) (page, error) {
	text, err := do[purser.TermsText](v, "show_terms", purser.TermsRef{Terms: v.r.PathValue("terms")})
	if err != nil {
		return page{}, err
	}
	return page{title: "Terms", parts: []part{{id: "terms", body: termsPart(v, text)}}}, nil
}
