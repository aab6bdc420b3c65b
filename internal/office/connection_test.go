package office_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
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
	eachDB(t, func(t *testing.T, database string) {
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
	eachDB(t, func(t *testing.T, database string) {
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
