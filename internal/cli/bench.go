package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/bench"
)

func (s *session) bench() *cobra.Command {
	return family("bench", "Measure what this machine decides per second", s.benchSpend(), s.benchTable(), s.benchLoad())
}

// benchFlags are those of both measurements.
func (s *session) benchFlags(cmd *cobra.Command, cfg *bench.Config, seconds *int) {
	f := cmd.Flags()
	f.IntVar(seconds, "seconds", 5, "length of each measurement")
	f.IntVar(&cfg.Pairs, "pairs", 5, "measurements, each beside its baselines; medians are printed")
	f.StringVar(&cfg.Dir, "dir", "", "folder on the disk to measure (default: the system's for temporary files)")
	cfg.Say = func(format string, args ...any) { fmt.Fprintf(s.Err, format+"\n", args...) }
}

// benchConfig completes what the flags said.
func (s *session) benchConfig(cfg *bench.Config, seconds int) (err error) {
	cfg.Time = time.Duration(seconds) * time.Second
	if cfg.Program, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	collectLess() // as the server does: in process, this is what is measured
	if cfg.Dir == "" {
		cfg.Dir = os.TempDir()
	}
	cfg.Dir = s.path(cfg.Dir)
	return nil
}

func (s *session) benchSpend() *cobra.Command {
	var cfg bench.Config
	var seconds int
	cmd := &cobra.Command{
		Use: "spend", Short: "Measure spend decisions beside pgbench and the disk, then check the books and the log", Args: needs(),
		Long: "Start a database, a server and a load process of their own, and measure spend decisions over HTTP: authenticated, five levels\n" +
			"of budgets, a key each, on the record. In turn with each measurement run the baselines, on the same machine and disk:\n" +
			"pgbench -N (prepared, scale 50) and how often the disk commits a small write. A ratio is printed only where both sides are\n" +
			"durable. Afterwards the books are walked and every log is verified.",
		Example: "  purser bench spend --db postgres --callers 64 --json\n  purser bench spend --db sqlite --callers 64 --seconds 10 --stops 20",
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Database, "db", "sqlite", "sqlite, or postgres (needs initdb, postgres and pgbench on this machine)")
	f.IntVar(&cfg.Callers, "callers", 64, "callers at the same time")
	f.IntVar(&cfg.Organizations, "organizations", 1, "organizations that are charged")
	f.Int64Var(&cfg.Rows, "rows", 0, "measure again on top of so many records")
	f.IntVar(&cfg.Stops, "stops", 10, "runs that are stopped under load, 1,000 charges before and after each")
	f.BoolVar(&cfg.InProcess, "in-process", false, "call the engine in this process, without HTTP; leaves out the stops")
	s.benchFlags(cmd, &cfg, &seconds)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.benchConfig(&cfg, seconds); err != nil {
			return err
		}
		if cfg.InProcess {
			cfg.Stops = 0
		}
		report, err := bench.Spend(cmd.Context(), cfg)
		if err != nil {
			return notMeasured(cmd.Context(), err)
		}
		if s.json {
			return s.flat("bench", report)
		}
		p := &page{}
		showReport(p, report)
		return s.text(p)
	}
	return cmd
}

// notMeasured is why there is no report. A measurement that was interrupted fails in many
// words, as what it started ends: they say nothing.
func notMeasured(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return purser.Errorf(purser.InvalidRequest, "the measurement failed: %v", err).WithCause(err)
}

func showReport(p *page, r bench.Report) {
	p.line("%.0f decisions per second, p50 %.1f ms, p99 %.1f ms, %.1f records a turn", r.PerSecond, r.P50, r.P99, r.BatchMean)
	for _, b := range []struct {
		name  string
		rate  float64
		ratio *float64
	}{{"pgbench -N", r.Pgbench, r.RatioPgbench}, {"fdatasync of the disk", r.Fdatasync, r.RatioFdatasync}} {
		if b.ratio != nil {
			p.line("  %-22s %8.0f per second: ratio %.2f", b.name, b.rate, *b.ratio)
		}
	}
	if r.RatioFresh != nil {
		p.line("  on top of %d records %8.0f per second: %.2f of the fresh database", r.Rows, r.RowsRate, *r.RatioFresh)
	}
	if r.Cycles > 0 {
		p.line("%d stops: %d charges were sent after an acknowledgement, %d accepted; acknowledged in p50 %.1f ms, p99 %.1f ms",
			r.Cycles, r.OfferedAfterStop, r.AcceptedAfterStop, r.StopP50, r.StopP99)
	}
	p.line("%d records; books and logs %s; server memory %.0f MB", r.Records, r.BooksAndLogs, float64(r.Memory)/(1<<20))
	for _, v := range r.Void {
		p.line("no ratio: %s", v)
	}
}

func (s *session) benchTable() *cobra.Command {
	var cfg bench.Config
	var seconds int
	var out string
	cmd := &cobra.Command{
		Use: "table", Short: "Measure every row of the table in docs/performance.md", Args: needs(),
		Example: "  purser bench table --out bench",
	}
	cmd.Flags().StringVar(&out, "out", "bench", "folder for spend.json and spend.md")
	s.benchFlags(cmd, &cfg, &seconds)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.benchConfig(&cfg, seconds); err != nil {
			return err
		}
		reports, failed := bench.Table(cmd.Context(), cfg)
		if len(reports) > 0 {
			if err := writeTable(s.path(out), reports); err != nil {
				return err
			}
		}
		if failed != nil {
			return notMeasured(cmd.Context(), failed)
		}
		if s.json {
			return s.flat("bench", struct {
				Reports []bench.Report `json:"reports"`
				Missed  []string       `json:"missed"`
			}{reports, bench.Misses(reports)})
		}
		p := &page{}
		p.line("%s", bench.Markdown(reports))
		for _, m := range bench.Misses(reports) {
			p.line("missed: %s", m)
		}
		return s.text(p)
	}
	return cmd
}

func writeTable(dir string, reports []bench.Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("keeping the table: %w", err)
	}
	text, err := json.MarshalIndent(reports, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the table: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "spend.json"), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("keeping the table: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "spend.md"), []byte(bench.Markdown(reports)), 0o644)
}

// benchLoad is the load as a process of its own; the measurement starts it.
func (s *session) benchLoad() *cobra.Command {
	return &cobra.Command{
		Use: "load", Short: "Carry out the load that standard input describes", Args: needs(), Hidden: true,
		Example: "  purser bench load < order.json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return bench.Serve(cmd.Context(), s.In, s.Out) },
	}
}
