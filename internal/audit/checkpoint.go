package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Installation is the name that stands for the organization in the log of what has none (RULES 22).
const Installation = "installation"

// ErrCheckpoint is for a note that is not a checkpoint of this log, signed by this key.
var ErrCheckpoint = errors.New("this is not a signed checkpoint of the log")

// A Checkpoint says that the log had Size records under Root at Time. Its text
// is a C2SP tlog-checkpoint with one extension line, "time" and microseconds
// since 1970 UTC by the signer's clock.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	Time   int64
}

// Origin returns the name of a log, "purser/<installation>/<organization>", which
// is also the name of its key. It refuses ids with a slash, a plus or space.
func Origin(installation, organization string) (string, error) {
	for _, id := range []string{installation, organization} {
		if id == "" || strings.ContainsAny(id, "/+") || strings.ContainsFunc(id, unicode.IsSpace) {
			return "", fmt.Errorf("naming the log: %q cannot be a part of its name", id)
		}
	}
	return "purser/" + installation + "/" + organization, nil
}

// text returns the bytes that are signed.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\ntime %d\n", c.Origin, c.Size, c.Root, c.Time)
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 {
		return Checkpoint{}, fmt.Errorf("%w: it has %d lines", ErrCheckpoint, len(lines)-1)
	}
	size, errSize := strconv.ParseInt(lines[1], 10, 64)
	root, errRoot := tlog.ParseHash(lines[2])
	at, errTime := strconv.ParseInt(strings.TrimPrefix(lines[3], "time "), 10, 64)
	c := Checkpoint{lines[0], size, root, at}
	// Writing it again refuses other spellings of the same numbers.
	if err := errors.Join(errSize, errRoot, errTime); err != nil || size < 0 || c.text() != text {
		return Checkpoint{}, fmt.Errorf("%w: it is malformed", ErrCheckpoint)
	}
	return c, nil
}

// A Key signs the checkpoints of one log. It prints without the private part.
type Key struct {
	signer *note.Signer
	public string
}

// NewKey makes the key of a log from its origin and a seed of 32 random bytes.
// One seed may serve all logs of an installation: the origin is part of what is
// signed and of the key's name.
func NewKey(origin string, seed []byte) (Key, error) {
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("making the log's key: the seed has %d bytes, not %d", len(seed), ed25519.SeedSize)
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return Key{}, fmt.Errorf("making the log's key: %w", err)
	}
	hash := strings.Split(vkey, "+")[1]
	const algEd25519 = 1
	secret := base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, seed...))
	signer, err := note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + secret)
	if err != nil {
		return Key{}, errors.New("making the log's key: the origin cannot be a key's name")
	}
	return Key{&signer, vkey}, nil
}

// Public returns the verifier key, "<origin>+<hash>+<base64>", which an auditor
// keeps and which stands in the head of each export.
func (k Key) Public() string { return k.public }

// String returns Public.
func (k Key) String() string { return k.public }

// Sign returns the checkpoint as a signed note, ending in a newline. The origin
// must be the key's own.
func (k Key) Sign(c Checkpoint) (string, error) {
	if k.signer == nil || c.Origin != (*k.signer).Name() {
		return "", fmt.Errorf("signing a checkpoint: the key is not that of %q", c.Origin)
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, *k.signer)
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint: %w", err)
	}
	return string(signed), nil
}

// OpenCheckpoint checks a signed note against a verifier key and reads it:
// ErrCheckpoint for everything that Sign did not write. Lines of other signers,
// witnesses for example, may be there and are not checked.
func OpenCheckpoint(signed, key string) (Checkpoint, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading the key: %w", err)
	}
	return openCheckpoint(signed, verifier)
}

func openCheckpoint(signed string, verifier note.Verifier) (Checkpoint, error) {
	n, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if !spelledOnce(signed, n) {
		return Checkpoint{}, fmt.Errorf("%w: it is spelled in another way than it was signed", ErrCheckpoint)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != verifier.Name() {
		return Checkpoint{}, fmt.Errorf("%w: its origin is %q", ErrCheckpoint, c.Origin)
	}
	return c, nil
}

// spelledOnce reports whether the note has one form only: base64 forgives
// changes of the last bits and note.Open drops repeated lines, and an export in
// which a byte was changed must not verify.
func spelledOnce(signed string, n *note.Note) bool {
	lines := strings.Count(strings.TrimPrefix(signed, n.Text), "\n") - 1
	if lines != len(n.Sigs)+len(n.UnverifiedSigs) {
		return false
	}
	for _, s := range append(n.Sigs, n.UnverifiedSigs...) {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return false
		}
	}
	return true
}
