package cli

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheStarterIsTheExample(t *testing.T) {
	for _, file := range []string{"main.go", "main_test.go"} {
		example, err := os.ReadFile(filepath.Join("..", "..", "examples", "notes", file))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := starter.ReadFile("starter/" + file + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(example), string(ours)); diff != "" {
			t.Errorf("copy examples/notes/%s to internal/cli/starter/%s.txt (-example +starter):\n%s", file, file, diff)
		}
		if lines := strings.Count(string(ours), "\n"); file == "main.go" && lines >= 150 {
			t.Errorf("%s has %d lines, want below 150", file, lines)
		}
	}
}

func TestANewProviderBuildsAndPassesTheSuiteAsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program: run without -short")
	}
	dir := t.TempDir()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	code, text := cliIn(t, dir, "provider", "new", "my-weather", "--source", root)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, text)
	}
	folder := filepath.Join(dir, "my-weather")
	for _, args := range [][]string{{"vet", "./..."}, {"test", "-count=1", "./..."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %v: %v\n%s", args, err, out)
		}
	}
	main, err := os.ReadFile(filepath.Join(folder, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"// Command my-weather is", `Name: "my-weather"`, "MY_WEATHER_SIGNING_SECRET"} {
		if !strings.Contains(string(main), want) {
			t.Errorf("main.go lacks %q", want)
		}
	}
	if code, text := cliIn(t, dir, "provider", "new", "my-weather", "--source", root); code == 0 || !strings.Contains(text, "nothing was written") {
		t.Errorf("a second time: exit %d, %s; want a refusal", code, text)
	}
}

func TestANewProviderNeedsAGoodNameAndAVersion(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"a path":     {"provider", "new", "../evil", "--source", "."},
		"capitals":   {"provider", "new", "Weather", "--source", "."},
		"no release": {"provider", "new", "weather"},
		"no source":  {"provider", "new", "weather", "--source", "nowhere"},
	} {
		if code, text := cliIn(t, dir, args...); code == 0 {
			t.Errorf("%s: exit 0, %s; want a refusal", name, text)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if code, text := cliOf(t, dir, "v1.2.3", "provider", "new", "weather"); code != 0 {
		t.Errorf("a release: exit %d, %s", code, text)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "weather", "go.mod"))
	if err != nil || !strings.Contains(string(mod), "require github.com/purser-dev/purser v1.2.3\n") {
		t.Errorf("go.mod is %q, %v", mod, err)
	}
}

// cliIn runs a command line in a folder, as a program that is no release.
func cliIn(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	return cliOf(t, dir, "v0.0.0-test", args...)
}

func cliOf(t *testing.T, dir, version string, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := Run(t.Context(), args, World{Out: &out, Err: io.Writer(&out), Dir: dir, Version: version})
	return code, out.String()
}
