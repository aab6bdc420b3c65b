package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/idna"
	"golang.org/x/term"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/demo"
)

// demoFlags are what a person may choose.
type demoFlags struct {
	site, domain, budget, approve string
	keep                          bool
}

func (s *session) demo() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use: "demo", Short: "See it work: an agent takes a folder live on a domain it buys, within a budget", Args: needs(),
		Long: "Start a server and a local cloud in a temporary folder, give an agent a run with a budget, and watch it plan, ask, buy and\n" +
			"deploy. Nothing outside this machine is called, no money moves, and nothing is left behind.",
		Example: "  purser demo\n  purser demo --site ./public --domain superseal.club --budget 20.00\n  purser demo --approve auto --json",
	}
	cmd.Flags().StringVar(&f.site, "site", "", "folder to take live (default: a small one that is made)")
	cmd.Flags().StringVar(&f.domain, "domain", "superseal.club", "exact name to buy from the local registrar")
	cmd.Flags().StringVar(&f.budget, "budget", "20.00", "most that the agent may spend, in USD")
	cmd.Flags().StringVar(&f.approve, "approve", "ask", "ask you, or auto: the demo's person says yes")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "stay up until ctrl-C (default: on a terminal)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("keep") {
			f.keep = !s.json && onTerminal(s.Out)
		}
		return s.sail(cmd.Context(), cmd, f)
	}
	return cmd
}

func onTerminal(w io.Writer) bool {
	if out, ours := w.(*standardOutput); ours {
		w = out.Writer
	}
	f, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

func (s *session) sail(ctx context.Context, cmd *cobra.Command, f demoFlags) (err error) {
	o, err := s.demoOptions(cmd, f)
	if err != nil {
		return err
	}
	v, err := demo.Sail(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if s.json {
		if err := s.flat("demo", v.Result); err != nil {
			return err
		}
	} else {
		s.moored(v)
	}
	if !f.keep {
		return nil
	}
	if err := s.lookAround(v); err != nil {
		return err
	}
	return v.Wait(ctx)
}

func (s *session) demoOptions(cmd *cobra.Command, f demoFlags) (demo.Options, error) {
	if f.approve != "ask" && f.approve != "auto" {
		return demo.Options{}, misused(cmd, "--approve is ask or auto")
	}
	budget, err := amount(f.budget, "USD")
	if err != nil {
		return demo.Options{}, err
	}
	domain, err := idna.Lookup.ToASCII(f.domain) // the form that is bought, served and certified
	if err != nil || domain == "" {
		return demo.Options{}, purser.Errorf(purser.InvalidRequest, "%q is not a domain name", f.domain).WithHint("purser demo --domain superseal.club")
	}
	if f.site != "" {
		f.site = s.path(f.site)
	}
	program, err := os.Executable()
	if err != nil {
		return demo.Options{}, fmt.Errorf("finding this program: %w", err)
	}
	began := s.Now()
	return demo.Options{
		Program: program, Site: f.site, Domain: domain, Budget: budget, Auto: f.approve == "auto",
		Path: s.getenv("PATH"), Now: s.Now, Random: s.Random,
		Say: func(format string, args ...any) {
			s.note("%6.2f s  %s", s.Now().Sub(began).Seconds(), fmt.Sprintf(format, args...))
		},
		Decide: s.decider(f.approve == "auto"),
	}, nil
}

// decider shows the plan and asks. The answer comes from standard input; its
// end is a no.
func (s *session) decider(auto bool) func(context.Context, purser.Plan, demo.Page) (bool, error) {
	return func(ctx context.Context, plan purser.Plan, at demo.Page) (bool, error) {
		shown := &page{}
		shown.line("")
		showTerms(shown, plan, asPlanned)
		shown.line("")
		if !s.json || !auto {
			if _, err := io.WriteString(s.Err, shown.String()); err != nil {
				return false, fmt.Errorf("showing the plan: %w", err)
			}
		}
		if auto {
			s.note("--approve auto: the demo's person says yes, and signs")
			return true, nil
		}
		s.showPage(ctx, at)
		fmt.Fprint(s.Err, "Approve exactly this plan? [y/N] ")
		line, err := typing(ctx, func() ([]byte, error) {
			text, err := bufio.NewReader(s.In).ReadString('\n')
			if errors.Is(err, io.EOF) && strings.TrimSpace(text) == "" {
				return nil, purser.Errorf(purser.NeedsPerson, "nobody answered whether plan %s may be applied; nothing was bought", plan.ID).
					WithHint("purser demo in a terminal, or: purser demo --approve auto")
			}
			return []byte(text), nil
		})
		if !term.IsTerminal(int(s.In.Fd())) { // nobody typed a line's end
			fmt.Fprintln(s.Err)
		}
		answer := strings.ToLower(strings.TrimSpace(string(line)))
		return answer == "y" || answer == "yes", err
	}
}

// showPage opens the approval in the browser, or says how to come to it. The code
// stands on the terminal only: a command line is read by every process.
func (s *session) showPage(ctx context.Context, at demo.Page) {
	if s.json || at.Link == "" {
		return
	}
	if onTerminal(s.Err) && s.browse(ctx, at.URL) {
		s.note("The approval is open in your browser. To make a passkey there, enter the code")
		s.note("  %s", at.Code)
	} else {
		s.note("To decide in a browser, with a passkey, open this link; it works once, within fifteen minutes:")
		s.note("  %s", at.Link)
	}
	s.note("Without a browser that has passkeys, answer here: the demo's owner signs with a passphrase.")
	s.note("")
}

// browse opens a page in the person's browser. Without a screen there is none.
func (s *session) browse(ctx context.Context, page string) bool {
	var command []string
	switch {
	case runtime.GOOS == "darwin":
		command = []string{"open"}
	case runtime.GOOS == "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler"}
	case s.getenv("DISPLAY") != "" || s.getenv("WAYLAND_DISPLAY") != "":
		command = []string{"xdg-open"}
	default:
		return false
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, path, append(command[1:], page)...).Run() == nil
}

// moored tells what came of it.
func (s *session) moored(v *demo.Voyage) {
	r := v.Result
	p := &page{}
	p.line("")
	p.line("%s is live: %d files, %d bytes.", r.URL, r.Site.Files, r.Site.Bytes)
	p.line("spent %s, held %s, left %s of %s", r.Budget.Captured, r.Budget.Held, r.Left, r.Budget.Limit)
	p.line("audit log: %d records, verified by a separate process", r.Audit.Records)
	p.line("machine time %.2f s", float64(r.MachineMS)/1000)
	_, _ = io.WriteString(s.Out, p.String()) // nothing better to tell it to
}

// lookAround prints lines that work as typed from another terminal.
func (s *session) lookAround(v *demo.Voyage) error {
	settings, err := v.LookAround()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(v.Ready.Cloud.HTTPS)
	if err != nil {
		return fmt.Errorf("reading the edge's address: %w", err)
	}
	name := s.typedName(v.Program)
	s.note("")
	s.note("Until ctrl-C, from another terminal:")
	s.note("  curl --cacert %s --connect-to %s:443:127.0.0.1:%s %s", v.Ready.Cloud.RootPEM, v.Domain, port, v.Result.URL)
	s.note("  %s %s status", settings, name)
	s.note("  %s %s audit log", settings, name)
	return nil
}

// typedName is how to type this program from any folder.
func (s *session) typedName(program string) string {
	for _, dir := range filepath.SplitList(s.getenv("PATH")) {
		if filepath.Join(dir, "purser") == program {
			return "purser"
		}
	}
	return program
}

// demoAgent is the demo's agent, a process of its own.
func (s *session) demoAgent() *cobra.Command {
	var w demo.Worker
	cmd := &cobra.Command{Use: "demo-agent", Short: "The demo's agent", Hidden: true, Args: needs(), Example: "  purser demo-agent --site DIR --domain NAME --env production"}
	cmd.Flags().StringVar(&w.Site, "site", "", "folder to take live")
	cmd.Flags().StringVar(&w.Domain, "domain", "", "exact name to buy")
	cmd.Flags().StringVar(&w.Env, "env", "production", "environment")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Minute) // the person may think
		defer cancel()
		ctx, end := child.Bound(ctx, s.In)
		defer end()
		c, err := s.client()
		if err != nil {
			return err
		}
		token, err := s.token()
		if err != nil {
			return err
		}
		tools, err := dialMCP(ctx, s.address(), token, s.program(), hears{})
		if err != nil {
			return err
		}
		defer tools.Close()
		w.Tools, w.Upload, w.Out = tools, c, s.Out
		return w.Work(ctx)
	}
	return cmd
}
