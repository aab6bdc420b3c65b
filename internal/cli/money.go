package cli

import (
	"fmt"
	"strings"

	"github.com/purser-dev/purser"
)

// minor shows minor units in the currency of a budget line.
func minor(units int64, b purser.BudgetLine) string {
	return purser.Money{Amount: units, Currency: b.Limit.Currency}.String()
}

// sum shows amounts of several currencies, or "0" when there is none.
func sum(amounts []purser.Money) string {
	if len(amounts) == 0 {
		return "nothing"
	}
	texts := make([]string, len(amounts))
	for i, m := range amounts {
		texts[i] = m.String()
	}
	return strings.Join(texts, " + ")
}

func budgetName(b purser.BudgetLine) string {
	name := b.Name
	if name == "" {
		name = b.ID
	}
	return strings.TrimSpace(b.Scope + " " + name)
}

// budgetText says what became of a limit, so that it adds up: what was spent and came back
// is left again.
func budgetText(b purser.BudgetLine) string {
	period, returned := "", ""
	if b.Period != "" && b.Period != purser.PeriodRun {
		period = " (" + b.Period + ")"
	}
	if b.Refunded != 0 {
		returned = ", returned " + minor(b.Refunded, b)
	}
	return fmt.Sprintf("budget of %s%s: limit %s, held %s, spent %s%s, left %s", budgetName(b), period, b.Limit, minor(b.Held, b), minor(b.Captured, b), returned, minor(b.Left, b))
}

// budgetTable lists the columns that show whether money is left.
func budgetTable(p *page, lines []purser.BudgetLine) {
	var rows [][]string
	for _, b := range lines {
		resets := "-"
		if b.ResetsAt != nil {
			resets = clock(*b.ResetsAt)
		}
		rows = append(rows, []string{budgetName(b), b.Window, b.Limit.String(), minor(b.Held, b), minor(b.Captured, b), minor(b.Refunded, b), minor(b.Left, b), resets})
	}
	p.table([]string{"BUDGET", "WINDOW", "LIMIT", "HELD", "SPENT", "RETURNED", "LEFT", "RESETS"}, rows)
}
