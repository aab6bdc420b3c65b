package browser

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/cli"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/server"
	"github.com/purser-dev/purser/provider"
)

// serve starts a server on a new SQLite file, and returns its address and the
// single-use link of the first start.
func serve(t *testing.T) (url, setUp string) {
	t.Helper()
	cfg, err := config.Load(config.Sources{Environ: []string{"HOME=" + t.TempDir()}, Flags: map[string]any{"listen": "127.0.0.1:0", "cloud.enabled": false}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), cfg, server.Options{Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	code, needed, err := s.SetupCode(t.Context())
	if err != nil || !needed {
		t.Fatalf("set-up code: %v %v", needed, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }() // ends with the test's context, before its cleanups
	t.Cleanup(func() {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	})
	return s.URL(), s.URL() + "/set-up?code=" + code
}

// raw sends one request as no browser would.
func raw(t *testing.T, method, url, body string, header ...string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // a redirect is an answer
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// program is a command line of the tab's person, signed in by device.
func (b *tab) program() *client.Client {
	b.t.Helper()
	return b.dial(b.token())
}

// token is what a device of the tab's person gets.
func (b *tab) token() string {
	b.t.Helper()
	anyone := b.dial("")
	asked, err := anyone.AskDevice(b.t.Context(), "a test")
	if err != nil {
		b.t.Fatalf("asking to sign in: %v", err)
	}
	if got := b.act(`<form data-do="confirm_device"><input name="code" value="` + asked.UserCode + `"></form>`); got.Done == nil {
		b.t.Fatalf("confirming the device: %+v", got)
	}
	in, err := anyone.RedeemDevice(b.t.Context(), asked.DeviceCode)
	if err != nil {
		b.t.Fatalf("signing in by device: %v", err)
	}
	return in.Token
}

func (b *tab) dial(token string) *client.Client {
	b.t.Helper()
	c, err := client.New(client.Config{URL: b.url, Token: token})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

const signingSecret = "the two share exactly this secret"

// shop is a provider of one paid thing, and who buys there.
type shop struct {
	manifest string
	agent    *client.Client
}

// sell opens a provider over APP.
func sell(t *testing.T) *shop {
	t.Helper()
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	manifest := app.Manifest{
		Name: "desk", BaseURL: s.URL + "/app/", OAuthTokenEndpoint: s.URL + "/app/oauth/token",
		Capabilities: []string{app.CapFind, app.CapQuotes}, PaymentCredentialTypes: []string{app.PaymentSandbox},
	}
	quote := app.Quote{Item: "lamp", AmountMinor: 500, Currency: "USD", Interval: "once"}
	p, err := provider.New(provider.Config{
		Manifest: manifest, Secrets: []string{signingSecret}, Store: provider.NewMemoryStore(),
		Catalog: []app.CatalogService{{
			ID: "lamp", Description: "A lamp.", Categories: []string{"storage"}, Kind: app.KindDeployable,
			Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: "5.00 USD once"}}},
		}},
		Hooks: provider.Hooks{
			Quote:           func(context.Context, provider.QuoteRequest) (app.Quote, error) { return quote, nil },
			ActivatePayment: func(context.Context, provider.Payment) error { return nil },
			Provision: func(context.Context, provider.Request) (provider.Provisioned, error) {
				return provider.Provisioned{AccessConfiguration: map[string]string{"key": "k"}}, nil
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/app/", p)
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return &shop{manifest: string(text)}
}

// asked registers the shop and makes a run, both signed in the browser, and lets
// the run's agent plan to buy there.
func (b *tab) asked(s *shop) purser.Plan {
	b.t.Helper()
	form := func(operation string, members ...string) map[string]any {
		b.t.Helper()
		text := `<form data-act="` + operation + `">`
		for i := 0; i < len(members); i += 2 {
			text += `<input name="` + members[i] + `" value="` + html.EscapeString(members[i+1]) + `">`
		}
		got := b.act(text + `<input name="budget" data-type="money" data-currency="USD" value="" ></form>`)
		if got.Done == nil {
			b.t.Fatalf("%s: %+v", operation, got)
		}
		return got.Done
	}
	form("add_provider", "manifest", s.manifest, "signing_secret", signingSecret)
	if got := b.act(`<form data-do="create_project"><input name="name" value="shop"></form>`); got.Done == nil {
		b.t.Fatalf("making a project: %+v", got)
	}
	run := b.act(`<form data-act="create_run"><input name="project" value="shop"><input name="budget" data-type="money" data-currency="USD" value="20.00"></form>`)
	token, _ := run.Done["token"].(string)
	if token == "" {
		b.t.Fatalf("making a run: %+v", run)
	}
	s.agent = b.dial(token)
	plan, err := s.agent.Plan(b.t.Context(), purser.MakePlan{Steps: []purser.StepRequest{{Service: "desk/lamp"}}})
	if err != nil {
		b.t.Fatalf("planning: %v", err)
	}
	return plan
}

// verify checks the exported log, offline.
func verify(t *testing.T, b *tab) {
	t.Helper()
	c := b.program()
	page, err := c.AuditLog(t.Context(), purser.AskAudit{})
	if err != nil {
		t.Fatal(err)
	}
	var export bytes.Buffer
	if err := c.ExportAudit(t.Context(), purser.ExportAudit{}, &export); err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(&export, page.PublicKey, audit.VerifyOptions{Books: true})
	if err != nil || !report.Verified {
		t.Errorf("the log does not verify: %v", err)
	}
}

// typed runs a command line as the tab's person, in a place of its own.
func (b *tab) typed(token string, said io.Writer, args ...string) (code int, answer map[string]any) {
	var out bytes.Buffer
	dir := b.t.TempDir()
	code = cli.Run(b.t.Context(), args, cli.World{
		Out: &out, Err: said, Dir: dir, Version: "test", Now: time.Now, Random: rand.Reader,
		Environ:  []string{"HOME=" + dir, "PURSER_URL=" + b.url, "PURSER_TOKEN=" + token},
		Terminal: func() (*cli.Terminal, error) { return nil, errors.New("there is no terminal") },
	})
	_ = json.Unmarshal(out.Bytes(), &answer) // text for people is no JSON
	return code, answer
}
