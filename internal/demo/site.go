package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// pages is the site that is taken live when no folder is named.
//
//go:embed all:site
var pages embed.FS

// writeSite writes the demo's own site, with the domain's name on it.
func writeSite(dir, domain string) error {
	err := fs.WalkDir(pages, "site", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(path, "site")))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		text, err := pages.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, []byte(strings.ReplaceAll(string(text), "DOMAIN", domain)), 0o600)
	})
	if err != nil {
		return fmt.Errorf("writing the demo's site: %w", err)
	}
	return nil
}
