// Package bench measures what Purser decides per second, against what the same database and the same disk do without it.
//
// A server process is loaded by a second process over HTTP, in turn with pgbench
// and with the raw commit rate of the disk, so that only ratios measured in one
// run on one machine are ever printed. Afterwards the books are walked and the
// log is verified: a fast answer that does not hold counts for nothing.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/store"
)

// Config says what is measured.
type Config struct {
	Program       string        // the binary that is measured, and that plays the load
	Dir           string        // where the data goes, on the disk that is measured
	Database      string        // sqlite or postgres
	Callers       int           // that ask at the same time
	Organizations int           // that the load is spread over
	Time          time.Duration // of each measurement
	Pairs         int           // of a measurement and its baselines, one after the other
	Rows          int64         // records that are there before a second series, beside an empty database; 0: none
	Stops         int           // cycles of load, stop, load
	InProcess     bool          // calls the office in this process instead of a server
	Say           func(format string, args ...any)

	postgres *Postgres // shared between the rows of a table
}

// Pair is one measurement beside its baselines.
type Pair struct {
	PerSecond float64 `json:"decisions_per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Pgbench   float64 `json:"pgbench_n_tps,omitempty"`
	Fdatasync float64 `json:"fdatasync_per_second"`
}

// Report is what `purser bench spend --json` prints. Rates are medians over the
// pairs, and ratios are medians of each pair's own ratio. A ratio that must not be
// printed is left out, and Void says why.
type Report struct {
	Bench         string `json:"bench"`
	Database      string `json:"database"`
	Callers       int    `json:"callers"`
	Organizations int    `json:"organizations"`
	InProcess     bool   `json:"in_process"`
	Seconds       int    `json:"seconds"`
	Pairs         int    `json:"pairs"`
	Cores         int    `json:"cores"`
	System        string `json:"system"`

	PerSecond      float64  `json:"decisions_per_second"`
	P50            float64  `json:"p50_ms"`
	P99            float64  `json:"p99_ms"`
	BatchMean      float64  `json:"batch_mean"` // records per turn
	Pgbench        float64  `json:"pgbench_n_tps"`
	RatioPgbench   *float64 `json:"ratio_pgbench_n"`
	Fdatasync      float64  `json:"fdatasync_per_second"`
	RatioFdatasync *float64 `json:"ratio_fdatasync"`
	Refused        int64    `json:"refused_or_lost"` // answers in the measured time that were no yes

	AcceptedAfterStop int64   `json:"accepted_after_stop"` // the larger of what the callers and what the log say
	Cycles            int     `json:"stop_cycles"`
	OfferedAfterStop  int64   `json:"offered_after_stop"`
	StopP50           float64 `json:"stop_p50_ms"`
	StopP99           float64 `json:"stop_p99_ms"`

	Rows         int64    `json:"rows,omitempty"` // that were there before the second series
	RowsRate     float64  `json:"rows_decisions_per_second,omitempty"`
	RatioFresh   *float64 `json:"ratio_fresh,omitempty"`
	Memory       int64    `json:"server_rss_bytes"`     // after all of it
	MemoryMost   int64    `json:"server_rss_max_bytes"` // at any time
	Records      int64    `json:"records"`              // in the logs that were verified
	BooksAndLogs string   `json:"books_and_logs"`       // "balanced and verified", or there is no report

	Durable map[string]string `json:"durability"`
	Void    []string          `json:"void,omitempty"` // why a ratio is missing
	Each    []Pair            `json:"each"`
}

// Spend measures spend decisions.
func Spend(ctx context.Context, cfg Config) (r Report, err error) {
	if err := cfg.check(); err != nil {
		return r, err
	}
	m := &measurement{Config: cfg, report: Report{
		Bench: "spend", Database: cfg.Database, Callers: cfg.Callers, Organizations: cfg.Organizations, InProcess: cfg.InProcess,
		Seconds: int(cfg.Time.Seconds()), Pairs: cfg.Pairs, Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH,
		Durable: map[string]string{},
	}}
	defer func() { err = errors.Join(err, m.close()) }()
	for _, step := range []func(context.Context) error{m.open, m.fresh, m.loaded, m.stops, m.prove} {
		if err := step(ctx); err != nil {
			return m.report, err
		}
	}
	m.report.sum()
	return m.report, nil
}

func (c *Config) check() error {
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
	switch {
	case c.Database != "sqlite" && c.Database != "postgres":
		return fmt.Errorf("the database is sqlite or postgres, not %q", c.Database)
	case c.Callers < 1 || c.Callers > 4096 || c.Organizations < 1 || c.Organizations > 100_000:
		return errors.New("1 to 4096 callers and 1 to 100000 organizations")
	case c.Time < time.Second || c.Pairs < 1:
		return errors.New("a measurement takes a second at least, and there is one pair at least")
	case c.InProcess && c.Stops > 0:
		return errors.New("stops are measured through the server, not in process")
	}
	return nil
}

// measurement is one Spend that runs.
type measurement struct {
	Config
	report  Report
	dir     string
	own     *Postgres // when it is not shared
	house   *House
	tenants []tenant
	lanes   []Lane
	store   *store.Store // reads beside the server
}

func (m *measurement) open(ctx context.Context) (err error) {
	if m.dir, err = os.MkdirTemp(m.Dir, "purser-bench-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	m.house = &House{Program: m.Program, Dir: m.dir, Database: "sqlite:" + filepath.Join(m.dir, "purser.db")}
	volatile, err := volatileDisk(m.dir)
	if err != nil {
		return err
	}
	if volatile != "" {
		m.report.void("%s is on a %s, which keeps nothing: name another folder with --dir", m.dir, volatile)
	}
	if m.Database == "postgres" {
		if err := m.openPostgres(ctx); err != nil {
			return err
		}
	} else {
		m.report.Durable["journal"], m.report.Durable["synchronous"] = "wal", "full" // as the store opens it
	}
	m.Say("starting the server")
	code, err := m.house.Start(ctx)
	if err != nil {
		return err
	}
	if err := m.house.SetUp(ctx, code, plenty); err != nil {
		return err
	}
	lane, err := m.house.NewRun(ctx, plenty)
	if err != nil {
		return err
	}
	m.lanes = []Lane{lane}
	database := strings.TrimPrefix(m.house.Database, "sqlite:")
	if m.tenants, err = seedTenants(ctx, database, m.Organizations-1); err != nil {
		return err
	}
	for _, t := range m.tenants {
		m.lanes = append(m.lanes, t.lane)
	}
	m.store, err = store.Open(ctx, store.Config{Database: database, Now: time.Now})
	return err
}

func (m *measurement) openPostgres(ctx context.Context) (err error) {
	pg := m.postgres
	if pg == nil {
		m.Say("starting PostgreSQL, and filling the baseline's tables (scale %d)", pgbenchScale)
		if pg, err = newPostgres(ctx, m.Dir); err != nil {
			return err
		}
		m.own, m.postgres = pg, pg
	}
	name := fmt.Sprintf("purser_%d", time.Now().UnixNano())
	if err := pg.Do(ctx, "postgres", "CREATE DATABASE "+name); err != nil {
		return fmt.Errorf("making the server's database: %w", err)
	}
	m.house.Database = pg.URL(name)
	if m.report.Durable, err = pg.durable(ctx, name); err != nil {
		return err
	}
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		if m.report.Durable[setting] != "on" {
			m.report.void("PostgreSQL runs with %s = %s", setting, m.report.Durable[setting])
		}
	}
	return nil
}

// newPostgres is a server with the baseline's tables.
func newPostgres(ctx context.Context, dir string) (*Postgres, error) {
	pg, err := StartPostgres(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := pg.makePgbench(ctx); err != nil {
		return nil, errors.Join(err, pg.Close())
	}
	return pg, nil
}

// fresh is the first series, on a database with nothing in it.
func (m *measurement) fresh(ctx context.Context) error {
	taken, records, err := turns(ctx, m.store)
	if err != nil {
		return err
	}
	if m.report.Each, err = m.series(ctx); err != nil {
		return err
	}
	taken2, records2, err := turns(ctx, m.store)
	if taken2 > taken {
		m.report.BatchMean = float64(records2-records) / float64(taken2-taken)
	}
	return err
}

// series measures beside the baselines.
func (m *measurement) series(ctx context.Context) (all []Pair, err error) {
	for i := range m.Pairs {
		var p Pair
		err := m.paired(ctx, i, func() error { return m.baselines(ctx, &p) }, func() error { return m.measure(ctx, &p) })
		if err != nil {
			return nil, err
		}
		m.Say("pair %d of %d: %.0f decisions/s, p99 %.1f ms; pgbench -N %.0f/s, fdatasync %.0f/s", i+1, m.Pairs, p.PerSecond, p.P99, p.Pgbench, p.Fdatasync)
		all = append(all, p)
	}
	return all, nil
}

// paired takes both measurements of pair i. Which goes first alternates, so that a
// machine that slows down or warms up favours neither.
func (m *measurement) paired(ctx context.Context, i int, steps ...func() error) error {
	if i%2 == 1 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := m.settle(ctx); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// settle lets no measurement pay for the pages that the one before it left dirty.
func (m *measurement) settle(ctx context.Context) error {
	if m.postgres == nil {
		return ctx.Err()
	}
	return m.postgres.Do(ctx, "postgres", "CHECKPOINT")
}

func (m *measurement) baselines(ctx context.Context, p *Pair) (err error) {
	if m.postgres != nil {
		if p.Pgbench, err = m.postgres.simpleUpdate(ctx, m.Callers, m.Time); err != nil {
			return err
		}
	}
	p.Fdatasync, err = commitRate(m.dir, min(m.Time/2, 2*time.Second))
	return err
}

// warm is how long a load runs before it counts.
const warm = 500 * time.Millisecond

func (m *measurement) measure(ctx context.Context, p *Pair) error {
	o := Order{Callers: m.Callers, For: m.Time, Warm: warm, Lanes: m.lanes}
	run := m.house.Load
	if m.InProcess {
		run = m.inside
	}
	found, err := run(ctx, o)
	if err != nil {
		return err
	}
	for _, n := range found.Codes {
		m.report.Refused += n
	}
	if found.Accepted*100 < found.Decisions*99 || found.Decisions == 0 {
		return fmt.Errorf("%d of %d decisions were a yes, so this measures something else: %v; %s", found.Accepted, found.Decisions, found.Codes, m.house.Said)
	}
	p.PerSecond, p.P50, p.P99 = float64(found.Decisions)/found.Seconds, found.P50, found.P99
	return nil
}

// loaded is the second series: a database that holds a number of records, beside
// one that was made for it and holds next to none.
func (m *measurement) loaded(ctx context.Context) (err error) {
	if m.Rows == 0 {
		return nil
	}
	if err := m.fill(ctx); err != nil {
		return err
	}
	empty := &measurement{Config: m.Config, report: Report{Durable: map[string]string{}}}
	defer func() { err = errors.Join(err, empty.close()) }()
	if err := empty.open(ctx); err != nil {
		return err
	}
	var rates, ratios []float64
	for i := range m.Pairs {
		var full, fresh Pair
		err := m.paired(ctx, i, func() error { return m.measure(ctx, &full) }, func() error { return empty.measure(ctx, &fresh) })
		if err != nil {
			return err
		}
		m.Say("pair %d of %d: %.0f decisions/s with %d records, %.0f with next to none", i+1, m.Pairs, full.PerSecond, m.report.Rows, fresh.PerSecond)
		rates, ratios = append(rates, full.PerSecond), append(ratios, full.PerSecond/fresh.PerSecond)
	}
	ratio := median(ratios)
	m.report.RowsRate, m.report.RatioFresh = median(rates), &ratio
	return nil
}

// fill loads until there are as many records as are asked for.
func (m *measurement) fill(ctx context.Context) error {
	for {
		_, records, err := turns(ctx, m.store)
		if err != nil {
			return err
		}
		if records >= m.Rows {
			m.report.Rows = records
			return nil
		}
		m.Say("filling: %d of %d records", records, m.Rows)
		if _, err := m.house.Load(ctx, Order{Callers: 256, For: 10 * time.Second, Lanes: m.lanes}); err != nil {
			return err
		}
	}
}

// stops is the load around stops: each on a run of its own.
func (m *measurement) stops(ctx context.Context) error {
	m.report.Cycles = m.Stops
	if m.Stops == 0 {
		return nil
	}
	m.Say("stopping %d runs under load", m.Stops)
	o := Order{Callers: m.Callers, Stops: true, Person: m.house.Token}
	for range m.Stops {
		lane, err := m.house.NewRun(ctx, plenty)
		if err != nil {
			return err
		}
		o.Lanes = append(o.Lanes, lane)
	}
	found, err := m.house.Load(ctx, o)
	if err != nil {
		return err
	}
	var took []int32
	for _, c := range found.Cycles {
		if c.AcceptedBefore < CycleCalls || c.SentAfter < CycleCalls {
			m.report.void("a stop had %d accepted before it and %d sent after it; %d of each are needed", c.AcceptedBefore, c.SentAfter, CycleCalls)
		}
		m.report.AcceptedAfterStop += c.AcceptedAfter
		m.report.OfferedAfterStop += c.SentAfter
		took = append(took, int32(c.StopMS*1000))
	}
	slices.Sort(took)
	m.report.StopP50, m.report.StopP99 = quantile(took, 0.5), quantile(took, 0.99)
	return nil
}

// prove has an independent reader walk the books and read the log of each
// organization.
func (m *measurement) prove(ctx context.Context) (err error) {
	if !m.InProcess {
		if m.report.Memory, m.report.MemoryMost, err = memoryOf(m.house.Pid()); err != nil {
			return err
		}
	}
	m.Say("walking the books and verifying the logs")
	first, err := Prove(ctx, m.house.Person, m.dir)
	if err != nil {
		return err
	}
	m.report.Records, m.report.AcceptedAfterStop = first.Records, max(m.report.AcceptedAfterStop, first.AcceptedAfter)
	if len(first.Stops) < m.Stops {
		return fmt.Errorf("the log has %d stops of %d", len(first.Stops), m.Stops)
	}
	if len(first.Twice) > 0 {
		return fmt.Errorf("%d keys were accepted twice, %s first", len(first.Twice), first.Twice[0])
	}
	shared := &http.Client{Timeout: time.Minute}
	defer shared.CloseIdleConnections()
	for _, t := range m.tenants {
		person, err := t.person(m.house.URL, shared)
		if err != nil {
			return err
		}
		found, err := Prove(ctx, person, m.dir)
		if err != nil {
			return fmt.Errorf("the organization of run %s: %w", t.lane.Run, err)
		}
		m.report.Records += found.Records
	}
	m.report.BooksAndLogs = "balanced and verified"
	return nil
}

func (m *measurement) close() error {
	var err error
	if m.store != nil {
		err = m.store.Close()
	}
	if m.house != nil {
		err = errors.Join(err, m.house.Stop())
	}
	if m.own != nil {
		err = errors.Join(err, m.own.Close())
	}
	if m.dir != "" {
		err = errors.Join(err, os.RemoveAll(m.dir))
	}
	return err
}

func (r *Report) void(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if !slices.Contains(r.Void, why) {
		r.Void = append(r.Void, why)
	}
}

// sum makes the medians.
func (r *Report) sum() {
	r.PerSecond = median(column(r.Each, func(p Pair) float64 { return p.PerSecond }))
	r.P50 = median(column(r.Each, func(p Pair) float64 { return p.P50 }))
	r.P99 = median(column(r.Each, func(p Pair) float64 { return p.P99 }))
	r.Pgbench = median(column(r.Each, func(p Pair) float64 { return p.Pgbench }))
	r.Fdatasync = median(column(r.Each, func(p Pair) float64 { return p.Fdatasync }))
	if len(r.Void) > 0 {
		r.RatioFresh = nil
		return
	}
	if r.Database == "postgres" {
		ratio := median(column(r.Each, func(p Pair) float64 { return p.PerSecond / p.Pgbench }))
		r.RatioPgbench = &ratio
	}
	ratio := median(column(r.Each, func(p Pair) float64 { return p.PerSecond / p.Fdatasync }))
	r.RatioFdatasync = &ratio
}

func column(all []Pair, of func(Pair) float64) []float64 {
	out := make([]float64, len(all))
	for i, p := range all {
		out[i] = of(p)
	}
	return out
}
