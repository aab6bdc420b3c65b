package registrar

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/till"
	"github.com/purser-dev/purser/internal/domainname"
)

// State is where a registration stands.
type State string

// The states. Pending is before the money, InProgress after it.
const (
	Pending        State = "pending"
	InProgress     State = "in_progress"
	ActionRequired State = "action_required"
	Blocked        State = "blocked"
	Succeeded      State = "succeeded"
	Failed         State = "failed"
)

// Registration is one name in the registrar's books.
type Registration struct {
	Name      string // A-label
	Account   string
	Resource  string // the buyer's resource; empty after it was given up
	Years     int
	Tier      string
	Currency  string
	Amount    int64 // minor units, as charged
	Renewal   int64
	AutoRenew bool
	State     State
	Charge    string // the rail's charge id
	Zone      string // set when succeeded
	Reason    string // why it is not succeeded
	ExpiresAt time.Time
}

// Order buys one exact name under one quote. There is no order without a name,
// and none without a price the buyer has agreed to.
type Order struct {
	Account  string
	Resource string // names the purchase: with it a repeated order is the same order
	Name     string // must be the quote's name after folding
	Quote    Quote
	Token    string // payment token; not needed when the account owns the name
}

// Register buys the name, and the exact name is the idempotency key: repeated
// by the same account it goes on where it stopped, and a name the account owns
// is success without a charge. Errors: *Error, *till.Refusal (nothing bought),
// till.ErrUnknown (the order stays pending; repeat it to learn more).
func (r *Registrar) Register(ctx context.Context, o Order) (Registration, error) {
	n, err := domainname.Parse(o.Name, r.prices.suffixes()...)
	if err != nil {
		return Registration{}, refuse(InvalidName, "%v.", err)
	}
	turn := r.turn(n.ASCII)
	turn.Lock()
	defer turn.Unlock()
	reg, err := r.Find(ctx, n.ASCII)
	switch {
	case errors.Is(err, sql.ErrNoRows) || (err == nil && reg.State == Failed):
		return r.begin(ctx, o)
	case err != nil:
		return Registration{}, err
	case reg.Account != o.Account:
		return Registration{}, refuse(Unavailable, "Somebody has registered %s.", n.ASCII)
	case reg.State == Succeeded:
		return r.adopt(ctx, reg, o.Resource)
	case reg.Resource != o.Resource:
		return Registration{}, refuse(RegistrationActive, "Another order of this account is registering %s.", n.ASCII)
	case reg.State == Pending:
		return r.pay(ctx, reg, o.Token)
	}
	return r.advance(ctx, reg)
}

// Preview says without changing anything whether Register would go on: nil, or
// its refusal. What was begun before always goes on.
func (r *Registrar) Preview(ctx context.Context, o Order) error {
	n, err := domainname.Parse(o.Name, r.prices.suffixes()...)
	if err != nil {
		return refuse(InvalidName, "%v.", err)
	}
	reg, err := r.Find(ctx, n.ASCII)
	switch {
	case errors.Is(err, sql.ErrNoRows) || (err == nil && reg.State == Failed):
		return r.honours(o.Quote, o)
	case err != nil:
		return err
	case reg.Account != o.Account:
		return refuse(Unavailable, "Somebody has registered %s.", n.ASCII)
	case reg.State != Succeeded && reg.Resource != o.Resource:
		return refuse(RegistrationActive, "Another order of this account is registering %s.", n.ASCII)
	}
	return nil
}

// begin checks the order against its quote and today's prices, and writes it down.
func (r *Registrar) begin(ctx context.Context, o Order) (Registration, error) {
	q := o.Quote
	if err := r.honours(q, o); err != nil {
		return Registration{}, err
	}
	reg := Registration{
		Name: q.Name, Account: o.Account, Resource: o.Resource, Years: q.Years, Tier: q.Tier, Currency: q.Currency,
		Amount: q.Amount, Renewal: q.Renewal, AutoRenew: q.AutoRenew, State: Pending,
		ExpiresAt: r.now().AddDate(q.Years, 0, 0),
	}
	if r.faults.Hit(fault.Overcharge) {
		reg.Amount += 500
	}
	if err := r.save(ctx, reg); err != nil {
		return Registration{}, err
	}
	return r.pay(ctx, reg, o.Token)
}

// honours says whether the quote still binds, is for the very name that is
// ordered, and is what the name costs today.
func (r *Registrar) honours(q Quote, o Order) error {
	switch c := domainname.Compare(o.Name, q.Name, r.prices.suffixes()...); {
	case !c.Same():
		return refuse(QuoteChanged, "The quote is for %s, the order for %s (%s).", q.Name, o.Name, c.Detail)
	case !r.now().Before(q.ExpiresAt):
		return refuse(QuoteExpired, "The quote expired at %s.", q.ExpiresAt.UTC().Format(time.RFC3339))
	case r.faults.Hit(fault.Taken):
		return refuse(Unavailable, "Somebody has registered %s meanwhile.", q.Name)
	}
	today, err := r.offer(q.Name)
	if err != nil {
		return err
	}
	if today.tier != q.Tier || today.currency != q.Currency || today.amount(q.Years) != q.Amount || today.price.Renew != q.Renewal {
		return refuse(QuoteChanged, "%s is now %s at %d, renewal %d (minor units); the quote said %s, %d, %d.",
			q.Name, today.tier, today.amount(q.Years), today.price.Renew, q.Tier, q.Amount, q.Renewal)
	}
	return nil
}

// pay charges and then goes on to the registry. The name is held by the pending
// row meanwhile, so money is never taken for a name that another gets.
func (r *Registrar) pay(ctx context.Context, reg Registration, token string) (Registration, error) {
	receipt, err := r.charger.Charge(ctx, till.Charge{
		Resource: reg.Resource, Purpose: PurposeOf(reg.Name), Token: token, Amount: reg.Amount, Currency: reg.Currency,
		Item: fmt.Sprintf("%s, registration for %d year(s)", reg.Name, reg.Years),
	})
	var refusal *till.Refusal
	switch {
	case errors.As(err, &refusal):
		reg.State, reg.Reason = Failed, refusal.Code
		return reg, errors.Join(err, r.save(ctx, reg))
	case err != nil:
		return reg, err
	}
	reg.State, reg.Charge = InProgress, receipt.ID
	if err := r.save(ctx, reg); err != nil {
		return reg, err
	}
	return r.advance(ctx, reg)
}

// advance does what the registry does after the money: it makes the zone.
func (r *Registrar) advance(ctx context.Context, reg Registration) (Registration, error) {
	switch {
	case reg.State == Succeeded || reg.State == Pending || reg.State == Failed:
		return reg, nil
	case r.faults.Hit(fault.SlowRegistry):
		return reg, nil
	case r.faults.Hit(fault.ActionRequired):
		reg.State, reg.Reason = ActionRequired, "The registry wants the holder to confirm an e-mail address."
		return reg, r.save(ctx, reg)
	case r.faults.Hit(fault.Blocked):
		reg.State, reg.Reason = Blocked, "The registry has frozen the name."
		return reg, r.save(ctx, reg)
	}
	zone, err := r.zones.Ensure(ctx, reg.Account, reg.Name)
	if err != nil {
		return reg, fmt.Errorf("making the zone of %s: %w", reg.Name, err)
	}
	reg.State, reg.Reason, reg.Zone = Succeeded, "", zone
	return reg, r.save(ctx, reg)
}

// adopt gives a name that the account owns already to another resource of it.
func (r *Registrar) adopt(ctx context.Context, reg Registration, resource string) (Registration, error) {
	if reg.Resource == resource && reg.Zone != "" {
		return reg, nil
	}
	zone, err := r.zones.Ensure(ctx, reg.Account, reg.Name)
	if err != nil {
		return reg, fmt.Errorf("making the zone of %s: %w", reg.Name, err)
	}
	reg.Resource, reg.Zone = resource, zone
	return reg, r.save(ctx, reg)
}

// Advance asks the registry again about a registration that is not finished.
func (r *Registrar) Advance(ctx context.Context, name string) (Registration, error) {
	turn := r.turn(name)
	turn.Lock()
	defer turn.Unlock()
	reg, err := r.Find(ctx, name)
	if err != nil {
		return Registration{}, err
	}
	return r.advance(ctx, reg)
}

// Recover finishes the registrations that were paid before a crash. Those not
// paid wait for their buyer, who alone has the token. One that cannot be finished
// now does not hold up the others.
func (r *Registrar) Recover(ctx context.Context) error {
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT name FROM registrar_names WHERE state = $1 ORDER BY name`, string(InProgress))
	if err != nil {
		return fmt.Errorf("listing unfinished registrations: %w", err)
	}
	names, err := texts(rows)
	if err != nil {
		return fmt.Errorf("listing unfinished registrations: %w", err)
	}
	var left []error
	for _, name := range names {
		if _, err := r.Advance(ctx, name); err != nil {
			left = append(left, err)
		}
	}
	return errors.Join(left...)
}

// SetAutoRenew turns the yearly renewal on or off. It is off after a purchase
// unless the quote said otherwise.
func (r *Registrar) SetAutoRenew(ctx context.Context, account, name string, on bool) error {
	return r.change(ctx, account, name, `UPDATE registrar_names SET auto_renew = $1 WHERE account = $2 AND name = $3`, bit(on))
}

// GiveUp ends a resource's hold on a name: renewal off, zone forgotten. The
// name stays the account's until it expires, because registries take no name back.
func (r *Registrar) GiveUp(ctx context.Context, account, name string) error {
	return r.change(ctx, account, name, `UPDATE registrar_names SET auto_renew = $1, resource = '', zone = '' WHERE account = $2 AND name = $3`, 0)
}

func (r *Registrar) change(ctx context.Context, account, name, text string, value int64) error {
	var changed int64
	err := r.db.Write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, text, value, account, name)
		if err != nil {
			return err
		}
		changed, err = result.RowsAffected()
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("changing the registration of %s: %w", name, err)
	case changed == 0:
		return refuse(Unavailable, "This account does not own %s.", name)
	}
	return nil
}

// Abandon ends a purchase that was paid and did not come about, so that the name
// is free again. It reports whether there was one; a name that is registered stays.
func (r *Registrar) Abandon(ctx context.Context, resource, name string) (bool, error) {
	turn := r.turn(name)
	turn.Lock()
	defer turn.Unlock()
	reg, err := r.Find(ctx, name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	case reg.Resource != resource || reg.State == Succeeded:
		return false, nil
	}
	reg.State = Failed
	return true, r.save(ctx, reg)
}

// PurposeOf names the charge of a name for its Charger.
func PurposeOf(name string) string { return "register " + name }

const columns = `name, account, resource, years, tier, currency, amount, renewal, auto_renew, state, charge, zone, reason, expires`

// Find returns the registration of an A-label name, or sql.ErrNoRows.
func (r *Registrar) Find(ctx context.Context, name string) (Registration, error) {
	var g Registration
	var renew, expires int64
	err := r.db.Reader().QueryRowContext(ctx, `SELECT `+columns+` FROM registrar_names WHERE name = $1`, name).
		Scan(&g.Name, &g.Account, &g.Resource, &g.Years, &g.Tier, &g.Currency, &g.Amount, &g.Renewal, &renew, &g.State,
			&g.Charge, &g.Zone, &g.Reason, &expires)
	if err != nil {
		return Registration{}, fmt.Errorf("reading the registration of %s: %w", name, err)
	}
	g.AutoRenew, g.ExpiresAt = renew != 0, time.UnixMicro(expires)
	return g, nil
}

// owner returns the account that holds a name or is buying it, "" if it is free.
func (r *Registrar) owner(ctx context.Context, name string) (string, State, error) {
	reg, err := r.Find(ctx, name)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && reg.State == Failed) {
		return "", "", nil
	}
	return reg.Account, reg.State, err
}

const upsert = `INSERT INTO registrar_names (` + columns + `, created)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
	ON CONFLICT (name) DO UPDATE SET account = excluded.account, resource = excluded.resource, years = excluded.years,
		tier = excluded.tier, currency = excluded.currency, amount = excluded.amount, renewal = excluded.renewal,
		auto_renew = excluded.auto_renew, state = excluded.state, charge = excluded.charge, zone = excluded.zone,
		reason = excluded.reason, expires = excluded.expires`

func (r *Registrar) save(ctx context.Context, g Registration) error {
	ctx = context.WithoutCancel(ctx) // what the rail or the registry did must be kept although the caller left
	err := r.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, upsert, g.Name, g.Account, g.Resource, g.Years, g.Tier, g.Currency, g.Amount, g.Renewal,
			bit(g.AutoRenew), string(g.State), g.Charge, g.Zone, g.Reason, g.ExpiresAt.UnixMicro(), r.now().UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the registration of %s: %w", g.Name, err)
	}
	return nil
}

func texts(rows *sql.Rows) ([]string, error) {
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
