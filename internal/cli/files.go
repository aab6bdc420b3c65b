package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/purser-dev/purser"
)

// writeFile writes a small file whole or not at all. The folder must exist.
func writeFile(path string, content []byte, mode os.FileMode) error {
	return writeTo(context.Background(), path, mode, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// writeTo writes a file that appears only when it is whole. A rename replaces whatever
// has the name, so what is there and is no regular file, a device or a pipe, is written
// to as it is, and of a link the target is replaced.
func writeTo(ctx context.Context, path string, mode os.FileMode, write func(io.Writer) error) (err error) {
	target := path
	switch info, missing := os.Stat(path); {
	case missing == nil && info.IsDir():
		return purser.Errorf(purser.InvalidRequest, "%s is a folder", path).WithHint("name a file in it")
	case missing == nil && !info.Mode().IsRegular():
		return writeInto(ctx, path, write)
	case missing == nil:
		if target, err = filepath.EvalSymlinks(path); err != nil {
			return unwritable(path, err)
		}
	default:
		if _, err := os.Lstat(path); err == nil {
			return purser.Errorf(purser.InvalidRequest, "%s is a link to nothing", path).WithHint("remove it, or name the file that it should lead to")
		}
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".purser-*") // mode 600
	if err != nil {
		return unwritable(path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that counts is the one returned
		}
	}()
	if err = write(f); err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return brokenOff(path, err)
	}
	if err = os.Rename(f.Name(), target); err != nil {
		return unwritable(path, err)
	}
	return nil
}

// writeInto writes to a device or a pipe. To open a pipe waits for its reader, and an
// interruption ends that.
func writeInto(ctx context.Context, path string, write func(io.Writer) error) error {
	f, err := await(ctx, func() (*os.File, error) { return os.OpenFile(path, os.O_WRONLY, 0) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return unwritable(path, err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return brokenOff(path, err)
	}
	return nil
}

// brokenOff is the error of a file that was begun: what is written failed, or what it is
// written on takes no more.
func brokenOff(path string, err error) error {
	var on *fs.PathError
	if purser.CodeOf(err) == purser.Internal && errors.As(err, &on) {
		return &unwritten{path, "", err}
	}
	return fmt.Errorf("writing %s: %w", path, err)
}

// makeFolder makes the data folder, for its owner alone.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return purser.Errorf(purser.InvalidRequest, "the data folder %s cannot be made: %v", dir, reason(err)).WithCause(err).
			WithHint("name a folder of your own with --dir")
	}
	return nil
}

// unwritable is the error of a file that cannot be made where it was asked for.
func unwritable(path string, err error) error {
	return purser.Errorf(purser.InvalidRequest, "%s cannot be written: %v", path, reason(err)).WithCause(err).
		WithHint("name a file in a folder that is there and that you may write to")
}

// reason is why a call failed, without the name that it was made with: the file beside
// the one that was asked for is nobody's business.
func reason(err error) error {
	var at *fs.PathError
	var of *os.LinkError
	switch {
	case errors.As(err, &at):
		return at.Err
	case errors.As(err, &of):
		return of.Err
	}
	return err
}
