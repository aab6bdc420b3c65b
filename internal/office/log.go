package office

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// key signs the checkpoints of one log. It is made once: deriving it from the seed
// takes as long as two signatures.
func (o *Office) key(org string) (audit.Key, error) {
	if key, ok := o.logKeys.Load(org); ok {
		return key.(audit.Key), nil
	}
	origin, err := audit.Origin(o.installation, org)
	if err != nil {
		return audit.Key{}, err
	}
	key, err := audit.NewKey(origin, o.AuditSeed)
	if err == nil {
		o.logKeys.Store(org, key)
	}
	return key, err
}

// Checkpoint signs the tree of each log that has grown. There is one row a size,
// so two replicas never sign two roots (RULES 22).
func (o *Office) Checkpoint(ctx context.Context) error {
	grown, err := o.Store.Read().Grown(ctx)
	if err != nil {
		return err
	}
	var failed error
	for len(grown) > 0 {
		some := grown[:min(len(grown), signedAtOnce)]
		grown = grown[len(some):]
		if err := o.signAll(ctx, some); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// signedAtOnce is how many logs' checkpoints one transaction writes.
const signedAtOnce = 100

// signAll signs what these logs hold now. A log whose tree cannot be read keeps
// none of the others waiting.
func (o *Office) signAll(ctx context.Context, logs []db.Organization) (failed error) {
	var rows []db.Checkpoint
	for _, org := range logs {
		row, err := o.signTree(ctx, org)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("signing a checkpoint of %s: %w", org.ID, err))
			continue
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return failed
	}
	return errors.Join(failed, o.Store.KeepCheckpoints(ctx, rows))
}

// signTree signs the root of a log as its row has it: the right edge of the tree,
// which needs no reading.
func (o *Office) signTree(ctx context.Context, org db.Organization) (row db.Checkpoint, err error) {
	edge, err := audit.OpenEdge(org.Seq, org.Edge, o.Store.Hashes(ctx, org.ID))
	if err != nil {
		return row, err
	}
	key, err := o.key(org.ID)
	if err != nil {
		return row, err
	}
	origin, err := audit.Origin(o.installation, org.ID)
	if err != nil {
		return row, err
	}
	note, err := key.Sign(audit.Checkpoint{Origin: origin, Size: org.Seq, Root: edge.Root(), Time: org.Clock})
	return db.Checkpoint{Organization: org.ID, Size: org.Seq, Note: note, At: store.Micro(o.Now())}, err
}

// checkpoint returns the newest signed checkpoint, made now if there is news.
func (o *Office) checkpoint(ctx context.Context, org db.Organization) (db.Checkpoint, error) {
	last, err := o.Store.Read().LastCheckpoint(ctx, org.ID)
	if err != nil && !missing(err) {
		return last, err
	}
	if err == nil && last.Size >= org.Seq || org.Seq == 0 {
		return last, nil
	}
	if err := o.signAll(ctx, []db.Organization{org}); err != nil {
		return last, err
	}
	return o.Store.Read().LastCheckpoint(ctx, org.ID)
}

// A log's checkpoint is due a second after the last one, and sooner when so many
// records are behind it (SPEND.md section 5).
const (
	checkpointEvery  = time.Second
	checkpointLeaves = 1000
)

// NextCheckpoint waits until a checkpoint is due and signs it: within a second of
// the last call, or as soon as a log has grown by a thousand records here.
func (o *Office) NextCheckpoint(ctx context.Context) error {
	rest := time.NewTimer(checkpointEvery - time.Since(o.behind.started()))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-rest.C:
	case <-o.behind.due:
	}
	o.behind.start()
	return o.Checkpoint(ctx)
}

// Grow tells that a log has so many records more, which makes its checkpoint due
// when they are many. Each turn that commits tells it.
func (o *Office) Grow(org string, records int64) { o.behind.grew(org, records) }

// behind counts the records of this process that no checkpoint covers yet.
type behind struct {
	due chan struct{}

	mu   sync.Mutex
	last time.Time
	logs map[string]int64
}

func newBehind() *behind { return &behind{due: make(chan struct{}, 1), logs: map[string]int64{}} }

// grew tells that a turn of a log has committed records.
func (b *behind) grew(org string, records int64) {
	b.mu.Lock()
	b.logs[org] += records
	full := b.logs[org] >= checkpointLeaves
	b.mu.Unlock()
	if full {
		select {
		case b.due <- struct{}{}:
		default:
		}
	}
}

func (b *behind) started() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// start begins to count anew, before the trees are read: what comes meanwhile is
// counted for the next time, and perhaps covered twice.
func (b *behind) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = time.Now()
	clear(b.logs)
	select {
	case <-b.due:
	default:
	}
}

// logOf is the log that a request names: the organization's own, or for owners
// the installation's.
func logOf(by purser.Actor, named string) (string, error) {
	switch {
	case named == "":
		return by.Organization, nil
	case named == store.Installation && by.Role == purser.Owner:
		return store.Installation, nil
	case named == store.Installation:
		return "", purser.Errorf(purser.Forbidden, "the installation's log is for owners")
	}
	return "", purser.Errorf(purser.NotFound, "no log is called %q", named).WithHint("--log installation, or none")
}

// AuditLog reads records in order, as they were hashed.
func (o *Office) AuditLog(ctx context.Context, by purser.Actor, in purser.AskAudit) (out purser.AuditPage, err error) {
	id, err := logOf(by, in.Log)
	if err != nil {
		return out, err
	}
	org, err := o.Store.Read().Organization(ctx, id)
	if err != nil {
		return out, err
	}
	limit, err := page(purser.Page{Limit: in.Limit}, nil)
	if err != nil {
		return out, err
	}
	rows, err := store.RecordsAfter(ctx, o.Store.Read(), id, in.After, org.Seq, int(limit))
	if err != nil {
		return out, err
	}
	out = purser.AuditPage{Records: []purser.AuditRecord{}, Size: org.Seq}
	for _, row := range rows {
		r, err := audit.ParseRecord(row.Leaf)
		if err != nil {
			return out, err
		}
		shown := purser.AuditRecord{Seq: row.Seq, At: store.Time(row.At), Actor: r.Actor.Kind + ":" + r.Actor.ID, Action: r.Action, Target: r.Target, Outcome: r.Outcome}
		if err := decodeNumbers(row.Leaf, &shown.Record); err != nil {
			return out, err
		}
		out.Records = append(out.Records, shown)
		if row.Seq < org.Seq && int32(len(out.Records)) == limit {
			out.Next = row.Seq
		}
	}
	last, err := o.checkpoint(ctx, org)
	if err != nil {
		return out, err
	}
	key, err := o.key(id)
	out.Checkpoint, out.PublicKey = last.Note, key.Public()
	return out, err
}

// Prove proves a record to whoever has the log's public key. An agent gets the
// records of its own run.
func (o *Office) Prove(ctx context.Context, by purser.Actor, in purser.Prove) (out purser.AuditProof, err error) {
	id, err := logOf(by, in.Log)
	if err != nil {
		return out, err
	}
	row, err := store.RecordOf(ctx, o.Store.Read(), id, in.Seq)
	none := purser.Errorf(purser.NotFound, "no record has number %d here", in.Seq).WithHint("purser audit log")
	if missing(err) {
		return out, none
	}
	if err != nil {
		return out, err
	}
	if by.Kind == purser.Agent {
		if r, err := audit.ParseRecord(row.Leaf); err != nil || r.Run == "" || r.Run != by.Run {
			return out, errors.Join(err, none)
		}
	}
	point, key, err := o.covered(ctx, id, max(in.Seq, in.From))
	if err != nil {
		return out, err
	}
	if err := grownFrom(in.From, point.Size); err != nil {
		return out, err
	}
	p, err := audit.Prove(row.Seq, string(row.Leaf), point.Note, key.Public(), point.Size, in.From, o.Store.Hashes(ctx, id))
	return purser.AuditProof{
		Version: p.Version, Seq: p.Seq, Leaf: p.Leaf, Path: p.Path, Checkpoint: p.Checkpoint, PublicKey: p.PublicKey, From: p.From, Consistency: p.Growth,
	}, err
}

// ShowCheckpoint shows the newest checkpoint, or the first of at least a size, and
// proves that the log only grew since an older size.
func (o *Office) ShowCheckpoint(ctx context.Context, by purser.Actor, in purser.AskCheckpoint) (out purser.Checkpoint, err error) {
	id, err := logOf(by, in.Log)
	if err != nil {
		return out, err
	}
	point, key, err := o.covered(ctx, id, in.Size)
	if err != nil {
		return out, err
	}
	if err := grownFrom(in.From, point.Size); err != nil {
		return out, err
	}
	c, err := audit.OpenCheckpoint(point.Note, key.Public())
	if err != nil {
		return out, err
	}
	out = purser.Checkpoint{Checkpoint: point.Note, PublicKey: key.Public(), Size: c.Size, Root: c.Root.String(), At: store.Time(c.Time), From: in.From}
	if in.From > 0 {
		growth, err := audit.ProveConsistency(c.Size, in.From, o.Store.Hashes(ctx, id))
		if err != nil {
			return out, err
		}
		out.Consistency = audit.Texts(growth)
	}
	return out, nil
}

func grownFrom(from, size int64) error {
	if from < 0 || from > size {
		return purser.Errorf(purser.InvalidRequest, "the log has %d records; it did not grow from %d", size, from)
	}
	return nil
}

// covered is a checkpoint of a log that has the record seq: the newest there is for
// seq 0 and while it covers, else one that is signed now.
func (o *Office) covered(ctx context.Context, id string, seq int64) (db.Checkpoint, audit.Key, error) {
	key, err := o.key(id)
	if err != nil {
		return db.Checkpoint{}, key, err
	}
	point, err := o.Store.Read().CheckpointCovering(ctx, db.CheckpointCoveringParams{Organization: id, Seq: seq})
	if seq > 0 && !missing(err) {
		return point, key, err
	}
	org, err := o.Store.Read().Organization(ctx, id)
	if err != nil {
		return point, key, err
	}
	if org.Seq == 0 || seq > org.Seq {
		return point, key, purser.Errorf(purser.NotFound, "the log has %d records, not %d", org.Seq, seq)
	}
	point, err = o.checkpoint(ctx, org)
	return point, key, err
}

// ExportAudit writes a whole log: with every checkpoint for a verifier that has
// nothing else but the key, or as OCSF events; or all that was spent as FOCUS rows.
func (o *Office) ExportAudit(ctx context.Context, by purser.Actor, in purser.ExportAudit, w io.Writer) error {
	if by.Kind != purser.Person {
		return purser.Errorf(purser.Forbidden, "people export the log")
	}
	id, err := logOf(by, in.Log)
	if err != nil {
		return err
	}
	org, err := o.Store.Read().Organization(ctx, id)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(w)
	switch in.Format {
	case "", purser.FormatJSONL:
		err = o.exportLog(ctx, org, buffered)
	case purser.FormatOCSF:
		err = o.exportOCSF(ctx, org, buffered)
	case purser.FormatFOCUS:
		err = o.exportFOCUS(ctx, org, buffered)
	default:
		err = purser.Errorf(purser.InvalidRequest, "an export's format is jsonl, ocsf or focus, not %q", in.Format)
	}
	if err != nil && purser.CodeOf(err) != purser.BooksBroken {
		return err
	}
	return errors.Join(err, buffered.Flush()) // of a broken log the verifier names the place from what there is
}

func (o *Office) exportLog(ctx context.Context, org db.Organization, w io.Writer) error {
	if _, err := o.checkpoint(ctx, org); err != nil {
		return err
	}
	key, err := o.key(org.ID)
	if err != nil {
		return err
	}
	e, err := audit.NewExporter(w, o.installation, org.ID, key.Public())
	if err != nil {
		return err
	}
	x := &exporting{Exporter: e, org: org.ID, size: org.Seq, points: func(after int64) ([]db.Checkpoint, error) {
		return o.Store.Read().CheckpointsAfter(ctx, db.CheckpointsAfterParams{Organization: org.ID, After: after, RowLimit: exportPage})
	}}
	return o.eachRecord(ctx, org, func(b store.Block, row store.Record) error {
		stored, err := b.Hash(row.Seq)
		if err != nil {
			return err
		}
		return x.record(row, stored)
	})
}

// exportPage is how many rows an export holds in memory.
const exportPage = 500

// eachRecord gives the records of a log, with their blocks, up to the size that org
// has. A gap is books_broken.
func (o *Office) eachRecord(ctx context.Context, org db.Organization, f func(store.Block, store.Record) error) error {
	after := int64(0)
	for b, err := range store.Blocks(ctx, o.Store.Read(), org.ID, after, exportPage) {
		if err != nil {
			return err
		}
		if after == org.Seq {
			return nil // what is behind came meanwhile
		}
		if b.First != after+1 {
			return purser.Errorf(purser.BooksBroken, "record %d is missing from the log of %s", after+1, org.ID)
		}
		records, err := b.Records()
		if err != nil {
			return err
		}
		for _, row := range records {
			if after++; after > org.Seq {
				break
			}
			if err := f(b, row); err != nil {
				return err
			}
		}
	}
	if after < org.Seq {
		return purser.Errorf(purser.BooksBroken, "the log of %s ends at record %d, not at %d", org.ID, after, org.Seq)
	}
	return nil
}

// exporting writes records, and each checkpoint in its place.
type exporting struct {
	*audit.Exporter
	org    string
	size   int64
	read   int64 // size of the newest checkpoint that was read
	ahead  []db.Checkpoint
	points func(after int64) ([]db.Checkpoint, error)
}

func (x *exporting) record(row store.Record, stored tlog.Hash) error {
	if err := x.Record(row.Leaf, stored); err != nil {
		return err
	}
	for {
		if len(x.ahead) == 0 {
			var err error
			if x.ahead, err = x.points(x.read); err != nil {
				return err
			}
			if len(x.ahead) == 0 {
				return fmt.Errorf("the log of %s has no checkpoint over its %d records", x.org, x.size)
			}
			x.read = x.ahead[len(x.ahead)-1].Size
		}
		next := x.ahead[0]
		if next.Size > row.Seq {
			return nil
		}
		x.ahead = x.ahead[1:]
		switch {
		case next.Size == x.size:
			return x.Finish(next.Note)
		case next.Size == row.Seq:
			if err := x.Checkpoint(next.Note); err != nil {
				return err
			}
		}
	}
}
