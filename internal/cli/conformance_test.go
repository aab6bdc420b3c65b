package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
	"github.com/purser-dev/purser/provider/providertest"
)

// sells is a small provider with its manifest beside it; rotate may be broken.
func sells(t *testing.T, rotates bool) (manifest, base string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	give := func(id string) provider.Provisioned {
		return provider.Provisioned{AccessConfiguration: map[string]string{"key": "key-of-" + id}}
	}
	m := app.Manifest{Name: "small", BaseURL: origin + "/app/", OAuthTokenEndpoint: origin + "/app/oauth/token", Capabilities: []string{app.CapFind}}
	hooks := provider.Hooks{Provision: func(_ context.Context, r provider.Request) (provider.Provisioned, error) { return give(r.ID), nil }}
	if rotates { // and gives the old credentials again
		m.Capabilities = append(m.Capabilities, app.CapRotate)
		hooks.Rotate = func(_ context.Context, r provider.Resource) (provider.Provisioned, error) { return give(r.ID), nil }
	}
	p, err := provider.New(provider.Config{
		Manifest: m, Secrets: []string{"the shared secret"}, Store: provider.NewMemoryStore(), Hooks: hooks,
		Catalog: []app.CatalogService{{ID: "thing", Kind: app.KindDeployable, Pricing: app.Pricing{Type: app.PriceFree}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/app/", p)
	mux.HandleFunc("GET /manifest.json", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(m) })
	server.Config.Handler = mux
	server.Start()
	t.Cleanup(server.Close)
	return origin + "/manifest.json", origin + "/app/"
}

func secretFile(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "secret.txt"), []byte("the shared secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConformanceOfARightProviderIsWholeByManifestAndByBaseURL(t *testing.T) {
	manifest, base := sells(t, false)
	dir := t.TempDir()
	secretFile(t, dir)
	for _, from := range []string{manifest, base} {
		code, text := cliIn(t, dir, "conformance", from, "--secret-file", "secret.txt", "--json", "--junit", "report.xml")
		var got struct {
			OK   bool
			Data conformed
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || code != 0 || !got.OK || got.Data.Failed != 0 || got.Data.Passed < 60 {
			t.Errorf("%s: exit %d, %v, %d passed, %d failed:\n%s", from, code, err, got.Data.Passed, got.Data.Failed, text)
		}
		for _, r := range got.Data.Results {
			if r.Outcome == providertest.Skipped && r.Detail == "" {
				t.Errorf("%s is skipped without a reason", r.ID)
			}
		}
	}
	if xml, err := os.ReadFile(filepath.Join(dir, "report.xml")); err != nil || !strings.Contains(string(xml), `name="S1 `) {
		t.Errorf("the JUnit report: %v\n%s", err, xml)
	}
}

func TestConformanceNamesWhatIsWrongAndEndsWithAnError(t *testing.T) {
	manifest, _ := sells(t, true)
	dir := t.TempDir()
	secretFile(t, dir)
	code, text := cliIn(t, dir, "conformance", manifest, "--secret-file", "secret.txt", "--only", "X1,S1")
	for _, want := range []string{"failed  X1", "expected (APP 12.7): other credentials than before", "came: HTTP 200", "Authorization: Bearer [secret]", "Stripe-Signature: t=", "1 passed, 1 failed"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if code != 1 || strings.Contains(text, "key-of-") || strings.Contains(text, "the shared secret") {
		t.Errorf("exit %d; a credential or the secret shows, or it is taken for success:\n%s", code, text)
	}
}

func TestConformanceRefusesWhatItCannotUse(t *testing.T) {
	manifest, _ := sells(t, false)
	dir := t.TempDir()
	secretFile(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "input.json"), []byte(`{"payment_tokn":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no secret":         {"conformance", manifest},
		"no such file":      {"conformance", manifest, "--secret-file", "nothing.txt"},
		"a wrong profile":   {"conformance", manifest, "--secret-file", "secret.txt", "--profile", "other"},
		"no URL":            {"conformance", "vendor", "--secret-file", "secret.txt"},
		"a misspelt input":  {"conformance", manifest, "--secret-file", "secret.txt", "--input", "input.json"},
		"no case":           {"conformance", manifest, "--secret-file", "secret.txt", "--only", "R16,nothing"},
		"another profile's": {"conformance", manifest, "--secret-file", "secret.txt", "--only", "G1"},
	} {
		if code, text := cliIn(t, dir, args...); code != 2 || strings.Contains(text, "passed") {
			t.Errorf("%s: exit %d, %s; want a refusal", name, code, text)
		}
	}
	code, text := cliIn(t, dir, "conformance", manifest, "--secret-file", "secret.txt", "--only", "A1*,R16")
	if code != 0 || !strings.Contains(text, "named R16") || strings.Contains(text, "named A1*") {
		t.Errorf("a pattern that names no case is not told: exit %d, %s", code, text)
	}
	code, text = cliIn(t, dir, "conformance", "http://127.0.0.1:1/app/", "--secret-file", "secret.txt")
	if code != 9 || !strings.Contains(text, "nothing answers at http://127.0.0.1:1/app/") || strings.Contains(text, "failed") {
		t.Errorf("nobody there: exit %d, %s", code, text)
	}
}
