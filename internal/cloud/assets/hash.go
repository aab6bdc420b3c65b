package assets

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"path"
	"strings"

	"github.com/zeebo/blake3"
)

// HashLength is the length of an asset's hash in hex digits.
const HashLength = 32

// Hash names the bytes of r stored under name, as deploy clients name them: the
// first 32 hex digits of BLAKE3 over the standard base64 of the bytes followed by
// the extension without its dot (local-cloud.md section 4.6).
func Hash(name string, r io.Reader) (string, int64, error) {
	h := blake3.New()
	enc := base64.NewEncoder(base64.StdEncoding, h)
	n, err := io.Copy(enc, r)
	if err != nil {
		return "", n, err
	}
	if err := enc.Close(); err != nil {
		return "", n, err
	}
	return finish(h, name), n, nil
}

// HashEncoded is Hash for bytes that are base64 already, as uploads are.
func HashEncoded(name string, encoded []byte) string {
	h := blake3.New()
	h.Write(encoded)
	return finish(h, name)
}

func finish(h *blake3.Hasher, name string) string {
	io.WriteString(h, strings.TrimPrefix(Extension(name), "."))
	return hex.EncodeToString(h.Sum(nil)[:HashLength/2])
}

// IsHash tells whether s could be a hash. It keeps what a client sends out of file names.
func IsHash(s string) bool {
	if len(s) != HashLength {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Extension is what follows the last dot of the base name, dot included. A name
// that only begins with a dot, such as ".env", has none.
func Extension(name string) string {
	base := path.Base(name)
	dot := strings.LastIndexByte(base, '.')
	if dot <= 0 || strings.Trim(base, ".") == "" {
		return ""
	}
	return base[dot:]
}
