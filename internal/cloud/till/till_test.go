package till

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/cloud/fault"
	"github.com/purser-dev/purser/internal/cloud/state"
	"github.com/purser-dev/purser/internal/cloud/till/railtest"
)

func openTill(t *testing.T, change func(*Config)) (*Till, *railtest.Rail) {
	t.Helper()
	rail := railtest.New()
	t.Cleanup(rail.Close)
	c := Config{DB: openDB(t), URL: rail.ChargesURL(), Key: railtest.ProviderKey, Now: time.Now}
	if change != nil {
		change(&c)
	}
	till, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return till, rail
}

func openDB(t *testing.T) *state.Store {
	t.Helper()
	db, err := state.Open(t.Context(), state.Options{Dir: t.TempDir(), Now: time.Now, Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func domain() Charge {
	return Charge{Resource: "res_1", Purpose: "register superseal.club", Token: "sbx_1", Amount: 890, Currency: "USD", Item: "superseal.club, 1 year"}
}

func TestTheSameChargeIsTakenOnce(t *testing.T) {
	till, rail := openTill(t, nil)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			r, err := till.Charge(t.Context(), domain())
			if err != nil || r.ID != "chg_1" || r.Amount != 890 {
				t.Errorf("receipt %+v, error %v", r, err)
			}
		})
	}
	wait.Wait()
	if got := rail.Requests(); got != 1 {
		t.Errorf("the rail was asked %d times", got)
	}
	all, err := till.Receipts(t.Context())
	if err != nil || len(all) != 1 || all[0].Item != "superseal.club, 1 year" {
		t.Errorf("receipts %+v, error %v", all, err)
	}
}

func TestALostAnswerIsFoundUnderTheSameKey(t *testing.T) {
	till, rail := openTill(t, nil)
	rail.LoseAnswers(1)
	_, err := till.Charge(t.Context(), domain())
	if !errors.Is(err, ErrUnknown) {
		t.Fatalf("first call: %v, want ErrUnknown", err)
	}
	again := Config{DB: till.DB, URL: till.URL, Key: till.Key, Now: time.Now}
	restarted, err := Open(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	r, err := restarted.Charge(t.Context(), domain())
	if err != nil || r.ID != "chg_1" || rail.Total() != 890 {
		t.Errorf("receipt %+v, error %v, charged %d", r, err, rail.Total())
	}
}

func TestAfterALostAnswerAnotherTokenCannotPayAgain(t *testing.T) {
	till, rail := openTill(t, nil)
	rail.LoseAnswers(1)
	_, _ = till.Charge(t.Context(), domain())
	second := domain()
	second.Token = "sbx_2"
	if _, err := till.Charge(t.Context(), second); !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
	if rail.Total() != 890 {
		t.Errorf("charged %d, want 890", rail.Total())
	}
	if r, err := till.Charge(t.Context(), domain()); err != nil || r.ID != "chg_1" {
		t.Errorf("the first token: %+v, %v", r, err)
	}
}

func TestACallWithoutATokenLearnsButDoesNotPay(t *testing.T) {
	till, rail := openTill(t, nil)
	bare := domain()
	bare.Token = ""
	var refusal *Refusal
	if _, err := till.Charge(t.Context(), bare); !errors.As(err, &refusal) {
		t.Errorf("before any charge: %v", err)
	}
	rail.LoseAnswers(1)
	_, _ = till.Charge(t.Context(), domain())
	if _, err := till.Charge(t.Context(), bare); !errors.Is(err, ErrUnknown) {
		t.Errorf("while the charge is in doubt: %v", err)
	}
	if _, err := till.Charge(t.Context(), domain()); err != nil {
		t.Fatal(err)
	}
	if r, err := till.Charge(t.Context(), bare); err != nil || r.ID != "chg_1" || rail.Total() != 890 {
		t.Errorf("after the charge: %+v, %v", r, err)
	}
}

func TestARefundGivesBackOnceAndFreesThePurpose(t *testing.T) {
	till, rail := openTill(t, nil)
	if err := till.Refund(t.Context(), "res_1", "register superseal.club"); err != nil {
		t.Errorf("a refund of nothing: %v", err)
	}
	for _, total := range []int64{890, 890} {
		if _, err := till.Charge(t.Context(), domain()); err != nil || rail.Total() != total {
			t.Fatalf("charging: %v, total %d", err, rail.Total())
		}
		for range 2 {
			if err := till.Refund(t.Context(), "res_1", "register superseal.club"); err != nil || rail.Total() != 0 {
				t.Fatalf("refunding: %v, total %d", err, rail.Total())
			}
		}
		if all, err := till.Receipts(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("receipts %v, %v", all, err)
		}
	}
	if len(rail.Charges()) != 2 {
		t.Errorf("%d charges under different keys", len(rail.Charges()))
	}
}

func TestACertainRefusalCanBeTriedWithAnotherToken(t *testing.T) {
	for _, code := range []string{"declined", "requires_action", "token_expired", "stopped"} {
		t.Run(code, func(t *testing.T) {
			till, rail := openTill(t, nil)
			rail.Refuse(code)
			_, err := till.Charge(t.Context(), domain())
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != code {
				t.Fatalf("error %v, want refusal %s", err, code)
			}
			rail.Refuse("")
			second := domain()
			second.Token = "sbx_2"
			r, err := till.Charge(t.Context(), second)
			if err != nil || r.Amount != 890 || rail.Total() != 890 {
				t.Errorf("receipt %+v, error %v, charged %d", r, err, rail.Total())
			}
		})
	}
}

func TestTheRailsAnswerIsJudgedByItsCertainty(t *testing.T) {
	for _, c := range []struct {
		name    string
		status  int
		body    string
		id      string
		code    string
		unknown bool
	}{
		{"a success", 200, `{"id":"chg_7","status":"succeeded"}`, "chg_7", "", false},
		{"a success without an id", 200, `{"status":"succeeded"}`, "", "", true},
		{"a decline", 200, `{"id":"chg_7","status":"declined"}`, "", "declined", false},
		{"a problem", 403, `{"status":403,"code":"wrong_provider","detail":"x"}`, "", "wrong_provider", false},
		{"a key used for something else", 409, `{"status":409,"code":"key_reused"}`, "", "", true},
		{"a stop, which is a conflict too", 409, `{"status":409,"code":"stopped"}`, "", "stopped", false},
		{"a conflict without a code", 409, `{"status":409}`, "", "", true},
		{"a rail that does not know", 400, `{"status":400,"code":"outcome_unknown"}`, "", "", true},
		{"an overloaded rail", 503, `{"status":503,"code":"overloaded"}`, "", "", true},
		{"a problem of the server", 500, `{"status":500,"code":"internal"}`, "", "", true},
		{"a proxy's page", 404, `<html>`, "", "", true},
		{"a redirect", 302, ``, "", "", true},
		{"an unknown word", 200, `{"id":"chg_7","status":"maybe"}`, "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := judge(c.status, []byte(c.body))
			var refusal *Refusal
			code := ""
			if errors.As(err, &refusal) {
				code = refusal.Code
			}
			if id != c.id || code != c.code || errors.Is(err, ErrUnknown) != c.unknown {
				t.Errorf("id %q, error %v", id, err)
			}
		})
	}
}

func TestAWrongProviderKeyIsARefusal(t *testing.T) {
	till, _ := openTill(t, func(c *Config) { c.Key = "pk_other" })
	var refusal *Refusal
	if _, err := till.Charge(t.Context(), domain()); !errors.As(err, &refusal) {
		t.Errorf("error %v, want a refusal", err)
	}
}

func TestARailThatIsGoneLeavesTheOutcomeUnknown(t *testing.T) {
	till, rail := openTill(t, nil)
	rail.Close()
	if _, err := till.Charge(t.Context(), domain()); !errors.Is(err, ErrUnknown) {
		t.Errorf("error %v", err)
	}
}

func TestAChargeOfNothingIsRefusedWithoutAskingTheRail(t *testing.T) {
	till, rail := openTill(t, nil)
	for _, c := range []Charge{{Resource: "r", Purpose: "p", Token: "sbx"}, {Resource: "r", Purpose: "p", Amount: 5}, {Resource: "r", Purpose: "p", Token: "sbx", Amount: -5}} {
		if _, err := till.Charge(t.Context(), c); err == nil {
			t.Errorf("%+v was charged", c)
		}
	}
	if rail.Requests() != 0 {
		t.Errorf("the rail was asked %d times", rail.Requests())
	}
}

func TestAFaultySellerAsksTwice(t *testing.T) {
	for _, c := range []struct {
		fault fault.Switch
		total int64
	}{{fault.ChargeTwice, 890}, {fault.ChargeTwoKeys, 1780}} {
		t.Run(string(c.fault), func(t *testing.T) {
			till, rail := openTill(t, func(cfg *Config) { cfg.Faults = fault.NewSet(c.fault) })
			if _, err := till.Charge(t.Context(), domain()); err != nil {
				t.Fatal(err)
			}
			if rail.Requests() != 2 || rail.Total() != c.total {
				t.Errorf("%d requests, charged %d", rail.Requests(), rail.Total())
			}
		})
	}
}

func TestRedirectsOfTheRailAreNotFollowed(t *testing.T) {
	var leaked bool
	other := railtest.New()
	defer other.Close()
	other.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked = true })
	till, rail := openTill(t, nil)
	rail.Config.Handler = http.RedirectHandler(other.URL, http.StatusTemporaryRedirect)
	_, err := till.Charge(context.Background(), domain())
	if !errors.Is(err, ErrUnknown) || leaked {
		t.Errorf("error %v, leaked %v", err, leaked)
	}
}
