package console

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/gate"
)

// spend is where the money went and goes.
func (c *Console) spend(v *visit) (page, error) {
	days, err := strconv.Atoi(orWord(v.query("days"), "30"))
	if err != nil {
		return page{}, purser.Errorf(purser.InvalidRequest, "days is a number")
	}
	report, err := do[purser.Report](v, "report", purser.AskReport{Days: days})
	if err != nil {
		return page{}, err
	}
	subs, err := do[purser.List[purser.Subscription]](v, "subscriptions", purser.None{})
	if err != nil {
		return page{}, err
	}
	runs, err := do[purser.List[purser.Run]](v, "list_runs", purser.Page{Limit: 15})
	if err != nil {
		return page{}, err
	}
	money, err := do[purser.Spend](v, "spend", purser.AskSpend{Page: purser.Page{Cursor: v.query("cursor"), Limit: 25}})
	if err != nil {
		return page{}, err
	}
	sortBudgets(money.Budgets)
	return page{
		title: "Spend", styles: []string{"uplot.css"}, scripts: []string{"uplot.js", "chart.js"},
		side: downloads(),
		parts: []part{
			{id: "forecast", live: true, label: "This month", body: forecastPart(v, report)},
			{id: "days", body: daysPart(report, days)},
			{id: "shares", live: true, body: sharesPart(report, runs.Items)},
			{id: "budgets", live: true, body: allBudgets(v, money.Budgets)},
			{id: "subscriptions", body: subscriptionsPart(v, subs.Items)},
			{id: "movements", body: movementsPart(v, money)},
		},
	}, nil
}

// cancelSubscription cancels a recurring charge at its next date.
func (c *Console) cancelSubscription(v *visit) (string, error) {
	_, err := do[purser.Subscription](v, "cancel_subscription", purser.SubscriptionRef{Subscription: v.r.PathValue("subscription")})
	return "/spend#subscriptions", err
}

// spendCSV sends every movement of money, the newest first.
func (c *Console) spendCSV(w http.ResponseWriter, r *http.Request) {
	v := c.visit(w, r, "spend_csv")
	if !v.admitted() {
		return
	}
	in := purser.AskSpend{Page: purser.Page{Limit: 200}}
	out, err := do[purser.Spend](v, "spend", in)
	if err != nil {
		v.fail(err)
		return
	}
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="purser-spend.csv"`)
	lines := csv.NewWriter(w)
	_ = lines.Write([]string{"record", "time", "kind", "amount", "currency", "provider", "project", "run", "order", "hold", "charge"})
	for {
		for _, e := range out.Events {
			_ = lines.Write([]string{
				strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.RFC3339), e.Kind, major(e.Amount), e.Amount.Currency,
				cell(e.Provider), cell(e.Project), cell(e.Run), cell(e.Order), cell(e.Hold), cell(e.Charge),
			})
		}
		lines.Flush()
		if in.Cursor = out.NextCursor; in.Cursor == "" || lines.Error() != nil {
			return
		}
		if out, err = do[purser.Spend](v, "spend", in); err != nil {
			gate.EntryOf(v.ctx).Fail(err)
			panic(http.ErrAbortHandler) // what is sent is not whole, and must not look so
		}
	}
}

// cell keeps a spreadsheet from taking a text for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// day is what one day took, in one currency.
type day struct {
	date string
	net  int64
}

// series are the days of a report for each currency, those without money too.
func series(r purser.Report) map[string][]day {
	sums := map[string]map[string]int64{}
	for _, l := range r.Lines {
		if sums[l.Currency] == nil {
			sums[l.Currency] = map[string]int64{}
		}
		sums[l.Currency][l.Day] += l.Captured - l.Refunded
	}
	out := map[string][]day{}
	from, err := time.Parse(time.DateOnly, r.From)
	if err != nil {
		return out
	}
	for currency, of := range sums {
		for at := from; at.Format(time.DateOnly) <= r.Until; at = at.AddDate(0, 0, 1) {
			date := at.Format(time.DateOnly)
			out[currency] = append(out[currency], day{date, of[date]})
		}
	}
	return out
}

// chartData is what the script draws: seconds of the days at noon, amounts in major units.
func chartData(currency string, days []day) string {
	var data struct {
		Currency string    `json:"currency"`
		Decimals int       `json:"decimals"`
		X        []int64   `json:"x"`
		Y        []float64 `json:"y"`
	}
	data.Currency, data.Decimals = currency, purser.Exponent(currency)
	scale := 1.0
	for range data.Decimals {
		scale *= 10
	}
	for _, d := range days {
		at, err := time.Parse(time.DateOnly, d.date)
		if err != nil {
			continue
		}
		data.X, data.Y = append(data.X, at.Unix()+12*3600), append(data.Y, float64(d.net)/scale)
	}
	text, err := json.Marshal(data)
	if err != nil { // our own type only
		return "{}"
	}
	return string(text)
}

// portion is a name and what it took of the whole.
type portion struct {
	name, path string
	sum        purser.Money
	most       int64 // the largest of the list in its currency
}

// portions adds a report up by a name, the largest first, at most ten.
func portions(lines []purser.ReportLine, by func(purser.ReportLine) (name, path string)) []portion {
	type key struct{ name, path, currency string }
	sums, largest := map[key]int64{}, map[string]int64{}
	for _, l := range lines {
		name, path := by(l)
		sums[key{name, path, l.Currency}] += l.Captured - l.Refunded
	}
	for k, n := range sums {
		largest[k.currency] = max(largest[k.currency], n)
	}
	var out []portion
	for k, n := range sums {
		out = append(out, portion{k.name, k.path, purser.Money{Amount: n, Currency: k.currency}, largest[k.currency]})
	}
	slices.SortFunc(out, func(a, b portion) int {
		if a.sum.Amount != b.sum.Amount {
			if a.sum.Amount > b.sum.Amount {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name+a.sum.Currency, b.name+b.sum.Currency)
	})
	return out[:min(10, len(out))]
}

func byProvider(l purser.ReportLine) (name, path string) {
	return l.Provider, "/providers/" + l.Provider
}

func byProject(l purser.ReportLine) (name, path string) {
	return orWord(l.ProjectName, l.Project), "/projects/" + l.Project
}

// byRun are the newest runs that took something, the dearest first.
func byRun(runs []purser.Run) []portion {
	var out []portion
	largest := map[string]int64{}
	for _, r := range runs {
		b := r.Budget
		if n := b.Captured - b.Refunded; n > 0 {
			out = append(out, portion{runName(r), "/runs/" + r.ID, purser.Money{Amount: n, Currency: b.Limit.Currency}, 0})
			largest[b.Limit.Currency] = max(largest[b.Limit.Currency], n)
		}
	}
	for i := range out {
		out[i].most = largest[out[i].sum.Currency]
	}
	slices.SortStableFunc(out, func(a, b portion) int { return int(min(1, max(-1, b.sum.Amount-a.sum.Amount))) })
	return out[:min(10, len(out))]
}
