package audit

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxLine is the longest line of an export: a record, or a checkpoint with witnesses.
const maxLine = MaxLeaf + recordOverhead

// VerifyOptions are what an auditor has beside the export and the key.
type VerifyOptions struct {
	// Witness holds signed checkpoints that were seen earlier, by a witness, a
	// second sink or the auditor: notes one after the other, empty lines between
	// them or not. Nil for none.
	Witness []byte
	// AtLeast is the number of records that the log must have reached.
	AtLeast int64
	// Books re-derives each budget's held, captured and refunded amounts from the
	// records. It takes memory for each budget window.
	Books bool
	// Each, if not nil, is called with each record that passed all checks of its
	// own; an error from it is a fault of that record. The signature over it is
	// checked at the next checkpoint only.
	Each func(Record) error
}

// Verify reads an export from its first to its last line and checks it against
// the log's public key (a verifier key, as Key.Public returns). It needs nothing
// else: no server, no network, no clock.
//
// It checks: the header names the log of the key; each line is canonical and
// each leaf has its hash; seq is dense from 1; ts never decreases; each
// checkpoint, in its place, is signed and has the root of all records before it;
// the last line is a checkpoint over all records; each attached act is signed,
// belongs to its record, was in time and is used once; plans are approved, runs and
// their like made, and stops lifted by such an act only; an accepted decision that raised
// use left it within the limit, which is the one that records set, and was made under no
// stop of its organization, project, run, agent or payee; a limit that loosens is signed; what was given back, or captured above a hold, was told by who captured, and the
// latter stopped what it came from.
//
// The error is a *Fault for a bad export, naming the first bad record, or the
// range between two checkpoints if who changed it recomputed the hashes but has
// no key. It is another error if the reader, the key or the witness file cannot
// be used. The report then says how far it went.
//
// Memory is constant, but for 16 bytes for each attached act, one entry for each
// key that signed one, each scope and currency that has limits, each stop in force and
// each hold that was exceeded, and what Books needs.
func Verify(r io.Reader, key string, opt VerifyOptions) (Report, error) {
	v, err := newVerifier(key, opt)
	if err != nil {
		return Report{}, fmt.Errorf("verifying: %w", err)
	}
	err = v.run(bufio.NewReaderSize(r, 64<<10))
	var fault *Fault
	if errors.As(err, &fault) {
		fault.Line = v.line
		v.report.Fault = fault
	} else if err != nil {
		err = fmt.Errorf("verifying: %w", err)
	}
	v.report.conclude(opt, v.newestWitness)
	v.report.Verified = err == nil
	return v.report, err
}

type verifier struct {
	opt       VerifyOptions
	key       string
	note      note.Verifier
	witnesses []Checkpoint // by size, those not yet reached

	newestWitness int64
	tree          Edge
	scratch       []tlog.Hash
	line          int64
	covered       int64 // size of the last good checkpoint, -1 before the first
	orgText       []byte
	lastTS        int64
	last          bool
	acts          map[[16]byte]struct{}
	books         books
	limits        limits
	overruns      overruns
	stops         stops
	report        Report

	// What the record at hand is read into, and the methods that do it, made
	// once: a million records would make millions of them.
	brief        brief
	budget       line
	briefMember  func(key, value []byte) error
	budgetMember func(key, value []byte) error
}

func newVerifier(key string, opt VerifyOptions) (*verifier, error) {
	n, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	v := &verifier{
		opt: opt, key: key, note: n, covered: -1, acts: map[[16]byte]struct{}{}, books: books{windows: map[string]*moved{}},
		overruns: overruns{above: map[string]int64{}}, stops: stops{inForce: map[string]string{}, covers: map[string]int{}},
		limits: limits{of: map[string]limit{}},
	}
	v.briefMember, v.budgetMember = v.brief.member, v.budget.member
	if v.witnesses, err = readWitnesses(opt.Witness, n); err != nil {
		return nil, fmt.Errorf("reading the witness file: %w", err)
	}
	if w := v.witnesses; len(w) > 0 {
		v.newestWitness = w[len(w)-1].Size
	}
	return v, nil
}

func (v *verifier) run(r *bufio.Reader) error {
	var buf []byte
	for {
		line, err := nextLine(r, buf)
		if err == io.EOF {
			return v.end()
		}
		v.line++
		if errors.Is(err, errCut) || errors.Is(err, errLong) {
			return v.fault(v.place(), err.Error())
		}
		if err != nil {
			return fmt.Errorf("reading line %d: %w", v.line, err)
		}
		if err := v.one(line); err != nil {
			return err
		}
		buf = line[:0]
	}
}

func (v *verifier) one(line []byte) error {
	if v.line == 1 {
		return v.header(line)
	}
	if v.last {
		return v.fault("end", "a line follows the last checkpoint")
	}
	if bytes.HasPrefix(line, []byte(`{"checkpoint":`)) {
		return v.checkpoint(line)
	}
	hash, leaf, ok := splitRecord(line)
	if !ok {
		return v.fault("record", "the line has not the shape of a record")
	}
	return v.record(hash, leaf)
}

func (v *verifier) header(line []byte) error {
	h, err := readLine[Header](line)
	if err != nil {
		return v.fault("header", err.Error())
	}
	origin, err := Origin(h.Installation, h.Organization)
	switch {
	case h.Version != exportVersion:
		return v.fault("header", fmt.Sprintf("version %d of the export is not known", h.Version))
	case err != nil || origin != h.Origin:
		return v.fault("header", "the origin is not that of the organization")
	case h.PublicKey != v.key:
		return v.fault("header", "the export names another key than the one given")
	case v.note.Name() != h.Origin:
		return v.fault("header", "the key is not that of this log")
	}
	v.report.Header = h
	v.orgText = []byte(`"` + h.Organization + `"`)
	return v.passWitnesses() // of the empty log
}

func (v *verifier) record(hash, leaf []byte) error {
	sum := tlog.RecordHash(leaf)
	var text [hashText]byte
	base64.StdEncoding.Encode(text[:], sum[:])
	if string(text[:]) != string(hash) {
		return v.fault("record", "the record does not have the hash beside it")
	}
	if err := v.checkLeaf(leaf); err != nil {
		return err
	}
	v.scratch = v.tree.push(sum, v.scratch[:0])
	v.report.Records = v.tree.size
	return v.passWitnesses()
}

func (v *verifier) checkpoint(line []byte) error {
	l, err := readLine[checkpointLine](line)
	if err != nil {
		return v.fault("checkpoint", err.Error())
	}
	c, err := openCheckpoint(l.Checkpoint, v.note)
	switch {
	case err != nil:
		return v.fault("checkpoint", err.Error())
	case l.N != v.report.Checkpoints+1:
		return v.fault("checkpoint", fmt.Sprintf("checkpoint %d stands where number %d is due", l.N, v.report.Checkpoints+1))
	case c.Size > v.tree.size:
		return v.fault("record", fmt.Sprintf("missing: a checkpoint of %d records follows record %d", c.Size, v.tree.size))
	case c.Size < v.tree.size || c.Size <= v.covered:
		return v.fault("checkpoint", fmt.Sprintf("a checkpoint of %d records follows record %d", c.Size, v.tree.size))
	case c.Root != v.tree.root():
		return &Fault{At: "range", Seq: v.uncovered(), Through: c.Size, Reason: "the signed root is another one: a record in this range was changed, and the hash beside it with it"}
	}
	v.covered, v.last = c.Size, l.Last
	v.report.Checkpoints++
	v.report.TreeSize, v.report.Root, v.report.CheckpointTime = c.Size, c.Root.String(), c.Time
	return nil
}

// passWitnesses compares the tree with each witnessed checkpoint of its present size.
func (v *verifier) passWitnesses() error {
	for len(v.witnesses) > 0 && v.witnesses[0].Size == v.tree.size {
		if v.witnesses[0].Root != v.tree.root() {
			return &Fault{At: "witness", Seq: v.uncovered(), Through: v.tree.size, Reason: "a witness has seen another history, signed by the same key"}
		}
		v.witnesses = v.witnesses[1:]
	}
	return nil
}

// end checks what can be known only after the last line.
func (v *verifier) end() error {
	switch {
	case v.line == 0:
		return v.fault("header", "the export is empty")
	case !v.last:
		return v.fault(v.place(), "the export ends before its last checkpoint")
	case v.overruns.due != "":
		return v.fault("books", fmt.Sprintf("the last record captured above a hold, and %s is not stopped", v.overruns.due))
	case len(v.witnesses) > 0:
		return v.fault("witness", fmt.Sprintf("a witness has seen %d records; this export was rolled back", v.newestWitness))
	case v.tree.size < v.opt.AtLeast:
		return v.fault("at_least", fmt.Sprintf("the log should have at least %d records; this export was rolled back", v.opt.AtLeast))
	}
	return nil
}

// fault names the record that is due at this line.
func (v *verifier) fault(at, reason string) *Fault {
	f := &Fault{At: at, Reason: reason}
	if at != "header" {
		f.Seq, f.Through = v.tree.size+1, v.tree.size+1
	}
	return f
}

func (v *verifier) place() string {
	if v.line <= 1 {
		return "header"
	}
	return "record"
}

// uncovered is the first record that no good checkpoint covers.
func (v *verifier) uncovered() int64 { return max(v.covered, 0) + 1 }

var (
	errCut  = errors.New("the line is cut: the export ends without a newline")
	errLong = errors.New("the line is longer than any record")
)

// nextLine returns the next line without its newline, in buf if it fits.
func nextLine(r *bufio.Reader, buf []byte) ([]byte, error) {
	line := buf[:0]
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case err == io.EOF && len(line) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, errCut
		case err != bufio.ErrBufferFull:
			return nil, err
		case len(line) > maxLine:
			return nil, errLong
		}
	}
}

// readWitnesses reads notes that stand one after the other, and returns their checkpoints by size.
func readWitnesses(file []byte, verifier note.Verifier) ([]Checkpoint, error) {
	if file == nil {
		return nil, nil
	}
	var found []Checkpoint
	for rest := bytes.TrimLeft(file, "\n"); len(rest) > 0; rest = bytes.TrimLeft(rest, "\n") {
		end := noteLength(rest)
		one := rest[:end]
		rest = rest[end:]
		// A witness may keep several logs in one file; the others are not ours to check.
		if origin, _, _ := bytes.Cut(one, []byte("\n")); string(origin) != verifier.Name() && bytes.HasPrefix(origin, []byte("purser/")) {
			continue
		}
		c, err := openCheckpoint(string(one), verifier)
		if err != nil {
			return nil, err
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, errors.New("there is no checkpoint of this log in it")
	}
	slices.SortFunc(found, func(a, b Checkpoint) int { return int(a.Size - b.Size) })
	return found, nil
}

// noteLength returns the length of the signed note at the start of b: text, an empty line, signature lines.
func noteLength(b []byte) int {
	at := bytes.Index(b, []byte("\n\n"))
	if at < 0 {
		return len(b)
	}
	for at += 2; bytes.HasPrefix(b[at:], []byte("— ")); {
		next := bytes.IndexByte(b[at:], '\n')
		if next < 0 {
			return len(b)
		}
		at += next + 1
	}
	return at
}
