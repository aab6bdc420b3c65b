//go:build unix

package cloud

import (
	"fmt"
	"os"
	"syscall"
)

// lock takes the folder for this process. The kernel lets go of it when the
// process ends, however it ends.
func lock(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.Read(holder) // only to name it
		_ = f.Close()
		return nil, fmt.Errorf("%w (pid %s)", ErrLocked, holder[:n])
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprint(f, os.Getpid()) // only to name us
	}
	return func() { _ = f.Close() }, nil
}
