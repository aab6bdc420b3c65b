package audit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/purser-dev/purser/internal/canonical"
)

// exportVersion is the value of "purser_audit" in a header.
const exportVersion = 1

// A Header is the first line of an export.
type Header struct {
	Version      int    `json:"purser_audit"`
	Organization string `json:"organization"`
	Installation string `json:"installation"`
	Origin       string `json:"origin"`
	PublicKey    string `json:"public_key"` // for people to compare; the verifier is given the key apart
}

// checkpointLine is a line with a checkpoint. N counts them from 1, so that a
// lost one is seen; Last is on the last line only, so that a cut is seen.
type checkpointLine struct {
	Checkpoint string `json:"checkpoint"`
	Last       bool   `json:"last,omitempty"`
	N          int64  `json:"n"`
}

// An Exporter writes an export: lines of canonical JSON, each ended by a newline.
// First the header, then each record in order of seq as
//
//	{"hash":"<stored leaf hash, base64>","leaf":{...}}
//
// and, after the record that completes it, each stored checkpoint as
//
//	{"checkpoint":"<signed note>","n":<1, 2, 3, ...>}
//
// of which the last line, with "last":true, covers all records. The hash pins
// each record by itself and the checkpoints pin ranges with a signature, so the
// verifier can name what was changed.
type Exporter struct {
	w           io.Writer
	origin      string
	public      string
	size        int64
	covered     int64
	checkpoints int64
}

// NewExporter writes the header. Writes are small: give it a bufio.Writer.
func NewExporter(w io.Writer, installation, organization, publicKey string) (*Exporter, error) {
	origin, err := Origin(installation, organization)
	if err != nil {
		return nil, err
	}
	e := &Exporter{w: w, origin: origin, public: publicKey, covered: -1}
	return e, e.line(Header{exportVersion, organization, installation, origin, publicKey})
}

// Record writes the next record: its leaf as stored, and the hash stored at
// LeafIndex. The hash is not computed here, so that a leaf that was changed in
// the database is named by the verifier.
func (e *Exporter) Record(leaf []byte, stored tlog.Hash) error {
	e.size++
	b := make([]byte, 0, len(leaf)+recordOverhead+1)
	b = append(b, recordHead...)
	b = base64.StdEncoding.AppendEncode(b, stored[:])
	b = append(b, recordMiddle...)
	b = append(b, leaf...)
	b = append(b, '}', '\n')
	return e.write(b)
}

// Checkpoint writes a stored checkpoint, but not the last. It belongs after the
// record that completes it.
func (e *Exporter) Checkpoint(signed string) error { return e.checkpoint(signed, false) }

// Finish writes the last checkpoint, which must cover all records.
func (e *Exporter) Finish(signed string) error { return e.checkpoint(signed, true) }

func (e *Exporter) checkpoint(signed string, last bool) error {
	c, err := OpenCheckpoint(signed, e.public)
	if err != nil {
		return fmt.Errorf("exporting a checkpoint: %w", err)
	}
	if c.Size != e.size || c.Size <= e.covered {
		return fmt.Errorf("exporting a checkpoint: it is of %d records, after %d", c.Size, e.size)
	}
	e.covered = c.Size
	e.checkpoints++
	return e.line(checkpointLine{signed, last, e.checkpoints})
}

func (e *Exporter) line(v any) error {
	b, err := canonical.JSON(v)
	if err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return e.write(append(b, '\n'))
}

func (e *Exporter) write(b []byte) error {
	if _, err := e.w.Write(b); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	return nil
}

const (
	recordHead     = `{"hash":"`
	recordMiddle   = `","leaf":`
	hashText       = 44 // base64 of 32 bytes
	recordOverhead = len(recordHead) + hashText + len(recordMiddle) + len("}")
)

// splitRecord takes a record's line apart, ok if it has the one shape. The leaf is not looked at.
func splitRecord(line []byte) (hash, leaf []byte, ok bool) {
	const leafAt = len(recordHead) + hashText + len(recordMiddle)
	if len(line) <= recordOverhead || string(line[:len(recordHead)]) != recordHead ||
		string(line[leafAt-len(recordMiddle):leafAt]) != recordMiddle || line[len(line)-1] != '}' {
		return nil, nil, false
	}
	return line[len(recordHead) : len(recordHead)+hashText], line[leafAt : len(line)-1], true
}

// readLine decodes a header or checkpoint line, and refuses each spelling but the one that line writes.
func readLine[T any](line []byte) (T, error) {
	var v T
	if err := json.Unmarshal(line, &v); err != nil {
		return v, errors.New("it is not JSON")
	}
	if again, err := canonical.JSON(v); err != nil || string(again) != string(line) {
		return v, errors.New("it is not as it was written")
	}
	return v, nil
}
