// Package server joins the parts into one running program: store, office, sellers, doors, and what runs in the background.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/appapi"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/console"
	"github.com/purser-dev/purser/internal/gate"
	"github.com/purser-dev/purser/internal/httpapi"
	"github.com/purser-dev/purser/internal/issuer"
	"github.com/purser-dev/purser/internal/mcpapi"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/oauthapi"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
)

const (
	drain         = 10 * time.Second // for requests that are being answered when the server stops
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	headerBytes   = 64 << 10
)

// Options are what a server gets from outside.
type Options struct {
	Version  string           // of the program
	Listener net.Listener     // nil: listens where the settings say
	Log      *slog.Logger     // nil: as the settings say, to standard error
	Local    *LocalProvider   // nil: none
	Now      func() time.Time // nil: time.Now
	Random   io.Reader        // nil: crypto/rand
}

// LocalProvider is the local cloud that the operator started beside the server.
type LocalProvider struct {
	ManifestURL   string
	SigningSecret seal.Secret // signs our calls to it
	ProviderKey   seal.Secret // which it shows at our rail
}

func (o Options) completed(cfg config.Log) Options {
	if o.Log == nil {
		o.Log = logger(cfg)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	return o
}

func logger(cfg config.Log) *slog.Logger {
	opt := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}

// Server is a program that listens and is not serving yet, until Run.
type Server struct {
	cfg      config.Config
	log      *slog.Logger
	parts    *parts
	listener net.Listener
	http     *http.Server
	drain    time.Duration
	hangUp   context.CancelFunc // ends the requests that outlast the drain
	unused   unused
	trace    func(context.Context) error
}

// unusable says what is in the way of a start where that is the database: who starts the
// server is who can mend it, so the reason is shown.
func unusable(err error) error {
	var coded *purser.Error
	if errors.As(err, &coded) || !store.Away(err) {
		return err
	}
	return purser.Errorf(purser.Unavailable, "the database cannot be used: %s", strings.Join(strings.Fields(err.Error()), " ")).
		WithHint("make room on its disk, or end what else uses it; then start again").WithCause(err)
}

// New opens the data, joins the parts and listens, so that URL is known. The
// listener is its own from then on, also when it fails. Run must follow, or Close.
func New(ctx context.Context, cfg config.Config, opt Options) (_ *Server, err error) {
	opt = opt.completed(cfg.Log)
	s := &Server{cfg: cfg, log: opt.Log, listener: opt.Listener, drain: drain}
	defer func() {
		if err != nil {
			err = errors.Join(unusable(err), s.Close())
		}
	}()
	for _, w := range cfg.Warnings {
		s.log.Warn(w)
	}
	if s.listener == nil {
		if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
			return nil, fmt.Errorf("listening: %w", err)
		}
	}
	if s.parts, err = open(ctx, cfg, opt, s.log, s.URL); err != nil {
		return nil, err
	}
	if opt.Local != nil {
		if err := s.parts.register(ctx, *opt.Local); err != nil {
			return nil, fmt.Errorf("registering the local cloud: %w", err)
		}
	}
	if err := s.parts.office.CheckParty(ctx); err != nil { // tokens and passphrases work all the same
		s.log.Warn("nobody can use a passkey here", "why", err)
	}
	handler, err := s.doors(opt)
	if err != nil {
		return nil, err
	}
	if handler, s.trace, err = traced(ctx, cfg.Tracing, s.log, handler); err != nil {
		return nil, err
	}
	base, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	s.hangUp = hangUp
	s.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
		BaseContext: func(net.Listener) context.Context { return base },
		ConnState:   s.unused.watch,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // a stranger's broken handshake is no news
	}
	return s, nil
}

// doors puts the gate before HTTP, MCP and metrics.
func (s *Server) doors(opt Options) (http.Handler, error) {
	count, err := newMetrics(s.cfg.Metrics)
	if err != nil {
		return nil, err
	}
	g, err := gate.New(gate.Config{
		Hosts: s.cfg.Hosts(), Origins: []string{s.URL()}, TrustedProxies: s.cfg.TrustedProxies,
		Authenticator: s.parts.office, Sessions: s.parts.office, URL: s.URL(), Log: s.log, Now: opt.Now, Random: opt.Random, Observe: count.observe,
		Refused:   s.parts.office.CountRefusal,
		MeantFor:  s.parts.office.MeantFor,
		Explain:   office.Explain,
		Challenge: func(path string, shown bool) string { return oauth.Challenge(s.URL(), path, shown) },
	})
	if err != nil {
		return nil, err
	}
	doors := map[string]http.Handler{"/mcp": mcpapi.New(mcpapi.Config{
		Operations: s.parts.office.Operations(), Gate: g, Version: opt.Version, Random: opt.Random,
		Events: s.parts.office.Events, Answering: s.parts.office.Answering,
	})}
	if count.handler != nil {
		doors["GET /metrics"] = count.handler
	}
	maps.Copy(doors, appapi.Doors(appapi.Config{Office: s.parts.office, Keys: s.parts.keys, Gate: g, Origin: s.URL}))
	pages := console.New(console.Config{Office: s.parts.office, Gate: g, Sessions: g, SignIn: "/sign-in", Upstream: s.cfg.OIDC.Name, Random: opt.Random, Version: opt.Version, Now: opt.Now, Origin: s.URL})
	maps.Copy(doors, pages.Doors())
	maps.Copy(doors, oauthapi.Doors(oauthapi.Config{
		Office: s.parts.office, Keys: s.parts.access, Gate: g, Origin: s.URL, Consent: "/connect/", Fail: pages.Fail,
	}))
	if s.cfg.OIDC.Issuer != "" {
		maps.Copy(doors, s.upstream(opt, g, pages.Fail))
	}
	return httpapi.New(httpapi.Config{Office: s.parts.office, Gate: g, Version: opt.Version, Doors: doors, Lost: pages.Lost()}), nil
}

// upstream is the way in through the issuer of the settings.
func (s *Server) upstream(opt Options, g *gate.Gate, fail func(http.ResponseWriter, *http.Request, error)) map[string]http.Handler {
	cfg := s.cfg.OIDC
	d := issuer.Door{Office: s.parts.office, Gate: g, Origin: s.URL, Fail: fail, Issuer: issuer.New(issuer.Config{
		Issuer: cfg.Issuer, ClientID: cfg.ClientID, Secret: seal.NewSecret(cfg.ClientSecret.Reveal()), Groups: cfg.GroupsClaim,
		Redirect: func() string { return s.URL() + issuer.PathFinish }, Now: opt.Now, Random: opt.Random,
	})}
	return d.Doors()
}

// URL is what agents and browsers call the server; without a public_url it is
// localhost with the port that was taken.
func (s *Server) URL() string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return "http://" + s.listener.Addr().String()
	}
	return "http://localhost:" + port
}

// SetupCode makes a single-use code for the first owner; needed is false when
// somebody has signed up already.
func (s *Server) SetupCode(ctx context.Context) (code string, needed bool, err error) {
	return s.parts.office.SetupCode(ctx)
}

// Run serves until ctx ends, then answers what was begun, for at most ten
// seconds, and closes everything. Orders in flight are found again by the next
// start.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving: %w", err)
		}
		return nil
	})
	for _, j := range s.parts.jobs() {
		group.Go(func() error { j.run(ctx, s.log); return nil })
	}
	group.Go(func() error {
		<-ctx.Done()
		return s.stop()
	})
	s.log.Info("serving", "url", s.URL(), "database", s.cfg.Database)
	return group.Wait()
}

// stop ends the doors: nothing new, the rest within the drain.
func (s *Server) stop() error {
	s.log.Info("stopping")
	s.parts.office.Leave()
	s.unused.hangUp()
	ctx, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.log.Warn("some requests were not answered in time", "waited", s.drain)
	s.hangUp()
	return s.http.Close()
}

// Close frees what New opened. Run does it too; twice is fine.
func (s *Server) Close() error {
	var err error
	if s.hangUp != nil {
		s.hangUp()
	}
	if s.http != nil {
		err = s.http.Close()
	}
	if s.listener != nil {
		if e := s.listener.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	if s.parts != nil {
		err = errors.Join(err, s.parts.close())
		s.parts = nil
	}
	if s.trace != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		err = errors.Join(err, s.trace(ctx))
		s.trace = nil
	}
	return err
}
