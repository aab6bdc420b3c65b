package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func normalizeOne(t *testing.T, entry string) (Service, []string) {
	t.Helper()
	services, warnings := Normalize("Acme", []json.RawMessage{json.RawMessage(entry)})
	if len(services) != 1 {
		t.Fatalf("%d services, %v", len(services), warnings)
	}
	return services[0], warnings
}

func TestTheProviderDialectIsNormalised(t *testing.T) {
	got, warnings := normalizeOne(t, `{
		"id":"db:pro","description":"A database","categories":["database"],"kind":"deployable","unknown":{"a":1},
		"configuration_schema":{"type":"object","additionalProperties":false,"required":["name"],
			"properties":{"name":{"type":"string","maxLength":5},"size":{"type":"integer","default":1}}},
		"allowed_updates":["db:big",{"service":"db:small","direction":"down"},{"service":"service_ref"}],
		"constraints":{"count":{"at_most":2},"mutual_exclusion":{"allowed_updates":true}},
		"pricing":{"type":"component","component":{"options":[
			{"parent_service_ids":["plan"],"type":"paid","paid":{"type":"freeform","freeform":"$5"}},
			{"parent_service_ids":[],"type":"free","is_default":true}]}}}`)
	no := false
	five := 5
	dollars := Tier{Type: PriceFreeform, Freeform: "$5", IsDefault: true}
	want := Service{
		Object: "v2.provisioning.provider_service_detail", ProviderName: "Acme", ServiceID: "db:pro", Description: "A database",
		Categories: []string{"database"}, Kind: KindDeployable, Scope: ScopeProject, Availability: Available,
		Configuration: Schema{Type: "object", Required: []string{"name"}, AdditionalProperties: &no, Properties: map[string]Property{
			"name": {Type: "string", MaxLength: &five}, "size": {Type: "integer", Default: json.Number("1")},
		}},
		AllowedUpdates: []Update{{"db:big", "any"}, {"db:small", "down"}, {ServiceRef, "any"}}, UpdateableTo: []string{},
		Constraints: []Constraint{{Type: ConstraintCount, Count: &CountConstraint{2}}, {Type: ConstraintExclusion, MutualExclusion: true}},
		Pricing: ServicePricing{Type: PriceComponent, PaidPricing: []Tier{}, Component: &ServiceComponent{Options: []ServiceOption{
			{ParentServices: []string{"plan"}, Type: PricePaid, Paid: &dollars, PaidPricing: []Tier{dollars}},
			{ParentServices: []string{}, Type: PriceFree, IsDefault: true},
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(warnings) > 0 {
		t.Errorf("%v\n%s", warnings, diff)
	}
	if got.Reference() != "acme/db:pro" {
		t.Errorf("reference %s", got.Reference())
	}
}

func TestOddEntriesAreReadAsFarAsPossible(t *testing.T) {
	for _, test := range []struct {
		title, entry string
		check        func(Service) bool
	}{
		{"no updates at all", `{"id":"x","kind":"plan","pricing":{"type":"free"},"allowed_updates":null}`, func(s Service) bool { return len(s.AllowedUpdates) == 0 }},
		{"updates of the wrong kind", `{"id":"x","allowed_updates":{"a":1}}`, func(s Service) bool { return len(s.AllowedUpdates) == 0 }},
		{"an update of the wrong kind", `{"id":"x","allowed_updates":[5,"y",{"direction":"up"}]}`, func(s Service) bool { return len(s.AllowedUpdates) == 1 }},
		{"an unknown constraint", `{"id":"x","constraints":[{"type":"moon","moon":{"phase":1}}]}`, func(s Service) bool { return s.Constraints[0].Type == "moon" }},
		{"constraints as text", `{"id":"x","constraints":"none"}`, func(s Service) bool { return len(s.Constraints) == 0 }},
		{
			"a list of paid prices", `{"id":"x","pricing":{"type":"paid","paid":[{"freeform":"a"},{"freeform":"b","is_default":true}]}}`,
			func(s Service) bool { return len(s.Pricing.PaidPricing) == 2 && s.Pricing.Paid.Freeform == "b" },
		},
		{"an unknown kind needs confirmation", `{"id":"x","kind":"ship","pricing":{"type":"free"}}`, func(s Service) bool { return s.Kind == "ship" && !s.Understood() }},
		{"an unknown pricing needs confirmation", `{"id":"x","kind":"plan","pricing":{"type":"auction"}}`, func(s Service) bool { return !s.Understood() }},
		{
			"a negative price is no price", `{"id":"x","pricing":{"type":"paid","paid":{"x_price":{"currency":"USD","amount_minor":-1}}}}`,
			func(s Service) bool { return s.Pricing.Paid.XPrice == nil },
		},
		{
			"a price with a fraction is no price", `{"id":"x","pricing":{"type":"paid","paid":{"x_price":{"currency":"USD","amount_minor":1.5}}}}`,
			func(s Service) bool { return s.Pricing.Paid.XPrice == nil },
		},
		{
			"a property of the wrong kind", `{"id":"x","configuration_schema":{"properties":{"a":{"type":"string","maxLength":"five"}}}}`,
			func(s Service) bool { return s.Configuration.Properties["a"].Type == "string" },
		},
	} {
		if s, _ := normalizeOne(t, test.entry); !test.check(s) {
			t.Errorf("%s: %+v", test.title, s)
		}
	}
	services, warnings := Normalize("Acme", []json.RawMessage{json.RawMessage(`5`), json.RawMessage(`{}`), json.RawMessage(`{"id":"a"}`), json.RawMessage(`{"id":"a"}`), json.RawMessage(`{`), nil})
	if len(services) != 1 || len(warnings) < 5 {
		t.Errorf("%d services, %v; want one, and a warning for each dropped", len(services), warnings)
	}
}

// TestTheRealCatalogSliceIsNormalised reads 97 services of a public catalog.
func TestTheRealCatalogSliceIsNormalised(t *testing.T) {
	raw, err := os.ReadFile(sharedFile(t, "data", "catalog-slice.json"))
	if err != nil {
		t.Skip("the shared catalog slice is not beside this repository")
	}
	var file struct {
		Services []json.RawMessage `json:"services"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	byProvider := map[string][]json.RawMessage{}
	for _, entry := range file.Services {
		members, err := Object(entry)
		if err != nil {
			t.Fatal(err)
		}
		name := stringOf(members["provider_name"])
		byProvider[name] = append(byProvider[name], entry)
	}
	total, priced := 0, 0
	for name, entries := range byProvider {
		services, warnings := Normalize(name, entries)
		if len(services) != len(entries) || len(warnings) > 0 {
			t.Errorf("%s: %d of %d services, %v", name, len(services), len(entries), warnings)
		}
		for _, s := range services {
			total++
			priced += len(s.Pricing.PaidPricing)
			again, err := encode(s)
			if err != nil {
				t.Fatal(err)
			}
			back, warnings := Normalize(name, []json.RawMessage{again})
			if diff := cmp.Diff([]Service{s}, back); diff != "" || len(warnings) > 0 {
				t.Errorf("normalising %s twice changes it: %v\n%s", s.Reference(), warnings, diff)
			}
		}
	}
	if total != 97 || priced != 313 {
		t.Errorf("%d services with %d prices, want 97 and 313", total, priced)
	}
}

// sharedFile is a file beside the repository, which need not be there.
func sharedFile(t *testing.T, path ...string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(append([]string{dir, "..", "shared"}, path...)...)
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this package")
		}
		dir = filepath.Dir(dir)
	}
}

func tiered() Service {
	return Service{ServiceID: "x", Pricing: ServicePricing{Type: PricePaid, PaidPricing: []Tier{
		{Freeform: "default", IsDefault: true, Configuration: map[string]any{"region": "moon"}},
		{Freeform: "eu", Configuration: map[string]any{"region": "eu"}},
		{Freeform: "eu small", Configuration: map[string]any{"region": "eu", "size": json.Number("1")}},
		{Freeform: "eu small again", Configuration: map[string]any{"region": "eu", "size": 1}},
	}}}
}

func TestTheMostExactTierIsChosen(t *testing.T) {
	for _, test := range []struct {
		title  string
		config map[string]any
		want   string
	}{
		{"most keys win, the first on a tie", map[string]any{"region": "eu", "size": 1}, "eu small"},
		{"values are compared as text", map[string]any{"region": "eu", "size": "1"}, "eu small"},
		{"a float of the same text", map[string]any{"region": "eu", "size": 1.0}, "eu small"},
		{"fewer keys", map[string]any{"region": "eu", "size": 2}, "eu"},
		{"none applies", map[string]any{"region": "us"}, "default"},
	} {
		choice := ChoosePrice(tiered(), test.config, nil)
		if choice.Tier == nil || choice.Tier.Freeform != test.want || choice.Free {
			t.Errorf("%s: %+v", test.title, choice)
		}
	}
	if choice := ChoosePrice(Service{Pricing: ServicePricing{Type: "auction"}}, nil, nil); choice.Free || choice.Tier != nil {
		t.Errorf("an unknown pricing is %+v, want neither free nor priced", choice)
	}
}

func TestAComponentsPriceDependsOnThePlan(t *testing.T) {
	s := Service{Pricing: ServicePricing{Type: PriceComponent, Component: &ServiceComponent{Options: []ServiceOption{
		{ParentServices: []string{"small", "medium"}, Type: PricePaid, PaidPricing: []Tier{{Freeform: "$5", IsDefault: true}}},
		{ParentServices: []string{"big"}, Type: PriceFree, IsDefault: true},
	}}}}
	if c := ChoosePrice(s, nil, []string{"medium"}); c.Free || c.Tier.Freeform != "$5" || c.PlanRequired != nil {
		t.Errorf("under medium: %+v", c)
	}
	if c := ChoosePrice(s, nil, []string{"big"}); !c.Free {
		t.Errorf("under big: %+v", c)
	}
	if c := ChoosePrice(s, nil, nil); c.Free || !slices.Equal(c.PlanRequired, []string{"big", "small", "medium"}) {
		t.Errorf("without a plan: %+v; want the default option's parents first", c)
	}
}

func TestConfigurationIsCheckedWhole(t *testing.T) {
	no, two, three := false, 2, 3
	s := tiered()
	s.Configuration = Schema{Type: "object", Required: []string{"name"}, AdditionalProperties: &no, Properties: map[string]Property{
		"name":  {Type: "string", MinLength: &two, MaxLength: &three, Pattern: "^[a-z]+$"},
		"count": {Type: "integer", Minimum: "8", Maximum: "356", MultipleOf: "4", Default: json.Number("8")},
		"ratio": {Type: "number", MultipleOf: "0.1"},
		"on":    {Type: "boolean"},
		"tier":  {Type: "string", Enum: []any{"a", "b"}},
	}}
	ok := map[string]any{"name": "abc", "count": 12, "ratio": json.Number("0.3"), "on": true, "tier": "a", "region": "eu"}
	filled, faults := Configure(s, map[string]any{"name": "abc"})
	if len(faults) > 0 || filled["count"] != json.Number("8") {
		t.Errorf("defaults: %v, %v", filled, faults)
	}
	if _, faults := Configure(s, ok); len(faults) > 0 {
		t.Errorf("a right one: %v", faults)
	}
	for key, values := range map[string][]any{
		"name":   {"a", "abcd", "ABC", 5, true},
		"count":  {4, 357, 10, 8.5, "8", true},
		"ratio":  {json.Number("0.35"), "0.3", json.Number("1e999999999")},
		"on":     {"true", 1},
		"tier":   {"c", 1},
		"region": {"us"},
		"extra":  {1},
	} {
		for _, value := range values {
			bad := map[string]any{"name": "abc"}
			bad[key] = value
			if _, faults := Configure(s, bad); len(faults) == 0 || !strings.HasPrefix(faults[0], key) {
				t.Errorf("%s = %#v: %v, want a fault that names it", key, value, faults)
			}
		}
	}
	if _, faults := Configure(s, map[string]any{"extra": 1, "tier": "c"}); len(faults) != 3 {
		t.Errorf("%v, want all three faults at once", faults)
	}
}

func TestUpdatesFollowTheirDirection(t *testing.T) {
	s := Service{ServiceID: "a", AllowedUpdates: []Update{{"up", "up"}, {"any", "any"}, {"down", "down"}}}
	for _, test := range []struct {
		to, direction string
		want          bool
	}{
		{"up", "up", true}, {"up", "down", false}, {"any", "down", true}, {"down", "", true}, {"other", "", false}, {"a", "up", true},
	} {
		if got := s.AllowsUpdate(test.to, test.direction); got != test.want {
			t.Errorf("to %s, %q: %v", test.to, test.direction, got)
		}
	}
	s.AllowedUpdates = []Update{{ServiceRef, "any"}}
	if !s.AllowsUpdate("anything", "up") {
		t.Error("the wildcard allows nothing")
	}
}

func TestVariableNames(t *testing.T) {
	for _, test := range []struct {
		resource, key string
		override      map[string]string
		want          string
	}{
		{"firecrawl-api", "api_key", nil, "FIRECRAWL_API_API_KEY"},
		{"firecrawl", "api_key", nil, "FIRECRAWL_API_KEY"},
		{"2nd db", "url", nil, "_2ND_DB_URL"},
		{"größe", "key", nil, "GR__E_KEY"},
		{"mail", "api_key", map[string]string{"api_key": "RESEND_API_KEY"}, "RESEND_API_KEY"},
	} {
		if got := EnvName(test.resource, test.key, test.override); got != test.want {
			t.Errorf("%s, %s is %s, want %s", test.resource, test.key, got, test.want)
		}
	}
}

func TestAManifestIsReadBareOrWrapped(t *testing.T) {
	for _, raw := range []string{
		`{"base_url":"https://p.example/app","oauth_token_endpoint":"https://p.example/t","capabilities":["quotes"],"account_configuration_schema":"{\"type\":\"object\"}"}`,
		`{"name":"p","provisioning":{"base_url":"https://p.example/app/","oauth_token_endpoint":"https://p.example/t","capabilities":["quotes"],"account_configuration_schema":{"type":"object"}}}`,
	} {
		m, err := ParseManifest([]byte(raw))
		if err != nil || m.BaseURL != "https://p.example/app/" || !m.Can(CapQuotes) || string(m.AccountSchema()) != `{"type":"object"}` || !m.Takes(PaymentStripe) {
			t.Errorf("%+v, %v", m, err)
		}
	}
	for _, raw := range []string{
		`{}`, `[]`, `{"base_url":"http://p.example/","oauth_token_endpoint":"https://p.example/t"}`, `{"base_url":"https://p.example/"}`,
		`{"base_url":"https://u:p@p.example/","oauth_token_endpoint":"https://p.example/t"}`,
		`{"base_url":"https://p.example/","oauth_token_endpoint":"file:///etc/passwd"}`,
	} {
		if m, err := ParseManifest([]byte(raw)); err == nil {
			t.Errorf("%s was read as %+v", raw, m)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{
		`{"id":"x","kind":"plan","pricing":{"type":"paid","paid":[{"freeform":"a","configuration":{"a":[1]}}]}}`,
		`{"service_id":"x","id":"prvsvc_1","constraints":{"count":5},"pricing":{"component":{"options":[5,{"parent_services":[{}]}]}}}`,
		`{"id":"x","configuration_schema":{"properties":{"a":5,"b":{"minimum":"x","enum":{}}}}}`, `null`, `{"id":"x","x_env":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		services, _ := Normalize("p", []json.RawMessage{raw})
		for _, s := range services {
			filled, _ := Configure(s, map[string]any{"a": 1, "b": "x"})
			if choice := ChoosePrice(s, filled, nil); choice.Free && s.Pricing.Type != PriceFree && s.Pricing.Type != PriceComponent && choice.Tier == nil {
				t.Errorf("free for no reason: %s", raw)
			}
			again, err := encode(s)
			if err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			if back, _ := Normalize("p", []json.RawMessage{again}); len(back) != 1 {
				t.Errorf("%s was normalised to what cannot be normalised: %s", raw, again)
			}
		}
	})
}
