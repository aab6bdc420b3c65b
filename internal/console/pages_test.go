package console

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"

	"github.com/purser-dev/purser"
)

// inline finds what the content security policy forbids anyway.
var inline = regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:`)

func TestEachScreenIsThereWithLittleAndWithMuch(t *testing.T) {
	for _, much := range []bool{false, true} {
		h := open(t)
		for name, path := range h.furnish(much) {
			status, header, body := h.get(path)
			want := http.StatusOK
			if name == "lost" {
				want = http.StatusNotFound
			}
			if status != want || header.Get("Content-Security-Policy") != policy || header.Get("Cache-Control") != "no-store" || header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%s: %d, %v", path, status, header)
			}
			if found := inline.FindString(body); found != "" {
				t.Errorf("%s has something inline: %s", path, found)
			}
			if !strings.Contains(body, `action="/stops"`) || !strings.Contains(body, `href="#content"`) || strings.Count(body, "<h1>") != 1 {
				t.Errorf("%s lacks the stop button, the skip link or its one heading", path)
			}
		}
	}
}

// A provider and an agent write what they like; none of it becomes part of the page.
func TestForeignTextStaysText(t *testing.T) {
	long := strings.Repeat("x", 10000)
	for name, text := range map[string]string{
		"HTML":          `<b>bold</b><img src=x onerror=alert(1)>`,
		"a script":      `</bdi><script>alert(1)</script>`,
		"an attribute":  `" onmouseover="alert(1)`,
		"right to left": "abc\u202egnp.exe\u2066\u200f",
		"length":        long,
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			h.shop.set(func(s *shop) { s.words, s.terms = text, text })
			h.provider("Harbor")
			_, agent := h.run("coder", "put the shop on superseal.club "+text[:min(400, len(text))], 4000)
			h.shop.set(func(s *shop) { s.item = text[:min(200, len(text))] })
			plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Purpose: text, Steps: []purser.StepRequest{{Service: "harbor/hosting:pro", Name: "shop"}}})
			must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: plan.ID})
			h.shop.set(func(s *shop) { s.item = "" })
			paths := []string{"/", "/approvals", "/approvals/" + plan.ID, "/runs", "/runs/" + plan.Terms.Run, "/catalog", "/providers/harbor", "/audit", "/spend", "/catalog?words=" + url.QueryEscape(text), "/audit?words=" + url.QueryEscape(text)}
			for _, s := range plan.Terms.Steps {
				if s.Account != nil {
					paths = append(paths, "/terms/"+s.Account.TermsHash)
				}
			}
			for _, path := range paths {
				status, _, body := h.get(path)
				if status != http.StatusOK {
					t.Fatalf("%s: %d", path[:min(80, len(path))], status)
				}
				shown := regexp.MustCompile(`(?s)<pre.*?</pre>|<blockquote class="terms">.*?</blockquote>|(?:data-proof|value|hx-sse:connect)="[^"]*"`).ReplaceAllString(body, "")
				for what, hostile := range map[string]bool{
					"markup":          strings.Contains(body, "<b>bold") || strings.Contains(body, "<img") || strings.Contains(body, "<script>"),
					"an attribute":    strings.Contains(body, `" onmouseover`),
					"a turning mark":  strings.ContainsAny(body, "\u202e\u2066\u200f"),
					"all of the text": strings.Contains(shown, strings.Repeat("x", 700)),
				} {
					if hostile {
						t.Errorf("%s holds %s", path[:min(80, len(path))], what)
					}
				}
			}
		})
	}
}

func TestAPlanIsDeniedOnceWithAReasonThatReachesTheAgent(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	_, agent := h.run("coder", "superseal.club", 4000)
	plan := h.plan(agent, "", domain("harbor", "superseal.club"))
	form := url.Values{"key": {"k1"}, "reason": {"too dear"}}.Encode()
	for range 2 { // pressed twice, decided once
		if status, header, body := h.post("/approvals/"+plan.ID+"/deny", form); status != http.StatusSeeOther || header.Get("Location") != "/approvals/"+plan.ID {
			t.Errorf("denied: %d %s %s", status, header.Get("Location"), body)
		}
	}
	if p := must[purser.Plan](h, agent, "show_plan", purser.PlanRef{Plan: plan.ID}); p.State != purser.PlanIsDenied || p.Approval.Reason != "too dear" {
		t.Errorf("the agent reads %s, %+v", p.State, p.Approval)
	}
	if _, _, body := h.get("/approvals/" + plan.ID); !strings.Contains(body, "too dear") || strings.Contains(body, "data-act=\"approve\"") {
		t.Error("the page does not say why it was denied, or still offers to approve")
	}
	if status, _, _ := h.post("/approvals/"+plan.ID+"/deny", "reason=no"); status != http.StatusBadRequest {
		t.Errorf("a form without a key: %d", status)
	}
}

// "Yes, but not that much" makes another plan: it is shown with what is less in it, it
// is what is signed, and the plan before can be signed by nobody any more.
func TestALowerCeilingIsANewPlanThatIsShownAndSigned(t *testing.T) {
	h := open(t)
	h.provider("Quill")
	run, agent := h.run("coder", "somebody looks at the queries", 9000)
	for period, amount := range map[string]int64{"day": 6000, "month": 25000} {
		in := purser.SetBudget{Scope: "run", ID: run.ID, Period: period, Limit: purser.Money{Amount: amount, Currency: "USD"}}
		in.Act = h.sign("set_budget", in)
		must[purser.BudgetLine](h, h.owner, "set_budget", in)
	}
	old := h.plan(agent, "", purser.StepRequest{Service: "quill/advice:hours", Name: "review", Ceiling: &purser.Money{Amount: 3000, Currency: "USD"}})
	step := old.Terms.Steps[len(old.Terms.Steps)-1].N
	path := "/approvals/" + old.ID
	_, _, body := h.get(path)
	for _, want := range []string{`action="` + path + `/lower"`, "At most, in USD", "of 60.00 USD a day", "of 250.00 USD a month", "of 90.00 USD for the run"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	form := func(key, ceiling, currency string) string {
		return url.Values{"key": {key}, "step": {strconv.Itoa(step)}, "currency": {currency}, "ceiling": {ceiling}}.Encode()
	}
	for _, bad := range [][2]string{{"30.00", "USD"}, {"40", "USD"}, {"0", "USD"}, {"-1", "USD"}, {"20.005", "USD"}, {"20", "EUR"}, {"twenty", "USD"}} {
		if status, _, _ := h.post(path+"/lower", form("bad-"+bad[0]+bad[1], bad[0], bad[1])); status != http.StatusBadRequest {
			t.Errorf("a ceiling of %q: %d", bad, status)
		}
	}
	next := ""
	for range 2 { // pressed twice, made once
		status, header, body := h.post(path+"/lower", form("k", "20.00", "USD"))
		if next = header.Get("Location"); status != http.StatusSeeOther || next == path || !strings.HasPrefix(next, "/approvals/pln_") {
			t.Fatalf("lowered: %d %s %s", status, next, body)
		}
	}
	if plans := must[purser.List[purser.Plan]](h, h.owner, "list_approvals", purser.Page{}).Items; len(plans) != 1 {
		t.Errorf("%d plans wait", len(plans))
	}
	made := must[purser.Plan](h, h.owner, "show_plan", purser.PlanRef{Plan: strings.TrimPrefix(next, "/approvals/")})
	_, _, body = h.get(next)
	for _, want := range []string{"Changed since the last plan", "<del><bdi>30.00 USD", "<ins><bdi>20.00 USD", `href="` + path + `"`, `data-digest="` + made.Digest + `"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the new plan's page lacks %s", want)
		}
	}
	if made.Digest == old.Digest || strings.Contains(body, old.Digest) {
		t.Error("the page would sign the plan before")
	}
	_, _, body = h.get(path)
	if !strings.Contains(body, "Denied.") || !strings.Contains(body, made.ID) || strings.Contains(body, `data-act="approve"`) || strings.Contains(body, "/lower") {
		t.Error("the old plan can still be decided, or does not name the new one")
	}
	signature, err := h.signer().Approve(context.Background(), old)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := h.do("approve", "late", purser.Approve{Plan: old.ID, Act: signature}); status == http.StatusOK || !strings.Contains(body, "the plan is denied") {
		t.Errorf("the old plan, signed: %d %s", status, body)
	}
	h.approve(made)
	if done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: made.ID}); done.State != purser.PlanDone {
		t.Errorf("the new plan is %s", done.State)
	}
	if _, err := try[purser.Plan](h, agent, "apply", purser.Apply{Plan: old.ID}); purser.CodeOf(err) != purser.PlanDenied {
		t.Errorf("the old plan: %v", err)
	}
}

func TestTheStopButtonStopsAndTellsWhatIsOpen(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	run, agent := h.run("coder", "superseal.club", 9000)
	h.buy(agent, domain("harbor", "first.club"))
	wait := make(chan struct{})
	h.shop.set(func(s *shop) { s.wait = wait })
	plan := h.plan(agent, "", domain("harbor", "superseal.club"))
	h.approve(plan)
	bought := make(chan error, 1)
	go func() {
		_, err := try[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		bought <- err
	}()
	within(t, "the provider is being called", func() bool {
		open := must[purser.Overview](h, h.owner, "overview", purser.None{}).Unsettled
		return len(open) == 1 && open[0].State == purser.OrderBuying
	})
	began := time.Now()
	status, header, body := h.post("/stops", url.Values{"key": {"k"}, "scope": {"organization"}}.Encode())
	if status != http.StatusSeeOther {
		t.Fatalf("stopped: %d %s", status, body)
	}
	_, _, body = h.get(header.Get("Location"))
	t.Logf("stopped and told in %v", time.Since(began))
	if !strings.Contains(body, "no new purchase in everything is accepted") || !strings.Contains(body, "superseal.club") {
		t.Error("the page does not tell what was stopped and what is open")
	}
	if _, err := try[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("harbor", "second.club")}}); purser.CodeOf(err) != purser.Stopped {
		t.Errorf("after the stop: %v", err)
	}
	close(wait)
	<-bought
	if _, _, body := h.get("/runs/" + run.ID); !strings.Contains(body, "Stopped:") {
		t.Error("the other pages do not say that a stop is in force")
	}
}

func TestNobodyIsSentToSignInAndAViewerDecidesNothing(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	_, agent := h.run("coder", "superseal.club", 4000)
	plan := h.plan(agent, "", domain("harbor", "superseal.club"))
	viewer := h.owner
	viewer.Role = purser.Viewer
	h.sessions.set(viewer)
	if _, _, body := h.get("/approvals/" + plan.ID); strings.Contains(body, `data-act="approve"`) {
		t.Error("a viewer is offered to approve")
	}
	if status, _, _ := h.post("/approvals/"+plan.ID+"/deny", "key=k"); status != http.StatusForbidden {
		t.Errorf("a viewer denies: %d", status)
	}
	h.sessions.set(purser.Actor{})
	if status, header, _ := h.get("/runs?cursor=x"); status != http.StatusSeeOther || header.Get("Location") != "/sign-in?next=%2Fruns%3Fcursor%3Dx" {
		t.Errorf("nobody: %d %s", status, header.Get("Location"))
	}
	for _, path := range []string{"/stops", "/budgets"} {
		if status, _, _ := h.post(path, "key=k"); status != http.StatusUnauthorized {
			t.Errorf("nobody posts to %s: %d", path, status)
		}
	}
}

func TestTheThemeIsKeptAndLeadsNowhereElse(t *testing.T) {
	h := open(t)
	for back, want := range map[string]string{
		"/runs?x=1": "/runs?x=1", "//evil.example/": "/", "https://evil.example/": "/", `/\evil.example`: "/", "": "/", "/a\nb": "/",
	} {
		status, header, _ := h.post("/theme", url.Values{"theme": {"dark"}, "back": {back}}.Encode())
		if status != http.StatusSeeOther || header.Get("Location") != want || !strings.Contains(header.Get("Set-Cookie"), "dark") {
			t.Errorf("from %q: %d to %q, %q", back, status, header.Get("Location"), header.Get("Set-Cookie"))
		}
	}
}

func TestExportsAreWholeFilesAndFormulasStayText(t *testing.T) {
	h := open(t)
	h.furnish(true)
	for path, want := range map[string]string{"/spend.csv": "record,time,kind", "/focus.csv": "BilledCost", "/audit.jsonl": "purser"} {
		status, header, body := h.get(path)
		if status != http.StatusOK || !strings.Contains(header.Get("Content-Disposition"), "attachment") || !strings.Contains(body, want) {
			t.Errorf("%s: %d %v %.200s", path, status, header, body)
		}
	}
	if cell("=1+1") != "'=1+1" || cell("harbor") != "harbor" {
		t.Error("a cell may be taken for a formula")
	}
}

// A form that a script sends would put its fields into the address, if it was
// pressed before the script is there.
func TestNoFormOfAScriptIsSentAsAnAddress(t *testing.T) {
	sources, err := filepath.Glob("*.templ")
	if err != nil {
		t.Fatal(err)
	}
	forms := 0
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range regexp.MustCompile(`<form[^\n]*\sdata-(act|do|enter|answer)=[^\n]*`).FindAllString(string(text), -1) {
			if forms++; !strings.HasPrefix(form, "<form { unsent... } ") {
				t.Errorf("%s: %s", name, form)
			}
		}
	}
	if forms < 20 {
		t.Errorf("%d forms were found", forms)
	}
	h := open(t)
	if _, _, body := h.get("/settings"); !strings.Contains(body, `<form action="/unsent" method="post" data-act="set_budget"`) {
		t.Error("the form of a limit is not sent to where nothing reads it")
	}
	status, header, body := h.post("/unsent", "code=secret")
	if status != http.StatusBadRequest || header.Get("Location") != "" || strings.Contains(body, "secret") || !strings.Contains(body, "nothing was done") {
		t.Errorf("pressed too early: %d %s", status, body)
	}
}

// An agent may plan again while its first plan waits. Both can be signed, so each
// page tells of the other.
func TestThePageOfAPlanTellsOfANewerOneForTheSameThing(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	_, agent := h.run("coder", "put the shop on superseal.club", 400000)
	old := h.plan(agent, "", domain("harbor", "superseal.club"))
	_, _, before := h.get("/approvals/" + old.ID)
	newer := h.plan(agent, "", domain("harbor", "superseal.cc"))
	_, _, after := h.get("/approvals/" + old.ID)
	_, _, page := h.get("/approvals/" + newer.ID)
	const told = "There is a newer plan for the same thing"
	if strings.Contains(before, told) || !strings.Contains(after, told) || !strings.Contains(after, `href="/approvals/`+newer.ID) {
		t.Error("the older plan's page does not tell of the newer one, or too early")
	}
	if strings.Contains(page, told) || !strings.Contains(page, `href="/approvals/`+old.ID) {
		t.Error("the newer plan's page says that there is a newer one, or not what changed")
	}
}

// Nobody signs in vain unknowing: what the pace of the run will refuse stands on the page.
func TestThePageOfAPlanTellsWhatWouldRefuseIt(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	_, agent := h.run("coder", "put the shop on superseal.club", 400000)
	once, twice := domain("harbor", "superseal.club"), domain("harbor", "superseal.club")
	twice.Name = "twice"
	const told = "It would be refused if it began now."
	if _, _, page := h.get("/approvals/" + h.plan(agent, "", once).ID); strings.Contains(page, told) {
		t.Error("a plan that nothing would refuse says that something would")
	}
	_, _, page := h.get("/approvals/" + h.plan(agent, "", once, twice).ID)
	if !strings.Contains(page, told) || !strings.Contains(page, "Step 3: ") || !strings.Contains(page, "purser add SERVICE --again") {
		t.Error("the page does not say which step is a repeat, or what to do")
	}
}

// What a gauge says adds up: what was spent and came back is left again.
func TestAGaugeSaysWhatCameBack(t *testing.T) {
	b := purser.BudgetLine{Period: purser.PeriodMonth, Limit: purser.Money{Amount: 10000, Currency: "USD"}, Captured: 1500, Held: 398}
	if got, want := gaugeText(b), "15.00 spent, 3.98 held of 100.00 USD a month"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Refunded = 1100
	if got, want := gaugeText(b), "15.00 spent, 11.00 of it returned, 3.98 held of 100.00 USD a month"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestThePageOfARunTellsThatItIsPaused(t *testing.T) {
	run := purser.Run{ID: "run_1", State: "active", Paused: purser.Errorf(purser.TooManyOrders, "the same order failed").WithHint("wait <b>")}
	for _, paused := range []bool{true, false} {
		var page strings.Builder
		if err := runPart(&visit{zone: time.UTC}, run).Render(t.Context(), &page); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(page.String(), "The same order failed.") != paused || strings.Contains(page.String(), "Wait &lt;b&gt;.") != paused {
			t.Errorf("paused, %v: %s", paused, page.String())
		}
		run.Paused = nil
	}
}

// What is left to a person says what to do, wherever it is shown; all else is looked up.
func TestAnOrderThatAPersonEndsSaysHow(t *testing.T) {
	order := func(hint string) purser.Order {
		return purser.Order{State: purser.OrderUnknown, Error: purser.Errorf(purser.OutcomeUnknown, "a stop came").WithHint("%s", hint)}
	}
	v, todo := &visit{zone: time.UTC}, "look there, then: purser resolve ord_1 --outcome failed"
	for hint, want := range map[string]bool{todo: true, "purser status": false} {
		plan := purser.Plan{State: purser.PlanApplying, Orders: []purser.Order{order(hint)}, Error: order(hint).Error}
		for name, part := range map[string]templ.Component{"plan": planState(v, plan, nil), "run": stepsPart(v, []step{{order: order(hint)}})} {
			var page strings.Builder
			if err := part.Render(t.Context(), &page); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(page.String(), todo) != want || !strings.Contains(page.String(), "a stop came") || strings.Contains(page.String(), "is being bought now") {
				t.Errorf("the %s, with the hint %q: %s", name, hint, page.String())
			}
		}
	}
}
