package office_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/office"
)

// dead makes the provider refuse to renew the token, which has ended.
func (h *house) dead() {
	h.t.Helper()
	h.seller.set(func(s *seller) {
		s.renew = func() (app.Token, error) { return app.Token{}, purser.Errorf(purser.ProviderFailure, "invalid_grant") }
	})
	h.sql("UPDATE connections SET expires_at = 1, renew_at = 1")
}

// counts gives how many account requests were made, under which identifiers.
type counts struct {
	mu  sync.Mutex
	ids []string
}

func (c *counts) asks(req app.AccountRequest, _ string) (office.Linked, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids = append(c.ids, req.ID)
	return office.Linked{}, nil
}

func (c *counts) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids
}

// APP 17.2: invalid_grant marks the connection expired and starts a new account
// request; nobody makes a plan for it.
func TestAnExpiredAccountIsAskedForAgainByItself(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, c := open(t, database), &counts{}
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		h.seller.set(func(s *seller) { s.asks = c.asks })
		h.link(agent)
		plan := h.planned(agent, domain("superseal.club"))
		h.dead()
		if done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); done.State != purser.PlanDone {
			t.Errorf("the plan is %s", done.State)
		}
		ids := c.all()
		if len(ids) != 2 || ids[0] == ids[1] || h.counted("relink", "accepted") != 1 {
			t.Errorf("the account was asked for as %v, with %d records", ids, h.counted("relink", "accepted"))
		}
		if n := h.ask("SELECT COUNT(*) FROM connections WHERE state = 'active' AND expires_at > 1"); n != 1 {
			t.Error("the new token was not kept")
		}
		h.charged(1, 1200)
	})
}

func TestAnotherAccountOrOtherTermsAreNotLinkedAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*seller)
		code   purser.Code
		asked  int
	}{
		"another account": {func(s *seller) { s.email = "eve@example.org" }, purser.AccountMismatch, 2},
		"other terms":     {func(s *seller) { s.terms = "everything is ours now" }, purser.InvalidState, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, asked := open(t, filepath.Join(t.TempDir(), "p.db")), &counts{}
			_, agent := h.run(2000)
			h.seller.set(func(s *seller) { s.asks = asked.asks })
			h.link(agent)
			id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
			h.dead()
			h.seller.set(c.change)
			if _, err := do[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id}); purser.CodeOf(err) != c.code {
				t.Errorf("got %v, want %s", explain(err), c.code)
			}
			if n := len(asked.all()); n != c.asked {
				t.Errorf("%d account requests, want %d", n, c.asked)
			}
			if n := h.ask("SELECT COUNT(*) FROM connections WHERE state = 'active'"); n != 0 {
				t.Error("the connection works again")
			}
		})
	}
}

func TestAProviderThatSaysNoIsNotAskedInALoop(t *testing.T) {
	t.Parallel()
	h, asked := open(t, filepath.Join(t.TempDir(), "p.db")), 0
	_, agent := h.run(2000)
	h.link(agent)
	id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
	h.dead()
	h.seller.set(func(s *seller) {
		s.asks = func(app.AccountRequest, string) (office.Linked, error) {
			asked++
			return office.Linked{}, purser.Errorf(purser.ProviderFailure, "no")
		}
	})
	for range 5 {
		if _, err := do[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id}); err == nil {
			t.Error("it was rotated")
		}
	}
	h.later(2 * time.Minute)
	_, _ = do[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
	if renewals := h.seller.renewals; asked != 2 || renewals != 1 {
		t.Errorf("%d account requests and %d renewals, want one now, one two minutes later, and one", asked, renewals)
	}
}

// A provider that wants its person again makes the order wait, and the same plan goes on.
func TestAnOrderWaitsForAPersonWhoseAccountExpired(t *testing.T) {
	t.Parallel()
	h, s := open(t, filepath.Join(t.TempDir(), "p.db")), &shy{lasts: time.Hour}
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	plan := h.planned(agent, domain("superseal.club"))
	h.dead()
	h.seller.set(func(x *seller) { x.asks = s.answer })
	_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	var no *purser.Error
	if !errors.As(err, &no) || no.Code != purser.NeedsPerson || !strings.Contains(no.Hint, "purser consent ord_") {
		t.Fatalf("applying: %v", explain(err))
	}
	order := h.shown(plan.ID).Orders[0]
	if order.State != purser.OrderPlaced || order.Held.Amount != 1200 {
		t.Errorf("meanwhile the order is %+v", order)
	}
	shown, err := h.o.ShowFlow(h.ctx, purser.Actor{Kind: purser.Provider, ID: "local"}, "acctreq_"+order.ID)
	if err != nil || shown.Email != "ada@example.org" {
		t.Errorf("the provider reads %+v, %v", shown, err)
	}
	if err := h.back("c1", h.opened("acctreq_"+order.ID)); err != nil {
		t.Fatal(err)
	}
	h.eventually("the plan is done", func() bool { return h.shown(plan.ID).State == purser.PlanDone })
	if _, redeemed := s.count(); redeemed != 1 {
		t.Errorf("%d codes were exchanged", redeemed)
	}
	h.charged(1, 1200)
}

func TestATokenIsRenewedWithATenthOfItsLifeToGo(t *testing.T) {
	t.Parallel()
	h := open(t, filepath.Join(t.TempDir(), "p.db"))
	_, agent := h.run(2000)
	const life = 10 * 24 * time.Hour
	pair := app.Token{AccessToken: "a", RefreshToken: "r", ExpiresIn: int64(life / time.Second)}
	h.seller.set(func(s *seller) { s.renew = func() (app.Token, error) { return pair, nil } })
	h.link(agent)
	id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
	rotate := func() int {
		must[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
		h.seller.mu.Lock()
		defer h.seller.mu.Unlock()
		return h.seller.renewals
	}
	h.sql("UPDATE connections SET expires_at = 1, renew_at = 1") // now it gets the pair of ten days
	if n := rotate(); n != 1 {
		t.Errorf("%d renewals of a token that has ended", n)
	}
	ends, renew := h.ask("SELECT expires_at FROM connections"), h.ask("SELECT renew_at FROM connections")
	if gap := time.Duration(ends-renew) * time.Microsecond; gap != life/10 {
		t.Errorf("it is renewed %v before its end, want %v", gap, life/10)
	}
	if n := rotate(); n != 1 {
		t.Errorf("%d renewals while most of its life is to go", n)
	}
	h.sql("UPDATE connections SET renew_at = 1")
	if n := rotate(); n != 2 {
		t.Errorf("%d renewals after its time", n)
	}
}

// The end that a provider tells is shown with the resource: of the newest
// credentials, and of none that it says nothing of.
func TestCredentialsSayWhenTheyEnd(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		first := time.Date(2027, 3, 1, 12, 0, 0, 900, time.UTC)
		h.seller.set(func(s *seller) { s.ends = first })
		h.link(agent)
		h.sql(`UPDATE providers SET manifest = REPLACE(manifest, '"resources:find"', '"resources:find","resources:rotate_credentials"')`)
		id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
		until := func() *time.Time {
			return must[purser.Resource](h, agent, "show_resource", purser.ResourceRef{Resource: id}).Until
		}
		if got := until(); got == nil || !got.Equal(first.Truncate(time.Second)) {
			t.Errorf("bought: until %v, want %v", got, first)
		}
		h.seller.set(func(s *seller) { s.ends = first.AddDate(0, 3, 0) })
		must[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
		if got := until(); got == nil || got.Month() != time.June {
			t.Errorf("rotated: until %v", got)
		}
		h.seller.set(func(s *seller) { s.ends = time.Time{} })
		must[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
		if got := until(); got != nil {
			t.Errorf("rotated to some without an end: until %v", got)
		}
	})
}

// APP 3.1: a plan that an account has by being linked is recorded, and never made.
func TestAPlanThatCameWithTheAccountIsTakenIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		capability string
		status     string
		want       int64
	}{
		"declared and active": {`"account_entitlements:materialize",`, "active", 1},
		"not active":          {`"account_entitlements:materialize",`, "inactive", 0},
		"not declared":        {"", "active", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, filepath.Join(t.TempDir(), "p.db"), func(h *house) {
				h.wire = strings.Replace(manifest, `"quotes",`, c.capability+`"quotes",`, 1)
			})
			h.seller.set(func(s *seller) {
				s.link = func(_ context.Context, work func() (app.Token, error)) (app.Token, error) {
					token, err := work()
					token.Account.ActiveServices = []app.ActiveService{
						{ServiceID: "hosting:pro", ProviderResourceID: "sub_1", Status: c.status}, {ServiceID: "unknown", Status: "active"},
					}
					return token, err
				}
			})
			_, agent := h.run(2000)
			plan := h.proposed(agent, "link", purser.LinkProvider{Provider: "local"})
			h.approve(plan.ID)
			must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			if n := h.ask("SELECT COUNT(*) FROM resources WHERE service = 'hosting:pro' AND provider_id = 'sub_1' AND state = 'live'"); n != c.want {
				t.Errorf("%d plans were taken in, want %d", n, c.want)
			}
			if creates, _ := h.seller.count(); creates != 0 {
				t.Errorf("%d were made", creates)
			}
		})
	}
}

// APP 17.2: a token is renewed once for all callers, those of another replica too. A
// provider takes a refresh token that comes twice for a stolen one (10.3).
func TestATokenIsRenewedOnceForAllWhoNeedIt(t *testing.T) {
	t.Parallel()
	a := open(t, postgres.Open(t))
	b := a.twin()
	_, agent := a.run(2000)
	a.link(agent)
	id := must[purser.Status](a, agent, "status", purser.AskStatus{}).Resources[0].ID
	var renewals atomic.Int64
	second := make(chan struct{})
	a.seller.set(func(s *seller) {
		s.renew = func() (app.Token, error) {
			if renewals.Add(1) == 2 {
				close(second)
			}
			select { // time for the others to do what they must not
			case <-second:
			case <-time.After(300 * time.Millisecond):
			}
			return app.Token{AccessToken: "access2", RefreshToken: "refresh2", ExpiresIn: 3600}, nil
		}
	})
	a.sql("UPDATE connections SET expires_at = 1, renew_at = 1")
	var wg sync.WaitGroup
	for i := range 12 {
		h := a
		if i%2 == 1 {
			h = b
		}
		wg.Go(func() {
			if _, err := do[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id}); err != nil {
				t.Errorf("call %d: %v", i, explain(err))
			}
		})
	}
	wg.Wait()
	if n := renewals.Load(); n != 1 {
		t.Errorf("%d renewals for twelve callers at two replicas, want 1", n)
	}
	if n := a.ask("SELECT COUNT(*) FROM connections WHERE renewing_until = 0 AND state = 'active'"); n != 1 {
		t.Error("somebody still renews it")
	}
}

// Whoever renewed a token and died is waited for no longer than its call could last.
func TestARenewalThatACrashInterruptedIsMadeAgain(t *testing.T) {
	t.Parallel()
	h := open(t, filepath.Join(t.TempDir(), "p.db"))
	_, agent := h.run(2000)
	h.link(agent)
	id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
	h.sql("UPDATE connections SET expires_at = 1, renew_at = 1, renewing_until = 1")
	must[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
	if h.seller.renewals != 1 {
		t.Errorf("%d renewals, want 1", h.seller.renewals)
	}
	// On SQLite nobody but the one who died can have been at it.
	h.sql("UPDATE connections SET expires_at = 1, renew_at = 1, renewing_until = $1", time.Now().Add(time.Hour).UnixMicro())
	h.restart()
	must[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
	if h.seller.renewals != 2 {
		t.Errorf("%d renewals after a restart, want 2", h.seller.renewals)
	}
}

// RULES 19: clocks are at odds about when whoever renews a token must be done. Nobody else
// renews it before that is so by every clock that may spend, nor by one that may not.
func TestClocksThatDifferLetNoTwoRenewalsOut(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(2000)
		h.link(agent)
		id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
		until := func(after time.Duration) int64 { return time.Now().Add(after).UnixMicro() }
		for name, c := range map[string]struct {
			ahead, ends time.Duration
		}{
			"over by the fastest clock that may spend": {0, -3 * time.Second},
			"over by a clock that may not":             {10 * time.Minute, time.Minute},
			"over long since, by a clock that may not": {-10 * time.Minute, -time.Hour},
		} {
			h.sql("UPDATE connections SET expires_at = 1, renew_at = 1, renewing_until = $1", until(c.ends))
			h.later(c.ahead)
			ctx, cancel := context.WithTimeout(h.ctx, 200*time.Millisecond)
			_, err := h.ops["rotate"].Do(ctx, agent, purser.ResourceRef{Resource: id})
			cancel()
			h.later(-c.ahead)
			if err == nil || h.seller.renewals != 0 {
				t.Errorf("%s: %d renewals, %v", name, h.seller.renewals, explainOrNil(err))
			}
		}
		// Who gives a lease by a clock that is behind gives it for as long.
		h.seller.set(func(s *seller) {
			s.renew = func() (app.Token, error) {
				if h.ask("SELECT renewing_until FROM connections") < until(30*time.Second) {
					t.Error("the lease is over before the call")
				}
				return app.Token{AccessToken: "access2", RefreshToken: "refresh2", ExpiresIn: 3600}, nil
			}
		})
		h.sql("UPDATE connections SET renewing_until = 0")
		h.later(-10 * time.Minute)
		must[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id})
		if h.seller.renewals != 1 {
			t.Errorf("%d renewals", h.seller.renewals)
		}
	})
}

// A lost answer of a renewal says nothing of the order that needed the token: nothing
// of that was sent yet. Whether the old pair is dead is told by asking once more.
func TestALostRenewalIsAskedForOnceMoreAndMakesNoOrderUnknown(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	lost := func() (app.Token, error) {
		return app.Token{}, purser.Errorf(purser.OutcomeUnknown, "the connection ended")
	}
	dead := func() (app.Token, error) { return app.Token{}, purser.Errorf(purser.ProviderFailure, "invalid_grant") }
	good := func() (app.Token, error) {
		return app.Token{AccessToken: "access2", RefreshToken: "refresh2", ExpiresIn: 3600}, nil
	}
	for name, c := range map[string]struct {
		renewals []func() (app.Token, error) // the last one stays
		asked    int                         // account requests after the first
		done     bool
	}{
		"the old pair still works": {[]func() (app.Token, error){lost, good}, 0, true},
		"the old pair is dead":     {[]func() (app.Token, error){lost, dead}, 1, true},
		"every answer is lost":     {[]func() (app.Token, error){lost}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, asked := open(t, filepath.Join(t.TempDir(), "p.db")), &counts{}
			h.seller.pay = h.rail()
			_, agent := h.run(2000)
			h.link(agent)
			plan := h.planned(agent, domain("superseal.club"))
			h.seller.set(func(s *seller) {
				s.quote = func(*app.Quote) { h.sql("UPDATE connections SET expires_at = 1, renew_at = 1") } // right before the order
				s.asks, s.renew = asked.asks, func() (app.Token, error) {
					now := c.renewals[0]
					c.renewals = c.renewals[min(1, len(c.renewals)-1):]
					return now()
				}
			})
			_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID, Wait: 60})
			if (err == nil) != c.done {
				t.Errorf("applying: %v", explainOrNil(err))
			}
			if n := len(asked.all()); n != c.asked {
				t.Errorf("%d account requests, want %d", n, c.asked)
			}
			if c.done {
				h.charged(1, 1200)
				return
			}
			order := h.shown(plan.ID).Orders[0]
			if purser.CodeOf(err) != purser.ProviderDown || order.State != purser.OrderPlaced || order.Held.Amount != 1200 {
				t.Fatalf("the order is %+v after %v; want it placed, with its money held", order, explainOrNil(err))
			}
			h.seller.set(func(s *seller) { s.renew = good })
			if done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); done.State != purser.PlanDone {
				t.Errorf("once it answers, the plan is %s", done.State)
			}
		})
	}
}

// What is wrong with our signature or our client is not the token's fault: the account
// is not asked for again, which could need its person.
func TestARenewalRefusedBecauseOfUsLeavesTheAccount(t *testing.T) {
	t.Parallel()
	h, asked := open(t, filepath.Join(t.TempDir(), "p.db")), &counts{}
	_, agent := h.run(2000)
	h.link(agent)
	id := must[purser.Status](h, agent, "status", purser.AskStatus{}).Resources[0].ID
	for _, code := range []string{app.CodeInvalidSignature, app.CodeInvalidClient} {
		h.sql("UPDATE connections SET expires_at = 1, renew_at = 1")
		h.seller.set(func(s *seller) {
			s.asks, s.renew = asked.asks, func() (app.Token, error) {
				no := purser.Errorf(purser.ProviderFailure, "no")
				no.Provider = &purser.ProviderSaid{Code: code, Status: 401}
				return app.Token{}, no
			}
		})
		if _, err := do[purser.Rotation](h, agent, "rotate", purser.ResourceRef{Resource: id}); purser.CodeOf(err) != purser.ProviderFailure {
			t.Errorf("%s: %v", code, explainOrNil(err))
		}
	}
	if n := h.ask("SELECT COUNT(*) FROM connections WHERE state = 'active'"); n != 1 || len(asked.all()) != 0 {
		t.Errorf("%d connections work, and %d accounts were asked for", n, len(asked.all()))
	}
}
