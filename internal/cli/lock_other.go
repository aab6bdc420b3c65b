//go:build !unix

package cli

import (
	"errors"
	"io"
)

// Purser's server runs on Unix-like systems.
func lockFolder(string) (io.Closer, error) {
	return nil, errors.New("purser up runs on Linux, macOS and the BSDs")
}
