package browser

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
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
// single-use link of the first start. Settings are names and values in turn.
func serve(t *testing.T, settings ...any) (url, setUp string) {
	t.Helper()
	flags := map[string]any{"listen": "127.0.0.1:0", "cloud.enabled": false}
	options := server.Options{Version: "test", Log: slog.New(slog.DiscardHandler)}
	for i := 0; i < len(settings); i += 2 {
		switch name := settings[i].(string); name {
		case "listener":
			options.Listener = settings[i+1].(net.Listener)
		case "now":
			options.Now = settings[i+1].(func() time.Time)
		default:
			flags[name] = settings[i+1]
		}
	}
	cfg, err := config.Load(config.Sources{Environ: []string{"HOME=" + t.TempDir()}, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), cfg, options)
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

// shop is a provider, and who buys there.
type shop struct {
	name     string
	manifest string
	cents    atomic.Int64  // what a lamp costs
	wait     chan struct{} // when not nil, a lamp is made once it is closed
	agent    *client.Client
}

// sell opens a provider over APP. The desk quotes the price of each lamp; what the
// study asks is told in words only, so that a person sets a ceiling.
func sell(t *testing.T, name string) *shop {
	t.Helper()
	out := &shop{name: name}
	out.cents.Store(500)
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	manifest := app.Manifest{
		Name: name, BaseURL: s.URL + "/app/", OAuthTokenEndpoint: s.URL + "/app/oauth/token",
		Capabilities: []string{app.CapFind, app.CapDeprovision}, PaymentCredentialTypes: []string{app.PaymentSandbox},
	}
	hooks := provider.Hooks{
		ActivatePayment: func(context.Context, provider.Payment) error { return nil },
		Provision: func(ctx context.Context, _ provider.Request) (provider.Provisioned, error) {
			if out.wait != nil {
				select {
				case <-out.wait:
				case <-ctx.Done():
				}
			}
			return provider.Provisioned{AccessConfiguration: map[string]string{"key": "k"}}, nil
		},
	}
	words := "ask us"
	if name == "desk" {
		words = "5.00 USD once"
		manifest.Capabilities = append(manifest.Capabilities, app.CapQuotes)
		hooks.Quote = func(context.Context, provider.QuoteRequest) (app.Quote, error) {
			return app.Quote{Item: "lamp", AmountMinor: app.Minor(out.cents.Load()), Currency: "USD", Interval: "once"}, nil
		}
	}
	p, err := provider.New(provider.Config{
		Manifest: manifest, Secrets: []string{signingSecret}, Store: provider.NewMemoryStore(),
		Catalog: []app.CatalogService{{
			ID: "lamp", Description: "A lamp.", Categories: []string{"storage"}, Kind: app.KindDeployable,
			Pricing: app.Pricing{Type: app.PricePaid, Paid: app.Tiers{{Type: app.PriceFreeform, Freeform: words}}},
		}},
		Hooks: hooks,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/app/", p)
	text, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	out.manifest = string(text)
	return out
}

// lamp is what agents want.
func (s *shop) lamp() purser.StepRequest { return purser.StepRequest{Service: s.name + "/lamp"} }

// hires registers the shop and makes a run for an agent that buys there, both
// signed in the browser.
func (b *tab) hires(s *shop) {
	b.t.Helper()
	add := `<form data-act="add_provider"><input name="signing_secret" value="` + signingSecret + `"><input name="manifest" value="` + html.EscapeString(s.manifest) + `"></form>`
	if got := b.act(add); got.Done == nil {
		b.t.Fatalf("registering the shop: %+v", got)
	}
	if got := b.act(`<form data-do="create_project"><input name="name" value="shop"></form>`); got.Done == nil {
		b.t.Fatalf("making a project: %+v", got)
	}
	run := b.act(`<form data-act="create_run"><input name="project" value="shop"><input name="purpose" value="one lamp"><input name="budget" data-type="money" data-currency="USD" value="20.00"></form>`)
	token, _ := run.Done["token"].(string)
	if token == "" {
		b.t.Fatalf("making a run: %+v", run)
	}
	s.agent = b.dial(token)
}

// plans lets the agent plan steps.
func (s *shop) plans(t *testing.T, steps ...purser.StepRequest) purser.Plan {
	t.Helper()
	plan, err := s.agent.Plan(t.Context(), purser.MakePlan{Steps: steps})
	if err != nil {
		t.Fatalf("planning: %v", err)
	}
	return plan
}

// answer is what an agent that waited was told.
type answer struct {
	plan purser.Plan
	err  error
	at   time.Time
}

// waiting lets an agent wait for what a call answers.
func waiting(f func() (purser.Plan, error)) <-chan answer {
	told := make(chan answer, 1)
	go func() {
		p, err := f()
		told <- answer{p, err, time.Now()}
	}()
	return told
}

// told is what the agent heard, which must not have taken it a poll of a minute.
func told(t *testing.T, c <-chan answer, decided time.Time) answer {
	t.Helper()
	select {
	case a := <-c:
		if took := a.at.Sub(decided); took > soon {
			t.Errorf("the agent was told after %v", took)
		}
		return a
	case <-time.After(patience):
		t.Fatal("the agent is told nothing")
		return answer{}
	}
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

// linkIn is the first line that a command says with a part in it; what it says
// afterwards is read and thrown away, so that it can go on.
func linkIn(t *testing.T, said io.Reader, part string) string {
	t.Helper()
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if strings.Contains(lines.Text(), part) {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return strings.TrimSpace(lines.Text())
		}
	}
	t.Fatalf("nothing that was said has %s in it", part)
	return ""
}
