// Package backup copies a whole installation, database and files, into one sealed file, and back.
package backup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
)

// Files are the kept files of staged folders.
type Files interface {
	Each(ctx context.Context, f func(organization, sha256 string, size int64) error) error
	Open(organization, sha256 string) (io.ReadCloser, error)
	Put(ctx context.Context, organization, sha256 string, size int64, r io.Reader) error
}

// House is an installation, to copy from or into.
type House struct {
	Store  *store.Store
	Files  Files
	Box    seal.Box // seals the copy's own key; the key file itself is never in a copy
	Now    func() time.Time
	Random io.Reader
	// Version is of the program, so that a copy tells who can restore it.
	Version string
}

// Header tells what a copy holds.
type Header struct {
	Format       int              `json:"format"`  // 1
	Version      string           `json:"version"` // of the program that made it
	Schema       int64            `json:"schema"`  // of the database
	Installation string           `json:"installation"`
	At           int64            `json:"at"`   // microseconds since 1970, UTC
	Seqs         map[string]int64 `json:"seqs"` // by organization: the size of its log
}

// RestoredValue is the name of the installation's value that holds a Restored.
// Spending is frozen while it stands and a person has not resumed (RULES 25).
const RestoredValue = "restored"

// Restored is written together with the rows of a restored copy, as JSON: a
// restored ledger has forgotten what was spent after the copy was made.
type Restored struct {
	At           int64            `json:"at"`    // of the restoring, microseconds since 1970, UTC
	Taken        int64            `json:"taken"` // when the copy was made
	Installation string           `json:"installation"`
	Seqs         map[string]int64 `json:"seqs"` // by organization: the size of its log in the copy
}

// format is the newest form of a copy that this program reads.
const format = 1

// Create writes a copy of the house as it is at one moment to w. Turns go on
// meanwhile. What w has got before an error is not a copy.
func Create(ctx context.Context, from House, w io.Writer) (Header, error) {
	sealed, err := newSealer(w, from.Box, from.Random)
	if err != nil {
		return Header{}, err
	}
	out := recordsOn(sealed)
	var head Header
	err = from.Store.Dump(ctx, func(snap *store.Snapshot) error {
		if head, err = from.header(ctx, snap); err != nil {
			return err
		}
		return copyTables(ctx, out, snap, head)
	})
	if err != nil {
		return Header{}, fmt.Errorf("copying the database: %w", err)
	}
	// The files come after the snapshot: each file that its rows know is kept by
	// then, and one more does no harm.
	if err := from.copyFiles(ctx, out); err != nil {
		return Header{}, err
	}
	if err := out.end(); err != nil {
		return Header{}, err
	}
	return head, sealed.Close()
}

func (h House) header(ctx context.Context, snap *store.Snapshot) (Header, error) {
	id, err := snap.InstallationValue(ctx, "id")
	if err != nil {
		return Header{}, fmt.Errorf("reading the installation: %w", err)
	}
	orgs, err := snap.Organizations(ctx)
	if err != nil {
		return Header{}, fmt.Errorf("reading the organizations: %w", err)
	}
	head := Header{
		Format: format, Version: h.Version, Schema: snap.Schema, Installation: id,
		At: store.Micro(h.Now()), Seqs: map[string]int64{},
	}
	for _, o := range orgs {
		head.Seqs[o.ID] = o.Seq
	}
	return head, nil
}

func copyTables(ctx context.Context, out *writer, snap *store.Snapshot, head Header) error {
	if err := out.head(head); err != nil {
		return err
	}
	for _, t := range snap.Tables {
		out.table(t)
		if err := snap.Rows(ctx, t, out.row); err != nil {
			return err
		}
	}
	return nil
}

func (h House) copyFiles(ctx context.Context, out *writer) error {
	return h.Files.Each(ctx, func(organization, sha256 string, size int64) error {
		r, err := h.Files.Open(organization, sha256)
		if purser.CodeOf(err) == purser.BlobsMissing {
			return nil // removed since it was listed
		}
		if err != nil {
			return err
		}
		return errors.Join(out.file(organization, sha256, size, r), r.Close())
	})
}

// CreateFile makes a copy at path, mode 0600, which appears whole or not at all.
// A file that is there already is already_exists.
func CreateFile(ctx context.Context, from House, path string) (head Header, err error) {
	if _, err := os.Lstat(path); err == nil {
		return Header{}, exists(path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".purser-backup-*")
	if err != nil {
		why := err
		var at *fs.PathError
		if errors.As(err, &at) { // its path is that of the file beside the copy
			why = at.Err
		}
		return Header{}, purser.Errorf(purser.InvalidRequest, "%s cannot be written: %v", path, why).WithCause(err).
			WithHint("name a file in a folder that is there and that you may write to")
	}
	defer func() { _ = os.Remove(f.Name()) }()
	head, err = Create(ctx, from, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return Header{}, err
	}
	// A link, unlike a rename, never replaces a file.
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return Header{}, exists(path)
	} else if err != nil {
		return Header{}, fmt.Errorf("placing the copy: %w", err)
	}
	return head, syncFolder(filepath.Dir(path))
}

func exists(path string) error {
	return purser.Errorf(purser.AlreadyExists, "%s is there already; a copy never replaces a file", path)
}

func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Check reads a whole copy and tells what it holds. A copy that was changed, cut,
// or sealed under another key is invalid_request.
func Check(ctx context.Context, box seal.Box, r io.Reader) (Header, error) {
	in, head, err := openCopy(box, r)
	if err != nil {
		return Header{}, readable(err)
	}
	if _, err := io.Copy(io.Discard, &cancelled{ctx, in}); err != nil {
		return Header{}, readable(err)
	}
	return head, nil
}

func openCopy(box seal.Box, r io.Reader) (*reader, Header, error) {
	opened, err := newOpener(r, box)
	if err != nil {
		return nil, Header{}, err
	}
	in := &reader{Reader: bufio.NewReaderSize(opened, chunkSize)}
	head, err := in.head()
	if err == nil && head.Format != format {
		err = fmt.Errorf("the copy has format %d: %w", head.Format, errRecord)
	}
	return in, head, err
}

// readable says what a person can do about a copy that does not open.
func readable(err error) error {
	switch {
	case errors.Is(err, seal.ErrUnknownKey):
		return purser.Errorf(purser.InvalidRequest, "the copy is sealed under another key than this one").
			WithHint("name the key file of the installation that made it: --key-file FILE").WithCause(err)
	case errors.Is(err, errSealed), errors.Is(err, seal.ErrSealed):
		return purser.Errorf(purser.InvalidRequest, "the copy was changed or cut, or is none; nothing was restored").WithCause(err)
	case errors.Is(err, errRecord):
		return purser.Errorf(purser.InvalidRequest, "the copy was made by another version of the program; nothing was restored").WithCause(err)
	}
	return err
}

// Restore fills an empty house from a copy. The whole copy is read and checked
// before the first write. Then files come first and the database last, in one
// transaction, so that a restore that dies half-way left an empty database and is
// simply done again. A database in use, or a copy of an older schema, is
// invalid_state; a newer schema is newer_database.
func Restore(ctx context.Context, into House, from io.ReadSeeker) (Restored, error) {
	head, err := Check(ctx, into.Box, from)
	if err != nil {
		return Restored{}, err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return Restored{}, fmt.Errorf("reading the copy again: %w", err)
	}
	in, again, err := openCopy(into.Box, from)
	if err != nil {
		return Restored{}, readable(err)
	}
	if again.Installation != head.Installation || again.At != head.At {
		return Restored{}, purser.Errorf(purser.InvalidState, "the copy was replaced while it was read; nothing was restored")
	}
	done := Restored{At: store.Micro(into.Now()), Taken: head.At, Installation: head.Installation, Seqs: head.Seqs}
	load := &loading{ctx: ctx, in: in, files: into.Files, done: done}
	if err := into.Store.Load(ctx, head.Schema, load.next); err != nil {
		return Restored{}, fmt.Errorf("restoring: %w", readable(err))
	}
	return done, nil
}

// loading gives a copy's rows to the store and its files to the disk.
type loading struct {
	ctx   context.Context
	in    *reader
	files Files
	done  Restored
	ended bool
}

func (l *loading) next() (store.Row, error) {
	if l.ended {
		return store.Row{}, io.EOF
	}
	for {
		letter, row, err := l.in.next()
		if err != nil {
			return store.Row{}, err
		}
		switch letter {
		case fileRecord:
			if err := l.file(); err != nil {
				return store.Row{}, err
			}
		case endRecord:
			l.ended = true
			return l.mark()
		default:
			if !isMark(row) {
				return row, nil
			}
		}
	}
}

// isMark finds the mark of an earlier restore; the new one takes its place.
func isMark(r store.Row) bool {
	name := slices.Index(r.Columns, "name")
	return r.Table == "installation" && name >= 0 && r.Values[name] == RestoredValue
}

// mark comes with the rows, in their transaction: a restored database without it
// would spend what it has forgotten.
func (l *loading) mark() (store.Row, error) {
	if err := l.in.end(); err != nil {
		return store.Row{}, err
	}
	raw, err := json.Marshal(l.done)
	if err != nil {
		return store.Row{}, err
	}
	return store.Row{Table: "installation", Columns: []string{"name", "value"}, Values: []any{RestoredValue, string(raw)}}, nil
}

func (l *loading) file() error {
	organization, sha256, size, err := l.in.file()
	if err != nil {
		return err
	}
	return l.files.Put(l.ctx, organization, sha256, size, io.LimitReader(l.in, size))
}

// cancelled ends a long read when the caller is gone.
type cancelled struct {
	ctx  context.Context
	from io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.from.Read(p)
}
