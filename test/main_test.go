package test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is the binary that all tests run, built once.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	// These tests wait more than they work: for leases, for pauses, for processes.
	if err := flag.Set("test.parallel", strconv.Itoa(max(12, runtime.GOMAXPROCS(0)))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "purser-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "purser")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "github.com/purser-dev/purser/cmd/purser")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// whole is for tests that start servers.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers: run without -short")
	}
	look(t)
	t.Parallel()
}

// look takes a look at each source file. Go keeps a test's result until a file
// that the test has looked at changes, and the program is not part of this binary.
func look(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go"), entry.Name() == "go.mod", filepath.Ext(path) == ".sql":
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatalf("looking at the sources: %v", err)
	}
}

// patience bounds every wait in this package that no deadline of the program's bounds.
// It only ends a test that hangs: how fast things are, benchmarks say.
const patience = 5 * time.Minute

// eventually polls until it holds. what says it as a sentence.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("within %s it does not come about that %s", patience, what)
		}
	}
}

// journal collects what a process says; it may be read while it grows.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// without is what was said, but for the lines that contain word.
func (j *journal) without(word string) string {
	lines := strings.SplitAfter(j.String(), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, word) }), "")
}
