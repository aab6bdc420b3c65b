package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

const org = "org_1"

func open(t testing.TB, dir string) *Blobs {
	t.Helper()
	b, err := Open(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func put(t testing.TB, b *Blobs, organization, text string) string {
	t.Helper()
	if err := b.Put(t.Context(), organization, hashOf(text), int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return hashOf(text)
}

func read(t testing.TB, b *Blobs, organization, hash string) (string, error) {
	t.Helper()
	r, err := b.Open(organization, hash)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out strings.Builder
	_, err = io.Copy(&out, r)
	return out.String(), err
}

// files lists all below dir with their modes, but for the lock.
func files(t testing.TB, dir string) map[string]fs.FileMode {
	t.Helper()
	found := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		info, err := d.Info()
		name, _ := filepath.Rel(dir, p)
		found[name] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAFileIsKeptUnderItsHashAndReadBack(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for _, text := range []string{"", "hello", strings.Repeat("x", 1<<20)} {
		hash := put(t, b, org, text)
		if got, err := read(t, b, org, hash); err != nil || got != text {
			t.Errorf("read %d bytes of %d: %v", len(got), len(text), err)
		}
		if !b.Has(org, hash) || b.Has("org_2", hash) {
			t.Error("a file is kept for its organization, and for no other")
		}
		if mode := files(t, dir)[filepath.Join(org, hash[:2], hash[2:])]; mode != 0o600 {
			t.Errorf("mode %v, want 0600", mode)
		}
	}
	if _, err := read(t, b, org, hashOf("absent")); purser.CodeOf(err) != purser.BlobsMissing {
		t.Errorf("opening what is not kept: %v", err)
	}
}

func TestWhatIsNotAsNamedIsNotKept(t *testing.T) {
	const text = "hello"
	for name, c := range map[string]struct {
		hash string
		size int64
		from io.Reader
		code purser.Code
	}{
		"another text":      {hashOf(text), 5, strings.NewReader("hellO"), purser.BlobMismatch},
		"one byte less":     {hashOf(text), 5, strings.NewReader("hell"), purser.BlobMismatch},
		"one byte more":     {hashOf(text), 5, strings.NewReader("hello!"), purser.BlobMismatch},
		"another size":      {hashOf(text), 4, strings.NewReader(text), purser.BlobMismatch},
		"a negative size":   {hashOf(text), -1, strings.NewReader(text), purser.InvalidRequest},
		"an upload cut off": {hashOf(text), 5, io.MultiReader(strings.NewReader("he"), iotest.ErrReader(errors.New("gone"))), purser.Internal},
		"cut off at the end": {
			hashOf(text), 5, io.MultiReader(strings.NewReader(text), iotest.ErrReader(errors.New("gone"))), purser.Internal,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir)
			err := b.Put(t.Context(), org, c.hash, c.size, c.from)
			if err == nil || purser.CodeOf(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
			if left := files(t, dir); len(left) != 0 || b.Has(org, c.hash) {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Who names a hash that is kept already must still send it: an answer of "fine"
// for other bytes would hide a fault of the sender.
func TestAFileThatIsKeptIsCheckedAgain(t *testing.T) {
	b := open(t, t.TempDir())
	hash := put(t, b, org, "hello")
	put(t, b, org, "hello")
	if err := b.Put(t.Context(), org, hash, 5, strings.NewReader("hellO")); purser.CodeOf(err) != purser.BlobMismatch {
		t.Errorf("other bytes under a kept hash: %v", err)
	}
	if got, err := read(t, b, org, hash); got != "hello" || err != nil {
		t.Errorf("the kept file is %q (%v)", got, err)
	}
}

func TestNamesThatAreNoNamesAreRefused(t *testing.T) {
	dir := t.TempDir()
	b := open(t, filepath.Join(dir, "blobs"))
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := hashOf("x")
	for _, c := range [][2]string{
		{"", good},
		{".", good},
		{"..", good},
		{".incoming", good},
		{"../blobs", good},
		{"org_1/..", good},
		{"ORG_1", good},
		{"org\x00", good},
		{"org_1\n", good},
		{strings.Repeat("o", 65), good},
		{org, ""},
		{org, "../../secret"},
		{org, good[:63]},
		{org, good + "0"},
		{org, strings.ToUpper(good)},
		{org, good[:63] + "/"},
		{org, good + "\n"},
	} {
		if err := b.Put(t.Context(), c[0], c[1], 1, strings.NewReader("x")); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("Put(%q, %q): %v", c[0], c[1], err)
		}
		if _, err := b.Open(c[0], c[1]); purser.CodeOf(err) != purser.InvalidRequest {
			t.Errorf("Open(%q, %q): %v", c[0], c[1], err)
		}
		if b.Has(c[0], c[1]) {
			t.Errorf("Has(%q, %q)", c[0], c[1])
		}
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files: %v", got)
	}
}

func TestALinkOutOfTheFolderIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	b := open(t, filepath.Join(dir, "blobs"))
	if err := os.Mkdir(filepath.Join(dir, "outside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "outside"), filepath.Join(dir, "blobs", org)); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), org, hashOf("x"), 1, strings.NewReader("x")); err == nil {
		t.Error("a file was put through a link that leads out")
	}
	if got := files(t, filepath.Join(dir, "outside")); len(got) != 0 {
		t.Errorf("outside: %v", got)
	}
}

func TestTheSameFileAtOnceIsKeptOnce(t *testing.T) {
	dir := t.TempDir()
	b, other := open(t, dir), open(t, dir)
	text := strings.Repeat("same", 10_000)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			to := b
			if i%2 == 1 {
				to = other
			}
			if err := to.Put(t.Context(), org, hashOf(text), int64(len(text)), strings.NewReader(text)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := read(t, b, org, hashOf(text)); err != nil || got != text {
		t.Errorf("read %d bytes: %v", len(got), err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files: %v", got)
	}
}

func TestOpenSweepsWhatADeadWriterLeftAndNothingOfALivingOne(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	r, w := io.Pipe()
	text := "slow upload"
	done := make(chan error, 1)
	go func() { done <- first.Put(t.Context(), org, hashOf(text), int64(len(text)), r) }()
	if _, err := w.Write([]byte(text[:4])); err != nil { // the writer has its temporary file now
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := w.Write([]byte(text[4:])); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if err := <-done; err != nil {
		t.Errorf("a living writer lost its file: %v", err)
	}

	alone := t.TempDir()
	if err := os.MkdirAll(filepath.Join(alone, incoming), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(alone, incoming, "half"), []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, alone)
	if got := files(t, alone); len(got) != 0 {
		t.Errorf("not swept: %v", got)
	}
	put(t, b, org, "after the sweep")
}

func TestAFileThatTheDiskChangedDoesNotReadAsWhole(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	hash := put(t, b, org, "hello")
	if err := os.WriteFile(filepath.Join(dir, org, hash[:2], hash[2:]), []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, b, org, hash); purser.CodeOf(err) != purser.BlobMismatch {
		t.Errorf("a changed file was read: %v", err)
	}
}

func TestACallerWhoIsGoneLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Put(ctx, org, hashOf("x"), 1, strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("files: %v", got)
	}
}

func TestEachListsEveryKeptFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	type blob struct {
		Organization, Hash string
		Size               int64
	}
	want := map[blob]bool{}
	for i := range 20 {
		text := fmt.Sprint("file ", i)
		organization := fmt.Sprint("org_", i%3)
		want[blob{organization, put(t, b, organization, text), int64(len(text))}] = true
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := map[blob]bool{}
	if err := b.Each(t.Context(), func(o, h string, n int64) error { got[blob{o, h, n}] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	enough := errors.New("enough")
	if err := b.Each(t.Context(), func(string, string, int64) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the caller's error was lost: %v", err)
	}
}

func TestAFolderSyncServesOnlyThoseWhoCameBeforeItBegan(t *testing.T) {
	var runs atomic.Int64
	gate := make(chan struct{})
	b := &barriers{sync: func(string) error { runs.Add(1); <-gate; return nil }}
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.wait("d") })
	await(t, func() bool { return runs.Load() == 1 })
	for range 50 {
		wg.Go(func() { _ = b.wait("d") })
	}
	await(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.next["d"] != nil })
	gate <- struct{}{}
	await(t, func() bool { return runs.Load() == 2 }) // the late ones were not served by the first
	close(gate)
	wg.Wait()
	if n := runs.Load(); n > 52 || n < 2 {
		t.Errorf("%d syncs", n)
	}
}

func await(t *testing.T, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited for too long")
		}
	}
}

// Five thousand small files are a documentation site; the aim is seconds.
func BenchmarkFiveThousandSmallFiles(b *testing.B) {
	for b.Loop() {
		blobs := open(b, b.TempDir())
		work := make(chan int)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for i := range work {
					text := bytes.Repeat([]byte(fmt.Sprint(i, " ")), 200)
					if err := blobs.Put(b.Context(), org, hashOf(string(text)), int64(len(text)), bytes.NewReader(text)); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range 5000 {
			work <- i
		}
		close(work)
		wg.Wait()
	}
}
