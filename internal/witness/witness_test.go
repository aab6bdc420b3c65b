package witness

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-dev/purser/internal/notice"
)

func signed(n int) string {
	return fmt.Sprintf("purser/ins_1/org_1\n%d\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 1\n\n— purser/ins_1/org_1 %032d\n", n, n)
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheFileHoldsWholeNotesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints")
	w := File{path}
	if err := w.Keep(t.Context(), []string{signed(1), signed(2)}); err != nil {
		t.Fatal(err)
	}
	want := signed(1) + "\n" + signed(2) + "\n"
	if got := content(t, path); got != want {
		t.Fatalf("%q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Killed at each byte of the second note: the next one stands alone.
	for cut := len(signed(1)); cut < len(want); cut++ {
		if err := os.WriteFile(path, []byte(want[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Keep(t.Context(), []string{signed(3)}); err != nil {
			t.Fatalf("after %q: %v", want[:cut], err)
		}
		again := signed(1) + "\n" + signed(3) + "\n"
		whole := signed(1) + "\n" + signed(2) + "\n" + signed(3) + "\n"
		if got := content(t, path); got != again && (cut < len(want)-1 || got != whole) {
			t.Fatalf("after byte %d: %q", cut, got)
		}
	}
	// Killed in the very first note.
	for cut := range len(signed(1)) {
		if err := os.WriteFile(path, []byte(signed(1)[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Keep(t.Context(), []string{signed(3)}); err != nil || content(t, path) != signed(3)+"\n" {
			t.Fatalf("after byte %d: %q, %v", cut, content(t, path), err)
		}
	}
	// A file of something else is left alone.
	for _, other := range []string{"my diary\n", strings.Repeat("x", 2*longest), signed(1) + "\nmy diary\n"} {
		if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Keep(t.Context(), []string{signed(3)}); err == nil || content(t, path) != other {
			t.Errorf("%.20q: %v", other, err)
		}
	}
	if err := (File{filepath.Join(path, "below")}).Keep(t.Context(), nil); err == nil {
		t.Error("a file below a file was written")
	}
}

// Two replicas write one file; and it may be moved away between.
func TestTheFileTakesNotesOfSeveralProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints")
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 25 {
				if err := (File{path}).Keep(t.Context(), []string{signed(100*i + n)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := content(t, path)
	for i := range 4 {
		for n := range 25 {
			if strings.Count(got, signed(100*i+n)) != 1 {
				t.Errorf("note %d of %d is there %d times", n, i, strings.Count(got, signed(100*i+n)))
			}
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := (File{path}).Keep(t.Context(), []string{signed(1)}); err != nil || content(t, path) != signed(1)+"\n" {
		t.Errorf("after it was moved: %v", err)
	}
}

func TestAPostIsSignedAndCountsWhenItIsTaken(t *testing.T) {
	const secret = "a secret of the witness"
	now := time.Unix(1_790_000_000, 0)
	status, bodies := http.StatusNoContent, []string{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" ||
			!notice.Verified(secret, r.Header.Get(notice.TimestampHeader), r.Header.Get(notice.SignatureHeader), body, now.Add(time.Minute), 5*time.Minute) {
			t.Errorf("%s %v", body, r.Header)
		}
		bodies = append(bodies, string(body))
		rw.Header().Set("Location", "/elsewhere")
		rw.WriteHeader(status)
	}))
	defer server.Close()
	w := NewPost(server.URL+"/secret-path", secret, func() time.Time { return now })
	if err := w.Keep(t.Context(), []string{signed(1), signed(2)}); err != nil || len(bodies) != 1 || bodies[0] != signed(1)+"\n"+signed(2)+"\n" {
		t.Errorf("%q, %v", bodies, err)
	}
	for _, status = range []int{301, 307, 400, 500, 503} {
		n := len(bodies)
		if err := w.Keep(t.Context(), []string{signed(1)}); err == nil || len(bodies) != n+1 {
			t.Errorf("%d counts as taken, or was sent %d times: %v", status, len(bodies)-n, err)
		}
	}
	server.Close()
	err := w.Keep(t.Context(), []string{signed(1)})
	if err == nil || strings.Contains(err.Error(), "secret-path") || strings.Contains(err.Error(), secret) {
		t.Errorf("with nobody there: %v", err)
	}
}
