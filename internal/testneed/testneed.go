// Package testneed names what a test needs from the machine: it is there, or the test is skipped by name.
//
// A plain `go test ./...` works with nothing installed. `make test` installs
// everything and sets PURSER_REQUIRE, so that a skip there is a failure: a suite
// that silently skips its database half would be green and worth nothing.
package testneed

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Require is the environment variable that lists, separated by commas, the
// needs whose absence fails the test instead of skipping it: postgres,dig,curl,chromium,judges.
const Require = "PURSER_REQUIRE"

// Program returns the path of a program on the PATH, or ends the test.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Absent(t, name, "needs "+name+": install it or run make test")
	}
	return path
}

// Judge returns how to run a program of tools/judges, which tools/needs.sh
// installs: the Node that it wants, and its script. Or it ends the test.
func Judge(t testing.TB, pkg, script string) (node, path string) {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	modules := filepath.Join(dir, ".tools", "judges", "node_modules")
	path = filepath.Join(modules, filepath.FromSlash(pkg), filepath.FromSlash(script))
	if _, err := os.Stat(path); err == nil {
		if nodes, _ := filepath.Glob(filepath.Join(modules, "node-linux-*", "bin", "node")); len(nodes) > 0 {
			return nodes[0], path
		}
	}
	Absent(t, "judges", "needs "+pkg+": run tools/needs.sh or make test")
	return "", ""
}

// Absent ends the test because need (as written in PURSER_REQUIRE) is not there:
// skipped with the given reason, or failed with it where the need is required.
func Absent(t testing.TB, need, reason string) {
	t.Helper()
	if required(os.Getenv(Require), need) {
		t.Fatalf("%s (not skipped: %s lists %q)", reason, Require, need)
	}
	t.Skip(reason)
}

func required(list, need string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(word string) bool {
		return strings.TrimSpace(word) == need
	})
}
