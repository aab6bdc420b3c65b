// Package edge serves the local cloud's sites over HTTPS and sends plain HTTP there.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/internal/cloud/assets"
	"github.com/purser-dev/purser/internal/cloud/state"
)

// Sites finds what a host serves: its route (state.ErrNotFound when nothing answers
// there) and the content of a version, which never changes.
type Sites interface {
	Route(ctx context.Context, host string) (state.Route, error)
	Content(ctx context.Context, versionID string) (assets.Manifest, assets.Config, error)
}

// Options are the edge's parts. Certificate answers a TLS hello.
type Options struct {
	Sites       Sites
	Blobs       *assets.Store
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Log         *slog.Logger
}

// Edge routes requests by host. It keeps the parsed sites of recent versions.
type Edge struct {
	o Options

	mu    sync.Mutex
	sites map[string]*assets.Site // by version id
}

// heldSites bounds the memory for parsed sites; a large one takes a few megabytes.
const heldSites = 32

// New makes an edge that is not yet listening.
func New(o Options) *Edge {
	return &Edge{o: o, sites: map[string]*assets.Site{}}
}

// Serve answers HTTPS and HTTP on two listeners until ctx is done, lets requests
// in flight end, and closes both.
func (e *Edge) Serve(ctx context.Context, secure, plain net.Listener) error {
	_, port, err := net.SplitHostPort(secure.Addr().String())
	if err != nil {
		return fmt.Errorf("reading the HTTPS address: %w", err)
	}
	https := server(e)
	https.TLSConfig = &tls.Config{GetCertificate: e.o.Certificate, MinVersion: tls.VersionTLS12}
	http := server(Redirect(port))
	failed := make(chan error, 2)
	go func() { failed <- https.ServeTLS(secure, "", "") }()
	go func() { failed <- http.Serve(plain) }()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	for _, s := range []interface {
		Shutdown(context.Context) error
		Close() error
	}{https, http} {
		if s.Shutdown(stop) != nil {
			s.Close() // slow clients are cut off
		}
	}
	if err != nil {
		return fmt.Errorf("serving sites: %w", err)
	}
	return nil
}

func server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		// Failed handshakes are the client's affair, such as a name we have no certificate for.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

// Redirect sends each request to the same host and path at HTTPS.
func Redirect(port string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := hostOf(r)
		if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
			page(w, r, http.StatusBadRequest, "This is no host name.")
			return
		}
		if port != "443" {
			host = net.JoinHostPort(host, port)
		}
		w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}

// ServeHTTP serves one request of a site.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := hostOf(r)
	route, err := e.o.Sites.Route(r.Context(), host)
	switch {
	case errors.Is(err, state.ErrNotFound):
		page(w, r, http.StatusNotFound, "Nothing is deployed here.")
	case err != nil:
		e.fail(w, r, err)
	case route.Suspended:
		w.Header().Set("Retry-After", "60")
		page(w, r, http.StatusServiceUnavailable, "This site is stopped.")
	default:
		site, err := e.site(r.Context(), route.Version)
		if err == nil {
			err = assets.Serve(w, r, site, e.o.Blobs)
		}
		if err != nil {
			e.fail(w, r, err)
		}
	}
}

// site is the parsed content of a version.
func (e *Edge) site(ctx context.Context, version string) (*assets.Site, error) {
	e.mu.Lock()
	site := e.sites[version]
	e.mu.Unlock()
	if site != nil {
		return site, nil
	}
	manifest, config, err := e.o.Sites.Content(ctx, version)
	if err != nil {
		return nil, err
	}
	site = assets.NewSite(manifest, config)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.sites) >= heldSites {
		clear(e.sites)
	}
	e.sites[version] = site
	return site, nil
}

func (e *Edge) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client left
	}
	e.o.Log.ErrorContext(r.Context(), "serving a site", "host", r.Host, "error", err)
	page(w, r, http.StatusInternalServerError, "This page could not be read.")
}

// hostOf is the host asked for: lower case, no port, no last dot.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// page is a short answer of the edge itself.
func page(w http.ResponseWriter, r *http.Request, status int, text string) {
	body := fmt.Sprintf("<!doctype html><meta charset=utf-8><title>%d</title><p>%s\n", status, text)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		io.WriteString(w, body)
	}
}
