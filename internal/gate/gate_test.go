package gate

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

type keeper struct{}

func (keeper) Known(string, time.Duration) (purser.Actor, bool) { return purser.Actor{}, false }

func (keeper) Authenticate(_ context.Context, bearer, source string) (purser.Actor, error) {
	if bearer == "good" {
		return purser.Actor{Kind: purser.Agent, ID: "agt_1"}, nil
	}
	if bearer == "ended_not_signed_in" { // for itself
		return purser.Actor{}, purser.Errorf(purser.NotSignedIn, "it was good once")
	}
	if code, ok := strings.CutPrefix(bearer, "ended_"); ok {
		return purser.Actor{Kind: purser.Agent, ID: "agt_1"}, purser.Errorf(purser.Code(code), "it was good once")
	}
	return purser.Actor{}, purser.Errorf(purser.NotSignedIn, "not valid")
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func testGate(t *testing.T, log *bytes.Buffer, c *clock) *Gate {
	t.Helper()
	g, err := New(Config{
		Hosts: []string{"Purser.Example."}, Origins: []string{"https://purser.example"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Authenticator:  keeper{}, Log: slog.New(slog.NewJSONHandler(log, nil)), Now: c.now, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func request(method, host string, change func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, "/v1/plans", nil)
	r.Host, r.RemoteAddr = host, "192.0.2.1:5000"
	if change != nil {
		change(r)
	}
	return r
}

func TestOnlyNamesOfOursAreAnswered(t *testing.T) {
	tests := []struct {
		host string
		code int
	}{
		{"localhost", 200},
		{"localhost:7627", 200},
		{"console.localhost:1", 200},
		{"127.0.0.1:7627", 200},
		{"127.9.9.9", 200},
		{"[::1]:7627", 200},
		{"[::1]", 200},
		{"purser.example", 200},
		{"PURSER.EXAMPLE.:443", 200},
		{"evil.example", 403},
		{"localhost.evil.example", 403},
		{"purser.example.evil.example", 403},
		{"evillocalhost", 403},
		{"192.0.2.7:7627", 403},
		{"", 403},
		{"127.0.0.1.evil.example:7627", 403},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			w := httptest.NewRecorder()
			g := testGate(t, &bytes.Buffer{}, &clock{})
			g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, request("GET", tt.host, nil))
			if w.Code != tt.code {
				t.Errorf("answered %d", w.Code)
			}
		})
	}
}

func TestAPageOfAnotherOriginChangesNothing(t *testing.T) {
	tests := []struct {
		name, method, origin, site string
		code                       int
	}{
		{"a program without either header", "POST", "", "", 200},
		{"our own page", "POST", "http://localhost:7627", "same-origin", 200},
		{"a trusted origin", "POST", "https://purser.example", "cross-site", 200},
		{"another site", "POST", "https://evil.example", "cross-site", 403},
		{"another port of this machine", "POST", "http://localhost:1", "", 403},
		{"no origin at all", "POST", "null", "cross-site", 403},
		{"a read of another site, which cannot see the answer", "GET", "https://evil.example", "cross-site", 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			g := testGate(t, &bytes.Buffer{}, &clock{})
			g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, request(tt.method, "localhost:7627", func(r *http.Request) {
				if tt.origin != "" {
					r.Header.Set("Origin", tt.origin)
				}
				if tt.site != "" {
					r.Header.Set("Sec-Fetch-Site", tt.site)
				}
			}))
			if w.Code != tt.code {
				t.Errorf("answered %d", w.Code)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestTheSourceIsTheNearestAddressThatNoProxyOfOursHas(t *testing.T) {
	tests := []struct{ name, peer, forwarded, want string }{
		{"a stranger's header is not believed", "192.0.2.1:1", "198.51.100.1", "192.0.2.1"},
		{"a proxy's is", "10.0.0.1:1", "198.51.100.1", "198.51.100.1"},
		{"and not what came before it", "10.0.0.1:1", "203.0.113.9, 198.51.100.1", "198.51.100.1"},
		{"through two proxies", "10.0.0.1:1", "198.51.100.1, 10.0.0.2", "198.51.100.1"},
		{"rubbish ends at the proxy", "10.0.0.1:1", "198.51.100.1, <x>", "10.0.0.1"},
		{"no header", "10.0.0.1:1", "", "10.0.0.1"},
		{"IPv4 within IPv6", "[::ffff:192.0.2.1]:1", "", "192.0.2.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := testGate(t, &bytes.Buffer{}, &clock{})
			r := request("GET", "localhost", func(r *http.Request) {
				r.RemoteAddr = tt.peer
				if tt.forwarded != "" {
					r.Header.Set("X-Forwarded-For", tt.forwarded)
				}
			})
			if got := g.Source(r); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if got := g.Source(r); got != tt.want {
					t.Errorf("behind the gate: got %s, want %s", got, tt.want)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}

func TestWrongCredentialsAreLimitedBySourceAndValidOnesNever(t *testing.T) {
	c := &clock{at: time.Unix(1_800_000_000, 0)}
	g := testGate(t, &bytes.Buffer{}, c)
	admit := func(token, peer string) error {
		_, err := g.Admit(request("GET", "localhost", func(r *http.Request) {
			r.RemoteAddr = peer
			r.Header.Set("Authorization", "Bearer "+token)
		}))
		return err
	}
	for i := range limitBurst {
		if err := admit("bad", "[2001:db8::1]:1"); purser.CodeOf(err) != purser.NotSignedIn {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	var e *purser.Error
	if err := admit("bad", "[2001:db8::2]:1"); !errors.As(err, &e) || e.Code != purser.TooManyTries || e.RetryAfter <= 0 || e.RetryAfter > limitRefill {
		t.Errorf("one too many from the same /64: %+v", e)
	}
	if err := admit("good", "[2001:db8::1]:1"); err != nil {
		t.Errorf("a valid credential is locked out: %v", err)
	}
	if err := admit("bad", "[2001:db8:1::1]:1"); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("another network: %v", err)
	}
	c.pass(e.RetryAfter)
	if err := admit("bad", "[2001:db8::1]:1"); purser.CodeOf(err) != purser.NotSignedIn {
		t.Errorf("after the wait that was named: %v", err)
	}
}

func TestManySourcesCostBoundedMemory(t *testing.T) {
	c := &clock{at: time.Unix(1_800_000_000, 0)}
	l := newLimits(c.now)
	for i := range 3 * limitKept {
		l.take(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}).String())
	}
	if n := len(l.sources); n > limitKept {
		t.Errorf("%d sources are remembered", n)
	}
}

func TestOnlyOneBearerTokenIsACredential(t *testing.T) {
	for name, values := range map[string][]string{
		"none": nil, "another scheme": {"Basic Z29vZA=="}, "empty": {"Bearer "}, "twice": {"Bearer good", "Bearer good"},
		"endless": {"Bearer " + strings.Repeat("x", 5000)},
	} {
		_, err := Bearer(request("GET", "localhost", func(r *http.Request) { r.Header["Authorization"] = values }))
		if purser.CodeOf(err) != purser.NotSignedIn {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEachRequestIsOneLineAndHoldsNoToken(t *testing.T) {
	var log bytes.Buffer
	c := &clock{at: time.Unix(1_800_000_000, 0)}
	g := testGate(t, &log, c)
	h := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		EntryOf(r.Context()).Name("plan")
		if _, err := g.Admit(r); err != nil {
			t.Error(err)
		}
		c.pass(time.Second)
		Problem(w, r, purser.Errorf(purser.Unavailable, "the database is away").WithCause(errors.New("dial tcp: refused")))
	}))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request("POST", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Bearer good") }))
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatalf("not one line: %v in %s", err, log.String())
	}
	for name, want := range map[string]any{
		"msg": "request", "level": "ERROR", "op": "plan", "actor": "agent", "id": "agt_1", "code": "unavailable", "status": 503.0,
		"took": 1e9, "source": "192.0.2.1", "request": w.Header().Get("Request-Id"),
	} {
		if line[name] != want {
			t.Errorf("%s is %v, not %v", name, line[name], want)
		}
	}
	if cause, _ := line["cause"].(string); !strings.Contains(cause, "dial tcp: refused") {
		t.Errorf("the cause is lost: %q", cause)
	}
	if strings.Contains(log.String(), "good") || strings.Contains(w.Body.String(), "dial tcp") {
		t.Errorf("log %s\nanswer %s", log.String(), w.Body)
	}
}

// A flood of callers, or one that went away, is no fault of the server, and its log must
// not say so once for each.
func TestWhatIsTheCallersMatterIsNoErrorInTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		level string
	}{
		"a full queue":       {purser.Errorf(purser.Overloaded, "more is waiting than can be decided"), "INFO"},
		"a caller that left": {fmt.Errorf("waiting: %w", context.Canceled), "INFO"},
		"clocks at odds":     {purser.Errorf(purser.ClockUnsafe, "an hour"), "ERROR"},
		"a provider away":    {purser.Errorf(purser.ProviderDown, "no route"), "ERROR"},
		"a fault":            {errors.New("no such table"), "ERROR"},
	} {
		var log bytes.Buffer
		h := testGate(t, &log, &clock{}).Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Problem(w, r, c.err) }))
		h.ServeHTTP(httptest.NewRecorder(), request("POST", "localhost", nil))
		var line map[string]any
		if err := json.Unmarshal(log.Bytes(), &line); err != nil {
			t.Fatalf("%s: not one line: %v in %s", name, err, log.String())
		}
		if line["level"] != c.level {
			t.Errorf("%s: %s", name, log.String())
		}
	}
}

// Whoever joins the parts knows what an error says that has no code.
func TestAnErrorWithoutACodeIsExplained(t *testing.T) {
	full := errors.New("disk is full")
	g, err := New(Config{
		Authenticator: keeper{}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader,
		Explain: func(err error) error {
			if errors.Is(err, full) {
				return purser.Errorf(purser.Unavailable, "no room").WithCause(err)
			}
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err  error
		code purser.Code
	}{
		{fmt.Errorf("committing: %w", full), purser.Unavailable},
		{errors.New("no such table"), purser.Internal},
		{context.Canceled, purser.Unavailable},
	} {
		w := httptest.NewRecorder()
		g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Problem(w, r, c.err) })).ServeHTTP(w, request("POST", "localhost", nil))
		if !strings.Contains(w.Body.String(), `"code":"`+string(c.code)+`"`) || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%v: %s", c.err, w.Body)
		}
	}
}

func TestAPanicBecomesAFaultWithAReferenceThatTheLogHas(t *testing.T) {
	var log bytes.Buffer
	g := testGate(t, &log, &clock{})
	w := httptest.NewRecorder()
	g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret of the heap") })).
		ServeHTTP(w, request("GET", "localhost", nil))
	var p struct {
		Code      purser.Code `json:"code"`
		Reference string      `json:"reference"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 500 || p.Code != purser.Internal {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if strings.Contains(w.Body.String(), "heap") || p.Reference == "" || !strings.Contains(log.String(), p.Reference) {
		t.Errorf("answer %s\nlog %s", w.Body, log.String())
	}
}

func TestAPanicAfterTheAnswerBeganBreaksTheConnection(t *testing.T) {
	g := testGate(t, &bytes.Buffer{}, &clock{})
	defer func() {
		if r := recover(); r != http.ErrAbortHandler {
			t.Errorf("recovered %v", r)
		}
	}()
	g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"half":`))
		panic("then")
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "localhost", nil))
}

func TestARequestIsCountedWhereNoLineIsKept(t *testing.T) {
	var counted []string
	g, err := New(Config{
		Authenticator: keeper{}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader,
		Observe: func(op string, code purser.Code, _ time.Duration) { counted = append(counted, op+" "+string(code)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		EntryOf(r.Context()).Name("plan")
		Problem(w, r, purser.Errorf(purser.NotFound, "nothing"))
	})).ServeHTTP(httptest.NewRecorder(), request("GET", "localhost", nil))
	if len(counted) != 1 || counted[0] != "plan not_found" {
		t.Errorf("counted %q", counted)
	}
}

// The headers that never change are shared between answers.
func TestADoorsHeadersAreOfItsOwnAnswerOnly(t *testing.T) {
	g := testGate(t, &bytes.Buffer{}, &clock{})
	h := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name := range w.Header() {
			w.Header().Add(name, "more")
		}
		w.Header().Set("Cache-Control", "public")
	}))
	first, second := httptest.NewRecorder(), httptest.NewRecorder()
	h.ServeHTTP(first, request("GET", "localhost", nil))
	h = g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	h.ServeHTTP(second, request("GET", "localhost", nil))
	for name, values := range second.Header() {
		if len(values) != 1 || values[0] == "more" || values[0] == "public" {
			t.Errorf("%s is %q", name, values)
		}
	}
	if len(second.Header()) != 6 || second.Header().Get("Request-Id") == first.Header().Get("Request-Id") {
		t.Errorf("headers %v", second.Header())
	}
}

func TestHowToSignInIsSaidForThePathAndWhatWasShown(t *testing.T) {
	c := Config{
		Authenticator: keeper{}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader,
		Challenge: func(path string, shown bool) string { return fmt.Sprint(path, " ", shown) },
	}
	for _, tt := range []struct {
		challenge bool
		token     string
		want      string
	}{{true, "Bearer bad", "/v1/plans true"}, {true, "", "/v1/plans false"}, {false, "", `Bearer realm="purser"`}} {
		if !tt.challenge {
			c.Challenge = nil
		}
		g, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := g.Admit(r)
			Problem(w, r, err)
		})).ServeHTTP(w, request("GET", "localhost", func(r *http.Request) {
			if tt.token != "" {
				r.Header.Set("Authorization", tt.token)
			}
		}))
		if got := w.Header().Get("WWW-Authenticate"); w.Code != 401 || got != tt.want {
			t.Errorf("%d %q, not %q", w.Code, got, tt.want)
		}
	}
}

// Only the door that settles what was begun lets in who was stopped, or whose run is over,
// and no door who signs in no more (RULES 21).
func TestAnEndedCredentialSettlesAndNothingElse(t *testing.T) {
	g := testGate(t, &bytes.Buffer{}, &clock{at: time.Now()})
	for _, c := range []struct {
		bearer  string
		settles bool
	}{{"ended_stopped", true}, {"ended_run_ended", true}, {"ended_not_signed_in", false}, {"bad", false}} {
		r := request("POST", "purser.example", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+c.bearer) })
		for _, admit := range []func(*http.Request) (purser.Actor, error){g.AdmitSpender, g.AdmitToAsk} {
			if by, err := admit(r); (err == nil) != c.settles || (by.ID != "") != c.settles || (by.Ended != nil) != c.settles {
				t.Errorf("%s: %+v, %v", c.bearer, by, err)
			}
		}
		if by, err := g.Admit(r); err == nil || by.ID != "" {
			t.Errorf("%s is let in as %q", c.bearer, by.ID)
		}
	}
}

// remembering is an authenticator without a database, who remembers one credential.
type remembering struct {
	says purser.Code
	kind purser.ActorKind
	ago  time.Duration
}

func (a remembering) Known(bearer string, ago time.Duration) (purser.Actor, bool) {
	return purser.Actor{Kind: a.kind, ID: "per_1"}, bearer == "remembered" && a.ago < ago
}

func (a remembering) Authenticate(context.Context, string, string) (purser.Actor, error) {
	return purser.Actor{}, purser.Errorf(a.says, "no")
}

// SPEND.md K4: who was let in a while ago may stop without a database, and may do nothing
// else; who was revoked since may not.
func TestAStopNeedsNoDatabase(t *testing.T) {
	for _, c := range []struct {
		bearer string
		says   purser.Code
		stops  bool
	}{{"remembered", purser.Unavailable, true}, {"another", purser.Unavailable, false}, {"remembered", purser.NotSignedIn, false}} {
		g, err := New(Config{Authenticator: remembering{c.says, purser.Person, time.Hour}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		r := request("POST", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+c.bearer) })
		if by, err := g.AdmitToStop(r); (err == nil) != c.stops || (by.ID != "") != c.stops {
			t.Errorf("%s, %s: %+v, %v", c.bearer, c.says, by, err)
		}
		if by, err := g.Admit(r); err == nil || by.ID != "" {
			t.Errorf("%s, %s: %+v is let in", c.bearer, c.says, by)
		}
	}
}

// A person of a moment ago is looked up in the turn of the stop and not before it; whose
// credential may have been stopped meanwhile, or is of long ago, is looked up here.
func TestAStopOfAMomentAgoLooksNobodyUp(t *testing.T) {
	for _, c := range []struct {
		kind  purser.ActorKind
		ago   time.Duration
		stops bool
	}{{purser.Person, time.Second, true}, {purser.Person, time.Minute, false}, {purser.Agent, time.Second, false}} {
		g, err := New(Config{Authenticator: remembering{purser.NotSignedIn, c.kind, c.ago}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		r := request("POST", "localhost", func(r *http.Request) { r.Header.Set("Authorization", "Bearer remembered") })
		if by, err := g.AdmitToStop(r); (err == nil) != c.stops || by.Remembered != c.stops {
			t.Errorf("%s, %s ago: %+v, %v", c.kind, c.ago, by, err)
		}
	}
}
