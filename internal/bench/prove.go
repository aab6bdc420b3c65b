package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
	"github.com/purser-dev/purser/internal/audit"
)

// Proof is what an independent reader found in a log and in the books behind it.
type Proof struct {
	Records       int64
	Accepted      map[string]int64 // key of idempotency to seq, of accepted spends
	Twice         []string         // keys that were accepted more than once
	Raised        int64            // money that accepted spends added, in minor units
	Stops         map[string]int64 // stop's id to K
	AcceptedAfter int64            // spends accepted in the scope of a stop in force, after its K
}

// Prove walks the books of a person's organization, exports its log, verifies the
// export with nothing but its key, and reads it. A fault is an error.
func Prove(ctx context.Context, person *client.Client, dir string) (Proof, error) {
	p := Proof{Accepted: map[string]int64{}, Stops: map[string]int64{}}
	books, err := person.CheckBooks(ctx, purser.None{})
	if err != nil {
		return p, fmt.Errorf("walking the books: %w", err)
	}
	if !books.OK {
		return p, fmt.Errorf("the books do not balance: %s", strings.Join(books.Faults, "; "))
	}
	key, err := covered(ctx, person)
	if err != nil {
		return p, err
	}
	file, err := os.CreateTemp(dir, "export-")
	if err != nil {
		return p, fmt.Errorf("keeping the export: %w", err)
	}
	defer func() { _ = errors.Join(file.Close(), os.Remove(file.Name())) }() // it was read whole
	out := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(person.ExportAudit(ctx, purser.ExportAudit{}, out), out.Flush()); err != nil {
		return p, fmt.Errorf("exporting the log: %w", err)
	}
	if _, err := file.Seek(0, 0); err != nil {
		return p, fmt.Errorf("reading the export: %w", err)
	}
	r := reader{proof: &p, stops: map[string]string{}}
	report, err := audit.Verify(bufio.NewReaderSize(file, 1<<20), key, audit.VerifyOptions{Books: true, Each: r.read})
	if err != nil {
		return p, fmt.Errorf("verifying the log: %w", err)
	}
	p.Records = report.Records
	return p, nil
}

// covered waits until a checkpoint covers the log's end, and returns its key.
func covered(ctx context.Context, person *client.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		head, err := person.AuditLog(ctx, purser.AskAudit{Limit: 1})
		if err != nil {
			return "", fmt.Errorf("reading the log's head: %w", err)
		}
		if strings.Contains(head.Checkpoint, "\n") && head.PublicKey != "" {
			return head.PublicKey, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// reader reads records in order. It knows nothing of the engine: a spend is an
// accepted record that raised the use of a budget, or began an effect.
type reader struct {
	proof *Proof
	stops map[string]string // "scope:target" in force to the stop's id
}

func (r reader) read(rec audit.Record) error {
	if rec.Outcome != audit.Accepted {
		return nil
	}
	switch rec.Action {
	case "stop":
		r.proof.Stops[rec.Detail["stop"]] = rec.Seq
		r.stops[rec.Target] = rec.Detail["stop"]
		return nil
	case "resume":
		for target, stop := range r.stops {
			if stop == rec.Target {
				delete(r.stops, target)
			}
		}
		return nil
	}
	raised := int64(0)
	for _, b := range rec.Budgets {
		raised = max(raised, b.Change)
	}
	if raised == 0 && rec.Action != "begin" {
		return nil
	}
	r.proof.Raised += raised
	if rec.IdempotencyKey != "" {
		if _, again := r.proof.Accepted[rec.IdempotencyKey]; again {
			r.proof.Twice = append(r.proof.Twice, rec.IdempotencyKey)
		}
		r.proof.Accepted[rec.IdempotencyKey] = rec.Seq
	}
	if r.stopped(rec) {
		r.proof.AcceptedAfter++
	}
	return nil
}

// stopped reports whether a stop in force covers a spend. The levels are those
// that the record itself names.
func (r reader) stopped(rec audit.Record) bool {
	scopes := []string{"organization:" + rec.Org, "project:" + rec.Project, "run:" + rec.Run}
	if rec.Actor.Kind == string(purser.Agent) {
		scopes = append(scopes, "agent:"+rec.Actor.ID)
	}
	for _, b := range rec.Budgets {
		scopes = append(scopes, b.Scope) // "provider:NAME" among them
	}
	for _, s := range scopes {
		if _, ok := r.stops[s]; ok {
			return true
		}
	}
	return false
}
