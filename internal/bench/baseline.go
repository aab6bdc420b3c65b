package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

const (
	pgbenchScale   = 50 // RULES 26
	pgbenchClients = 64 // at most
	pgbenchName    = "pgbench"
)

// makePgbench makes the database of the baseline, on the server that is measured.
func (p *Postgres) makePgbench(ctx context.Context) error {
	if err := p.Do(ctx, "postgres", "CREATE DATABASE "+pgbenchName); err != nil {
		return fmt.Errorf("making the baseline's database: %w", err)
	}
	_, err := p.pgbench(ctx, "-i", "-q", "-s", strconv.Itoa(pgbenchScale))
	return err
}

var tps = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)

// simpleUpdate is pgbench -N, prepared: transactions per second.
func (p *Postgres) simpleUpdate(ctx context.Context, clients int, d time.Duration) (float64, error) {
	clients = min(clients, pgbenchClients)
	out, err := p.pgbench(ctx, "-N", "-n", "-M", "prepared", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(2, clients)),
		"-T", strconv.Itoa(max(1, int(d.Round(time.Second)/time.Second))))
	if err != nil {
		return 0, err
	}
	found := tps.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("pgbench says no rate: %s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

func (p *Postgres) pgbench(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.Bin, "pgbench"), append(args, p.URL(pgbenchName))...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("running pgbench: %w: %s", err, out)
	}
	return out, nil
}

const (
	appendBytes = 4096            // what one append of the disk's baseline writes
	appendFile  = 1 << 20         // overwritten again and again, as a write-ahead log is
	appendLeast = time.Second / 2 // one measurement of the disk takes at least
)

// commitRate is how often per second the disk that holds a folder takes a small
// write and says that it is there: no database can commit more often one by one.
func commitRate(dir string, d time.Duration) (rate float64, err error) {
	f, err := os.CreateTemp(dir, "append-")
	if err != nil {
		return 0, fmt.Errorf("measuring the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, appendBytes)
	// Written once before, so that no append has to find room first.
	for at := int64(0); at < appendFile; at += appendBytes {
		if _, err := f.WriteAt(page, at); err != nil {
			return 0, fmt.Errorf("measuring the disk: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("measuring the disk: %w", err)
	}
	began, n := time.Now(), 0
	for ; time.Since(began) < max(d, appendLeast); n++ {
		page[0] = byte(n)
		if _, err := f.WriteAt(page, int64(n)*appendBytes%appendFile); err != nil {
			return 0, fmt.Errorf("measuring the disk: %w", err)
		}
		if err := dataSync(f); err != nil {
			return 0, fmt.Errorf("measuring the disk: %w", err)
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// median of an odd number of values is one of them; of none it is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
