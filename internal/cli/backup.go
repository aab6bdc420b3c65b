package cli

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/audit"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/server"
)

// copied is what backup tells of a copy.
type copied struct {
	File         string           `json:"file"`
	Installation string           `json:"installation"`
	Taken        time.Time        `json:"taken"`
	Records      map[string]int64 `json:"records"` // by organization, and of the installation: the size of its log
}

func (s *session) backup() *cobra.Command {
	return family("backup", "Copy everything into one sealed file, and back", s.backupCreate(), s.backupRestore())
}

// onFolder adds the flags that name this machine's own data.
func (s *session) onFolder(cmd *cobra.Command) func() (config.Config, error) {
	var dir, file, database string
	cmd.Flags().StringVar(&dir, "dir", "", "data folder (default: PURSER_DIR, else the user's data folder)")
	cmd.Flags().StringVar(&file, "config", "", "settings file (default: PURSER_CONFIG)")
	cmd.Flags().StringVar(&database, "database", "", "sqlite, sqlite:FILE or postgres://...")
	return func() (config.Config, error) {
		chosen := map[string]any{}
		if database != "" {
			chosen["database"] = database
		}
		return s.settings(dir, file, chosen)
	}
}

func (s *session) backupCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create FILE", Short: "Write a consistent, sealed copy of everything; the server may run", Args: needs("FILE"),
		Long: "Write a copy of database and files as they are at one moment, into one file of mode 600. It is sealed under the key file,\n" +
			"which is not in the copy: keep that apart. The server may run meanwhile.",
		Example: "  purser backup create purser.backup",
	}
	settings := s.onFolder(cmd)
	cmd.RunE = does(s, func(ctx context.Context, args []string) (copied, error) {
		cfg, err := settings()
		if err != nil {
			return copied{}, err
		}
		path := s.path(args[0])
		head, err := server.Backup(ctx, cfg, s.program(), path)
		return copied{path, head.Installation, time.UnixMicro(head.At).UTC(), head.Seqs}, err
	}, func(p *page, v copied) {
		organizations := len(v.Records)
		if _, own := v.Records[audit.Installation]; own { // its own log, which is no organization's
			organizations--
		}
		p.line("wrote %s (mode 600): installation %s, organizations: %d", v.File, v.Installation, organizations)
		p.line("keep the key file apart; without it the copy cannot be read")
	})
	return cmd
}

func (s *session) backupRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Fill an empty data folder from a copy; spending stays frozen until a person resumes", Args: needs("FILE"),
		Long: "Fill an empty data folder from a copy. The server must not run. What was spent after the copy was made is not in it, so\n" +
			"spending is frozen until each provider was compared and a person resumes.",
		Example: "  purser backup restore purser.backup --dir ./state",
	}
	settings := s.onFolder(cmd)
	cmd.RunE = does(s, func(ctx context.Context, args []string) (copied, error) {
		cfg, err := settings()
		if err != nil {
			return copied{}, err
		}
		from, err := os.Open(s.path(args[0]))
		if err != nil {
			return copied{}, purser.Errorf(purser.NotFound, "%s cannot be opened", args[0]).WithCause(err)
		}
		defer from.Close()
		if err := makeFolder(cfg.Dir); err != nil {
			return copied{}, err
		}
		lock, err := lockFolder(cfg.Dir)
		if err != nil {
			return copied{}, err
		}
		defer lock.Close()
		got, err := server.Restore(ctx, cfg, s.program(), from)
		return copied{s.path(args[0]), got.Installation, time.UnixMicro(got.Taken).UTC(), got.Seqs}, err
	}, func(p *page, v copied) {
		p.line("restored installation %s as of %s; spending is frozen", v.Installation, clock(v.Taken))
		p.line("next: purser up, then purser status, and purser resume when each provider was compared")
	})
	return cmd
}
