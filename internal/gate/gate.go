// Package gate stands before the doors: it checks which name was called, where a request comes from and who sends it, and logs one line for each.
package gate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser"
)

// Authenticator finds out whose a bearer token is. source is the network
// address. A token that is not valid is not_signed_in; one in whose scope a
// stop is in force is stopped.
type Authenticator interface {
	// Authenticate finds who holds a credential. Of one that has ended and may still settle
	// what began before, it says beside the error who held it.
	Authenticate(ctx context.Context, bearer, source string) (purser.Actor, error)
	// Known is Authenticate from memory, of at most so long ago: the credential may have
	// ended since.
	Known(bearer string, ago time.Duration) (purser.Actor, bool)
}

// Sessions finds out whose a browser's cookie is; errors as of Authenticator.
type Sessions interface {
	AuthenticateSession(ctx context.Context, cookie, source string) (purser.Actor, error)
}

// Config is what a gate needs to know.
type Config struct {
	Hosts          []string       // names beside the loopback ones that the server answers to, any port
	Origins        []string       // origins beside its own whose pages may change something: https://host[:port]
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	Authenticator  Authenticator
	Sessions       Sessions // nil: no cookie is looked at
	URL            string   // what browsers call the server; it names the cookie
	Log            *slog.Logger
	Now            func() time.Time
	Random         io.Reader
	// Refused counts a request that is refused here, by what was wrong with it; it
	// may be nil.
	Refused func(source, what string)
	// MeantFor refuses a token that was made for another door than the one at path
	// (RFC 8707); nil: every token fits every door.
	MeantFor func(ctx context.Context, by purser.Actor, path string) error
	// Challenge writes the WWW-Authenticate header of an answer 401 to a request for
	// path, which had a credential or not; nil: the shortest one.
	Challenge func(path string, shown bool) string
	// Explain gives an error without a code one, where it can be told what became of the
	// request; nil: what has none is internal.
	Explain func(err error) error
	// Observe counts a request; it may be nil.
	Observe func(op string, code purser.Code, took time.Duration)
}

// Gate wraps the doors. It is safe for concurrent use.
type Gate struct {
	config Config
	hosts  map[string]bool
	origin *http.CrossOriginProtection
	wrong  *limits // requests without a valid credential, by source
}

// New makes a gate. An origin that is none is an error.
func New(c Config) (*Gate, error) {
	g := &Gate{config: c, hosts: map[string]bool{}, origin: http.NewCrossOriginProtection(), wrong: newLimits(c.Now)}
	for _, h := range c.Hosts {
		g.hosts[strings.TrimSuffix(strings.ToLower(h), ".")] = true
	}
	for _, o := range c.Origins {
		if err := g.origin.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("trusting origin %q: %w", o, err)
		}
	}
	return g, nil
}

// Entry is what a request's log line tells. It is safe for concurrent use: a
// door may still work on a request whose sender is gone.
type Entry struct {
	ID string // also in the answer's Request-Id, and the reference of a fault

	source    string // of the request
	path      string // of the request
	shown     bool   // it had a credential
	challenge func(path string, shown bool) string
	explain   func(error) error

	mu     sync.Mutex
	op     string
	actor  purser.Actor
	code   purser.Code // empty: it went well
	cause  error       // for the log only
	broken bool        // the cause is for somebody to mend
}

// Name notes which operation it is.
func (e *Entry) Name(op string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.op = op
}

// Sent notes who sends it.
func (e *Entry) Sent(by purser.Actor) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.actor = by
}

// howToSignIn is the WWW-Authenticate header of an answer 401.
func (e *Entry) howToSignIn() string {
	if e.challenge == nil {
		return `Bearer realm="purser"`
	}
	return e.challenge(e.path, e.shown)
}

type entryOf struct{}

// EntryOf finds the entry of the request that ctx belongs to. Outside of a gate
// it gives one that nobody reads.
func EntryOf(ctx context.Context) *Entry {
	if e, ok := ctx.Value(entryOf{}).(*Entry); ok {
		return e
	}
	return &Entry{challenge: func(string, bool) string { return "Bearer" }}
}

// Fail notes an error and returns what may be shown of it: the *purser.Error
// within, or internal with the reference under which the log has the cause.
func (e *Entry) Fail(err error) *purser.Error {
	gone := errors.Is(err, context.Canceled) // whoever asked: no fault of anybody
	switch {
	case gone:
		err = purser.Errorf(purser.Unavailable, "the caller went away before the answer").WithCause(err)
	case e.explain != nil:
		err = e.explain(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.code, e.cause = purser.CodeOf(err), nil
	if e.code.Info().HTTP >= http.StatusInternalServerError {
		e.cause = err
	}
	// That more is asked than can be decided is the callers' matter, comes in floods, and is
	// counted: its lines are as those of other refusals.
	e.broken = e.cause != nil && e.code != purser.Overloaded && !gone
	var shown *purser.Error
	if errors.As(err, &shown) && e.code != purser.Internal {
		return shown
	}
	// Nobody vouched for this text, so none of it is shown.
	return &purser.Error{
		Code: purser.Internal, Detail: "a fault of the program", Reference: e.ID,
		Hint: "the server's log has the cause under this reference",
	}
}

// passage is a request on its way through the gate, in one piece: the context that
// knows its entry, and the answer.
type passage struct {
	context.Context
	entry  Entry
	answer watched
	began  time.Time
	id     [1]string // the answer's Request-Id
	random [8]byte   // of the id
}

func (p *passage) Value(key any) any {
	if key == any(entryOf{}) {
		return &p.entry
	}
	return p.Context.Value(key)
}

// What each answer's header says, unless a door says otherwise. The lists are
// everybody's: http.Header appends to a copy, since they have no room.
var (
	nosniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	deny       = []string{"DENY"}
	nothing    = []string{"default-src 'none'; frame-ancestors 'none'"}
	noStore    = []string{"no-store"}
)

// Wrap puts the gate before a handler.
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &passage{Context: r.Context(), began: g.config.Now()}
		p.id[0] = g.requestID(&p.random)
		p.entry.ID, p.entry.source = p.id[0], g.source(r)
		p.entry.path, p.entry.shown, p.entry.challenge = r.URL.Path, r.Header.Get("Authorization") != "", g.config.Challenge
		p.entry.explain = g.config.Explain
		p.answer.ResponseWriter = w
		h := w.Header()
		h["Request-Id"] = p.id[:]
		h["X-Content-Type-Options"] = nosniff
		h["Referrer-Policy"] = noReferrer
		h["X-Frame-Options"] = deny
		h["Content-Security-Policy"] = nothing
		h["Cache-Control"] = noStore
		r = r.WithContext(p)
		defer g.finish(p, r)
		if err := g.check(r); err != nil {
			Problem(&p.answer, r, err)
			return
		}
		next.ServeHTTP(&p.answer, r)
	})
}

// finish logs the request's one line. A panic becomes an internal fault; the one
// that means "drop the connection" goes on.
func (g *Gate) finish(p *passage, r *http.Request) {
	fault, broken := recover(), p.answer.begun
	if fault != nil && fault != http.ErrAbortHandler { //nolint:errorlint // panics are compared, as net/http does
		err := fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		if !broken {
			Problem(&p.answer, r, err)
		} else {
			p.entry.Fail(err)
		}
	}
	g.log(p, g.config.Now())
	if fault != nil && (broken || fault == http.ErrAbortHandler) { //nolint:errorlint // as above
		panic(http.ErrAbortHandler)
	}
}

func (g *Gate) log(p *passage, now time.Time) {
	e, took := &p.entry, now.Sub(p.began)
	e.mu.Lock()
	defer e.mu.Unlock()
	if g.config.Observe != nil {
		g.config.Observe(e.op, e.code, took)
	}
	level := slog.LevelInfo
	if e.broken {
		level = slog.LevelError
	}
	out := g.config.Log.Handler()
	if !out.Enabled(p, level) {
		return
	}
	line := slog.NewRecord(now, level, "request", 0) // where in the program it is written tells nobody anything
	line.AddAttrs(
		slog.String("op", e.op), slog.String("actor", string(e.actor.Kind)), slog.String("id", e.actor.ID),
		slog.String("code", string(e.code)), slog.Int("status", p.answer.code), slog.Duration("took", took),
		slog.String("request", e.ID), slog.String("source", e.source),
	)
	if e.cause != nil {
		line.AddAttrs(slog.String("cause", causes(e.cause)))
	}
	_ = out.Handle(p, line) // as a logger does: there is nowhere to tell it
}

// causes writes an error with what its parts keep from being shown.
func causes(err error) string {
	text := err.Error()
	var e *purser.Error
	for errors.As(err, &e) && e.Cause != nil {
		err = e.Cause
		text += ": " + err.Error()
	}
	return text
}

func (g *Gate) requestID(random *[8]byte) string {
	if _, err := io.ReadFull(g.config.Random, random[:]); err != nil {
		return "req_unknown" // a request is not refused for want of a name
	}
	text := [20]byte{'r', 'e', 'q', '_'}
	hex.Encode(text[4:], random[:])
	return string(text[:])
}

// check refuses names that are not ours, which is how a web page rebinds DNS to
// reach loopback (RULES 23), changes that a page of another origin sends, and pages
// within another page.
func (g *Gate) check(r *http.Request) error {
	if name := hostname(r.Host); !g.hosts[name] && !loopback(name) {
		g.Count(r, "unknown_host")
		return purser.Errorf(purser.Forbidden, "this server does not answer to the name in the Host header").
			WithHint("add the name to allowed_hosts")
	}
	if err := g.origin.Check(r); err != nil {
		g.Count(r, "cross_origin")
		return purser.Errorf(purser.Forbidden, "a page of another origin may not do this")
	}
	// The headers of each answer forbid frames too. A browser that obeys them tells
	// nobody, so the attempt would be on no record.
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame", "fencedframe", "embed", "object":
		g.Count(r, "framed")
		return purser.Errorf(purser.Forbidden, "no page of this server is shown inside another page").WithHint("open it in a tab of its own")
	}
	return nil
}

// hostname takes a Host header apart; a port of any kind is dropped.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
}

func loopback(name string) bool {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// Source is the network address a request comes from: the nearest one that is
// not a trusted proxy's.
func (g *Gate) Source(r *http.Request) string {
	if e, ok := r.Context().Value(entryOf{}).(*Entry); ok {
		return e.source
	}
	return g.source(r)
}

func (g *Gate) source(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	if peer.Addr().Is4() && !g.trusts(peer.Addr()) {
		return r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')] // an IPv4 address has one form
	}
	at := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && g.trusts(at); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		at = hop.Unmap().WithZone("")
	}
	return at.String()
}

func (g *Gate) trusts(a netip.Addr) bool {
	for _, p := range g.config.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Admit finds out who sends a request. No valid credential is not_signed_in; too
// many of those from one source are too_many_tries. A valid one always passes,
// so nobody is locked out by a neighbour.
func (g *Gate) Admit(r *http.Request) (purser.Actor, error) { return g.admit(r, false, false) }

// AdmitSpender is Admit for an operation whose deciding turn looks at the credential
// again: one of a short time ago does, so that no question to the database stands before
// the decision, and one that a stop or the end of its run took, with Ended in its actor.
func (g *Gate) AdmitSpender(r *http.Request) (purser.Actor, error) { return g.admit(r, true, true) }

// How long a credential is taken from memory: where the deciding turn looks at it again,
// and where the database does not answer and nothing but a stop is asked for.
const (
	knownFor    = 10 * time.Second
	knownToStop = 12 * time.Hour
	stopPause   = time.Second // for the database to say whose it is, where memory knows
)

// AdmitToStop is Admit for what must work without a database (SPEND.md K4): whoever was
// let in a while ago may stop until it answers, since that only refuses. A person of a
// short time ago is not looked up first at all, but in the stop's turn: until that is
// done, nothing is held back, and of all that waits for the database a stop has least time.
func (g *Gate) AdmitToStop(r *http.Request) (purser.Actor, error) {
	bearer, err := Bearer(r)
	if err != nil {
		return g.Admit(r)
	}
	by, known := g.config.Authenticator.Known(bearer, knownToStop)
	if !known {
		return g.Admit(r)
	}
	if _, lately := g.config.Authenticator.Known(bearer, knownFor); lately && by.Kind == purser.Person {
		by, err := g.admit(r, true, false)
		by.Remembered = err == nil
		return by, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), stopPause)
	defer cancel()
	now, err := g.Admit(r.WithContext(ctx))
	if purser.CodeOf(err) != purser.Unavailable {
		return now, err
	}
	by.Source, by.Remembered = g.Source(r), true
	EntryOf(r.Context()).Sent(by)
	return by, nil
}

// AdmitToAsk is Admit for a door that finds out later what is asked: an actor whose
// credential has ended gets that as the answer to all but what AdmitSpender is for.
// One that a stop took which was lifted since gets it here, so that a client signs in again.
func (g *Gate) AdmitToAsk(r *http.Request) (purser.Actor, error) {
	by, err := g.admit(r, false, true)
	if err == nil && purser.CodeOf(by.Ended) == purser.NotSignedIn {
		return purser.Actor{}, g.strange(g.Source(r), "ended_credential", by.Ended)
	}
	return by, err
}

func (g *Gate) admit(r *http.Request, fromMemory, ended bool) (purser.Actor, error) {
	source, what := g.Source(r), ""
	bearer, err := Bearer(r)
	if bearer == "" {
		what = "no_credential"
	}
	if err == nil {
		by, known := purser.Actor{}, false
		if fromMemory {
			by, known = g.config.Authenticator.Known(bearer, knownFor)
		}
		if !known {
			by, err = g.config.Authenticator.Authenticate(r.Context(), bearer, source)
		}
		switch {
		case err == nil || by.ID == "":
		case ended:
			by.Ended, err = err, nil
		default:
			what = "ended_credential"
		}
		if err == nil {
			by.Source = source
			EntryOf(r.Context()).Sent(by)
			if g.config.MeantFor == nil {
				return by, nil
			}
			if err = g.config.MeantFor(r.Context(), by, r.URL.Path); err == nil {
				return by, nil
			}
		}
	}
	return purser.Actor{}, g.strange(source, what, err)
}

// strange counts a request that nobody vouches for, as what is given if the authenticator
// does not, and says what it gets.
func (g *Gate) strange(source, what string, err error) error {
	if purser.CodeOf(err) == purser.NotSignedIn {
		if wait := g.wrong.take(source); wait > 0 {
			g.refused(source, "rate_limited")
			return tooMany(wait)
		}
		if what != "" {
			g.refused(source, what)
		}
	}
	return err
}

// Count tells of an attack that a door refused and that nobody answers for (RULES 22).
func (g *Gate) Count(r *http.Request, what string) { g.refused(g.Source(r), what) }

// refused tells of a refusal that the authenticator does not know of (RULES 22).
func (g *Gate) refused(source, what string) {
	if g.config.Refused != nil {
		g.config.Refused(source, what)
	}
}

// Anonymous counts a request that needs no credential, and names its source.
func (g *Gate) Anonymous(r *http.Request) (purser.Actor, error) {
	source := g.Source(r)
	if wait := g.wrong.take(source); wait > 0 {
		g.refused(source, "rate_limited")
		return purser.Actor{}, tooMany(wait)
	}
	return purser.Actor{Source: source}, nil
}

func tooMany(wait time.Duration) *purser.Error {
	e := purser.Errorf(purser.TooManyTries, "too many requests without a valid credential come from this address")
	e.RetryAfter = wait
	return e
}

// Bearer reads the credential (RFC 6750 section 2.1); it never comes from a URL.
func Bearer(r *http.Request) (string, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return "", purser.Errorf(purser.NotSignedIn, "there is no credential").WithHint("purser login")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 4096 {
		return "", purser.Errorf(purser.NotSignedIn, "the Authorization header is not one bearer token").WithHint("purser login")
	}
	return token, nil
}
