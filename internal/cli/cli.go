// Package cli is the command line: it parses what is typed, calls the server by the client, and prints for people or as JSON.
//
// One file per command. Parsing and running are apart: a command fills the
// request of the contract and hands it to the client; what comes back is either
// one JSON object on standard output or a text for people.
package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser/client"
)

// World is what a command needs of the machine.
type World struct {
	In       *os.File
	Out, Err io.Writer
	Environ  []string
	Dir      string // where the command was typed
	Version  string // of the program; empty asks the build
	Now      func() time.Time
	Random   io.Reader
	Terminal func() (*Terminal, error) // asks a person; an error says that there is none
}

// Main runs the program with what the system gave it, and returns the exit code.
// The version is that of the build.
func Main(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	dir, err := os.Getwd()
	if err != nil {
		dir = "." // each use of it will fail by name
	}
	return Run(ctx, os.Args[1:], World{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Dir: dir,
		Now: time.Now, Random: rand.Reader, Terminal: openTerminal, Version: version,
	})
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, args []string, w World) int {
	out := &standardOutput{Writer: w.Out}
	w.Out = out
	s := &session{World: w, json: asksJSON(args)}
	root := s.root()
	root.SetArgs(args)
	root.SetOut(w.Out)
	root.SetErr(w.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if out.failed != nil && (err == nil || errors.Is(err, out.failed)) { // the library forgets that of a help
		err = s.unanswered(out.failed)
	}
	if err == nil {
		return 0
	}
	return s.fail(ctx, name(cmd), err)
}

// root is the tree of commands, in the order in which a person needs them.
func (s *session) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "purser",
		Short: "Purser lets a coding agent buy, within what a person allowed",
		Long: "Purser lets a coding agent buy services, domains and hosting, while the person keeps the money, the law and the stop button.\n\n" +
			"Begin with:  purser demo    or    purser up",
		Args: needs(), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, SilenceUsage: true, DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().BoolVar(&s.json, "json", s.json, "print exactly one JSON object on standard output, for errors too")
	root.PersistentFlags().StringVar(&s.signedAct, "signed", "", "go on with what a person was sent to sign in a browser, by the token that was printed")
	root.PersistentFlags().StringVar(&s.server, "server", "", "address of the server (default: PURSER_URL, else the one that runs here)")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return flagsSaySomething(cmd) }
	root.SetFlagErrorFunc(unreadable)
	root.SetHelpCommand(s.help())
	groups := []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Begin", []*cobra.Command{s.demo(), s.up(), s.login(), s.logout(), s.whoami(), s.initialize(), s.projects()}},
		{"Let an agent work", []*cobra.Command{s.run(), s.agent(), s.connected(), s.mcp()}},
		{"Buy", []*cobra.Command{s.catalog(), s.search(), s.plan(), s.approvals(), s.approve(), s.deny(), s.apply(), s.add(), s.deploy()}},
		{"Look and use", []*cobra.Command{
			s.status(), s.spend(), s.budget(), s.label(), s.hold(), s.charge(), s.platform(), s.subscriptions(), s.notices(), s.exec(), s.change("update", "Change a resource's configuration or service", (*client.Client).Update),
			s.change("upgrade", "Change a resource to a larger service", (*client.Client).Upgrade),
			s.change("downgrade", "Change a resource to a smaller service", (*client.Client).Downgrade),
			s.rotate(), s.adopt(), s.remove(), s.restore(),
		}},
		{"Stop and prove", []*cobra.Command{s.stop(), s.resume(), s.audit(), s.books(), s.resolve(), s.agree(), s.inform()}},
		{"Keep the house", []*cobra.Command{s.provider(), s.conformance(), s.link(), s.unlink(), s.open(), s.proposeOpen(), s.people(), s.passkey(), s.sessions(), s.backup(), s.doctor(), s.bench(), s.completion(), s.version()}},
		{"", []*cobra.Command{s.cloud(), s.demoAgent()}},
	}
	for _, g := range groups {
		if g.title != "" {
			root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		}
		for _, c := range g.commands {
			c.GroupID = g.title
			root.AddCommand(c)
		}
	}
	return root
}
