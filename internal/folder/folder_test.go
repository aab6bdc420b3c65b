package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

func write(t testing.TB, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWalkNamesEachFileByPathHashAndSize(t *testing.T) {
	root := t.TempDir()
	write(t, root, "index.html", "<h1>hi</h1>")
	write(t, root, "a/größe und mehr.txt", "x")
	write(t, root, ".git/config", "never")
	write(t, root, "a/.git", "gitdir: elsewhere")
	got, err := Walk(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	want := []purser.File{{Path: "a/größe und mehr.txt", SHA256: sum("x"), Size: 1}, {Path: "index.html", SHA256: sum("<h1>hi</h1>"), Size: 11}}
	if diff := cmp.Diff(want, got.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got.Bytes != 12 {
		t.Errorf("bytes: %d, want 12", got.Bytes)
	}
	r, size, err := got.Open(sum("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if text, _ := io.ReadAll(r); string(text) != "x" || size != 1 {
		t.Errorf("opened %q of %d bytes", text, size)
	}
	if _, _, err := got.Open(sum("other")); err == nil {
		t.Error("a hash that no file has was opened")
	}
}

func TestWalkRefusesByName(t *testing.T) {
	for name, c := range map[string]struct {
		make func(root string) error
		says string
	}{
		"a link to a file":       {func(r string) error { return os.Symlink("/etc/passwd", filepath.Join(r, "leak")) }, `"leak" is a symbolic link`},
		"a link to a folder":     {func(r string) error { return os.Symlink("/", filepath.Join(r, "all")) }, `"all" is a symbolic link`},
		"a link out by dots":     {func(r string) error { return os.Symlink("..", filepath.Join(r, "up")) }, `"up" is a symbolic link`},
		"a pipe":                 {func(r string) error { return syscall.Mkfifo(filepath.Join(r, "pipe"), 0o600) }, `"pipe" is not a regular file`},
		"a name that is no text": {func(r string) error { return os.WriteFile(filepath.Join(r, "a\xff"), nil, 0o600) }, "not valid UTF-8"},
		"a newline in a name":    {func(r string) error { return os.WriteFile(filepath.Join(r, "a\nb"), nil, 0o600) }, "control character"},
		"a backslash in a name":  {func(r string) error { return os.WriteFile(filepath.Join(r, `a\b`), nil, 0o600) }, "backslash"},
		"two names of one case": {func(r string) error {
			return os.WriteFile(filepath.Join(r, "INDEX.html"), nil, 0o600)
		}, `"INDEX.html" and "index.html" differ only in case`},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "index.html", "hi")
			if err := c.make(root); err != nil {
				t.Fatal(err)
			}
			_, err := Walk(t.Context(), root)
			if purser.CodeOf(err) != purser.UnsafeFolder || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Walk: %v, want unsafe_folder saying %s", err, c.says)
			}
		})
	}
}

func TestWalkRefusesAFolderThatIsNone(t *testing.T) {
	empty, file := t.TempDir(), filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, file, filepath.Join(empty, "absent")} {
		if _, err := Walk(t.Context(), path); purser.CodeOf(err) != purser.UnsafeFolder {
			t.Errorf("%s: %v, want unsafe_folder", path, err)
		}
	}
}

func TestAnUnreadableFileIsNamed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything: run as another user")
	}
	root := t.TempDir()
	write(t, root, "secret.html", "x")
	if err := os.Chmod(filepath.Join(root, "secret.html"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Walk(t.Context(), root); err == nil || !strings.Contains(err.Error(), `"secret.html" cannot be read`) {
		t.Errorf("Walk: %v, want the file named", err)
	}
}

func TestFilesThatLookSecretAreWarnedOf(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"index.html", ".env", "conf/.env.production", ".env.example", "tls/server.key", "id_ed25519", "monkey.html"} {
		write(t, root, name, name)
	}
	f, err := Walk(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".env", "conf/.env.production", "id_ed25519", "tls/server.key"}
	var got []string
	for _, w := range f.Warnings {
		got = append(got, strings.TrimSuffix(w, " may hold a secret, and would be public"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestGitTellsTheCommitOfACleanTreeAndCallsAnyOtherDirty(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	root := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", root, "-c", "user.name=n", "-c", "user.email=e@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	look := func() Folder {
		t.Helper()
		f, err := Walk(t.Context(), filepath.Join(root, "site"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	write(t, root, "site/index.html", "one")
	if f := look(); f.Commit != "" || f.Dirty {
		t.Errorf("without git: commit %q, dirty %v", f.Commit, f.Dirty)
	}
	run("init", "-q")
	if f := look(); !f.Dirty {
		t.Error("a tree without any commit counts as clean")
	}
	run("add", ".")
	run("commit", "-q", "-m", "one")
	if f := look(); f.Dirty || f.Commit != run("rev-parse", "HEAD") {
		t.Errorf("a clean tree: commit %q, dirty %v", f.Commit, f.Dirty)
	}
	write(t, root, "README", "beside the folder")
	if f := look(); !f.Dirty || f.Commit != "" {
		t.Error("a change beside the folder, in the same tree, was not seen")
	}
}

func TestWalkEndsWhenItIsInterrupted(t *testing.T) {
	root := t.TempDir()
	write(t, root, "index.html", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Walk(ctx, root); err == nil {
		t.Error("a walk under a cancelled context succeeded")
	}
}

func TestFiveThousandFilesAndFiftyMegabytesAreWalked(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 50 MB: run without -short")
	}
	root := t.TempDir()
	page := strings.Repeat("a page of a site. ", 600) // 10.8 kB
	for i := range 5000 {
		write(t, root, fmt.Sprintf("d%02d/p%d.html", i%50, i), fmt.Sprint(i)+page)
	}
	began := time.Now()
	f, err := Walk(t.Context(), root)
	if err != nil || len(f.Files) != 5000 || f.Bytes < 50_000_000 {
		t.Fatalf("%d files, %d bytes, %v", len(f.Files), f.Bytes, err)
	}
	t.Logf("5,000 files and %d bytes in %v", f.Bytes, time.Since(began)) // the aim is 0.5 s
}

// counter takes uploads and keeps which files came.
type counter struct {
	mu   sync.Mutex
	got  map[string]int
	fail bool
}

func (c *counter) UploadBlobs(ctx context.Context, missing []string, open func(string) (io.ReadCloser, int64, error), _ func(int64)) error {
	for _, sha := range missing {
		r, _, err := open(sha)
		if err != nil {
			return err
		}
		_ = r.Close()
		c.mu.Lock()
		c.got[sha]++
		c.mu.Unlock()
	}
	if c.fail {
		return io.ErrClosedPipe
	}
	return nil
}

func TestEachMissingFileIsSentOnce(t *testing.T) {
	root := t.TempDir()
	for i := range 50 {
		write(t, root, fmt.Sprintf("f%d", i), fmt.Sprint("content ", i))
	}
	f, err := Walk(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, file := range f.Files[:41] {
		missing = append(missing, file.SHA256)
	}
	to := &counter{got: map[string]int{}}
	if err := f.Send(t.Context(), to, missing); err != nil {
		t.Fatal(err)
	}
	for _, sha := range missing {
		if to.got[sha] != 1 {
			t.Errorf("%s was sent %d times", sha, to.got[sha])
		}
	}
	if len(to.got) != 41 {
		t.Errorf("%d files were sent, want 41", len(to.got))
	}
	if err := f.Send(t.Context(), &counter{got: map[string]int{}, fail: true}, missing); err == nil {
		t.Error("a failed upload counts as sent")
	}
}
