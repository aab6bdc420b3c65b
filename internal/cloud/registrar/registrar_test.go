package registrar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/cloud/till"
	"github.com/purser-dev/purser/internal/cloud/till/railtest"
)

// world is a registrar with its rail, a clock to turn and zones that count.
type world struct {
	*Registrar
	t      *testing.T
	rail   *railtest.Rail
	faults *fault.Set
	zones  *zones
	clock  time.Time
	config Config
}

type zones struct {
	mu    sync.Mutex
	names map[string]int
	fail  error
}

func (z *zones) Ensure(_ context.Context, account, name string) (string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.fail != nil {
		return "", z.fail
	}
	z.names[account+"/"+name]++
	return "zone-" + name, nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := state.Open(t.Context(), state.Options{Dir: t.TempDir(), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t, rail: railtest.New(), faults: fault.NewSet(), zones: &zones{names: map[string]int{}}, clock: time.Unix(1_800_000_000, 0)}
	t.Cleanup(w.rail.Close)
	now := func() time.Time { return w.clock }
	money, err := till.Open(t.Context(), till.Config{DB: db, URL: w.rail.ChargesURL(), Key: railtest.ProviderKey, Now: now, Faults: w.faults})
	if err != nil {
		t.Fatal(err)
	}
	w.config = Config{DB: db, Prices: DefaultPrices(), Charger: money, Zones: w.zones, Now: now, Faults: w.faults}
	w.restart()
	return w
}

// restart forgets everything that is not in the database.
func (w *world) restart() {
	r, err := Open(w.t.Context(), w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Registrar = r
}

func (w *world) quoted(name string) Order {
	w.t.Helper()
	q, err := w.Quote(w.t.Context(), Ask{Account: "acct_a", Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return Order{Account: "acct_a", Resource: "res_1", Name: name, Quote: q, Token: "sbx_1"}
}

func TestANameIsCheckedByTheList(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name        string
		registrable bool
		reason      Code
		amount      int64
		renewal     int64
	}{
		{"superseal.club", true, "", 890, 1890},
		{"SuperSeal.CLUB", true, "", 890, 1890},
		{"superseal.cc", true, "", 490, 990},
		{"shop.co.uk", true, "", 580, 680},
		{"gold.xyz", true, Premium, 9900, 9900},
		{"superseal.inc", false, NotSoldByAPI, 0, 0},
		{"superseal.org", false, NotSupported, 0, 0},
		{"www.com", false, Disallowed, 0, 0},
		{"www.superseal.club", false, InvalidName, 0, 0},
		{"co.uk", false, InvalidName, 0, 0},
		{"a_b.com", false, InvalidName, 0, 0},
		{"me.github.io", false, NotSupported, 0, 0},
		{"", false, InvalidName, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := w.Check(t.Context(), c.name)
			if err != nil {
				t.Fatal(err)
			}
			var amount, renewal int64
			if got.Pricing != nil {
				amount, renewal = got.Pricing.Registration, got.Pricing.Renewal
			}
			if got.Registrable != c.registrable || got.Reason != c.reason || amount != c.amount || renewal != c.renewal {
				t.Errorf("got %+v, pricing %+v", got, got.Pricing)
			}
		})
	}
}

func TestAQuoteIsForTheExactTerm(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		ask    Ask
		code   Code
		years  int
		amount int64
	}{
		{Ask{Name: "superseal.club"}, "", 1, 890},
		{Ask{Name: "superseal.club", Years: 3}, "", 3, 890 + 2*1890},
		{Ask{Name: "superseal.ai"}, "", 2, 15980},
		{Ask{Name: "superseal.ai", Years: 1}, InvalidYears, 0, 0},
		{Ask{Name: "superseal.club", Years: 11}, InvalidYears, 0, 0},
		{Ask{Name: "superseal.club", Years: -1}, InvalidYears, 0, 0},
		{Ask{Name: "gold.xyz"}, Premium, 0, 0},
		{Ask{Name: "gold.xyz", Tier: TierPremium}, "", 1, 9900},
		{Ask{Name: "superseal.club", Tier: TierPremium}, Premium, 0, 0},
		{Ask{Name: "super seal"}, InvalidName, 0, 0},
	} {
		t.Run(fmt.Sprint(c.ask), func(t *testing.T) {
			q, err := w.Quote(t.Context(), c.ask)
			if codeOf(err) != c.code || q.Years != c.years || q.Amount != c.amount {
				t.Errorf("quote %+v, error %v", q, err)
			}
		})
	}
}

func codeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestANameIsBoughtOnceHoweverOftenItIsOrdered(t *testing.T) {
	w := newWorld(t)
	order := w.quoted("superseal.club")
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			reg, err := w.Register(t.Context(), order)
			if err != nil || reg.State != Succeeded || reg.Name != "superseal.club" || reg.Zone != "zone-superseal.club" || reg.AutoRenew {
				t.Errorf("registration %+v, error %v", reg, err)
			}
		})
	}
	wait.Wait()
	if w.rail.Total() != 890 || w.rail.Requests() != 1 {
		t.Errorf("charged %d in %d requests", w.rail.Total(), w.rail.Requests())
	}
	w.restart()
	other := order
	other.Resource, other.Token = "res_2", "sbx_2"
	if reg, err := w.Register(t.Context(), other); err != nil || reg.Resource != "res_2" || w.rail.Total() != 890 {
		t.Errorf("ordered again: %+v, %v, charged %d", reg, err, w.rail.Total())
	}
	if q := w.quoted("superseal.club").Quote; q.Amount != 0 {
		t.Errorf("an owned name is quoted at %d", q.Amount)
	}
}

func TestTwoAccountsCannotBuyOneName(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.quoted("superseal.club"), w.quoted("superseal.club")
	theirs.Account, theirs.Resource, theirs.Token = "acct_b", "res_b", "sbx_b"
	orders := []Order{mine, theirs}
	errs := make([]error, len(orders))
	var wait sync.WaitGroup
	for i, o := range orders {
		wait.Go(func() { _, errs[i] = w.Register(t.Context(), o) })
	}
	wait.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || codeOf(errors.Join(errs...)) != Unavailable {
		t.Errorf("errors: %v and %v", errs[0], errs[1])
	}
	if w.rail.Total() != 890 {
		t.Errorf("charged %d", w.rail.Total())
	}
}

func TestAnOrderThatIsNotItsQuoteIsRefusedWithoutACharge(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(w *world, o *Order)
		code   Code
	}{
		{"another suffix", func(_ *world, o *Order) { o.Name = "superseal.cc" }, QuoteChanged},
		{"a near miss", func(_ *world, o *Order) { o.Name = "superseals.club" }, QuoteChanged},
		{"an expired quote", func(w *world, _ *Order) { w.clock = w.clock.Add(15 * time.Minute) }, QuoteExpired},
		{"a lower price than today's", func(_ *world, o *Order) { o.Quote.Amount-- }, QuoteChanged},
		{"another currency", func(_ *world, o *Order) { o.Quote.Currency = "JPY" }, QuoteChanged},
		{"a name taken meanwhile", func(w *world, _ *Order) { w.misbehave(fault.Taken) }, Unavailable},
		{"a price raised meanwhile", func(w *world, _ *Order) { w.misbehave(fault.PriceRaised) }, QuoteChanged},
		{"a renewal raised meanwhile", func(w *world, _ *Order) { w.misbehave(fault.RenewalRaised) }, QuoteChanged},
		{"a tier turned premium", func(w *world, _ *Order) { w.misbehave(fault.TurnedPremium) }, QuoteChanged},
		{"no name", func(_ *world, o *Order) { o.Name = "" }, InvalidName},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			order := w.quoted("superseal.club")
			c.change(w, &order)
			if err := w.Preview(t.Context(), order); codeOf(err) != c.code {
				t.Errorf("preview: error %v, want %s", err, c.code)
			}
			if _, err := w.Register(t.Context(), order); codeOf(err) != c.code {
				t.Errorf("error %v, want %s", err, c.code)
			}
			if w.rail.Requests() != 0 || len(w.zones.names) != 0 {
				t.Errorf("%d charges, zones %v", w.rail.Requests(), w.zones.names)
			}
		})
	}
}

// misbehave turns a fault on, always.
func (w *world) misbehave(s fault.Switch) {
	if err := w.faults.Turn(s, fault.Always); err != nil {
		w.t.Fatal(err)
	}
}

func TestASellerWhoNamesAnotherSuffixSaysSoInTheQuote(t *testing.T) {
	w := newWorld(t)
	w.misbehave(fault.OtherSuffix)
	if q := w.quoted("superseal.club").Quote; q.Name != "superseal.cc" {
		t.Errorf("the fault quoted %s", q.Name)
	}
}

func TestAfterALostAnswerOfTheRailTheSameOrderGoesOn(t *testing.T) {
	w := newWorld(t)
	order := w.quoted("superseal.club")
	w.rail.LoseAnswers(1)
	reg, err := w.Register(t.Context(), order)
	if !errors.Is(err, till.ErrUnknown) || reg.State != Pending {
		t.Fatalf("registration %+v, error %v", reg, err)
	}
	if _, err := w.Quote(t.Context(), Ask{Account: "acct_b", Name: "superseal.club"}); codeOf(err) != Unavailable {
		t.Errorf("a name in doubt was quoted to another: %v", err)
	}
	w.restart()
	w.clock = w.clock.Add(time.Hour) // the quote is no longer needed
	reg, err = w.Register(t.Context(), order)
	if err != nil || reg.State != Succeeded || w.rail.Total() != 890 {
		t.Errorf("registration %+v, error %v, charged %d", reg, err, w.rail.Total())
	}
}

func TestAfterARefusedChargeTheNameIsFreeAgain(t *testing.T) {
	w := newWorld(t)
	order := w.quoted("superseal.club")
	w.rail.Refuse("declined")
	var refusal *till.Refusal
	if _, err := w.Register(t.Context(), order); !errors.As(err, &refusal) {
		t.Fatalf("error %v, want a refusal", err)
	}
	w.rail.Refuse("")
	other := order
	other.Account, other.Resource, other.Token = "acct_b", "res_b", "sbx_b"
	if reg, err := w.Register(t.Context(), other); err != nil || reg.Account != "acct_b" {
		t.Errorf("the next buyer: %+v, %v", reg, err)
	}
	if len(w.zones.names) != 1 || w.rail.Total() != 890 {
		t.Errorf("zones %v, charged %d", w.zones.names, w.rail.Total())
	}
}

func TestACrashAfterThePaymentIsRecovered(t *testing.T) {
	w := newWorld(t)
	order := w.quoted("superseal.club")
	w.zones.fail = errors.New("killed here")
	if _, err := w.Register(t.Context(), order); err == nil {
		t.Fatal("the zone was not made, yet there is no error")
	}
	w.zones.fail = nil
	w.restart()
	if err := w.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	reg, err := w.Find(t.Context(), "superseal.club")
	if err != nil || reg.State != Succeeded || reg.Zone == "" || w.rail.Requests() != 1 {
		t.Errorf("registration %+v, error %v, %d requests", reg, err, w.rail.Requests())
	}
}

func TestARegistryThatHesitatesIsAskedAgain(t *testing.T) {
	for _, c := range []struct {
		fault fault.Switch
		state State
	}{{fault.SlowRegistry, InProgress}, {fault.ActionRequired, ActionRequired}, {fault.Blocked, Blocked}} {
		t.Run(string(c.fault), func(t *testing.T) {
			w := newWorld(t)
			w.misbehave(c.fault)
			reg, err := w.Register(t.Context(), w.quoted("superseal.club"))
			if err != nil || reg.State != c.state {
				t.Fatalf("registration %+v, error %v", reg, err)
			}
			if err := w.faults.Turn(c.fault, 0); err != nil {
				t.Fatal(err)
			}
			reg, err = w.Advance(t.Context(), "superseal.club")
			if err != nil || reg.State != Succeeded || w.rail.Requests() != 1 {
				t.Errorf("registration %+v, error %v", reg, err)
			}
		})
	}
}

func TestAnOverchargeStopsAtTheTokensLimit(t *testing.T) {
	w := newWorld(t)
	w.misbehave(fault.Overcharge)
	w.rail.Limit("sbx_1", 890)
	var refusal *till.Refusal
	if _, err := w.Register(t.Context(), w.quoted("superseal.club")); !errors.As(err, &refusal) || refusal.Code != "token_limit_exceeded" {
		t.Errorf("error %v", err)
	}
	if w.rail.Total() != 0 {
		t.Errorf("charged %d", w.rail.Total())
	}
}

func TestANameGivenUpStaysTheAccounts(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Register(t.Context(), w.quoted("superseal.club")); err != nil {
		t.Fatal(err)
	}
	if err := w.SetAutoRenew(t.Context(), "acct_b", "superseal.club", true); codeOf(err) != Unavailable {
		t.Errorf("another account changed the renewal: %v", err)
	}
	if err := w.GiveUp(t.Context(), "acct_a", "superseal.club"); err != nil {
		t.Fatal(err)
	}
	again := w.quoted("superseal.club")
	again.Resource, again.Token = "res_2", ""
	reg, err := w.Register(t.Context(), again)
	if err != nil || reg.Resource != "res_2" || reg.Zone == "" || w.rail.Total() != 890 {
		t.Errorf("taken up again: %+v, %v, charged %d", reg, err, w.rail.Total())
	}
}

func TestASearchProposesTheAskedSuffixFirst(t *testing.T) {
	w := newWorld(t)
	found, err := w.Search(t.Context(), "Super Seal.club", 3)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range found {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"super-seal.club", "super-seal.com", "super-seal.net"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := w.Search(t.Context(), " ... ", 3); codeOf(err) != InvalidName {
		t.Errorf("a search for nothing: %v", err)
	}
	all, err := w.Search(t.Context(), "superseal", 100)
	if err != nil || len(all) != len(DefaultPrices().Extensions) || !strings.Contains(fmt.Sprint(all), string(NotSoldByAPI)) {
		t.Errorf("all suffixes: %+v, %v", all, err)
	}
}

func TestAPriceListWithAMagicAmountIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(l *PriceList)
		fault  string
	}{
		{"the default list", func(*PriceList) {}, ""},
		{"an amount that ends in 01", func(l *PriceList) { l.Extensions[0].Register = 1001 }, "01 to 05"},
		{"a renewal that ends in 05", func(l *PriceList) { l.Extensions[0].Renew = 1005 }, "01 to 05"},
		{"a premium that ends in 03", func(l *PriceList) { l.Extensions[0].Premium = map[string]Price{"x": {1003, 1000}} }, "01 to 05"},
		{"an amount of nothing", func(l *PriceList) { l.Extensions[0].Register = 0 }, "above zero"},
		{"a suffix named twice", func(l *PriceList) { l.Extensions[1].Suffix = "com" }, "twice"},
		{"a suffix with a dot before it", func(l *PriceList) { l.Extensions[0].Suffix = ".com" }, "folded"},
		{"no years", func(l *PriceList) { l.Extensions[0].MinYears = 0 }, "years"},
		{"no currency", func(l *PriceList) { l.Currency = "" }, "currency"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := DefaultPrices()
			c.change(&list)
			err := list.Check()
			if (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
		})
	}
}

func TestThePriceListIsWrittenOnceAndReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "prices.json")
	first, err := OpenPrices(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenPrices(path)
	if diff := cmp.Diff(first, second); err != nil || diff != "" {
		t.Errorf("error %v, difference %s", err, diff)
	}
}
