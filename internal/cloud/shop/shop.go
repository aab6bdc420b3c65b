// Package shop sells the local cloud over APP, as any third party would: the
// catalog, the hooks that make the things, and the pages a seller shows.
package shop

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/cloud/ca"
	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/mail"
	"github.com/purser-dev/purser/internal/cloud/registrar"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/cloud/till"
	"github.com/purser-dev/purser/provider"
)

// Name is the provider's name in catalogs and references ("local/hosting:pro").
const Name = "local"

// Config joins a Shop to the parts whose goods it sells.
type Config struct {
	State     *state.Store
	Registrar *registrar.Registrar
	Till      *till.Till
	Mail      *mail.Office
	Authority *ca.Authority

	URL           string // where the shop is reached, e.g. "http://127.0.0.1:7700", no final slash
	NameServers   []string
	SigningSecret string // of the one orchestrator (APP 5.1)
	SealKey       []byte // 32 bytes; encrypts handed-over values at rest

	Now    func() time.Time
	Random io.Reader
	Log    *slog.Logger

	Faults   *fault.Set
	FaultKey string // bearer of /faults; empty: the route does not exist
}

// Shop is the seller's http.Handler: /manifest.json, /app/..., /terms, /privacy,
// /llms.txt, and with a FaultKey /faults.
type Shop struct {
	Config
	provider *provider.Provider
	mux      *http.ServeMux
}

// schema is the shop's own area of the database; steps are only ever appended.
var schema = []string{`
CREATE TABLE shop_records (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires BIGINT NOT NULL) WITHOUT ROWID;
CREATE TABLE shop_resources (
	id TEXT PRIMARY KEY, account TEXT NOT NULL, service TEXT NOT NULL, cut BIGINT NOT NULL, created BIGINT NOT NULL);
CREATE INDEX shop_resources_account ON shop_resources(account, service);
`}

// New prepares the shop's tables and returns a Shop.
func New(ctx context.Context, c Config) (*Shop, error) {
	if err := c.State.Migrate(ctx, "shop", schema); err != nil {
		return nil, fmt.Errorf("preparing the shop: %w", err)
	}
	store, err := newRecords(ctx, c.State, c.Now)
	if err != nil {
		return nil, err
	}
	s := &Shop{Config: c, mux: http.NewServeMux()}
	s.provider, err = provider.New(provider.Config{
		Manifest: s.Manifest(), Catalog: services(), Store: store, Hooks: s.hooks(), SealKey: c.SealKey,
		Orchestrators: []provider.Orchestrator{{
			Name: "purser", Secrets: []string{c.SigningSecret}, Replay: provider.Require,
			// The local cloud has no sign-in page of its own: whoever holds the secrets
			// file owns all of its accounts already.
			SilentExisting: true,
		}},
		Now: c.Now, Random: c.Random, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the shop: %w", err)
	}
	s.routes()
	return s, nil
}

// Manifest is what an orchestrator registers the shop by (APP 3.1).
func (s *Shop) Manifest() app.Manifest {
	return app.Manifest{
		Name: Name, Description: "Purser's local cloud: domains, DNS, certificates, static hosting and mail on this machine, for sandbox money.",
		Categories: []string{"compute", "domains", "email"}, Development: true,
		TosURL: s.URL + "/terms", PrivacyPolicyURL: s.URL + "/privacy", WebsiteURL: s.URL + "/", LLMContext: s.URL + "/llms.txt",
		BaseURL: s.URL + "/app/", OAuthTokenEndpoint: s.URL + "/app/oauth/token",
		Capabilities:           []string{app.CapQuotes, app.CapFind, app.CapDeprovision, app.CapRotate, app.CapCut},
		PaymentCredentialTypes: []string{app.PaymentSandbox},
	}
}

func (s *Shop) hooks() provider.Hooks {
	return provider.Hooks{
		Services:           s.services,
		CheckConfiguration: s.checkConfiguration,
		Quote:              s.quote,
		Information:        s.preview,
		Subscribed:         s.subscribed,
		ActivatePayment:    s.activatePayment,
		RefundPayment:      s.refundPayment,
		Provision:          s.provision,
		Read:               s.read,
		Rotate:             s.rotate,
		Remove:             s.remove,
		Cut:                s.cut,
		Restore:            s.restore,
	}
}

func (s *Shop) services(context.Context) ([]app.CatalogService, error) {
	if s.Faults.Hit(fault.CatalogDown) {
		return nil, errors.New("the catalog is down")
	}
	return services(), nil
}

// account is the cloud's account of a buyer; the same buyer always has the same.
func (s *Shop) account(ctx context.Context, buyer provider.Account) (state.Account, error) {
	return s.State.CreateAccount(ctx, buyer.ID, buyer.Email)
}

// known writes down that a resource exists, for what depends on its siblings.
func (s *Shop) known(ctx context.Context, r provider.Resource, account string) error {
	return s.change(ctx, `INSERT INTO shop_resources (id, account, service, cut, created) VALUES ($1, $2, $3, 0, $4) ON CONFLICT (id) DO NOTHING`,
		r.ID, account, r.Service, s.Now().UnixMicro())
}

func (s *Shop) forgotten(ctx context.Context, id string) error {
	return s.change(ctx, `DELETE FROM shop_resources WHERE id = $1`, id)
}

func (s *Shop) change(ctx context.Context, statement string, args ...any) error {
	err := s.State.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the shop's books: %w", err)
	}
	return nil
}

// count answers how many resources of an account are in a state.
func (s *Shop) count(ctx context.Context, where string, args ...any) (n int, err error) {
	if err := s.State.Reader().QueryRowContext(ctx, `SELECT count(*) FROM shop_resources WHERE `+where, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("reading the shop's books: %w", err)
	}
	return n, nil
}

// subscribed: an account has one hosting:pro, whatever it asks for.
func (s *Shop) subscribed(ctx context.Context, buyer provider.Account, service string) (bool, error) {
	if service != HostingPro {
		return false, nil
	}
	account, err := s.account(ctx, buyer)
	if err != nil {
		return false, err
	}
	n, err := s.count(ctx, `account = $1 AND service = $2`, account.ID, HostingPro)
	return n > 0, err
}

// cut suspends the buyer's whole cloud account, because tokens, sites and mail
// are the account's. It ends when the last resource that was cut is restored.
func (s *Shop) cut(ctx context.Context, r provider.Resource) error {
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return err
	}
	if err := s.change(ctx, `UPDATE shop_resources SET cut = 1 WHERE id = $1`, r.ID); err != nil {
		return err
	}
	return s.State.Suspend(ctx, account.ID)
}

func (s *Shop) restore(ctx context.Context, r provider.Resource) error {
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return err
	}
	if err := s.change(ctx, `UPDATE shop_resources SET cut = 0 WHERE id = $1`, r.ID); err != nil {
		return err
	}
	return s.lift(ctx, account.ID)
}

// lift resumes an account of which no resource is cut any more.
func (s *Shop) lift(ctx context.Context, account string) error {
	left, err := s.count(ctx, `account = $1 AND cut = 1`, account)
	if err != nil || left > 0 {
		return err
	}
	return s.State.Resume(ctx, account)
}

// refusal turns what a part of the cloud refused into an answer for the buyer.
// Every other error stays as it is: its outcome is not known.
func refusal(err error) error {
	var domain *registrar.Error
	var money *till.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &domain) && domain.Code == registrar.InvalidName, errors.As(err, &domain) && domain.Code == registrar.InvalidYears:
		return provider.Errorf(app.CodeInvalidRequest, "%s", domain.Detail)
	case errors.As(err, &domain):
		return provider.Errorf(string(domain.Code), "%s", domain.Detail)
	case errors.As(err, &money):
		return provider.Errorf(app.CodeRequiresPayment, "the payment was refused: %s", money.Code)
	case errors.Is(err, mail.ErrTaken):
		return provider.Errorf(app.CodeInvalidRequest, "the address is taken")
	case errors.Is(err, mail.ErrInvalid):
		return provider.Errorf(app.CodeInvalidRequest, "the user name or domain cannot be used")
	case errors.Is(err, state.ErrTaken):
		return provider.Errorf(app.CodeInvalidRequest, "somebody has that name")
	case errors.Is(err, state.ErrSuspended), errors.Is(err, mail.ErrStopped):
		return provider.Errorf(app.CodeForbidden, "the account is stopped")
	}
	return err
}
