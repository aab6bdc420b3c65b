package office_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

// RULES 25: detach leaves it there and pays on, retire cancels now and deletes
// after the grace, destroy asks for the name and a signature.
func TestTheThreeWaysToRemoveDoWhatTheySay(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, agent, s := subscribed(t, database)
		_, err := do[purser.Removal](h, agent, "remove", purser.Remove{Resource: s.Resource, Mode: "detach"})
		if code := purser.CodeOf(err); code != purser.Forbidden && code != purser.SelfApproval {
			t.Errorf("an agent removes: %v", explainOrNil(err))
		}
		dry := must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire", DryRun: true})
		if len(dry.StopsPaying) != 1 || dry.StopsPaying[0].Amount != 500 || len(dry.NotRefunded) != 1 || dry.NotRefunded[0].Amount != 500 {
			t.Errorf("what it would cost: %+v", dry)
		}
		_, err = do[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "somehow"})
		refused(t, err, purser.InvalidRequest)

		// Retired: paid no more from now, there until the grace is over, restorable.
		must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
		if got := h.subscription(s.ID).State; got != "cancelled" {
			t.Errorf("retired on day 0 its subscription is %s", got)
		}
		h.tick()
		if len(h.seller.removed) != 0 {
			t.Error("it was deleted before its grace was over")
		}
		_, err = do[purser.Resource](h, h.owner, "restore", purser.Restore{Resource: s.Resource})
		refused(t, err, purser.NeedsPerson)
		in := purser.Restore{Resource: s.Resource}
		in.Act = h.sign("restore", in)
		if back, now := must[purser.Resource](h, h.owner, "restore", in), h.subscription(s.ID); back.State != "live" || now.State != "active" || !now.NextAt.Equal(*s.NextAt) {
			t.Errorf("restored it is %s, its subscription %s, next at %v", back.State, now.State, now.NextAt)
		}

		// Its grace is over: deleted, once, and not to be restored.
		must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
		h.later(8 * 24 * time.Hour)
		in = purser.Restore{Resource: s.Resource}
		in.Act = h.sign("restore", in)
		_, err = do[purser.Resource](h, h.owner, "restore", in)
		refused(t, err, purser.InvalidState)
		h.tick()
		h.tick()
		if len(h.seller.removed) != 1 || h.counted("removed", "accepted") != 1 {
			t.Errorf("deleted %v", h.seller.removed)
		}

		// Destroyed: the name, and a signature over it; a provider that is away is
		// asked again until it has done it.
		rest := must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Resources
		if len(rest) != 1 {
			t.Fatalf("%d resources are left", len(rest))
		}
		d := purser.Remove{Resource: rest[0].ID, Mode: "destroy", Confirm: "wrong"}
		d.Act = h.sign("remove", d)
		_, err = do[purser.Removal](h, h.owner, "remove", d)
		refused(t, err, purser.NeedsPerson)
		d = purser.Remove{Resource: rest[0].ID, Mode: "destroy", Confirm: rest[0].Name}
		h.seller.set(func(s *seller) { s.removing = purser.Errorf(purser.ProviderDown, "away") })
		d.Act = h.sign("remove", d)
		if out := must[purser.Removal](h, h.owner, "remove", d); out.Done || !out.Pending || out.Error == nil {
			t.Errorf("a provider that is away: %+v", out)
		}
		h.seller.set(func(s *seller) { s.removing = nil })
		h.tick()
		if len(h.seller.removed) != 2 {
			t.Errorf("deleted %v", h.seller.removed)
		}
		if rest := must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Resources; len(rest) != 0 {
			t.Errorf("left: %+v", rest)
		}
		h.charged(2, 1700)
	})
}

// RULES 25: a restore takes up what its retire cancelled, as that was. Months that nobody
// paid for are not paid for afterwards, and what a person cancelled before stays so.
func TestARestoreTakesUpOnlyWhatItsRetireCancelled(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(*house, purser.Subscription)
		state  string // of the charge, restored
		paid   int    // renewals from then on
		ends   string // the state after them
	}{
		{"active when it was retired", func(*house, purser.Subscription) {}, "active", 0, "active"},
		{"refused for months: tried again, once for all of them", func(h *house, s purser.Subscription) {
			h.sql("UPDATE subscriptions SET state = 'payment_required' WHERE id = $1", s.ID)
		}, "payment_required", 1, "active"},
		{"cancelled by a person before", func(h *house, s purser.Subscription) {
			must[purser.Subscription](h, h.owner, "cancel_subscription", purser.SubscriptionRef{Subscription: s.ID})
		}, "cancelled", 0, "cancelled"},
		{"retired twice", func(h *house, s purser.Subscription) {
			must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
		}, "active", 0, "active"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inTurn(t, func(t *testing.T, database string) {
				h, _, s := subscribed(t, database)
				tt.before(h, s)
				must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
				began := time.Now().AddDate(0, 0, -125) // four months ago, and not yet five
				h.sql("UPDATE subscriptions SET started_at = $1, next_at = $2 WHERE id = $3", began.UnixMicro(), began.AddDate(0, 1, 0).UnixMicro(), s.ID)
				in := purser.Restore{Resource: s.Resource}
				in.Act = h.sign("restore", in)
				must[purser.Resource](h, h.owner, "restore", in)
				if got := h.subscription(s.ID).State; got != tt.state {
					t.Errorf("restored, its charge is %s, want %s", got, tt.state)
				}
				for range 5 {
					h.tick()
				}
				got := h.subscription(s.ID)
				if got.State != tt.ends || got.NextAt != nil && !got.NextAt.After(time.Now()) {
					t.Errorf("after that it is %s, and charged next at %v", got.State, got.NextAt)
				}
				h.charged(2+tt.paid, 1700+500*int64(tt.paid))
			})
		})
	}
}

// The charge of what a resource was before it became another is not taken up again.
func TestARestoreTakesUpNoChargeOfAnEarlierService(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, agent, s := subscribed(t, database, changes)
		h.changed(agent, s.Resource, "hosting:static")
		must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
		if back := must[purser.Resource](h, h.owner, "restore", purser.Restore{Resource: s.Resource}); back.State != "live" || back.Service != "hosting:static" {
			t.Errorf("restored it is %s, and %s", back.Service, back.State)
		}
		if got := h.subscription(s.ID).State; got != "cancelled" {
			t.Errorf("what it was is charged again: %s", got)
		}
		h.charged(2, 1700)
	})
}

// A change that is on its way when its resource is retired begins no charge that outlives
// it; restored, it pays for what it has become.
func TestAChangeOfWhatIsRetiredMeanwhileIsChargedOnlyIfRestored(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for service, restored := range map[string]int{"hosting:pro": 1, "hosting:static": 0} { // charges that go on
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			inTurn(t, func(t *testing.T, database string) {
				h, _, s := subscribed(t, database, changes)
				_, agent := h.run(2000)
				h.seller.set(func(sl *seller) {
					sl.update = func() {
						must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
					}
				})
				h.changed(agent, s.Resource, service)
				active := func() (n int) {
					for _, other := range h.subscriptions() {
						if other.Resource == s.Resource && other.State != "cancelled" {
							n++
						}
					}
					return n
				}
				row := must[purser.Resource](h, h.owner, "show_resource", purser.ResourceRef{Resource: s.Resource})
				if n := active(); n != 0 || row.State != "retiring" || row.Service != service {
					t.Errorf("it is %s, a %s, with %d charges", row.State, row.Service, n)
				}
				in := purser.Restore{Resource: s.Resource}
				in.Act = h.sign("restore", in)
				must[purser.Resource](h, h.owner, "restore", in)
				if n := active(); n != restored {
					t.Errorf("restored it has %d charges, want %d", n, restored)
				}
			})
		})
	}
}

// What was not paid for is not shown as live because it was retired and restored.
func TestARestoredResourceIsAsItWasWhenItWasRetired(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	unpaid := func(h *house, s purser.Subscription) {
		h.limit("category", "compute", usd(499))
		h.due(s.ID, -time.Minute)
		h.tick()
	}
	for _, tt := range []struct {
		name    string
		arrange func(*house, purser.Subscription)
		want    string
	}{
		{"paid for", func(*house, purser.Subscription) {}, "live"},
		{"its charge was refused", unpaid, "payment_required"},
		{"its charge was refused, and then cancelled by a person", func(h *house, s purser.Subscription) {
			unpaid(h, s)
			must[purser.Subscription](h, h.owner, "cancel_subscription", purser.SubscriptionRef{Subscription: s.ID})
		}, "payment_required"},
		{"its approval had ended", func(h *house, s purser.Subscription) {
			h.due(s.ID, -time.Minute)
			h.sql("UPDATE subscriptions SET ends_at = $1 WHERE id = $2", time.Now().Add(-time.Hour).UnixMicro(), s.ID)
			h.tick()
		}, "payment_required"},
		{"its charge was refused, and it was retired twice", func(h *house, s purser.Subscription) {
			unpaid(h, s)
			must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
		}, "payment_required"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inTurn(t, func(t *testing.T, database string) {
				h, _, s := subscribed(t, database)
				tt.arrange(h, s)
				must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
				in := purser.Restore{Resource: s.Resource}
				in.Act = h.sign("restore", in)
				if got := must[purser.Resource](h, h.owner, "restore", in).State; got != tt.want {
					t.Errorf("restored it is %s, want %s", got, tt.want)
				}
				h.tick()
				if got := must[purser.Resource](h, h.owner, "show_resource", purser.ResourceRef{Resource: s.Resource}).State; got != tt.want {
					t.Errorf("then it is %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// What was deleted at the vendor's own page is not there when we remove it.
func TestWhatIsGoneAtTheProviderIsRemoved(t *testing.T) {
	t.Parallel()
	answered := func(status int, code string) *purser.Error {
		e := purser.Errorf(purser.ProviderFailure, "no such resource")
		e.Provider = &purser.ProviderSaid{Status: status, Code: code}
		return e
	}
	for name, c := range map[string]struct {
		answer *purser.Error
		shown  bool // it still shows the resource
		done   bool
	}{
		"gone":                   {answered(404, app.CodeNotFound), false, true},
		"gone, and still there":  {answered(404, app.CodeNotFound), true, false},
		"another server answers": {answered(404, ""), false, false},
		"not ours":               {answered(403, app.CodeForbidden), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _, s := subscribed(t, aDB(t))
			h.seller.set(func(s *seller) {
				s.removing = c.answer
				s.get = func(r app.Resource) (app.Resource, error) {
					if c.shown {
						return r, nil
					}
					return app.Resource{}, answered(404, app.CodeNotFound)
				}
			})
			row := must[purser.Resource](h, h.owner, "show_resource", purser.ResourceRef{Resource: s.Resource})
			d := purser.Remove{Resource: row.ID, Mode: "destroy", Confirm: row.Name}
			d.Act = h.sign("remove", d)
			if out := must[purser.Removal](h, h.owner, "remove", d); out.Done != c.done || out.Pending == c.done {
				t.Errorf("%+v", out)
			}
			if n := h.counted("removed", "accepted"); (n == 1) != c.done {
				t.Errorf("recorded %d times", n)
			}
		})
	}
}

// A charge that was refused is tried again by itself, so it counts as one that is paid.
func TestARemovalTellsOfAChargeThatWasRefused(t *testing.T) {
	t.Parallel()
	h, _, s := subscribed(t, aDB(t))
	h.limit("category", "compute", usd(499))
	h.due(s.ID, -time.Minute)
	h.tick()
	told := func(mode string) purser.Removal {
		return must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: mode, DryRun: true})
	}
	if out := told("detach"); len(out.StopsPaying) != 0 || !strings.Contains(strings.Join(out.Consequences, "\n"), "goes on: purser subscriptions cancel "+s.ID) {
		t.Errorf("detached: %+v", out)
	}
	for _, mode := range []string{"retire", "destroy"} {
		if out := told(mode); !slices.Equal(out.StopsPaying, []purser.Money{usd(500)}) {
			t.Errorf("%s: %+v", mode, out)
		}
	}
}

func TestWhatIsDetachedStaysAtTheProviderAndPaysOn(t *testing.T) {
	t.Parallel()
	h, _, s := subscribed(t, aDB(t))
	must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "detach"})
	h.due(s.ID, -time.Minute)
	h.tick()
	if len(h.seller.removed) != 0 {
		t.Error("it was deleted")
	}
	in := purser.Exec{Resource: s.Resource}
	in.Act = h.sign("exec", in)
	if out, err := do[purser.Variables](h, h.owner, "exec", in); err == nil && len(out.Env) > 0 {
		t.Error("its credentials are still handed out")
	}
	h.charged(3, 2200)
}

// What was unpaid and became free while it was retired is live once it is restored: no
// charge is left that would make it so.
func TestAFreeServiceIsRestoredLive(t *testing.T) {
	t.Parallel()
	h, _, s := subscribed(t, aDB(t), changes)
	_, agent := h.run(2000)
	h.sql("UPDATE subscriptions SET state = 'payment_required' WHERE id = $1", s.ID)
	h.sql("UPDATE resources SET state = 'payment_required' WHERE id = $1", s.Resource)
	h.seller.set(func(x *seller) {
		x.update = func() {
			must[purser.Removal](h, h.owner, "remove", purser.Remove{Resource: s.Resource, Mode: "retire"})
		}
	})
	h.changed(agent, s.Resource, "hosting:static")
	in := purser.Restore{Resource: s.Resource}
	in.Act = h.sign("restore", in)
	if back := must[purser.Resource](h, h.owner, "restore", in); back.State != "live" {
		t.Errorf("it is %s", back.State)
	}
}
