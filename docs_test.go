package purser_test

import (
	"errors"
	"fmt"
	"go/ast"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/purser-dev/purser/internal/testneed"
)

// What a reader of the README types works, as typed, in an empty folder: every
// `sh` block in one shell, from the top to the end, on a terminal. `make` is left
// to `make test`, which runs this.
func TestREADMEWorksAsTyped(t *testing.T) {
	runDocument(t, "README.md")
}

// The guide for sellers needs a server to sell to, and brings its own provider.
func TestProviderGuideWorksAsTyped(t *testing.T) {
	runDocument(t, "docs/provider.md")
}

// The commands of the operating guide that need no root and no other machine.
func TestOperatingGuideWorksAsTyped(t *testing.T) {
	runDocument(t, "docs/operating.md")
}

// documentTime is the most that one document may take; a few seconds is usual.
const documentTime = 2 * time.Minute

// runDocument types the blocks of a document on a terminal.
func runDocument(t *testing.T, document string) {
	if testing.Short() {
		t.Skip("starts servers: run without -short")
	}
	t.Parallel()
	testneed.Program(t, "curl")
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("needs a pseudo-terminal")
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	listen, edge, notes := freePort(t), freePort(t), freePort(t)
	archive := &txtar.Archive{
		// Whoever reads the terminal, and only that, gets the passphrase.
		Comment: []byte("ttyin passphrases\nexec sh script\n"),
		Files: []txtar.File{
			{Name: "passphrases", Data: []byte(strings.Repeat("correct horse battery staple\n", 20))},
			{Name: "script", Data: []byte(scriptOf(snippets(document, string(text)), strings.NewReplacer("127.0.0.1:7743", edge, "localhost:7627", listen, "localhost:7801", notes)))},
		},
	}
	file := filepath.Join(t.TempDir(), "typed.txtar")
	if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(documentTime)
	testscript.Run(t, testscript.Params{Files: []string{file}, Deadline: deadline, Setup: func(env *testscript.Env) error {
		bin := filepath.Join(env.WorkDir, "bin")
		for name, value := range map[string]string{
			"HOME": env.WorkDir, "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": "", "PATH": bin + ":" + os.Getenv("PATH"),
			"PURSER_LISTEN": listen, "PURSER_CLOUD_HTTPS": edge, "SOURCE": source,
			"PURSER_CLOUD_API": "127.0.0.1:0", "PURSER_CLOUD_HTTP": "127.0.0.1:0", "PURSER_CLOUD_DNS": "127.0.0.1:0", "PURSER_CLOUD_SMTP": "127.0.0.1:0",
			"GOCACHE": goEnv("GOCACHE"), "GOMODCACHE": goEnv("GOMODCACHE"), "GOFLAGS": "-buildvcs=false",
		} {
			env.Setenv(name, value)
		}
		return errors.Join(os.Mkdir(bin, 0o700), os.WriteFile(filepath.Join(bin, "purser"), binary, 0o700))
	}})
}

// exits is how a document says that a command fails on purpose.
var exits = regexp.MustCompile(`\s+# exit (\d+)\b.*$`)

// scriptOf makes one shell script of the blocks. A command that ends otherwise
// than the document says ends the script and names its place.
func scriptOf(blocks []snippet, ports *strings.Replacer) string {
	var b strings.Builder
	for _, block := range blocks {
		for _, command := range block.commands {
			if strings.HasPrefix(command, "make ") || strings.HasPrefix(command, "go test ") {
				continue // these run this test
			}
			command = strings.Replace(command, "go build -o bin/", `go build -C "$SOURCE" -o "$PWD/bin/"`, 1)
			want := "0"
			if m := exits.FindStringSubmatch(command); m != nil {
				want, command = m[1], exits.ReplaceAllString(command, "")
			}
			command = ports.Replace(command) // this machine may have a server of its own
			shown := "'" + strings.ReplaceAll(command, "'", `'\''`) + "'"
			fmt.Fprintf(&b, "printf '+ %%s\\n' %s\n%s\n", shown, command)
			fmt.Fprintf(&b, "got=$?; [ $got -eq %s ] || { echo \"%s:%d: exit $got instead of %s\"; exit 1; }\n", want, block.document, block.line, want)
		}
	}
	return b.String()
}

// program is built once for all documents.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "purser-docs-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "purser")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/purser").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

func goEnv(name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		return "" // go then finds its own
	}
	return strings.TrimSpace(string(out))
}

// freePort is an address that was free a moment ago; the documents name it
// before the server takes it.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestADocumentThatLiesIsFound(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("needs sh")
	}
	for _, c := range []struct {
		command string
		ok      bool
	}{
		{"true", true},
		{"false", false},
		{"false # exit 1", true},
		{"true # exit 1, because", false},
		{"sh -c 'exit 3' # exit 3", true},
		{"echo 'it'\"'\"'s quoted'", true},
	} {
		out, err := exec.Command("sh", "-c", scriptOf([]snippet{{"x.md", 7, []string{c.command, "true"}}}, strings.NewReplacer())).CombinedOutput()
		if (err == nil) != c.ok {
			t.Errorf("%q: %v, %s", c.command, err, out)
		}
		if !c.ok && !strings.Contains(string(out), "x.md:7") {
			t.Errorf("%q: the place is not named: %s", c.command, out)
		}
	}
}

// Go that a document shows is code that is compiled and tested elsewhere, line
// for line: the block says in which file.
func TestGoInTheDocumentsIsTheCode(t *testing.T) {
	names := regexp.MustCompile("(?s)From `([^`]+\\.go)`[^\n]*\n+```go\n(.*?)```")
	for document, text := range documents(t) {
		if got, all := len(names.FindAllString(text, -1)), strings.Count(text, "```go\n"); got != all {
			t.Errorf("%s: %d of its %d Go blocks do not say From `FILE` before them", document, all-got, all)
		}
		for _, m := range names.FindAllStringSubmatch(text, -1) {
			code, err := os.ReadFile(m[1])
			if err != nil {
				t.Errorf("%s: %v", document, err)
				continue
			}
			for i, part := range strings.Split(m[2], "\n\n") {
				if part = strings.Trim(part, "\n"); !strings.Contains(string(code), part+"\n") {
					t.Errorf("%s: part %d of a block is not in %s any more:\n%s", document, i+1, m[1], part)
				}
			}
		}
	}
}

// The architecture page names functions by file; each must be there.
func TestEachFunctionOfTheTraceExists(t *testing.T) {
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, s := range goFiles(t) {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				declared[s.path+" "+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.TypeSpec); ok {
						declared[s.path+" "+v.Name.Name] = true
					}
					if v, ok := spec.(*ast.ValueSpec); ok {
						declared[s.path+" "+v.Names[0].Name] = true
					}
				}
			}
		}
	}
	named := regexp.MustCompile("`([\\w./-]+\\.go)`:\\s+((?:`\\w+`(?:,\\s+)?)+)")
	all := named.FindAllStringSubmatch(string(text), -1)
	if len(all) < 20 {
		t.Fatalf("the trace names %d files with functions; the form of the page has changed", len(all))
	}
	for _, m := range all {
		for _, f := range regexp.MustCompile(`\w+`).FindAllString(m[2], -1) {
			if !declared[m[1]+" "+f] {
				t.Errorf("docs/ARCHITECTURE.md: %s has no %s", m[1], f)
			}
		}
	}
}

// The settings that the operating guide names are settings.
func TestEachSettingInTheDocumentsExists(t *testing.T) {
	example, err := os.ReadFile("docs/purser.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"PURSER_CONFIG": true, "PURSER_TOKEN": true, "PURSER_URL": true, "PURSER_REQUIRE": true, "PURSER_TEST_POSTGRES": true, "PURSER_TEST_SEED": true, "PURSER_TEST_SOAK": true}
	group := ""
	for line := range strings.Lines(string(example)) {
		if m := regexp.MustCompile(`^(\w+):$`).FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			group = strings.ToUpper(m[1]) + "_"
		}
		if m := regexp.MustCompile(`^( *)#(\w+):`).FindStringSubmatch(line); m != nil {
			prefix := ""
			if m[1] != "" {
				prefix = group
			}
			known["PURSER_"+prefix+strings.ToUpper(m[2])] = true
		}
	}
	for document, text := range documents(t) {
		for _, name := range regexp.MustCompile(`\bPURSER_[A-Z_]+\b`).FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%s names %s, which is no setting", document, name)
			}
		}
	}
}
