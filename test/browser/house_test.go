package browser

import (
	"log/slog"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/server"
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
