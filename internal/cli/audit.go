package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/ledger"
)

func (s *session) audit() *cobra.Command {
	return family("audit", "Read, export and verify the record of every decision", s.auditLog(), s.auditExport(), s.auditProve(), s.auditCheckpoint(),
		s.auditVerify())
}

// logFlag names the log; the installation's own has what belongs to no organization.
func logFlag(cmd *cobra.Command, log *string) *cobra.Command {
	cmd.Flags().StringVar(log, "log", "", "\"installation\" for the installation's own log (default: the organization's)")
	return cmd
}

func (s *session) auditLog() *cobra.Command {
	var in purser.AskAudit
	cmd := &cobra.Command{
		Use: "log", Short: "Read the audit log", Args: needs(), Example: "  purser audit log\n  purser audit log --after 100 --limit 20",
	}
	cmd.RunE = does(s, func(ctx context.Context, _ []string) (page purser.AuditPage, err error) {
		if cmd.Flags().Changed("limit") && in.Limit < 1 {
			return page, misused(cmd, "--limit is at least 1")
		}
		c, err := s.client()
		if err != nil {
			return page, err
		}
		return c.AuditLog(ctx, in)
	}, func(p *page, v purser.AuditPage) {
		var rows [][]string
		for _, r := range v.Records {
			rows = append(rows, []string{fmt.Sprint(r.Seq), clock(r.At), r.Actor, r.Action, r.Outcome, r.Target})
		}
		p.table([]string{"RECORD", "AT", "WHO", "WHAT", "OUTCOME", "TARGET"}, rows)
		p.line("")
		p.line("%d records in all; public key %s", v.Size, v.PublicKey)
		if v.Next > 0 && v.Next < v.Size {
			p.line("next: purser audit log --after %d", v.Next)
		}
	})
	cmd.Flags().Int64Var(&in.After, "after", 0, "records after this number")
	cmd.Flags().IntVar(&in.Limit, "limit", 0, "at most so many (default: 50, at most 200)")
	return logFlag(cmd, &in.Log)
}

// exported is what audit export wrote.
type exported struct {
	File      string `json:"file"`
	PublicKey string `json:"public_key"`
	Size      int64  `json:"size"` // records when the export began

	passed bool // to a pipe or a device: there is no file to verify
}

func (s *session) auditExport() *cobra.Command {
	var in purser.ExportAudit
	cmd := &cobra.Command{
		Use: "export FILE", Short: "Write the whole log, or what was spent; - is standard output", Args: needs("FILE"),
		Long: "Write the whole log as JSON lines, which purser audit verify checks; or, with --format, as OCSF " + audit.OCSFVersion + " events (one a line, for\n" +
			"a SIEM), or what was spent and what came back as FOCUS " + ledger.FOCUSVersion + " rows (CSV, for cost reports).",
		Example: "  purser audit export audit.jsonl\n  purser audit export - | gzip > audit.jsonl.gz\n  purser audit export events.jsonl --format ocsf\n" +
			"  purser audit export costs.csv --format focus",
	}
	cmd.Flags().StringVar(&in.Format, "format", "", "jsonl (default), ocsf or focus")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		if args[0] == "-" || args[0] == "/dev/stdout" { // a redirected one is a file, but not ours to replace
			if s.json {
				return misused(cmd, "--json prints one object; an export to standard output is many")
			}
			return c.ExportAudit(cmd.Context(), in, s.Out)
		}
		return does(s, func(ctx context.Context, args []string) (exported, error) {
			head, err := c.AuditLog(ctx, purser.AskAudit{Log: in.Log, Limit: 1})
			if err != nil {
				return exported{}, err
			}
			path := s.path(args[0])
			info, err := os.Stat(path)
			passed := err == nil && !info.Mode().IsRegular()
			return exported{path, head.PublicKey, head.Size, passed}, writeTo(ctx, path, 0o600, func(w io.Writer) error { return c.ExportAudit(ctx, in, w) })
		}, func(p *page, v exported) {
			if v.passed {
				p.line("wrote to %s", v.File)
				return
			}
			p.line("wrote %s (mode 600)", v.File)
			if in.Format == "" || in.Format == purser.FormatJSONL {
				p.line("next: purser audit verify %s --key %s", v.File, v.PublicKey)
			}
		})(cmd, args)
	}
	return logFlag(cmd, &in.Log)
}

func (s *session) auditProve() *cobra.Command {
	var in purser.Prove
	var file string
	cmd := &cobra.Command{
		Use: "prove SEQ", Short: "Prove one record to whoever has the public key", Args: needs("SEQ"),
		Long: "Get one record with the proof that it is in the log: its hashes up to a signed checkpoint. purser audit verify checks the file\n" +
			"and needs nothing else. With --from, whoever kept the checkpoint of that size finds with purser audit verify --witness that the log\n" +
			"only grew since.",
		Example: "  purser audit prove 41 --out record-41.json\n  purser audit verify record-41.json --key KEY",
		RunE: does(s, func(ctx context.Context, args []string) (proof purser.AuditProof, err error) {
			if in.Seq, err = strconv.ParseInt(args[0], 10, 64); err != nil || in.Seq < 1 {
				return proof, purser.Errorf(purser.InvalidRequest, "%q is not the number of a record", args[0]).WithHint("purser audit log")
			}
			c, err := s.client()
			if err != nil {
				return proof, err
			}
			if proof, err = c.Prove(ctx, in); err != nil || file == "" {
				return proof, err
			}
			return proof, writeTo(ctx, s.path(file), 0o600, func(w io.Writer) error { return json.NewEncoder(w).Encode(proof) })
		}, func(p *page, v purser.AuditProof) {
			p.line("record %d: %s", v.Seq, v.Leaf)
			p.line("is under this checkpoint, %d hashes below:", len(v.Path))
			showNote(p, v.Checkpoint)
			if file != "" {
				p.line("next: purser audit verify %s --key %s", file, v.PublicKey)
			}
		}),
	}
	cmd.Flags().StringVar(&file, "out", "", "file to write the proof to")
	cmd.Flags().Int64Var(&in.From, "from", 0, "an older size of the log, to prove that it only grew since")
	return logFlag(cmd, &in.Log)
}

func (s *session) auditCheckpoint() *cobra.Command {
	var in purser.AskCheckpoint
	cmd := &cobra.Command{
		Use: "checkpoint", Short: "Show the newest signed checkpoint", Args: needs(),
		Long: "Show the newest signed checkpoint of the log. Kept where the server cannot write, it lets purser audit verify --witness find a\n" +
			"log that was rolled back or written again.",
		Example: "  purser audit checkpoint >> checkpoints.txt\n  purser audit checkpoint --from 1000 --json",
		RunE: does(s, func(ctx context.Context, _ []string) (point purser.Checkpoint, err error) {
			c, err := s.client()
			if err != nil {
				return point, err
			}
			return c.Checkpoint(ctx, in)
		}, func(p *page, v purser.Checkpoint) { showNote(p, v.Checkpoint) }),
	}
	cmd.Flags().Int64Var(&in.Size, "size", 0, "the first checkpoint of at least so many records (default: the newest)")
	cmd.Flags().Int64Var(&in.From, "from", 0, "an older size of the log, to prove that it only grew since")
	return logFlag(cmd, &in.Log)
}

// showNote shows a signed note line by line, as the verifier takes it.
func showNote(p *page, note string) {
	for line := range strings.Lines(note) {
		p.line("%s", strings.TrimSuffix(line, "\n"))
	}
}

// verified is what audit verify found.
type verified struct {
	audit.Report
	CheckedAt   time.Time           `json:"checkpoint_at"`
	ActsByKind  map[string]int64    `json:"approvals_by_method"`
	WithWitness bool                `json:"with_witness"`
	Proved      *purser.AuditRecord `json:"proved,omitempty"` // the record, when the file is the proof of one
}

func (s *session) auditVerify() *cobra.Command {
	var key, witness string
	opt := audit.VerifyOptions{Books: true}
	cmd := &cobra.Command{
		Use: "verify FILE --key KEY", Short: "Verify an export, or one record's proof, with nothing but the public key", Args: needs("FILE"),
		Long: "Verify an export of the log: every record, every checkpoint, every signed approval, every balance. Or the proof of one\n" +
			"record, as purser audit prove writes it. FILE may be -, standard input. It needs the file and the key and nothing else, no server. What an export alone cannot\n" +
			"exclude is said; --witness and --at-least exclude more.",
		Example: "  purser audit verify audit.jsonl --key purser/...\n  purser audit verify audit.jsonl --key KEY --witness checkpoints.txt --at-least 1000\n" +
			"  purser audit verify record-41.json --key KEY\n  gunzip -c audit.jsonl.gz | purser audit verify - --key KEY",
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's public key, or @FILE that holds it")
	cmd.Flags().StringVar(&witness, "witness", "", "file of checkpoints that were seen earlier")
	cmd.Flags().Int64Var(&opt.AtLeast, "at-least", 0, "number of records that the log must have reached")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (verified, error) {
		switch {
		case key == "":
			return verified{}, misused(cmd, "purser audit verify needs --key")
		case opt.AtLeast < 0:
			return verified{}, misused(cmd, "--at-least is a number of records, and not below 0")
		}
		if err := s.readVerifyFiles(&key, witness, &opt); err != nil {
			return verified{}, err
		}
		return await(ctx, func() (verified, error) { return s.verifyExport(args[0], key, opt) }) // a pipe may never end
	}, showVerified)
	return cmd
}

// smallFile bounds the files beside an export, in bytes.
const smallFile = 16 << 20

func (s *session) readVerifyFiles(key *string, witness string, opt *audit.VerifyOptions) error {
	read := func(name string) ([]byte, error) {
		info, err := os.Stat(s.path(name))
		if err != nil || info.Size() > smallFile {
			return nil, purser.Errorf(purser.InvalidRequest, "%s cannot be read, or is too large", name).WithCause(err)
		}
		return os.ReadFile(s.path(name))
	}
	if file, ok := strings.CutPrefix(*key, "@"); ok {
		text, err := read(file)
		if err != nil {
			return err
		}
		*key = strings.TrimSpace(string(text))
	}
	if witness == "" {
		return nil
	}
	var err error
	opt.Witness, err = read(witness)
	return err
}

func (s *session) verifyExport(name, key string, opt audit.VerifyOptions) (verified, error) {
	f := s.In
	if name == "-" {
		name = "standard input"
	} else {
		var err error
		if f, err = os.Open(s.path(name)); err != nil {
			return verified{}, purser.Errorf(purser.NotFound, "%s cannot be opened", name).WithCause(err)
		}
		defer f.Close()
	}
	var begun beginning
	r := bufio.NewReader(io.TeeReader(f, &begun))
	if head, _ := r.Peek(len(proofHead)); string(head) == proofHead {
		return verifyProof(name, r, key, opt)
	}
	report, err := audit.Verify(r, key, opt)
	if wrongFile(err) && !speaksOf(io.MultiReader(bytes.NewReader(begun), f), key) {
		err = &notOurs{err, originOf(key)}
	}
	v := verified{Report: report, CheckedAt: time.UnixMicro(report.CheckpointTime).UTC(), ActsByKind: report.ActsByMethod(), WithWitness: opt.Witness != nil}
	return v, notVerified(name, v, err)
}

// beginning keeps what is read first, which a pipe does not give again: more than is
// read until a fault in the first line is found.
type beginning []byte

func (b *beginning) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), 1<<20-len(*b))]...)
	return len(p), nil
}

// proofHead is how a proof begins, as every writer of it here writes it.
const proofHead = `{"purser_audit_proof":`

// verifyProof checks the proof of one record.
func verifyProof(name string, r io.Reader, key string, opt audit.VerifyOptions) (verified, error) {
	text, err := io.ReadAll(io.LimitReader(r, smallFile))
	if err != nil {
		return verified{}, purser.Errorf(purser.InvalidRequest, "%s cannot be read", name).WithCause(err)
	}
	proved, err := audit.VerifyProof(text, key, opt)
	if wrongFile(err) && !bytes.Contains(text, []byte(originOf(key))) {
		err = &notOurs{err, originOf(key)}
	}
	c, rec := proved.Checkpoint, proved.Record
	v := verified{CheckedAt: time.UnixMicro(c.Time).UTC(), WithWitness: proved.Witnessed > 0, ActsByKind: map[string]int64{}}
	v.Report = audit.Report{Verified: err == nil, TreeSize: c.Size, Root: c.Root.String(), CheckpointTime: c.Time, Approvers: []audit.Approver{}}
	if err == nil {
		v.Records, v.Checkpoints = 1, 1
		v.Header.Organization, v.Header.Origin, v.Header.PublicKey = rec.Org, c.Origin, key
		v.Proved = &purser.AuditRecord{
			Seq: rec.Seq, At: time.UnixMicro(rec.TS).UTC(), Actor: rec.Actor.Kind + ":" + rec.Actor.ID, Action: rec.Action, Target: rec.Target, Outcome: rec.Outcome,
		}
		v.CannotExclude = append(v.CannotExclude, "that other records of the log were changed: verify an export")
		if proved.Witnessed == 0 {
			v.CannotExclude = append(v.CannotExclude, "that who holds the log's private key signed another history for other readers: compare with --witness FILE")
		}
		if proved.From > 0 && !proved.Grown {
			v.CannotExclude = append(v.CannotExclude, fmt.Sprintf("that records were changed since the log had %d of them, which was NOT checked: give --witness FILE with a checkpoint of %d records",
				proved.From, proved.From))
		}
	}
	errors.As(err, &v.Fault)
	return v, notVerified(name, v, err)
}

// notOurs is the fault of a file that is nothing of the key's log.
type notOurs struct {
	error
	log string
}

func (n *notOurs) Unwrap() error { return n.error }

// wrongFile reports a fault at the very beginning, which another file has too.
func wrongFile(err error) bool {
	var fault *audit.Fault
	return errors.As(err, &fault) && fault.At == "header"
}

// originOf is the name of a key's log.
func originOf(key string) string {
	origin, _, _ := strings.Cut(key, "+")
	return origin
}

// speaksOf reports whether any line of a file is one of an export of the key's log.
// Such a file was meant to prove something, and whoever tampered with it may have begun
// with its first line: only a file without any such line is merely the wrong one.
func speaksOf(file io.Reader, key string) bool {
	origin := []byte(originOf(key))
	org := fmt.Appendf(nil, `"org":%q`, origin[bytes.LastIndexByte(origin, '/')+1:])
	for r := bufio.NewReaderSize(file, 1<<20); ; { // the longest record has a quarter of it
		line, err := r.ReadSlice('\n')
		switch {
		case bytes.HasPrefix(line, []byte(`{"hash":`)) && bytes.Contains(line, org),
			bytes.HasPrefix(line, []byte(`{"checkpoint":`)) && bytes.Contains(line, origin),
			bytes.Contains(line, []byte(`"purser_audit":`)) && bytes.Contains(line, origin):
			return true
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return false
		}
	}
}

// notVerified is the failure that a verification's error is; nil for none.
func notVerified(name string, v verified, err error) error {
	var fault *audit.Fault
	var other *notOurs
	switch {
	case err == nil:
		return nil
	case errors.As(err, &other) && errors.As(err, &fault):
		wrong := purser.Errorf(purser.InvalidRequest, "%s is nothing of the log of this key (%s): %s", name, other.log, fault.Reason).
			WithHint("purser audit export audit.jsonl writes the log, and prints its key")
		return &failure{error: wrong, data: v}
	case errors.As(err, &fault):
		bad := purser.Errorf(purser.BooksBroken, "the log does not verify: %s", fault)
		bad.Hint = "keep the file as evidence, and stop spending: purser stop organization --reason \"the audit log does not verify\""
		return &failure{error: bad, data: v, text: func(p *page) { showVerified(p, v) }}
	}
	return purser.Errorf(purser.InvalidRequest, "%s cannot be checked: %v", name, err)
}

func showVerified(p *page, v verified) {
	verdict := "verified"
	if !v.Verified {
		verdict = "NOT VERIFIED"
	}
	if r := v.Proved; r != nil {
		p.line("%s: record %d of organization %s: %s by %s, %s, %s", verdict, r.Seq, v.Header.Organization, r.Action, r.Actor, r.Outcome, r.At.Format(time.RFC3339))
	} else {
		p.line("%s: %d records of organization %s", verdict, v.Records, v.Header.Organization)
	}
	if v.Fault != nil {
		p.line("first fault: %s", v.Fault)
	}
	if v.Checkpoints > 0 {
		p.line("tree size %d, root %s, checkpoint of %s (%d checkpoints)", v.TreeSize, v.Root, v.CheckedAt.Format(time.RFC3339), v.Checkpoints)
	}
	for _, a := range v.Approvers {
		p.line("signed acts of %s by %s: %d", a.Person, a.Method, a.Acts)
	}
	for _, c := range v.CannotExclude {
		p.line("cannot exclude: %s", c)
	}
}
