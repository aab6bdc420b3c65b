//go:build !unix

package cloud

import (
	"fmt"
	"os"
)

// lock takes the folder for this process by holding a file open that others
// cannot make. After a kill the file must be removed by hand.
func lock(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return func() {
		_ = f.Close()
		_ = os.Remove(path)
	}, nil
}
