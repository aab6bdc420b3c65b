package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// goal is a figure of the table of the issue that a report holds.
type goal struct {
	work      string
	must, aim float64
	unit      string
	least     bool // true: the figure is to be at least so; false: at most
	figure    func(Report) *float64
}

// row is one report of the table with the figures that are taken from it.
type row struct {
	config Config
	goals  []goal
}

const mega = 1 << 20

func plain(f func(Report) float64) func(Report) *float64 {
	return func(r Report) *float64 {
		v := f(r)
		return &v
	}
}

func toPgbench(r Report) *float64   { return r.RatioPgbench }
func toFdatasync(r Report) *float64 { return r.RatioFdatasync }
func toFresh(r Report) *float64     { return r.RatioFresh }

// rows is the table: what is measured, and what it is held to.
var rows = []row{
	{Config{Database: "postgres", Callers: 64, Organizations: 1}, []goal{
		{"PostgreSQL, 1 hot organization, 64 callers, to pgbench -N with 64 clients", 1.5, 3, "x", true, toPgbench},
		{"p99 at 64 callers, hot", 25, 10, "ms", false, plain(func(r Report) float64 { return r.P99 })},
	}},
	{Config{Database: "postgres", Callers: 256, Organizations: 1, Stops: 100}, []goal{
		{"the same, 256 callers", 2.5, 5, "x", true, toPgbench},
		{"accepted after an acknowledged stop", 0, 0, "", false, plain(func(r Report) float64 { return float64(r.AcceptedAfterStop) })},
		{"stop acknowledged under 256 callers, p99", 50, 20, "ms", false, plain(func(r Report) float64 { return r.StopP99 })},
	}},
	{Config{Database: "postgres", Callers: 256, Organizations: 1000}, []goal{
		{"PostgreSQL, 1,000 organizations, 256 callers", 2, 4, "x", true, toPgbench},
	}},
	{Config{Database: "postgres", Callers: 64, Organizations: 1, InProcess: true}, []goal{
		{"the hot case in process, 64 callers", 5, 8, "x", true, toPgbench},
	}},
	{Config{Database: "sqlite", Callers: 64, Organizations: 1}, []goal{
		{"SQLite (WAL, synchronous=FULL), hot, 64 callers, to the disk's fdatasync rate", 1.5, 3, "x", true, toFdatasync},
	}},
	{Config{Database: "postgres", Callers: 1, Organizations: 1}, []goal{
		{"one caller, PostgreSQL, to pgbench -N with one client", 0.6, 0.9, "x", true, toPgbench},
	}},
	{Config{Database: "postgres", Callers: 64, Organizations: 1, Rows: 1_000_000}, []goal{
		{"throughput with 1,000,000 rows against the fresh database", 0.8, 0.95, "x", true, toFresh},
		{"server memory at 1,000,000 records", 150, 80, "MB", false, plain(func(r Report) float64 { return float64(r.Memory) / mega })},
	}},
}

// Table measures every row of the table on one PostgreSQL server. What it has
// measured when one fails is returned beside the error.
func Table(ctx context.Context, cfg Config) (reports []Report, err error) {
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	cfg.Say("starting PostgreSQL, and filling the baseline's tables (scale %d)", pgbenchScale)
	pg, err := newPostgres(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pg.Close()) }()
	for _, r := range rows {
		c := r.config
		c.Program, c.Dir, c.Time, c.Pairs, c.Say = cfg.Program, cfg.Dir, cfg.Time, cfg.Pairs, cfg.Say
		if c.Database == "postgres" {
			c.postgres = pg
		}
		cfg.Say("--- %s", r.goals[0].work)
		report, err := Spend(ctx, c)
		if err != nil {
			return reports, fmt.Errorf("%s: %w", r.goals[0].work, err)
		}
		reports = append(reports, report)
	}
	return reports, nil
}

// Markdown writes the reports of Table as the rows of docs/performance.md.
func Markdown(reports []Report) string {
	var b strings.Builder
	b.WriteString("| Work | Must | Aim | Measured | Per second | p50 / p99 ms | Batch |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for i, r := range reports {
		for _, g := range rows[i].goals {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %.0f | %.1f / %.1f | %.1f |\n",
				g.work, g.text(&g.must), g.text(&g.aim), g.verdict(r), r.PerSecond, r.P50, r.P99, r.BatchMean)
		}
	}
	return b.String()
}

// Misses names the goals that reports of Table do not reach.
func Misses(reports []Report) (all []string) {
	for i, r := range reports {
		for _, g := range rows[i].goals {
			if v := g.figure(r); v == nil || !g.reached(*v, g.must) {
				all = append(all, fmt.Sprintf("%s: %s, must %s", g.work, g.text(v), g.text(&g.must)))
			}
		}
	}
	return all
}

func (g goal) reached(v, bar float64) bool {
	if g.least {
		return v >= bar
	}
	return v <= bar
}

func (g goal) text(v *float64) string {
	switch {
	case v == nil:
		return "void"
	case g.unit == "x":
		return fmt.Sprintf("%.2fx", *v)
	case g.unit == "":
		return fmt.Sprintf("%.0f", *v)
	}
	return fmt.Sprintf("%.1f %s", *v, g.unit)
}

// verdict is the figure, and whether it reaches what it is held to.
func (g goal) verdict(r Report) string {
	v := g.figure(r)
	switch {
	case v == nil:
		return "void"
	case g.reached(*v, g.aim):
		return "**" + g.text(v) + "**"
	case g.reached(*v, g.must):
		return g.text(v)
	}
	return g.text(v) + " (missed)"
}
