package purser_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-dev/purser"
)

var update = flag.Bool("update", false, "write what is generated: docs/errors.md")

// documents are the texts for people, with their content.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := walk(func(name string) error {
		if path.Ext(name) != ".md" || strings.Contains(name, "testdata/") {
			return nil
		}
		text, err := os.ReadFile(name)
		texts[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestEachPathNamedInTheDocumentsExists(t *testing.T) {
	inCode := regexp.MustCompile("`((?:internal|app|provider|client|cmd|docs|tools|test|\\.ci)/[\\w./-]*)`")
	inLink := regexp.MustCompile(`\]\(([\w./-]+)\)`)
	for name, text := range documents(t) {
		for _, m := range inCode.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s names `%s`, which is not there", name, m[1])
			}
		}
		for _, m := range inLink.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(path.Join(path.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}

// snippet is one fenced `sh` block of a document: what a reader may copy.
type snippet struct {
	document string
	line     int
	commands []string
}

// snippets lists the `sh` blocks. A block that is output or a form is fenced as
// `text`, so that all that is called `sh` can be run.
func snippets(document, text string) []snippet {
	var all []snippet
	inside := false
	for i, line := range strings.Split(text, "\n") {
		fence, is := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case is && !inside && fence == "sh":
			inside = true
			all = append(all, snippet{document: document, line: i + 1})
		case is:
			inside = false
		case inside && strings.TrimSpace(line) != "" && !strings.HasPrefix(strings.TrimSpace(line), "#"):
			last := &all[len(all)-1]
			last.commands = append(last.commands, strings.TrimSpace(line))
		}
	}
	return all
}

func TestEachSnippetCanBeTyped(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, s := range snippets(name, text) {
			where := fmt.Sprintf("%s:%d", s.document, s.line)
			if len(s.commands) == 0 {
				t.Errorf("%s: an empty snippet", where)
			}
			for _, c := range s.commands {
				words := strings.Fields(c)
				switch {
				case strings.HasPrefix(c, "$ "):
					t.Errorf("%s: %q begins with a prompt, which nobody can paste", where, c)
				case words[0] == "make" && len(words) > 1 && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(words[1])+`:`).Match(makefile):
					t.Errorf("%s: the Makefile has no target %s", where, words[1])
				}
			}
		}
	}
}

func TestSnippetsAreFound(t *testing.T) {
	got := snippets("x.md", "a\n```sh\nmake demo # show\n\n# a remark\nls\n```\n```text\nno\n```\n  ```sh\n  pwd\n  ```\n")
	want := []snippet{{"x.md", 2, []string{"make demo # show", "ls"}}, {"x.md", 11, []string{"pwd"}}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(snippet{})); d != "" {
		t.Error(d)
	}
}

// Every module that a Go file imports, and every tool, has a line in
// docs/dependencies.md, and no line is about one that is gone.
func TestEachDependencyIsExplained(t *testing.T) {
	required := modules(t, "go.mod", `(?m)^\s*(?:require )?(\S+\.\S+) v\S+`)
	tools := modules(t, "tools/go.mod", `(?m)^\t(\S+\.\S+)$`)
	used := map[string]string{}
	for _, s := range goFiles(t) {
		_, others := s.imports()
		for _, p := range others {
			if !standard(p) {
				used[moduleOf(p, required)] = s.path
			}
		}
	}
	for _, tool := range tools {
		used[strings.Split(tool, "/cmd/")[0]] = "tools/go.mod"
	}
	text, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		explained[m[1]] = true
	}
	for _, m := range slices.Sorted(maps.Keys(used)) {
		if !explained[m] {
			t.Errorf("docs/dependencies.md has no line for %s, which %s uses: what for, and what else was looked at", m, used[m])
		}
	}
	for _, m := range slices.Sorted(maps.Keys(explained)) {
		if used[m] == "" && !slices.Contains(required, m) {
			t.Errorf("docs/dependencies.md explains %s, which nothing requires", m)
		}
	}
}

func modules(t *testing.T, file, line string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range regexp.MustCompile(line).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("%s: no module found", file)
	}
	return all
}

// moduleOf finds the module that a package belongs to: the longest path that is
// required. One that nothing requires is returned as it is, to be complained of.
func moduleOf(p string, required []string) string {
	for at := p; at != "."; at = path.Dir(at) {
		if slices.Contains(required, at) {
			return at
		}
	}
	return p
}

func TestTheErrorsInTheDocumentsAreTheTable(t *testing.T) {
	if *update {
		if err := os.WriteFile("docs/errors.md", []byte(errorsPage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(errorsPage(), string(committed)); d != "" {
		t.Errorf("docs/errors.md is out of date, run make generate: %s", d)
	}
}

func errorsPage() string {
	var b strings.Builder
	b.WriteString(`# Errors

Made by ` + "`make generate`" + ` from the one table in ` + "`error.go`" + `. A code never changes once released. The class says what the caller can do:

| Class | What to do |
| --- | --- |
| ` + "`input`" + ` | correct the request |
| ` + "`final`" + ` | nothing; the same request stays refused |
| ` + "`needs_person`" + ` | ask a person to act; then the same request, under the same key, goes on |
| ` + "`retry`" + ` | send the same request later, under the same key |
| ` + "`unknown_outcome`" + ` | wait; it may have happened, and is looked up, never repeated |

HTTP answers with the status and an RFC 9457 problem, the command line with the exit code. An idempotency key keeps a ` + "`final`" + ` refusal: the
same request under it gets the same answer, with ` + "`replay: true`" + `, whatever was changed since (a limit raised, say). A new key asks again.

| Code | Class | HTTP | Exit | Meaning |
| --- | --- | --- | --- | --- |
`)
	for _, c := range purser.Codes() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %d | %d | %s |\n", c.Code, c.Class, c.HTTP, c.Exit, c.Meaning)
	}
	b.WriteString(`
The command line alone has two more: ` + "`interrupted`" + ` (class ` + "`retry`" + `, exit 130). Ctrl-C or a signal ended the command, and with it what it had started. What
it had asked the server for may have been decided: the same command under the same ` + "`--key`" + ` tells. And ` + "`unwritten`" + ` (class ` + "`retry`" + `, exit 1):
standard output, or a file that was named, took no more, because the disk is full, say. What standard output does not take, --json too, is told on
standard error, and whether the change was made; the same command under the same ` + "`--key`" + ` answers again. A reader that has enough (` + "`| head`" + `) ends the
command without a word, with exit 141.
`)
	return b.String()
}

func TestEachErrorCodeHasOneRow(t *testing.T) {
	rows := map[string]int{}
	for _, c := range purser.Codes() {
		rows[string(c.Code)]++
		if c.HTTP < 400 || c.HTTP > 599 || c.Exit < 1 || !strings.HasSuffix(c.Meaning, ".") {
			t.Errorf("%s: HTTP %d, exit %d, %q is no row for people", c.Code, c.HTTP, c.Exit, c.Meaning)
		}
	}
	source, err := os.ReadFile("error.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t\w+\s+Code = "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(declared) == 0 {
		t.Fatal("no code found in error.go")
	}
	for _, d := range declared {
		if rows[d[1]] != 1 {
			t.Errorf("%s has %d rows in the table, want 1", d[1], rows[d[1]])
		}
		delete(rows, d[1])
	}
	for code := range rows {
		t.Errorf("the table has %s, which no constant declares", code)
	}
}
