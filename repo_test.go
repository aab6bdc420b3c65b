package purser_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/purser-dev/purser"

// source is one Go file of the repository.
type source struct {
	path, dir string // slash-separated, from the root; the root's dir is "."
	test      bool
	file      *ast.File
}

// sources parses every Go file once for all tests of the repository. The tests
// run in the root, which is where `go test` runs a package's tests.
var sources = sync.OnceValues(func() (all []source, err error) {
	set := token.NewFileSet()
	err = walk(func(name string) error {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") {
			return nil
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), file})
		return nil
	})
	return all, err
})

// walk visits every file that could be committed, in alphabetical order.
func walk(visit func(name string) error) error {
	return filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && !d.IsDir(): // of a work tree: it says where the repository is
			return nil
		case d.IsDir() && slices.Contains([]string{".git", ".tools", "bin", "node_modules"}, d.Name()):
			return fs.SkipDir
		case name == ".git": // of a worktree: a file that git keeps, and nobody commits
			return nil
		case d.Type().IsRegular():
			return visit(filepath.ToSlash(name))
		}
		return nil
	})
}

func goFiles(t *testing.T) []source {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEachPackageIsExplainedInOneSentence(t *testing.T) {
	docs := map[string][]string{}
	names := map[string]string{}
	for _, s := range goFiles(t) {
		if s.test || ast.IsGenerated(s.file) {
			continue
		}
		names[s.dir] = s.file.Name.Name
		if s.file.Doc != nil {
			docs[s.dir] = append(docs[s.dir], s.file.Doc.Text())
		}
	}
	for dir, name := range names {
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		switch texts := docs[dir]; {
		case len(texts) != 1:
			t.Errorf("%s: %d files have a package doc, want one", dir, len(texts))
		case !strings.HasPrefix(texts[0], want):
			t.Errorf("%s: the package doc begins %.30q, want %q", dir, texts[0], want)
		case !strings.HasSuffix(new(doc.Package).Synopsis(texts[0]), "."):
			t.Errorf("%s: the first sentence of the package doc does not end", dir)
		}
	}
}

// A test that never uses its *testing.T has no way to fail but a panic.
func TestNoTestIsEmpty(t *testing.T) {
	kinds := regexp.MustCompile(`^(Test|Benchmark|Fuzz)[^a-z]`)
	for _, s := range goFiles(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !s.test || f.Recv != nil || f.Name.Name == "TestMain" || !kinds.MatchString(f.Name.Name) || len(f.Type.Params.List) != 1 {
				continue
			}
			names := f.Type.Params.List[0].Names
			if len(names) != 1 || !mentions(f.Body, names[0].Name) {
				t.Errorf("%s: %s cannot fail: it does not use its parameter", s.path, f.Name.Name)
			}
		}
	}
}

func mentions(body *ast.BlockStmt, name string) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == name
		return !found
	})
	return found
}

// Who reads the contract writes code for each state that it names.
func TestEachStateOfTheContractIsOneThatTheOfficeKnows(t *testing.T) {
	var states []string
	known := map[string]bool{}
	for _, s := range goFiles(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if kind, ok := n.Type.(*ast.Ident); ok && s.dir == "." && strings.HasSuffix(kind.Name, "State") {
					states = append(states, n.Names[0].Name)
				}
			case *ast.SelectorExpr:
				known[n.Sel.Name] = known[n.Sel.Name] || s.dir == "internal/office" && !s.test
			}
			return true
		})
	}
	if len(states) < 10 {
		t.Errorf("the contract has the states %v", states)
	}
	for _, name := range states {
		if !known[name] {
			t.Errorf("%s is a state that nothing has", name)
		}
	}
}

// What `make test` installs may not be skipped there, and only testneed and
// testpg know how to fail instead.
func TestOnlyTestneedSkipsForWhatMakeTestInstalls(t *testing.T) {
	installed := regexp.MustCompile(`(?i)\b(postgres(ql)?|dig|curl|judges?)\b`)
	for _, s := range goFiles(t) {
		if s.dir == "internal/testneed" || s.dir == "internal/testpg" || s.dir == "." {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			name, ok := call.Fun.(*ast.SelectorExpr)
			reason, lit := call.Args[0].(*ast.BasicLit)
			if ok && lit && strings.HasPrefix(name.Sel.Name, "Skip") && installed.MatchString(reason.Value) {
				t.Errorf("%s: a test skips with %s; use testpg.Open or testneed.Program, so that make test fails instead", s.path, reason.Value)
			}
			return true
		})
	}
}

// The names are put together here, or this file would be the first to hold them.
func TestNoFileNamesARegistryOrAPlaceOfOneMachine(t *testing.T) {
	hosts := []string{"proxy.golang" + ".org", "registry.npmjs" + ".org", "pypi" + ".org", "deb.debian" + ".org", "crates" + ".io"}
	machine := regexp.MustCompile(`(^|[\s"'` + "`" + `(=:])/` + `work/\w`)
	err := walk(func(name string) error {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if strings.Contains(string(text), host) {
				t.Errorf("%s names %s; a mirror must be able to take its place", name, host)
			}
		}
		if m := machine.Find(text); m != nil {
			t.Errorf("%s names a path of one machine: %q", name, m)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// imports lists what a file imports; paths of this module are cut to the folder
// ("." is the root).
func (s source) imports() (ours, others []string) {
	for _, spec := range s.file.Imports {
		switch p := strings.Trim(spec.Path.Value, `"`); {
		case p == module:
			ours = append(ours, ".")
		case strings.HasPrefix(p, module+"/"):
			ours = append(ours, strings.TrimPrefix(p, module+"/"))
		default:
			others = append(others, p)
		}
	}
	return ours, others
}

// standard reports whether a path belongs to Go: its first part has no dot.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}
