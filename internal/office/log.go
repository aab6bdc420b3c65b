package office

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// key signs the checkpoints of one log.
func (o *Office) key(org string) (audit.Key, error) {
	origin, err := audit.Origin(o.installation, org)
	if err != nil {
		return audit.Key{}, err
	}
	return audit.NewKey(origin, o.AuditSeed)
}

// Checkpoint signs the tree of each log that has grown. There is one row a size,
// so two replicas never sign two roots (RULES 22).
func (o *Office) Checkpoint(ctx context.Context) error {
	all, err := o.Store.Read().Organizations(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, org := range all {
		if _, err := o.checkpoint(ctx, org); err != nil {
			failed = errors.Join(failed, fmt.Errorf("signing a checkpoint of %s: %w", org.ID, err))
		}
	}
	return failed
}

// checkpoint returns the newest signed checkpoint, made now if there is news.
func (o *Office) checkpoint(ctx context.Context, org db.Organization) (db.Checkpoint, error) {
	last, err := o.Store.Read().LastCheckpoint(ctx, org.ID)
	if err != nil && !missing(err) {
		return last, err
	}
	if err == nil && last.Size == org.Seq || org.Seq == 0 {
		return last, nil
	}
	root, err := audit.Root(org.Seq, o.Store.Hashes(ctx, org.ID))
	if err != nil {
		return last, err
	}
	key, err := o.key(org.ID)
	if err != nil {
		return last, err
	}
	origin, err := audit.Origin(o.installation, org.ID)
	if err != nil {
		return last, err
	}
	note, err := key.Sign(audit.Checkpoint{Origin: origin, Size: org.Seq, Root: root, Time: org.Clock})
	if err != nil {
		return last, err
	}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		_, err := q.InsertCheckpoint(ctx, db.InsertCheckpointParams{Organization: org.ID, Size: org.Seq, Note: note, At: store.Micro(o.Now())})
		return err
	})
	if err != nil {
		return last, err
	}
	return o.Store.Read().LastCheckpoint(ctx, org.ID)
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
	limit := page(purser.Page{Limit: in.Limit})
	rows, err := o.Store.Read().AuditAfter(ctx, db.AuditAfterParams{Organization: id, After: in.After, Until: org.Seq, RowLimit: limit})
	if err != nil {
		return out, err
	}
	out = purser.AuditPage{Records: []purser.AuditRecord{}, Size: org.Seq}
	for _, row := range rows {
		r, err := audit.ParseRecord([]byte(row.Leaf))
		if err != nil {
			return out, err
		}
		shown := purser.AuditRecord{Seq: row.Seq, At: store.Time(row.At), Actor: r.Actor.Kind + ":" + r.Actor.ID, Action: r.Action, Target: r.Target, Outcome: r.Outcome}
		if err := decodeNumbers([]byte(row.Leaf), &shown.Record); err != nil {
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

// ExportAudit writes a whole log with every checkpoint, for a verifier that has
// nothing else but the key.
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
	if _, err := o.checkpoint(ctx, org); err != nil {
		return err
	}
	key, err := o.key(id)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(w)
	e, err := audit.NewExporter(buffered, o.installation, id, key.Public())
	if err != nil {
		return err
	}
	err = o.exportRecords(ctx, e, org)
	if purser.CodeOf(err) == purser.BooksBroken { // the verifier names the place from what there is
		return errors.Join(err, buffered.Flush())
	}
	if err != nil {
		return err
	}
	return buffered.Flush()
}

// exportRecords writes the records up to a size, each checkpoint in its place.
func (o *Office) exportRecords(ctx context.Context, e *audit.Exporter, org db.Organization) error {
	q := o.Store.Read()
	points, err := q.Checkpoints(ctx, org.ID)
	if err != nil {
		return err
	}
	hashes := o.Store.Hashes(ctx, org.ID)
	for after := int64(0); after < org.Seq; {
		rows, err := q.AuditAfter(ctx, db.AuditAfterParams{Organization: org.ID, After: after, Until: org.Seq, RowLimit: 500})
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return purser.Errorf(purser.BooksBroken, "the log of %s ends at record %d, not at %d", org.ID, after, org.Seq)
		}
		for _, row := range rows {
			if row.Seq != after+1 {
				return purser.Errorf(purser.BooksBroken, "record %d is missing from the log of %s", after+1, org.ID)
			}
			stored, err := hashes.ReadHashes([]int64{audit.LeafIndex(row.Seq)})
			if err != nil {
				return err
			}
			if err := e.Record([]byte(row.Leaf), stored[0]); err != nil {
				return err
			}
			after = row.Seq
			for len(points) > 0 && points[0].Size <= after {
				last := points[0].Size == org.Seq
				if points[0].Size == after && !last {
					err = e.Checkpoint(points[0].Note)
				}
				if last && err == nil {
					return e.Finish(points[0].Note)
				}
				if err != nil {
					return err
				}
				points = points[1:]
			}
		}
	}
	return fmt.Errorf("the log of %s has no checkpoint over its %d records", org.ID, org.Seq)
}
