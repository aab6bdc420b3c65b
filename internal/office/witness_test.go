package office_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/office"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/witness"
)

// place is a witness that can be out of reach.
type place struct {
	mu    sync.Mutex
	down  error
	tries int
	notes []string
}

func (p *place) Keep(_ context.Context, notes []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	if p.down == nil {
		p.notes = append(p.notes, notes...)
	}
	return p.down
}

// Each checkpoint gets to each place, in order and once, also after the place was
// away; and what the file holds is what the verifier takes.
func TestWitnessesGetEachCheckpoint(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		file := filepath.Join(t.TempDir(), "checkpoints")
		away := &place{down: errors.New("no route to host")}
		h := open(t, database, standing)
		h.o.Witnesses = map[string]office.Witness{"file": witness.File{Path: file}, "url": away}
		grow := func(n int) {
			t.Helper()
			for range n {
				err := h.store.Turn(h.ctx, h.owner.Organization, func(t *store.Turn) error { t.Record(note("more")); return nil })
				if err == nil {
					err = h.o.Checkpoint(h.ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		grow(3)
		if err := h.o.Testify(h.ctx); purser.CodeOf(err) != purser.Unavailable {
			t.Errorf("a place is away: %v", err)
		}
		state := must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Witnesses
		if len(state) != 2 || state[0].Place != "file" || state[0].Behind != 0 || state[0].Fails != 0 || state[0].At == nil ||
			state[1].Size != 0 || state[1].Behind == 0 || state[1].Fails != 1 || state[1].Error != "no route to host" || state[1].At != nil {
			t.Errorf("%+v", state)
		}
		// It is not asked again at once, and then with longer and longer pauses.
		for range 20 {
			if err := h.o.Testify(h.ctx); err != nil {
				t.Errorf("within its pause: %v", err)
			}
		}
		if away.tries != 1 {
			t.Errorf("%d tries within a pause", away.tries)
		}
		for range 3 {
			h.later(9 * time.Second)
			_ = h.o.Testify(h.ctx)
		}
		if away.tries < 3 || away.tries > 4 {
			t.Errorf("%d tries in half a minute", away.tries)
		}
		grow(120) // more than one delivery holds
		away.down = nil
		h.later(10 * time.Minute)
		if err := errors.Join(h.o.Testify(h.ctx), h.o.Testify(h.ctx)); err != nil {
			t.Fatal(err)
		}
		state = must[purser.Status](h, h.owner, "status", purser.AskStatus{}).Witnesses
		for _, s := range state {
			if s.Behind != 0 || s.Fails != 0 || s.Error != "" {
				t.Errorf("%+v", s)
			}
		}
		_, agent := h.run(100)
		if seen := must[purser.Status](h, agent, "status", purser.AskStatus{}).Witnesses; len(seen) != 0 {
			t.Errorf("the agent sees the witnesses: %+v", seen)
		}
		if err := errors.Join(h.o.Checkpoint(h.ctx), h.o.Testify(h.ctx)); err != nil {
			t.Fatal(err)
		}

		key := must[purser.Checkpoint](h, h.owner, "checkpoint", purser.AskCheckpoint{}).PublicKey
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sizes := func(notes []string) (all []int64) {
			for _, n := range notes {
				if c, err := audit.OpenCheckpoint(n, key); err == nil {
					all = append(all, c.Size)
				}
			}
			return all
		}
		want := h.ask("SELECT COUNT(*) FROM checkpoints WHERE organization = $1", h.owner.Organization)
		got := sizes(away.notes)
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] {
				t.Errorf("size %d comes after %d", got[i], got[i-1])
			}
		}
		if int64(len(got)) != want || int64(bytes.Count(kept, []byte("\n— purser/"))) != h.ask("SELECT COUNT(*) FROM checkpoints") {
			t.Errorf("%d of %d checkpoints came", len(got), want)
		}
		for name, text := range map[string][]byte{"file": kept, "url": []byte(strings.Join(away.notes, "\n"))} {
			out := &bytes.Buffer{}
			if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{}, out); err != nil {
				t.Fatal(err)
			}
			report, err := audit.Verify(bytes.NewReader(out.Bytes()), key, audit.VerifyOptions{Books: true, Witness: text})
			if err != nil || !report.Verified {
				t.Errorf("with the %s: %v", name, err)
			}
			// Rolled back to the checkpoint before: found with the witness only.
			short := rolledBack(t, out.String())
			if _, err := audit.Verify(strings.NewReader(short), key, audit.VerifyOptions{}); err != nil {
				t.Errorf("the shorter log alone: %v", err)
			}
			if _, err := audit.Verify(strings.NewReader(short), key, audit.VerifyOptions{Witness: text}); err == nil {
				t.Errorf("with the %s, a log that was rolled back verifies", name)
			}
		}
		// Two replicas at once, and one that is told to end: nothing is lost.
		grow(5)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := h.o.Testify(h.ctx); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		ended, end := context.WithCancel(h.ctx)
		end()
		grow(1)
		_ = h.o.Testify(ended)
		if err := h.o.Testify(h.ctx); err != nil {
			t.Error(err)
		}
		if got := sizes(away.notes); got[len(got)-1] != h.ask("SELECT MAX(size) FROM checkpoints WHERE organization = $1", h.owner.Organization) {
			t.Errorf("the last that came is of %d records", got[len(got)-1])
		}
	})
}

// rolledBack is an export that ends at the checkpoint before its last.
func rolledBack(t *testing.T, export string) string {
	t.Helper()
	lines := strings.SplitAfter(strings.TrimSuffix(export, "\n"), "\n")
	for i := len(lines) - 2; i > 0; i-- {
		if strings.HasPrefix(lines[i], `{"checkpoint":`) {
			n := strings.LastIndex(lines[i], `,"n":`)
			return strings.Join(lines[:i], "") + lines[i][:n] + `,"last":true` + lines[i][n:]
		}
	}
	t.Fatal("there is one checkpoint only")
	return ""
}
