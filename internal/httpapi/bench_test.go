package httpapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/doortest"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/office"
)

const chargeBody = `{"provider":"models/large","category":"models","labels":["team=a"],"amount_minor":7,"currency":"USD"}`

// charging is an office that says yes to each charge at once: what is measured is
// the door before it.
type charging struct{ doortest.Office }

type answeringKey struct{}

func (c *charging) Answering(ctx context.Context) (context.Context, func()) {
	return context.WithValue(ctx, answeringKey{}, c), func() {}
}

func (c *charging) Known(bearer string, _ time.Duration) (purser.Actor, bool) {
	by, err := c.Authenticate(context.Background(), bearer, "")
	return by, err == nil
}

func (c *charging) Operations() []office.Operation {
	expires := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	all := c.Office.Operations()
	for i := range all {
		if all[i].Name == "charge_usage" {
			all[i] = office.On("charge_usage", func(_ context.Context, by purser.Actor, in purser.ChargeUsage) (purser.Hold, error) {
				return purser.Hold{
					ID: "hld_01hf7yat00e8r9rqtawkbn8tzd", Seq: 12345, Epoch: 3, State: "captured", Run: by.Run, Provider: in.Provider,
					AmountMinor: in.AmountMinor, Currency: in.Currency, CapturedMinor: in.AmountMinor, ExpiresAt: &expires,
				}, nil
			})
		}
	}
	return all
}

func chargingDoor(tb testing.TB, log slog.Handler) http.Handler {
	tb.Helper()
	o := &charging{}
	g, err := gate.New(gate.Config{
		Authenticator: o, Log: slog.New(log), Now: time.Now, Random: rand.Reader,
		Observe:   func(string, purser.Code, time.Duration) {},
		MeantFor:  func(context.Context, purser.Actor, string) error { return nil },
		Challenge: func(path string, shown bool) string { return oauth.Challenge("http://localhost:7627", path, shown) },
	})
	if err != nil {
		tb.Fatal(err)
	}
	return New(Config{Office: o, Gate: g})
}

// sink is an answer in memory that can be flushed.
type sink struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (s *sink) Header() http.Header               { return s.header }
func (s *sink) WriteHeader(code int)              { s.code = code }
func (s *sink) Write(p []byte) (int, error)       { return s.body.Write(p) }
func (s *sink) Flush()                            {}
func (s *sink) SetReadDeadline(_ time.Time) error { return nil }

// body is a request's body that can be read again.
type body struct{ bytes.Reader }

func (*body) Close() error { return nil }

// BenchmarkChargeInMemory is what the door itself costs for one charge, without and
// with the line of the log.
func BenchmarkChargeInMemory(b *testing.B) {
	b.Run("door", func(b *testing.B) { inMemory(b, chargingDoor(b, slog.DiscardHandler)) })
	b.Run("logged", func(b *testing.B) { inMemory(b, chargingDoor(b, slog.NewTextHandler(io.Discard, nil))) })
}

func inMemory(b *testing.B, h http.Handler) {
	base := httptest.NewRequest("POST", "http://localhost:7627/v1/charges", http.NoBody)
	base.RemoteAddr, base.ContentLength = "127.0.0.1:40000", int64(len(chargeBody))
	base.Header = http.Header{auth: {agent}, keyed: {"0123456789abcdef0123"}, kind: {jsonDoc}}
	var text body
	w := &sink{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		w.body.Reset()
		text.Reset([]byte(chargeBody))
		r := *base
		r.Body = &text
		h.ServeHTTP(w, &r)
	}
	if !bytes.Contains(w.body.Bytes(), []byte(`"amount_minor":7,`)) {
		b.Fatalf("answered %s", w.body.Bytes())
	}
}

// BenchmarkChargeOverLoopback is the same with a server and a kept connection. "bare"
// is a handler that does nothing but read and write: what net/http itself costs.
func BenchmarkChargeOverLoopback(b *testing.B) {
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Length", "300")
		_, _ = w.Write(make([]byte, 300))
		_ = http.NewResponseController(w).Flush()
	})
	b.Run("bare", func(b *testing.B) { loopback(b, bare) })
	b.Run("door", func(b *testing.B) { loopback(b, chargingDoor(b, slog.DiscardHandler)) })
}

func loopback(b *testing.B, h http.Handler) {
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadHeaderTimeout, s.Config.IdleTimeout = 10*time.Second, 2*time.Minute // as the server's
	s.Start()
	b.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	request := fmt.Appendf(nil, "POST /v1/charges HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n%s: 0123456789abcdef0123\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		s.Listener.Addr(), auth, agent, keyed, kind, jsonDoc, len(chargeBody), chargeBody)
	ask := func(answer []byte, whole func(n int) bool) int {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		n := 0
		for !whole(n) {
			more, err := conn.Read(answer[n:])
			if err != nil {
				b.Fatalf("%v after %q", err, answer[:n])
			}
			n += more
		}
		return n
	}
	// The first answer, of which the others have the length.
	answer := make([]byte, 4096)
	size := ask(answer, func(n int) bool { return bytes.Contains(answer[:n], []byte("\r\n\r\n")) && n > 400 })
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		b.Fatalf("answered %q", answer[:size])
	}
	b.ReportAllocs()
	for b.Loop() {
		ask(answer, func(n int) bool { return n >= size })
	}
}
