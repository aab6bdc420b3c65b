// Package browser drives the console in a real Chromium, with a virtual authenticator instead of a finger.
//
// One Chromium serves all tests; each tab has a profile of its own, as if it were
// another person's machine.
package browser

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser/internal/cli"
	"github.com/purser-dev/purser/internal/testneed"
)

// patience is how long a page may take to say something: it only ends a test that
// hangs. A busy machine is no fault.
const patience = 3 * time.Minute

// soon is how long what happens at once may take on such a machine: less than a wait
// that comes to its end by itself.
const soon = 40 * time.Second

// chromium is the one browser, started by the first test that needs it.
var chromium struct {
	once sync.Once
	ctx  context.Context
	end  []context.CancelFunc
	err  error
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "purser" { // see purserProgram
		os.Exit(cli.Main("test"))
	}
	code := m.Run()
	for i := len(chromium.end) - 1; i >= 0; i-- {
		chromium.end[i]()
	}
	os.Exit(code)
}

func browser(t *testing.T) context.Context {
	t.Helper()
	path := testneed.Program(t, "chromium")
	chromium.once.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
			chromedp.Flag("disable-component-update", true),
		)
		allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, endBrowser := chromedp.NewContext(allocator)
		chromium.ctx, chromium.end = ctx, []context.CancelFunc{end, endBrowser}
		chromium.err = chromedp.Do(ctx) // starts it
	})
	if chromium.err != nil {
		t.Fatalf("starting Chromium: %v", chromium.err)
	}
	return chromium.ctx
}

// tab is one tab of a browser without a past, and its faults: what the page's
// scripts threw, and what the content security policy forbade.
type tab struct {
	t    *testing.T
	ctx  context.Context
	url  string // of the server
	key  webauthn.AuthenticatorID
	said *faults
}

type faults struct {
	mu   sync.Mutex
	list []string
}

func (f *faults) add(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, text)
}

// open opens a tab on a server, with an authenticator that says yes.
func open(t *testing.T, url string) *tab {
	t.Helper()
	said := &faults{}
	ctx, end := chromedp.NewContext(browser(t), chromedp.WithNewBrowserContext(), chromedp.WithListener(said.listen))
	t.Cleanup(end)
	b := &tab{t: t, ctx: ctx, url: url, said: said}
	// The tab lives as long as the context of its first action: not a shorter one.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	b.addAuthenticator(webauthn.AuthenticatorTransportInternal)
	t.Cleanup(func() {
		if t.Failed() {
			b.explain()
		}
		for _, f := range said.list {
			t.Errorf("the browser reports: %s", f)
		}
	})
	return b
}

// addAuthenticator gives the tab a passkey device, beside any it has: one that is
// built in, or a key that is plugged in. Chromium takes only one of the first kind.
func (b *tab) addAuthenticator(transport webauthn.AuthenticatorTransport) webauthn.AuthenticatorID {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		b.t.Fatalf("enabling authenticators: %v", err)
	}
	made, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: transport, HasResidentKey: true,
		HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
	if err != nil {
		b.t.Fatalf("adding an authenticator: %v", err)
	}
	b.key = made.AuthenticatorID
	return made.AuthenticatorID
}

// removeAuthenticator takes a device away, as if it was lost.
func (b *tab) removeAuthenticator(id webauthn.AuthenticatorID) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, webauthn.RemoveVirtualAuthenticator, webauthn.RemoveVirtualAuthenticatorParams{AuthenticatorID: id}); err != nil {
		b.t.Fatalf("removing an authenticator: %v", err)
	}
}

// present says whether somebody touches a device when it is asked.
func (b *tab) present(id webauthn.AuthenticatorID, yes bool) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, webauthn.SetAutomaticPresenceSimulation, webauthn.SetAutomaticPresenceSimulationParams{AuthenticatorID: id, Enabled: yes})
	if err != nil {
		b.t.Fatalf("touching an authenticator: %v", err)
	}
}

// holds counts the passkeys on a device.
func (b *tab) holds(id webauthn.AuthenticatorID) int {
	b.t.Helper()
	got, err := chromedp.Call(b.ctx, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: id})
	if err != nil {
		b.t.Fatalf("asking an authenticator: %v", err)
	}
	return len(got.Credentials)
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatalf("in the browser: %v", err)
	}
}

// eval runs an expression on the page, or waits for the promise that it is.
func eval[T any](b *tab, expression string, args ...any) T {
	b.t.Helper()
	for i, a := range args {
		text, err := json.Marshal(a)
		if err != nil {
			b.t.Fatal(err)
		}
		args[i] = string(text)
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		out, err := chromedp.Run(ctx, chromedp.Evaluate[T](fmt.Sprintf(expression, args...), chromedp.EvalAwaitPromise))
		switch {
		case err == nil:
			return out
		case ctx.Err() == nil && strings.Contains(err.Error(), "navigated or closed"):
			time.Sleep(20 * time.Millisecond) // the page went to the next one meanwhile: ask that
		default:
			b.t.Fatalf("in the browser, %s: %v", expression, err)
		}
	}
}

// visit opens a path of the server, or a whole address.
func (b *tab) visit(path string) {
	b.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = b.url + path
	}
	b.do(chromedp.Navigate(path))
}

// click presses something that is there once the page's scripts are.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.until(func() bool {
		return eval[bool](b, `document.readyState === "complete" && !!document.querySelector(%s)`, selector)
	}, func() string { return "the page has no " + selector + ": " + b.text() })
	b.do(chromedp.Click(selector))
}

// block cuts the tab off from addresses: what was asked of them fails.
func (b *tab) block(patterns ...string) {
	b.t.Helper()
	var all []*network.BlockPattern
	for _, p := range patterns {
		all = append(all, &network.BlockPattern{URLPattern: p, Block: true})
	}
	if _, err := chromedp.Call(b.ctx, network.Enable, network.EnableParams{}); err != nil {
		b.t.Fatalf("watching the network: %v", err)
	}
	if _, err := chromedp.Call(b.ctx, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: all}); err != nil {
		b.t.Fatalf("blocking addresses: %v", err)
	}
}

// checker is what the tests of all screens check with too.
var checker = sync.OnceValues(func() (string, error) {
	packed, err := os.Open("../../internal/console/testdata/axe.js.gz")
	if err != nil {
		return "", err
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(z)
	return string(text), err
})

// usable lets axe look at the page as it is now, with all of it open, and at its
// width on a phone.
func (b *tab) usable() {
	b.t.Helper()
	script, err := checker()
	if err != nil {
		b.t.Fatal(err)
	}
	eval[bool](b, `(() => { for (const d of document.querySelectorAll("main details, #stop")) { d.dataset.was = d.open; d.open = true; } return true; })()`)
	b.do(chromedp.Evaluate[chromedp.Void](script))
	for _, fault := range eval[[]string](b, `axe.run(document, {resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then((r) => r.violations.map((v) => v.id + " (" + v.impact + "): " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")).join(" | ")))`) {
		b.t.Errorf("%s: %s", eval[string](b, `location.pathname`), fault)
	}
	metrics := emulation.SetDeviceMetricsOverrideParams{Width: 360, Height: 740, DeviceScaleFactor: 1, Mobile: true}
	if _, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, metrics); err != nil {
		b.t.Fatal(err)
	}
	if wide := eval[int](b, `document.documentElement.scrollWidth`); wide > 360 {
		b.t.Errorf("%s is %d pixels wide on a phone", eval[string](b, `location.pathname`), wide)
	}
	if _, err := chromedp.Call(b.ctx, emulation.ClearDeviceMetricsOverride, cdp.Empty{}); err != nil {
		b.t.Fatal(err)
	}
	eval[bool](b, `(() => { for (const d of document.querySelectorAll("[data-was]")) { d.open = d.dataset.was === "true"; delete d.dataset.was; } return true; })()`)
}

// fill types into the field of a name, in the form that is found by a selector.
func (b *tab) fill(form, name, value string) {
	b.t.Helper()
	b.do(chromedp.SetValue(form+` [name="`+name+`"]`, value))
}

// press presses a button of a form, once the page's scripts are there: a page that
// was reached by a link or a form shows its text before them.
func (b *tab) press(form string) {
	b.t.Helper()
	b.until(func() bool { return eval[string](b, `document.readyState`) == "complete" }, func() string { return "the page does not load" })
	b.do(chromedp.Click(form + ` button[type="submit"]`))
}

// sees waits until the page shows a text, at the beginning of a sentence or in it.
func (b *tab) sees(text string) {
	b.t.Helper()
	begun := strings.ToUpper(text[:1]) + text[1:]
	b.until(func() bool { return strings.Contains(b.text(), text) || strings.Contains(b.text(), begun) }, func() string { return fmt.Sprintf("the page does not say %q but: %s", text, b.text()) })
}

// at waits until the page is the one of a path.
func (b *tab) at(path string) {
	b.t.Helper()
	here := func() string { return eval[string](b, `location.pathname + location.search`) }
	b.until(func() bool { return here() == path }, func() string { return fmt.Sprintf("the page is %s, want %s: %s", here(), path, b.text()) })
}

func (b *tab) until(ok func() bool, why func() string) {
	b.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal(why())
		}
	}
}

func (b *tab) text() string {
	b.t.Helper()
	return eval[string](b, `document.body ? document.body.innerText : ""`)
}

// explain shows a failed test's page.
func (b *tab) explain() {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
		const c = document.querySelector("#stream")?._htmx?.sse;
		return [location.href, document.visibilityState, c ? "stream: status " + c.status + ", attempt " + c.attempt + ", at " + c.lastEventId + ", reader " + !!c.reader : "no stream", document.body ? document.body.innerText : ""].join("\n");
	})()`))
	if err == nil {
		b.t.Logf("the page at the end: %s", text)
	}
	if dir := os.Getenv("PURSER_SCREENSHOTS"); dir != "" {
		if shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{}); err == nil {
			_ = os.WriteFile(dir+"/"+strings.ReplaceAll(b.t.Name(), "/", "-")+".png", shot.Data, 0o600)
		}
	}
}

// listen keeps what should never be there: an exception that nothing caught, and
// whatever the browser's log calls an error, but for answers with a status of 4xx,
// which refusals have.
func (f *faults) listen(ev any) {
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		f.add(text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			f.add(e.Entry.Text + " " + e.Entry.URL)
		}
	}
}

// outcome is how a form of the page ended.
type outcome struct {
	Done   map[string]any `json:"done"`
	Code   string         `json:"code"` // of a problem
	Detail string         `json:"detail"`
}

// act puts a form on the page, as any page of the console may have one, and sends
// it: what static/act.js promises at its top.
func (b *tab) act(form string) outcome {
	b.t.Helper()
	text := eval[string](b, `new Promise((ended) => {
		const box = document.createElement("div");
		box.innerHTML = %s;
		document.querySelector("main").append(box);
		const form = box.querySelector("form");
		form.dataset.next = "#";
		form.addEventListener("act:done", (e) => ended(JSON.stringify({ done: e.detail })));
		form.addEventListener("act:failed", (e) => ended(JSON.stringify({ code: e.detail.code, detail: e.detail.message })));
		form.requestSubmit();
	})`, form)
	var out outcome
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		b.t.Fatalf("%v in %s", err, text)
	}
	return out
}

// cookie is the session that the browser holds.
func (b *tab) cookie() *network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	got, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{b.url}})
	if err != nil {
		b.t.Fatalf("reading cookies: %v", err)
	}
	for _, c := range got.Cookies {
		if strings.HasPrefix(c.Name, "purser-") || c.Name == "__Host-purser" {
			return c
		}
	}
	return nil
}
