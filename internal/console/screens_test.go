package console

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/office"
)

// tab opens a tab of the browser with a past of its own, as wide as asked.
func tab(tb testing.TB, width int64) context.Context {
	tb.Helper()
	ctx, end := chromedp.NewContext(browser(tb), chromedp.WithNewBrowserContext())
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // a busy machine is no fault
	tb.Cleanup(func() { cancel(); end() })
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		tb.Fatal(err)
	}
	resize(tb, ctx, width)
	return ctx
}

func resize(tb testing.TB, ctx context.Context, width int64) {
	tb.Helper()
	call(tb, ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
}

func look(tb testing.TB, ctx context.Context, url string) {
	tb.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		tb.Fatalf("opening %s: %v", url, err)
	}
}

// axe is the checker of accessibility, as its makers publish it.
func axe(t *testing.T) string {
	t.Helper()
	packed, err := os.ReadFile("testdata/axe.js.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	named, err := os.ReadFile("testdata/vendor.txt")
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); !strings.Contains(string(named), hex.EncodeToString(sum[:])) {
		t.Fatalf("axe has the SHA-256 %x, and vendor.txt says otherwise", sum)
	}
	return string(text)
}

// Every screen, in both themes and as wide as a phone: no fault that axe finds,
// nothing that scrolls sideways, nothing that the policy had to forbid.
func TestScreensAreUsableByEverybody(t *testing.T) {
	h := open(t, func(c *office.Config) {
		c.Couriers = map[string]office.Courier{notice.Mail: letters{}, notice.Webhook: letters{true}}
	})
	screens := h.furnish(true)
	if err := h.office.Tell(context.Background()); err != nil {
		t.Fatal(err)
	}
	screens["sign-in"], screens["people"], screens["passkeys"] = "/sign-in", "/people", "/settings/passkeys"
	for _, twice := range []string{"search", "denied", "ceiling"} { // as another one, but for a word
		delete(screens, twice)
	}
	ctx, check := tab(t, 1280), axe(t)
	for name, path := range screens {
		look(t, ctx, h.server.URL+path)
		eval[any](t, ctx, check+`;for (const d of document.querySelectorAll("main details, #stop")) d.open = true`)
		for _, as := range []struct{ theme, rules string }{
			{"light", `"wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"`},
			{"dark", `"color-contrast"`}, // all that is another in it
		} {
			call(t, ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: as.theme}, {Name: "prefers-reduced-motion", Value: "reduce"}, // or a colour is caught on its way
			}})
			for _, fault := range eval[[]string](t, ctx, `axe.run(document, {resultTypes: ["violations"], runOnly: [`+as.rules+`]})
				.then((r) => r.violations.map((v) => v.id + " (" + v.impact + "): " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")).join(" | ")))`) {
				t.Errorf("%s, %s: %s", name, as.theme, fault)
			}
		}
		resize(t, ctx, 360)
		if wide := eval[int64](t, ctx, "document.documentElement.scrollWidth"); wide > 360 {
			t.Errorf("%s is %d pixels wide on a screen of 360: %s", name, wide, eval[string](t, ctx, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 361).slice(-3).map((e) => e.outerHTML.slice(0, 160)).join(" | ")`))
		}
		resize(t, ctx, 1280)
	}
	if n := h.console.Reports(); n != 0 {
		t.Errorf("the browser reports %d violations of the policy", n)
	}
}

// The policy does forbid, and a browser tells of it: else the test above is worth nothing.
func TestAViolationOfThePolicyIsCounted(t *testing.T) {
	h := open(t)
	ctx := tab(t, 1280)
	look(t, ctx, h.server.URL+"/")
	eval[any](t, ctx, `const s = document.createElement("script"); s.textContent = "document.title = 'broken'"; document.body.append(s)`)
	within(t, "the violation is reported", func() bool { return h.console.Reports() > 0 })
	if title := eval[string](t, ctx, "document.title"); strings.Contains(title, "broken") {
		t.Error("the script ran")
	}
}

func within(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not in two minutes: %s", what)
		}
	}
}

// key presses a key as a keyboard does.
func key(tb testing.TB, ctx context.Context, name, code string, number int64) {
	tb.Helper()
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		text := ""
		if name == "Enter" && kind == input.DispatchKeyEventTypeKeyDown {
			text = "\r"
		}
		call(tb, ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: name, Code: code, WindowsVirtualKeyCode: number, Text: text})
	}
}

// The stop takes two deliberate actions, by keyboard alone, without a script.
func TestTheStopNeedsOnlyAKeyboardAndNoScript(t *testing.T) {
	h := open(t)
	h.run("coder", "superseal.club", 2000)
	ctx := tab(t, 1280)
	call(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for _, path := range []string{"/spend", "/audit"} {
		look(t, ctx, h.server.URL+path)
	}
	call(t, ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{})
	focused := func() string { return eval[string](t, ctx, "document.activeElement.textContent.trim().slice(0, 40)") }
	for i := 0; focused() != "Stop"; i++ {
		if i > 5 {
			t.Fatalf("the stop button is not among the first stops of the Tab key; now on %q", focused())
		}
		key(t, ctx, "Tab", "Tab", 9)
	}
	key(t, ctx, "Enter", "Enter", 13)
	within(t, "the first action opens it", func() bool { return eval[bool](t, ctx, `document.getElementById("stop").open`) })
	if stops := must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}); len(stops.Items) != 0 {
		t.Fatal("one action was enough")
	}
	key(t, ctx, "Tab", "Tab", 9)
	if focused() != "Stop everything now" {
		t.Fatalf("behind it comes %q", focused())
	}
	key(t, ctx, "Enter", "Enter", 13)
	within(t, "the page tells", func() bool {
		return strings.HasPrefix(eval[string](t, ctx, `document.querySelector("h1")?.textContent ?? ""`), "Stopped: everything")
	})
	if stops := must[purser.List[purser.StopInfo]](h, h.owner, "list_stops", purser.None{}); len(stops.Items) != 1 {
		t.Errorf("%d stops are in force", len(stops.Items))
	}
}

// What changed is shown while one looks, and nothing else moves: the same element
// stays where it is, and what is open stays open.
func TestAPageShowsWhatChangedWhileOneLooks(t *testing.T) {
	h := open(t)
	h.provider("Harbor")
	_, agent := h.run("coder", "superseal.club", 4000)
	ctx := tab(t, 1280)
	look(t, ctx, h.server.URL+"/")
	eval[any](t, ctx, `document.getElementById("stop").open = true; window.before = document.getElementById("running"); 0`)
	within(t, "the stream is open", func() bool { return h.console.streams() == 1 })
	h.plan(agent, "", domain("harbor", "superseal.club"))
	within(t, "the plan is shown", func() bool {
		return eval[bool](t, ctx, `document.getElementById("waits").textContent.includes("superseal.club") && document.getElementById("waiting").textContent.startsWith("1")`)
	})
	if !eval[bool](t, ctx, `document.getElementById("stop").open && window.before === document.getElementById("running")`) {
		t.Error("something that did not change was touched")
	}
	look(t, ctx, "about:blank")
	within(t, "the stream ends with the page", func() bool { return h.console.streams() == 0 })
}

// The browser's own word on a record: yes, and no when a byte is another.
func TestARecordIsVerifiedInTheBrowser(t *testing.T) {
	h := open(t)
	h.furnish(true)
	ctx := tab(t, 1280)
	for _, seq := range []int{1, 2, 37, 64, 100} {
		look(t, ctx, fmt.Sprintf("%s/audit/%d", h.server.URL, seq))
		eval[any](t, ctx, `document.getElementById("check").click()`)
		verdict := func() string { return eval[string](t, ctx, `document.getElementById("verdict").textContent`) }
		within(t, "there is a verdict", func() bool { return verdict() != "" })
		if !strings.HasPrefix(verdict(), "Verified") {
			t.Errorf("record %d: %s", seq, verdict())
		}
	}
	look(t, ctx, h.server.URL+"/audit/37")
	for what, forge := range map[string]string{
		"a byte of the record": `p.leaf = p.leaf.replace("{", "{ ")`, "a hash of the way": `p.path[0] = p.path[1]`, "the checkpoint": `p.checkpoint = p.checkpoint.replace(/\n(\d+)\n/, (m, n) => "\n" + (Number(n) + 1) + "\n")`,
	} {
		// The script read the proof when the page was made, so it is loaded again over the forged one.
		eval[any](t, ctx, `(async () => {
			const box = document.getElementById("verify"), p = JSON.parse(box.dataset.proof);
			`+forge+`;
			const clean = box.cloneNode(true); clean.dataset.proof = JSON.stringify(p); box.replaceWith(clean);
			document.getElementById("verdict").textContent = "";
			const s = document.createElement("script"); s.src = document.querySelector('script[src*="verify"]').src + "&again=" + Math.random();
			await new Promise((done) => { s.onload = done; document.body.append(s); });
			document.getElementById("check").click();
		})()`)
		within(t, "there is a verdict on "+what, func() bool { return eval[string](t, ctx, `document.getElementById("verdict").textContent`) != "" })
		if v := eval[string](t, ctx, `document.getElementById("verdict").textContent`); !strings.HasPrefix(v, "Not verified") {
			t.Errorf("with another %s: %s", what, v)
		}
		look(t, ctx, h.server.URL+"/audit/37")
	}
}
