package browser

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

// approve is the form on a plan's page that a passkey signs.
const approve = `form[data-act="approve"]`

// decides opens a plan's page as the queue leads to it.
func (b *tab) decides(plan purser.Plan) {
	b.t.Helper()
	b.visit("/approvals")
	b.click(`a[href="/approvals/` + plan.ID + `"]`)
	b.at("/approvals/" + plan.ID)
	b.sees("Approve this?")
}

// denies says no on a plan's page.
func (b *tab) denies(reason string) {
	b.t.Helper()
	b.click("details.deny summary")
	b.fill("details.deny form", "reason", reason)
	b.press("details.deny form")
	b.sees("Denied.")
}

// refused counts refusals of an action on the record.
func (b *tab) refused(action string) (n int) {
	b.t.Helper()
	page, err := b.program().AuditLog(b.t.Context(), purser.AskAudit{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range page.Records {
		if r.Action == action && r.Outcome == "refused" {
			n++
		}
	}
	return n
}

// Two plans for one thing, the second one dearer: the first is denied and the
// second signed, each on the page that shows it, while the agent waits.
func TestAPersonDecidesOnThePageAndTheAgentHearsAtOnce(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	shop := sell(t, "desk")
	b.hires(shop)
	old := shop.plans(t, shop.lamp())
	denied := waiting(func() (purser.Plan, error) { return shop.agent.Apply(t.Context(), purser.Apply{Plan: old.ID}) })
	b.decides(old)
	b.sees("5.00 USD")

	// A changed plan is another plan, whose page says what changed.
	shop.cents.Store(600)
	dearer := shop.plans(t, shop.lamp())
	// What was signed for the page of the old plan does not approve the new one.
	eval[bool](b, `(() => {
		const fetched = window.fetch;
		window.fetch = (path, o) => fetched(path, path === "/do/approve" ? { ...o, body: o.body.replace(%s, %s) } : o);
		return true;
	})()`, old.ID, dearer.ID)
	b.press(approve)
	b.sees("the request is not the one that was signed")
	for _, p := range []purser.Plan{old, dearer} {
		if p, err := shop.agent.ShowPlan(t.Context(), purser.PlanRef{Plan: p.ID}); err != nil || p.State != purser.PlanWaiting {
			t.Errorf("after a signature for another plan: %s %v", p.State, err)
		}
	}
	if n := b.refused("approve"); n != 1 {
		t.Errorf("%d refused approvals are on the record, want 1", n)
	}

	decided := time.Now()
	b.denies("five was enough")
	if got := told(t, denied, decided); purser.CodeOf(got.err) != purser.PlanDenied || !strings.Contains(got.err.Error(), "five was enough") {
		t.Errorf("the agent hears %v", got.err)
	}
	if strings.Contains(b.text(), "Approve with") {
		t.Error("a denied plan can be signed")
	}

	b.decides(dearer)
	b.sees("Changed since the last plan")
	if was, is := eval[string](b, `document.querySelector("#changes del").innerText`), eval[string](b, `document.querySelector("#changes ins").innerText`); was != "5.00 USD" || is != "6.00 USD" {
		t.Errorf("the page shows the change from %q to %q", was, is)
	}
	bought := waiting(func() (purser.Plan, error) { return shop.agent.Apply(t.Context(), purser.Apply{Plan: dearer.ID}) })
	decided = time.Now()
	b.press(approve)
	if got := told(t, bought, decided); got.err != nil || got.plan.State != purser.PlanDone || got.plan.Approval.Method != "passkey" {
		t.Errorf("the agent hears %s, %v", got.plan.State, got.err)
	}
	b.sees("Everything in it is bought and live") // live: nobody loads the page again

	// The command line waits for the page too.
	token := b.token()
	third := shop.plans(t, purser.StepRequest{Service: "desk/lamp", Name: "third", Meant: true})
	said, write := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code, _ := b.typed(token, write, "approve", third.ID)
		_ = write.Close()
		ended <- code
	}()
	b.visit(linkIn(t, said, "/approvals/"))
	b.press(approve)
	b.sees("Approved, and not begun yet")
	if code := <-ended; code != 0 {
		t.Errorf("purser approve, which waited: exit %d", code)
	}

	// What came of it is proved with the export and the key alone.
	export := t.TempDir() + "/audit.jsonl"
	if code, _ := b.typed(token, io.Discard, "audit", "export", export); code != 0 {
		t.Fatalf("purser audit export: exit %d", code)
	}
	log, err := b.dial(token).AuditLog(t.Context(), purser.AskAudit{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if code, answer := b.typed("", io.Discard, "audit", "verify", export, "--key", log.PublicKey, "--json"); code != 0 {
		t.Errorf("purser audit verify: exit %d, %v", code, answer)
	}
}

func TestALowerCeilingIsAnotherPlanThatIsShownAndSigned(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	shop := sell(t, "study")
	b.hires(shop)
	lamp := shop.lamp()
	lamp.Ceiling = &purser.Money{Amount: 900, Currency: "USD"}
	asked := shop.plans(t, lamp)
	waits := waiting(func() (purser.Plan, error) { return shop.agent.Apply(t.Context(), purser.Apply{Plan: asked.ID}) })
	b.decides(asked)
	lower := "details.lower form"
	b.click("details.lower summary")
	b.fill(lower, "ceiling", "9.50")
	b.press(lower)
	b.sees("a lower ceiling is above zero and below 9.00 USD")
	b.visit("/approvals/" + asked.ID)
	b.click("details.lower summary")
	b.fill(lower, "ceiling", "4.00")
	decided := time.Now()
	b.press(lower)
	b.sees("Changed since the last plan")
	b.sees("at most 4.00 USD")
	got := told(t, waits, decided)
	if purser.CodeOf(got.err) != purser.PlanDenied || !strings.Contains(got.err.Error(), "a person lowered the ceiling: apply plan pln_") {
		t.Fatalf("the agent hears %v", got.err)
	}
	id := strings.TrimPrefix(eval[string](b, `location.pathname`), "/approvals/")
	if id == asked.ID || !strings.Contains(got.err.Error(), id) {
		t.Errorf("the page is the one of %s, and the agent hears %v", id, got.err)
	}
	b.press(approve)
	b.sees("Approved, and not begun yet")
	done, err := shop.agent.Apply(t.Context(), purser.Apply{Plan: id})
	if err != nil || done.State != purser.PlanDone || done.Terms.Steps[len(done.Terms.Steps)-1].Price.Now != 400 {
		t.Errorf("applied: %+v, %v", done, err)
	}
	verify(t, b)
}

// Silence is a no: the page that is open says so by itself, and a button that was
// pressed in the last moment does nothing.
func TestARequestThatExpiredOffersNothingToSign(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	url, link := serve(t, "approval.request_ttl", "20m", "now", now)
	b := open(t, url)
	b.setUp(link)
	shop := sell(t, "desk")
	b.hires(shop)
	plan := shop.plans(t, shop.lamp())
	waits := waiting(func() (purser.Plan, error) { return shop.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID}) })
	b.visit("/approvals/" + plan.ID)
	b.sees("without an answer it is a no")
	late := eval[string](b, `document.querySelector(%s).outerHTML`, approve)
	ahead.Store(int64(20 * time.Minute)) // and not before the page was there
	over := time.Now()
	b.sees("Expired.")
	b.until(func() bool { return !strings.Contains(b.text(), "Approve with your passkey") }, func() string { return "the page still offers to sign: " + b.text() })
	if late := time.Since(over); late > soon {
		t.Errorf("the page says so after %v", late)
	}
	if got := told(t, waits, over); purser.CodeOf(got.err) != purser.PlanExpired {
		t.Errorf("the agent hears %v", got.err)
	}
	if got := b.act(late); got.Done != nil || got.Code != string(purser.PlanExpired) {
		t.Errorf("pressed too late: %+v", got)
	}
	b.visit("/approvals/" + plan.ID)
	b.sees("so the answer was no")
	if n := eval[int](b, `document.querySelectorAll("main form").length`); n != 0 {
		t.Errorf("the page of an expired plan has %d forms", n)
	}
	verify(t, b)
}

func TestTwoPeopleSignOnDevicesOfTheirOwn(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	ada := open(t, url)
	ada.setUp(link)
	bob := ada.invites("Bob", "bob@example.org", "approver")
	ada.visit("/people")
	ada.fill("#two-people form", "above", "1.00")
	ada.press("#two-people form")
	ada.sees("1.00 USD")
	shop := sell(t, "desk")
	ada.hires(shop)
	plan := shop.plans(t, shop.lamp())
	waits := waiting(func() (purser.Plan, error) { return shop.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID}) })
	bob.decides(plan)
	bob.sees("Two people must approve this. Nobody has yet.")
	ada.decides(plan)
	again := eval[string](ada, `document.querySelector(%s).outerHTML`, approve)
	ada.press(approve)
	ada.sees("One of two people has approved.")
	ada.sees("You have approved it.")
	if strings.Contains(ada.text(), "Approve with your passkey") {
		t.Error("who signed is asked to sign again")
	}
	ada.usable()
	// The same person twice is one person.
	if got := ada.act(again); got.Code != string(purser.InvalidState) || !strings.Contains(got.Detail, "another person must as well") {
		t.Errorf("Ada's second yes: %+v", got)
	}
	bob.sees("One of two people has approved. Ada") // live
	decided := time.Now()
	bob.press(approve)
	if got := told(t, waits, decided); got.err != nil || got.plan.State != purser.PlanDone {
		t.Errorf("the agent hears %s, %v", got.plan.State, got.err)
	}
	ada.sees("Everything in it is bought and live")
	verify(t, ada)
}
