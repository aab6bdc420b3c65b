package office_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/notice"
	"github.com/purser-dev/purser/internal/office"
)

// box is a courier that keeps what it was given. Like a mail server it may take a
// message and lose the answer.
type box struct {
	mu    sync.Mutex
	got   []notice.Message
	carry func(n int, take func()) error // n counts from 1; nil: takes it
	tries int
}

func (b *box) Carry(_ context.Context, m notice.Message) error {
	b.mu.Lock()
	b.tries++
	n, f := b.tries, b.carry
	b.mu.Unlock()
	take := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.got = append(b.got, m)
	}
	if f != nil {
		return f(n, take)
	}
	take()
	return nil
}

// of lists what was taken of a kind.
func (b *box) of(kind notice.Kind) (out []notice.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.got {
		if m.Kind == kind {
			out = append(out, m)
		}
	}
	return out
}

// told is a house whose owner is told by mail.
func told(t *testing.T, database string) (*house, *box) {
	b := &box{}
	return open(t, database, func(h *house) { h.mail = map[string]office.Courier{notice.Mail: b} }), b
}

func (h *house) send() {
	h.t.Helper()
	if err := h.o.Tell(h.ctx); err != nil {
		h.t.Fatal(err)
	}
}

// one checks that a kind was told once, to Ada, and returns it.
func (h *house) one(b *box, kind notice.Kind) notice.Message {
	h.t.Helper()
	h.send()
	h.send()
	got := b.of(kind)
	if len(got) != 1 {
		h.t.Fatalf("%s was told %d times: %+v", kind, len(got), got)
	}
	if got[0].Address != "ada@example.org" || got[0].OrganizationName != "Home" || got[0].Subject == "" {
		h.t.Errorf("%s: %+v", kind, got[0])
	}
	return got[0]
}

func TestARequestIsToldRemindedOfAndItsEndToo(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, b := told(t, database)
		_, agent := h.run(2000, func(in *purser.CreateRun) { in.Expires = "48h" })
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Purpose: "a shop", Steps: []purser.StepRequest{domain("superseal.club")}})
		m := h.one(b, notice.ApprovalNeeded)
		if want := "http://localhost:7627/approvals/" + plan.ID; m.URL != want || m.About != plan.ID || !strings.Contains(m.Subject, "12.00 USD") {
			t.Errorf("it leads to %s: %+v", m.URL, m)
		}
		if !slices.ContainsFunc(m.Facts, func(f notice.Fact) bool { return f.Value == "a shop" && f.Quoted }) {
			t.Errorf("the agent's words are not quoted: %+v", m.Facts)
		}
		h.tick()
		h.send()
		if n := len(b.of(notice.ApprovalReminder)); n != 0 {
			t.Errorf("reminded %d times a day before its end", n)
		}
		h.later(22*time.Hour + time.Minute)
		for range 3 {
			h.tick()
		}
		h.one(b, notice.ApprovalReminder)
		h.later(2 * time.Hour)
		for range 3 {
			h.tick()
		}
		h.one(b, notice.ApprovalExpired)
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		if e := refused(t, err, purser.PlanExpired); !strings.Contains(e.Detail, "approval expired") {
			t.Errorf("the agent hears %q", e.Detail)
		}
	})
}

func TestEachOtherKindIsToldOnce(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	file := func(t *testing.T) string { return aDB(t) }
	t.Run("a stop and its end", func(t *testing.T) {
		h, b := told(t, file(t))
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
		if m := h.one(b, notice.Stopped); m.About != stop.ID || !strings.Contains(fmt.Sprint(m.Facts), "enough") || !strings.Contains(fmt.Sprint(m.Facts), "Ada") {
			t.Errorf("%+v", m)
		}
		h.resume(stop)
		if m := h.one(b, notice.Resumed); !strings.HasSuffix(m.Subject, " may spend again") {
			t.Errorf("%q", m.Subject)
		}
	})
	for _, c := range []struct {
		scope, why string
		meanwhile  func(*house, purser.Run)
	}{
		{"run", "it has ended", func(h *house, run purser.Run) { must[purser.Run](h, h.owner, "end_run", purser.RunRef{Run: run.ID}) }},
		{"run", "its time is over", func(h *house, _ purser.Run) { h.later(3 * time.Hour) }},
		{"agent", "it was revoked", func(h *house, run purser.Run) {
			must[purser.AgentInfo](h, h.owner, "revoke_agent", purser.AgentRef{Agent: run.Agent})
		}},
		{"run", "another stop is in force", func(h *house, run purser.Run) {
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "agent", ID: run.Agent})
		}},
		{"project", "another stop is in force", func(h *house, _ purser.Run) {
			must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "organization"})
		}},
	} {
		t.Run("the end of a stop of what spends nothing all the same: "+c.scope+", "+c.why, func(t *testing.T) {
			h, b := told(t, file(t))
			run, _ := h.run(1500)
			target := map[string]string{"run": run.ID, "agent": run.Agent, "project": h.project.ID}[c.scope]
			stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: c.scope, ID: target})
			c.meanwhile(h, run)
			h.resume(stop)
			if m := h.one(b, notice.Resumed); !strings.HasSuffix(m.Subject, c.why) || strings.Contains(m.Subject, "may spend") {
				t.Errorf("%q", m.Subject)
			}
		})
	}
	t.Run("a renewal, and one that was refused", func(t *testing.T) {
		h, _, s := subscribed(t, file(t))
		b := &box{}
		h.mail = map[string]office.Courier{notice.Mail: b}
		h.restart()
		h.due(s.ID, 6*24*time.Hour)
		h.tick()
		h.tick()
		if m := h.one(b, notice.RenewalSoon); m.About != s.ID || !strings.Contains(m.Subject, "5.00 USD") {
			t.Errorf("%+v", m)
		}
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "provider", ID: "local", Limit: usd(2199)})
		h.due(s.ID, -time.Minute)
		h.tick()
		h.tick()
		h.one(b, notice.PaymentRequired)
	})
	t.Run("an order that nobody knows of", func(t *testing.T) {
		h, b := told(t, file(t))
		_, agent := h.run(2000)
		h.seller.create = func(c create) (app.Resource, error) {
			_, _ = c.work()
			return app.Resource{}, purser.Errorf(purser.OutcomeUnknown, "the answer was lost")
		}
		h.seller.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
			return app.Resource{}, false, purser.Errorf(purser.ProviderDown, "not there")
		}
		plan := h.planned(agent, domain("superseal.club"))
		_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		if m := h.one(b, notice.OrderUnknown); !strings.HasPrefix(m.About, "ord_") || m.Run != agent.Run {
			t.Errorf("%+v", m)
		}
	})
	t.Run("a hold that nobody knows of", func(t *testing.T) {
		h, b := told(t, file(t))
		_, agent := h.run(1000)
		hold := must[purser.Hold](h, agent, "place_hold", holdOf(300))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: hold.ID})
		h.sql("UPDATE holds SET expires_at = $2 WHERE id = $1", hold.ID, h.now().UnixMicro())
		for range 3 {
			h.tick()
		}
		if m := h.one(b, notice.OrderUnknown); m.About != hold.ID || m.Run != agent.Run || !strings.Contains(fmt.Sprint(m.Facts), "3.00 USD") {
			t.Errorf("%+v", m)
		}
	})
	t.Run("a run that orders too fast without a plan", func(t *testing.T) {
		h, b := told(t, file(t))
		_, agent := h.run(1000)
		order := holdOf(100)
		order.Kind = "order"
		var err error
		for i := range 6 {
			order.Target, order.Provider = fmt.Sprint("thing ", i), fmt.Sprint("shop", i)
			_, err = do[purser.Hold](h, agent, "place_hold", order)
		}
		refused(t, err, purser.TooManyOrders)
		if m := h.one(b, notice.RunPaused); m.About != agent.Run || m.Project != h.project.ID || !strings.Contains(fmt.Sprint(m.Facts), "shop3 thing 3") {
			t.Errorf("%+v", m)
		}
	})
	t.Run("something else than was asked", func(t *testing.T) {
		h, b := told(t, file(t))
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		h.link(agent)
		h.seller.create = func(c create) (app.Resource, error) {
			r, err := c.work()
			r.Complete = &app.Complete{AccessConfiguration: map[string]string{"DOMAIN": "superseal.cc"}}
			return r, err
		}
		plan := h.planned(agent, domain("superseal.club"))
		_, err := do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		refused(t, err, purser.DomainMismatch)
		if m := h.one(b, notice.ProviderMismatch); !strings.Contains(fmt.Sprint(m.Facts), "superseal.cc") {
			t.Errorf("%+v", m)
		}
	})
	t.Run("a run that fails on and on", func(t *testing.T) {
		h, b := told(t, file(t))
		_, agent := h.run(9000)
		h.seller.create = func(create) (app.Resource, error) { return app.Resource{}, purser.Errorf(purser.ProviderFailure, "no") }
		for range 6 {
			_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("a.club")).ID})
		}
		m := h.one(b, notice.RunPaused)
		if m.About != agent.Run || m.Subject != "A run is held back: the same order failed 3 times in a row within an hour; the run is paused" {
			t.Errorf("%+v", m)
		}
	})
	t.Run("the first of two signatures", func(t *testing.T) {
		h, b := told(t, file(t))
		other, signer := h.person("per_01jdother0000000000000000v", purser.Approver)
		in := purser.SetTwoPeople{Above: usd(100)}
		in.Act = h.sign("set_two_people", in)
		must[purser.TwoPeople](h, h.owner, "set_two_people", in)
		_, agent := h.run(2000, func(in *purser.CreateRun) { in.Expires = "48h" })
		plan := must[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		if got := h.approve(plan.ID); got.State != purser.PlanWaiting {
			t.Fatalf("after one signature it is %s", got.State)
		}
		h.send()
		got := b.of(notice.SecondSignature)
		// To the one who can sign next, and not to her who did.
		if len(got) != 1 || got[0].Address == "ada@example.org" || !strings.Contains(fmt.Sprint(got[0].Facts), "Ada") || got[0].About != plan.ID {
			t.Errorf("%+v", got)
		}
		h.later(22*time.Hour + time.Minute) // of the 24 that a request waits
		h.tick()
		h.send()
		if got := b.of(notice.ApprovalReminder); len(got) != 1 || got[0].Address == "ada@example.org" {
			t.Errorf("reminded: %+v", got)
		}
		act := h.as(other, signer, func() *purser.Signature { return h.sign("approve", purser.Approve{Plan: plan.ID}) })
		if p := must[purser.Plan](h, other, "approve", purser.Approve{Plan: plan.ID, Act: act}); p.State != purser.PlanReady {
			t.Errorf("after two it is %s", p.State)
		}
	})
	t.Run("a person who left", func(t *testing.T) {
		h, b := told(t, file(t))
		h.person("per_01jdother0000000000000000v", purser.Approver)
		h.sql("UPDATE people SET removed_at = 1 WHERE id = $1", "per_01jdother0000000000000000v")
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"})
		h.one(b, notice.Stopped)
	})
	t.Run("a passphrase that is guessed at", func(t *testing.T) {
		h, b := told(t, file(t))
		for range 12 {
			_, _ = do[purser.SignedIn](h, purser.Actor{Source: "192.0.2.8"}, "sign_in", purser.SignIn{Email: "ada@example.org", Act: &purser.Signature{Nonce: "guess"}})
			h.later(20 * time.Second) // slowly, so that no address is refused
			h.tick()
		}
		if m := h.one(b, notice.SignInLockout); !strings.Contains(m.Subject, "your address") {
			t.Errorf("%+v", m)
		}
	})
	t.Run("many failed sign-ins", func(t *testing.T) {
		h, b := told(t, file(t))
		standing(h)
		for range 15 {
			_, _ = h.o.Authenticate(h.ctx, "pur_per_"+strings.Repeat("a", 52), "192.0.2.7")
		}
		h.later(time.Minute)
		h.tick()
		h.send()
		got := b.of(notice.SignInLockout)
		if len(got) != 1 || got[0].About != "192.0.2.7" || got[0].Address != "ada@example.org" {
			t.Errorf("%+v", got)
		}
	})
}

// A threshold is told in the turn that crosses it, once in a window, whoever else
// spends at the same time and however often the use goes up and down.
func TestAThresholdIsToldOnceInAWindow(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h, b := told(t, database)
		h.seller.pay = h.rail()
		h.seller.set(func(s *seller) { s.price = 100 })
		_, agent := h.run(10_000)
		h.limit("organization", "", usd(20_000)) // far away: none of its thresholds is reached
		in := purser.SetBudget{Scope: "project", ID: h.project.ID, Limit: usd(500), Thresholds: []int{90, 40, 40}}
		in.Act = h.sign("set_budget", in)
		must[purser.BudgetLine](h, h.owner, "set_budget", in)
		h.link(agent)
		var plans []purser.Plan
		for i := range 5 {
			step := domain(fmt.Sprintf("n%d.club", i))
			step.Meant = true
			plans = append(plans, h.planned(agent, step))
		}
		_, errs := fifty(func(i int) (purser.Plan, error) {
			return do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plans[i%len(plans)].ID})
		})
		for _, err := range errs {
			if err != nil {
				t.Fatal(explain(err))
			}
		}
		h.send()
		var subjects []string
		for _, m := range b.of(notice.BudgetThreshold) {
			if m.About == "project:"+h.project.ID {
				subjects = append(subjects, m.Subject[:3])
			}
		}
		slices.Sort(subjects)
		if strings.Join(subjects, " ") != "40% 90%" {
			t.Errorf("told of %q", subjects)
		}
		h.charged(5, 500)
	})
}

// The same of charges, which cross it in batches.
func TestAThresholdIsToldOnceByCharges(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h, b := told(t, database)
		run, agent := h.run(10_000)
		in := purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(500), Thresholds: []int{90, 40}}
		in.Act = h.sign("set_budget", in)
		must[purser.BudgetLine](h, h.owner, "set_budget", in)
		_, errs := fifty(func(int) (purser.Hold, error) { return do[purser.Hold](h, agent, "charge_usage", usage(9)) })
		for _, err := range errs {
			if err != nil {
				t.Fatal(explain(err))
			}
		}
		h.send()
		var subjects []string
		for _, m := range b.of(notice.BudgetThreshold) {
			if m.About == "run:"+run.ID {
				subjects = append(subjects, m.Subject[:3])
			}
		}
		slices.Sort(subjects)
		if strings.Join(subjects, " ") != "40% 90%" {
			t.Errorf("told of %q", subjects)
		}
	})
}

// A limit that is set below what was used reaches thresholds too, and no spend ever passes
// them: the highest is told, once a limit.
func TestALimitTellsWhatItFindsUsed(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	run, agent := h.run(2000)
	must[purser.Hold](h, agent, "charge_usage", usage(900))
	for _, cents := range []int64{1900, 1000, 1000, 800} { // 47, 90, 90 and 112 percent of it
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(cents)})
	}
	h.send()
	var subjects []string
	for _, m := range b.of(notice.BudgetThreshold) {
		if m.About == "run:"+run.ID {
			subjects = append(subjects, m.Subject[:4])
		}
	}
	slices.Sort(subjects)
	if strings.Join(subjects, " ") != "100% 80% " {
		t.Errorf("told of %q", subjects)
	}
}

// An agent may lower its limit a cent at a time, and buries nothing under what that tells.
func TestAnAgentThatLowersItsLimitTellsOnce(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	_, agent := h.run(2000)
	must[purser.Hold](h, agent, "charge_usage", usage(900))
	for cents := int64(1125); cents > 1120; cents-- { // 80 percent of it
		must[purser.BudgetLine](h, agent, "set_budget", purser.SetBudget{Scope: "run", Limit: usd(cents)})
	}
	h.send()
	if m := h.one(b, notice.BudgetThreshold); !strings.HasPrefix(m.Subject, "80% ") {
		t.Errorf("told of %q", m.Subject)
	}
}

// Whoever is told how much is used is told until when, of spends without a plan too.
func TestAThresholdOfAChargeSaysWhenItsBudgetBeginsAnew(t *testing.T) {
	t.Parallel()
	h, b := told(t, aDB(t))
	h.limit("organization", "", usd(1000))
	_, agent := h.run(2000)
	must[purser.Hold](h, agent, "charge_usage", usage(500))
	m := h.one(b, notice.BudgetThreshold)
	next := time.Now().UTC().AddDate(0, 1, 1-time.Now().UTC().Day()).Format("2006-01-02")
	if !slices.ContainsFunc(m.Facts, func(f notice.Fact) bool { return f.Name == "Begins anew" && strings.HasPrefix(f.Value, next) }) {
		t.Errorf("%+v", m.Facts)
	}
}

func TestARefusedThresholdIsNamed(t *testing.T) {
	t.Parallel()
	h := lite(t)
	for _, bad := range [][]int{{0}, {101}, {-5}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {}} {
		_, err := do[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "project", ID: h.project.ID, Limit: usd(0), Thresholds: bad})
		refused(t, err, purser.InvalidRequest)
	}
}

// What was not decided is not told, and what was decided is: a crash at the commit
// leaves both or neither.
func TestANoticeIsThereIfAndOnlyIfWhatItTellsIs(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h, _ := told(t, database)
		_, agent := h.run(2000)
		armed := false
		h.watch(func(_ int64, statement string) error {
			if strings.Contains(statement, "INSERT INTO notices") {
				armed = true
			}
			if armed && statement == "COMMIT" {
				armed = false
				return errors.New("the connection is gone")
			}
			return nil
		})
		_, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club")}})
		if err == nil {
			t.Fatal("the plan was made without its commit")
		}
		h.watch(nil)
		if plans, notices := h.ask("SELECT COUNT(*) FROM plans"), h.ask("SELECT COUNT(*) FROM notices"); plans != 0 || notices != 0 {
			t.Errorf("%d plans and %d notices of them", plans, notices)
		}
	})
}

func TestPeopleChooseWhatTheyAreTold(t *testing.T) {
	t.Parallel()
	h, mail := told(t, aDB(t))
	hook := &box{}
	h.mail[notice.Webhook] = hook
	viewer, _ := h.person("per_01jdviewer000000000000000v", purser.Viewer)
	stop := func() {
		h.resume(must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "project", ID: h.project.ID, Reason: "enough"}))
		h.send()
	}
	to := func(kind notice.Kind) (out []string) {
		for _, m := range mail.of(kind) {
			out = append(out, m.Address)
		}
		slices.Sort(out)
		return out
	}
	stop()
	if got := to(notice.Stopped); len(got) != 1 || len(hook.of(notice.Stopped)) != 1 {
		t.Errorf("without a choice: %v, webhook %d", got, len(hook.of(notice.Stopped)))
	}
	// A viewer who asks is told; an owner who does not want to know is told of that once.
	must[purser.Notices](h, viewer, "set_notices", purser.SetNotices{Kinds: []string{"stopped"}, Ways: []string{"mail"}})
	must[purser.Notices](h, h.owner, "set_notices", purser.SetNotices{Ways: []string{}})
	must[purser.Notices](h, h.owner, "set_notices", purser.SetNotices{Who: "organization", Kinds: []string{"stopped"}, Ways: []string{}})
	stop()
	if got := to(notice.Stopped); len(got) != 2 || got[1] == got[0] || len(hook.of(notice.Stopped)) != 1 {
		t.Errorf("after the choices: %v, webhook %d", got, len(hook.of(notice.Stopped)))
	}
	if got := to(notice.ChoicesChanged); len(got) != 4 { // each their own, and both the organization's
		t.Errorf("told of the changes: %v", got)
	}
	if got := to(notice.Resumed); len(got) != 1 {
		t.Errorf("of what they did not choose: %v", got)
	}
	list := must[purser.Notices](h, h.owner, "list_notices", purser.Page{})
	if len(list.Choices) != 2 || strings.Join(list.Ways, " ") != "mail webhook" {
		t.Errorf("%+v %v", list.Choices, list.Ways)
	}
	for name, bad := range map[string]struct {
		by   purser.Actor
		in   purser.SetNotices
		code purser.Code
	}{
		"a kind that is none":          {h.owner, purser.SetNotices{Kinds: []string{"weather"}, Ways: []string{}}, purser.InvalidRequest},
		"a kind that nobody is spared": {h.owner, purser.SetNotices{Kinds: []string{"choices_changed"}, Ways: []string{}}, purser.InvalidRequest},
		"a way that is none":           {h.owner, purser.SetNotices{Ways: []string{"pigeon"}}, purser.InvalidRequest},
		"a way twice":                  {h.owner, purser.SetNotices{Ways: []string{"mail", "mail"}}, purser.InvalidRequest},
		"the webhook for one person":   {h.owner, purser.SetNotices{Ways: []string{"webhook"}}, purser.InvalidRequest},
		"somebody else":                {h.owner, purser.SetNotices{Who: "per_2", Ways: []string{}}, purser.InvalidRequest},
		"a viewer who silences all":    {viewer, purser.SetNotices{Who: "organization", Ways: []string{}}, purser.Forbidden},
	} {
		_, err := do[purser.Notices](h, bad.by, "set_notices", bad.in)
		if purser.CodeOf(err) != bad.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, agent := h.run(2000)
	_, err := do[purser.Notices](h, agent, "set_notices", purser.SetNotices{Ways: []string{}})
	refused(t, err, purser.Forbidden)
	_, err = do[purser.Notices](h, agent, "list_notices", purser.Page{})
	refused(t, err, purser.Forbidden)
}

// SPEND.md section 2: an unknown outcome has an alarm of its age.
func TestWhatStaysUnknownIsToldOnceADay(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h, b := told(t, database)
		_, agent := h.run(3000)
		h.seller.create = func(c create) (app.Resource, error) {
			_, _ = c.work()
			return app.Resource{}, errLost
		}
		h.seller.find = func(func() (app.Resource, bool, error)) (app.Resource, bool, error) {
			return app.Resource{}, false, errLost
		}
		plan := h.planned(agent, domain("superseal.club"))
		_, _ = do[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID})
		order := h.order(plan)
		h.sqlInTurn(fmt.Sprintf("UPDATE orders SET created_at = created_at - %d", 10*24*time.Hour.Microseconds())) // it waited for somebody first
		hold := must[purser.Hold](h, agent, "place_hold", holdOf(300))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: hold.ID})
		h.later(hold.ExpiresAt.Sub(h.now()) + time.Second) // hours
		times := func(days int) {
			t.Helper()
			for range 2 {
				h.tick()
				h.send()
			}
			h.restart()
			h.tick()
			h.send()
			var orders, holds []string
			for _, m := range b.of(notice.OrderUnknown) {
				switch m.About {
				case order.ID:
					orders = append(orders, m.Subject)
				case hold.ID:
					holds = append(holds, m.Subject)
				}
			}
			for _, told := range [][]string{orders, holds} {
				if len(told) != 1+days || !strings.HasPrefix(told[days], []string{"", "After a day still: ", "After 2 days still: "}[days]) {
					t.Errorf("after %d days it was told: %q", days, told)
				}
			}
		}
		times(0)
		h.later(24 * time.Hour)
		times(1)
		h.later(24 * time.Hour)
		times(2)
		turns := h.ask("SELECT turn FROM organizations WHERE id = $1", h.owner.Organization)
		h.tick()
		if more := h.ask("SELECT turn FROM organizations WHERE id = $1", h.owner.Organization); more != turns {
			t.Errorf("what was told takes %d turns more", more-turns)
		}
		in := purser.ResolveHold{Hold: hold.ID}
		in.Act = h.sign("resolve_hold", in)
		must[purser.Hold](h, h.owner, "resolve_hold", in)
		h.later(24 * time.Hour)
		h.tick()
		h.send()
		if last := b.of(notice.OrderUnknown); last[len(last)-1].About != order.ID {
			t.Errorf("what is resolved is told: %+v", last[len(last)-1])
		}
	})
}
