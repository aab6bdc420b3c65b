package console

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/purser-dev/purser/internal/testneed"
)

// chromium is the one browser of these tests, started by the first that needs it.
var chromium struct {
	once sync.Once
	ctx  context.Context
	end  []context.CancelFunc
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for i := len(chromium.end) - 1; i >= 0; i-- {
		chromium.end[i]()
	}
	os.Exit(code)
}

func browser(tb testing.TB) context.Context {
	tb.Helper()
	path := testneed.Program(tb, "chromium")
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
		tb.Fatalf("starting Chromium: %v", chromium.err)
	}
	return chromium.ctx
}

func call[P, R any](tb testing.TB, ctx context.Context, cmd cdp.Command[P, R], params P) R {
	tb.Helper()
	out, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		tb.Fatalf("in the browser: %v", err)
	}
	return out
}

// eval runs an expression on the page, or waits for the promise that it is.
func eval[T any](tb testing.TB, ctx context.Context, expression string) (v T) {
	tb.Helper()
	out := call(tb, ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: expression, AwaitPromise: new(true), ReturnByValue: new(true), UserGesture: new(true)})
	if out.ExceptionDetails != nil {
		tb.Fatalf("on the page: %v", out.ExceptionDetails)
	}
	if out.Result == nil || len(out.Result.Value) == 0 {
		return v
	}
	if err := json.Unmarshal(out.Result.Value, &v); err != nil {
		tb.Fatalf("reading %s: %v", out.Result.Value, err)
	}
	return v
}
