package cli

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

// starter is examples/notes, kept equal to it by a test, and a README.
//
//go:embed starter
var starter embed.FS

// begun is a provider to begin from.
type begun struct {
	Folder string   `json:"folder"`
	Files  []string `json:"files"`
}

var providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

func (s *session) providerNew() *cobra.Command {
	var source string
	cmd := &cobra.Command{
		Use: "new NAME", Short: "Write a provider to begin from, which passes the conformance suite", Args: needs("NAME"),
		Long: "Write a folder with a small provider of APP 0.1d in Go: it builds, and passes the conformance suite as written.\n" +
			"Nothing that exists is written over.",
		Example: "  purser provider new weather\n  cd weather && go test ./...",
	}
	cmd.Flags().StringVar(&source, "source", "", "build against this checkout of Purser instead of a release")
	cmd.RunE = does(s, func(_ context.Context, args []string) (begun, error) {
		name := args[0]
		if !providerName.MatchString(name) {
			return begun{}, misused(cmd, "a provider's name is 1 to 40 of a-z, 0-9 and -, and begins with a letter: not %q", name)
		}
		module, err := s.starterModule(name, source)
		if err != nil {
			return begun{}, err
		}
		return s.begin(name, module)
	}, func(p *page, v begun) {
		p.line("Wrote %s in %s.", strings.Join(v.Files, ", "), v.Folder)
		p.line("next: cd %s && go test ./...", v.Folder)
	})
	return cmd
}

var goLine = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

var release = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)

// starterModule is the go.mod of the new provider. A program that is no release
// cannot say which version of the SDK belongs to it.
func (s *session) starterModule(name, source string) (string, error) {
	// The SDK needs at least the Go that this program was built with.
	goVersion := goLine.FindString(runtime.Version())
	head := "module " + name + "\n\ngo " + goVersion + "\n\nrequire github.com/purser-dev/purser "
	if source != "" {
		root, err := filepath.Abs(s.path(source))
		if err != nil {
			return "", fmt.Errorf("finding %s: %w", source, err)
		}
		text, err := os.ReadFile(filepath.Join(root, "go.mod"))
		if err != nil || !strings.HasPrefix(string(text), "module github.com/purser-dev/purser\n") {
			return "", purser.Errorf(purser.InvalidRequest, "%s is not a checkout of Purser", source)
		}
		return head + "v0.0.0\n\nreplace github.com/purser-dev/purser => " + fmt.Sprintf("%q", root) + "\n", nil
	}
	if !release.MatchString(s.program()) {
		return "", purser.Errorf(purser.InvalidRequest, "this program is no release, so there is no version of the SDK to name").
			WithHint("purser provider new %s --source FOLDER, the checkout it was built from", name)
	}
	return head + s.program() + "\n", nil
}

// begin writes the folder whole or not at all.
func (s *session) begin(name, module string) (begun, error) {
	folder := s.path(name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return begun{}, purser.Errorf(purser.AlreadyExists, "%s exists; nothing was written", name)
		}
		return begun{}, fmt.Errorf("making %s: %w", name, err)
	}
	v := begun{Folder: name, Files: []string{"go.mod", "main.go", "main_test.go", "README.md"}}
	for _, file := range v.Files {
		text := module
		if file != "go.mod" {
			raw, err := starter.ReadFile("starter/" + file + ".txt")
			if err != nil {
				return v, errors.Join(fmt.Errorf("reading the starting point: %w", err), os.RemoveAll(folder))
			}
			text = named(string(raw), name)
		}
		if err := writeFile(filepath.Join(folder, file), []byte(text), 0o644); err != nil {
			return v, errors.Join(err, os.RemoveAll(folder)) // the folder is ours: we made it just now
		}
	}
	return v, nil
}

// named puts the provider's name where the example has its own.
func named(text, name string) string {
	upper := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	return strings.NewReplacer(
		"Command notes is", "Command "+name+" is", `Name: "notes"`, `Name: "`+name+`"`, `"notes:`, `"`+name+`:`,
		"notes: set NOTES_SIGNING_SECRET", name+": set "+upper+"_SIGNING_SECRET", "NOTES_SIGNING_SECRET", upper+"_SIGNING_SECRET",
		"# NAME", "# "+name, "ENV_SIGNING_SECRET", upper+"_SIGNING_SECRET",
	).Replace(text)
}
