package console

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"

	"github.com/a-h/templ"

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
	names, err := v.voters(r.Plan)
	if err != nil {
		return page{}, err
	}
	p := page{title: "Approval", above: "Approvals", abovePath: "/approvals", parts: []part{
		{id: "state", live: true, label: "State", body: planState(v, r.Plan, names)},
		{id: "newer", live: true, label: "A newer plan", body: newerPart(r)},
		{id: "differences", label: "What differs", body: differences(r)},
		{id: "what", label: "What is bought", body: whatPart(v, r)},
	}}
	decide := part{id: "decide", live: true, label: "Your decision", class: "decide", body: templ.NopComponent}
	if r.Plan.State == purser.PlanWaiting {
		p.title = "Approve this?"
		decide.body = decidePart(v, r.Plan)
	}
	p.parts = append(p.parts, decide)
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

// voters names those whose yes counts already, where two people are needed.
func (v *visit) voters(p purser.Plan) (map[string]string, error) {
	names := map[string]string{}
	if len(p.Votes) == 0 {
		return names, nil
	}
	list, err := do[purser.List[purser.PersonInfo]](v, "list_people", purser.None{})
	for _, x := range list.Items {
		names[x.ID] = x.Name
	}
	return names, err
}

// voted reports whether a person's yes to a plan counts already.
func voted(p purser.Plan, person string) bool {
	return slices.ContainsFunc(p.Votes, func(x purser.Vote) bool { return x.Approver == person })
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
	v.by.Key += "-" + strconv.FormatInt(ceiling.Amount, 10) // another amount is another request
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
