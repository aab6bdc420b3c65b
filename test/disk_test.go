package test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// disk stands below SQLite in this process and keeps the trace of what was written
// and synced in one folder, so that a test can say what a power cut would have
// left. It can also be full.
//
// A kill -9 shows nothing of that kind: the kernel keeps what was written.
type disk struct {
	dir   string
	mu    sync.Mutex
	trace []event
	full  atomic.Bool
}

// event is one thing that happened, in order.
type event struct {
	kind  eventKind
	file  string
	at    int64  // of a write, or the size of a truncation
	bytes []byte // of a write
	acked int64  // of an acknowledgement: its number in the log
}

type eventKind int

const (
	wrote eventKind = iota
	truncated
	synced
	deleted
	acknowledged
)

var (
	disks   sync.Map              // folder to *disk
	opened  sync.Map              // address of an open file to its openedFile
	below   *sqlite3.Tsqlite3_vfs // SQLite's own
	ourVFS  sqlite3.Tsqlite3_vfs  // lives as long as the process: SQLite keeps its address
	methods sync.Map              // address of SQLite's own methods to *sqlite3.Tsqlite3_io_methods, ours
)

// openedFile is a file on a watched disk.
type openedFile struct {
	path string
	own  *sqlite3.Tsqlite3_io_methods // what SQLite would have used; databases and logs have different ones
}

// watchDisk begins to keep the trace of a new folder. It must be called before
// anything is opened there.
func watchDisk(t *testing.T) *disk {
	t.Helper()
	slide()
	d := &disk{dir: t.TempDir()}
	disks.Store(d.dir, d)
	t.Cleanup(func() { disks.Delete(d.dir) })
	return d
}

// careless is part of the name of folders in which SQLite does not sync.
const careless = "synchronous-off"

// slide puts the layer below SQLite, as the default for all that is opened from
// then on; files elsewhere pass through it untouched.
var slide = sync.OnceFunc(func() {
	tls := libc.NewTLS()
	below = (*sqlite3.Tsqlite3_vfs)(at(sqlite3.Xsqlite3_vfs_find(tls, 0)))
	ourVFS = *below
	name, err := libc.CString("watched")
	if err != nil {
		panic(err)
	}
	ourVFS.FzName, ourVFS.FpNext = name, 0
	ourVFS.FxOpen, ourVFS.FxDelete = address(openFile), address(deleteFile)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, uintptr(unsafe.Pointer(&ourVFS)), 1); rc != sqlite3.SQLITE_OK {
		panic(rc)
	}
	sqlite.RegisterConnectionHook(func(c sqlite.ExecQuerierContext, dsn string) error {
		if !strings.Contains(dsn, careless) {
			return nil
		}
		_, err := c.ExecContext(context.Background(), "PRAGMA synchronous=OFF", nil)
		return err
	})
})

// address makes of a function what SQLite, which was C, calls a function pointer.
func address(f any) uintptr { return (*[2]uintptr)(unsafe.Pointer(&f))[1] }

// function is the way back: fn has the type of the function that is called.
func function[F any](fn uintptr) F { return *(*F)(unsafe.Pointer(&struct{ uintptr }{fn})) }

// at is the place an address points to. SQLite's memory is not Go's: nothing moves it.
func at(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

func openFile(tls *libc.TLS, _, name, file uintptr, flags int32, out uintptr) int32 {
	open := function[func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32](below.FxOpen)
	rc := open(tls, uintptr(unsafe.Pointer(below)), name, file, flags, out)
	if rc != sqlite3.SQLITE_OK || name == 0 || flags&(sqlite3.SQLITE_OPEN_MAIN_DB|sqlite3.SQLITE_OPEN_WAL|sqlite3.SQLITE_OPEN_MAIN_JOURNAL) == 0 {
		return rc
	}
	path := libc.GoString(name)
	if diskOf(path) == nil {
		return rc
	}
	f := (*sqlite3.Tsqlite3_file)(at(file))
	own := (*sqlite3.Tsqlite3_io_methods)(at(f.FpMethods))
	ours := *own
	// No memory maps: what is written through one would not be seen here.
	ours.FiVersion = 2
	ours.FxWrite, ours.FxTruncate, ours.FxSync, ours.FxClose = address(writeFile), address(truncateFile), address(syncFile), address(closeFile)
	kept, _ := methods.LoadOrStore(f.FpMethods, &ours) // for ever: SQLite keeps the address
	opened.Store(file, openedFile{path, own})
	f.FpMethods = uintptr(unsafe.Pointer(kept.(*sqlite3.Tsqlite3_io_methods)))
	return rc
}

func closeFile(tls *libc.TLS, file uintptr) int32 {
	f, _ := opened.LoadAndDelete(file)
	return function[func(*libc.TLS, uintptr) int32](f.(openedFile).own.FxClose)(tls, file)
}

func writeFile(tls *libc.TLS, file, from uintptr, n int32, offset int64) int32 {
	f, d := openedAt(file)
	if d != nil && d.full.Load() {
		return sqlite3.SQLITE_FULL
	}
	rc := function[func(*libc.TLS, uintptr, uintptr, int32, int64) int32](f.own.FxWrite)(tls, file, from, n, offset)
	if rc == sqlite3.SQLITE_OK && d != nil {
		bytes := append([]byte(nil), unsafe.Slice((*byte)(at(from)), n)...)
		d.happened(event{kind: wrote, file: f.path, at: offset, bytes: bytes})
	}
	return rc
}

func truncateFile(tls *libc.TLS, file uintptr, size int64) int32 {
	f, d := openedAt(file)
	rc := function[func(*libc.TLS, uintptr, int64) int32](f.own.FxTruncate)(tls, file, size)
	if rc == sqlite3.SQLITE_OK && d != nil {
		d.happened(event{kind: truncated, file: f.path, at: size})
	}
	return rc
}

func syncFile(tls *libc.TLS, file uintptr, flags int32) int32 {
	f, d := openedAt(file)
	rc := function[func(*libc.TLS, uintptr, int32) int32](f.own.FxSync)(tls, file, flags)
	if rc == sqlite3.SQLITE_OK && d != nil {
		d.happened(event{kind: synced, file: f.path})
	}
	return rc
}

func deleteFile(tls *libc.TLS, _, name uintptr, dir int32) int32 {
	path := libc.GoString(name)
	rc := function[func(*libc.TLS, uintptr, uintptr, int32) int32](below.FxDelete)(tls, uintptr(unsafe.Pointer(below)), name, dir)
	if d := diskOf(path); rc == sqlite3.SQLITE_OK && d != nil {
		d.happened(event{kind: deleted, file: path})
	}
	return rc
}

// diskOf is the watched disk that holds a path, or nil.
func diskOf(path string) (found *disk) {
	disks.Range(func(dir, d any) bool {
		if strings.HasPrefix(path, dir.(string)+string(filepath.Separator)) {
			found = d.(*disk)
		}
		return found == nil
	})
	return found
}

// openedAt is a watched file by its address, and its disk, which is nil when the
// test that watched it has ended.
func openedAt(file uintptr) (openedFile, *disk) {
	f, _ := opened.Load(file)
	return f.(openedFile), diskOf(f.(openedFile).path)
}

func (d *disk) happened(e event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trace = append(d.trace, e)
}

// acknowledge notes that a caller has the answer to a decision.
func (d *disk) acknowledge(seq int64) { d.happened(event{kind: acknowledged, acked: seq}) }

// cuts plays the trace and calls check with what would be on the disk if the power
// failed at that sync: what was synced before, and of what was only written
// nothing or, with torn, any part. acked is the newest number that somebody had been
// told. The last call is after the last event.
func (d *disk) cuts(torn *rand.Rand, check func(left map[string][]byte, acked int64)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	durable, waiting, acked := map[string][]byte{}, map[string][]event{}, int64(0)
	left := func() map[string][]byte {
		if torn == nil {
			return durable
		}
		all := map[string][]byte{}
		for file, bytes := range durable {
			all[file] = append([]byte(nil), bytes...)
		}
		for file, events := range waiting {
			for _, e := range events {
				if torn.IntN(2) == 0 {
					all[file] = apply(all[file], e)
				}
			}
		}
		return all
	}
	for _, e := range d.trace {
		switch e.kind {
		case acknowledged:
			acked = max(acked, e.acked)
		case deleted:
			delete(durable, e.file)
			delete(waiting, e.file)
		case synced:
			check(left(), acked)
			for _, w := range waiting[e.file] {
				durable[e.file] = apply(durable[e.file], w)
			}
			delete(waiting, e.file)
		default:
			waiting[e.file] = append(waiting[e.file], e)
		}
	}
	check(left(), acked)
}

func apply(bytes []byte, e event) []byte {
	end := e.at + int64(len(e.bytes))
	if int64(len(bytes)) < end {
		bytes = append(bytes, make([]byte, end-int64(len(bytes)))...)
	}
	if e.kind == truncated {
		return bytes[:e.at]
	}
	copy(bytes[e.at:], e.bytes)
	return bytes
}

// pour puts what is left on a disk into a folder.
func pour(t *testing.T, left map[string][]byte, dir string) {
	t.Helper()
	for file, bytes := range left {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), bytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
