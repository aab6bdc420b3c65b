package office_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/store"
)

// gathered makes one batch of several calls: a first one is held at its turn until
// all others wait behind it. It returns when all were answered.
func (h *house) gathered(first func(), fault func(tx int64, statement string) error, others ...func()) {
	h.t.Helper()
	at, on := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(on) })
	defer goOn() // a failed test must not leave a turn that waits for ever
	var once sync.Once
	var held atomic.Int64
	h.watch(func(tx int64, statement string) error {
		if takesTurn.MatchString(statement) {
			once.Do(func() {
				held.Store(tx)
				close(at)
				<-on
			})
		}
		if fault == nil || tx == held.Load() {
			return nil
		}
		return fault(tx, statement)
	})
	var wg sync.WaitGroup
	wg.Go(first)
	<-at
	before := h.o.Waiting(h.owner.Organization)
	for _, f := range others {
		wg.Go(f)
	}
	h.eventually("all wait", func() bool { return h.o.Waiting(h.owner.Organization) == before+len(others) })
	goOn()
	wg.Wait()
	h.watch(nil)
}

// wide lets much be spent at the one provider: its first limit is for the careful.
func (h *house) wide(agent purser.Actor) {
	h.t.Helper()
	must[purser.Hold](h, agent, "charge_usage", usage(1))
	h.limit("provider", "models/large", usd(100_000_000))
}

var errCut = errors.New("the connection was cut")

// breaker fails a batch once, at one of its statements.
type breaker struct {
	mu         sync.Mutex
	at         int // 1 is the first
	n          int
	tx         int64
	statements []string
	done       bool
}

func (b *breaker) trace(tx int64, statement string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done || b.tx != 0 && tx != b.tx {
		return nil
	}
	if b.tx == 0 && !takesTurn.MatchString(statement) {
		return nil
	}
	b.tx = tx
	b.statements = append(b.statements, statement)
	if b.n++; b.n == b.at {
		b.done = true
		return fmt.Errorf("%w at %.40s", errCut, statement)
	}
	return nil
}

// faulty is one round: holds in each state, then a batch in which each kind of
// statement is, with one fault in it, and the same keys again.
func (h *house) faulty(run purser.Run, meter purser.Actor, round int, b *breaker) {
	h.t.Helper()
	spends := func(cents int64) purser.PlaceHold {
		in := holdOf(cents)
		in.Run = run.ID
		return in
	}
	place := func() purser.Hold { return must[purser.Hold](h, meter, "place_hold", spends(10)) }
	begin := func(hold purser.Hold) purser.Hold {
		return must[purser.Hold](h, meter, "begin_hold", purser.BeginHold{Hold: hold.ID})
	}
	h1, h2, h3 := place(), begin(place()), place()
	fresh := spends(3)
	fresh.Provider = fmt.Sprintf("new-%d", round)
	calls := []struct {
		name string
		in   any
	}{
		{"place_hold", spends(5)},
		{"place_hold", fresh},
		{"charge_usage", purser.ChargeUsage{Run: run.ID, Provider: "models/large", Category: "models", AmountMinor: 7, Currency: "USD"}},
		{"begin_hold", purser.BeginHold{Hold: h1.ID}},
		{"capture_hold", purser.CaptureHold{Hold: h2.ID, AmountMinor: 4, Final: true}},
		{"release_hold", purser.HoldRef{Hold: h3.ID}},
	}
	left := h.left("run", run.ID)
	outs, errs := make([]purser.Hold, len(calls)), make([]error, len(calls))
	keyed := func(i int) purser.Actor {
		by := meter
		by.Key = fmt.Sprintf("round-%d-%d", round, i)
		return by
	}
	var all []func()
	for i, c := range calls {
		all = append(all, func() { outs[i], errs[i] = do[purser.Hold](h, keyed(i), c.name, c.in) })
	}
	h.gathered(func() {
		must[purser.Hold](h, meter, "charge_usage", purser.ChargeUsage{Run: run.ID, Provider: "models/large", AmountMinor: 1, Currency: "USD"})
	},
		b.trace, all...)
	lost := len(b.statements) >= b.at && b.statements[b.at-1] == store.Committed
	for i, err := range errs {
		switch {
		case lost && (err != nil || !outs[i].Replay):
			h.t.Errorf("round %d: the answer to the commit was lost, and call %d got %+v, %v", round, i, outs[i], explainOrNil(err))
		case !lost && b.done && purser.CodeOf(err) != purser.Unavailable:
			h.t.Errorf("round %d: nothing was done, and call %d got %+v, %v", round, i, outs[i], explainOrNil(err))
		case !b.done && err != nil:
			h.t.Errorf("round %d: call %d: %v", round, i, explain(err))
		}
	}
	if !lost && b.done && h.left("run", run.ID) != left-1 {
		h.t.Errorf("round %d: %d left of %d after a batch that failed", round, h.left("run", run.ID), left)
	}
	for i, c := range calls {
		out, err := do[purser.Hold](h, keyed(i), c.name, c.in)
		if err != nil || out.Replay != (lost || !b.done) || outs[i].ID != "" && out.ID != outs[i].ID {
			h.t.Errorf("round %d: call %d again: %+v, %v; it was %+v", round, i, out, explainOrNil(err), outs[i])
		}
	}
	// 1 and 5, 3, 7 went; of 10 4 stay, so 6 come back; 10 come back.
	if now := h.left("run", run.ID); now != left-1-5-3-7+6+10 {
		h.t.Errorf("round %d: %d left, %d before: something was decided twice or not at all", round, now, left)
	}
}

// Each statement of a batch fails once, not done; and the commit once, done with its
// answer lost. Nothing acknowledged is lost, nothing is decided twice.
func TestABatchThatFailsAnywhereIsDecidedOnce(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(100_000)
		meter := h.platform()
		h.wide(agent)
		count := &breaker{at: 1 << 20}
		h.faulty(run, meter, 0, count)
		if n := len(count.statements); n < 15 || count.statements[n-1] != store.Committed || count.statements[n-2] != store.Commit {
			t.Fatalf("a batch of %d statements: %q", n, count.statements)
		}
		for at := 1; at <= len(count.statements); at++ {
			h.faulty(run, meter, at, &breaker{at: at})
		}
	})
}

// RULES 20: what the database refuses for one row's sake, fails that row's caller.
func TestOneBadRowFailsItsCallerOnly(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		if strings.HasPrefix(database, "postgres") {
			h.mustSQL(t, "ALTER TABLE holds ADD CONSTRAINT unlucky CHECK (amount <> 13)")
		} else {
			h.mustSQL(t, "CREATE TRIGGER unlucky BEFORE INSERT ON holds WHEN NEW.amount = 13 BEGIN SELECT RAISE(ABORT, 'unlucky'); END")
		}
		errs := make([]error, 9)
		var calls []func()
		for i := range errs {
			calls = append(calls, func() {
				cents := int64(10)
				if i == 4 {
					cents = 13
				}
				_, errs[i] = do[purser.Hold](h, agent, "charge_usage", usage(cents))
			})
		}
		h.gathered(func() { must[purser.Hold](h, agent, "charge_usage", usage(1)) }, nil, calls...)
		for i, err := range errs {
			if (err != nil) != (i == 4) {
				t.Errorf("call %d: %v", i, explainOrNil(err))
			}
		}
		if left := h.left("run", run.ID); left != 1000-1-80 {
			t.Errorf("%d left", left)
		}
		must[purser.Hold](h, agent, "charge_usage", usage(10)) // and it goes on
	})
}

// A full queue decides nothing and says when to come back; who floods it waits
// behind himself.
func TestAFullQueueDecidesNothingAndStarvesNobody(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	flood, flooder := h.run(1_000_000)
	_, other := h.run(1000)
	h.wide(flooder)
	const more = 50
	var taken, refusals, wrong atomic.Int64
	var calls []func()
	for range office.LaneMost {
		calls = append(calls, func() {
			if _, err := do[purser.Hold](h, flooder, "charge_usage", usage(1)); err == nil {
				taken.Add(1)
			} else {
				wrong.Add(1)
			}
		})
	}
	var seq int64
	calls = append(calls, func() { seq = must[purser.Hold](h, other, "charge_usage", usage(1)).Seq })
	var first purser.Hold
	full := func(int64, string) error { return nil }
	h.gathered(func() { first = must[purser.Hold](h, flooder, "charge_usage", usage(1)) }, full, append(calls, func() {
		// One of those who wait is of the other run.
		h.eventually("the lane is full", func() bool { return h.o.Waiting(h.owner.Organization) > office.LaneMost })
		for range more {
			_, err := do[purser.Hold](h, flooder, "charge_usage", usage(1))
			var e *purser.Error
			if errors.As(err, &e) && e.Code == purser.Overloaded && e.RetryAfter > 0 {
				refusals.Add(1)
			}
		}
		must[purser.Hold](h, other, "charge_usage", usage(1))
	})...)
	if taken.Load() != office.LaneMost || refusals.Load() != more || wrong.Load() != 0 {
		t.Errorf("%d taken, %d told to come back, %d otherwise", taken.Load(), refusals.Load(), wrong.Load())
	}
	if seq == 0 || seq > first.Seq+3 {
		t.Errorf("the other run was decided at %d, the flood began at %d", seq, first.Seq)
	}
	if left := h.left("run", flood.ID); left != 1_000_000-office.LaneMost-2 {
		t.Errorf("%d left of the flooding run", left)
	}
	if n := h.counted("charge_usage", audit.Accepted); n != office.LaneMost+4 {
		t.Errorf("%d decisions on record", n)
	}
}

// What may wait of all runs together has an end too. Beyond it nothing is decided, and
// a stop goes before all of it (SPEND.md K9).
func TestAFullQueueOfManyRunsDecidesNothingAndLetsAStopPass(t *testing.T) {
	t.Parallel()
	h := open(t, sqlite(t))
	var runs []purser.Actor
	for range office.QueueMost/office.LaneMost + 2 {
		_, agent := h.run(1_000_000)
		runs = append(runs, agent)
	}
	first, late, runs := runs[0], runs[1], runs[2:]
	h.wide(first)
	taken, on := make(chan struct{}), make(chan struct{})
	goOn, take := sync.OnceFunc(func() { close(on) }), sync.OnceFunc(func() { close(taken); <-on })
	defer goOn()
	h.watch(func(_ int64, statement string) error {
		if takesTurn.MatchString(statement) {
			take()
		}
		return nil
	})
	var wg sync.WaitGroup
	var underWay error
	wg.Go(func() { _, underWay = do[purser.Hold](h, first, "charge_usage", usage(1)) })
	<-taken
	var accepted, stopped atomic.Int64
	for _, agent := range runs {
		for range office.LaneMost {
			wg.Go(func() {
				switch _, err := do[purser.Hold](h, agent, "charge_usage", usage(1)); {
				case err == nil:
					accepted.Add(1)
				case purser.CodeOf(err) == purser.Stopped:
					stopped.Add(1)
				}
			})
		}
	}
	h.eventually("the queue is full", func() bool { return h.o.Waiting(h.owner.Organization) == office.QueueMost })
	late.Key = "late"
	var told atomic.Int64
	for range 3 {
		wg.Go(func() {
			var e *purser.Error
			if _, err := do[purser.Hold](h, late, "charge_usage", usage(1)); errors.As(err, &e) && e.Code == purser.Overloaded && e.RetryAfter > 0 {
				told.Add(1)
			}
		})
	}
	h.eventually("more are told to come back", func() bool { return told.Load() == 3 })
	if n := h.o.Waiting(h.owner.Organization); n != office.QueueMost {
		t.Errorf("%d wait", n)
	}
	var stop purser.StopInfo
	wg.Go(func() {
		stop = must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: purser.ScopeOrganization, Reason: "enough"})
	})
	h.eventually("the stop is on its way", func() bool {
		_, err := do[purser.Hold](h, late, "charge_usage", usage(1))
		return purser.CodeOf(err) == purser.Stopped // latched, before anything waits
	})
	goOn()
	wg.Wait()
	if accepted.Load() != 0 || stopped.Load() != office.QueueMost {
		t.Errorf("%d accepted after the stop, %d stopped", accepted.Load(), stopped.Load())
	}
	refused(t, underWay, purser.Stopped) // it had its turn, and was not decided yet
	for _, r := range h.records() {
		if r.Action == "charge_usage" && r.Seq < stop.Seq && r.Run != first.Run {
			t.Errorf("the stop is record %d, behind %d of what waited", stop.Seq, r.Seq)
		}
		if r.IdempotencyKey == "late" {
			t.Errorf("record %d is of what was not decided", r.Seq)
		}
	}
	h.watch(nil)
	h.books()
}

// wire stands between the office and PostgreSQL: it counts questions of the batches'
// connections, and can cut one after the server did what was asked.
type pgWire struct {
	url   string
	syncs atomic.Int64
	cut   atomic.Bool // the next answer that comes on a batch's connection is lost
	cuts  atomic.Int64
}

func newWire(t *testing.T, database string) *pgWire {
	t.Helper()
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgNetwork(cfg.Host, cfg.Port)
	dir, err := os.MkdirTemp("", "wire") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
		_ = os.RemoveAll(dir)
	})
	w := &pgWire{}
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("host", dir)
	q.Set("port", "5432")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = "", q.Encode()
	w.url = u.String()
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			wg.Go(func() { w.carry(client, server) })
		}
	})
	return w
}

func pgNetwork(host string, port uint16) (network, address string) {
	if strings.HasPrefix(host, "/") {
		return "unix", filepath.Join(host, fmt.Sprintf(".s.PGSQL.%d", port))
	}
	return "tcp", net.JoinHostPort(host, fmt.Sprint(port))
}

// carry carries one connection: a start-up message, then messages of a letter and a
// length (PostgreSQL's protocol 3.0).
func (w *pgWire) carry(client, server net.Conn) {
	defer client.Close()
	defer server.Close()
	batch, gone := false, make(chan struct{})
	started := make(chan struct{})
	go func() {
		defer close(gone)
		defer server.Close()
		header := make([]byte, 5)
		if _, err := io.ReadFull(client, header[:4]); err != nil {
			return
		}
		start := make([]byte, binary.BigEndian.Uint32(header[:4])-4)
		if _, err := io.ReadFull(client, start); err != nil {
			return
		}
		batch = strings.Contains(string(start), "enable_seqscan")
		close(started)
		if _, err := server.Write(append(slices.Clone(header[:4]), start...)); err != nil {
			return
		}
		for {
			if _, err := io.ReadFull(client, header); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
			if _, err := io.ReadFull(client, body); err != nil {
				return
			}
			if batch && header[0] == 'S' {
				w.syncs.Add(1)
			}
			if _, err := server.Write(append(slices.Clone(header), body...)); err != nil {
				return
			}
		}
	}()
	answer := make([]byte, 64<<10)
	for {
		n, err := server.Read(answer)
		if err != nil {
			break
		}
		<-started
		if batch && w.cut.CompareAndSwap(true, false) {
			w.cuts.Add(1)
			break
		}
		if _, err := client.Write(answer[:n]); err != nil {
			break
		}
	}
	_ = client.Close()
	_ = server.Close()
	<-gone
}

// SPEND.md 4: any number of charges is two questions.
func TestABatchAsksPostgresTwice(t *testing.T) {
	t.Parallel()
	w := newWire(t, postgres.Open(t))
	h := open(t, w.url)
	run, agent := h.run(100_000)
	for _, n := range []int{1, 4, 60} {
		var calls []func()
		for range n {
			calls = append(calls, func() { must[purser.Hold](h, agent, "charge_usage", usage(1)) })
		}
		one := func() { must[purser.Hold](h, agent, "charge_usage", usage(1)) }
		for range 3 { // statements are prepared when they are first sent
			h.gathered(one, nil, calls...)
		}
		before := w.syncs.Load()
		h.gathered(one, nil, calls...)
		if asked := w.syncs.Load() - before; asked != 4 {
			t.Errorf("a charge alone and %d more in a batch asked %d times, want 2 and 2", n, asked)
		}
	}
	if h.left("run", run.ID) != 100_000-4*(3+65) {
		t.Errorf("%d left", h.left("run", run.ID))
	}
}

// The connection breaks under a commit: once before PostgreSQL got it, once after
// it was done.
func TestACommitWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	t.Parallel()
	w := newWire(t, postgres.Open(t))
	h := open(t, w.url)
	run, agent := h.run(1000)
	for range 2 { // what is prepared first is no commit
		must[purser.Hold](h, agent, "charge_usage", usage(1))
	}
	for name, cut := range map[string]func(){
		"done": func() { w.cut.Store(true) },
		"not done": func() {
			h.mustSQL(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
		},
	} {
		left := h.left("run", run.ID)
		var once sync.Once
		h.watch(func(_ int64, statement string) error {
			if statement == store.Commit {
				once.Do(cut)
			}
			return nil
		})
		by := agent
		by.Key = "cut-" + strings.ReplaceAll(name, " ", "-")
		out, err := do[purser.Hold](h, by, "charge_usage", usage(10))
		h.watch(nil)
		if err != nil || out.Replay != (name == "done") {
			t.Errorf("%s: %+v, %v", name, out, explainOrNil(err))
		}
		again, err := do[purser.Hold](h, by, "charge_usage", usage(10))
		if err != nil || !again.Replay || again.ID != out.ID || h.left("run", run.ID) != left-10 {
			t.Errorf("%s: again %+v, %v; %d left of %d", name, again, explainOrNil(err), h.left("run", run.ID), left)
		}
	}
	if w.cuts.Load() != 1 {
		t.Errorf("%d connections were cut", w.cuts.Load())
	}
}

// The answer to a commit is lost and the database stays away: nobody knows, and so
// nobody is told that nothing was decided. The key tells when it is back.
func TestALostCommitBeforeAnOutageIsUnknown(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(1000)
		must[purser.Hold](h, agent, "charge_usage", usage(1))
		var away atomic.Bool
		h.watch(func(_ int64, statement string) error {
			if statement == store.Committed {
				away.Store(true)
			}
			if away.Load() {
				return errCut
			}
			return nil
		})
		by := agent
		by.Key = "lost"
		_, err := do[purser.Hold](h, by, "charge_usage", usage(10))
		refused(t, err, purser.OutcomeUnknown)
		h.watch(nil)
		if out := must[purser.Hold](h, by, "charge_usage", usage(10)); !out.Replay {
			t.Errorf("it is decided again: %+v", out)
		}
		if left := h.left("run", run.ID); left != 1000-1-10 {
			t.Errorf("%d left", left)
		}
	})
}

// T4: one decision a key, whoever asks, with how many bodies.
func TestManyCallersOfManyKeysAreDecidedOnceEach(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(10_000_000)
		h.wide(agent)
		keys := fewer(8, 24, 1000)
		var spent int64
		for n := range keys {
			by := agent
			by.Key = fmt.Sprintf("the-same-%d", n)
			outs, errs := make([]purser.Hold, 64), make([]error, 64)
			var wg sync.WaitGroup
			asked := func(i int) int64 {
				if n%2 == 1 && i%3 == 0 {
					return 11 // another body under the same key
				}
				return 10
			}
			for i := range outs {
				wg.Go(func() { outs[i], errs[i] = h.charged1(by, asked(i)) })
			}
			wg.Wait()
			decided, fresh := purser.Hold{}, 0
			for i, out := range outs {
				switch {
				case errs[i] != nil && n%2 == 1 && purser.CodeOf(errs[i]) == purser.KeyReused:
				case errs[i] != nil:
					t.Errorf("key %d: %v", n, explain(errs[i]))
				default:
					if !out.Replay {
						fresh++
					}
					out.Replay, out.Epoch = false, 0
					if decided.ID == "" {
						decided = out
					}
					if out != decided || out.AmountMinor != asked(i) {
						t.Errorf("key %d: %+v and %+v, asked for %d", n, out, decided, asked(i))
					}
				}
			}
			if fresh != 1 {
				t.Errorf("key %d: %d decisions", n, fresh)
			}
			spent += decided.AmountMinor
		}
		if left := h.left("run", run.ID); left != 10_000_000-spent-1 {
			t.Errorf("%d left, %d spent", left, spent)
		}
		if n := h.counted("charge_usage", audit.Accepted); n != keys+1 {
			t.Errorf("%d accepted on record for %d keys", n, keys)
		}
	})
}

func (h *house) charged1(by purser.Actor, cents int64) (purser.Hold, error) {
	out, err := h.ops["charge_usage"].Do(context.WithoutCancel(h.ctx), by, usage(cents))
	if err != nil {
		return purser.Hold{}, err
	}
	return out.(purser.Hold), nil
}

// T3 and T6, both offices at work: many callers at a limit through two offices with
// pools of their own. Never above it, and what fits is not refused.
func TestTwoOfficesNeverPassAHotLimit(t *testing.T) {
	t.Parallel()
	h := open(t, postgres.Open(t))
	twin := h.twin()
	limit := int64(fewer(4_000, 20_000, 20_000))
	run, agent := h.run(limit)
	h.wide(agent)
	var spent [2]atomic.Int64
	var wg sync.WaitGroup
	for n := range int64(128) {
		at := []*house{h, twin}[n%2]
		wg.Go(func() {
			for i := int64(0); ; {
				amount := max(1, (1+n*7%61)>>i) // at last 1, until that does not fit
				_, err := do[purser.Hold](at, agent, "charge_usage", usage(amount))
				switch {
				case err == nil:
					spent[n%2].Add(amount)
				case purser.CodeOf(err) != purser.BudgetExceeded:
					t.Error(explain(err))
					return
				case amount == 1:
					return
				default:
					i++
				}
			}
		})
	}
	wg.Wait()
	all := 1 + spent[0].Load() + spent[1].Load()
	if left := h.left("run", run.ID); all != limit || left != 0 {
		t.Errorf("spent %d, left %d", all, left)
	}
	if spent[0].Load() == 0 || spent[1].Load() == 0 {
		t.Errorf("the offices accepted %d and %d: one had no part in it", spent[0].Load(), spent[1].Load())
	}
	t.Logf("accepted %d and %d", spent[0].Load(), spent[1].Load())
	h.books()
	h.verify()
}

// SPEND.md 4, the plan guard: after many rows each statement of a batch still finds
// its rows by an index. The plans are those that a connection of the batches keeps.
func TestABatchFindsItsRowsByIndex(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 300,000 rows: run without -short")
	}
	t.Parallel()
	h := open(t, postgres.Open(t))
	run, agent := h.run(1_000_000)
	meter := h.platform()
	h.wide(agent)
	count := &breaker{at: 1 << 20}
	h.faulty(run, meter, 0, count)
	var orders []string
	h.watch(func(_ int64, statement string) error {
		orders = append(orders, statement)
		return nil
	})
	order := purser.PlaceHold{Provider: "models/large", Kind: purser.KindOrder, Target: "a thing", AmountMinor: 1, Currency: "USD"}
	must[purser.Hold](h, agent, "place_hold", order)
	again := agent
	again.Key = "the-same"
	must[purser.Hold](h, again, "charge_usage", usage(1))
	must[purser.Hold](h, again, "charge_usage", usage(1))
	h.watch(nil)
	cfg, err := pgx.ParseConfig(h.db)
	if err != nil {
		t.Fatal(err)
	}
	for _, scan := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material", "enable_memoize"} { // as store.openPostgres does
		cfg.RuntimeParams[scan] = "off"
	}
	cfg.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	conn, err := pgx.ConnectConfig(h.ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(h.ctx))
	var statements []string
	for _, s := range append(count.statements, orders...) {
		if s != store.Commit && s != store.Committed && !slices.Contains(statements, s) {
			statements = append(statements, s)
		}
	}
	if len(statements) < 15 {
		t.Errorf("%d statements were looked at", len(statements))
	}
	byIndex := func(when string) {
		t.Helper()
		for i, statement := range statements {
			plan := explained(t, conn, when, i, statement)
			for _, bad := range []string{"Seq Scan on", "Hash Join", "Merge Join", "Bitmap Heap Scan on keys", "Filter: (key "} {
				// Of stops there are few at any time, and of an organization all are asked for.
				if strings.Contains(plan, bad) && !strings.Contains(plan, "Seq Scan on stops") {
					t.Errorf("with %s %.100s has a %s:\n%s", when, statement, bad, plan)
				}
			}
		}
	}
	byIndex("few rows") // which a connection keeps when there are many
	org := h.owner.Organization
	h.touched = true
	for _, fill := range []string{
		"SET session_replication_role = replica", // no foreign keys are looked up
		`INSERT INTO holds (organization, id, principal, run, project, provider, currency, amount, captured, state, epoch, expires_at, windows, seq, created_at)
			SELECT '` + org + `', 'hld_' || i, 'agt_' || i % 50, 'run_' || i % 50, 'prj', 'local', 'USD', 1, 1, 'captured', 0, 0, '[]', 1000 + i, 0 FROM generate_series(1, 100000) i`,
		"INSERT INTO keys (organization, principal, key, request_hash, answer, at) SELECT '" + org + "', 'agt_' || i % 50, 'key-' || i, '', '', 0 FROM generate_series(1, 100000) i",
		"INSERT INTO tokens (organization, id, hash, kind, principal, created_at, expires_at) SELECT '" + org + "', 'tok_' || i, 'hash-' || i, 'agent', 'agt_' || i, 0, 0 FROM generate_series(1, 20000) i",
		"INSERT INTO budgets (organization, scope, target, period, currency, limit_minor) SELECT '" + org + "', 'label', 'l=' || i, 'month', 'USD', 1 FROM generate_series(1, 20000) i",
		"INSERT INTO windows (organization, scope, target, currency, name, guard_ceiling) SELECT '" + org + "', 'label', 'l=' || i, 'USD', '2026-01', 1 FROM generate_series(1, 50000) i",
		"ANALYZE",
	} {
		if _, err := conn.Exec(h.ctx, fill); err != nil {
			t.Fatalf("%.100s: %v", fill, err)
		}
	}
	if plan := explained(t, conn, "no index", 0, "SELECT 1 FROM keys WHERE request_hash = $1"); !strings.Contains(plan, "Seq Scan on keys") {
		t.Errorf("a look-up that has no index is planned as\n%s", plan)
	}
	byIndex("many rows")
}

// explained is the plan of a statement whatever its arguments are.
func explained(t testing.TB, conn *pgx.Conn, when string, n int, statement string) string {
	t.Helper()
	name := fmt.Sprintf("%s %d", when, n)
	if _, err := conn.Prepare(t.Context(), name, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	args := parameters(statement)
	execute := "EXPLAIN EXECUTE " + pgx.Identifier{name}.Sanitize()
	if args > 0 {
		execute += "(" + strings.TrimSuffix(strings.Repeat("NULL,", args), ",") + ")"
	}
	rows, err := conn.Query(t.Context(), execute, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatalf("%s: %v", execute, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", execute, err)
	}
	return strings.Join(lines, "\n")
}

// failing breaks each statement in which a word stands, whenever it is asked.
func failing(word string) func(int64, string) error {
	return func(_ int64, statement string) error {
		if strings.Contains(statement, word) {
			return fmt.Errorf("%w at %s", errCut, word)
		}
		return nil
	}
}

// A stop of an agent covers the charges of its runs. While a run cannot be read nothing is
// charged, and nothing is refused for good.
func TestARunThatCannotBeReadLetsNoChargeThroughAStop(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	pay := h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	plan := h.planned(agent, domain("superseal.club"))
	h.seller.pay = func(ctx context.Context, token, order string, amount int64) error {
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "agent", ID: agent.ID, Reason: "enough"})
		h.sql("UPDATE holds SET epoch = epoch + 99 WHERE amount > captured") // as if it had begun under the stop
		h.watch(failing("name: Run :one"))
		if err := pay(ctx, token, order, amount); err == nil || purser.CodeOf(err) == purser.Stopped {
			t.Errorf("with the run out of reach the charge is answered %v", explainOrNil(err))
		}
		h.watch(nil)
		if err := pay(ctx, token, order, amount); purser.CodeOf(err) != purser.Stopped {
			t.Errorf("under a stop the charge is answered %v", explainOrNil(err))
		}
		h.sql("UPDATE holds SET epoch = epoch - 99 WHERE epoch >= 99")
		return pay(ctx, token, order, amount) // it began before
	}
	if done, err := do[purser.Plan](h, h.owner, "apply", purser.Apply{Plan: plan.ID}); err != nil || done.State != purser.PlanDone {
		t.Errorf("the plan is %s, %v", done.State, explainOrNil(err))
	}
	h.charged(1, 1200)
}

// The provider no longer knows the token, and the database does not say whether there is
// another one: neither is a no to the order.
func TestATokenThatTheDatabaseDoesNotRenewDecidesNothing(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	h.seller.pay = h.rail()
	_, agent := h.run(2000)
	h.link(agent)
	h.sql(`UPDATE providers SET manifest = REPLACE(manifest, '"resources:find"', '"resources:find","resources:rotate_credentials"')`)
	unknown := purser.Errorf(purser.ProviderFailure, "who is it?")
	unknown.Provider = &purser.ProviderSaid{Code: "invalid_token", Status: 401}
	var stale atomic.Bool
	h.seller.create = func(c create) (app.Resource, error) {
		if stale.Load() {
			return app.Resource{}, unknown
		}
		return c.work()
	}
	plan := h.planned(agent, domain("superseal.club"))
	stale.Store(true)
	h.watch(failing("name: ClaimRenewal"))
	_, _ = h.ops["apply"].Do(h.ctx, agent, purser.Apply{Plan: plan.ID, Wait: 1})
	if order := h.shown(plan.ID).Orders[0]; order.State != purser.OrderBuying || order.Held.Amount != 1200 {
		t.Errorf("the order is %s and holds %s", order.State, order.Held)
	}
	h.sql("UPDATE resources SET rotating = 'rot_1'")
	h.seller.rotate = func() error { return unknown }
	_ = h.o.Recover(h.ctx)
	if h.ask("SELECT COUNT(*) FROM resources WHERE rotating = 'rot_1'") != 1 || h.counted("rotated", audit.Failed) != 0 {
		t.Error("the rotation is given up")
	}
	h.watch(nil)
	stale.Store(false)
	h.seller.rotate = nil
	h.endLeases()
	if done := must[purser.Plan](h, agent, "apply", purser.Apply{Plan: plan.ID}); done.State != purser.PlanDone {
		t.Errorf("once the database answers, the plan is %s", done.State)
	}
	if err := h.o.Recover(h.ctx); err != nil || h.ask("SELECT COUNT(*) FROM resources WHERE rotating = ''") != 2 {
		t.Errorf("the rotation did not go on: %v", err)
	}
}

// What a plan says of an account is read, and no guess: neither that it must be linked
// again, nor that its provider does not bill by itself.
func TestAnAccountThatCannotBeReadMakesNoPlan(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(2000)
	h.link(agent)
	steps := purser.MakePlan{Steps: []purser.StepRequest{domain("superseal.club"), {Service: "local/hosting:static", Name: "second"}}}
	h.sql("UPDATE connections SET state = 'expired'")
	h.watch(failing("name: RenewConnection"))
	if plan, err := do[purser.Plan](h, agent, "plan", steps); err == nil {
		t.Errorf("an account that could not be renewed makes a plan that links another: %+v", plan.Terms.Steps)
	}
	h.watch(nil)
	h.sql("UPDATE connections SET state = 'active'")
	h.seller.set(func(s *seller) {
		s.quote = func(*app.Quote) { h.mustSQL(t, "ALTER TABLE connections RENAME TO away") }
	})
	if plan, err := do[purser.Plan](h, agent, "plan", steps); err == nil {
		t.Errorf("who bills could not be read, and yet there is a plan: %+v", plan.Terms.Steps)
	}
	h.mustSQL(t, "ALTER TABLE away RENAME TO connections")
}

// A run whose providers cannot be read may not buy from all.
func TestARunWhoseProvidersCannotBeReadBuysNothing(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t))
	_, agent := h.run(2000)
	h.link(agent)
	plan := h.planned(agent, domain("superseal.club"))
	h.sql(`UPDATE runs SET providers = '["other'`)
	if _, err := do[purser.Plan](h, agent, "plan", purser.MakePlan{Steps: []purser.StepRequest{domain("another.club")}}); err == nil {
		t.Error("it is planned")
	}
	_, _ = h.ops["apply"].Do(h.ctx, agent, purser.Apply{Plan: plan.ID, Wait: 1})
	if n := len(h.shown(plan.ID).Orders); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// parameters counts those of a statement.
func parameters(statement string) (n int) {
	for strings.Contains(statement, fmt.Sprintf("$%d", n+1)) {
		n++
	}
	return n + strings.Count(statement, "?") // as SQLite gets those of many rows
}
