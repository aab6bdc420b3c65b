package office_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/spend"
)

func usage(cents int64) purser.ChargeUsage {
	return purser.ChargeUsage{Provider: "models/large", Category: "models", AmountMinor: cents, Currency: "USD"}
}

func holdOf(cents int64) purser.PlaceHold {
	return purser.PlaceHold{Provider: "models/large", Category: "models", AmountMinor: cents, Currency: "USD"}
}

// platform registers one and gives its actor.
func (h *house) platform() purser.Actor {
	h.t.Helper()
	in := purser.CreatePlatform{Name: "meter"}
	in.Act = h.sign("create_platform", in)
	made := must[purser.PlatformInfo](h, h.owner, "create_platform", in)
	by, err := h.o.Authenticate(h.ctx, made.Token, "test")
	if err != nil {
		h.t.Fatal(err)
	}
	return by
}

// left is what a budget has left, in minor units; -1 where there is none.
func (h *house) left(scope, id string) int64 {
	h.t.Helper()
	for _, b := range must[purser.List[purser.BudgetLine]](h, h.owner, "list_budgets", purser.None{}).Items {
		if b.Scope == scope && b.ID == id {
			return b.Left
		}
	}
	return -1
}

func TestAHoldIsBegunCapturedInPartsAndTheRestGoesBack(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		held := must[purser.Hold](h, agent, "place_hold", holdOf(600))
		if held.State != purser.HoldHeld || held.LeftMinor != 600 || h.left("run", run.ID) != 400 || h.left("provider", "models/large") != 9400 {
			t.Errorf("held: %+v, run has %d left", held, h.left("run", run.ID))
		}
		_, err := do[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 1})
		refused(t, err, purser.InvalidState) // nothing may act on it yet
		begun := must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: held.ID})
		if begun.State != purser.HoldBegun || begun.Seq <= held.Seq {
			t.Errorf("begun: %+v", begun)
		}
		must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 100})
		_, err = do[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 501})
		refused(t, err, purser.InvalidState)
		over := must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 200, Final: true})
		if over.State != purser.HoldCaptured || over.CapturedMinor != 300 || over.LeftMinor != 0 || h.left("run", run.ID) != 700 {
			t.Errorf("over: %+v, run has %d left", over, h.left("run", run.ID))
		}
		_, err = do[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 1})
		refused(t, err, purser.InvalidState)
		if charged := must[purser.Hold](h, agent, "charge_usage", usage(50)); charged.State != purser.HoldCaptured || charged.CapturedMinor != 50 {
			t.Errorf("charged: %+v", charged)
		}
		if h.left("run", run.ID) != 650 {
			t.Errorf("the run has %d left", h.left("run", run.ID))
		}
		h.books()
		h.verify()
	})
}

// RULES 2: who may give money back.
func TestMoneyIsGivenBackByThePartyThatCanKnow(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		meter := h.platform()
		placed := holdOf(300)
		placed.Run = run.ID
		held := must[purser.Hold](h, meter, "place_hold", placed)
		must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: held.ID})
		must[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 300})

		_, err := do[purser.Hold](h, agent, "refund_hold", purser.RefundHold{Hold: held.ID, AmountMinor: 1})
		refused(t, err, purser.Forbidden)
		_, err = do[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: held.ID, AmountMinor: 301})
		refused(t, err, purser.InvalidState)
		must[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: held.ID, AmountMinor: 200})
		_, err = do[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: held.ID, AmountMinor: 101})
		refused(t, err, purser.InvalidState)
		if h.left("run", run.ID) != 900 {
			t.Errorf("the run has %d left", h.left("run", run.ID))
		}
		// What an agent captured itself nobody gives back; each is told what to do instead.
		used := must[purser.Hold](h, agent, "charge_usage", purser.ChargeUsage{Provider: "models", AmountMinor: 100, Currency: "USD"})
		for _, by := range []purser.Actor{agent, h.owner, meter} {
			_, err := do[purser.Hold](h, by, "refund_hold", purser.RefundHold{Hold: used.ID, AmountMinor: 1})
			if no := refused(t, err, purser.Forbidden); by.Kind != purser.Platform && !strings.Contains(no.Hint, "purser budget set") {
				t.Errorf("a %s is told %q", by.Kind, no.Hint)
			}
		}
		h.limit("run", run.ID, usd(1100))
		if h.left("run", run.ID) != 900 {
			t.Errorf("the run has %d left", h.left("run", run.ID))
		}

		own := must[purser.Hold](h, agent, "place_hold", holdOf(100))
		_, err = do[purser.Hold](h, meter, "release_hold", purser.HoldRef{Hold: own.ID})
		refused(t, err, purser.Forbidden)
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: own.ID})
		_, err = do[purser.Hold](h, agent, "release_hold", purser.HoldRef{Hold: own.ID})
		refused(t, err, purser.Forbidden) // what it costs may still come
		_, err = do[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: own.ID, Final: true})
		refused(t, err, purser.Forbidden) // the same in other words
		_, err = do[purser.Hold](h, h.owner, "resolve_hold", purser.ResolveHold{Hold: own.ID})
		refused(t, err, purser.NeedsPerson)
		in := purser.ResolveHold{Hold: own.ID}
		in.Act = h.sign("resolve_hold", in)
		if out := must[purser.Hold](h, h.owner, "resolve_hold", in); out.State != purser.HoldReleased {
			t.Errorf("resolved: %+v", out)
		}
		unbegun := must[purser.Hold](h, agent, "place_hold", holdOf(100))
		if out := must[purser.Hold](h, agent, "release_hold", purser.HoldRef{Hold: unbegun.ID}); out.State != purser.HoldReleased {
			t.Errorf("released: %+v", out)
		}
		_, err = do[purser.Hold](h, h.owner, "charge_usage", usage(1))
		refused(t, err, purser.Forbidden) // a person's token on disk spends nothing
		h.books()
		h.verify()
	})
}

// RULES 2, 7: the hold of an order belongs to its payment token.
func TestAnAgentCannotTouchTheHoldOfAnOrder(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(5000)
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		hold := h.someHold()
		for name, in := range map[string]any{
			"release_hold": purser.HoldRef{Hold: hold}, "begin_hold": purser.BeginHold{Hold: hold}, "capture_hold": purser.CaptureHold{Hold: hold, AmountMinor: 1},
		} {
			_, err := do[purser.Hold](h, agent, name, in)
			refused(t, err, purser.Forbidden)
		}
		h.books()
	})
}

func (h *house) someHold() string {
	h.t.Helper()
	for _, r := range h.records() {
		if id := r.Detail["hold"]; id != "" {
			return id
		}
	}
	h.t.Fatal("no hold was placed")
	return ""
}

func TestARefusalNamesEveryBudgetThatFails(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000, func(in *purser.CreateRun) { in.Labels = []string{"team=search"} })
		for _, b := range []purser.SetBudget{
			{Scope: "label", ID: "team=search", Period: purser.PeriodDay, Limit: usd(200)},
			{Scope: "category", ID: "models", Period: purser.PeriodHour, Limit: usd(150)},
			{Scope: "project", ID: h.project.ID, Period: purser.PeriodWeek, Limit: usd(5000)},
			{Scope: "organization", Period: purser.PeriodTotal, Limit: usd(300)},
		} {
			b.Act = h.sign("set_budget", b)
			must[purser.BudgetLine](h, h.owner, "set_budget", b)
		}
		must[purser.Hold](h, agent, "charge_usage", usage(100))
		_, err := do[purser.Hold](h, agent, "charge_usage", usage(201))
		var failed []string
		for _, b := range refused(t, err, purser.BudgetExceeded).Budgets {
			failed = append(failed, fmt.Sprintf("%s %s %d", b.Scope, b.Period, b.Left))
			if b.Needed != 201 || b.Period != purser.PeriodTotal && (b.ResetsAt == nil || !b.ResetsAt.After(time.Now())) {
				t.Errorf("%+v", b)
			}
		}
		if want := []string{"organization total 200", "category hour 50", "label day 100"}; !slices.Equal(failed, want) {
			t.Errorf("failed: %q, want %q", failed, want)
		}
		// A limit below what is used refuses what is new, and reverses nothing.
		must[purser.BudgetLine](h, h.owner, "set_budget", purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(40)})
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.BudgetExceeded)
		if h.left("run", run.ID) != 0 {
			t.Errorf("the run has %d left", h.left("run", run.ID))
		}
		_, err = do[purser.Hold](h, agent, "charge_usage", purser.ChargeUsage{Provider: "models/large", AmountMinor: 1, Currency: "EUR"})
		refused(t, err, purser.CurrencyNotBudgeted)
		h.limit("run", run.ID, purser.Money{Amount: 100, Currency: "EUR"}) // as the hint says
		must[purser.Hold](h, agent, "charge_usage", purser.ChargeUsage{Provider: "models/large", AmountMinor: 1, Currency: "EUR"})
		h.books()
		h.verify()
	})
}

// RULES 10: one decision a key, whoever asks at the same time; a replay says so.
func TestOneKeyIsOneDecision(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		agent.Key = "one"
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids, fresh := map[string]int{}, 0
		for range 64 {
			wg.Go(func() {
				out := must[purser.Hold](h, agent, "charge_usage", usage(10))
				mu.Lock()
				defer mu.Unlock()
				ids[out.ID]++
				if !out.Replay {
					fresh++
				}
			})
		}
		wg.Wait()
		if len(ids) != 1 || fresh != 1 || h.left("run", run.ID) != 990 {
			t.Errorf("%d decisions, %d of them fresh, %d left", len(ids), fresh, h.left("run", run.ID))
		}
		_, err := do[purser.Hold](h, agent, "charge_usage", usage(11))
		refused(t, err, purser.KeyReused)
		_, err = do[purser.Hold](h, agent, "place_hold", holdOf(10))
		refused(t, err, purser.KeyReused)

		agent.Key = "two"
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(991))
		refused(t, err, purser.BudgetExceeded)
		in := purser.SetBudget{Scope: "run", ID: run.ID, Limit: usd(5000)}
		in.Act = h.sign("set_budget", in)
		must[purser.BudgetLine](h, h.owner, "set_budget", in)
		_, err = do[purser.Hold](h, agent, "charge_usage", usage(991))
		refused(t, err, purser.BudgetExceeded) // decided for good under its key
		h.restart()
		agent.Key = "one"
		if out := must[purser.Hold](h, agent, "charge_usage", usage(10)); !out.Replay || ids[out.ID] != 64 {
			t.Errorf("after a restart: %+v", out)
		}
		h.books()
	})
}

// RULES 10: the first answer comes again, whatever became of the hold since.
func TestAReplayTellsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(1000)
		meter := h.platform()
		placing, charging := meter, meter
		placing.Key, charging.Key = "placing", "charging"
		place, charge := holdOf(300), usage(200)
		place.Run, charge.Run = run.ID, run.ID
		held, charged := must[purser.Hold](h, placing, "place_hold", place), must[purser.Hold](h, charging, "charge_usage", charge)
		must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: held.ID})
		must[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 120, Final: true})
		must[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: held.ID, AmountMinor: 20})
		must[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: charged.ID, AmountMinor: 200})
		h.restart()
		again := []purser.Hold{must[purser.Hold](h, placing, "place_hold", place), must[purser.Hold](h, charging, "charge_usage", charge)}
		held.Replay, charged.Replay = true, true
		if d := cmp.Diff([]purser.Hold{held, charged}, again); d != "" {
			t.Error(d)
		}
		h.books()
	})
}

// Keys are not looked for before new spends are decided. One that is there is found
// all the same: beside new ones, with another body, and where the decision would be one
// that no key keeps.
func TestAKeyThatNobodyLookedForIsFound(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		h.wide(agent)
		keyed := func(key string) purser.Actor {
			by := agent
			by.Key = key
			return by
		}
		charges := func() (n int) { // on record; a stop goes on to record what it ends
			for _, r := range h.records() {
				if r.Action == string(spend.Charge) {
					n++
				}
			}
			return n
		}
		first := must[purser.Hold](h, keyed("one"), "charge_usage", usage(10))
		before := charges()

		h.restart() // it has seen no replay yet
		var again, other purser.Hold
		var reused error
		h.gathered(func() { must[purser.Hold](h, agent, "charge_usage", usage(1)) }, nil,
			func() { again = must[purser.Hold](h, keyed("one"), "charge_usage", usage(10)) },
			func() { _, reused = do[purser.Hold](h, keyed("one"), "charge_usage", usage(11)) },
			func() { other = must[purser.Hold](h, keyed("two"), "charge_usage", usage(20)) },
		)
		refused(t, reused, purser.KeyReused)
		if !again.Replay || again.ID != first.ID || other.Replay || h.left("run", run.ID) != 1000-1-10-1-20 {
			t.Errorf("again: %+v, other: %+v, %d left", again, other, h.left("run", run.ID))
		}
		if n := charges(); n != before+3 {
			t.Errorf("%d charges more are on record, want the two that are new and the refusal", n-before)
		}

		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		before = charges()
		h.restart()
		again = must[purser.Hold](h, keyed("one"), "charge_usage", usage(10))
		if !again.Replay || again.ID != first.ID || again.Epoch <= first.Epoch {
			t.Errorf("after a stop: %+v", again)
		}
		if n := charges(); n != before {
			t.Errorf("a replay left %d charges on record", n-before)
		}
		h.books()
		h.verify()
	})
}

// Two servers that have not looked for a key get it at once: one decision. Of another
// principal it is another key.
func TestAKeyThatNobodyLookedForIsOneDecisionAtTwoOffices(t *testing.T) {
	t.Parallel()
	h := open(t, postgres.Open(t))
	run, agent := h.run(1000)
	h.wide(agent)
	meter := h.platform()
	offices := []*house{h, h.twin()}
	for i := range 10 {
		agent.Key = fmt.Sprintf("at-both-%d", i)
		var outs [2]purser.Hold
		var wg sync.WaitGroup
		for n, at := range offices {
			wg.Go(func() { outs[n] = must[purser.Hold](at, agent, "charge_usage", usage(10)) })
		}
		wg.Wait()
		if outs[0].ID != outs[1].ID || outs[0].Replay == outs[1].Replay {
			t.Errorf("round %d: %+v and %+v", i, outs[0], outs[1])
		}
		other, in := meter, usage(1)
		other.Key, in.Run = agent.Key, run.ID
		if out := must[purser.Hold](h, other, "charge_usage", in); out.Replay || out.ID == outs[0].ID {
			t.Errorf("round %d: another principal got %+v", i, out)
		}
	}
	if left := h.left("run", run.ID); left != 1000-1-10*11 {
		t.Errorf("%d left", left)
	}
	h.books()
	h.verify()
}

// T3: many callers at a limit; never above it, and what fits is not refused.
func TestAHotLimitIsNeverPassed(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(5000)
		var spent, refusals atomic.Int64
		var wg sync.WaitGroup
		for n := range int64(256) {
			wg.Go(func() {
				for amount := 1 + n%37; amount > 0; amount /= 2 { // at last 1, which fits until nothing is left
					_, err := do[purser.Hold](h, agent, "charge_usage", usage(amount))
					switch {
					case err == nil:
						spent.Add(amount)
					case purser.CodeOf(err) == purser.BudgetExceeded:
						refusals.Add(1)
					default:
						t.Error(explain(err))
					}
				}
			})
		}
		wg.Wait()
		if left := h.left("run", run.ID); left+spent.Load() != 5000 || refusals.Load() > 0 && left != 0 {
			t.Errorf("spent %d, left %d, refused %d times", spent.Load(), left, refusals.Load())
		}
		if n := h.counted("charge_usage", audit.Accepted) + h.counted("charge_usage", audit.Refused); n < 256 {
			t.Errorf("%d records", n)
		}
		h.books()
		h.verify()
	})
}

// SPEND.md K1, K3, K8: what a stop leaves of a hold.
func TestAStopMakesUnbegunHoldsVoidAndLetsBegunOnesSettle(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, _ := h.run(1000)
		meter := h.platform()
		in := holdOf(100)
		in.Run = run.ID
		waits, begun := must[purser.Hold](h, meter, "place_hold", in), must[purser.Hold](h, meter, "place_hold", in)
		must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: begun.ID})
		stop := must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: run.ID, Reason: "enough"})
		if !slices.ContainsFunc(stop.Open, func(i purser.OpenItem) bool { return i.Hold == begun.ID }) {
			t.Errorf("the begun hold is not listed as open: %+v", stop.Open)
		}
		_, err := do[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: waits.ID})
		refused(t, err, purser.Stopped)
		_, err = do[purser.Hold](h, meter, "place_hold", in)
		refused(t, err, purser.Stopped)
		must[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: begun.ID, AmountMinor: 60})
		h.resume(stop)
		_, err = do[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: waits.ID})
		if e := refused(t, err, purser.Stopped); e.Hint != "place another hold" { // a resume revives nothing, and is not there to be typed again
			t.Errorf("the hint is %q", e.Hint)
		}
		must[purser.Hold](h, meter, "capture_hold", purser.CaptureHold{Hold: begun.ID, Final: true})
		h.tick()
		if left := h.left("run", run.ID); left != 940 {
			t.Errorf("%d left: the void hold was not given back", left)
		}
		h.books()
		h.verify()
	})
}

func TestAHoldExpiresUnlessItsEffectBegan(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		in := holdOf(100)
		in.LifetimeSeconds = 3600
		waits, begun := must[purser.Hold](h, agent, "place_hold", in), must[purser.Hold](h, agent, "place_hold", in)
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: begun.ID})
		if n := h.ask("SELECT COUNT(*) FROM holds WHERE expires_at - created_at = 3600000000"); n != 2 {
			t.Errorf("%d holds expire after their time", n)
		}
		h.sql("UPDATE holds SET expires_at = $1", time.Now().UnixMicro()) // an hour later
		_, err := do[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: waits.ID})
		refused(t, err, purser.InvalidState)
		h.tick()
		open := must[purser.List[purser.Hold]](h, agent, "list_holds", purser.AskHolds{}).Items
		if len(open) != 1 || open[0].ID != begun.ID || open[0].State != purser.HoldUnknown || h.left("run", run.ID) != 900 {
			t.Errorf("open: %+v, left %d", open, h.left("run", run.ID))
		}
		h.tick() // once is enough
		if n := h.counted("expire_hold", audit.Unknown) + h.counted("expire_hold", audit.Accepted); n != 2 {
			t.Errorf("%d records of what expired", n)
		}
		must[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: begun.ID, AmountMinor: 10, Final: true})
		if h.left("run", run.ID) != 990 {
			t.Errorf("%d left", h.left("run", run.ID))
		}
		h.books()
		h.verify()
	})
}

func TestAnOrderWithoutAPlanIsBoundByThresholdAndRepeat(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(10000)
		in := purser.PlaceHold{Provider: "printer", Kind: purser.KindOrder, Target: "100 leaflets", AmountMinor: 900, Currency: "USD"}
		must[purser.Hold](h, agent, "place_hold", in)
		_, err := do[purser.Hold](h, agent, "place_hold", in)
		refused(t, err, purser.LooksLikeDuplicate)
		if want := "purser hold allow-repeat " + run.ID + " --provider printer --order '100 leaflets' --amount \"9.00 USD\""; !strings.Contains(err.(*purser.Error).Hint, want) {
			t.Errorf("the hint is %q, want %q", err.(*purser.Error).Hint, want)
		}
		allow := purser.AllowRepeat{Run: run.ID, Provider: in.Provider, Target: in.Target, AmountMinor: 900, Currency: "USD"}
		_, err = do[purser.Accepted](h, agent, "allow_repeat", allow)
		refused(t, err, purser.SelfApproval)
		allow.Act = h.sign("allow_repeat", allow)
		must[purser.Accepted](h, h.owner, "allow_repeat", allow)
		must[purser.Hold](h, agent, "place_hold", in)
		_, err = do[purser.Hold](h, agent, "place_hold", in)
		refused(t, err, purser.LooksLikeDuplicate) // once
		// One that nobody used in its time takes nothing from the next.
		for range 2 {
			h.sql("UPDATE repeats SET expires_at = 1 WHERE organization = $1", h.owner.Organization)
			allow.Act = nil
			allow.Act = h.sign("allow_repeat", allow)
			must[purser.Accepted](h, h.owner, "allow_repeat", allow)
		}
		must[purser.Hold](h, agent, "place_hold", in)
		_, err = do[purser.Hold](h, agent, "place_hold", in)
		refused(t, err, purser.LooksLikeDuplicate) // once
		// Of a run that there is not nothing is listed as if it had spent nothing.
		_, err = do[purser.Spend](h, h.owner, "spend", purser.AskSpend{Run: "run_nope"})
		refused(t, err, purser.NotFound)
		_, err = do[purser.List[purser.Hold]](h, h.owner, "list_holds", purser.AskHolds{Run: "run_nope"})
		refused(t, err, purser.NotFound)
		if got := must[purser.List[purser.Hold]](h, h.owner, "list_holds", purser.AskHolds{Run: run.ID}).Items; len(got) != 3 {
			t.Errorf("the run has %d holds, want 3", len(got))
		}
		in.Target, in.AmountMinor = "1000 leaflets", 1001
		_, err = do[purser.Hold](h, agent, "place_hold", in)
		refused(t, err, purser.NeedsApproval)
		h.books()
		h.verify()
	})
}

// What a person meant is the order that was shown, from whom it was bought: it pays nobody
// else, and waits for that one.
func TestARepeatIsMeantAtItsProviderOnly(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(20_000)
		order := func(provider, target string) error {
			t.Helper()
			_, err := do[purser.Hold](h, agent, "place_hold", purser.PlaceHold{
				Provider: provider, Kind: purser.KindOrder, Target: target, AmountMinor: 900, Currency: "USD",
			})
			return err
		}
		for _, o := range []struct{ provider, target string }{{"printer", "leaflets"}, {"shop-1", "1"}, {"shop-2", "2"}, {"shop-2", "3"}, {"shop-2", "4"}} {
			if err := order(o.provider, o.target); err != nil {
				t.Fatal(explain(err))
			}
		}
		refused(t, order("printer", "leaflets"), purser.LooksLikeDuplicate)
		allow := purser.AllowRepeat{Run: run.ID, Provider: "printer", Target: "leaflets", AmountMinor: 900, Currency: "USD"}
		act := h.sign("allow_repeat", allow)
		elsewhere := allow
		elsewhere.Provider, elsewhere.Act = "evil", act
		if _, err := do[purser.Accepted](h, h.owner, "allow_repeat", elsewhere); err == nil {
			t.Error("a signature for one provider is taken for another")
		}
		allow.Act = h.sign("allow_repeat", allow)
		must[purser.Accepted](h, h.owner, "allow_repeat", allow)
		if n := h.ask("SELECT count(*) FROM repeats WHERE provider = 'printer'"); n != 1 {
			t.Errorf("%d repeats are allowed at the printer, want 1", n)
		}
		refused(t, order("evil", "leaflets"), purser.LooksLikeDuplicate)
		refused(t, order("shop-2", "leaflets"), purser.LooksLikeDuplicate) // known is not the same
		if err := order("printer", "leaflets"); err != nil {               // the sixth of the hour
			t.Errorf("what a person meant: %s", explain(err))
		}
		refused(t, order("printer", "leaflets"), purser.LooksLikeDuplicate) // once
		// One of before, which names no provider, fits none.
		h.sql("UPDATE repeats SET provider = '', hold = '' WHERE organization = $1", h.owner.Organization)
		refused(t, order("printer", "leaflets"), purser.LooksLikeDuplicate)
		// Whoever wants the other one, a fourth that is new, signs for that one.
		allow.Provider, allow.Act = "evil", nil
		allow.Act = h.sign("allow_repeat", allow)
		must[purser.Accepted](h, h.owner, "allow_repeat", allow)
		if err := order("evil", "leaflets"); err != nil {
			t.Errorf("a person signed for it: %s", explain(err))
		}
		h.books()
		h.verify()
	})
}

// Promise 4: a threshold says nothing of another currency, so a person is asked.
func TestAnOrderInAnotherCurrencyThanTheThresholdNeedsAPerson(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		h.limit("run", run.ID, purser.Money{Amount: 100000, Currency: "KWD"})
		in := purser.PlaceHold{Provider: "printer", Kind: purser.KindOrder, Target: "100 leaflets", AmountMinor: 1, Currency: "KWD"}
		_, err := do[purser.Hold](h, agent, "place_hold", in)
		refused(t, err, purser.NeedsApproval)
		in.Kind, in.Target = purser.KindUsage, ""
		must[purser.Hold](h, agent, "place_hold", in)
	})
}

// The door takes a credential from memory for a short time; the turn does not.
func TestARevokedTokenSpendsNothing(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(1000)
		meter := h.platform()
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		must[purser.AgentInfo](h, h.owner, "revoke_agent", purser.AgentRef{Agent: agent.ID})
		_, err := do[purser.Hold](h, agent, "charge_usage", usage(1))
		refused(t, err, purser.RunEnded) // with its agent
		must[purser.PlatformInfo](h, h.owner, "revoke_platform", purser.PlatformRef{Platform: meter.ID})
		run, _ := h.run(1000)
		in := usage(1)
		in.Run = run.ID
		_, err = do[purser.Hold](h, meter, "charge_usage", in)
		refused(t, err, purser.NotSignedIn)
	})
}

// Names cost nothing: only who spends somewhere leaves a limit there.
func TestARefusedSpendLeavesNoDefaultLimit(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(1000)
		for i := range 5 {
			in := usage(5000)
			in.Provider = fmt.Sprintf("made-up-%d", i)
			_, err := do[purser.Hold](h, agent, "charge_usage", in)
			refused(t, err, purser.BudgetExceeded)
		}
		budgets := func() int64 { return h.ask("SELECT COUNT(*) FROM budgets WHERE scope = 'provider'") }
		if n := budgets(); n != 0 {
			t.Errorf("%d limits of providers that nobody paid", n)
		}
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		if n := budgets(); n != 1 || h.counted("default_budget", "accepted") != 1 {
			t.Errorf("%d limits after two charges at one provider", n)
		}
		h.books()
		h.verify()
	})
}

// What can be no name and no amount is refused before its turn, which is everybody's:
// no record takes it, and the batch would fail with it (RULES 20).
func TestWhatNoRecordCanSayIsRefusedBeforeItsTurn(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		_, agent := h.run(100_000)
		meter := h.platform()
		held := must[purser.Hold](h, agent, "place_hold", holdOf(10))
		must[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: held.ID})
		for _, name := range []string{strings.Repeat("x", 300<<10), "a\x00b", "\xff", "a b"} {
			in := holdOf(1)
			in.Run = name
			_, err := do[purser.Hold](h, agent, "place_hold", in)
			refused(t, err, purser.InvalidRequest)
			_, err = do[purser.Hold](h, agent, "begin_hold", purser.BeginHold{Hold: name})
			refused(t, err, purser.InvalidRequest)
			_, err = do[purser.Hold](h, agent, "release_hold", purser.HoldRef{Hold: name})
			refused(t, err, purser.InvalidRequest)
			_, err = do[purser.Hold](h, meter, "refund_hold", purser.RefundHold{Hold: name, AmountMinor: 1})
			refused(t, err, purser.InvalidRequest)
			want := purser.InvalidRequest
			if name == "a b" { // a text, but no name
				want = purser.NotFound
			}
			_, err = do[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: name, Reason: "enough"})
			refused(t, err, want)
			_, err = do[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: name, ID: "x", Reason: "enough"})
			refused(t, err, want)
		}
		_, err := do[purser.Hold](h, agent, "capture_hold", purser.CaptureHold{Hold: held.ID, AmountMinor: 1 << 60})
		refused(t, err, purser.InvalidRequest)
		_, err = do[purser.Hold](h, agent, "refund_hold", purser.RefundHold{Hold: held.ID, AmountMinor: 1 << 60})
		refused(t, err, purser.InvalidRequest)
		limit := purser.SetBudget{Scope: "organization", Limit: purser.Money{Amount: 1 << 60, Currency: "USD"}}
		_, err = do[purser.BudgetLine](h, h.owner, "set_budget", limit)
		refused(t, err, purser.InvalidRequest)
		limit = purser.SetBudget{Scope: "organization", ID: "org_other", Limit: usd(1)}
		_, err = do[purser.BudgetLine](h, h.owner, "set_budget", limit)
		refused(t, err, purser.NotFound)
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		h.books()
		h.verify()
	})
}

// What is no hold is refused before it is made one, whatever its numbers wrap around to.
func TestWhatIsNoHoldOrRepeatIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	run, agent := h.run(1000)
	for _, seconds := range []int64{-1, 30*24*3600 + 1, 18446744075, 1<<63 - 1} {
		in := holdOf(100)
		in.LifetimeSeconds = seconds
		_, err := do[purser.Hold](h, agent, "place_hold", in)
		refused(t, err, purser.InvalidRequest)
	}
	for _, in := range []purser.AllowRepeat{
		{Run: run.ID, Provider: "printer", Target: "100\nleaflets", AmountMinor: 100, Currency: "USD"},
		{Run: run.ID, Provider: "printer", Target: "", AmountMinor: 100, Currency: "USD"},
		{Run: run.ID, Provider: "printer", Target: "leaflets", AmountMinor: 0, Currency: "USD"},
		{Run: run.ID, Provider: "printer", Target: "leaflets", AmountMinor: 100, Currency: "dollars"},
		{Run: run.ID, Provider: "printer", Target: strings.Repeat("x", 201), AmountMinor: 100, Currency: "USD"},
		{Run: run.ID, Target: "leaflets", AmountMinor: 100, Currency: "USD"},
		{Run: run.ID, Provider: "a printer", Target: "leaflets", AmountMinor: 100, Currency: "USD"},
	} {
		_, err := do[purser.Accepted](h, h.owner, "allow_repeat", in)
		refused(t, err, purser.InvalidRequest)
	}
}

func TestAListOfHoldsComesInPages(t *testing.T) {
	h := open(t, aDB(t))
	_, agent := h.run(1000)
	for range 3 {
		must[purser.Hold](h, agent, "place_hold", purser.PlaceHold{Provider: "printer", AmountMinor: 1, Currency: "USD"})
	}
	first := must[purser.List[purser.Hold]](h, h.owner, "list_holds", purser.AskHolds{Page: purser.Page{Limit: 2}})
	rest := must[purser.List[purser.Hold]](h, h.owner, "list_holds", purser.AskHolds{Page: purser.Page{Cursor: first.NextCursor}})
	if len(first.Items) != 2 || len(rest.Items) != 1 {
		t.Errorf("%d holds, then %d", len(first.Items), len(rest.Items))
	}
}

// A platform is named to revoke it, so of a name there is one that lives.
func TestTwoPlatformsThatLiveHaveTwoNames(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		create := func(name, key string) (purser.PlatformInfo, error) {
			in := purser.CreatePlatform{Name: name}
			in.Act = h.sign("create_platform", in)
			by := h.owner
			by.Key = key
			return do[purser.PlatformInfo](h, by, "create_platform", in)
		}
		first, err := create("gateway", "k1")
		if err != nil {
			t.Fatal(err)
		}
		if again, err := create("gateway", "k1"); err != nil || again.ID != first.ID {
			t.Errorf("the same key: %+v, %v", again, err)
		}
		_, err = create("gateway", "k2")
		refused(t, err, purser.AlreadyExists)
		if _, err = create("gateway-2", "k3"); err != nil {
			t.Errorf("another name: %v", explain(err))
		}
		must[purser.PlatformInfo](h, h.owner, "revoke_platform", purser.PlatformRef{Platform: first.ID})
		second, err := create("gateway", "k2")
		if err != nil || second.ID == first.ID {
			t.Errorf("the name of one that was revoked: %+v, %v", second, err)
		}
		_, err = create("gateway", "k4")
		refused(t, err, purser.AlreadyExists)
	})
}
