package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
)

func (s *session) audit() *cobra.Command {
	return family("audit", "Read, export and verify the record of every decision", s.auditLog(), s.auditExport(), s.auditVerify())
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
		RunE: does(s, func(ctx context.Context, _ []string) (page purser.AuditPage, err error) {
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
		}),
	}
	cmd.Flags().Int64Var(&in.After, "after", 0, "records after this number")
	cmd.Flags().IntVar(&in.Limit, "limit", 0, "at most so many (default: 50)")
	return logFlag(cmd, &in.Log)
}

// exported is what audit export wrote.
type exported struct {
	File      string `json:"file"`
	PublicKey string `json:"public_key"`
	Size      int64  `json:"size"` // records when the export began
}

func (s *session) auditExport() *cobra.Command {
	var in purser.ExportAudit
	cmd := &cobra.Command{
		Use: "export FILE", Short: "Write the whole log as JSON lines; - is standard output", Args: needs("FILE"),
		Example: "  purser audit export audit.jsonl\n  purser audit export - | gzip > audit.jsonl.gz",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		if args[0] == "-" {
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
			return exported{path, head.PublicKey, head.Size}, exportTo(path, func(w io.Writer) error { return c.ExportAudit(ctx, in, w) })
		}, func(p *page, v exported) {
			p.line("wrote %s (mode 600)", v.File)
			p.line("next: purser audit verify %s --key %s", v.File, v.PublicKey)
		})(cmd, args)
	}
	return logFlag(cmd, &in.Log)
}

// exportTo writes a file that appears only when it is whole.
func exportTo(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".purser-*") // mode 600
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			_ = os.Remove(f.Name()) // the error that counts is returned
		}
	}()
	return write(f)
}

// verified is what audit verify found.
type verified struct {
	audit.Report
	CheckedAt   time.Time        `json:"checkpoint_at"`
	ActsByKind  map[string]int64 `json:"approvals_by_method"`
	WithWitness bool             `json:"with_witness"`
}

func (s *session) auditVerify() *cobra.Command {
	var key, witness string
	opt := audit.VerifyOptions{Books: true}
	cmd := &cobra.Command{
		Use: "verify FILE --key KEY", Short: "Verify an export with nothing but the public key; needs no server", Args: needs("FILE"),
		Long: "Verify an export of the log: every record, every checkpoint, every signed approval. It needs the file and the key and\n" +
			"nothing else. What an export alone cannot exclude is said; --witness and --at-least exclude more.",
		Example: "  purser audit verify audit.jsonl --key purser/...\n  purser audit verify audit.jsonl --key KEY --witness checkpoints.txt --at-least 1000",
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's public key, or @FILE that holds it")
	cmd.Flags().StringVar(&witness, "witness", "", "file of checkpoints that were seen earlier")
	cmd.Flags().Int64Var(&opt.AtLeast, "at-least", 0, "number of records that the log must have reached")
	cmd.RunE = does(s, func(_ context.Context, args []string) (verified, error) {
		if key == "" {
			return verified{}, misused(cmd, "purser audit verify needs --key")
		}
		if err := s.readVerifyFiles(&key, witness, &opt); err != nil {
			return verified{}, err
		}
		return s.verifyExport(args[0], key, opt)
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
	f, err := os.Open(s.path(name))
	if err != nil {
		return verified{}, purser.Errorf(purser.NotFound, "%s cannot be opened", name).WithCause(err)
	}
	defer f.Close()
	report, err := audit.Verify(f, key, opt)
	v := verified{report, time.UnixMicro(report.CheckpointTime).UTC(), report.ActsByMethod(), opt.Witness != nil}
	var fault *audit.Fault
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &fault):
		bad := purser.Errorf(purser.BooksBroken, "the log does not verify: %s", fault)
		bad.Hint = "keep the file as evidence, and stop spending: purser stop organization --reason \"the audit log does not verify\""
		return v, &failure{error: bad, data: v, text: func(p *page) { showVerified(p, v) }}
	}
	return v, purser.Errorf(purser.InvalidRequest, "%s cannot be checked: %v", name, err)
}

func showVerified(p *page, v verified) {
	verdict := "verified"
	if !v.Verified {
		verdict = "NOT VERIFIED"
	}
	p.line("%s: %d records of organization %s", verdict, v.Records, v.Header.Organization)
	if v.Fault != nil {
		p.line("first fault: %s", v.Fault)
	}
	p.line("tree size %d, root %s, checkpoint of %s (%d checkpoints)", v.TreeSize, v.Root, v.CheckedAt.Format(time.RFC3339), v.Checkpoints)
	for _, a := range v.Approvers {
		p.line("signed acts of %s by %s: %d", a.Person, a.Method, a.Acts)
	}
	for _, c := range v.CannotExclude {
		p.line("cannot exclude: %s", c)
	}
}
