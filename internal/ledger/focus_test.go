package ledger

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

// focusColumn is a column as the standard publishes it.
type focusColumn struct {
	Name, Level, Type string
	Nulls             bool
	Values            []string
	// Parent is the column that Of names the values of: each belongs to one.
	Parent string
	Of     map[string][]string
}

func readFOCUS(t *testing.T) map[string]focusColumn {
	t.Helper()
	text, err := os.ReadFile("testdata/focus-" + FOCUSVersion + "-columns.json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Source, Version string
		Columns         []focusColumn
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	all := map[string]focusColumn{}
	for _, c := range list.Columns {
		all[c.Name] = c
	}
	// The standard counts them.
	if list.Version != FOCUSVersion || list.Source == "" || len(all) != 57 || len(list.Columns) != len(all) {
		t.Fatalf("%d columns of version %q of %q", len(all), list.Version, list.Source)
	}
	return all
}

var (
	focusDecimal  = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	focusDateTime = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`)
	focusCurrency = regexp.MustCompile(`^[A-Z]{3}$`)
)

// checkFOCUS names what is wrong with a row: its columns, their values, and the
// rules that hold between them.
func checkFOCUS(published map[string]focusColumn, names, row []string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for name, c := range published {
		if c.Level == "mandatory" && !slices.Contains(names, name) {
			fault("%s is missing", name)
		}
	}
	if len(row) != len(names) {
		fault("%d values in %d columns", len(row), len(names))
		return faults
	}
	value := map[string]string{}
	for i, name := range names {
		c, known := published[name]
		value[name] = row[i]
		switch v := row[i]; {
		case !known && !strings.HasPrefix(name, "x_"):
			fault("%s is no column of the standard", name)
		case !known:
		case v == "" && !c.Nulls:
			fault("%s is null", name)
		case v == "":
		case c.Type == "enum" && !slices.Contains(c.Values, v),
			c.Type == "decimal" && !focusDecimal.MatchString(v),
			c.Type == "datetime" && !focusDateTime.MatchString(v),
			c.Type == "currency" && !focusCurrency.MatchString(v),
			c.Type == "json" && json.Unmarshal([]byte(v), &map[string]string{}) != nil:
			fault("%s is %q", name, v)
		}
	}
	for name, c := range published {
		if v := value[name]; v != "" && c.Parent != "" && !slices.Contains(c.Of[value[c.Parent]], v) {
			fault("%s %q is not of %s %q", name, v, c.Parent, value[c.Parent])
		}
	}
	if value["ChargeCategory"] == "Purchase" && value["ChargeFrequency"] == "Usage-Based" {
		fault("a purchase that is charged by use")
	}
	for _, of := range []string{"BillingAccount", "SubAccount"} {
		if value[of+"Id"] == "" && value[of+"Name"] != "" {
			fault("%sName without its id", of)
		}
	}
	if value["ChargeClass"] != "Correction" && (value["PricingQuantity"] == "" || value["PricingUnit"] == "") {
		fault("a purchase or usage without a quantity or a unit")
	}
	if value["ChargePeriodStart"] >= value["ChargePeriodEnd"] || value["BillingPeriodStart"] >= value["BillingPeriodEnd"] {
		fault("a period ends before it begins")
	}
	if value["ChargePeriodStart"] < value["BillingPeriodStart"] || value["ChargePeriodStart"] >= value["BillingPeriodEnd"] {
		fault("the charge is outside of its billing period")
	}
	return faults
}

func TestEachCostIsARowOfThePublishedColumns(t *testing.T) {
	published := readFOCUS(t)
	names := FOCUSColumns()
	at := func(name string, row []string) string { return row[slices.Index(names, name)] }
	auckland, err := time.LoadLocation("Pacific/Auckland")
	if err != nil {
		t.Fatal(err)
	}
	base := Cost{
		Seq: 12, N: 1, At: time.Date(2026, 12, 1, 0, 30, 0, 0, auckland), Zone: auckland, Kind: Capture, Money: purser.Money{Amount: 1205, Currency: "USD"},
		Organization: "org_1", Name: "Home, sweet \"home\"", Project: "prj_1", ProjectName: "shop", Provider: "local", Category: "domains", What: "local/registrar:domain",
		Held: time.Date(2026, 12, 1, 0, 29, 0, 0, auckland), Run: "run_1", Order: "ord_1", Resource: "res_1",
	}
	for _, c := range []struct {
		name   string
		change func(*Cost)
		want   map[string]string
	}{
		{"a capture", func(*Cost) {}, map[string]string{
			"BilledCost": "12.05", "ChargeCategory": "Purchase", "ChargeFrequency": "One-Time", "ChargeClass": "", "ServiceCategory": "Networking",
			// The month of the organization, not the one that it is in London.
			"BillingPeriodStart": "2026-11-30T11:00:00Z", "BillingPeriodEnd": "2026-12-31T11:00:00Z", "x_AuditSequence": "12",
		}},
		{"a refund in its month", func(c *Cost) { c.Kind = Refund }, map[string]string{"BilledCost": "-12.05", "PricingQuantity": "-1", "ChargeClass": ""}},
		{"a refund in a later month", func(c *Cost) { c.Kind, c.Held = Refund, c.Held.Add(-time.Hour) }, map[string]string{"BilledCost": "-12.05", "ChargeClass": "Correction"}},
		{"a renewal", func(c *Cost) { c.Recurring = true }, map[string]string{"ChargeCategory": "Purchase", "ChargeFrequency": "Recurring"}},
		{"metered", func(c *Cost) { c.Kind, c.Usage = Charge, true }, map[string]string{"ChargeCategory": "Usage", "ChargeFrequency": "Usage-Based"}},
		{"an overrun", func(c *Cost) { c.Kind = Overrun }, map[string]string{"BilledCost": "12.05"}},
		{"what was above comes back", func(c *Cost) { c.Kind = Return }, map[string]string{"BilledCost": "-12.05", "PricingQuantity": "-1"}},
		{"yen", func(c *Cost) { c.Money.Currency = "JPY" }, map[string]string{"BilledCost": "1205", "BillingCurrency": "JPY"}},
		{"dinar", func(c *Cost) { c.Money.Currency = "KWD" }, map[string]string{"BilledCost": "1.205"}},
		{"nothing known of it", func(c *Cost) {
			*c = Cost{Seq: 1, N: 1, At: c.At, Kind: Capture, Money: purser.Money{Amount: 1, Currency: "USD"}, Organization: "org_1", Provider: "p"}
		}, map[string]string{"BilledCost": "0.01", "ServiceCategory": "Other", "ServiceName": "p", "Tags": "{}"}},
		{"labelled", func(c *Cost) { c.Category, c.Labels = "", []string{"team=search", "tier=a,b", "team=blue"} }, map[string]string{
			"Tags": `{"purser/order":"ord_1","purser/run":"run_1","team":"blue","tier":"a,b"}`,
		}},
		{"mail is not artificial", func(c *Cost) { c.Category = "email" }, map[string]string{"ServiceCategory": "Integration"}},
		{"blogs are no logs", func(c *Cost) { c.Category = "blogs" }, map[string]string{"ServiceCategory": "Other"}},
		{"models", func(c *Cost) { c.Category = "large-models" }, map[string]string{"ServiceCategory": "AI and Machine Learning"}},
		{"an unknown service", func(c *Cost) { c.Category = "fortune telling" }, map[string]string{"ServiceCategory": "Other", "ServiceSubcategory": "Other (Other)"}},
	} {
		cost := base
		c.change(&cost)
		row, err := FOCUS(cost)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, f := range checkFOCUS(published, names, row) {
			t.Errorf("%s: %s", c.name, f)
		}
		for name, want := range c.want {
			if got := at(name, row); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, name, got, want)
			}
		}
		for _, name := range []string{"EffectiveCost", "ListCost", "ContractedCost"} {
			if at(name, row) != at("BilledCost", row) {
				t.Errorf("%s: %s is %s", c.name, name, at(name, row))
			}
		}
	}
	for _, kind := range []Kind{Hold, Release, "gift"} {
		cost := base
		cost.Kind = kind
		if row, err := FOCUS(cost); err == nil {
			t.Errorf("a %s became %v", kind, row)
		}
	}
	for category := range strings.SplitSeq("domains dns hosting database storage email auth analytics compute ai cdn monitoring ci secrets x", " ") {
		cost := base
		cost.Category = category
		row, err := FOCUS(cost)
		if faults := checkFOCUS(published, names, row); err != nil || len(faults) > 0 {
			t.Errorf("%s: %v %v", category, faults, err)
		}
	}
}

// The check itself finds what is wrong.
func TestTheCheckOfRowsCanFail(t *testing.T) {
	published, names := readFOCUS(t), FOCUSColumns()
	good, err := FOCUS(Cost{Seq: 1, N: 1, At: time.Unix(1_790_000_000, 0), Kind: Capture, Money: purser.Money{Amount: 1, Currency: "USD"}, Organization: "org_1", Provider: "p"})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(names, row []string){
		"a column of our own":   func(names, _ []string) { names[0] = "Cost" },
		"a category of our own": func(names, row []string) { row[slices.Index(names, "ServiceCategory")] = "Domains" },
		"a part of another category": func(names, row []string) {
			row[slices.Index(names, "ServiceSubcategory")] = "Object Storage"
		},
		"a purchase by use": func(names, row []string) { row[slices.Index(names, "ChargeFrequency")] = "Usage-Based" },
		"an account of no id": func(names, row []string) {
			row[slices.Index(names, "SubAccountId")], row[slices.Index(names, "SubAccountName")] = "", "shop"
		},
		"tags in a list":      func(names, row []string) { row[slices.Index(names, "Tags")] = `["a"]` },
		"no currency":         func(names, row []string) { row[slices.Index(names, "BillingCurrency")] = "" },
		"a comma in a number": func(names, row []string) { row[0] = "1,205.00" },
		"a local time":        func(names, row []string) { row[slices.Index(names, "ChargePeriodEnd")] = "2026-11-30 11:00" },
		"a period in reverse": func(names, row []string) {
			row[slices.Index(names, "ChargePeriodEnd")] = row[slices.Index(names, "BillingPeriodStart")]
		},
	} {
		n, row := slices.Clone(names), slices.Clone(good)
		change(n, row)
		if len(checkFOCUS(published, n, row)) == 0 {
			t.Errorf("%s is not found", name)
		}
	}
}
