package office_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Drill i: whatever is changed in the log behind the office's back, the verifier
// names the first record that is not what was written.
func TestAChangedLogIsFoundAndNamed(t *testing.T) {
	manyHouses(t)
	t.Parallel()
	tests := []struct {
		name   string
		change func(h *house, seq int64)
	}{
		{"one byte of a record", func(h *house, seq int64) {
			h.rewrite(seq, func(b *block) { b.replace(seq, `"outcome":"accepted"`, `"outcome":"bccepted"`) })
		}},
		{"the sum of a charge", func(h *house, seq int64) {
			h.rewrite(seq, func(b *block) { b.replace(seq, "1200", "1100") })
		}},
		{"a hash of the tree", func(h *house, seq int64) {
			h.rewrite(seq, func(b *block) { b.hashes[(audit.LeafIndex(seq)-audit.FirstHash(b.first-1))*32] ^= 1 })
		}},
		{"a hash that is gone", func(h *house, seq int64) {
			h.rewrite(seq, func(b *block) { b.hashes = b.hashes[:(audit.LeafIndex(seq)-audit.FirstHash(b.first-1))*32] })
		}},
	}
	inTurn(t, func(t *testing.T, database string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				h := open(t, fresh(t, database))
				h.seller.pay = h.rail()
				_, agent := h.run(2000)
				must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
				h.once(1200)
				seq := int64(0)
				for _, r := range h.records() {
					if r.Action == "charge" {
						seq = r.Seq
					}
				}
				h.disarm()
				tt.change(h, seq)
				if report := h.export(); report.Verified || report.Fault == nil || report.Fault.Seq != seq {
					t.Errorf("verified %v, fault %+v, want it at record %d", report.Verified, report.Fault, seq)
				}
			})
		}
		// What becomes of a block is found at its first record.
		for name, change := range map[string]string{
			"a record that is gone":              "DELETE FROM audit WHERE organization = $1 AND seq = 2",
			"a block that cannot be unpacked":    "UPDATE audit SET leaves = substr(leaves, 1, 40) WHERE organization = $1 AND seq = 2",
			"a block that is empty":              "UPDATE audit SET leaves = substr(leaves, 1, 0) WHERE organization = $1 AND seq = 2",
			"a block packed by nobody":           "UPDATE audit SET leaves = hashes WHERE organization = $1 AND seq = 2",
			"a block that says it has more":      "UPDATE audit SET n = n + 1 WHERE organization = $1 AND seq = 2",
			"a block that says it has many more": "UPDATE audit SET n = 9223372036854775807 WHERE organization = $1 AND seq = 2",
			"a block that says it has none":      "UPDATE audit SET n = 0 WHERE organization = $1 AND seq = 2",
			"a block that says less than none":   "UPDATE audit SET n = -5 WHERE organization = $1 AND seq = 2",
			"the block before, said to have two": "UPDATE audit SET n = 2 WHERE organization = $1 AND seq = 2",
		} {
			t.Run(name, func(t *testing.T) {
				h := open(t, fresh(t, database))
				_, _ = h.run(2000)
				h.verify()
				h.disarm()
				h.sql(change, h.owner.Organization)
				if report := h.export(); report.Verified || report.Fault == nil || report.Fault.Seq != 2 {
					t.Errorf("verified %v, fault %+v, want it at record 2", report.Verified, report.Fault)
				}
				if b, err := do[purser.Books](h, h.owner, "check_books", purser.None{}); err != nil || b.OK || !strings.Contains(strings.Join(b.Faults, "; "), "record ") {
					t.Errorf("the books: %v, %v", b.Faults, err)
				}
			})
		}
	})
}

// block is a row of the log, unpacked.
type block struct {
	first, last int64
	hashes      []byte
	leaves      [][]byte
}

// replace writes something else into a record.
func (b *block) replace(seq int64, from, to string) {
	leaf := &b.leaves[seq-b.first]
	*leaf = bytes.ReplaceAll(*leaf, []byte(from), []byte(to))
}

// rewrite changes the block that has a record behind the office's back.
func (h *house) rewrite(seq int64, change func(*block)) {
	h.t.Helper()
	var b block
	row, err := h.store.Read().AuditBlocks(h.ctx, db.AuditBlocksParams{Organization: h.owner.Organization, After: seq - 1, RowLimit: 1})
	if err == nil {
		b = block{first: row[0].Seq - row[0].N + 1, last: row[0].Seq, hashes: row[0].Hashes}
		b.leaves, err = store.UnpackLeaves(row[0].Leaves, row[0].N)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	change(&b)
	h.sql("UPDATE audit SET hashes = $3, leaves = $4 WHERE organization = $1 AND seq = $2", h.owner.Organization, b.last, b.hashes, store.PackLeaves(b.leaves))
}

// disarm takes away the triggers that keep statements from changing the log, as
// somebody would who may alter the schema.
func (h *house) disarm() {
	h.t.Helper()
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	for _, table := range []string{"audit", "checkpoints", "movements"} {
		drop := []string{"DROP TRIGGER " + table + "_no_update", "DROP TRIGGER " + table + "_no_delete"}
		if strings.HasPrefix(h.db, "postgres") {
			drop = []string{"DROP TRIGGER " + table + "_append_only ON " + table}
		}
		for _, statement := range drop {
			if _, err := conn.ExecContext(h.ctx, statement); err != nil {
				h.t.Fatalf("%s: %v", statement, err)
			}
		}
	}
}

// export verifies what the log says now.
func (h *house) export() audit.Report {
	h.t.Helper()
	var out bytes.Buffer
	if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{}, &out); err != nil && purser.CodeOf(err) != purser.BooksBroken {
		h.t.Fatal(err)
	}
	key := must[purser.AuditPage](h, h.owner, "audit_log", purser.AskAudit{Limit: 1}).PublicKey
	report, err := audit.Verify(&out, key, audit.VerifyOptions{Books: true})
	if (err == nil) != report.Verified {
		h.t.Errorf("verified %v, and the error is %v", report.Verified, err)
	}
	return report
}

// Whoever has the key checks one record without the rest of the log, and that the
// log only grew; an agent gets its own run's records and learns of no others.
func TestARecordIsProvedToWhomItConcerns(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		run, agent := h.run(2000)
		_, other := h.run(2000)
		before := must[purser.Checkpoint](h, h.owner, "checkpoint", purser.AskCheckpoint{})
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		h.once(1200)
		for _, r := range h.records() {
			in := purser.Prove{Seq: r.Seq, From: before.Size}
			proof := must[purser.AuditProof](h, h.owner, "prove", in)
			text, err := json.Marshal(proof)
			if err != nil {
				t.Fatal(err)
			}
			got, err := audit.VerifyProof(text, before.PublicKey, audit.VerifyOptions{Witness: []byte(before.Checkpoint)})
			if err != nil || got.Record.Seq != r.Seq || got.Witnessed != before.Size {
				t.Errorf("record %d: %+v, %v", r.Seq, got, err)
			}
			mine, err := do[purser.AuditProof](h, agent, "prove", in)
			if r.Run == run.ID && (err != nil || mine.Leaf != proof.Leaf) {
				t.Errorf("its own run's record %d is kept from the agent: %v", r.Seq, err)
			}
			if r.Run != run.ID {
				refused(t, err, purser.NotFound)
			}
			if _, err := do[purser.AuditProof](h, other, "prove", in); r.Run != other.Run {
				refused(t, err, purser.NotFound)
			}
		}
		now := must[purser.Checkpoint](h, agent, "checkpoint", purser.AskCheckpoint{From: before.Size})
		grown(t, before, now)
		first := must[purser.Checkpoint](h, h.owner, "checkpoint", purser.AskCheckpoint{Size: before.Size})
		if first.Checkpoint != before.Checkpoint {
			t.Errorf("the checkpoint of %d records became %s", before.Size, first.Checkpoint)
		}
		_, err := do[purser.AuditProof](h, h.owner, "prove", purser.Prove{Seq: 1 << 40})
		refused(t, err, purser.NotFound)
		_, err = do[purser.AuditProof](h, h.owner, "prove", purser.Prove{Seq: -1})
		refused(t, err, purser.NotFound)
		_, err = do[purser.AuditProof](h, h.owner, "prove", purser.Prove{Seq: 1, From: 1 << 40})
		refused(t, err, purser.NotFound)
		_, err = do[purser.AuditProof](h, h.owner, "prove", purser.Prove{Seq: 1, From: -1})
		refused(t, err, purser.InvalidRequest)
		_, err = do[purser.AuditProof](h, agent, "prove", purser.Prove{Seq: 1, Log: "installation"})
		refused(t, err, purser.Forbidden)
		must[purser.AuditProof](h, h.owner, "prove", purser.Prove{Seq: 1, Log: "installation"})
		_, err = do[purser.Checkpoint](h, agent, "checkpoint", purser.AskCheckpoint{Log: "installation"})
		refused(t, err, purser.Forbidden)
	})
}

// grown checks with nothing but the key that the second log begins with the first.
func grown(t *testing.T, older, newer purser.Checkpoint) {
	t.Helper()
	a, err1 := audit.OpenCheckpoint(older.Checkpoint, older.PublicKey)
	b, err2 := audit.OpenCheckpoint(newer.Checkpoint, older.PublicKey)
	var path []tlog.Hash
	for _, text := range newer.Consistency {
		h, err := tlog.ParseHash(text)
		if err != nil {
			t.Fatal(err)
		}
		path = append(path, h)
	}
	if err := errors.Join(err1, err2, audit.CheckConsistency(path, b.Size, b.Root, a.Size, a.Root)); err != nil || b.Size <= a.Size {
		t.Errorf("%d to %d records: %v", a.Size, b.Size, err)
	}
}

// A checkpoint is made within a second, or after a thousand records without waiting
// for it; two replicas that sign at once leave one row a size.
func TestACheckpointIsNeverFarBehind(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, database string) {
		h := open(t, database)
		ctx, cancel := context.WithCancel(h.ctx)
		defer cancel()
		began := time.Now()
		if err := h.o.NextCheckpoint(ctx); err != nil { // the first is due at once
			t.Fatal(err)
		}
		err := h.store.Turn(h.ctx, h.owner.Organization, func(t *store.Turn) error { t.Record(note("quiet")); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := h.o.NextCheckpoint(ctx); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 500*time.Millisecond {
			t.Errorf("a quiet log is signed after %v", waited)
		}
		h.covered()
		h.o.Grow(h.owner.Organization, 1000)
		last := time.Now()
		if err := h.o.NextCheckpoint(ctx); err != nil {
			t.Fatal(err)
		}
		signed := make(chan error, 1)
		go func() { signed <- h.o.NextCheckpoint(ctx) }()
		h.o.Grow(h.owner.Organization, 400)
		h.o.Grow(store.Installation, 800) // of another log: a thousand of each count
		select {
		case err := <-signed:
			if time.Since(last) < time.Second {
				t.Error("a checkpoint was due after 400 records")
			}
			signed <- err
		default:
			h.o.Grow(h.owner.Organization, 600)
		}
		if err := <-signed; err != nil {
			t.Error(err)
		}
		// Two replicas at once.
		err = h.store.Turn(h.ctx, h.owner.Organization, func(t *store.Turn) error { t.Record(note("both")); return nil })
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := h.o.Checkpoint(h.ctx); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		h.covered()
		cancel()
		if err := h.o.NextCheckpoint(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
		if report := h.export(); !report.Verified {
			t.Errorf("%+v", report.Fault)
		}
	})
}

func note(action string) audit.Record {
	return audit.Record{Actor: audit.Actor{Kind: "system", ID: "test"}, Action: action, Outcome: audit.Accepted}
}

// covered fails the test unless each log has a checkpoint of all its records.
func (h *house) covered() {
	h.t.Helper()
	if n := h.ask("SELECT COUNT(*) FROM organizations o WHERE o.seq > COALESCE((SELECT MAX(size) FROM checkpoints c WHERE c.organization = o.id), 0)"); n != 0 {
		h.t.Errorf("%d logs have records that no checkpoint covers", n)
	}
}

// Who comes after a thousand others is counted with the rest of them, and has to wait
// as they do.
func TestASourceAfterAThousandOthersIsThrottledToo(t *testing.T) {
	t.Parallel()
	h := open(t, aDB(t), standing)
	for i := range 1000 {
		h.o.CountRefusal(fmt.Sprintf("198.51.%d.%d", i/250, i%250), "rate_limited")
	}
	ask := func(source string) error {
		_, err := do[purser.Challenge](h, purser.Actor{Source: source}, "ask_sign_in", purser.AskSignIn{Email: "ada@example.org"})
		return err
	}
	for range 10 {
		if err := ask("192.0.2.1"); err != nil {
			t.Fatal(explain(err))
		}
		_, _ = h.o.Authenticate(h.ctx, "rubbish", "192.0.2.1")
	}
	refused(t, ask("192.0.2.1"), purser.TooManyTries)
	if err := ask("198.51.0.1"); err != nil {
		t.Errorf("one that is counted by itself: %v", explain(err))
	}
	h.later(time.Minute)
	if err := ask("192.0.2.1"); err != nil {
		t.Errorf("in the next minute: %v", explain(err))
	}
}

// Strangers' refusals are counted: one record a source and minute, whatever comes.
func TestRefusalsOfStrangersAreCountedNotListed(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database, standing)
		must[purser.Accepted](h, h.owner, "sign_out", purser.SignOut{})
		for range 30 {
			_, err := h.o.Authenticate(h.ctx, h.token, "192.0.2.2") // one that has ended
			refused(t, err, purser.NotSignedIn)
			_, _ = h.o.Authenticate(h.ctx, "rubbish", "192.0.2.1")
			h.o.CountRefusal("192.0.2.1", "rate_limited")
			h.o.CountRefusal("192.0.2.2", "no_credential")
		}
		_, err := do[purser.Challenge](h, purser.Actor{Source: "192.0.2.2"}, "ask_sign_in", purser.AskSignIn{Email: "ada@example.org"})
		if err != nil {
			t.Errorf("who sent no credential may not sign in: %v", err)
		}
		_, err = do[purser.Challenge](h, purser.Actor{Source: "192.0.2.1"}, "ask_sign_in", purser.AskSignIn{Email: "ada@example.org"})
		refused(t, err, purser.TooManyTries)
		for i := range 5000 {
			h.o.CountRefusal(fmt.Sprintf("198.51.%d.%d", i/250, i%250), "rate_limited")
		}
		h.later(time.Minute)
		h.o.CountRefusal("192.0.2.1", "rate_limited") // of the next minute
		if err := h.o.Due(h.ctx); err != nil {
			t.Fatal(err)
		}
		rows, err := store.RecordsAfter(h.ctx, h.store.Read(), store.Installation, 0, 1<<40, 100000)
		if err != nil {
			t.Fatal(err)
		}
		var all, total int
		for _, row := range rows {
			r, err := audit.ParseRecord(row.Leaf)
			if err != nil {
				t.Fatal(err)
			}
			if r.Action != "refused_unauthenticated" {
				continue
			}
			all++
			n, _ := strconv.Atoi(r.Detail["rate_limited"])
			total += n
			switch {
			case r.Target == "192.0.2.1" && (r.Detail["authenticate"] != "30" || r.Detail["rate_limited"] != "31"):
				t.Errorf("%s: %v", r.Target, r.Detail)
			case r.Target == "192.0.2.2" && (r.Detail["no_credential"] != "30" || r.Detail["ended_credential"] != "30" || r.Detail["authenticate"] != ""):
				t.Errorf("%s: %v", r.Target, r.Detail)
			}
		}
		if all > 1001 || total != 31+5000 {
			t.Errorf("%d records of %d refusals", all, total)
		}
		out := &bytes.Buffer{}
		if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{Log: "installation"}, out); err != nil {
			t.Fatal(err)
		}
		key := must[purser.Checkpoint](h, h.owner, "checkpoint", purser.AskCheckpoint{Log: "installation"}).PublicKey
		if !strings.HasPrefix(key, "purser/ins_") || !strings.Contains(key, "/installation+") {
			t.Errorf("the installation's log is signed as %s", key)
		}
		if _, err := audit.Verify(out, key, audit.VerifyOptions{Books: true}); err != nil {
			t.Error(err)
		}
	})
}

// The exports for others: each line of the log is an OCSF event, each charge and
// refund a FOCUS row whose sum is what was spent. What the fields may hold is
// tested beside the code that writes them.
func TestExportsForOthersHoldWhatTheLogHolds(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		h.seller.pay = h.rail()
		_, agent := h.run(2000)
		must[purser.Plan](h, agent, "apply", purser.Apply{Plan: h.planned(agent, domain("superseal.club")).ID})
		h.once(1200)
		var events, costs bytes.Buffer
		if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{Format: purser.FormatOCSF}, &events); err != nil {
			t.Fatal(err)
		}
		records := h.records()
		list := strings.Split(strings.TrimSpace(events.String()), "\n")
		if len(list) != len(records) {
			t.Fatalf("%d events of %d records", len(list), len(records))
		}
		for i, line := range list {
			var e struct {
				RawData  string `json:"raw_data"`
				Metadata struct{ Sequence int64 }
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Metadata.Sequence != records[i].Seq {
				t.Errorf("event %d: %v %+v", i, err, e)
			}
			if leaf, err := records[i].Leaf(); err != nil || string(leaf) != e.RawData {
				t.Errorf("event %d does not hold its record", i)
			}
		}
		if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{Format: purser.FormatFOCUS}, &costs); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&costs).ReadAll()
		if err != nil || len(rows) != 2 || rows[1][0] != "12.00" || slices.Index(rows[0], "BilledCost") != 0 {
			t.Errorf("%v, %v", rows, err)
		}
		if project := rows[1][slices.Index(rows[0], "SubAccountName")]; project != "shop" {
			t.Errorf("the project is %q", project)
		}
		err = h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{Format: "xml"}, io.Discard)
		refused(t, err, purser.InvalidRequest)
		for _, format := range []string{"", purser.FormatOCSF, purser.FormatFOCUS} {
			err = h.o.ExportAudit(h.ctx, agent, purser.ExportAudit{Format: format}, io.Discard)
			refused(t, err, purser.Forbidden)
		}
	})
}

// What is labelled is shown with its labels, and a cost carries those that its budgets
// knew it by, also after they were taken away, and those that its run and project have.
func TestLabelsAreShownAndExported(t *testing.T) {
	t.Parallel()
	inTurn(t, func(t *testing.T, database string) {
		h := open(t, database)
		run, agent := h.run(2000, func(in *purser.CreateRun) { in.Labels = []string{"tier=1", "team=blue"} })
		label := func(labels ...string) {
			in := purser.SetLabels{Scope: purser.ScopeProject, ID: "shop", Labels: labels}
			in.Act = h.sign("set_labels", in)
			must[purser.Labelled](h, h.owner, "set_labels", in)
		}
		label("team=search", "stage=beta")
		for _, l := range []string{"stage=beta", "call=chat"} {
			h.limitIn(purser.ScopeLabel, l, purser.PeriodMonth, usd(1000))
		}
		for name, labels := range map[string][]string{
			"list_projects": must[purser.List[purser.Project]](h, h.owner, "list_projects", purser.Page{}).Items[0].Labels,
			"of an agent":   must[purser.List[purser.Project]](h, agent, "list_projects", purser.Page{}).Items[0].Labels,
		} {
			if want := []string{"stage=beta", "team=search"}; !slices.Equal(labels, want) {
				t.Errorf("%s: %q, want %q", name, labels, want)
			}
		}
		for name, r := range map[string]purser.Run{
			"create_run": run,
			"list_runs":  must[purser.List[purser.Run]](h, h.owner, "list_runs", purser.Page{}).Items[0],
			"show_run":   must[purser.Run](h, agent, "show_run", purser.RunRef{}),
		} {
			if want := []string{"tier=1", "team=blue"}; !slices.Equal(r.Labels, want) {
				t.Errorf("%s: %q, want %q", name, r.Labels, want)
			}
		}
		must[purser.Hold](h, agent, "charge_usage", purser.ChargeUsage{Provider: "models", Labels: []string{"call=chat"}, AmountMinor: 3, Currency: "USD"})
		label("stage=ripe", "team=search")
		var costs bytes.Buffer
		if err := h.o.ExportAudit(h.ctx, h.owner, purser.ExportAudit{Format: purser.FormatFOCUS}, &costs); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&costs).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("%v, %v", rows, err)
		}
		want := `{"call":"chat","purser/run":"` + run.ID + `","stage":"beta","team":"blue","tier":"1"}`
		if got := rows[1][slices.Index(rows[0], "Tags")]; got != want {
			t.Errorf("tags %s, want %s", got, want)
		}
	})
}
