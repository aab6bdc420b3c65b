package office

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

// Witness keeps copies of signed checkpoints where this server cannot take them
// back: whoever holds its database and its key cannot then roll the log back, or
// write another history, without being found.
type Witness interface {
	// Keep adds signed notes, of each log the oldest first. What was kept may come again.
	Keep(ctx context.Context, notes []string) error
}

const (
	witnessLogs  = 100 // logs in one delivery
	witnessNotes = 100 // checkpoints of each of them
	// A place that fails is tried again after a second, two, four, up to this.
	witnessPause = 5 * time.Minute
)

// Testify brings each place outside the checkpoints that it has not got. A place
// that fails holds up none of the others.
func (o *Office) Testify(ctx context.Context) error {
	var all sync.WaitGroup
	places := slices.Sorted(maps.Keys(o.Witnesses))
	failed := make([]error, len(places))
	for i, place := range places {
		all.Go(func() { failed[i] = o.testifyAt(ctx, place) })
	}
	all.Wait()
	return errors.Join(failed...)
}

func (o *Office) testifyAt(ctx context.Context, place string) error {
	for {
		logs, err := o.Store.Read().Unwitnessed(ctx, db.UnwitnessedParams{Place: place, Now: store.Micro(o.Now()), RowLimit: witnessLogs})
		if err != nil || len(logs) == 0 {
			return err
		}
		var notes []string
		rows := make([]db.SetWitnessedParams, len(logs))
		for i, log := range logs {
			points, err := o.Store.Read().CheckpointsAfter(ctx, db.CheckpointsAfterParams{Organization: log.Organization, After: log.Size, RowLimit: witnessNotes})
			if err != nil {
				return err
			}
			rows[i] = db.SetWitnessedParams{Organization: log.Organization, Place: place, Size: log.Size, At: store.Micro(o.Now())}
			for _, p := range points {
				notes, rows[i].Size = append(notes, p.Note), p.Size
			}
		}
		kept := o.Witnesses[place].Keep(ctx, notes)
		if kept != nil && ctx.Err() != nil {
			return ctx.Err() // the server ends; whether it was kept is asked at the next start
		}
		if kept != nil {
			for i, log := range logs {
				pause := min(time.Second<<min(log.Fails, 20), witnessPause)
				rows[i].Size, rows[i].At, rows[i].Fails = log.Size, log.At, log.Fails+1
				rows[i].NextAt, rows[i].Error = store.Micro(o.Now().Add(pause)), catalog.Plain(kept.Error(), 300)
			}
		}
		err = o.Store.Write(ctx, func(q *db.Queries) error {
			for _, row := range rows {
				if err := q.SetWitnessed(ctx, row); err != nil {
					return fmt.Errorf("noting what the witness has: %w", err)
				}
			}
			return nil
		})
		if kept != nil {
			kept = purser.Errorf(purser.Unavailable, "the witness %s does not keep checkpoints", place).WithCause(kept)
		}
		if err := errors.Join(kept, err); err != nil {
			return err
		}
	}
}

// witnesses is how far each place is with a log.
func (o *Office) witnesses(ctx context.Context, q *db.Queries, org string) ([]purser.WitnessState, error) {
	out := []purser.WitnessState{}
	if len(o.Witnesses) == 0 {
		return out, nil
	}
	rows, err := q.Witnessed(ctx, org)
	if err != nil {
		return nil, err
	}
	last, err := q.LastCheckpoint(ctx, org)
	if err != nil && !missing(err) {
		return nil, err
	}
	for _, place := range slices.Sorted(maps.Keys(o.Witnesses)) {
		state := purser.WitnessState{Place: place, Size: 0, Behind: last.Size}
		for _, row := range rows {
			if row.Place == place {
				state.Size, state.Behind, state.At, state.Fails, state.Error = row.Size, last.Size-row.Size, store.TimeOrNil(row.At), row.Fails, row.Error
			}
		}
		out = append(out, state)
	}
	return out, nil
}
