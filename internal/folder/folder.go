// Package folder walks a person's folder and names each of its files by path, SHA-256 and size, so that a plan can hold exactly what will be deployed.
//
// The server never opens a path (RULES 14): the client walks, and what cannot
// be deployed is refused here, by name, before anything is bought.
package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
	"golang.org/x/text/unicode/norm"

	"github.com/purser-dev/purser"
)

// shownFaults bounds how many faults one error lists; a folder of a thousand
// links needs no thousand lines.
const shownFaults = 10

// Folder is what a walk found.
type Folder struct {
	Root     string        // as resolved; for messages
	Files    []purser.File // sorted by path
	Bytes    int64
	Commit   string   // of git, when the tree is clean
	Dirty    bool     // git knows of changes that are not committed
	Warnings []string // what is probably not meant to be published
	places   map[string]string
}

// Walk reads a folder. Symbolic links, irregular or unreadable files, names
// that are not valid UTF-8 and names that differ only in case are unsafe_folder,
// each named; so is a folder without files. Nothing named .git is read.
func Walk(ctx context.Context, path string) (Folder, error) {
	resolved, err := filepath.EvalSymlinks(path) // the folder itself may be a link: a person typed it
	if err != nil {
		return Folder{}, unsafe("%s cannot be opened", path).WithCause(err)
	}
	root, err := os.OpenRoot(resolved)
	if err != nil {
		return Folder{}, unsafe("%s is not a folder that can be read", path).WithCause(err)
	}
	defer root.Close()
	names, faults := list(root)
	faults = append(faults, collisions(names)...)
	if len(faults) == 0 && len(names) == 0 {
		faults = []string{"it holds no file"}
	}
	if len(faults) > 0 {
		return Folder{}, refuse(path, faults)
	}
	f := Folder{Root: resolved, Warnings: warnings(names), places: make(map[string]string, len(names))}
	if f.Files, err = hashAll(ctx, root, names); err != nil {
		return Folder{}, refuseOr(path, err)
	}
	for _, file := range f.Files {
		f.Bytes += file.Size
		f.places[file.SHA256] = file.Path
	}
	f.Commit, f.Dirty = state(ctx, resolved)
	return f, nil
}

// Stage is the request that names the folder's files to the server.
func (f Folder) Stage() purser.Stage {
	return purser.Stage{Files: f.Files, Commit: f.Commit, Dirty: f.Dirty}
}

// Open opens the file with this SHA-256 for the upload. A file that changed
// since the walk is refused by the server, which hashes what it gets.
func (f Folder) Open(sha string) (io.ReadCloser, int64, error) {
	path, known := f.places[sha]
	if !known {
		return nil, 0, fmt.Errorf("no file of the folder has the hash %s", sha)
	}
	file, err := os.OpenInRoot(f.Root, filepath.FromSlash(path))
	if err != nil {
		return nil, 0, fmt.Errorf("opening %s again: %w", path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("opening %s again: %w", path, err), file.Close())
	}
	return file, info.Size(), nil
}

// list names the regular files below root, sorted, and what is wrong.
func list(root *os.Root) (names, faults []string) {
	_ = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			faults = append(faults, fmt.Sprintf("%q cannot be read", path))
		case entry.Name() == ".git": // of a submodule it is a file
			if entry.IsDir() {
				return fs.SkipDir
			}
		case entry.IsDir():
		case entry.Type()&fs.ModeSymlink != 0:
			faults = append(faults, fmt.Sprintf("%q is a symbolic link", path))
		case !entry.Type().IsRegular():
			faults = append(faults, fmt.Sprintf("%q is not a regular file", path))
		default:
			if fault := badName(path); fault != "" {
				faults = append(faults, fmt.Sprintf("%q %s", path, fault))
				return nil
			}
			names = append(names, path)
		}
		return nil
	})
	return names, faults
}

// badName says why a path cannot be a path of a site, or nothing.
func badName(path string) string {
	switch {
	case !utf8.ValidString(path):
		return "has a name that is not valid UTF-8"
	case strings.Contains(path, `\`):
		return "has a backslash in its name"
	case strings.ContainsFunc(path, unicode.IsControl):
		return "has a control character in its name"
	}
	return ""
}

// collisions names the paths that are one path on a system that ignores case
// or composes letters: one of them would hide the other.
func collisions(names []string) (faults []string) {
	seen := make(map[string]string, len(names))
	for _, name := range names {
		folded := strings.ToLower(norm.NFC.String(name))
		if other, taken := seen[folded]; taken {
			faults = append(faults, fmt.Sprintf("%q and %q differ only in case or in how a letter is composed", other, name))
		}
		seen[folded] = name
	}
	return faults
}

// hashAll hashes with as many workers as there are processors.
func hashAll(ctx context.Context, root *os.Root, names []string) ([]purser.File, error) {
	files := make([]purser.File, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			files[i], err = hash(root, name)
			return err
		})
	}
	return files, g.Wait()
}

// hash reads one file. It is opened without following links and looked at once
// more, because it may have been exchanged since the walk.
func hash(root *os.Root, name string) (_ purser.File, err error) {
	local := filepath.FromSlash(name)
	if info, err := root.Lstat(local); err != nil || !info.Mode().IsRegular() {
		return purser.File{}, unsafe("%q changed while it was read", name).WithCause(err)
	}
	file, err := root.Open(local)
	if err != nil {
		return purser.File{}, unsafe("%q cannot be read", name).WithCause(err)
	}
	defer file.Close()
	h := sha256.New()
	size, err := io.Copy(h, file)
	if err != nil {
		return purser.File{}, unsafe("%q cannot be read", name).WithCause(err)
	}
	return purser.File{Path: name, SHA256: hex.EncodeToString(h.Sum(nil)), Size: size}, nil
}

func unsafe(format string, args ...any) *purser.Error {
	return purser.Errorf(purser.UnsafeFolder, format, args...).
		WithHint("name a folder with plain, readable files; nothing was bought")
}

// refuse lists the faults of a folder in one error.
func refuse(path string, faults []string) error {
	more := ""
	if n := len(faults) - shownFaults; n > 0 {
		faults, more = faults[:shownFaults], fmt.Sprintf(", and %d more", n)
	}
	return unsafe("%s cannot be deployed: %s%s", path, strings.Join(faults, "; "), more)
}

// refuseOr keeps an interruption an interruption.
func refuseOr(path string, err error) error {
	var known *purser.Error
	if errors.As(err, &known) {
		return refuse(path, []string{known.Detail})
	}
	return fmt.Errorf("reading %s: %w", path, err)
}
