// Package assets stores the files of static sites by hash and serves them as a static host does.
package assets

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxFileSize is the size in bytes above which a file is refused: 25 MiB.
	MaxFileSize = 25 << 20
	// MaxFiles is how many files one version may have.
	MaxFiles = 100_000

	maxPathLength = 4096
)

// File is one file of a site: hash of its bytes, size in bytes, and the media type
// it was uploaded with ("" or NoType: none is sent).
type File struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
	Type string `json:"type,omitempty"`
}

// Manifest maps each path of a site, "/docs/index.html", to its file. Paths begin
// with a slash and are not percent-encoded.
type Manifest map[string]File

// Check refuses a manifest that names a path outside the site, a hash that is none,
// or more and larger files than a version may have.
func (m Manifest) Check() error {
	if len(m) > MaxFiles {
		return fmt.Errorf("%d files are more than the %d a version may have", len(m), MaxFiles)
	}
	sizes := make(map[string]int64, len(m))
	for p, f := range m {
		if err := CheckPath(p); err != nil {
			return err
		}
		if !IsHash(f.Hash) {
			return fmt.Errorf("%q: the hash is not %d hex digits", p, HashLength)
		}
		if f.Size < 0 || f.Size > MaxFileSize {
			return fmt.Errorf("%q: %d bytes are more than the %d MiB a file may have", p, f.Size, MaxFileSize>>20)
		}
		if size, seen := sizes[f.Hash]; seen && size != f.Size {
			return fmt.Errorf("%q: one hash with two sizes", p)
		}
		sizes[f.Hash] = f.Size
	}
	return nil
}

// CheckPath refuses a path that is not in its one plain form, so that no name
// leaves the site or hides another.
func CheckPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("%q: a path begins with /", p)
	case len(p) > maxPathLength:
		return fmt.Errorf("%.40q...: a path has at most %d bytes", p, maxPathLength)
	case !utf8.ValidString(p):
		return fmt.Errorf("%q: a path is UTF-8", p)
	case strings.ContainsAny(p, "\x00\\"):
		return fmt.Errorf("%q: a path has no backslash and no NUL", p)
	}
	for _, part := range strings.Split(p[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%q: a path has no empty, . or .. part", p)
		}
	}
	return nil
}
