package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// ErrKeyFile is for a key file that others can read, or that is not one.
var ErrKeyFile = errors.New("the key file cannot be used")

const maxKeyFile = 1 << 20

// KeyFile is a Box whose keys are in one file, readable by its owner only. The
// first key seals; all open. It is safe for concurrent use.
type KeyFile struct {
	path   string
	random io.Reader

	mu   sync.RWMutex
	keys []fileKey // newest first, never empty
}

var _ Box = (*KeyFile)(nil)

type (
	fileKey struct {
		ID  string `json:"id"`
		Key []byte `json:"key"`
	}
	fileBody struct {
		Version int       `json:"purser_key_file"`
		Keys    []fileKey `json:"keys"`
	}
)

// OpenKeyFile loads the key file at path, and creates it, with mode 600 and one
// new key, if nothing is there. Several processes that do so at once end with
// the same file. Faults of the file are ErrKeyFile.
//
// A server that already has sealed rows calls LoadKeyFile: a fresh key would
// open none of them.
func OpenKeyFile(path string, random io.Reader) (*KeyFile, error) {
	box, err := LoadKeyFile(path, random)
	if !errors.Is(err, fs.ErrNotExist) {
		return box, err
	}
	key, err := newKey(random)
	if err != nil {
		return nil, err
	}
	// A link appears whole or not at all and never replaces a file, unlike a
	// rename. Who comes second reads what the first wrote.
	err = writeBeside(path, []fileKey{key}, os.Link)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating the key file: %w", err)
	}
	return LoadKeyFile(path, random)
}

// LoadKeyFile loads the key file at path: fs.ErrNotExist if there is none.
func LoadKeyFile(path string, random io.Reader) (*KeyFile, error) {
	keys, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("loading the key file: %w", err)
	}
	return &KeyFile{path: path, random: random, keys: keys}, nil
}

func readKeys(path string) ([]fileKey, error) {
	// The mode is asked before opening, because opening a named pipe waits, and
	// again of what was opened, because the name may have changed hands.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := private(info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := private(info); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	return parseKeys(raw)
}

func private(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrKeyFile, info.Name())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %o, others can reach it; chmod 600 it, and rotate the key if they may have", ErrKeyFile, info.Name(), mode)
	}
	return nil
}

func parseKeys(raw []byte) ([]fileKey, error) {
	var body fileBody
	if err := json.Unmarshal(raw, &body); err != nil {
		// The decoder's message could quote the file.
		return nil, fmt.Errorf("%w: it is not JSON", ErrKeyFile)
	}
	if body.Version != 1 || len(body.Keys) == 0 {
		return nil, fmt.Errorf("%w: it is not a Purser key file of version 1", ErrKeyFile)
	}
	for _, k := range body.Keys {
		id, err := keyID(k.Key)
		if err != nil || len(k.Key) != keySize || id != k.ID {
			return nil, fmt.Errorf("%w: key %q is damaged", ErrKeyFile, k.ID)
		}
	}
	return body.Keys, nil
}

// Seal encrypts under the newest key.
func (b *KeyFile) Seal(plaintext, context []byte) ([]byte, error) {
	b.mu.RLock()
	key := b.keys[0]
	b.mu.RUnlock()
	sealed, err := sealWith(key.Key, key.ID, b.random, plaintext, context)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return sealed, nil
}

// Open decrypts: ErrSealed for changed bytes or another context, ErrUnknownKey
// (with the key's id) for a key that is not in the file.
func (b *KeyFile) Open(sealed, context []byte) ([]byte, error) {
	id, err := sealedUnder(sealed)
	if err != nil {
		return nil, err
	}
	key, err := b.key(id)
	if err != nil {
		return nil, err
	}
	return openWith(key, sealed, context)
}

func (b *KeyFile) key(id string) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, k := range b.keys {
		if k.ID == id {
			return k.Key, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknownKey, id)
}

// Stale reports whether sealed bytes should be sealed again, because a newer key exists.
func (b *KeyFile) Stale(sealed []byte) bool {
	id, err := sealedUnder(sealed)
	b.mu.RLock()
	defer b.mu.RUnlock()
	return err == nil && id != b.keys[0].ID
}

// Rotate puts a new key first and writes the file. The old keys stay, until
// nothing is Stale. Other processes open what the new key sealed after they
// loaded the file again; a lock around Rotate is the caller's.
func (b *KeyFile) Rotate() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, err := newKey(b.random)
	if err != nil {
		return err
	}
	keys := append([]fileKey{key}, b.keys...)
	if err := writeBeside(b.path, keys, os.Rename); err != nil {
		return fmt.Errorf("rotating the key: %w", err)
	}
	b.keys = keys
	return nil
}

func newKey(random io.Reader) (fileKey, error) {
	key := make([]byte, keySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return fileKey{}, fmt.Errorf("making a key: %w", err)
	}
	id, err := keyID(key)
	if err != nil {
		return fileKey{}, fmt.Errorf("naming a key: %w", err)
	}
	return fileKey{id, key}, nil
}

// writeBeside writes the keys to a temporary file of mode 600, makes them
// durable, and then puts the file in place by a link or a rename.
func writeBeside(path string, keys []fileKey, place func(from, to string) error) error {
	raw, err := json.Marshal(fileBody{1, keys})
	if err != nil {
		return fmt.Errorf("marshalling: %w", err)
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".key-*") // mode 600 by its contract
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(folder)
}

// syncFolder makes the new name durable: rows sealed under a key whose file a power cut took away are lost.
func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
