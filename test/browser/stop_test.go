package browser

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser"
)

// A purchase is under way when the person stops everything, on a page that gets no
// live updates and no script. Two actions, and the page tells what is open.
func TestTheStopStopsInFullFlowWithoutLiveUpdates(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	shop := sell(t, "desk")
	shop.wait = make(chan struct{})
	b.hires(shop)
	plan := shop.plans(t, shop.lamp())
	b.decides(plan)
	b.press(approve)
	b.sees("Approved, and not begun yet")
	bought := waiting(func() (purser.Plan, error) { return shop.agent.Apply(t.Context(), purser.Apply{Plan: plan.ID}) })
	me := b.program()
	b.until(func() bool {
		o, err := me.Overview(t.Context(), purser.None{})
		return err == nil && len(o.Unsettled) == 1 && o.Unsettled[0].State == purser.OrderBuying
	}, func() string { return "the purchase does not begin" })

	b.block("*://*:*/events*", "*://*:*/static/*.js*")
	b.visit("/spend")
	b.do(chromedp.Click("#stop summary"))
	b.sees("Stop all spending at once")
	if o, err := me.Overview(t.Context(), purser.None{}); err != nil || len(o.Stops) != 0 {
		t.Fatalf("one action was enough: %+v %v", o.Stops, err)
	}
	pressed := time.Now()
	b.do(chromedp.Click("#stop form button"))
	b.sees("no new purchase in everything is accepted")
	t.Logf("the page told after %v", time.Since(pressed))
	for _, part := range []string{"What could not be stopped", "desk/lamp", "buying", "5.00 USD"} {
		if !strings.Contains(b.text(), part) {
			t.Errorf("the page of the stop does not tell %q: %s", part, b.text())
		}
	}
	b.usable()
	if _, err := shop.agent.Plan(t.Context(), purser.MakePlan{Steps: []purser.StepRequest{shop.lamp()}}); purser.CodeOf(err) != purser.Stopped {
		t.Errorf("after the stop the agent hears %v", err)
	}
	close(shop.wait)
	<-bought // its call had left before the stop

	// Only a person resumes, and signs it; the way back needs the script again.
	b.block()
	stop := eval[string](b, `location.pathname`)
	b.visit(stop)
	b.press(`form[data-act="resume"]`)
	b.sees("Lifted on")
	b.sees("What the stop ended stays ended.")
	if o, err := me.Overview(t.Context(), purser.None{}); err != nil || len(o.Stops) != 0 {
		t.Errorf("after the resume: %+v %v", o.Stops, err)
	}
	if n := eval[int](b, `document.querySelectorAll('form[data-act="resume"]').length`); n != 0 {
		t.Error("a lifted stop can be lifted again")
	}
	if _, err := shop.agent.Plan(t.Context(), purser.MakePlan{Steps: []purser.StepRequest{shop.lamp()}}); err == nil {
		t.Error("the resume revived the run's token")
	}
	verify(t, b)
}
