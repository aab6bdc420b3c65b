package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/blob"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
	"github.com/purser-dev/purser/internal/testpg"
)

var made = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var databases = map[string]func(*testing.T) string{
	"sqlite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "purser.db") },
	"postgres": func(t *testing.T) string { return testpg.Open(t) },
}

func key(t *testing.T) *seal.KeyFile {
	t.Helper()
	box, err := seal.OpenKeyFile(filepath.Join(t.TempDir(), "key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// house is an installation in which nothing was done.
func house(t *testing.T, database string, box seal.Box) House {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Database: database, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	files, err := blob.Open(filepath.Join(t.TempDir(), "blobs"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), files.Close()); err != nil {
			t.Error(err)
		}
	})
	return House{Store: s, Files: files, Box: box, Now: func() time.Time { return made }, Random: rand.Reader, Version: "v1"}
}

// live does in a house what people do: organizations, records, files.
func live(t *testing.T, h House) {
	t.Helper()
	for _, org := range []string{"org_a", "org_b"} {
		err := h.Store.Write(t.Context(), func(q *db.Queries) error {
			return q.InsertOrganization(t.Context(), db.InsertOrganizationParams{ID: org, Name: "Käse & Söhne", Timezone: "Europe/Berlin"})
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			err := h.Store.Turn(t.Context(), org, func(turn *store.Turn) error {
				turn.Record(audit.Record{Actor: audit.Actor{Kind: "system", ID: "test"}, Action: fmt.Sprint("act.", i), Outcome: audit.Accepted})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range []string{"", "index", org, strings.Repeat(org, 40_000)} {
			put(t, h, org, text)
		}
	}
}

func put(t *testing.T, h House, org, text string) {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	if err := h.Files.Put(t.Context(), org, hex.EncodeToString(sum[:]), int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

// contents is all that a house holds, as sorted text.
func contents(t *testing.T, h House) []string {
	t.Helper()
	var all []string
	err := h.Store.Dump(t.Context(), func(d *store.Snapshot) error {
		for _, table := range d.Tables {
			if err := d.Rows(t.Context(), table, func(r store.Row) error {
				all = append(all, fmt.Sprintf("%s %q", r.Table, r.Values))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = h.Files.Each(t.Context(), func(org, hash string, size int64) error {
		r, err := h.Files.Open(org, hash)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, r) // the reader checks the hash
		if n != size {
			t.Errorf("%s has %d bytes, not %d", hash, n, size)
		}
		all = append(all, fmt.Sprint("file ", org, hash, size))
		return errors.Join(err, r.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func copyOf(t *testing.T, h House) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Create(t.Context(), h, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestACopyRestoresTheSameHouseOnAnyDatabase(t *testing.T) {
	box := key(t)
	for from, source := range databases {
		for to, target := range databases {
			t.Run(from+" to "+to, func(t *testing.T) {
				a, b := house(t, source(t), box), house(t, target(t), box)
				live(t, a)
				file := copyOf(t, a)
				b.Now = func() time.Time { return made.Add(time.Hour) }
				got, err := Restore(t.Context(), b, bytes.NewReader(file))
				if err != nil {
					t.Fatal(err)
				}
				id, err := a.Store.Read().InstallationValue(t.Context(), "id")
				if err != nil {
					t.Fatal(err)
				}
				want := Restored{
					At: made.Add(time.Hour).UnixMicro(), Taken: made.UnixMicro(), Installation: id,
					Seqs: map[string]int64{"org_a": 5, "org_b": 5, store.Installation: 0},
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				mark, rest := marked(t, b)
				if diff := cmp.Diff(contents(t, a), rest); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(want, mark); diff != "" {
					t.Errorf("the mark that freezes spending: %s", diff)
				}
			})
		}
	}
}

// marked splits what a restored house holds into the mark and the rest.
func marked(t *testing.T, h House) (mark Restored, rest []string) {
	t.Helper()
	value, err := h.Store.Read().InstallationValue(t.Context(), RestoredValue)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(value), &mark); err != nil {
		t.Fatal(err)
	}
	rest = slices.DeleteFunc(contents(t, h), func(s string) bool { return strings.HasPrefix(s, `installation ["restored"`) })
	return mark, rest
}

// A restored house that was copied and restored again is frozen since the second time.
func TestTheMarkOfAnEarlierRestoreIsReplaced(t *testing.T) {
	box := key(t)
	a, b, c := house(t, databases["sqlite"](t), box), house(t, databases["sqlite"](t), box), house(t, databases["sqlite"](t), box)
	live(t, a)
	if _, err := Restore(t.Context(), b, bytes.NewReader(copyOf(t, a))); err != nil {
		t.Fatal(err)
	}
	c.Now = func() time.Time { return made.Add(48 * time.Hour) }
	if _, err := Restore(t.Context(), c, bytes.NewReader(copyOf(t, b))); err != nil {
		t.Fatal(err)
	}
	if mark, _ := marked(t, c); mark.At != made.Add(48*time.Hour).UnixMicro() {
		t.Errorf("the mark is %+v", mark)
	}
}

func TestAChangedOrCutCopyIsRefusedAndNothingWritten(t *testing.T) {
	box := key(t)
	from := house(t, databases["sqlite"](t), box)
	live(t, from)
	file := copyOf(t, from)
	into := house(t, databases["sqlite"](t), box)
	before := contents(t, into)
	head := len(magic) + 2
	keyLength := int(file[len(magic)])<<8 | int(file[len(magic)+1])
	first := head + keyLength // where the chunks begin
	chunk := chunkSize + 16
	if len(file) < first+3*chunk {
		t.Fatalf("the copy has %d bytes: too few for this test", len(file))
	}
	bad := map[string][]byte{
		"nothing":                     {},
		"the head only":               file[:head],
		"the sealed key only":         file[:first],
		"one byte less":               file[:len(file)-1],
		"one byte more":               append(slices.Clone(file), 0),
		"cut between chunks":          file[:first+2*chunk],
		"cut in a chunk":              file[:first+chunk+100],
		"two chunks in another order": slices.Concat(file[:first], file[first+chunk:first+2*chunk], file[first:first+chunk], file[first+2*chunk:]),
		"a chunk left out":            slices.Concat(file[:first], file[first+chunk:]),
		"a chunk twice":               slices.Concat(file[:first+chunk], file[first:]),
		"chunks of another copy":      slices.Concat(file[:first], copyOf(t, from)[first:]),
		"another file":                []byte(strings.Repeat("SQLite format 3\x00", 100)),
	}
	for _, at := range []int{0, len(magic), head, first - 1, first, first + chunk - 1, first + chunk, len(file) / 2, len(file) - 1} {
		changed := slices.Clone(file)
		changed[at] ^= 1
		bad[fmt.Sprint("byte ", at, " changed")] = changed
	}
	for name, b := range bad {
		if _, err := Restore(t.Context(), into, bytes.NewReader(b)); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, contents(t, into)); diff != "" {
		t.Errorf("a refused copy wrote: %s", diff)
	}
	if _, err := Restore(t.Context(), into, bytes.NewReader(file)); err != nil {
		t.Errorf("the good copy after all: %v", err)
	}
}

func TestAHouseInUseIsNotOverwritten(t *testing.T) {
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			box := key(t)
			from, into := house(t, databases["sqlite"](t), box), house(t, database(t), box)
			live(t, from)
			live(t, into)
			before := contents(t, into)
			put(t, from, "org_a", "a file that the other house has not")
			if _, err := Restore(t.Context(), into, bytes.NewReader(copyOf(t, from))); purser.CodeOf(err) != purser.InvalidState {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, contents(t, into)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnotherKeyDoesNotOpenACopy(t *testing.T) {
	from := house(t, databases["sqlite"](t), key(t))
	file := copyOf(t, from)
	var e *purser.Error
	_, err := Check(t.Context(), key(t), bytes.NewReader(file))
	if !errors.As(err, &e) || e.Code != purser.InvalidRequest || !strings.Contains(e.Hint, "key") {
		t.Errorf("got %v", err)
	}
}

func TestAnOldKeyStillOpensACopy(t *testing.T) {
	box := key(t)
	from := house(t, databases["sqlite"](t), box)
	file := copyOf(t, from)
	if err := box.Rotate(); err != nil {
		t.Fatal(err)
	}
	head, err := Check(t.Context(), box, bytes.NewReader(file))
	if err != nil || head.Version != "v1" || head.At != made.UnixMicro() || head.Schema < 1 {
		t.Errorf("%+v (%v)", head, err)
	}
}

func TestNothingOfAHouseIsReadableInACopy(t *testing.T) {
	from := house(t, databases["sqlite"](t), key(t))
	put(t, from, "org_a", "a text that must not be found")
	file := copyOf(t, from)
	for _, leak := range []string{"must not be found", "org_a", "installation", "UTC"} {
		if bytes.Contains(file, []byte(leak)) {
			t.Errorf("%q is in the copy", leak)
		}
	}
}

// A newer program may write another schema; this one must not take half of it.
func TestACopyOfANewerSchemaIsRefused(t *testing.T) {
	box := key(t)
	into := house(t, databases["sqlite"](t), box)
	before := contents(t, into)
	for name, c := range map[string]struct {
		head Header
		code purser.Code
	}{
		"a newer schema": {Header{Format: format, Schema: 999}, purser.NewerDatabase},
		"a newer format": {Header{Format: format + 1, Schema: 1}, purser.InvalidRequest},
	} {
		var b bytes.Buffer
		s, err := newSealer(&b, box, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		w := recordsOn(s)
		if err := errors.Join(w.head(c.head), w.end(), s.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), into, bytes.NewReader(b.Bytes())); purser.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, contents(t, into)); diff != "" {
		t.Error(diff)
	}
}

func TestAFileOfACopyAppearsWholeOrNotAtAll(t *testing.T) {
	from := house(t, databases["sqlite"](t), key(t))
	live(t, from)
	dir := t.TempDir()
	path := filepath.Join(dir, "copy")
	broken := from
	broken.Files = brokenFiles{from.Files}
	if _, err := CreateFile(t.Context(), broken, path); err == nil {
		t.Error("a copy without a file's bytes was made")
	}
	if _, err := CreateFile(t.Context(), from, path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
	if _, err := CreateFile(t.Context(), from, path); purser.CodeOf(err) != purser.AlreadyExists {
		t.Errorf("over a file: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Check(t.Context(), from.Box, f); err != nil {
		t.Error(err)
	}
}

type brokenFiles struct{ Files }

func (brokenFiles) Open(string, string) (io.ReadCloser, error) {
	return io.NopCloser(iotest.ErrReader(errors.New("the disk is broken"))), nil
}

func TestTheSealKeepsWhatWasWrittenAtEverySize(t *testing.T) {
	box := key(t)
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize - 1, 3 * chunkSize} {
		text := make([]byte, size)
		_, _ = rand.Read(text)
		var b bytes.Buffer
		s, err := newSealer(&b, box, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(s, iotest.OneByteReader(bytes.NewReader(text))); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		o, err := newOpener(iotest.HalfReader(&b), box)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes came back as %d: %v", size, len(got), err)
		}
	}
}

func TestACallerWhoIsGoneEndsTheWork(t *testing.T) {
	from := house(t, databases["sqlite"](t), key(t))
	file := copyOf(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, from, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("creating: %v", err)
	}
	if _, err := Check(ctx, from.Box, bytes.NewReader(file)); !errors.Is(err, context.Canceled) {
		t.Errorf("checking: %v", err)
	}
}
