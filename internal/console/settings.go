package console

import (
	"maps"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
)

// settings shows what holds for the organization, and this server.
func (c *Console) settings(v *visit) (page, error) {
	budgets, err := do[purser.List[purser.BudgetLine]](v, "list_budgets", purser.None{})
	if err != nil {
		return page{}, err
	}
	targets, err := v.targets(budgets.Items)
	if err != nil {
		return page{}, err
	}
	two, err := do[purser.TwoPeople](v, "two_people", purser.None{})
	if err != nil {
		return page{}, err
	}
	told, err := v.told()
	if err != nil {
		return page{}, err
	}
	sortBudgets(budgets.Items)
	return page{title: "Settings", parts: []part{
		{id: "organization", label: "The organization", body: organizationPart(v)},
		{id: "limits", body: limitsPart(v, budgets.Items)},
		{id: "limit", body: limitForm(v, targets)},
		{id: "two-people", body: twoPeoplePart(v, two)},
		{id: "notices", body: noticesPart(v, told)},
		{id: "told", body: toldPart(v, told)},
		{id: "server", body: serverPart(c)},
	}}, nil
}

// target is something that can have a limit, with what it is.
type target struct{ id, what string }

// targets are what a form offers: what is there, and nothing that one must know.
// Of categories and labels it knows those that have a limit already.
func (v *visit) targets(budgets []purser.BudgetLine) ([]target, error) {
	var out []target
	projects, err := do[purser.List[purser.Project]](v, "list_projects", purser.Page{Limit: 200})
	if err != nil {
		return nil, err
	}
	for _, p := range projects.Items {
		out = append(out, target{p.Name, "project"})
	}
	providers, err := do[purser.List[purser.ProviderInfo]](v, "list_providers", purser.None{})
	if err != nil {
		return nil, err
	}
	for _, p := range providers.Items {
		out = append(out, target{p.Name, "provider"})
	}
	for _, b := range budgets {
		t := target{b.ID, b.Scope}
		switch b.Scope {
		case purser.ScopeRun: // each run that is not over has a budget
			t.what = "run: " + short(orWord(strings.TrimPrefix(b.Name, b.ID), "without a purpose"), 60)
		case purser.ScopeLabel, purser.ScopeCategory:
		default:
			continue
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

// setBudget lowers a limit. Raising one is signed, and goes by the script.
func (c *Console) setBudget(v *visit) (string, error) {
	f := v.r.PostForm
	limit, err := purser.ParseMoney(f.Get("limit"), f.Get("currency"))
	if err != nil {
		return "", purser.Errorf(purser.InvalidRequest, "the limit is an amount like 20.00: %v", err)
	}
	_, err = do[purser.BudgetLine](v, "set_budget", purser.SetBudget{Scope: f.Get("scope"), ID: f.Get("id"), Period: f.Get("period"), Limit: limit})
	return "/settings#limits", err
}

// told is what people are told, and what became of it.
type told struct {
	purser.Notices
	names map[string]string // of people, by identifier
}

func (v *visit) told() (told, error) {
	list, err := do[purser.Notices](v, "list_notices", purser.Page{Limit: 8})
	if err != nil {
		return told{}, err
	}
	people, err := do[purser.List[purser.PersonInfo]](v, "list_people", purser.None{})
	out := told{list, map[string]string{}}
	for _, p := range people.Items {
		out.names[p.ID] = p.Name
	}
	return out, err
}

// has reports whether somebody is told of a kind by a way.
func (t told) has(who, kind, way string) bool {
	return slices.ContainsFunc(t.Holds, func(c purser.NoticeChoice) bool {
		return c.Who == who && c.Kind == kind && slices.Contains(c.Ways, way)
	})
}

// setNotices keeps what somebody wants to be told. Only what differs from what holds is
// set: whoever a choice touches is told of it.
func (c *Console) setNotices(v *visit) (string, error) {
	who := v.r.PostForm.Get("who")
	now, err := v.told()
	if err != nil {
		return "", err
	}
	ways := now.Ways
	if who != "organization" {
		ways = slices.DeleteFunc(slices.Clone(ways), func(w string) bool { return w != "mail" })
	}
	groups := map[string][]string{} // kinds, by the ways that they shall be told by
	for _, kind := range now.Kinds {
		same, group := true, ""
		for _, w := range ways {
			on := slices.Contains(v.r.PostForm[w], kind)
			if same = same && on == now.has(who, kind, w); on {
				group += " " + w
			}
		}
		if !same {
			groups[group] = append(groups[group], kind)
		}
	}
	key := v.by.Key
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		v.by.Key = key + strings.ReplaceAll(group, " ", "-") // each choice is an act of its own
		in := purser.SetNotices{Who: who, Kinds: groups[group], Ways: append([]string{}, strings.Fields(group)...)}
		if _, err := do[purser.Notices](v, "set_notices", in); err != nil {
			return "", err
		}
	}
	return "/settings#notices", nil
}

// testNotices tells the person who asks, now, by every way.
func (c *Console) testNotices(v *visit) (string, error) {
	_, err := do[purser.Notice](v, "test_notices", purser.None{})
	return "/settings#told", err
}

// kindWords say what a notice is about, as a person would.
var kindWords = map[string]string{
	"approval_needed":   "A plan waits for a yes or no",
	"approval_reminder": "A plan still waits, and ends soon",
	"approval_expired":  "Nobody decided in time",
	"second_signature":  "One has signed, a second must",
	"renewal_soon":      "Something renews within a week",
	"payment_required":  "A recurring charge was refused",
	"budget_threshold":  "A budget reached a threshold",
	"stopped":           "Spending was stopped",
	"resumed":           "A stop was lifted",
	"overrun":           "A provider took more than was held",
	"order_unknown":     "Nobody knows whether it was bought",
	"provider_mismatch": "A provider handed over something else",
	"run_paused":        "A run is held back until you look",
	"sign_in_lockout":   "Somebody guesses at sign-ins",
	"page_wanted":       "A page of a provider should be opened",
	"order_waits":       "An order waits for you at its provider",
}

func kindText(kind string) string { return orWord(kindWords[kind], plain(kind)) }

// currencies are those that a form suggests; any other code can be typed. Those
// whose minor unit is no hundredth are all here, because the script reads it from them.
var currencies = []string{
	"USD", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "CNY", "INR", "BRL", "CZK", "DKK", "HKD", "HUF", "IDR", "ILS", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK",
	"SGD", "THB", "TRY", "TWD", "UAH", "ZAR", "AED", "SAR",
	"BIF", "CLP", "DJF", "GNF", "ISK", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF", "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND",
}

// deliveryTones say how a delivery feels.
var deliveryTones = map[string]string{"done": "good", "waiting": "busy", "given_up": "bad", "muted": "warn"}

// deliveryText says what became of a notice, for one receiver.
func (t told) deliveryText(d purser.Delivery) string {
	to := d.Way
	if d.Person != "" {
		to += " to " + short(orWord(t.names[d.Person], d.Person), 40)
	}
	switch d.State {
	case "done":
		return to + ": taken"
	case "waiting":
		if d.Attempts > 0 {
			return to + ": tried " + counted(d.Attempts, "time")
		}
		return to + ": on its way"
	case "moot":
		return to + ": not needed any more"
	case "muted":
		return to + ": too many within the hour"
	case "given_up":
		return to + ": given up"
	}
	return to + ": " + plain(d.State)
}
