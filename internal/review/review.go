// Package review compares a plan with what its run is for and with the plan before it: what a careful person would notice.
package review

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/domainname"
)

// Compare lists what differs between a plan's steps and the purpose of its run,
// in the person's words, and what is easily overlooked in them. totals are the
// plan's. It finds nothing in a plan that says what the purpose says.
func Compare(purpose string, steps []purser.PlanStep, totals purser.Totals) []purser.Difference {
	var found []purser.Difference
	asked := domains(purpose)
	for _, s := range steps {
		if name, ok := domainOf(s); ok {
			found = append(found, compareDomain(s.N, asked, name)...)
		}
		found = append(found, comparePrice(s)...)
	}
	return append(found, compareTotals(purpose, totals)...)
}

// domainOf is the domain name that a step buys or serves.
func domainOf(s purser.PlanStep) (string, bool) {
	name, ok := s.Configuration["domain"].(string)
	if !ok && s.Deployment != nil && s.Deployment.Domain != "" {
		name, ok = s.Deployment.Domain, true
	}
	return name, ok
}

var nameForm = regexp.MustCompile(`[\p{L}\p{N}\p{M}_-]+(?:\.[\p{L}\p{N}\p{M}_-]+)+`)

// domains finds the domain names in a text; a file's name or a number is none.
func domains(text string) []string {
	var names []string
	for _, word := range nameForm.FindAllString(text, 20) {
		if n, err := domainname.Parse(word); err == nil && n.Managed && !slices.Contains(names, word) {
			names = append(names, word)
		}
	}
	return names
}

// compareDomain judges a name against the names of the purpose: the nearest one counts.
func compareDomain(step int, asked []string, name string) []purser.Difference {
	var found []purser.Difference
	if d, differs := nearest(step, asked, name); differs {
		found = append(found, d)
	}
	parsed, err := domainname.Parse(name)
	if err != nil {
		return append(found, purser.Difference{Step: step, Code: string(domainname.Invalid), Detail: "the name is not a domain name", Found: name})
	}
	if parsed.ASCII != parsed.Unicode {
		found = append(found, purser.Difference{
			Step: step, Code: "look_alike", Found: parsed.ASCII,
			Detail: fmt.Sprintf("the name has letters beyond a to z; it is bought as %s", parsed.ASCII),
		})
	}
	for _, w := range domainname.Warnings(parsed) {
		found = append(found, purser.Difference{Step: step, Code: string(w.Code), Detail: w.Detail, Found: name})
	}
	return found
}

// closeness orders verdicts: which of several asked names the found one was meant to be.
var closeness = []domainname.Verdict{
	domainname.Exact, domainname.Subdomain, domainname.SuffixSubstituted, domainname.NearMiss, domainname.DifferentName, domainname.PrivateSuffix, domainname.Invalid,
}

func nearest(step int, asked []string, name string) (purser.Difference, bool) {
	best, of := -1, ""
	var verdict domainname.Comparison
	for _, a := range asked {
		c := domainname.Compare(a, name)
		if strings.HasSuffix(name, "."+a) { // www.example.com serves example.com
			c.Verdict = domainname.Exact
		}
		if rank := slices.Index(closeness, c.Verdict); best < 0 || rank < best {
			best, of, verdict = rank, a, c
		}
	}
	if best < 0 || verdict.Verdict == domainname.Exact {
		return purser.Difference{}, false
	}
	return purser.Difference{
		Step: step, Code: string(verdict.Verdict), Asked: of, Found: name,
		Detail: fmt.Sprintf("the purpose names %s and this is %s: %s", of, name, verdict.Detail),
	}, true
}

func comparePrice(s purser.PlanStep) []purser.Difference {
	var found []purser.Difference
	money := func(amount int64) string { return purser.Money{Amount: amount, Currency: s.Price.Currency}.String() }
	if s.Price.Ceiling {
		found = append(found, purser.Difference{
			Step: s.N, Code: "ceiling", Detail: fmt.Sprintf("the provider gave no price as a number; up to %s may be taken", money(s.Price.Now)), Found: s.Price.Text,
		})
	}
	if s.Price.Recurring > s.Price.Now && s.Price.Now > 0 && !s.Price.Ceiling {
		found = append(found, purser.Difference{
			Step: s.N, Code: "renews_higher", Asked: money(s.Price.Now), Found: money(s.Price.Recurring),
			Detail: fmt.Sprintf("it renews at %s each %s, and costs %s now", money(s.Price.Recurring), s.Price.Interval, money(s.Price.Now)),
		})
	}
	return found
}

var amountForm = regexp.MustCompile(`(?:\b(\d{1,9}(?:\.\d{1,3})?)\s?([A-Z]{3})\b)|(?:\$\s?(\d{1,9}(?:\.\d{1,2})?))`)

// compareTotals finds sums of the plan that are above every amount that the
// purpose names in their currency.
func compareTotals(purpose string, totals purser.Totals) []purser.Difference {
	largest := map[string]purser.Money{}
	for _, m := range amountForm.FindAllStringSubmatch(purpose, 20) {
		number, currency := m[1], m[2]
		if number == "" {
			number, currency = m[3], "USD"
		}
		if a, err := purser.ParseMoney(number, currency); err == nil && a.Amount > largest[a.Currency].Amount {
			largest[a.Currency] = a
		}
	}
	var found []purser.Difference
	for _, now := range totals.Now {
		if most, named := largest[now.Currency]; named && now.Amount > most.Amount {
			found = append(found, purser.Difference{
				Code: "above_purpose", Asked: most.String(), Found: now.String(),
				Detail: fmt.Sprintf("the plan costs %s now, and the purpose says %s", now, most),
			})
		}
	}
	return found
}
