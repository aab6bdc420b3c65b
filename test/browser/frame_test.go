package browser

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser"
)

// A page of somebody else lays an approval under a button of its own. The person is
// signed in, and the page is on this machine, so that under one of its names the
// browser even sends it the server's cookies. The frames stay empty all the same.
func TestAPageOfAnotherOriginShowsNoApprovalInAFrame(t *testing.T) {
	t.Parallel()
	url, link := serve(t)
	b := open(t, url)
	b.setUp(link)
	shop := sell(t, "desk")
	b.hires(shop)
	plan := shop.plans(t, shop.lamp())
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/harmless" {
			_, _ = fmt.Fprint(w, `<p>frames are shown here</p>`)
			return
		}
		for _, frame := range []string{`<iframe src="%s"></iframe>`, `<embed src="%s">`, `<object data="%s"></object>`} {
			_, _ = fmt.Fprintf(w, frame, url+"/approvals/"+plan.ID)
		}
		_, _ = fmt.Fprint(w, `<iframe src="/harmless"></iframe>`)
	}))
	t.Cleanup(trap.Close)
	for _, at := range []string{trap.URL, strings.Replace(trap.URL, "127.0.0.1", "localhost", 1)} {
		b.visit(at + "/trap")
		b.until(func() bool { return strings.Contains(b.whole(), "frames are shown here") }, func() string { return "no frame is shown at all" })
		if text := b.whole(); strings.Contains(text, "Approve") || strings.Contains(text, "lamp") {
			t.Errorf("%s shows the approval in a frame", at)
		}
	}
	// The browser's log says why they are empty; that is no fault.
	b.said.mu.Lock()
	b.said.list = slices.DeleteFunc(b.said.list, func(f string) bool { return strings.Contains(f, "frame") && strings.Contains(f, url) })
	b.said.mu.Unlock()
	b.visit("/approvals/" + plan.ID) // in a tab of its own the same browser shows it
	b.sees("Approve this?")
	if p, err := shop.agent.ShowPlan(t.Context(), purser.PlanRef{Plan: plan.ID}); err != nil || p.State != purser.PlanWaiting {
		t.Errorf("the plan is %s, %v", p.State, err)
	}
}

// whole is the page with what its frames show, wherever that comes from.
func (b *tab) whole() string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	got, err := chromedp.Call(ctx, page.CaptureSnapshot, page.CaptureSnapshotParams{})
	if err != nil {
		b.t.Fatalf("reading the page's frames: %v", err)
	}
	return strings.ReplaceAll(got.Data, "=\r\n", "")
}
