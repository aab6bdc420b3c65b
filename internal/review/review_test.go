package review

import (
	"slices"
	"testing"

	"github.com/purser-dev/purser"
)

func buy(name string) purser.PlanStep {
	return purser.PlanStep{
		N: 1, Kind: purser.ServiceStep, Provider: "local", Service: "registrar:domain", Item: name + " for 1 year", Configuration: map[string]any{"domain": name},
		Price: purser.Price{Currency: "USD", Now: 1200, Recurring: 1200, Interval: "year"},
	}
}

func TestWhatDiffersFromThePurposeIsNamed(t *testing.T) {
	usd := func(n int64) purser.Totals { return purser.Totals{Now: []purser.Money{{Amount: n, Currency: "USD"}}} }
	for _, c := range []struct {
		name, purpose string
		step          purser.PlanStep
		totals        purser.Totals
		want          []string
	}{
		{"the very name", "put the app on superseal.club for at most 20 USD", buy("superseal.club"), usd(1200), nil},
		{"a name below the one asked for", "superseal.com please", buy("www.superseal.com"), usd(0), nil},
		{"another suffix", "put the app on superseal.club", buy("superseal.cc"), usd(0), []string{"suffix_substituted"}},
		{"a digit for a letter", "put the app on superseal.club", buy("supersea1.club"), usd(0), []string{"near_miss", "digits_for_letters"}},
		{"a Cyrillic letter", "put the app on superseal.club", buy("ѕuperseal.club"), usd(0), []string{"different_name", "look_alike", "mixed_scripts"}},
		{"another name", "put the app on superseal.club", buy("walrus.club"), usd(0), []string{"different_name"}},
		{"the nearest of two", "superseal.club or walrus.club", buy("walrus.club"), usd(0), nil},
		{"no name in the purpose", "a blog", buy("walrus.club"), usd(0), nil},
		{"a version number is no name", "use go 1.26 and main.go", buy("walrus.club"), usd(0), nil},
		{"dearer than the purpose says", "superseal.club, at most $10", buy("superseal.club"), usd(1001), []string{"above_purpose"}},
		{"exactly what the purpose says", "superseal.club, at most 10.00 USD", buy("superseal.club"), usd(1000), nil},
		{"another currency is not compared", "superseal.club, at most 10 EUR", buy("superseal.club"), usd(1001), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var codes []string
			for _, d := range Compare(c.purpose, []purser.PlanStep{c.step}, c.totals) {
				codes = append(codes, d.Code)
			}
			if !slices.Equal(codes, c.want) {
				t.Errorf("found %v, want %v", codes, c.want)
			}
		})
	}
}

func TestARenewalAboveTheFirstPriceAndACeilingAreNamed(t *testing.T) {
	s := buy("superseal.club")
	s.Price.Recurring = 4000
	if d := Compare("", []purser.PlanStep{s}, purser.Totals{}); len(d) != 1 || d[0].Code != "renews_higher" || d[0].Found != "40.00 USD" {
		t.Errorf("%+v", d)
	}
	s.Price = purser.Price{Currency: "USD", Now: 500, Ceiling: true, Text: "contact us"}
	if d := Compare("", []purser.PlanStep{s}, purser.Totals{}); len(d) != 1 || d[0].Code != "ceiling" || d[0].Found != "contact us" {
		t.Errorf("%+v", d)
	}
}

func TestEachChangeOfATermIsListed(t *testing.T) {
	old := purser.PlanTerms{Purpose: "a", Env: "production", Steps: []purser.PlanStep{buy("superseal.club")}}
	if c := Changes(old, old); len(c) != 0 {
		t.Errorf("the same plan has the changes %v", c)
	}
	for what, change := range map[string]func(*purser.PlanStep){
		"item":          func(s *purser.PlanStep) { s.Item = "superseal.cc" },
		"price now":     func(s *purser.PlanStep) { s.Price.Now++ },
		"renewal":       func(s *purser.PlanStep) { s.Price.AutoRenew = true },
		"refund until":  func(s *purser.PlanStep) { s.Price.RefundableTill = "2026-12-01" },
		"effect":        func(s *purser.PlanStep) { s.Effect = purser.Final },
		"spending cap":  func(s *purser.PlanStep) { s.Price.Cap = "none" },
		"configuration": func(s *purser.PlanStep) { s.Configuration = map[string]any{"domain": "superseal.cc"} },
		"account":       func(s *purser.PlanStep) { s.Account = &purser.AccountTerms{Email: "a@b.c"} },
		"data shared":   func(s *purser.PlanStep) { s.Account = &purser.AccountTerms{Shares: []string{"name"}} },
		"terms":         func(s *purser.PlanStep) { s.Account = &purser.AccountTerms{TermsHash: "sha256:1"} },
		"files":         func(s *purser.PlanStep) { s.Deployment = &purser.Deployment{Files: 1} },
		"ceiling":       func(s *purser.PlanStep) { s.Price.Ceiling = true },
	} {
		s := buy("superseal.club")
		change(&s)
		c := Changes(old, purser.PlanTerms{Purpose: "a", Env: "production", Steps: []purser.PlanStep{s}})
		if len(c) != 1 || c[0].What != what || c[0].Before == c[0].After {
			t.Errorf("%s changed: %+v", what, c)
		}
	}
	added := buy("walrus.club")
	added.N, added.Service = 2, "hosting:pro"
	c := Changes(old, purser.PlanTerms{Purpose: "b", Env: "development", Steps: []purser.PlanStep{added}})
	if len(c) != 4 || c[2].After == "" || c[2].Before != "" || c[3].Before == "" || c[3].After != "" {
		t.Errorf("one step for another, another purpose and environment: %+v", c)
	}
	if Related(old, purser.PlanTerms{Steps: []purser.PlanStep{added}}) || !Related(old, old) {
		t.Error("plans are related by the services in them")
	}
}
