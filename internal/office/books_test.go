package office_test

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store"
)

// Whatever is changed behind the office's back, the walk names it. Each case is one
// row of a house that bought, was refunded and refused.
func TestTheBooksNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, change, want string }{
		{"the amount of a movement", "UPDATE movements SET amount = amount + 1 WHERE organization = $1 AND kind = 'capture'", "its movements say"},
		{"an account of a movement", "UPDATE movements SET debit = 'held' WHERE organization = $1 AND kind = 'capture'", "is posted from"},
		{"a movement that is gone", "DELETE FROM movements WHERE organization = $1 AND kind = 'capture'", "its movements say"},
		{"a movement of a hold that is not there", "UPDATE movements SET hold = 'hld_none' WHERE organization = $1 AND kind = 'hold'", "of hold hld_none, which is not there"},
		{"a movement of a record that is not there", "UPDATE movements SET seq = 100000 WHERE organization = $1 AND kind = 'capture'", "has no record"},
		{"what a hold captured", "UPDATE holds SET captured = captured - 1, released = released + 1 WHERE organization = $1 AND captured > 0", "; its movements say 12.00 USD"},
		{"a closed hold that still holds", "UPDATE holds SET amount = amount + 5 WHERE organization = $1", "still holds 0.05 USD"},
		{"what is captured of a budget", "UPDATE windows SET captured = captured - 1 WHERE organization = $1 AND scope = 'provider' AND captured > 0", "its holds say"},
		{"what is held of a budget", "UPDATE windows SET held = held + 1 WHERE organization = $1 AND scope = 'run'", "its holds say"},
		{"a budget that is gone", "DELETE FROM windows WHERE organization = $1 AND scope = 'run' AND captured > 0", "is missing"},
		{"a limit that no record raised", "UPDATE budgets SET limit_minor = 20000 WHERE organization = $1 AND scope = 'run'", "a limit of 200.00 USD; the log says 50.00 USD"},
		{"a limit that is gone", "DELETE FROM budgets WHERE organization = $1 AND scope = 'run'", "has no limit; the log says 50.00 USD"},
		{"a limit of another period", "UPDATE budgets SET period = 'total' WHERE organization = $1 AND scope = 'run'", "total has a limit of 50.00 USD; the log says none"},
		{"a default limit that is higher", "UPDATE budgets SET limit_minor = limit_minor + 1 WHERE organization = $1 AND scope = 'provider' AND target = 'local'", "has a limit of 100.01 USD; the log says 100.00 USD"},
		{"an order of another hold", "UPDATE orders SET hold = 'hld_none' WHERE organization = $1", "has no hold"},
		{"a hold of another order", "UPDATE holds SET order_id = 'ord_none' WHERE organization = $1", "has no hold"},
		{"an order that is open again", "UPDATE orders SET state = 'buying' WHERE organization = $1", "and its hold is closed"},
		{"what a budget captured, and all of its holds and movements with it", `UPDATE windows SET captured = captured - 1 WHERE organization = $1 AND captured > 0;
			UPDATE holds SET captured = captured - 1, released = released + 1 WHERE organization = $1 AND captured > 0`, "; the log says"},
		{"a metered hold, with its movement and its budgets", `UPDATE holds SET amount = amount - 1, captured = captured - 1 WHERE organization = $1 AND kind = 'usage';
			UPDATE movements SET amount = amount - 1 WHERE organization = $1 AND kind = 'charge';
			UPDATE windows SET captured = captured - 1 WHERE organization = $1 AND scope <> 'provider' OR target = 'models/large'`, "says amount, captured, refunded, overrun, returned 0.06 USD, 0.06 USD, 0.00 USD, 0.00 USD, 0.00 USD; the log says amount, captured, refunded, overrun, returned 0.07 USD, 0.07 USD"},
		{"a metered hold that is gone, with its movement", `DELETE FROM holds WHERE organization = $1 AND kind = 'usage';
			DELETE FROM movements WHERE organization = $1 AND kind = 'charge'`, "the log says amount, captured, refunded, overrun, returned 0.07 USD, 0.07 USD, 0.00 USD, 0.00 USD, 0.00 USD of hold "},
		{"a block that cannot be unpacked", "UPDATE audit SET leaves = substr(leaves, 1, 40) WHERE organization = $1 AND seq = 4", "record 3 cannot be read"},
		{"a block that says it has more", "UPDATE audit SET n = n + 1 WHERE organization = $1 AND seq = 4", "record 2 is there twice"},
		{"a hold of another record", "UPDATE holds SET seq = 1 WHERE organization = $1", "has no record"},
		{"a hold of no record", "UPDATE holds SET seq = 100000 WHERE organization = $1", "has no record"},
		{"a record that is gone", "DELETE FROM audit WHERE organization = $1 AND seq = 4", "record 3 is missing"},
		{"the first record", "DELETE FROM audit WHERE organization = $1 AND seq = 1", "begins with record 2"},
		{"the end of the log", "UPDATE organizations SET seq = seq + 1 WHERE id = $1", "and the organization is at"},
		{"an epoch to come", "UPDATE holds SET epoch = 7 WHERE organization = $1", "has epoch 7"},
		{"an epoch that went back", "UPDATE stops SET epoch = 9 WHERE organization = $1", "out of order"},
	}
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, fresh(t, database))
		h.seller.pay = h.rail()
		_, agent := h.run(5000)
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		h.once(1200)
		must[purser.Hold](h, agent, "charge_usage", usage(7))
		must[purser.StopInfo](h, h.owner, "stop", purser.Stop{Scope: "run", ID: agent.Run, Reason: "test"})
		h.carriedOut() // no turn comes between what a case keeps and puts back
		h.books()
		h.disarm()
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				undo := h.keep()
				for change := range strings.SplitSeq(c.change, ";\n") {
					h.sql(change, h.owner.Organization)
				}
				b, err := do[purser.Books](h, h.owner, "check_books", purser.None{})
				if err != nil || b.OK || !strings.Contains(strings.Join(b.Faults, "\n"), c.want) {
					t.Errorf("%v, %v; want %q", b.Faults, err, c.want)
				}
				undo()
			})
		}
		t.Run("a record that cannot be read", func(t *testing.T) {
			undo := h.keep()
			h.rewrite(3, func(b *block) { b.replace(3, "}", "} ") })
			b, err := do[purser.Books](h, h.owner, "check_books", purser.None{})
			if err != nil || b.OK || !strings.Contains(strings.Join(b.Faults, "\n"), "record 3 cannot be read") {
				t.Errorf("%v, %v", b.Faults, err)
			}
			undo()
		})
		h.books()
	})
}

// keep remembers the tables that the walk reads, and returns what puts them back.
func (h *house) keep() (undo func()) {
	h.t.Helper()
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	conn.SetMaxOpenConns(1) // the copies are this connection's
	run := func(statements ...string) {
		for _, s := range statements {
			if _, err := conn.ExecContext(h.ctx, s); err != nil {
				h.t.Fatalf("%s: %v", s, err)
			}
		}
	}
	tables := []string{"movements", "holds", "budgets", "windows", "orders", "audit", "stops"}
	for _, t := range tables {
		run("CREATE TEMP TABLE kept_" + t + " AS SELECT * FROM " + t)
	}
	seq := h.ask("SELECT seq FROM organizations WHERE id = $1", h.owner.Organization)
	return func() {
		for _, t := range tables {
			run("DELETE FROM "+t, "INSERT INTO "+t+" SELECT * FROM kept_"+t, "DROP TABLE kept_"+t)
		}
		run(fmt.Sprintf("UPDATE organizations SET seq = %d WHERE id = '%s'", seq, h.owner.Organization))
		_ = conn.Close()
	}
}

// million fills the books of a house with n charges of one cent, each with its
// hold, its movement and its record of a usual size, as the engine would leave them.
func (h *house) million(tb testing.TB, n int64, run purser.Run) {
	tb.Helper()
	org, first := h.owner.Organization, h.ask("SELECT seq FROM organizations WHERE id = $1", h.owner.Organization)
	id := "'hld_' || substr('00000000000000000000000000' || i, -26)"
	if strings.HasPrefix(h.db, "postgres") {
		id = "'hld_' || lpad(CAST(i AS TEXT), 26, '0')"
	}
	month := time.Now().UTC().Format("2006-01")
	var keys, lines []string
	for scope, target := range map[string]string{"organization": org, "project": run.Project, "provider": "local"} {
		keys = append(keys, fmt.Sprintf(`{"scope":"%s","target":"%s","name":"%s"}`, scope, target, month))
		lines = append(lines, fmt.Sprintf(`{"captured":' || i || ',"change":1,"currency":"USD","held":0,"limit":%d,"scope":"%s:%s","window":"%s"}`, 10*n, scope, target, month))
		h.mustSQL(tb, fmt.Sprintf("DELETE FROM windows WHERE organization = '%s' AND scope = '%s'", org, scope))
		h.mustSQL(tb, fmt.Sprintf("INSERT INTO windows (organization, scope, target, currency, name, captured, guard_ceiling) VALUES ('%s', '%s', '%s', 'USD', '%s', %d, %d)",
			org, scope, target, month, n, 10*n))
	}
	numbers := fmt.Sprintf("FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) SELECT i FROM c) AS numbers", n)
	h.mustSQL(tb, fmt.Sprintf(`INSERT INTO holds (organization, id, principal, run, project, provider, currency, amount, captured, state, epoch, expires_at, windows, seq, created_at)
		SELECT '%s', %s, 'agt_1', '%s', '%s', 'local', 'USD', 1, 1, 'captured', 0, 0, '[%s]', %d + i, 0 %s`, org, id, run.ID, run.Project, strings.Join(keys, ","), first, numbers))
	h.mustSQL(tb, fmt.Sprintf(`INSERT INTO movements (organization, seq, n, at, kind, currency, amount, hold, run, project, provider, debit, credit)
		SELECT '%s', %d + i, 1, 0, 'charge', 'USD', 1, %s, '%s', '%s', 'local', 'spent:local', 'available' %s`, org, first, id, run.ID, run.Project, numbers))
	line := strings.ReplaceAll("["+strings.Join(lines, ",")+"]", "' || i || '", "%[1]d")
	leaf := `{"action":"charge_usage","actor":{"id":"agt_1","kind":"agent"},"budgets":` + line + `,"filler":"` + strings.Repeat("x", 400) + `","money":{"actual":{"amount":1,"currency":"USD"}},"outcome":"accepted","target":"hld_%026[1]d"}`
	h.insertBlocks(tb, first, n, func(i int64) []byte { return fmt.Appendf(nil, leaf, i) })
	h.touched = true
	h.mustSQL(tb, fmt.Sprintf("UPDATE organizations SET seq = %d WHERE id = '%s'", first+n, org))
}

// insertBlocks appends records to the log, a block each, without hashes.
func (h *house) insertBlocks(tb testing.TB, after, n int64, leaf func(i int64) []byte) {
	tb.Helper()
	conn, err := h.dial()
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	tx, err := conn.BeginTx(h.ctx, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := int64(1); i <= n; {
		var rows []string
		var args []any
		for ; len(rows) < 200 && i <= n; i++ {
			rows = append(rows, fmt.Sprintf("('%s', %d, 1, 0, $%d, $%d)", h.owner.Organization, after+i, len(args)+1, len(args)+2))
			args = append(args, []byte{}, store.PackLeaves([][]byte{leaf(i)}))
		}
		if _, err := tx.ExecContext(h.ctx, "INSERT INTO audit (organization, seq, n, at, hashes, leaves) VALUES "+strings.Join(rows, ", "), args...); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
}

func (h *house) mustSQL(tb testing.TB, statement string) {
	tb.Helper()
	conn, err := h.dial()
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(h.ctx, statement); err != nil {
		tb.Fatalf("%.200s: %v", statement, err)
	}
}

// The walk keeps no rows: what it holds in memory does not grow with the books.
func TestTheWalkOfTheBooksNeedsNoMemoryForThem(t *testing.T) {
	if testing.Short() {
		t.Skip("walks 40,000 holds and collects garbage all the while: run without -short")
	}
	h := open(t, sqlite(t))
	run, _ := h.run(5000)
	h.million(t, 40_000, run)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, end := live(), uint64(0), make(chan struct{})
	done := make(chan purser.Books, 1)
	go func() {
		defer close(end)
		b, err := do[purser.Books](h, h.owner, "check_books", purser.None{})
		if err != nil {
			t.Error(err)
		}
		done <- b
	}()
	for walking := true; walking; {
		select {
		case <-end:
			walking = false
		default:
			most = max(most, live())
		}
	}
	b := <-done
	if !b.OK || b.Holds < 40_000 || b.Movements < 40_000 {
		t.Errorf("%+v", b)
	}
	// 40,000 holds with their movements are over 30 MB as rows. What the walk throws away
	// while garbage is collected counts too, and on a busy machine that is some megabytes.
	if most > before+12<<20 {
		t.Errorf("the walk held %d KiB", (most-before)>>10)
	}
}

// BenchmarkBooksOfAMillion walks 1,000,000 decisions; it must take seconds.
func BenchmarkBooksOfAMillion(b *testing.B) {
	const n = 1_000_000
	walk := func(b *testing.B, database string) {
		h := open(b, database)
		run, _ := h.run(5000)
		h.million(b, n, run)
		b.ReportAllocs()
		b.ResetTimer()
		began := processorTime(b)
		defer func() { b.ReportMetric((processorTime(b)-began).Seconds()/float64(b.N), "cpu-s/op") }()
		for b.Loop() {
			books, err := do[purser.Books](h, h.owner, "check_books", purser.None{})
			if err != nil || !books.OK || books.Holds < n {
				b.Fatalf("%+v, %v", books.Faults, err)
			}
		}
	}
	b.Run("sqlite", func(b *testing.B) { walk(b, sqlite(b)) })
	b.Run("postgres", func(b *testing.B) { walk(b, postgres.Open(b)) })
}

// processorTime is what this process has used; on a busy machine it says more than
// the clock does.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
