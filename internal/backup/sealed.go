package backup

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/purser-dev/purser/internal/seal"
)

// A sealed file is magic (16 bytes), the length of the sealed key (2, big endian),
// the sealed key, and chunks of 64 KiB under AES-256-GCM, each with a tag of 16
// bytes. The key is of this file only, sealed by the box. The nonce is the
// chunk's number (11 bytes, big endian) and a byte that is 1 for the last chunk,
// so that a chunk moved, left out or cut off does not open. The tag of each chunk
// also covers all that stands before the chunks. (The STREAM construction of
// Hoang, Reyhanitabar, Rogaway and Vizár, 2015.)
const (
	magic     = "purser backup 1\n"
	chunkSize = 64 << 10
	keySize   = 32
)

// errSealed is for a file that is not one, was changed, or was cut.
var errSealed = errors.New("the sealed file was changed or cut")

// keyContext says to the box what the sealed key is for.
func keyContext() []byte { return seal.Context("installation", "backup", "file", "key") }

// chunks is what writer and reader share.
type chunks struct {
	aead   cipher.AEAD
	prefix [sha256.Size]byte
	n      uint64
}

func newChunks(key, prefix []byte) (chunks, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, "purser backup v1 chunks", keySize)
	if err != nil {
		return chunks{}, fmt.Errorf("deriving the key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return chunks{}, fmt.Errorf("making the cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	return chunks{aead: aead, prefix: sha256.Sum256(prefix)}, err
}

// nonce is used once: the key is of one file, and n grows.
func (c *chunks) nonce(last bool) []byte {
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[3:11], c.n)
	if last {
		nonce[11] = 1
	}
	c.n++
	return nonce[:]
}

// sealer is a writer of a sealed file. Without Close the file is a cut one.
type sealer struct {
	chunks
	to     io.Writer
	buffer []byte
}

func newSealer(to io.Writer, box seal.Box, random io.Reader) (*sealer, error) {
	key := make([]byte, keySize)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("making the file's key: %w", err)
	}
	sealed, err := box.Seal(key, keyContext())
	if err != nil {
		return nil, fmt.Errorf("sealing the file's key: %w", err)
	}
	prefix := binary.BigEndian.AppendUint16([]byte(magic), uint16(len(sealed)))
	prefix = append(prefix, sealed...)
	c, err := newChunks(key, prefix)
	if err != nil {
		return nil, err
	}
	if _, err := to.Write(prefix); err != nil {
		return nil, fmt.Errorf("writing the copy: %w", err)
	}
	return &sealer{chunks: c, to: to, buffer: make([]byte, 0, chunkSize)}, nil
}

func (s *sealer) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if len(s.buffer) == chunkSize { // another byte follows, so this is not the last
			if err := s.flush(false); err != nil {
				return 0, err
			}
		}
		n := min(len(p), chunkSize-len(s.buffer))
		s.buffer, p = append(s.buffer, p[:n]...), p[n:]
	}
	return written, nil
}

// Close writes the last chunk. It does not close what is below.
func (s *sealer) Close() error { return s.flush(true) }

func (s *sealer) flush(last bool) error {
	if _, err := s.to.Write(s.aead.Seal(nil, s.nonce(last), s.buffer, s.prefix[:])); err != nil {
		return fmt.Errorf("writing the copy: %w", err)
	}
	s.buffer = s.buffer[:0]
	return nil
}

// opener is a reader of a sealed file: io.EOF comes only after the last chunk was
// found whole and nothing follows it, errSealed otherwise.
type opener struct {
	chunks
	from  *bufio.Reader
	plain []byte
	done  bool
}

func newOpener(from io.Reader, box seal.Box) (*opener, error) {
	r := bufio.NewReaderSize(from, chunkSize)
	prefix := make([]byte, len(magic)+2)
	if err := fill(r, prefix); err != nil {
		return nil, err
	}
	if string(prefix[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it does not begin as a copy does", errSealed)
	}
	sealed := make([]byte, binary.BigEndian.Uint16(prefix[len(magic):]))
	if err := fill(r, sealed); err != nil {
		return nil, err
	}
	key, err := box.Open(sealed, keyContext())
	if err != nil {
		return nil, fmt.Errorf("opening the file's key: %w", err)
	}
	c, err := newChunks(key, append(prefix, sealed...))
	return &opener{chunks: c, from: r}, err
}

func (o *opener) Read(p []byte) (int, error) {
	for len(o.plain) == 0 {
		if o.done {
			return 0, io.EOF
		}
		if err := o.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.plain)
	o.plain = o.plain[n:]
	return n, nil
}

func (o *opener) next() error {
	sealed := make([]byte, chunkSize+o.aead.Overhead())
	n, err := io.ReadFull(o.from, sealed)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading the copy: %w", err)
	}
	if _, err := o.from.Peek(1); errors.Is(err, io.EOF) {
		o.done = true
	}
	o.plain, err = o.aead.Open(sealed[:0], o.nonce(o.done), sealed[:n], o.prefix[:])
	if err != nil {
		o.plain = nil
		return errSealed
	}
	return nil
}

func fill(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errSealed
	}
	return err
}
