package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	toType = regexp.MustCompile(`\bpurser ([a-z].*)`)
	over   = regexp.MustCompile(`[;:)]|, (then|or) |\bpurser `) // where another sentence, or command, begins
	option = regexp.MustCompile(`--([a-z][a-z-]*)`)
)

// What an error says to type next is a command that there is, with flags that it has.
func TestEachHintCanBeTyped(t *testing.T) {
	root, seen := (&session{}).root(), 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			for _, hint := range hintsOf(n) {
				for m := toType.FindStringSubmatch(hint); m != nil; m = toType.FindStringSubmatch(hint) {
					command := m[1]
					if at := over.FindStringIndex(command); at != nil {
						command = command[:at[0]]
					}
					hint, seen = m[1], seen+1
					if why := untypable(root, command); why != "" {
						t.Errorf("%s: purser %s: %s", path, command, why)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || seen < 100 {
		t.Errorf("%d hints: %v", seen, err)
	}
	if untypable(root, "people invite --role approver") == "" || untypable(root, "people invit approver") == "" || untypable(root, "peple") == "" {
		t.Error("a hint that cannot be typed is not found")
	}
}

// hintsOf are the texts of a call of WithHint and of a member Hint.
func hintsOf(n ast.Node) (hints []string) {
	var at ast.Node
	switch n := n.(type) {
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "WithHint" && len(n.Args) > 0 {
			at = n.Args[0]
		}
	case *ast.KeyValueExpr:
		if name, ok := n.Key.(*ast.Ident); ok && name.Name == "Hint" {
			at = n.Value
		}
	}
	if at == nil {
		return nil
	}
	ast.Inspect(at, func(n ast.Node) bool {
		if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
			if s, err := strconv.Unquote(text.Value); err == nil {
				hints = append(hints, s)
			}
		}
		return true
	})
	return hints
}

// untypable says why a command line cannot be typed.
func untypable(root *cobra.Command, line string) string {
	cmd, rest, err := root.Find(strings.Fields(line))
	switch {
	case err != nil || cmd == root:
		return "there is no such command"
	case cmd.HasSubCommands() && cmd.Name() != "stop" && len(rest) > 0 && rest[0] == strings.ToLower(rest[0]):
		return "it has no command " + rest[0]
	}
	for _, f := range option.FindAllStringSubmatch(line, -1) {
		if f[1] != "help" && cmd.Flag(f[1]) == nil && cmd.InheritedFlags().Lookup(f[1]) == nil {
			return "it has no flag --" + f[1]
		}
	}
	return ""
}
