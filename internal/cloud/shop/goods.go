package shop

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/cloud/ca"
	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/mail"
	"github.com/purser-dev/purser/internal/cloud/registrar"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/cloud/till"
	"github.com/purser-dev/purser/internal/domainname"
	"github.com/purser-dev/purser/provider"
)

// checkConfiguration folds names, so that equal orders are equal byte for byte.
func (s *Shop) checkConfiguration(_ context.Context, service string, configuration map[string]any) (map[string]any, error) {
	switch service {
	case RegistrarDomain:
		name, years, err := s.Registrar.Normalise(text(configuration, "domain"), number(configuration, "years"))
		if err != nil {
			return nil, refusal(err)
		}
		configuration["domain"], configuration["years"] = name, json.Number(strconv.Itoa(years))
	case DNSZone, TLSCertificate:
		name, err := domainname.Parse(text(configuration, "domain"))
		if err != nil {
			return nil, provider.Errorf(app.CodeInvalidRequest, "%v", err)
		}
		configuration["domain"] = name.ASCII
	}
	return configuration, nil
}

// quote prices one exact thing. Only names have prices of their own.
func (s *Shop) quote(ctx context.Context, r provider.QuoteRequest) (app.Quote, error) {
	switch r.Service {
	case RegistrarDomain:
		return s.quoteName(ctx, r)
	case HostingPro:
		monthly := app.Renewal{AmountMinor: proPrice, Currency: proCurrency, Interval: "month"}
		return app.Quote{Item: r.Service, AmountMinor: proPrice, Currency: proCurrency, Interval: "month", Renewal: &monthly}, nil
	}
	return app.Quote{Item: r.Service, Currency: proCurrency, Interval: "once"}, nil
}

func (s *Shop) quoteName(ctx context.Context, r provider.QuoteRequest) (app.Quote, error) {
	ask := registrar.Ask{
		Name: text(r.Configuration, "domain"), Years: number(r.Configuration, "years"), Tier: text(r.Configuration, "tier"),
		AutoRenew: flag(r.Configuration, "auto_renew"),
	}
	if r.Account != nil {
		account, err := s.account(ctx, *r.Account)
		if err != nil {
			return app.Quote{}, err
		}
		ask.Account = account.ID
	}
	q, err := s.Registrar.Quote(ctx, ask)
	if err != nil {
		return app.Quote{}, refusal(err)
	}
	wire := app.Quote{
		Item: q.Name, AmountMinor: app.Minor(q.Amount), Currency: q.Currency, Interval: "once", ExpiresAt: app.At(q.ExpiresAt),
		Renewal: &app.Renewal{AmountMinor: app.Minor(q.Renewal), Currency: q.Currency, Interval: "year"},
	}
	if q.GraceDays > 0 {
		wire.RefundableUntil = app.At(s.Now().AddDate(0, 0, q.GraceDays))
	}
	return wire, nil
}

// order is the registrar's view of a create.
func (s *Shop) order(ctx context.Context, r provider.Request, token string) (registrar.Order, error) {
	if r.Quote == nil {
		return registrar.Order{}, provider.Errorf(app.CodeInvalidRequest, "a name is sold by quote only; ask for one and send its quote_id")
	}
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return registrar.Order{}, err
	}
	q := registrar.Quote{
		Name: r.Quote.Item, Years: number(r.Configuration, "years"), Tier: text(r.Configuration, "tier"), Currency: r.Quote.Currency,
		Amount: int64(r.Quote.AmountMinor), AutoRenew: flag(r.Configuration, "auto_renew"), ExpiresAt: r.Quote.ExpiresAt.Time,
	}
	if r.Quote.Renewal != nil {
		q.Renewal = int64(r.Quote.Renewal.AmountMinor)
	}
	return registrar.Order{
		Account: account.ID, Resource: r.ID, Name: text(r.Configuration, "domain"), Quote: q, Token: token,
	}, nil
}

// preview refuses what cannot be sold before any money moves. The SDK asks for
// missing information at this point of a create; nothing here ever misses any.
func (s *Shop) preview(ctx context.Context, r provider.Request) ([]byte, error) {
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return nil, err
	}
	if account.Suspended {
		return nil, refusal(state.ErrSuspended)
	}
	if r.Service != RegistrarDomain {
		return nil, nil
	}
	order, err := s.order(ctx, r, "")
	if err != nil {
		return nil, err
	}
	return nil, refusal(s.Registrar.Preview(ctx, order))
}

// activatePayment takes the money: for a name together with the hold on the name.
func (s *Shop) activatePayment(ctx context.Context, p provider.Payment) error {
	switch p.Service {
	case RegistrarDomain:
		order, err := s.order(ctx, p.Request, p.Token)
		if err != nil {
			return err
		}
		_, err = s.Registrar.Register(ctx, order)
		return refusal(err)
	case HostingPro:
		_, err := s.Till.Charge(ctx, till.Charge{
			Resource: p.ID, Purpose: firstMonth, Token: p.Token, Amount: proPrice, Currency: proCurrency, Item: "hosting:pro, first month",
		})
		return refusal(err)
	}
	return nil // free
}

const firstMonth = "first month"

// refundPayment gives back what was paid for a thing that did not come about. A
// name that was registered after all is the buyer's, and so is its price.
func (s *Shop) refundPayment(ctx context.Context, p provider.Payment) error {
	switch p.Service {
	case RegistrarDomain:
		name := text(p.Configuration, "domain")
		abandoned, err := s.Registrar.Abandon(ctx, p.ID, name)
		if err != nil || !abandoned {
			return err
		}
		return s.Till.Refund(ctx, p.ID, registrar.PurposeOf(name))
	case HostingPro:
		return s.Till.Refund(ctx, p.ID, firstMonth)
	}
	return nil
}

// provision makes the thing. It is called again with the same resource id after
// a crash, and each case then finds what it made.
func (s *Shop) provision(ctx context.Context, r provider.Request) (provider.Provisioned, error) {
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return provider.Provisioned{}, err
	}
	if account.Suspended {
		return provider.Provisioned{}, refusal(state.ErrSuspended)
	}
	made, err := s.make(ctx, r, account)
	if err != nil {
		return provider.Provisioned{}, refusal(err)
	}
	return made, s.known(ctx, r.Resource, account.ID)
}

func (s *Shop) make(ctx context.Context, r provider.Request, account state.Account) (provider.Provisioned, error) {
	switch r.Service {
	case HostingStatic:
		return s.hosting(ctx, r.ID, account.ID)
	case HostingPro:
		return provider.Provisioned{}, nil
	case RegistrarDomain:
		order, err := s.order(ctx, r, "") // paid before; it only goes on
		if err != nil {
			return provider.Provisioned{}, err
		}
		reg, err := s.Registrar.Register(ctx, order)
		if err != nil {
			return provider.Provisioned{}, err
		}
		made := s.registered(reg)
		if made.Failed != nil {
			return provider.Provisioned{}, made.Failed // an error, so that the money goes back
		}
		return made, nil
	case DNSZone:
		return s.zone(ctx, r.Resource, account.ID)
	case TLSCertificate:
		return s.certificate(ctx, r.Resource, account.ID)
	case MailInbox:
		return s.inbox(ctx, r.Resource, account.ID)
	}
	return provider.Provisioned{}, provider.Errorf(app.CodeUnknownService, "no such service")
}

// hosting hands over a token for the deploy API. A repeated call kills the token
// of the first, which nobody has seen.
func (s *Shop) hosting(ctx context.Context, resource, account string) (provider.Provisioned, error) {
	secret, _, err := s.State.NewToken(ctx, state.Scope{Account: account, Label: resource, Replace: true})
	if err != nil {
		return provider.Provisioned{}, err
	}
	return provider.Provisioned{AccessConfiguration: map[string]string{
		KeyAPIBase: s.deployAPI(), KeyAccountID: account, KeyAPIToken: secret,
	}}, nil
}

func (s *Shop) deployAPI() string { return s.URL + "/client/v4" }

// registered tells how far a registration is.
func (s *Shop) registered(g registrar.Registration) provider.Provisioned {
	switch g.State {
	case registrar.Succeeded:
		name := g.Name
		if s.Faults.Hit(fault.OtherName) {
			label, _, _ := strings.Cut(name, ".")
			name = label + ".cc"
		}
		return provider.Provisioned{AccessConfiguration: map[string]string{
			KeyDomain: name, KeyZoneID: g.Zone, KeyServers: strings.Join(s.NameServers, ","),
		}}
	case registrar.Blocked, registrar.Failed:
		return provider.Provisioned{Failed: provider.Errorf("domain_"+string(g.State), "%s", g.Reason)}
	}
	return provider.Provisioned{Pending: true, RetryAfter: time.Second, UserMessage: g.Reason}
}

func (s *Shop) zone(ctx context.Context, r provider.Resource, account string) (provider.Provisioned, error) {
	name := text(r.Configuration, "domain")
	if err := s.mayHaveZone(ctx, account, name); err != nil {
		return provider.Provisioned{}, err
	}
	z, err := s.State.CreateZone(ctx, account, name)
	if err != nil {
		return provider.Provisioned{}, err
	}
	secret, _, err := s.State.NewToken(ctx, state.Scope{Account: account, Zone: z.ID, Label: r.ID, Replace: true})
	if err != nil {
		return provider.Provisioned{}, err
	}
	return provider.Provisioned{AccessConfiguration: map[string]string{
		KeyDomain: z.Name, KeyZoneID: z.ID, KeyServers: strings.Join(s.NameServers, ","), KeyZoneToken: secret, KeyZoneAPI: s.deployAPI(),
	}}, nil
}

// mayHaveZone keeps free zones off names that somebody else could still register:
// a buyer must never pay for a name whose zone is squatted.
func (s *Shop) mayHaveZone(ctx context.Context, account, name string) error {
	n, err := domainname.Parse(name)
	if err != nil {
		return provider.Errorf(app.CodeInvalidRequest, "%v", err)
	}
	if n.Suffix == "test" {
		return nil
	}
	g, err := s.Registrar.Find(ctx, n.Registrable)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && (g.Account != account || g.State != registrar.Succeeded)) {
		return provider.Errorf(app.CodeInvalidRequest, "%s is not registered by this account; buy %s first", n.Registrable, RegistrarDomain)
	}
	return err
}

func (s *Shop) certificate(ctx context.Context, r provider.Resource, account string) (provider.Provisioned, error) {
	name := text(r.Configuration, "domain")
	z, err := s.State.ZoneOf(ctx, name)
	if errors.Is(err, state.ErrNotFound) || (err == nil && z.Account != account) {
		return provider.Provisioned{}, provider.Errorf(app.CodeInvalidRequest, "%s lies in no zone of this account", name)
	}
	if err != nil {
		return provider.Provisioned{}, err
	}
	leaf, err := s.Authority.Certificate(ctx, name)
	if errors.Is(err, state.ErrNotFound) {
		return provider.Provisioned{}, provider.Errorf(app.CodeInvalidRequest, "%s is not in use; make its record first", name)
	}
	if err != nil {
		return provider.Provisioned{}, err
	}
	return provider.Provisioned{
		ExpiresAt: leaf.Leaf.NotAfter,
		AccessConfiguration: map[string]string{
			KeyDomain: name, KeyChain: string(ca.ChainPEM(leaf)), KeyRootPEM: s.Authority.RootPath(),
		},
	}, nil
}

func (s *Shop) inbox(ctx context.Context, r provider.Resource, account string) (provider.Provisioned, error) {
	box, err := s.Mail.CreateInbox(ctx, mail.NewInbox{
		Account: account, User: text(r.Configuration, "username"), Domain: text(r.Configuration, "domain"),
		Name: text(r.Configuration, "display_name"), Client: r.ID,
	})
	if err != nil {
		return provider.Provisioned{}, err
	}
	return s.mailKey(ctx, box, r.ID)
}

func (s *Shop) mailKey(ctx context.Context, box mail.Inbox, resource string) (provider.Provisioned, error) {
	secret, _, err := s.Mail.IssueKey(ctx, box.Account, box.Address, resource)
	if err != nil {
		return provider.Provisioned{}, err
	}
	return provider.Provisioned{AccessConfiguration: map[string]string{
		KeyMailKey: secret, KeyMailURL: s.URL, KeyAddress: box.Address,
	}}, nil
}

// read tells the present state and mints nothing.
func (s *Shop) read(ctx context.Context, r provider.Resource) (provider.Provisioned, error) {
	switch r.Service {
	case RegistrarDomain:
		g, err := s.Registrar.Advance(ctx, text(r.Configuration, "domain"))
		if errors.Is(err, sql.ErrNoRows) || (err == nil && g.Resource != r.ID) {
			return provider.Provisioned{}, provider.ErrGone
		}
		if err != nil {
			return provider.Provisioned{}, err
		}
		return s.registered(g), nil
	case TLSCertificate:
		account, err := s.account(ctx, r.Account)
		if err != nil {
			return provider.Provisioned{}, err
		}
		return s.certificate(ctx, r, account.ID) // the chain of today: it is renewed while the resource lives
	}
	return provider.Provisioned{}, nil
}

func (s *Shop) rotate(ctx context.Context, r provider.Resource) (provider.Provisioned, error) {
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return provider.Provisioned{}, err
	}
	switch r.Service {
	case HostingStatic:
		made, err := s.hosting(ctx, r.ID, account.ID)
		return made, refusal(err)
	case DNSZone:
		made, err := s.zone(ctx, r, account.ID)
		return made, refusal(err)
	case MailInbox:
		box, err := s.Mail.Inbox(ctx, r.AccessConfiguration[KeyAddress])
		if err != nil {
			return provider.Provisioned{}, err
		}
		return s.mailKey(ctx, box, r.ID)
	}
	return provider.Provisioned{}, provider.Errorf(app.CodeUnsupportedOperation, "%s has no secret to rotate", r.Service)
}

// remove deletes. Each step may be repeated; the row of the resource goes last.
func (s *Shop) remove(ctx context.Context, r provider.Resource) (provider.Provisioned, error) {
	account, err := s.account(ctx, r.Account)
	if err != nil {
		return provider.Provisioned{}, err
	}
	if err := s.unmake(ctx, r, account.ID); err != nil {
		return provider.Provisioned{}, fmt.Errorf("removing %s: %w", r.Service, err)
	}
	if err := s.forgotten(ctx, r.ID); err != nil {
		return provider.Provisioned{}, err
	}
	return provider.Provisioned{}, s.lift(ctx, account.ID)
}

func (s *Shop) unmake(ctx context.Context, r provider.Resource, account string) error {
	switch r.Service {
	case HostingStatic:
		return s.unmakeHosting(ctx, r.ID, account)
	case RegistrarDomain:
		return s.unmakeName(ctx, r, account)
	case DNSZone:
		if err := s.State.RevokeLabelled(ctx, account, r.ID); err != nil {
			return err
		}
		return s.unmakeZone(ctx, account, text(r.Configuration, "domain"))
	case MailInbox:
		address := r.AccessConfiguration[KeyAddress]
		if address == "" {
			return nil
		}
		return s.Mail.RemoveInbox(ctx, address)
	}
	return nil
}

// unmakeHosting ends the token, and with the account's last hosting its sites.
func (s *Shop) unmakeHosting(ctx context.Context, resource, account string) error {
	if err := s.State.RevokeLabelled(ctx, account, resource); err != nil {
		return err
	}
	others, err := s.count(ctx, `account = $1 AND service = $2 AND id <> $3`, account, HostingStatic, resource)
	if err != nil || others > 0 {
		return err
	}
	sites, err := s.sites(ctx, account)
	for _, site := range sites {
		if err := s.State.RemoveApp(ctx, account, site); err != nil && !errors.Is(err, state.ErrNotFound) {
			return err
		}
	}
	return err
}

func (s *Shop) sites(ctx context.Context, account string) ([]string, error) {
	rows, err := s.State.Reader().QueryContext(ctx, `SELECT name FROM apps WHERE account = $1 ORDER BY name`, account)
	if err != nil {
		return nil, fmt.Errorf("listing sites: %w", err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("listing sites: %w", err)
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// unmakeName gives a name up: its renewal ends and its zone goes. The name itself
// stays the account's until it expires; no registry takes one back.
func (s *Shop) unmakeName(ctx context.Context, r provider.Resource, account string) error {
	name := text(r.Configuration, "domain")
	g, err := s.Registrar.Find(ctx, name)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && g.Resource != r.ID) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.removeZone(ctx, account, name); err != nil {
		return err
	}
	return s.Registrar.GiveUp(ctx, account, name)
}

// unmakeZone removes a zone unless it is that of a registered name.
func (s *Shop) unmakeZone(ctx context.Context, account, name string) error {
	g, err := s.Registrar.Find(ctx, name)
	if err == nil && g.Account == account && g.Zone != "" {
		return nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return s.removeZone(ctx, account, name)
}

func (s *Shop) removeZone(ctx context.Context, account, name string) error {
	z, err := s.State.ZoneOf(ctx, name)
	if errors.Is(err, state.ErrNotFound) || (err == nil && (z.Name != name || z.Account != account)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.State.RemoveZone(ctx, account, z.ID); err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return s.Authority.Forget(name)
}
