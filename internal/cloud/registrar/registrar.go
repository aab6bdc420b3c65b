// Package registrar sells domain names: exact names only, by a quote, charged
// once. A search proposes; nothing but one exact name can be bought.
package registrar

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/till"
)

// quoteLife is how long a quote binds the registrar (CONTROLS.md, defaults).
const quoteLife = 15 * time.Minute

// Charger takes the money. It must charge once per resource and purpose, however
// often it is asked (till.Till does).
type Charger interface {
	Charge(ctx context.Context, c till.Charge) (till.Receipt, error)
}

// Zones makes the zone of a name that was bought. Ensure must be repeatable.
type Zones interface {
	Ensure(ctx context.Context, account, name string) (zoneID string, err error)
}

// Database is the cloud's database (state.Store).
type Database interface {
	Migrate(ctx context.Context, area string, steps []string) error
	Write(ctx context.Context, change func(*sql.Tx) error) error
	Reader() *sql.DB
}

// Config joins a Registrar to its surroundings.
type Config struct {
	DB      Database
	Prices  PriceList
	Charger Charger
	Zones   Zones
	Now     func() time.Time
	Faults  *fault.Set
}

// Registrar sells names. It is safe for concurrent use.
type Registrar struct {
	db      Database
	prices  PriceList
	charger Charger
	zones   Zones
	now     func() time.Time
	faults  *fault.Set
	turns   [64]sync.Mutex // one purchase at a time, striped by name
}

// schema is the registrar's own area of the database; steps are only ever appended.
var schema = []string{`CREATE TABLE registrar_names (
	name TEXT PRIMARY KEY,
	account TEXT NOT NULL,
	resource TEXT NOT NULL,
	years BIGINT NOT NULL,
	tier TEXT NOT NULL,
	currency TEXT NOT NULL,
	amount BIGINT NOT NULL,
	renewal BIGINT NOT NULL,
	auto_renew BIGINT NOT NULL,
	state TEXT NOT NULL,
	charge TEXT NOT NULL,
	zone TEXT NOT NULL,
	reason TEXT NOT NULL,
	created BIGINT NOT NULL,
	expires BIGINT NOT NULL
)`}

// Open prepares the registrar's tables and returns a Registrar.
func Open(ctx context.Context, c Config) (*Registrar, error) {
	if err := c.Prices.Check(); err != nil {
		return nil, fmt.Errorf("checking prices: %w", err)
	}
	if err := c.DB.Migrate(ctx, "registrar", schema); err != nil {
		return nil, fmt.Errorf("preparing the registrar: %w", err)
	}
	return &Registrar{db: c.DB, prices: c.Prices, charger: c.Charger, zones: c.Zones, now: c.Now, faults: c.Faults}, nil
}

// Ask names what a quote is for: one exact name and its term.
type Ask struct {
	Account   string // empty before there is an account
	Name      string
	Years     int    // 0: the shortest term that is sold
	Tier      string // "": standard. A premium name is quoted only when asked for as such
	AutoRenew bool
}

// Quote is the price of one exact name. Who buys shows it again; it binds until
// ExpiresAt unless the price has changed, which is then a refusal.
type Quote struct {
	Name      string // A-label
	Years     int
	Tier      string
	Currency  string
	Amount    int64 // minor units, for the whole term; 0: the account owns the name already
	Renewal   int64 // minor units, for one year after the term
	AutoRenew bool
	ExpiresAt time.Time
	GraceDays int // 0: the purchase is final
}

// Quote prices one exact name. It changes nothing. Errors: *Error.
func (r *Registrar) Quote(ctx context.Context, a Ask) (Quote, error) {
	it, err := r.asked(a)
	if err != nil {
		return Quote{}, err
	}
	q := Quote{
		Name: it.name.ASCII, Years: or(a.Years, it.extension.MinYears), Tier: it.tier, Currency: it.currency,
		Renewal: it.price.Renew, AutoRenew: a.AutoRenew, ExpiresAt: r.now().Add(quoteLife), GraceDays: it.extension.GraceDays,
	}
	if r.faults.Hit(fault.QuoteExpired) {
		q.ExpiresAt = r.now()
	}
	owner, state, err := r.owner(ctx, q.Name)
	switch {
	case err != nil:
		return Quote{}, err
	case owner != "" && owner != a.Account:
		return Quote{}, refuse(Unavailable, "Somebody has registered %s.", q.Name)
	case state == Succeeded:
		return q, nil // ours already: a repeated purchase costs nothing
	}
	q.Amount = it.amount(q.Years)
	return q, nil
}

// asked finds the name that is asked for and refuses what is not sold that way.
func (r *Registrar) asked(a Ask) (item, error) {
	name := a.Name
	if r.faults.Hit(fault.OtherSuffix) {
		label, _, _ := strings.Cut(name, ".")
		name = label + ".cc" // the substitution that buyers must notice
	}
	it, err := r.offer(name)
	if err != nil {
		return item{}, err
	}
	if tier := or(a.Tier, TierStandard); tier != it.tier {
		return item{}, refuse(Premium, "%s is a %s name: %d %s minor units for the first year. It was asked for as a %s one.",
			it.name.ASCII, it.tier, it.price.Register, it.currency, tier)
	}
	if years := or(a.Years, it.extension.MinYears); years < it.extension.MinYears || years > it.extension.MaxYears {
		return item{}, refuse(InvalidYears, "Names below .%s are sold for %d to %d years, not %d.",
			it.name.Suffix, it.extension.MinYears, it.extension.MaxYears, years)
	}
	return it, nil
}

func (r *Registrar) turn(name string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name)
	return &r.turns[h.Sum32()%uint32(len(r.turns))]
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// or gives the first of two values that is not the zero value.
func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
