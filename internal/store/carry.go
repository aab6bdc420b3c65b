package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser/internal/audit"
)

// The migration that puts the log into blocks is SQL but for one line in its middle,
// where records are packed.
const (
	blocksVersion = 15
	blocksFile    = "00015_blocks.sql"
	carriedHere   = "-- Here the program carries the records over (internal/store/carry.go).\n"
)

// blocksMigration is that file as a migration of the program's own.
func blocksMigration(folder fs.FS) (*goose.Migration, error) {
	text, err := fs.ReadFile(folder, blocksFile)
	if err != nil {
		return nil, err
	}
	before, after, found := strings.Cut(string(text), carriedHere)
	if !found {
		return nil, fmt.Errorf("%s does not say where records are carried over", blocksFile)
	}
	return goose.NewGoMigration(blocksVersion, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, before); err != nil {
			return err
		}
		if err := carryRecords(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, after)
		return err
	}}, nil), nil
}

// carryPage is how many records are in memory at a time.
const carryPage = 500

// carryRecords packs the records of every log. It believes nothing that it reads: where
// a record or a hash is missing, it is missing in the blocks too, and a leaf that does
// not fit its hash still does not.
func carryRecords(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT organization FROM audit")
	if err != nil {
		return err
	}
	orgs, err := textColumn(rows)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		c := &carrying{tx: tx, org: org}
		for more := true; more; {
			if more, err = c.page(ctx); err != nil {
				return fmt.Errorf("carrying over the log of %s after record %d: %w", org, c.after, err)
			}
		}
	}
	return nil
}

func textColumn(rows *sql.Rows) (all []string, err error) {
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}

// carrying is one log on its way.
type carrying struct {
	tx    *sql.Tx
	org   string
	after int64 // the record that was carried last
	first int64 // index of the first of hashes
	row   []byte
}

// page carries records over, each block of one time as those of a turn are.
func (c *carrying) page(ctx context.Context) (more bool, err error) {
	rows, err := c.tx.QueryContext(ctx, "SELECT seq, at, leaf FROM audit WHERE organization = $1 AND seq > $2 ORDER BY seq LIMIT $3", c.org, c.after, carryPage)
	if err != nil {
		return false, err
	}
	records, err := oldRecords(rows)
	if err != nil || len(records) == 0 {
		return false, err
	}
	into := newRows(insertAudit.kinds, false)
	for i := 0; i < len(records); {
		first, leaves, text := records[i], [][]byte{records[i].Leaf}, len(records[i].Leaf)
		for i++; i < len(records) && records[i].Seq == records[i-1].Seq+1 && records[i].At == first.At &&
			len(leaves) < blockRecords && text+len(records[i].Leaf) <= blockText; i++ {
			leaves, text = append(leaves, records[i].Leaf), text+len(records[i].Leaf)
		}
		last := records[i-1].Seq
		hashes, err := c.hashes(ctx, audit.FirstHash(first.Seq-1), audit.FirstHash(last))
		if err != nil {
			return false, err
		}
		into.text(c.org).integer(last, int64(len(leaves)), first.At).bytes(hashes).bytes(PackLeaves(leaves))
	}
	c.after = records[len(records)-1].Seq
	carried := insertInto("audit_blocks", "organization, seq, n, at, hashes, leaves", insertAudit.kinds, "")
	return len(records) == carryPage, sendOn(ctx, c.tx, carried.of(into, nil))
}

func oldRecords(rows *sql.Rows) (all []Record, err error) {
	defer rows.Close()
	for rows.Next() {
		var r Record
		if err := rows.Scan(&r.Seq, &r.At, &r.Leaf); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// hashes are those from one index until another, as far as they are there.
func (c *carrying) hashes(ctx context.Context, from, until int64) ([]byte, error) {
	out := []byte{}
	for from < until {
		at := (from - c.first) * tlog.HashSize
		if at < 0 || at+tlog.HashSize > int64(len(c.row)) {
			row := c.tx.QueryRowContext(ctx, "SELECT n, hashes FROM audit_hashes WHERE organization = $1 AND n <= $2 ORDER BY n DESC LIMIT 1", c.org, from)
			if err := row.Scan(&c.first, &c.row); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return nil, err
			}
			if at = (from - c.first) * tlog.HashSize; at < 0 || at+tlog.HashSize > int64(len(c.row)) {
				return out, nil
			}
		}
		end := min(int64(len(c.row)), at+(until-from)*tlog.HashSize)
		end -= end % tlog.HashSize
		out = append(out, c.row[at:end]...)
		from += (end - at) / tlog.HashSize
	}
	return out, nil
}
