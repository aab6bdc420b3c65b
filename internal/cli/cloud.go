package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/cloud"
)

// cloud is the local cloud as a process of its own; `purser up` starts it. Its
// one line on standard output says where its doors are.
func (s *session) cloud() *cobra.Command {
	var o cloud.Options
	var bound bool
	cmd := &cobra.Command{
		Use: "cloud", Short: "Run the local cloud alone", Args: needs(), Hidden: true,
		Example: "  purser cloud --dir DIR --secrets FILE",
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "", "state folder")
	f.StringVar(&o.Secrets, "secrets", "", "file with the secrets shared with the server, mode 600")
	f.StringVar(&o.API, "api", cloud.DefaultAPI, "address of its API")
	f.StringVar(&o.Edge, "https", cloud.DefaultEdge, "address of the sites")
	f.StringVar(&o.HTTP, "http", cloud.DefaultHTTP, "address of the redirects to HTTPS")
	f.StringVar(&o.DNS, "dns", cloud.DefaultDNS, "address of the name server")
	f.StringVar(&o.SMTP, "smtp", cloud.DefaultSMTP, "address of the mail server")
	f.BoolVar(&o.AllowFaults, "faults", false, "open the switches of fault modes, for tests")
	f.BoolVar(&bound, "until-eof", false, "end when standard input ends")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.Dir == "" || o.Secrets == "" {
			return misused(cmd, "purser cloud needs --dir and --secrets")
		}
		ctx := cmd.Context()
		if bound {
			// A ctrl-C reaches every process of the terminal; this one waits until the
			// server, which may still be calling it, has ended.
			signal.Ignore(syscall.SIGINT)
			var cancel context.CancelFunc
			ctx, cancel = child.Bound(context.WithoutCancel(ctx), s.In)
			defer cancel()
		}
		return s.runCloud(ctx, o)
	}
	return cmd
}

func (s *session) runCloud(ctx context.Context, o cloud.Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.Now, o.Random, o.Log = s.Now, s.Random, slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.Ready = func(r cloud.Ready) {
		if err := json.NewEncoder(s.Out).Encode(r); err != nil {
			cancel(fmt.Errorf("telling where the cloud listens: %w", err))
		}
	}
	err := cloud.Run(ctx, o)
	var taken *net.OpError
	switch {
	case errors.Is(err, cloud.ErrLocked):
		return purser.Errorf(purser.AlreadyExists, "another local cloud serves %s", o.Dir).WithHint("end it, or name another folder")
	case errors.As(err, &taken) && taken.Op == "listen":
		return purser.Errorf(purser.Unavailable, "cannot listen on %v: %v", taken.Addr, taken.Err).WithCause(err)
	}
	return err
}
