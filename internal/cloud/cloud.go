// Package cloud joins the parts of the local cloud into one running provider on
// loopback: DNS, certificates, sites, domains, mail, and the shop that sells them.
package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/purser-dev/purser/internal/cloud/api"
	"github.com/purser-dev/purser/internal/cloud/assets"
	"github.com/purser-dev/purser/internal/cloud/ca"
	"github.com/purser-dev/purser/internal/cloud/edge"
	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/mail"
	"github.com/purser-dev/purser/internal/cloud/nameserver"
	"github.com/purser-dev/purser/internal/cloud/registrar"
	"github.com/purser-dev/purser/internal/cloud/shop"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/cloud/till"
)

// The ports of the listeners that name none (local-cloud.md 3.1).
const (
	DefaultAPI  = "127.0.0.1:7700"
	DefaultEdge = "127.0.0.1:7743"
	DefaultHTTP = "127.0.0.1:7780"
	DefaultDNS  = "127.0.0.1:7753"
	DefaultSMTP = "127.0.0.1:7725"
)

// ErrLocked says that another process serves the folder.
var ErrLocked = errors.New("another local cloud runs on this folder")

// Options say where a cloud lives. The addresses are loopback only; port 0 takes
// the port of the last run if it is still free, else any. Empty: the default.
type Options struct {
	Dir     string // state folder, made with mode 0700
	Secrets string // file with Secrets, mode 0600

	API, Edge, HTTP, DNS, SMTP string

	// Ready is called once when all doors are open.
	Ready func(Ready)

	// AllowFaults opens /faults under the fault key of the secrets file. Faults are
	// switches that are on from the start.
	AllowFaults bool
	Faults      *fault.Set

	Now    func() time.Time // nil: time.Now
	Random io.Reader        // nil: crypto/rand
	Log    *slog.Logger     // nil: nothing is logged
}

// Ready tells where the doors are. The four addresses are host:port.
type Ready struct {
	ManifestURL string `json:"manifest_url"`
	APIURL      string `json:"api_url"` // of shop, deploy API and mail; no final slash
	EdgeHTTPS   string `json:"edge_https"`
	EdgeHTTP    string `json:"edge_http"`
	DNS         string `json:"dns"` // UDP and TCP
	SMTP        string `json:"smtp"`
	RootPEM     string `json:"root_pem"` // file with the certificate to trust
	PID         int    `json:"pid"`
}

// Run starts a cloud and serves until ctx is done, then stops in order. What a
// kill left half done is found again by the next Run on the same folder. A folder
// that another process serves is ErrLocked.
func Run(ctx context.Context, o Options) error {
	o = o.completed()
	secrets, err := readSecrets(o.Secrets)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return fmt.Errorf("closing the state folder to others: %w", err)
	}
	release, err := lock(filepath.Join(o.Dir, "lock"))
	if err != nil {
		return err
	}
	defer release()
	doors, err := openDoors(o)
	if err != nil {
		return err
	}
	defer doors.close()
	parts, err := o.assemble(ctx, secrets, doors)
	if err != nil {
		return err
	}
	defer parts.state.Close()
	return o.serve(ctx, parts, doors)
}

func (o Options) completed() Options {
	for _, a := range []struct {
		address  *string
		standard string
	}{{&o.API, DefaultAPI}, {&o.Edge, DefaultEdge}, {&o.HTTP, DefaultHTTP}, {&o.DNS, DefaultDNS}, {&o.SMTP, DefaultSMTP}} {
		if *a.address == "" {
			*a.address = a.standard
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Faults == nil {
		o.Faults = fault.NewSet()
	}
	return o
}

// parts are the rooms of a cloud that Run must reach after start.
type parts struct {
	state     *state.Store
	registrar *registrar.Registrar
	authority *ca.Authority
	mail      *mail.Office
	edge      *edge.Edge
	web       http.Handler
}

// assemble opens the rooms in the order of local-cloud.md 3.2, finishing what a
// crash left on the way.
func (o Options) assemble(ctx context.Context, secrets Secrets, doors *doors) (p parts, err error) {
	if p.state, err = state.Open(ctx, state.Options{Dir: o.Dir, Now: o.Now, Random: o.Random}); err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.state.Close())
		}
	}()
	blobs, err := o.openBlobs(ctx, p.state)
	if err != nil {
		return p, err
	}
	p.authority, err = ca.Open(ca.Options{
		Dir: filepath.Join(o.Dir, "ca"), Leaves: filepath.Join(o.Dir, "certs"), Policy: p.state, Now: o.Now, Random: o.Random,
	})
	if err != nil {
		return p, err
	}
	if p.mail, err = o.openMail(ctx, p.state); err != nil {
		return p, err
	}
	goods, err := o.openShop(ctx, &p, secrets, doors)
	if err != nil {
		return p, err
	}
	deploy, err := api.New(ctx, api.Options{Store: p.state, Blobs: blobs, Random: o.Random, Now: o.Now, Log: o.Log})
	if err != nil {
		return p, err
	}
	p.edge = edge.New(edge.Options{Sites: p.state, Blobs: blobs, Certificate: p.authority.GetCertificate, Log: o.Log})
	p.web = web(deploy, p.mail.Handler(o.Log), goods)
	return p, nil
}

// openBlobs opens the assets and drops those that no version names.
func (o Options) openBlobs(ctx context.Context, st *state.Store) (*assets.Store, error) {
	blobs, err := assets.OpenStore(filepath.Join(o.Dir, "blobs"))
	if err != nil {
		return nil, err
	}
	keep, err := st.Sweep(ctx)
	if err != nil {
		return nil, err
	}
	if err := blobs.Sweep(o.Random, func(hash string) bool { return keep[hash] }); err != nil {
		return nil, fmt.Errorf("sweeping assets: %w", err)
	}
	return blobs, nil
}

func (o Options) openMail(ctx context.Context, st *state.Store) (*mail.Office, error) {
	return mail.Open(ctx, mail.Config{
		DB: st, Dir: filepath.Join(o.Dir, "mail"), Now: o.Now, Random: o.Random, Faults: o.Faults,
		Stopped: func(ctx context.Context, account string) (bool, error) {
			a, err := st.Account(ctx, account)
			if errors.Is(err, state.ErrNotFound) {
				return false, nil // signed up at the post office itself
			}
			return a.Suspended, err
		},
		Domains: func(ctx context.Context, account, domain string) (bool, error) {
			z, err := st.ZoneOf(ctx, domain)
			if errors.Is(err, state.ErrNotFound) {
				return false, nil
			}
			return z.Account == account && z.Name == domain, err
		},
	})
}

func (o Options) openShop(ctx context.Context, p *parts, secrets Secrets, doors *doors) (*shop.Shop, error) {
	money, err := till.Open(ctx, till.Config{DB: p.state, URL: secrets.RailURL, Key: secrets.ProviderKey, Now: o.Now, Faults: o.Faults})
	if err != nil {
		return nil, err
	}
	prices, err := registrar.OpenPrices(filepath.Join(o.Dir, "prices.json"))
	if err != nil {
		return nil, err
	}
	p.registrar, err = registrar.Open(ctx, registrar.Config{
		DB: p.state, Prices: prices, Charger: money, Zones: zones{p.state}, Now: o.Now, Faults: o.Faults,
	})
	if err != nil {
		return nil, err
	}
	if err := p.registrar.Recover(ctx); err != nil {
		// An account may be stopped; keepHouse tries again.
		o.Log.WarnContext(ctx, "registrations not finished", "error", err)
	}
	key, err := sealKey(filepath.Join(o.Dir, "seal.key"), o.Random)
	if err != nil {
		return nil, err
	}
	c := shop.Config{
		State: p.state, Registrar: p.registrar, Till: money, Mail: p.mail, Authority: p.authority,
		URL: doors.url(), NameServers: nameserver.NameServers(), SigningSecret: secrets.SigningSecret, SealKey: key,
		Now: o.Now, Random: o.Random, Log: o.Log, Faults: o.Faults,
	}
	if o.AllowFaults {
		if secrets.FaultKey == "" {
			return nil, errors.New("faults are allowed, but the secrets file has no fault_key")
		}
		c.FaultKey = secrets.FaultKey
	}
	return shop.New(ctx, c)
}

// zones makes the zone of a name that was bought.
type zones struct{ *state.Store }

func (z zones) Ensure(ctx context.Context, account, name string) (string, error) {
	made, err := z.CreateZone(ctx, account, name)
	return made.ID, err
}

// web puts the three HTTP faces on one port.
func web(deploy, mailAPI, goods http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/client/v4/", deploy)
	mux.Handle("/v0/", mailAPI)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.Handle("/", goods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page of the internet whose name was rebound to loopback must not reach us.
		if !loopbackHost(r.Host) {
			http.Error(w, "this host name is not served here", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// stopTime is how long requests in flight may take to end.
const stopTime = 3 * time.Second

// serve opens the doors, tells so, and waits for the end.
func (o Options) serve(ctx context.Context, p parts, d *doors) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return nameserver.New(p.state).Serve(ctx, d.packets, d.stream) })
	group.Go(func() error { return serveWeb(ctx, p.web, d.api) })
	group.Go(func() error { return p.edge.Serve(ctx, d.edge, d.http) })
	group.Go(func() error { return o.serveMail(ctx, p.mail, d.smtp) })
	group.Go(func() error { return o.keepHouse(ctx, p.registrar) })
	ready := d.ready(p.authority.RootPath())
	if err := d.remember(o.Dir, ready); err != nil {
		o.Log.WarnContext(ctx, "run file not written", "error", err) // the ports may then differ next time
	}
	if o.Ready != nil {
		o.Ready(ready)
	}
	return group.Wait()
}

func serveWeb(ctx context.Context, handler http.Handler, l net.Listener) error {
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	return until(ctx, func() error { return s.Serve(l) }, func(stop context.Context) error {
		if err := s.Shutdown(stop); err != nil {
			return s.Close() // what takes longer is cut off and found again by its buyer
		}
		return nil
	})
}

func (o Options) serveMail(ctx context.Context, m *mail.Office, l net.Listener) error {
	s := m.SMTPServer(o.Log)
	return until(ctx, func() error { return s.Serve(l) }, func(stop context.Context) error {
		if err := s.Shutdown(stop); err != nil {
			return s.Close()
		}
		return nil
	})
}

// until serves until ctx is done, then stops. An end before that is an error.
func until(ctx context.Context, serve func() error, stop func(ctx context.Context) error) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := stop(limit)
	<-ended
	return err
}

// keepHouse finishes registrations whose zone could not be made at first.
func (o Options) keepHouse(ctx context.Context, r *registrar.Registrar) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := r.Recover(ctx); err != nil && ctx.Err() == nil {
				o.Log.WarnContext(ctx, "registrations not finished", "error", err)
			}
		}
	}
}
