package audit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// proofVersion is the value of "purser_audit_proof" in a proof.
const proofVersion = 1

// A Proof shows to whoever has the log's public key that one record is in the log,
// without the rest of it. In JSON it is what the operation prove answers.
type Proof struct {
	Version    int      `json:"purser_audit_proof"`
	Seq        int64    `json:"seq"`
	Leaf       string   `json:"leaf"`                  // the record's canonical JSON, byte for byte as it was hashed
	Path       []string `json:"path"`                  // inclusion proof (RFC 6962), hashes in base64
	Checkpoint string   `json:"checkpoint"`            // signed note of a tree that has the record
	PublicKey  string   `json:"public_key"`            // for people to compare; the verifier is given the key apart
	From       int64    `json:"from,omitempty"`        // an older size that was asked about
	Growth     []string `json:"consistency,omitempty"` // consistency proof from that size to the checkpoint's
}

// Prove makes the proof of a record. The checkpoint is a signed one of size
// records, with seq among them; from is an older size to prove growth from, or 0.
func Prove(seq int64, leaf, checkpoint, public string, size, from int64, read tlog.HashReader) (Proof, error) {
	p := Proof{Version: proofVersion, Seq: seq, Leaf: leaf, Checkpoint: checkpoint, PublicKey: public}
	path, err := ProveInclusion(size, seq, read)
	if err != nil {
		return Proof{}, err
	}
	p.Path = Texts(path)
	if from > 0 && from < size {
		growth, err := ProveConsistency(size, from, read)
		if err != nil {
			return Proof{}, err
		}
		p.From, p.Growth = from, Texts(growth)
	}
	return p, nil
}

// Texts writes hashes in base64.
func Texts(hashes []tlog.Hash) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = h.String()
	}
	return out
}

func hashesOf(texts []string) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(texts))
	for i, text := range texts {
		b, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || copy(out[i][:], b) != len(b) || len(b) != len(out[i]) {
			return nil, errors.New("a hash of it is not 32 bytes in base64")
		}
	}
	return out, nil
}

// Proved is what a proof shows.
type Proved struct {
	Record     Record
	Checkpoint Checkpoint
	Witnessed  int64 // size of the newest witnessed checkpoint that the log was compared with; 0: none
	From       int64 // older size that the proof begins from; 0: none
	Grown      bool  // a witnessed checkpoint of that size is the beginning of the log
}

// VerifyProof checks a proof against the log's public key and, when there are any,
// against checkpoints that were seen earlier (VerifyOptions.Witness): one of the
// same size must have the same root, and one of the size that the proof begins
// from must be a part of it. Without a checkpoint of that size, that the log only grew
// since is not shown: a proof alone says of which beginning, and nothing to hold it
// against. The error is a *Fault that names the record.
func VerifyProof(text []byte, key string, opt VerifyOptions) (Proved, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return Proved{}, fmt.Errorf("reading the key: %w", err)
	}
	witnesses, err := readWitnesses(opt.Witness, verifier)
	if err != nil {
		return Proved{}, fmt.Errorf("reading the witness file: %w", err)
	}
	var p Proof
	if err := json.Unmarshal(text, &p); err != nil || p.Version != proofVersion {
		return Proved{}, &Fault{At: "header", Reason: "it is not a proof of this version"}
	}
	bad := func(at, why string, args ...any) error {
		return &Fault{At: at, Seq: p.Seq, Through: p.Seq, Line: 1, Reason: fmt.Sprintf(why, args...)}
	}
	if p.PublicKey != key {
		return Proved{}, bad("header", "the proof names another key than the one given")
	}
	c, err := openCheckpoint(p.Checkpoint, verifier)
	if err != nil {
		return Proved{}, bad("checkpoint", "%v", err)
	}
	out := Proved{Checkpoint: c}
	path, err := hashesOf(p.Path)
	if err == nil {
		err = CheckInclusion(path, c.Size, c.Root, p.Seq, []byte(p.Leaf))
	}
	if err != nil {
		return out, bad("record", "it is not in the log: %v", err)
	}
	if out.Record, err = proved(p, verifier.Name()); err != nil {
		return out, bad("record", "%v", err)
	}
	if c.Size < opt.AtLeast {
		return out, bad("at_least", "the log should have at least %d records; the checkpoint has %d", opt.AtLeast, c.Size)
	}
	growth, err := growthOf(p, c)
	if err != nil {
		return out, bad("growth", "%v", err)
	}
	out.From = p.From
	out.Witnessed, err = compared(p.From, growth, c, witnesses)
	if err != nil {
		return out, bad("witness", "%v", err)
	}
	out.Grown = p.From > 0 && slices.ContainsFunc(witnesses, func(w Checkpoint) bool { return w.Size == p.From })
	return out, nil
}

// proved reads the record that a proof is about and checks it by itself.
func proved(p Proof, origin string) (Record, error) {
	r, err := ParseRecord([]byte(p.Leaf))
	if err != nil {
		return r, err
	}
	switch {
	case r.Seq != p.Seq:
		return r, fmt.Errorf("the record says that it is number %d", r.Seq)
	case len(origin) <= len(r.Org) || origin[len(origin)-len(r.Org)-1:] != "/"+r.Org:
		return r, errors.New("it belongs to another organization")
	case r.Attach == nil && r.Action == ActionApprove && r.Outcome == Accepted:
		return r, errors.New("a plan is approved without a person's signed act")
	case r.Attach != nil:
		one := verifier{acts: map[[16]byte]struct{}{}}
		return r, one.checkAct(r)
	}
	return r, nil
}

// growthOf reads the proof of growth, and checks it as far as it goes without a root of
// the older size: whether its form is that of these sizes, and whether it leads to the
// checkpoint's root. Where the older tree is one whole subtree the latter rests on the
// older root, which the proof does not hold.
func growthOf(p Proof, c Checkpoint) ([]tlog.Hash, error) {
	switch {
	case p.From == 0 && len(p.Growth) == 0:
		return nil, nil
	case p.From < 1 || p.From > c.Size:
		return nil, fmt.Errorf("it is said to prove growth from %d records, and the checkpoint has %d", p.From, c.Size)
	}
	growth, err := hashesOf(p.Growth)
	if err != nil {
		return nil, err
	}
	if !growsInForm(growth, c.Size, c.Root, p.From) {
		return nil, fmt.Errorf("it does not prove that the log only grew since it had %d records", p.From)
	}
	return growth, nil
}

// compared holds the proof's checkpoint against those that were seen earlier.
func compared(from int64, growth []tlog.Hash, c Checkpoint, witnesses []Checkpoint) (newest int64, err error) {
	for _, w := range witnesses {
		switch {
		case w.Size > c.Size:
			return newest, fmt.Errorf("a witness has seen %d records; this checkpoint is of %d: ask for a newer proof", w.Size, c.Size)
		case w.Size == c.Size && w.Root != c.Root:
			return newest, errors.New("a witness has seen another history, signed by the same key")
		case w.Size == c.Size:
			newest = w.Size
		case w.Size == from && from > 0:
			if err := CheckConsistency(growth, c.Size, c.Root, w.Size, w.Root); err != nil {
				return newest, fmt.Errorf("the log of %d records that a witness has seen is not the beginning of this one", w.Size)
			}
			newest = w.Size
		}
	}
	if len(witnesses) > 0 && newest == 0 {
		return 0, fmt.Errorf("it cannot be compared with what the witness has seen: ask for the proof from size %d", witnesses[len(witnesses)-1].Size)
	}
	return newest, nil
}
