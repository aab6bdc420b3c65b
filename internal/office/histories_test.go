package office_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/spend"
	"github.com/purser-dev/purser/internal/spend/spendtest"
)

// call is one call of a history, and reply what came back.
type call struct {
	op    string // place, charge, begin, capture, release, stop, resume
	key   string
	run   int // of two, in one project
	cents int64
	hold  string
	final bool
}

type reply struct {
	code             purser.Code
	hold, state      string
	amount, captured int64
	left             int64
	replay           bool
}

// Limits of the little world: the project's is below the sum of the two runs'.
var (
	runLimits    = [2]int64{1700, 900}
	projectLimit = int64(2000)
)

// little is a sequential model as small as it can be: what two runs and their
// project used, what became of each hold, which keys were used. It never changes; a
// step makes another.
type little struct {
	used    [2]int64
	stopped bool
	holds   map[string]littleHold
	keys    map[string]littleKept
}

type littleHold struct {
	run                    int
	amount, captured, left int64
	state                  string
	void                   bool // a stop came after it was placed or begun
}

type littleKept struct {
	in  call
	out reply
}

// step says what must come back. The name of a new hold is not the model's to know.
func (l little) step(in call, newHold string) (reply, little) {
	switch in.op {
	case "stop", "resume":
		l.stopped = in.op == "stop"
		if l.stopped {
			l.holds = maps.Clone(l.holds)
			for id, h := range l.holds {
				h.void = true
				l.holds[id] = h
			}
		}
		return reply{}, l
	}
	if kept, ok := l.keys[in.key]; ok && in.key != "" {
		if kept.in != in {
			return reply{code: purser.KeyReused}, l
		}
		kept.out.replay = kept.out.code == "" // a refusal does not say so
		return kept.out, l
	}
	out, next := l.fresh(in, newHold)
	if in.key != "" && out.code != purser.Stopped && out.code != purser.NotFound {
		next.keys = maps.Clone(next.keys)
		next.keys[in.key] = littleKept{in, out}
	}
	return out, next
}

func (l little) fresh(in call, newHold string) (reply, little) {
	id, h := in.hold, l.holds[in.hold]
	no := func(code purser.Code) (reply, little) { return reply{code: code}, l }
	switch in.op {
	case "place", "charge":
		id, h = newHold, littleHold{run: in.run, amount: in.cents, left: in.cents, state: "held"}
		switch {
		case l.stopped:
			return no(purser.Stopped)
		case l.used[in.run]+in.cents > runLimits[in.run] || l.used[0]+l.used[1]+in.cents > projectLimit:
			return no(purser.BudgetExceeded)
		}
		l.used[in.run] += in.cents
		if in.op == "charge" {
			h.captured, h.left, h.state = in.cents, 0, "captured"
		}
	case "begin":
		switch {
		case h.state == "":
			return no(purser.NotFound)
		case h.void:
			return no(purser.Stopped)
		case h.state != "held":
			return no(purser.InvalidState)
		}
		h.state = "begun"
	case "capture":
		switch {
		case h.state == "":
			return no(purser.NotFound)
		case h.state == "held" && h.void:
			return no(purser.Stopped)
		case h.state != "begun" || in.cents > h.left:
			return no(purser.InvalidState)
		}
		h.captured, h.left = h.captured+in.cents, h.left-in.cents
		if in.final || h.left == 0 {
			l.used[h.run] -= h.left
			h.left, h.state = 0, "captured"
			if h.captured == 0 {
				h.state = "released"
			}
		}
	case "release", "void":
		switch {
		case h.state == "":
			return no(purser.NotFound)
		case h.state != "held" && h.state != "begun":
			return no(purser.InvalidState)
		}
		l.used[h.run] -= h.left
		h.left, h.state = 0, "released"
		if h.captured > 0 {
			h.state = "captured"
		}
	}
	l.holds = maps.Clone(l.holds)
	l.holds[id] = h
	return reply{hold: id, state: h.state, amount: h.amount, captured: h.captured, left: h.left}, l
}

func newLittle() little {
	return little{holds: map[string]littleHold{}, keys: map[string]littleKept{}}
}

// judge is porcupine's, an independent one: does any order of the calls, in which none
// comes before one that had returned when it was sent, give these answers?
var judge = porcupine.Model{
	Init: func() any { return newLittle() },
	Step: func(state, input, output any) (bool, any) {
		got := output.(reply)
		want, next := state.(little).step(input.(call), got.hold)
		return got == want, next
	},
	Equal: func(a, b any) bool {
		x, y := a.(little), b.(little)
		return x.used == y.used && x.stopped == y.stopped && maps.Equal(x.holds, y.holds) && maps.Equal(x.keys, y.keys)
	},
}

// event is a call of a history, with the moments at which it was sent and returned.
type event struct {
	client     int
	in         call
	out        reply
	seq        int64 // of its record; 0: a replay
	sent, back int64
}

// teller is who answers calls: an office, or an engine in memory.
type teller interface {
	tell(client int, in call) (reply, int64)
}

// history lets clients make calls at once.
func history(to teller, seed uint64, clients, calls int, next func(r *rand.Rand, n int, holds []string, sent []call) call) []event {
	var mu sync.Mutex
	var moment int64
	var events []event
	var holds []string
	var sent []call
	now := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		moment++
		return moment
	}
	var wg sync.WaitGroup
	for client := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for n := range calls {
				mu.Lock()
				in := next(r, n, slices.Clone(holds[max(0, len(holds)-12):]), slices.Clone(sent[max(0, len(sent)-20):]))
				if in.key == "" {
					in.key = fmt.Sprintf("call-%d-%d-%d", seed, client, n)
				}
				mu.Unlock()
				e := event{client: client, in: in, sent: now()}
				e.out, e.seq = to.tell(client, in)
				e.back = now()
				mu.Lock()
				events = append(events, e)
				if in.op == "place" && e.out.code == "" {
					holds = append(holds, e.out.hold)
				}
				if in.op != "stop" && in.op != "resume" {
					sent = append(sent, in)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return events
}

var cents = []int64{29, 57, 58, 100, 150, 199}

// money are calls about money: holds and their lives, charges, keys that come again.
func money(r *rand.Rand, _ int, holds []string, sent []call) call {
	some := func() string {
		if len(holds) == 0 {
			return "hld_none"
		}
		return holds[r.IntN(len(holds))]
	}
	switch n := r.IntN(100); {
	case n < 12 && len(sent) > 0:
		return sent[r.IntN(len(sent))]
	case n < 40:
		return call{op: "place", run: r.IntN(2), cents: cents[r.IntN(len(cents))]}
	case n < 58:
		return call{op: "charge", run: r.IntN(2), cents: cents[r.IntN(len(cents))]}
	case n < 75:
		return call{op: "begin", hold: some()}
	case n < 92:
		return call{op: "capture", hold: some(), cents: cents[r.IntN(len(cents))] / 2, final: r.IntN(2) == 0}
	}
	return call{op: "release", hold: some()}
}

// stops are charges between stops and resumes, which one client makes.
func stops(r *rand.Rand, n int, _ []string, sent []call) call {
	switch {
	case r.IntN(10) == 0 && len(sent) > 0:
		return sent[r.IntN(len(sent))]
	case r.IntN(8) == 0 || sent == nil && r.IntN(2) == 0:
		return call{op: []string{"stop", "resume", "resume"}[n%3]}
	}
	return call{op: "charge", run: r.IntN(2), cents: cents[r.IntN(3)]}
}

func linearizable(events []event) porcupine.CheckResult {
	var all []porcupine.Operation
	for _, e := range events {
		all = append(all, porcupine.Operation{ClientId: e.client, Input: e.in, Output: e.out, Call: e.sent, Return: e.back})
	}
	return porcupine.CheckOperationsTimeout(judge, all, 10*time.Minute)
}

// inOrder is the checker for many calls: what returned before another was sent has
// the lower number, and the calls in the order of their numbers give their answers.
func inOrder(events []event, system []event) error {
	bySent, byBack := slices.Clone(events), slices.Clone(events)
	slices.SortFunc(bySent, func(a, b event) int { return cmp.Compare(a.sent, b.sent) })
	slices.SortFunc(byBack, func(a, b event) int { return cmp.Compare(a.back, b.back) })
	highest, at := int64(0), 0
	for _, e := range bySent {
		for at < len(byBack) && byBack[at].back < e.sent {
			highest = max(highest, byBack[at].seq)
			at++
		}
		if e.seq != 0 && e.seq <= highest {
			return fmt.Errorf("%+v has the number %d, and %d had returned before it was sent", e.in, e.seq, highest)
		}
	}
	bySeq := slices.DeleteFunc(append(slices.Clone(events), system...), func(e event) bool { return e.seq == 0 })
	slices.SortFunc(bySeq, func(a, b event) int { return cmp.Compare(a.seq, b.seq) })
	state, answers := newLittle(), map[string][]reply{}
	for i, e := range bySeq {
		if i > 0 && e.seq == bySeq[i-1].seq {
			return fmt.Errorf("%+v and %+v have the number %d", e.in, bySeq[i-1].in, e.seq)
		}
		var want reply
		if want, state = state.step(e.in, e.out.hold); want != e.out && e.in.op != "void" {
			return fmt.Errorf("at %d %+v became %+v; in that order it must be %+v", e.seq, e.in, e.out, want)
		}
		answers[e.in.key] = append(answers[e.in.key], e.out)
	}
	for _, e := range events {
		was := e.out
		was.replay = false
		if e.seq == 0 && e.in.op != "stop" && e.in.op != "resume" && !slices.Contains(answers[e.in.key], was) {
			return fmt.Errorf("%+v again became %+v; it was %+v", e.in, e.out, answers[e.in.key])
		}
	}
	return nil
}

// littleHouse answers calls through offices on one database.
type littleHouse struct {
	*house
	offices []*house
	meter   purser.Actor
	runs    [2]purser.Run

	mu     sync.Mutex
	forced string // the stop in force
}

func openLittle(t *testing.T, database string, offices int) *littleHouse {
	h := open(t, database)
	l := &littleHouse{house: h, offices: []*house{h}, meter: h.platform()}
	for i := range l.runs {
		l.runs[i], _ = h.run(runLimits[i])
	}
	in := purser.SetBudget{Scope: purser.ScopeProject, ID: h.project.ID, Period: purser.PeriodTotal, Limit: usd(projectLimit)}
	in.Act = h.sign("set_budget", in)
	must[purser.BudgetLine](h, h.owner, "set_budget", in)
	for range offices - 1 {
		l.offices = append(l.offices, h.twin())
	}
	return l
}

func (l *littleHouse) tell(client int, in call) (reply, int64) {
	h := l.offices[client%len(l.offices)]
	by := l.meter
	by.Key = in.key
	var request any
	op := in.op + "_hold"
	switch in.op {
	case "place":
		request = purser.PlaceHold{Run: l.runs[in.run].ID, Provider: "models/large", AmountMinor: in.cents, Currency: "USD"}
	case "charge":
		op = "charge_usage"
		request = purser.ChargeUsage{Run: l.runs[in.run].ID, Provider: "models/large", AmountMinor: in.cents, Currency: "USD"}
	case "begin":
		request = purser.BeginHold{Hold: in.hold}
	case "capture":
		request = purser.CaptureHold{Hold: in.hold, AmountMinor: in.cents, Final: in.final}
	case "release":
		request = purser.HoldRef{Hold: in.hold}
	case "stop", "resume":
		l.stopOrResume(h, in)
		return reply{}, 0
	}
	out, err := do[purser.Hold](h, by, op, request)
	if err != nil {
		code := purser.CodeOf(err)
		if !slices.Contains([]purser.Code{purser.BudgetExceeded, purser.InvalidState, purser.Stopped, purser.NotFound, purser.KeyReused}, code) {
			l.t.Error(explain(err))
		}
		return reply{code: code}, 0
	}
	return reply{hold: out.ID, state: out.State, amount: out.AmountMinor, captured: out.CapturedMinor, left: out.LeftMinor, replay: out.Replay}, out.Seq
}

// stopOrResume makes or lifts the one stop there is.
func (l *littleHouse) stopOrResume(h *house, in call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	by := l.owner
	by.Key = in.key
	switch {
	case in.op == "stop" && l.forced == "":
		l.forced = must[purser.StopInfo](h, by, "stop", purser.Stop{Scope: purser.ScopeProject, ID: l.project.ID, Reason: "a call"}).ID
	case in.op == "resume" && l.forced != "":
		lift := purser.Resume{Stop: l.forced}
		lift.Act = h.sign("resume", lift)
		must[purser.StopInfo](h, by, "resume", lift)
		l.forced = ""
	}
}

// unlatched leaves out what was refused while a stop was on its way: the process that
// is told of a stop refuses at once, and looks up no key, or refuses in a turn that comes
// before the stop's own (SPEND.md K4).
func unlatched(events []event) (out []event) {
	for _, e := range events {
		during := e.out.code == purser.Stopped && slices.ContainsFunc(events, func(s event) bool {
			return s.in.op == "stop" && s.sent < e.back && e.sent < s.back
		})
		if !during {
			out = append(out, e)
		}
	}
	return out
}

// numbered gives calls the numbers of their records. The answer of a refusal has
// none, so where a key came several times its decisions stand by themselves.
func (l *littleHouse) numbered(events []event) (out, system []event) {
	l.t.Helper()
	records, byKey := map[string][]audit.Record{}, map[string][]event{}
	for _, e := range events {
		byKey[e.in.key] = append(byKey[e.in.key], e)
	}
	for _, r := range l.records() {
		switch {
		case strings.HasSuffix(r.Detail["reason"], "is being stopped"): // what unlatched left out
		case r.Action == "void_hold" && r.Outcome == audit.Accepted:
			system = append(system, event{in: call{op: "void", hold: r.Target}, seq: r.Seq})
		case byKey[r.IdempotencyKey] != nil && r.Action != "ask_act":
			records[r.IdempotencyKey] = append(records[r.IdempotencyKey], r)
		}
	}
	for key, all := range byKey {
		for _, e := range all {
			switch n := len(records[key]); {
			case n == 1 && len(all) == 1:
				e.seq = records[key][0].Seq
			case e.out.code != "":
				e.seq = 0
			case e.out.replay:
				e.seq = 0
			}
			out = append(out, e)
		}
		if len(all) > 1 || len(records[key]) > 1 {
			for _, r := range records[key] {
				if r.Outcome == audit.Refused {
					system = append(system, event{in: all[0].in, out: reply{code: purser.Code(r.Policy.Reasons[0])}, seq: r.Seq})
				}
			}
		}
	}
	return out, system
}

// T7: histories of 8 clients at both databases and at two offices on one are as if
// one had come after the other.
func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) (string, int){
		"sqlite":      func(t *testing.T) (string, int) { return sqlite(t), 1 },
		"two offices": func(t *testing.T) (string, int) { return postgres.Open(t), 2 },
	} {
		for kind, next := range map[string]func(*rand.Rand, int, []string, []call) call{"money": money, "stops": stops} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(soak(1, 40)) {
					t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { // each gives its connections back
						url, offices := database(t)
						l := openLittle(t, url, offices)
						events := unlatched(history(l, seed, 8, 12, next))
						if got := linearizable(events); got != porcupine.Ok {
							t.Errorf("porcupine says %s of %d calls: %+v", got, len(events), events)
						}
					})
				}
			})
		}
	}
}

// What one history of many calls shows by its numbers: holds, charges, stops and
// resumes by 64 clients.
func TestNumbersAreTheOrderOfDecisions(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*testing.T) (string, int){
		"sqlite":      func(t *testing.T) (string, int) { return sqlite(t), 1 },
		"two offices": func(t *testing.T) (string, int) { return postgres.Open(t), 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, offices := database(t)
			l := openLittle(t, url, offices)
			events := unlatched(history(l, 1, 64, fewer(15, 40, 1000), func(r *rand.Rand, n int, holds []string, sent []call) call {
				if r.IntN(60) == 0 {
					return stops(r, n, holds, nil)
				}
				return money(r, n, holds, sent)
			}))
			l.carriedOut()
			out, system := l.numbered(events)
			if err := inOrder(out, system); err != nil {
				t.Error(err)
			}
		})
	}
}

// memory answers calls from an engine in memory, with or without a fault.
type memory struct {
	mu sync.Mutex
	e  *spendtest.Engine
}

func newMemory(t *testing.T, fault spendtest.Fault) *memory {
	t.Helper()
	e := spendtest.NewEngine(time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC), time.UTC, 1_000_000)
	e.Fault = fault
	for run, limit := range map[string]int64{"run_3": runLimits[0], "run_2": runLimits[1]} {
		for _, b := range []spend.Budget{
			{Scope: spend.Scope{Scope: purser.ScopeRun, Target: run}, Period: purser.PeriodRun, Currency: "USD", Limit: limit},
			{Scope: spend.Scope{Scope: purser.ScopeProject, Target: "prj_1"}, Period: purser.PeriodTotal, Currency: "USD", Limit: projectLimit},
		} {
			if _, err := e.Do(spendtest.Step{Limit: &b}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &memory{e: e}
}

func (m *memory) tell(_ int, in call) (reply, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := spend.Request{
		Op: spend.Op(in.op + "_hold"), By: spendtest.Platform(0), Run: []string{"run_3", "run_2"}[in.run], Provider: "alpha", Kind: purser.KindUsage,
		Amount: purser.Money{Amount: in.cents, Currency: "USD"}, Lifetime: time.Hour, ID: fmt.Sprintf("hld_%d", m.e.Seq), Hold: in.hold, Part: in.cents, Final: in.final,
		Hash: fmt.Sprint(in),
	}
	r.By.Key = in.key
	switch in.op {
	case "charge":
		r.Op = spend.Charge
	case "stop":
		m.e.Stop(spend.Scope{Scope: purser.ScopeProject, Target: "prj_1"})
		return reply{}, m.e.Seq
	case "resume":
		before := m.e.Seq
		for range m.e.Stops {
			m.e.Resume()
		}
		if m.e.Seq == before { // none was in force
			return reply{}, 0
		}
		return reply{}, m.e.Seq
	}
	outcomes, err := m.e.Decide([]spend.Request{r})
	if err != nil && m.e.Fault == "" {
		panic(err)
	}
	a, seq := spendtest.AnswerOf(outcomes[0]), outcomes[0].Seq
	if outcomes[0].Replay {
		seq = 0
	}
	return reply{a.Code, a.Hold, a.State, a.Amount, a.Captured, a.Left, a.Replay && a.Code == ""}, seq
}

// The checkers find each planted fault, and nothing in the engine without one.
func TestTheCheckersFindPlantedFaults(t *testing.T) {
	t.Parallel()
	kinds := []func(*rand.Rand, int, []string, []call) call{money, stops}
	for _, fault := range append(spendtest.Faults(), "") {
		t.Run("fault "+string(fault), func(t *testing.T) {
			t.Parallel()
			byJudge, byOrder := 0, 0
			for seed := range uint64(3) {
				for _, kind := range kinds {
					if linearizable(history(newMemory(t, fault), seed, 8, 12, kind)) != porcupine.Ok {
						byJudge++
					}
					if err := inOrder(history(newMemory(t, fault), seed, 8, 200, kind), nil); err != nil {
						t.Log(err)
						byOrder++
					}
				}
			}
			if fault != "" && (byJudge == 0 || byOrder == 0) || fault == "" && byJudge+byOrder > 0 {
				t.Errorf("porcupine objects to %d histories, the order of numbers to %d", byJudge, byOrder)
			}
		})
	}
}
