package console

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store"
)

const (
	manyOrders  = 10_000
	manyRecords = 100_000
)

// grow makes an old organization of the house: 10,000 orders of 2,000 runs, and
// 100,000 records whose tree is right. Rows are copies of real ones.
func (h *house) grow() {
	h.tb.Helper()
	conn, err := sql.Open("sqlite", "file:"+h.db+"?_pragma=busy_timeout(10000)&_pragma=synchronous(off)")
	if err != nil {
		h.tb.Fatal(err)
	}
	defer conn.Close()
	conn.SetMaxOpenConns(1)
	run := func(statement string, args ...any) {
		h.tb.Helper()
		if _, err := conn.ExecContext(context.Background(), statement, args...); err != nil {
			h.tb.Fatalf("%.200s: %v", statement, err)
		}
	}
	one := func(query string) (s string) {
		h.tb.Helper()
		if err := conn.QueryRowContext(context.Background(), query).Scan(&s); err != nil {
			h.tb.Fatalf("%s: %v", query, err)
		}
		return s
	}
	run("BEGIN IMMEDIATE") // the office writes too
	order := one("SELECT id FROM orders WHERE state = 'live' AND amount > 0 ORDER BY id LIMIT 1")
	plan, hold, by, thing := one("SELECT plan FROM orders WHERE id = '"+order+"'"), one("SELECT hold FROM orders WHERE id = '"+order+"'"), one("SELECT run FROM orders WHERE id = '"+order+"'"), one("SELECT resource FROM orders WHERE id = '"+order+"'")
	numbered := func(id, i string) string {
		return fmt.Sprintf("'%s' || printf('%%06d', %s)", id[:len(id)-6], i)
	}
	runOf := numbered(by, "n.i % 2000")
	const day = "24 * 3600 * 1000000"
	copies := []struct {
		table, where string
		n            int
		set          map[string]string
	}{
		{"runs", "id = '" + by + "'", 2000, map[string]string{"id": runOf, "ended_at": "CASE WHEN n.i % 100 = 0 THEN 0 ELSE t.created_at + 1 END", "created_at": "t.created_at - n.i * 3600000000"}},
		{"budgets", "scope = 'run' AND target = '" + by + "'", 2000, map[string]string{"target": runOf}},
		{"windows", "scope = 'run' AND target = '" + by + "'", 2000, map[string]string{"target": runOf, "name": runOf}},
		{"plans", "id = '" + plan + "'", manyOrders, map[string]string{"id": numbered(plan, "n.i"), "run": runOf}},
		{"holds", "id = '" + hold + "'", manyOrders, map[string]string{"id": numbered(hold, "n.i"), "order_id": numbered(order, "n.i"), "run": runOf}},
		{"orders", "id = '" + order + "'", manyOrders, map[string]string{"id": numbered(order, "n.i"), "plan": numbered(plan, "n.i"), "hold": numbered(hold, "n.i"), "run": runOf, "resource": numbered(thing, "n.i"), "created_at": "t.created_at - n.i * 3600000000"}},
		{"resources", "id = '" + thing + "'", manyOrders, map[string]string{"id": numbered(thing, "n.i"), "name": "'r' || n.i", "order_id": numbered(order, "n.i")}},
		{"movements", "order_id = '" + order + "' AND n < 1000", manyOrders, map[string]string{"seq": "n.i * 9 + 500 + t.seq % 9", "order_id": numbered(order, "n.i"), "hold": numbered(hold, "n.i"), "run": runOf, "at": "t.at - (" + fmt.Sprint(manyOrders) + " - n.i) * (" + day + ") / 30"}},
		{"plans", "state = 'needs_approval'", 60, map[string]string{"id": "substr(t.id, 1, length(t.id) - 6) || printf('%06d', 500000 + n.i)"}},
	}
	for _, c := range copies {
		columns, values := h.columns(conn, c.table), []string{}
		for _, name := range columns {
			value := "t." + name
			if v, ok := c.set[name]; ok {
				value = v
			}
			values = append(values, value)
		}
		run(fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT OR IGNORE INTO %s (%s) SELECT %s FROM (SELECT * FROM %s WHERE %s) t, n",
			c.n, c.table, strings.Join(columns, ", "), strings.Join(values, ", "), c.table, c.where))
	}
	h.growLog(conn, run)
	run("COMMIT")
}

// columns are those of a table, without what SQLite makes of others.
func (h *house) columns(conn *sql.DB, table string) (names []string) {
	h.tb.Helper()
	rows, err := conn.QueryContext(context.Background(), "SELECT name FROM pragma_table_info('"+table+"')")
	if err != nil {
		h.tb.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			h.tb.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// growLog appends copies of the newest record until the log is long.
func (h *house) growLog(conn *sql.DB, run func(string, ...any)) {
	h.tb.Helper()
	org := h.owner.Organization
	var seq, n, at int64
	var edge, packed []byte
	row := conn.QueryRowContext(context.Background(), "SELECT a.seq, a.n, a.at, a.leaves, o.edge FROM audit a JOIN organizations o ON o.id = a.organization WHERE o.id = ? ORDER BY a.seq DESC LIMIT 1", org)
	if err := row.Scan(&seq, &n, &at, &packed, &edge); err != nil {
		h.tb.Fatal(err)
	}
	last, err := store.UnpackLeaves(packed, n)
	if err != nil {
		h.tb.Fatal(err)
	}
	leaf := string(last[n-1])
	tree, err := audit.OpenEdge(seq, edge, nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	for seq < manyRecords {
		var leaves [][]byte
		first := seq
		for len(leaves) < 20 && seq < manyRecords {
			seq++
			leaves = append(leaves, []byte(strings.Replace(leaf, fmt.Sprintf(`"seq":%d`, first), fmt.Sprintf(`"seq":%d`, seq), 1)))
		}
		leaf = string(leaves[len(leaves)-1])
		run("INSERT INTO audit (organization, seq, n, at, hashes, leaves) VALUES (?, ?, ?, ?, ?, ?)", org, seq, len(leaves), at, tree.Append(leaves), store.PackLeaves(leaves))
	}
	run("UPDATE organizations SET seq = ?, edge = x'' WHERE id = ?", seq, org)
}

// BenchmarkPages is the server's time of every screen of an old organization. Must:
// the 99th of a hundred under 20 ms.
func BenchmarkPages(b *testing.B) {
	h := open(b)
	screens := h.furnish(true)
	h.grow()
	screens["oldest"], screens["needle"] = "/audit?before=2000", "/audit?words=walrus"
	for _, path := range screens {
		h.get(path) // the first one after a start prepares catalogs and days
	}
	for _, name := range sorted(screens) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			used := processor(b)
			for b.Loop() {
				began := time.Now()
				if status, _, body := h.get(screens[name]); status != http.StatusOK && name != "lost" {
					b.Fatalf("%s: %d %.300s", screens[name], status, body)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
			b.ReportMetric(float64(processor(b)-used)/1e6/float64(len(took)), "cpu-ms/op")
		})
	}
}

// processor is the processor time that this process has used. On a machine that
// has other work too it says more than the clock.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sorted(m map[string]string) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// BenchmarkFirstPage is what a browser that has nothing yet transfers for the
// start page, in KB. Must: under 150.
func BenchmarkFirstPage(b *testing.B) {
	h := open(b)
	h.furnish(true)
	for b.Loop() {
		total := 0
		_, _, body := h.get("/")
		total += len(body)
		for _, m := range regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(body, -1) {
			total += h.transferred(m[1])
		}
		b.ReportMetric(float64(total)/1024, "KB")
	}
}

// transferred is how many bytes a file is on the wire.
func (h *house) transferred(path string) int {
	h.tb.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, h.server.URL+strings.ReplaceAll(path, "&amp;", "&"), nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", "gzip") // set here, it is not unpacked
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err != nil {
		h.tb.Fatal(err)
	}
	return int(n)
}

// BenchmarkLive is the time from a commit until Chromium shows it. Must: 300 ms.
func BenchmarkLive(b *testing.B) {
	h := open(b)
	h.provider("Harbor")
	_, agent := h.run("coder", "superseal.club", 400000)
	ctx := tab(b, 1280)
	look(b, ctx, h.server.URL+"/approvals")
	within(b, "the stream is open", func() bool { return h.console.streams() == 1 })
	var took []float64
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("seal%d.club", i)
		// What the browser shows is looked at in each of its frames.
		eval[any](b, ctx, `window.shown = new Promise((done) => { const at = () => document.getElementById("waits").textContent.includes("`+name+`") ? done(Date.now()) : requestAnimationFrame(at); at(); }); 0`)
		p := h.plan(agent, "", domain("harbor", name))
		committed := time.Now().UnixMilli()
		took = append(took, eval[float64](b, ctx, "window.shown")-float64(committed))
		must[purser.Plan](h, h.owner, "deny", purser.Deny{Plan: p.ID})
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2], "p50-ms")
	b.ReportMetric(took[len(took)*99/100], "p99-ms")
}

// BenchmarkConsoles is the memory of a thousand open consoles, each on a page of
// its own, in MB, with the sockets' other ends in the same process. Must: under 200.
func BenchmarkConsoles(b *testing.B) {
	h := open(b)
	h.furnish(true)
	for b.Loop() {
		before := memory()
		address := strings.TrimPrefix(h.server.URL, "http://")
		var open []net.Conn
		for i := range 1000 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			page := url.QueryEscape(fmt.Sprintf("/?n=%d", i))
			if _, err := fmt.Fprintf(c, "GET /events?page=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", page); err != nil {
				b.Fatal(err)
			}
			open = append(open, c)
		}
		within(b, "all are open", func() bool { return h.console.streams() == 1000 })
		time.Sleep(5 * time.Second) // each has been looked at more than once
		b.ReportMetric(float64(memory()-before)/(1<<20), "MB")
		for _, c := range open {
			_ = c.Close()
		}
		within(b, "all are gone", func() bool { return h.console.streams() == 0 })
	}
}

// memory is what the process uses, in bytes: heap and stacks.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
