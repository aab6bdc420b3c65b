package office_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/purser-dev/purser"
)

// subscribed is a house with a paid plan of 5.00 a month and a domain of 24.00 a year.
func subscribed(t *testing.T, database string, change ...func(*house)) (*house, purser.Actor, purser.Subscription) {
	h := open(t, database, change...)
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	plan := h.planned(agent, purser.StepRequest{Service: "local/hosting:pro"}, domain("superseal.club"))
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
	for _, s := range h.subscriptions() {
		if s.Interval == "month" {
			return h, agent, s
		}
	}
	t.Fatal("nothing renews each month")
	return nil, agent, purser.Subscription{}
}

func (h *house) subscriptions() []purser.Subscription {
	h.t.Helper()
	return must[purser.List[purser.Subscription]](h, h.owner, "subscriptions", purser.None{}).Items
}

func (h *house) subscription(id string) purser.Subscription {
	h.t.Helper()
	for _, s := range h.subscriptions() {
		if s.ID == id {
			return s
		}
	}
	h.t.Fatalf("no subscription %s", id)
	return purser.Subscription{}
}

// due makes a renewal fall due so long from now: its row moves, because a clock
// that is moved would refuse to spend.
func (h *house) due(id string, in time.Duration) {
	h.t.Helper()
	h.sql("UPDATE subscriptions SET next_at = $1 WHERE id = $2", time.Now().Add(in).UnixMicro(), id)
}

func (h *house) tick() {
	h.t.Helper()
	if err := errors.Join(h.o.Due(h.ctx), h.o.Errands(h.ctx)); err != nil {
		h.t.Fatal(err)
	}
}

// RULES 8: told a week before, once; charged on the day, once, outside the run's
// budget and inside all others; up to what was approved.
func TestARenewalIsToldOnceAndChargedOnce(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h, agent, s := subscribed(t, database)
		h.due(s.ID, 8*24*time.Hour)
		h.tick()
		if n := h.counted("announce_renewal", "accepted"); n != 0 {
			t.Errorf("told %d times more than a week before", n)
		}
		h.due(s.ID, 6*24*time.Hour)
		for range 3 {
			h.tick()
		}
		if n := h.counted("announce_renewal", "accepted"); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
		must[purser.Run](h, agent, "end_run", purser.RunRef{})
		h.due(s.ID, -time.Minute)
		_, errs := fifty(func(int) (int, error) { return 0, h.o.Due(h.ctx) })
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := h.counted("announce_renewal", "accepted"); n != 2 { // nobody was told of this date before
			t.Errorf("told %d times, want twice: a renewal is never a surprise", n)
		}
		after := h.subscription(s.ID)
		if after.State != "active" || after.NextAt == nil || !after.NextAt.After(time.Now().Add(20*24*time.Hour)) {
			t.Errorf("after the renewal: %+v", after)
		}
		status := must[purser.Status](h, h.owner, "status", purser.AskStatus{})
		for _, b := range status.Budgets {
			if b.Scope == "provider" && b.Captured != 2200 {
				t.Errorf("the provider's budget: %+v", b)
			}
			if b.Scope == "run" && b.Captured != 1700 {
				t.Errorf("the run's budget: %+v", b)
			}
		}
		h.charged(3, 2200)
	})
}

// RULES 8: a renewal that a budget or a stop refuses is not paid, and says so; one
// above what was approved neither.
func TestARenewalThatIsRefusedIsNotPaid(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for name, arm := range map[string]func(*house, purser.Subscription){
		"by a provider's budget": func(h *house, _ purser.Subscription) {
			must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "provider", ID: "local", Limit: usd(2199)})
		},
		"by a category's budget": func(h *house, _ purser.Subscription) { h.limit("category", "compute", usd(499)) },
		"by a stop": func(h *house, _ purser.Subscription) {
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
		},
		"by what was approved": func(h *house, s purser.Subscription) {
			h.sql("UPDATE subscriptions SET amount = maximum + 1 WHERE id = $1", s.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _, s := subscribed(t, aDB(t))
			arm(h, s)
			h.due(s.ID, -time.Minute)
			for range 3 {
				h.tick()
			}
			if got := h.subscription(s.ID); got.State != "payment_required" {
				t.Errorf("the subscription is %s", got.State)
			}
			states := map[string]int{}
			for _, r := range must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Resources {
				states[r.State]++
			}
			if states["payment_required"] != 1 || states["live"] != 1 {
				t.Errorf("the resources are %v", states)
			}
			if n := h.counted("renew", "refused"); n != 1 {
				t.Errorf("%d refusals on record, want 1", n)
			}
			// It is tried again by itself, so it is part of what comes.
			rate := must[purser.Status](h, h.owner, "status", purser.AskStatus{}).RunRate
			if now := must[purser.Overview](h, h.owner, "overview", purser.None{}).RunRate; len(rate) != 1 || rate[0].Amount < 500 || !slices.Equal(rate, now) {
				t.Errorf("committed: %v and %v", rate, now)
			}
			h.saysHowMuch("renew")
			h.charged(2, 1700)
		})
	}
}

// RULES 8: what is cancelled renews no more, whoever asks and however often.
func TestACancelledSubscriptionRenewsNoMore(t *testing.T) {
	t.Parallel()
	h, agent, s := subscribed(t, aDB(t))
	_, err := do[purser.Subscription](h, agent, "cancel_subscription", purser.SubscriptionRef{Subscription: s.ID})
	refused(t, err, purser.Forbidden)
	for range 2 {
		if got := must[purser.Subscription](h, h.owner, "cancel_subscription", purser.SubscriptionRef{Subscription: s.ID}); got.State != "cancelled" {
			t.Errorf("it is %s", got.State)
		}
	}
	h.due(s.ID, -time.Minute)
	h.tick()
	for _, rate := range must[purser.Status](h, h.owner, "status", purser.AskStatus{}).RunRate {
		if rate.Amount != 200 { // of the domain: 24.00 a year
			t.Errorf("the run rate is %s", rate)
		}
	}
	h.charged(2, 1700)
}

// What has ended by itself was cancelled by nobody, and the record does not say so.
func TestASubscriptionThatHasEndedCannotBeCancelled(t *testing.T) {
	t.Parallel()
	h, _, s := subscribed(t, aDB(t))
	h.due(s.ID, -time.Minute)
	h.sql("UPDATE subscriptions SET ends_at = $1 WHERE id = $2", time.Now().Add(-time.Hour).UnixMicro(), s.ID)
	h.tick()
	_, err := do[purser.Subscription](h, h.owner, "cancel_subscription", purser.SubscriptionRef{Subscription: s.ID})
	refused(t, err, purser.InvalidState)
	if got, n := h.subscription(s.ID).State, h.counted("cancel_subscription", "accepted"); got != "ended" || n != 0 {
		t.Errorf("it is %s, and cancelled %d times on record", got, n)
	}
}

// RULES 8: up to the approved maximum, and to the approved end. Then it ends, and is
// neither asked for nor recorded again.
func TestNothingRenewsAfterItsApprovedEnd(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name      string
		due, ends time.Duration // from now
		unpaid    bool
		state     string
	}{
		{"it falls due after its end", -time.Minute, -time.Hour, false, "ended"},
		{"it fell due before its end, and nobody was there", -40 * day, -10 * day, false, "ended"},
		{"it was refused until its end", -10 * day, -day, true, "ended"},
		{"its end is later", -time.Minute, day, false, "active"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _, s := subscribed(t, aDB(t))
			h.due(s.ID, tt.due)
			h.sql("UPDATE subscriptions SET ends_at = $1 WHERE id = $2", time.Now().Add(tt.ends).UnixMicro(), s.ID)
			if tt.unpaid {
				h.sql("UPDATE subscriptions SET state = 'payment_required' WHERE id = $1", s.ID)
			}
			for range 3 {
				h.tick()
			}
			if got := h.subscription(s.ID); got.State != tt.state {
				t.Errorf("it is %s, want %s", got.State, tt.state)
			}
			if tt.state == "active" {
				h.charged(3, 2200)
				return
			}
			h.charged(2, 1700)
			if n, no := h.counted("end_subscription", "accepted"), h.counted("renew", "refused"); n != 1 || no != 0 {
				t.Errorf("ended %d times and refused %d times", n, no)
			}
			if n := h.ask("SELECT count(*) FROM notices WHERE kind = 'payment_required' AND about = $1", s.ID); n != 1 {
				t.Errorf("told %d times", n)
			}
		})
	}
}

// RULES 8: what is approved is a year of renewals, however long the plan waited before it
// was bought. The day that the plan names is the last one, to its end.
func TestAYearlyRenewalComesOnceHoweverLongItsPlanWaited(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	for _, tt := range []struct {
		name  string
		late  time.Duration // bought so long after it was planned
		state string
	}{
		{"bought at once", 0, "active"},
		{"approved the next day", 20 * time.Hour, "active"},
		{"approved at the last moment, and its order resolved a week later", 8*24*time.Hour + 70*time.Minute, "active"},
		{"its order resolved after that", 10 * 24 * time.Hour, "ended"},
		{"a second one", 365 * 24 * time.Hour, "ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t, aDB(t))
			h.seller.pay = h.rail()
			_, agent := h.run(2000)
			plan := h.planned(agent, domain("superseal.club"))
			must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
			s := h.subscriptions()[0]
			until := plan.Terms.Steps[len(plan.Terms.Steps)-1].Price.Until
			if last := s.EndsAt.UTC(); last.Format(time.DateOnly) != until || last.Add(time.Second).Format(time.DateOnly) == until {
				t.Errorf("it was approved until %s and ends at %v", until, last)
			}
			// The year goes by: all its dates move back, so that the renewal is due now.
			year := time.Until(s.NextAt.Add(tt.late))
			h.due(s.ID, -time.Second)
			h.sql("UPDATE subscriptions SET ends_at = $1 WHERE id = $2", s.EndsAt.Add(-year).UnixMicro(), s.ID)
			h.tick()
			if got := h.subscription(s.ID).State; got != tt.state {
				t.Errorf("it is %s, want %s", got, tt.state)
			}
		})
	}
}

// Whoever is told a week before of a renewal that will not come is told so.
func TestARenewalThatItsEndForbidsIsNotAnnounced(t *testing.T) {
	t.Parallel()
	h, _, s := subscribed(t, aDB(t))
	h.due(s.ID, 6*24*time.Hour)
	h.sql("UPDATE subscriptions SET ends_at = $1 WHERE id = $2", time.Now().Add(24*time.Hour).UnixMicro(), s.ID)
	for range 3 {
		h.tick()
	}
	if n, no := h.counted("announce_end", "accepted"), h.counted("announce_renewal", "accepted"); n != 1 || no != 0 {
		t.Errorf("its end is told %d times, its renewal %d times", n, no)
	}
	if n := h.ask("SELECT count(*) FROM notices WHERE about = $1 AND subject LIKE 'Does not renew%'", s.ID); n != 1 {
		t.Errorf("%d notices say so", n)
	}
}

// Months that nobody was there for are decided one by one, and none is passed over; those
// that were refused are not paid for afterwards.
func TestRenewalsThatNobodyWasThereForAreDecidedEach(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, _, s := subscribed(t, database)
		began := time.Now().AddDate(0, 0, -95) // three months, and less than four
		h.sql("UPDATE subscriptions SET started_at = $1, next_at = $2 WHERE id = $3", began.UnixMicro(), began.AddDate(0, 1, 0).UnixMicro(), s.ID)
		for range 5 {
			h.tick()
		}
		if got := h.subscription(s.ID); got.NextAt == nil || !got.NextAt.After(time.Now()) {
			t.Errorf("the next one: %+v", got)
		}
		h.charged(5, 1700+3*500)
		h.sql("UPDATE subscriptions SET state = 'payment_required', told_at = 0, next_at = $1 WHERE id = $2", began.AddDate(0, 1, 1).UnixMicro(), s.ID)
		for range 5 {
			h.tick()
		}
		h.charged(6, 1700+4*500)
	})
}

// changes is a provider that changes what it sold.
func changes(h *house) {
	h.wire = strings.Replace(manifest, `"quotes",`, `"quotes","resources:update_service",`, 1)
}

// changed has a resource become another service, with a person's yes.
func (h *house) changed(agent purser.Actor, resource, service string) {
	h.t.Helper()
	_, err := do[purser.Plan](h, agent, "update", purser.UpdateResource{Resource: resource, Service: service, Configuration: map[string]any{}})
	if err == nil {
		return
	}
	plan := refused(h.t, err, purser.NeedsApproval).Plan
	h.approve(plan)
	must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan})
}

// What became another thing, or is paid for anew, owes nothing for what it was.
func TestWhatIsChangedAfterARefusalIsLive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, service string
		charges       []string // the states of its recurring charges
	}{
		{"to the same, for another month", "hosting:pro", []string{"cancelled", "active"}},
		{"to what is free", "hosting:static", []string{"cancelled"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _, s := subscribed(t, aDB(t), changes)
			_, agent := h.run(2000)
			h.limit("category", "compute", usd(499))
			h.due(s.ID, -time.Minute)
			h.tick()
			h.limit("category", "compute", usd(50000))
			h.changed(agent, s.Resource, tt.service)
			if got := must[purser.Resource](h, h.owner, "show_resource", purser.ResourceRef{Resource: s.Resource}).State; got != "live" {
				t.Errorf("it is %s", got)
			}
			var charges []string
			for _, other := range h.subscriptions() {
				if other.Resource == s.Resource {
					charges = append(charges, other.State)
				}
			}
			if !slices.Equal(charges, tt.charges) {
				t.Errorf("its charges are %v, want %v", charges, tt.charges)
			}
		})
	}
}

// One that this program cannot decide keeps none of the later ones waiting.
func TestARenewalThatFailsKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	h, _, s := subscribed(t, aDB(t))
	for _, other := range h.subscriptions() {
		h.due(other.ID, -time.Minute)
	}
	h.due(s.ID, -time.Hour) // the first of them
	h.sql("UPDATE subscriptions SET resource = 'none' WHERE id = $1", s.ID)
	if err := h.o.Due(h.ctx); err == nil {
		t.Error("nothing failed")
	}
	h.charged(3, 1700+2400)
}
