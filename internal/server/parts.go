package server

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/blob"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/courier"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/oauthapi"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/seller"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/witness"
)

// parts are the rooms behind the doors.
type parts struct {
	store  *store.Store
	blobs  *blob.Blobs
	keys   *seller.Keys
	access *oauth.Keys
	office *office.Office
}

// open opens the rooms from the data up.
func open(ctx context.Context, cfg config.Config, opt Options, log *slog.Logger, url func() string) (_ *parts, err error) {
	p := &parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	database := strings.TrimPrefix(cfg.Database.Reveal(), "sqlite:")
	if p.store, err = store.Open(ctx, store.Config{Database: database, Now: opt.Now, Log: log}); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	box, seed, err := keys(ctx, p.store, cfg.KeyFile, opt.Random)
	if err != nil {
		return nil, err
	}
	if p.blobs, err = blob.Open(filepath.Join(cfg.Dir, "blobs"), opt.Random); err != nil {
		return nil, err
	}
	account, err := p.store.Read().InstallationValue(ctx, "id")
	if err != nil {
		return nil, fmt.Errorf("reading the installation: %w", err)
	}
	if p.keys, err = seller.OpenKeys(ctx, vault{p.store, box, appKeys}, opt.Now, opt.Random); err != nil {
		return nil, err
	}
	if p.access, err = oauth.OpenKeys(ctx, vault{p.store, box, accessKeys}, opt.Now, opt.Random); err != nil {
		return nil, err
	}
	requests, err := requestKey(seed)
	if err != nil {
		return nil, err
	}
	witnesses, err := witnesses(cfg.Audit.Witness, opt.Now)
	if err != nil {
		return nil, err
	}
	p.office, err = office.New(ctx, office.Config{
		Store: p.store, Blobs: p.blobs, Box: box, AuditSeed: seed, Witnesses: witnesses, PublicURL: url, Defaults: defaults(cfg),
		Seller:   seller.New(seller.Config{Now: opt.Now, Random: opt.Random, Origin: url, Account: account, Key: requests, Keys: p.keys}),
		Deployer: deployer{}, Couriers: couriers(cfg.Notices, opt.Now), Now: opt.Now, Random: opt.Random, Log: log,
		Access: p.access, Documents: oauthapi.NewDocuments(cfg.Clients.LocalDocuments), LocalDocuments: cfg.Clients.LocalDocuments,
		Arrivals: office.Arrivals{Domains: cfg.OIDC.AllowedDomains, Provision: cfg.OIDC.Provision, Roles: cfg.OIDC.GroupRoles()},
	})
	return p, err
}

// witnesses are the places outside that the settings name.
func witnesses(cfg config.Witness, now func() time.Time) (map[string]office.Witness, error) {
	all := map[string]office.Witness{}
	if cfg.File != "" {
		all["file"] = witness.File{Path: cfg.File}
	}
	if cfg.URL != "" {
		secret, err := cfg.Secret()
		if err != nil {
			return nil, fmt.Errorf("reading the witness's secret: %w", err)
		}
		all["url"] = witness.NewPost(cfg.URL, secret, now)
	}
	return all, nil
}

func defaults(cfg config.Config) office.Defaults {
	return office.Defaults{
		RunBudget: cfg.Defaults.RunBudget, Threshold: cfg.Defaults.Threshold, ProviderMonth: cfg.Defaults.ProviderMonth,
		OrdersPerHour: cfg.Defaults.OrdersPerHour, RequestTTL: cfg.Approval.RequestTTL, SignTTL: cfg.Approval.SignTTL,
		Grace: cfg.Retire.Grace, StopDeadline: cfg.Stop.Deadline, PlanTTL: planTTL, Lease: lease,
		SessionLife: cfg.Session.Life, SessionIdle: cfg.Session.Idle, Reminder: cfg.Notices.Reminder,
		KeepNotices: cfg.Notices.Keep,
	}
}

// couriers are the ways that the settings name.
func couriers(n config.Notices, now func() time.Time) map[string]office.Courier {
	all := map[string]office.Courier{}
	if m := n.SMTP; m.Host != "" {
		all[notice.Mail] = courier.Mail{
			Address: net.JoinHostPort(m.Host, fmt.Sprint(m.Port)), TLS: m.TLS, User: m.User, Password: m.Password.Reveal(), From: m.From,
		}
	}
	if h := n.Webhook; h.URL != "" {
		all[notice.Webhook] = courier.NewWebhook(h.URL.Reveal(), h.Secret.Reveal(), now)
	}
	return all
}

const (
	planTTL = time.Hour        // an applying plan ends after
	lease   = 60 * time.Second // of one call to a provider; APP 4 lets a provider take 30
)

// manifestLimit bounds a manifest, in bytes.
const manifestLimit = 1 << 20

// register takes the local cloud in by the manifest of this start: its address
// may be another one than last time. It is on loopback and was started by us.
func (p *parts) register(ctx context.Context, local LocalProvider) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, local.ManifestURL, nil)
	if err != nil {
		return fmt.Errorf("reading its manifest: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("reading its manifest: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	manifest, err := io.ReadAll(io.LimitReader(resp.Body, manifestLimit))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("reading its manifest: %s: %w", resp.Status, err)
	}
	name, err := p.office.RegisterProvider(ctx, string(manifest), local.SigningSecret, local.ProviderKey)
	if err != nil {
		return err
	}
	return p.office.Fetch(ctx, name)
}

// close ends the rooms from the office down.
func (p *parts) close() error {
	var err error
	if p.office != nil {
		p.office.Close()
	}
	if p.blobs != nil {
		err = errors.Join(err, p.blobs.Close())
	}
	if p.store != nil {
		err = errors.Join(err, p.store.Close())
	}
	return err
}

// seedName is the installation's value under which the audit key's seed is sealed.
const seedName = "audit_seed"

// keys opens the key file and the seed of the key that signs checkpoints. The
// seed is in the database, sealed, so that every replica signs as one.
func keys(ctx context.Context, s *store.Store, path string, random io.Reader) (seal.Box, []byte, error) {
	text, err := s.Read().InstallationValue(ctx, seedName)
	if errors.Is(err, sql.ErrNoRows) {
		if text, err = makeSeed(ctx, s, path, random); err != nil {
			return nil, nil, err
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the audit key: %w", err)
	}
	// Loaded, not made: a new key would open nothing of what the database holds.
	box, err := loadKeys(path, random)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the audit key: %w", err)
	}
	seed, err := box.Open(sealed, seedContext())
	if err != nil {
		return nil, nil, purser.Errorf(purser.InvalidRequest, "the key file %s is not the one that this database was made with", path).
			WithHint("%s", bringKey).WithCause(err)
	}
	return box, seed, nil
}

const bringKey = "bring the key file of this installation (mode 600), or name it: PURSER_KEY_FILE, or key_file in the settings"

// loadKeys opens a key file that must be there.
func loadKeys(path string, random io.Reader) (*seal.KeyFile, error) {
	box, err := seal.LoadKeyFile(path, random)
	switch {
	case err == nil:
		return box, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, purser.Errorf(purser.InvalidRequest, "there is no key file %s, and without it nothing that was sealed can be opened", path).
			WithHint("%s", bringKey).WithCause(err)
	}
	return nil, purser.Errorf(purser.InvalidRequest, "the key file %s: %v", path, err).WithHint("%s", bringKey).WithCause(err)
}

func seedContext() []byte { return seal.Context(store.Installation, "installation", seedName, "value") }

// makeSeed is for the first start. Of two replicas that start at once, the first
// one's seed stays.
func makeSeed(ctx context.Context, s *store.Store, path string, random io.Reader) (string, error) {
	box, err := seal.OpenKeyFile(path, random)
	if err != nil {
		return "", purser.Errorf(purser.InvalidRequest, "the key file %s: %v", path, err).WithHint("%s", bringKey).WithCause(err)
	}
	seed := make([]byte, 32)
	if _, err := io.ReadFull(random, seed); err != nil {
		return "", fmt.Errorf("making the audit key: %w", err)
	}
	sealed, err := box.Seal(seed, seedContext())
	if err != nil {
		return "", fmt.Errorf("sealing the audit key: %w", err)
	}
	err = s.Turn(ctx, store.Installation, func(t *store.Turn) error {
		rows, err := t.SetInstallationValue(ctx, db.SetInstallationValueParams{Name: seedName, Value: base64.StdEncoding.EncodeToString(sealed)})
		if rows == 1 {
			t.Record(ofKeys("make_keys", seedName))
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("keeping the audit key: %w", err)
	}
	return s.Read().InstallationValue(ctx, seedName)
}
