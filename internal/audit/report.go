package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/purser-dev/purser/internal/act"
)

// A Report is what the verifier found. After a fault it says how far it went.
type Report struct {
	Header         Header     `json:"header"`
	Verified       bool       `json:"verified"`
	Records        int64      `json:"records"`
	TreeSize       int64      `json:"tree_size"`       // of the last good checkpoint
	Root           string     `json:"root"`            // base64, of the same
	CheckpointTime int64      `json:"checkpoint_time"` // microseconds since 1970 UTC, of the same
	Checkpoints    int64      `json:"checkpoints"`
	Approvers      []Approver `json:"approvers"` // in order of their first act
	Fault          *Fault     `json:"fault,omitempty"`
	CannotExclude  []string   `json:"cannot_exclude"` // sentences
}

// An Approver is a key that signed acts of a person.
type Approver struct {
	Person    string `json:"person"`
	Method    string `json:"method"`
	PublicKey []byte `json:"public_key"`
	Acts      int64  `json:"acts"`
}

// A Fault is the first thing that is wrong with an export.
type Fault struct {
	// At is what was being checked: "header", "record", "checkpoint", "range",
	// "approval", "refund", "stop", "books", "limit", "growth", "witness", "at_least" or "end".
	// "limit" is a spend under another limit than the records set, or without it, or a
	// limit that the installation set where there was one.
	At string `json:"at"`
	// Seq is the first bad record, or the record that is due where the fault
	// lies; 0 in the header. Through is the same number, except that at "range"
	// and "witness" the bad record is one of Seq to Through.
	Seq     int64  `json:"seq"`
	Through int64  `json:"through"`
	Line    int64  `json:"line"` // of the export, from 1
	Reason  string `json:"reason"`
}

// Error names the place and the reason.
func (f *Fault) Error() string {
	switch {
	case f.Seq == 0:
		return fmt.Sprintf("audit log: %s: %s", f.At, f.Reason)
	case f.Through > f.Seq:
		return fmt.Sprintf("audit log: records %d to %d (%s): %s", f.Seq, f.Through, f.At, f.Reason)
	}
	return fmt.Sprintf("audit log: record %d (%s, line %d): %s", f.Seq, f.At, f.Line, f.Reason)
}

// ActsByMethod returns how many signed acts were verified, by their method.
func (r Report) ActsByMethod() map[string]int64 {
	by := map[string]int64{}
	for _, a := range r.Approvers {
		by[a.Method] += a.Acts
	}
	return by
}

func (r *Report) countAct(person string, s act.Signature) {
	for i, a := range r.Approvers {
		if a.Person == person && a.Method == s.Method && slices.Equal(a.PublicKey, s.PublicKey) {
			r.Approvers[i].Acts++
			return
		}
	}
	r.Approvers = append(r.Approvers, Approver{person, s.Method, s.PublicKey, 1})
}

// conclude says what this verification cannot exclude (RULES 22).
func (r *Report) conclude(opt VerifyOptions, witnessed int64) {
	if seen := max(witnessed, opt.AtLeast); seen == 0 {
		r.cannot("that the log was rolled back to this older signed checkpoint: give --witness FILE or --at-least SIZE")
	} else {
		r.cannot(fmt.Sprintf("that the log was rolled back from more records than it was known to reach, %d", seen))
	}
	if witnessed == 0 {
		r.cannot("that who holds the log's private key signed another history for other readers: compare with --witness FILE")
	}
	r.cannot("what was decided after this checkpoint was signed, usually the last second")
	r.cannot("that something happened and was never recorded")
	if len(r.Approvers) > 0 {
		r.cannot("that a key listed here is not that person's: ask the person to compare it")
	}
}

func (r *Report) cannot(exclude string) { r.CannotExclude = append(r.CannotExclude, exclude) }

// String is the report for a person to read, in lines.
func (r Report) String() string {
	var b strings.Builder
	verdict := "verified"
	if !r.Verified {
		verdict = "NOT VERIFIED"
	}
	fmt.Fprintf(&b, "%s: %s\n", verdict, r.Header.Origin)
	if r.Fault != nil {
		fmt.Fprintf(&b, "%v\n", r.Fault)
	}
	fmt.Fprintf(&b, "tree size %d, %d records, %d checkpoints\n", r.TreeSize, r.Records, r.Checkpoints)
	if r.Checkpoints > 0 {
		fmt.Fprintf(&b, "checkpoint of %s, root %s\n", time.UnixMicro(r.CheckpointTime).UTC().Format(time.RFC3339Nano), r.Root)
	}
	for _, a := range r.Approvers {
		fmt.Fprintf(&b, "%d acts of %s by %s, key %x\n", a.Acts, a.Person, a.Method, a.PublicKey)
	}
	for _, c := range r.CannotExclude {
		fmt.Fprintf(&b, "cannot exclude %s\n", c)
	}
	return b.String()
}
