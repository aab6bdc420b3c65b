package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/seal"
)

// settings are those of a server on a free port in a folder of its own.
func settings(t *testing.T, flags map[string]any) config.Config {
	t.Helper()
	all := map[string]any{"dir": filepath.Join(t.TempDir(), "data"), "listen": "127.0.0.1:0", "cloud.enabled": false}
	for k, v := range flags {
		all[k] = v
	}
	cfg, err := config.Load(config.Sources{Flags: all})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func quiet() Options { return Options{Version: "test", Log: slog.New(slog.DiscardHandler)} }

// start runs a server; stop ends it and returns what Run returned.
func start(t *testing.T, cfg config.Config, opt Options) (s *Server, stop func() error) {
	t.Helper()
	s, err := New(t.Context(), cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// inTurn skips, with -short, a test in which one request comes after the other: the
// race stage has others in which the same code serves many at once, and SQLite is slow
// under the race detector.
func inTurn(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("one request after the other: run without -short")
	}
}

func TestAServerServesAllDoorsAndEndsInOrder(t *testing.T) {
	s, stop := start(t, settings(t, map[string]any{"metrics": true}), quiet())
	if !strings.HasPrefix(s.URL(), "http://localhost:") || strings.HasSuffix(s.URL(), ":0") {
		t.Fatalf("URL %s", s.URL())
	}
	c, err := client.New(client.Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Health(t.Context()); err != nil {
		t.Errorf("health: %v", err)
	}
	if _, err := c.Whoami(t.Context(), purser.None{}); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("without a credential: %v", err)
	}
	for path, want := range map[string]int{"/openapi.json": 200, "/healthz": 200, "/readyz": 200, "/mcp": 401, "/nothing": 404} {
		if code, body := get(t, s.URL()+path); code != want {
			t.Errorf("%s: %d %.200s", path, code, body)
		}
	}
	_, text := get(t, s.URL()+"/metrics")
	for _, line := range []string{
		`purser_requests_total{code="not_signed_in",op="whoami"} 1`, `purser_requests_total{code="",op="health"} 1`,
		`purser_request_duration_seconds_count{op="whoami"} 1`, "go_goroutines",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("metrics lack %s in\n%s", line, text)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if err := c.Health(t.Context()); purser.CodeOf(err) != purser.Unavailable {
		t.Errorf("after the stop: %v", err)
	}
}

func TestTheOfficeDoesTheWholeTableWithTheTypesOfTheClient(t *testing.T) {
	s, err := New(t.Context(), settings(t, nil), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	done := map[string]bool{}
	for _, op := range s.parts.office.Operations() {
		done[op.Name] = true
		var name strings.Builder
		for word := range strings.SplitSeq(op.Name, "_") {
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
		m, ok := reflect.TypeFor[*client.Client]().MethodByName(name.String())
		if !ok || m.Type.In(2) != op.In || m.Type.Out(0) != op.Out {
			t.Errorf("%s: the office does %v -> %v, the client %v", op.Name, op.In, op.Out, m.Type)
		}
	}
	for _, op := range purser.Operations() {
		if !done[op.Name] {
			t.Errorf("nobody does %s", op.Name)
		}
	}
}

func TestMetricsAreOffUnlessSwitchedOn(t *testing.T) {
	s, _ := start(t, settings(t, nil), quiet())
	if code, _ := get(t, s.URL()+"/metrics"); code != 404 {
		t.Errorf("answered %d", code)
	}
}

func TestAnotherStartSignsWithTheSameKeyAndNoOtherKeyFileOpensTheData(t *testing.T) {
	cfg := settings(t, nil)
	seeds := make([][]byte, 2)
	for i := range seeds {
		s, err := New(t.Context(), cfg, quiet())
		if err != nil {
			t.Fatal(err)
		}
		seeds[i] = s.parts.office.AuditSeed
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seeds[0]) != 32 || !bytes.Equal(seeds[0], seeds[1]) {
		t.Errorf("seeds %x and %x", seeds[0], seeds[1])
	}
	if info, err := os.Stat(cfg.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v %v", info, err)
	}
	if err := os.Remove(cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), cfg, quiet()); err == nil || !strings.Contains(err.Error(), "key file") {
		t.Errorf("without the key file: %v", err)
	}
	if _, err := os.Stat(cfg.KeyFile); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new key file was made beside old data")
	}
	other := settings(t, nil)
	s, err := New(t.Context(), other, quiet())
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	cfg.KeyFile = other.KeyFile
	if _, err := New(t.Context(), cfg, quiet()); err == nil || !strings.Contains(err.Error(), "not the one") {
		t.Errorf("with another key file: %v", err)
	}
}

func TestATakenAddressIsAnErrorAndLeavesNothingOpen(t *testing.T) {
	s, _ := start(t, settings(t, nil), quiet())
	cfg := settings(t, map[string]any{"listen": strings.TrimPrefix(strings.Replace(s.URL(), "localhost", "127.0.0.1", 1), "http://")})
	if _, err := New(t.Context(), cfg, quiet()); err == nil || !strings.Contains(err.Error(), "listening") {
		t.Errorf("got %v", err)
	}
}

func TestALocalCloudWithoutAManifestIsAnErrorAndLeavesNothingOpen(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"nothing there": http.NotFound,
		"rubbish":       func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			cloud := httptest.NewServer(handler)
			defer cloud.Close()
			cfg, opt := settings(t, nil), quiet()
			opt.Local = &LocalProvider{ManifestURL: cloud.URL, SigningSecret: seal.NewSecret("s"), ProviderKey: seal.NewSecret("k")}
			if _, err := New(t.Context(), cfg, opt); err == nil || !strings.Contains(err.Error(), "registering the local cloud") {
				t.Errorf("got %v", err)
			}
			if s, err := New(t.Context(), cfg, quiet()); err != nil {
				t.Errorf("the next start: %v", err)
			} else if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARequestThatOutlastsTheDrainIsHungUp(t *testing.T) {
	cfg := settings(t, nil)
	s, err := New(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	s.drain = 50 * time.Millisecond
	began, ended := make(chan struct{}), make(chan struct{})
	s.http.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	go func() {
		if resp, err := http.Get(s.URL()); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-began
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-ended
}

func TestAServerThatNeverRanClosesTwice(t *testing.T) {
	s, err := New(t.Context(), settings(t, nil), quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestTracingThatIsNotBuiltInIsSaidAtStart(t *testing.T) {
	var log bytes.Buffer
	opt := quiet()
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, err := New(t.Context(), settings(t, map[string]any{"tracing.endpoint": "http://127.0.0.1:4318"}), opt)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if !strings.Contains(log.String(), "traces") {
		t.Errorf("the log says nothing of traces: %s", log.String())
	}
}

func TestBackgroundWorkGoesOnAfterFailuresAndSaysEachOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		times := 0
		j := job{"test", time.Second, func(context.Context) error {
			switch times++; {
			case times <= 3:
				return purser.Errorf(purser.Unavailable, "away").WithCause(errors.New("dial: refused"))
			case times == 4:
				panic("a broken row")
			}
			return nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		j.run(ctx, slog.New(slog.NewTextHandler(&log, nil)))
		if times != 10 {
			t.Errorf("done %d times in 9.5 seconds", times)
		}
		for _, once := range []string{"dial: refused", "a broken row", "goes on"} {
			if strings.Count(log.String(), once) != 1 {
				t.Errorf("%q is not said once:\n%s", once, log.String())
			}
		}
	})
}

func TestAServiceThatHandsOverAHostingAccountTakesFiles(t *testing.T) {
	account := []string{accessURL, accessAccount, accessToken}
	for _, tt := range []struct {
		name                string
		categories, outputs []string
		takes               bool
	}{
		{"static hosting", []string{"compute", "cdn"}, account, true},
		{"at the vendor itself", []string{"compute"}, account[1:], true},
		{"a DNS zone", []string{"domains"}, account, false},
		{"compute without an account", []string{"compute"}, []string{"DATABASE_URL"}, false},
		{"nothing", nil, nil, false},
	} {
		if got := (deployer{}).Takes(tt.categories, tt.outputs); got != tt.takes {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestAScriptsNameIsADNSLabel(t *testing.T) {
	for name, want := range map[string]string{
		"shop": "shop", "My Shop!": "my-shop", "..": "site", "ä": "site", strings.Repeat("a", 80): strings.Repeat("a", 54),
		strings.Repeat("a", 53) + "-b": strings.Repeat("a", 53),
	} {
		if got := script(name); got != want {
			t.Errorf("%q becomes %q, not %q", name, got, want)
		}
	}
}
