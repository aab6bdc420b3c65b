// Package blob keeps the files of staged folders on disk, by organization and SHA-256.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"sync"
	"syscall"

	"github.com/purser-dev/purser"
)

// Names that are no path: nothing else reaches the disk.
var (
	organizationForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	hashForm         = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// incoming holds files that are being written. An organization's name cannot be it.
const incoming = ".incoming"

// Blobs is a folder of files, <organization>/ab/cdef..., mode 0600. It is safe for
// concurrent use, and several processes may open the same folder.
type Blobs struct {
	root   *os.Root
	lock   *os.File
	random io.Reader
	dirs   barriers
	firm   sync.Map // folders that survive a power cut
}

// Open makes the folder if it is not there, and removes what writers that died
// left behind.
func Open(dir string, random io.Reader) (*Blobs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of blobs: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of blobs: %w", err)
	}
	b := &Blobs{root: root, random: random}
	b.dirs.sync = b.syncDir
	if err := b.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the folder of blobs: %w", err), b.Close())
	}
	return b, nil
}

// prepare sweeps only where nobody else has the folder open: a temporary file of
// a living process is not ours to remove. The lock ends with the process.
func (b *Blobs) prepare() error {
	lock, err := b.root.OpenFile(".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	b.lock = lock
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		if err := b.root.RemoveAll(incoming); err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		return fmt.Errorf("locking: %w", err)
	}
	if err := b.root.Mkdir(incoming, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Close lets another process sweep.
func (b *Blobs) Close() error {
	err := b.root.Close()
	if b.lock != nil {
		err = errors.Join(err, b.lock.Close())
	}
	return err
}

// Put keeps what r gives if it has this size (bytes) and hash; otherwise
// blob_mismatch, and nothing is kept. When it returns, the file survives a power
// cut. Putting a file again, or twice at once, is fine.
func (b *Blobs) Put(ctx context.Context, organization, sha256 string, size int64, r io.Reader) error {
	at, err := place(organization, sha256)
	if err != nil {
		return err
	}
	if size < 0 {
		return purser.Errorf(purser.InvalidRequest, "a file cannot have %d bytes", size)
	}
	r = &bounded{ctx: ctx, from: r}
	if b.Has(organization, sha256) {
		return copyChecked(io.Discard, r, sha256, size)
	}
	return b.write(at, sha256, size, r)
}

func (b *Blobs) write(at, sha256 string, size int64, r io.Reader) (err error) {
	f, name, err := b.temporary()
	if err != nil {
		return fmt.Errorf("making a temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = b.root.Remove(name) // the sweep finds it if this fails
		}
	}()
	err = copyChecked(f, r, sha256, size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return b.install(name, at)
}

// install gives the file its name and makes the name durable.
func (b *Blobs) install(name, at string) error {
	dir := path.Dir(at)
	if err := b.mkdir(dir); err != nil {
		return fmt.Errorf("making a folder of blobs: %w", err)
	}
	if err := b.root.Rename(name, at); err != nil {
		return fmt.Errorf("placing the blob: %w", err)
	}
	if err := b.dirs.wait(dir); err != nil {
		return fmt.Errorf("making the blob durable: %w", err)
	}
	return nil
}

// mkdir makes <organization>/ab and syncs what is above it. That a folder is there
// is not enough: who made it may not have synced yet.
func (b *Blobs) mkdir(dir string) error {
	if _, ok := b.firm.Load(dir); ok {
		return nil
	}
	if err := b.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := errors.Join(b.dirs.wait(path.Dir(dir)), b.dirs.wait(".")); err != nil {
		return err
	}
	b.firm.Store(dir, true)
	return nil
}

func (b *Blobs) syncDir(dir string) error {
	d, err := b.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (b *Blobs) temporary() (*os.File, string, error) {
	var unique [16]byte
	if _, err := io.ReadFull(b.random, unique[:]); err != nil {
		return nil, "", err
	}
	name := path.Join(incoming, hex.EncodeToString(unique[:]))
	f, err := b.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	return f, name, err
}

// Has reports whether the file is kept. A name that cannot be one is not.
func (b *Blobs) Has(organization, sha256 string) bool {
	at, err := place(organization, sha256)
	if err != nil {
		return false
	}
	info, err := b.root.Lstat(at)
	return err == nil && info.Mode().IsRegular()
}

// Open reads a kept file; one that is not kept is blobs_missing. The reader hashes
// what it gives: where the disk changed the file, the end is blob_mismatch instead
// of io.EOF, so that what is deployed is what was approved.
func (b *Blobs) Open(organization, sha256 string) (io.ReadCloser, error) {
	at, err := place(organization, sha256)
	if err != nil {
		return nil, err
	}
	f, err := b.root.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, purser.Errorf(purser.BlobsMissing, "the file %s is not kept here", sha256).WithHint("stage the folder again").WithCause(err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a blob: %w", err)
	}
	return &verified{file: f, sum: newSum(), want: sha256}, nil
}

// Each calls f for every kept file with its size in bytes, until f returns an error.
func (b *Blobs) Each(ctx context.Context, f func(organization, sha256 string, size int64) error) error {
	return fs.WalkDir(b.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("listing blobs: %w", err)
		}
		if p == incoming {
			return fs.SkipDir
		}
		organization, sha256, ok := named(p)
		if !ok || !d.Type().IsRegular() {
			return ctx.Err()
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("listing blobs: %w", err)
		}
		return errors.Join(ctx.Err(), f(organization, sha256, info.Size()))
	})
}

// place is where a blob is kept; anything but plain names is invalid_request.
func place(organization, sha256 string) (string, error) {
	if !organizationForm.MatchString(organization) {
		return "", purser.Errorf(purser.InvalidRequest, "%.80q is not the name of an organization", organization)
	}
	if !hashForm.MatchString(sha256) {
		return "", purser.Errorf(purser.InvalidRequest, "%.80q is not a SHA-256 in lower-case hex", sha256)
	}
	return path.Join(organization, sha256[:2], sha256[2:]), nil
}

// named is the reverse of place.
func named(p string) (organization, sha256 string, ok bool) {
	dir, tail := path.Split(p)
	organization, head := path.Split(path.Clean(dir))
	organization, sha256 = path.Clean(organization), head+tail
	at, err := place(organization, sha256)
	return organization, sha256, err == nil && at == p
}

// copyChecked copies exactly size bytes of this hash.
func copyChecked(to io.Writer, from io.Reader, want string, size int64) error {
	sum := newSum()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(from, size))
	if err != nil {
		return fmt.Errorf("receiving a blob: %w", err)
	}
	if n < size {
		return purser.Errorf(purser.BlobMismatch, "the file ended after %d of %d bytes", n, size)
	}
	var more [1]byte
	if n, err := io.ReadFull(from, more[:]); n > 0 {
		return purser.Errorf(purser.BlobMismatch, "the file has more than the %d bytes that were named", size)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("receiving a blob: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return purser.Errorf(purser.BlobMismatch, "the file has the hash %s, not %s", got, want)
	}
	return nil
}

func newSum() hash.Hash { return sha256.New() }

// bounded ends a copy when the caller is gone.
type bounded struct {
	ctx  context.Context
	from io.Reader
}

func (r *bounded) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// verified is a kept file that is hashed while it is read. The file is not
// embedded: io.Copy would find its WriteTo and pass by Read.
type verified struct {
	file *os.File
	sum  hash.Hash
	want string
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.file.Read(p)
	v.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(v.sum.Sum(nil)) != v.want {
		return n, purser.Errorf(purser.BlobMismatch, "the kept file %s was changed on disk", v.want).
			WithHint("stage the folder again from its source")
	}
	return n, err
}

func (v *verified) Close() error { return v.file.Close() }
