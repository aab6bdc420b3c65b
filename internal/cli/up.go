package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/server"
)

// upFlags are settings that are often typed, by their key.
var upFlags = []struct{ flag, key, usage string }{
	{"listen", "listen", "address of the API and MCP; port 0 takes a free one"},
	{"public-url", "public_url", "what others call this server"},
	{"database", "database", "sqlite, sqlite:FILE or postgres://..."},
	{"log-level", "log.level", "debug, info, warn or error"},
	{"log-format", "log.format", "text or json"},
	{"cloud-api", "cloud.api", "address of the local cloud's API"},
	{"cloud-https", "cloud.https", "address of the sites it serves"},
	{"cloud-http", "cloud.http", "address of its redirects to HTTPS"},
	{"cloud-dns", "cloud.dns", "address of its name server"},
	{"cloud-smtp", "cloud.smtp", "address of its mail server"},
}

func (s *session) up() *cobra.Command {
	var dir, file string
	var noCloud, bound, faults bool
	cmd := &cobra.Command{
		Use: "up", Short: "Start the server and the local cloud; ctrl-C ends both", Args: needs(),
		Long: "Start the server (API and MCP) and, as a process beside it, the local cloud. Settings come from a file, the environment\n" +
			"(PURSER_...) and flags. The first start prints how to sign in. With --json one object says when all of it is ready.",
		Example: "  purser up\n  purser up --dir ./state --listen 127.0.0.1:0 --no-cloud --json",
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "data folder (default: PURSER_DIR, else the user's data folder)")
	f.StringVar(&file, "config", "", "settings file (default: PURSER_CONFIG)")
	f.BoolVar(&noCloud, "no-cloud", false, "do not start the local cloud")
	f.BoolVar(&bound, "until-eof", false, "end when standard input ends")
	f.BoolVar(&faults, "cloud-faults", false, "open the local cloud's switches of fault modes")
	_ = f.MarkHidden("until-eof") // these exist; the error is for names that do not
	_ = f.MarkHidden("cloud-faults")
	for _, u := range upFlags {
		f.String(u.flag, "", u.usage)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		chosen := typedSettings(f)
		if noCloud {
			chosen["cloud.enabled"] = false
		}
		cfg, err := s.settings(dir, file, chosen)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		if bound {
			var cancel context.CancelFunc
			ctx, cancel = child.Bound(ctx, s.In)
			defer cancel()
		}
		return s.serve(ctx, cfg, faults)
	}
	return cmd
}

// typedSettings are the flags that were typed, by the key of their setting.
func typedSettings(f *pflag.FlagSet) map[string]any {
	chosen := map[string]any{}
	for _, u := range upFlags {
		if f.Changed(u.flag) {
			chosen[u.key] = f.Lookup(u.flag).Value.String()
		}
	}
	return chosen
}

// lockServed keeps other servers off the data folder, and off the folder of a database
// that is a file elsewhere: at its start a server ends what was under way in such a
// database, because nobody else can be at it.
func lockServed(cfg config.Config) (unlock func(), err error) {
	var locks []io.Closer
	unlock = func() {
		for _, l := range locks {
			_ = l.Close() // it ends with the process too
		}
	}
	dirs := []string{cfg.Dir}
	if file, ok := strings.CutPrefix(cfg.Database.Reveal(), "sqlite:"); ok {
		if behind, err := filepath.EvalSymlinks(file); err == nil { // another server may name it without the link
			file = behind
		}
		dirs = append(dirs, filepath.Dir(file))
	}
	for i, dir := range dirs {
		if err = makeFolder(dir); err == nil && (i == 0 || !sameFolder(dir, cfg.Dir)) {
			var lock io.Closer
			if lock, err = lockFolder(dir); err == nil {
				locks = append(locks, lock)
			}
		}
		if err != nil {
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	y, no := os.Stat(b)
	return errors.Join(err, no) == nil && os.SameFile(x, y)
}

// serve runs server and cloud until the context ends. The server drains before
// its cloud is ended, because its last calls may go there.
func (s *session) serve(ctx context.Context, cfg config.Config, faults bool) (err error) {
	unlock, err := lockServed(cfg)
	if err != nil {
		return err
	}
	defer unlock()
	up := &upRun{session: s, cfg: cfg, faults: faults}
	if up.listener, err = listen(cfg.Listen); err != nil {
		return err
	}
	local, err := up.startCloud(ctx)
	if err != nil {
		return errors.Join(err, up.listener.Close())
	}
	defer up.stopCloud()
	collectLess()
	srv, err := server.New(ctx, cfg, server.Options{Version: s.program(), Listener: up.listener, Local: local})
	if err != nil { // it closed the listener
		return err
	}
	defer srv.Close()
	up.server = srv
	run := runFile{URL: srv.URL(), MCP: srv.URL() + "/mcp", Pid: os.Getpid(), Cloud: up.cloud.runs()}
	if code, needed, err := srv.SetupCode(ctx); err != nil {
		return err
	} else if needed {
		run.Setup, run.SetupLink = code, srv.URL()+"/set-up?code="+code
	}
	return up.run(ctx, run)
}

// upRun is `purser up` while it runs.
type upRun struct {
	*session
	cfg      config.Config
	listener net.Listener
	server   *server.Server
	cloud    *localCloud // nil when settings leave it out
	faults   bool
}

// listen takes the server's address before the cloud starts, which must know
// where the rail is.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, purser.Errorf(purser.Unavailable, "cannot listen on %s: %v", address, err).
			WithHint("end what listens there, or: purser up --listen 127.0.0.1:0")
	}
	return l, nil
}

// rail is where the cloud, a process of this machine, charges payment tokens.
func rail(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if ip := net.ParseIP(host); err != nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/v1/rail/charges"
}

func (u *upRun) run(ctx context.Context, run runFile) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- u.server.Run(ctx) }()
	if err := run.write(u.cfg.Dir); err != nil {
		cancel()
		return errors.Join(err, <-ended)
	}
	defer os.Remove(runFilePath(u.cfg.Dir))
	if err := u.announce(run); err != nil {
		cancel()
		return errors.Join(err, <-ended)
	}
	for {
		select {
		case err := <-ended:
			return err
		case <-u.cloudEnded():
			if err := u.restartCloud(ctx); err != nil {
				cancel()
				return errors.Join(err, <-ended)
			}
		}
	}
}

// announce prints the one ready object, or the same for people.
func (u *upRun) announce(run runFile) error {
	if u.json {
		return u.object(envelope{OK: true, Command: "up", Data: run})
	}
	p := &page{}
	p.line("Purser is up (pid %d). ctrl-C ends it.", run.Pid)
	p.line("  API          %s", run.URL)
	p.line("  MCP          %s", run.MCP)
	if c := run.Cloud; c != nil {
		p.line("  local cloud  %s (pid %d), DNS %s, mail %s", c.API, c.Pid, c.DNS, c.SMTP)
		p.line("  its sites    https at %s, http at %s, root certificate %s", c.HTTPS, c.HTTP, c.RootPEM)
	}
	p.line("  data         %s", u.cfg.Dir)
	for _, w := range u.cfg.Warnings {
		p.line("  warning      %s", w)
	}
	if run.Setup != "" {
		p.line("")
		p.line("Nobody has signed up yet. As the owner, open this link in a browser; it works once, within an hour:")
		p.line("  %s", run.SetupLink)
		p.line("Without a browser here, in another terminal:")
		p.line("  purser login --setup %s%s", run.Setup, u.elsewhere(run.URL))
	}
	return u.text(p)
}

// elsewhere adds the server's address to a command when another terminal would
// not find it by itself.
func (u *upRun) elsewhere(url string) string {
	if dir, err := u.dataFolder(""); err == nil && dir == u.cfg.Dir || url == defaultServer {
		return ""
	}
	return " --server " + url
}

// startCloud starts the local cloud, when the settings want one. To the server
// it is a provider like any other.
func (u *upRun) startCloud(ctx context.Context) (*server.LocalProvider, error) {
	if !u.cfg.Cloud.Enabled {
		return nil, nil
	}
	started, err := u.session.startCloud(ctx, u.cfg, rail(u.listener), u.faults)
	if err != nil {
		return nil, err
	}
	u.cloud = started
	return &server.LocalProvider{
		ManifestURL:   started.ready.ManifestURL,
		SigningSecret: seal.NewSecret(started.secrets.SigningSecret), ProviderKey: seal.NewSecret(started.secrets.ProviderKey),
	}, nil
}

func (u *upRun) cloudEnded() <-chan struct{} {
	if u.cloud == nil {
		return nil
	}
	return u.cloud.process.Done()
}

func (u *upRun) stopCloud() {
	if u.cloud != nil {
		_ = u.cloud.process.Stop(5 * time.Second) // how it ended matters to nobody now
	}
}

// restarts bounds how often a cloud that ends is started again.
const restarts = 5

// restartCloud starts a cloud that ended by itself anew, on the same ports: its
// customers' orders wait for it.
func (u *upRun) restartCloud(ctx context.Context) (err error) {
	for try := range restarts {
		if ctx.Err() != nil {
			return nil // the server ends as well
		}
		fmt.Fprintf(u.Err, "the local cloud ended (%v) and is started again\n", u.cloud.process.Err())
		if _, err = u.startCloud(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
		}
	}
	return purser.Errorf(purser.Unavailable, "the local cloud does not start again").WithCause(err)
}

// collectLess lets garbage grow to four times what lives: a server keeps little, so
// that is some tens of MB, and a quarter of its processor time under load.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
