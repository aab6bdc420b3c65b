package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Faults of opening a box.
var (
	// ErrSealed is for bytes that were changed, cut or sealed for another place.
	ErrSealed = errors.New("the sealed bytes do not open here")
	// ErrUnknownKey is for bytes sealed under a key that the box does not hold.
	ErrUnknownKey = errors.New("sealed under a key that is not in this box")
)

// A Box encrypts what is stored. Context says where the bytes belong (see
// Context) and is not stored: bytes moved to another row do not open. A KMS
// stands behind the same two methods.
type Box interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(sealed, context []byte) ([]byte, error)
}

// Context names the cell that sealed bytes belong to. No two different lists of
// names have the same bytes.
func Context(organization, table, row, column string) []byte {
	var b []byte
	for _, part := range []string{organization, table, row, column} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return b
}

// The envelope is version (1 byte), key id (8), salt (32), ciphertext and tag (16).
const (
	envelopeV1 = 1
	keyIDSize  = 8
	keySize    = 32
	saltSize   = 32
	headSize   = 1 + keyIDSize
	nonceSize  = 12
	tagSize    = 16
)

// info separates the keys derived here from all others that could be derived of the same key.
const info = "purser seal v1"

// keyID is a public name for a key, derived from it, so that a file cannot pair an id with another key.
func keyID(key []byte) (string, error) {
	id, err := hkdf.Key(sha256.New, key, nil, "purser seal v1 key id", keyIDSize)
	return hex.EncodeToString(id), err
}

// sealWith encrypts with AES-256-GCM under a key and nonce of this message only,
// derived by HKDF-SHA256 from the key and a random salt of 256 bits. So the
// number of messages under one key is not bound by GCM's 96-bit nonce.
func sealWith(key []byte, id string, random io.Reader, plaintext, context []byte) ([]byte, error) {
	out := make([]byte, headSize+saltSize, headSize+saltSize+len(plaintext)+tagSize)
	out[0] = envelopeV1
	if _, err := hex.Decode(out[1:headSize], []byte(id)); err != nil {
		return nil, fmt.Errorf("reading the key id: %w", err)
	}
	if _, err := io.ReadFull(random, out[headSize:]); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	aead, nonce, err := messageKey(key, out[headSize:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nonce, plaintext, associated(out[:headSize], context)), nil
}

func openWith(key, sealed, context []byte) ([]byte, error) {
	salt := sealed[headSize : headSize+saltSize]
	aead, nonce, err := messageKey(key, salt)
	if err != nil {
		return nil, err
	}
	plaintext, err := aead.Open(nil, nonce, sealed[headSize+saltSize:], associated(sealed[:headSize], context))
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}

func messageKey(key, salt []byte) (cipher.AEAD, []byte, error) {
	okm, err := hkdf.Key(sha256.New, key, salt, info, keySize+nonceSize)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving the message key: %w", err)
	}
	block, err := aes.NewCipher(okm[:keySize])
	if err != nil {
		return nil, nil, fmt.Errorf("making the cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, fmt.Errorf("making the cipher: %w", err)
	}
	return aead, okm[keySize:], nil
}

// associated is what the tag covers beside the text: the head has a fixed length, so the two parts cannot run together.
func associated(head, context []byte) []byte {
	return append(append(make([]byte, 0, len(head)+len(context)), head...), context...)
}

// sealedUnder returns the id of the key in an envelope.
func sealedUnder(sealed []byte) (string, error) {
	if len(sealed) < headSize+saltSize+tagSize || sealed[0] != envelopeV1 {
		return "", ErrSealed
	}
	return hex.EncodeToString(sealed[1:headSize]), nil
}
