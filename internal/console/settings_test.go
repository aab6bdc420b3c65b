package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/office"
)

// script makes the request that a script of a page sends.
func (h *house) script(path, key string, in any) *http.Request {
	h.tb.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		h.tb.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, h.server.URL+path, bytes.NewReader(text))
	if err != nil {
		h.tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Idempotency-Key", key)
	return r
}

// do performs an operation as a script of a page does.
func (h *house) do(operation, key string, in any) (status int, body string) {
	h.tb.Helper()
	status, _, body = h.exchange(h.script("/do/"+operation, key, in))
	return status, body
}

func TestALimitOfEachScopeAndPeriodIsSetAndLoweredOnThePage(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	run, _ := h.run("coder", "superseal.club", 4000)
	_, _, page := h.get("/settings")
	targets := map[string]string{"organization": "", "project": "superseal", "provider": "harbor", "run": run.ID, "category": "compute", "label": "team=search"}
	for i, scope := range []string{"organization", "project", "provider", "run", "category", "label"} {
		if !strings.Contains(page, `<option value="`+scope+`"`) {
			t.Errorf("the page offers no limit of a %s", scope)
		}
		for j, period := range []string{"hour", "day", "week", "month", "total", "run"} {
			if period == "run" && scope != "run" {
				continue
			}
			if !strings.Contains(page, `<option value="`+period+`"`) {
				t.Errorf("the page offers no limit of a %s", period)
			}
			currency := []string{"EUR", "JPY", "KWD", "USD"}[(i+j)%4]
			in := purser.SetBudget{Scope: scope, ID: targets[scope], Period: period, Limit: purser.Money{Amount: 900_000, Currency: currency}}
			in.Act = h.sign("set_budget", in)
			if status, body := h.do("set_budget", fmt.Sprintf("set-%d-%d", i, j), in); status != http.StatusOK {
				t.Fatalf("%s, %s, %s: %d %s", scope, period, currency, status, body)
			}
		}
	}
	_, _, page = h.get("/settings")
	for _, line := range must[purser.List[purser.BudgetLine]](h, h.owner, "list_budgets", purser.None{}).Items {
		form := lowering(page, line)
		if form == nil {
			t.Errorf("the page does not lower the %s limit of %s %s in %s", line.Period, line.Scope, line.ID, line.Limit.Currency)
			continue
		}
		half := purser.Money{Amount: line.Limit.Amount / 2, Currency: line.Limit.Currency}
		form.Set("limit", major(half))
		if status, _, body := h.post("/budgets", form.Encode()); status != http.StatusSeeOther {
			t.Fatalf("%v: %d %s", form, status, body)
		}
	}
	for _, line := range must[purser.List[purser.BudgetLine]](h, h.owner, "list_budgets", purser.None{}).Items {
		if line.Limit.Amount != 450_000 && line.Period != "run" && line.Scope != "provider" {
			t.Errorf("%s %s, %s: the limit is %s", line.Scope, line.ID, line.Period, line.Limit)
		}
	}
	// More is a loosening, and takes a signature.
	form := url.Values{"key": {"more"}, "scope": {"organization"}, "period": {"day"}, "currency": {"JPY"}, "limit": {"90000000"}}
	if status, _, body := h.post("/budgets", form.Encode()); status != http.StatusForbidden || !strings.Contains(body, "signature is needed") {
		t.Errorf("raised without a signature: %d %s", status, body)
	}
}

// lowering is the form of the page that lowers a limit, as it would be sent.
func lowering(page string, line purser.BudgetLine) url.Values {
	for _, part := range strings.Split(page, `action="/budgets"`)[1:] {
		part, _, _ = strings.Cut(part, "</form>")
		form := url.Values{}
		for _, field := range strings.Split(part, `<input type="hidden" name="`)[1:] {
			name, rest, _ := strings.Cut(field, `" value="`)
			value, _, _ := strings.Cut(rest, `"`)
			form.Set(name, value)
		}
		if form.Get("scope") == line.Scope && form.Get("id") == line.ID && form.Get("period") == line.Period && form.Get("currency") == line.Limit.Currency {
			return form
		}
	}
	return nil
}

// The script reads the decimals from the list, so every currency that has others
// than two must be in it.
func TestTheCurrencyFieldKnowsEachMinorUnit(t *testing.T) {
	for a := 'A'; a <= 'Z'; a++ {
		for b := 'A'; b <= 'Z'; b++ {
			for c := 'A'; c <= 'Z'; c++ {
				if code := string([]rune{a, b, c}); purser.Exponent(code) != 2 && !slices.Contains(currencies, code) {
					t.Errorf("%s has %d decimals, and the list does not have it", code, purser.Exponent(code))
				}
			}
		}
	}
	h := open(t)
	h.run("coder", "superseal.club", 4000)
	ctx := tab(t, 1280)
	for _, path := range []string{"/settings", "/people", "/runs"} {
		look(t, ctx, h.server.URL+path)
		for code, exponent := range map[string]string{"jpy": "0", "KWD": "3", "EUR": "2", "XYZ": "2"} {
			got := eval[[]string](t, ctx, `(() => {
				const f = document.querySelector("[data-currencies]");
				f.value = "`+code+`";
				f.dispatchEvent(new Event("input", {bubbles: true}));
				const s = [...f.form.querySelectorAll('[data-type="money"]')];
				return [...new Set(s.map((x) => x.dataset.currency + " " + x.dataset.exponent)), f.form.querySelector("[data-currency-name]").textContent];
			})()`)
			if want := []string{strings.ToUpper(code) + " " + exponent, strings.ToUpper(code)}; !slices.Equal(got, want) {
				t.Errorf("%s, %s: the sums are in %q, want %q", path, code, got, want)
			}
		}
	}
}

func TestTwoPeopleAreAskedInEachCurrencyOfItsOwn(t *testing.T) {
	h := open(t)
	h.sql(`INSERT INTO people (organization, id, name, email, role, kdf, public_key, created_at) SELECT organization, 'per_other', 'Bo', 'bo@example.org', 'approver', kdf, public_key, created_at FROM people`)
	for i, m := range []purser.Money{{Amount: 5000, Currency: "USD"}, {Amount: 7000, Currency: "JPY"}} {
		in := purser.SetTwoPeople{Above: m}
		in.Act = h.sign("set_two_people", in)
		if status, body := h.do("set_two_people", fmt.Sprint("two-", i), in); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	for _, path := range []string{"/people", "/settings"} {
		_, _, page := h.get(path)
		for _, want := range []string{">50.00<", ">7000<"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not show %s", path, want)
			}
		}
	}
	_, _, page := h.get("/people")
	for _, want := range []string{`name="above" value="50.00" data-type="money" data-currency="USD" data-exponent="2"`, `name="above" value="7000" data-type="money" data-currency="JPY" data-exponent="0"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no form ends it with %s", want)
		}
	}
}

// letters keep what is sent to people.
type letters struct{ fails bool }

func (l letters) Carry(context.Context, notice.Message) error {
	if l.fails {
		return fmt.Errorf("550 no such mailbox")
	}
	return nil
}

func TestNoticesAreChosenOnThePage(t *testing.T) {
	h := open(t, func(c *office.Config) {
		c.Couriers = map[string]office.Courier{notice.Mail: letters{}, notice.Webhook: letters{true}}
	})
	chosen := func() (all, mine, hooks []string) {
		list := must[purser.Notices](h, h.owner, "list_notices", purser.Page{})
		for _, c := range list.Holds {
			if c.Who == "me" && slices.Contains(c.Ways, "mail") {
				mine = append(mine, c.Kind)
			}
			if c.Who == "organization" && slices.Contains(c.Ways, "webhook") {
				hooks = append(hooks, c.Kind)
			}
		}
		return list.Kinds, mine, hooks
	}
	kinds, mine, hooks := chosen()
	if len(mine) != len(kinds) || len(hooks) != len(kinds) {
		t.Fatalf("at first I am told of %q and the webhook of %q", mine, hooks)
	}
	_, _, page := h.get("/settings")
	for _, kind := range kinds {
		if kindWords[kind] == "" {
			t.Errorf("the page has no words for %s", kind)
		}
		if n := strings.Count(page, `value="`+kind+`" checked`); n != 3 { // me by mail, the organization by both
			t.Errorf("%s is ticked %d times", kind, n)
		}
	}
	less := slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return k == "renewal_soon" || k == "resumed" })
	form := url.Values{"key": {"k1"}, "who": {"me"}, "mail": less}
	for range 2 { // pressed twice
		if status, _, body := h.post("/notices", form.Encode()); status != http.StatusSeeOther {
			t.Fatalf("%d %s", status, body)
		}
	}
	if _, mine, hooks := chosen(); !slices.Equal(mine, less) || len(hooks) != len(kinds) {
		t.Errorf("I am told of %q, the webhook of %q", mine, hooks)
	}
	form = url.Values{"key": {"k2"}, "who": {"organization"}, "mail": kinds, "webhook": {"stopped"}}
	if status, _, body := h.post("/notices", form.Encode()); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	if _, mine, hooks := chosen(); !slices.Equal(mine, less) || !slices.Equal(hooks, []string{"stopped"}) {
		t.Errorf("then I am told of %q, the webhook of %q", mine, hooks)
	}
	// Only what changed was set, and is told: once for me, once for the organization.
	told := 0
	for _, n := range must[purser.Notices](h, h.owner, "list_notices", purser.Page{}).Items {
		if n.Kind == string(notice.ChoicesChanged) {
			told++
			if strings.Contains(fmt.Sprint(n.Facts), "approval_needed") && n.About != "" {
				t.Errorf("a choice that did not change was told: %v", n.Facts)
			}
		}
	}
	if told != 2 {
		t.Errorf("told of %d changes", told)
	}
	if status, _, body := h.post("/notices/test", "key=k3"); status != http.StatusSeeOther {
		t.Fatalf("%d %s", status, body)
	}
	if _, _, page := h.get("/settings"); !strings.Contains(page, "mail to Ada Lindqvist: taken") || !strings.Contains(page, "550 no such mailbox") {
		t.Error("the page does not say what became of the test")
	}
}

func TestWithoutAWayThePageSaysHowToHaveOne(t *testing.T) {
	h := open(t)
	_, _, page := h.get("/settings")
	if !strings.Contains(page, "notices.smtp.host") || !strings.Contains(page, "notices.webhook.url") || strings.Contains(page, `action="/notices"`) {
		t.Error("the page does not say how people are told, or offers what is not there")
	}
}

// Each end that a provider told is on the screens, and marked when it is near.
func TestCredentialsSayTheirClassAndEnd(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	_, agent := h.run("coder", "superseal.club", 9000)
	for name, left := range map[string]time.Duration{"far": 90*24*time.Hour + time.Hour, "near": 3*24*time.Hour + time.Hour, "gone": -time.Hour, "none": 0} {
		h.shop.set(func(s *shop) {
			s.ends = time.Time{}
			if left != 0 {
				s.ends = time.Now().Add(left)
			}
		})
		h.buy(agent, purser.StepRequest{Service: "harbor/hosting:pro", Name: name, Meant: true})
	}
	_, _, list := h.get("/projects")
	for _, r := range must[purser.List[purser.Resource]](h, h.owner, "list_resources", purser.ListResources{}).Items {
		_, _, page := h.get("/resources/" + r.ID)
		want := map[string]string{"far": "end in 90 days", "near": `warn">end in 3 days`, "gone": `bad">ended`, "none": "no end told by the provider"}[r.Name]
		for at, body := range map[string]string{"the resource": page, "the list": list} {
			if !strings.Contains(body, want) || !strings.Contains(body, "class runtime") || !strings.Contains(body, "Fixed price") {
				t.Errorf("%s: %s does not say %q, the class and the cap", r.Name, at, want)
			}
		}
	}
}
