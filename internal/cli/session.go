package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/client"
)

// defaultServer is where `purser up` listens unless it is told otherwise.
const defaultServer = "http://localhost:7627"

// session is one command line that runs.
type session struct {
	World
	json   bool
	server string // --server
	key    string // --key, or the one that was made for this process

	signedAct string // --signed: what a person was sent to sign before
}

// getenv reads the environment that the command was given.
func (s *session) getenv(name string) string {
	value, _ := s.lookenv(name)
	return value
}

// lookenv is getenv where a variable that is set to nothing is not one that is not set.
func (s *session) lookenv(name string) (value string, set bool) {
	for i := len(s.Environ) - 1; i >= 0; i-- {
		if value, set = strings.CutPrefix(s.Environ[i], name+"="); set {
			return value, true
		}
	}
	return "", false
}

// path resolves a path as typed.
func (s *session) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.Dir, p)
}

// userFolder is an XDG base folder: the variable, or its default below HOME.
func (s *session) userFolder(variable, fallback string) (string, error) {
	if dir := s.getenv(variable); filepath.IsAbs(dir) {
		return dir, nil
	}
	home := s.getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", purser.Errorf(purser.InvalidRequest, "neither %s nor HOME names a folder", variable).
			WithHint("set %s to a folder of your own", variable)
	}
	return filepath.Join(home, fallback), nil
}

// dataFolder is where a server of this machine keeps its state: as typed, or
// PURSER_DIR, or the user's data folder.
func (s *session) dataFolder(typed string) (string, error) {
	if typed != "" {
		return s.path(typed), nil
	}
	if dir := s.getenv("PURSER_DIR"); dir != "" {
		return s.path(dir), nil
	}
	base, err := s.userFolder("XDG_DATA_HOME", ".local/share")
	return filepath.Join(base, "purser"), err
}

// address finds the server: as typed, from the environment, from the server
// that runs here, or the default.
func (s *session) address() string {
	for _, a := range []string{s.server, s.getenv("PURSER_URL")} {
		if a != "" {
			return strings.TrimRight(a, "/")
		}
	}
	if dir, err := s.dataFolder(""); err == nil {
		if run, err := readRunFile(dir); err == nil && run.URL != "" {
			return strings.TrimRight(run.URL, "/")
		}
	}
	return defaultServer
}

// token is the credential to use: PURSER_TOKEN, of an agent or a person, or the
// person's token that `purser login` stored for this server. A script whose variable
// came out empty means an agent, and must not act as the person who is signed in.
func (s *session) token() (string, error) {
	switch t, set := s.lookenv("PURSER_TOKEN"); {
	case t != "":
		return t, nil
	case set:
		return "", purser.Errorf(purser.NotSignedIn, "PURSER_TOKEN is set, and empty").
			WithHint("put the run's token in it, or unset PURSER_TOKEN to act as yourself")
	}
	stored, err := s.credentials()
	if err != nil {
		return "", err
	}
	return stored.Servers[s.address()].Token, nil
}

// client makes a client with the credential at hand; there may be none.
func (s *session) client() (*client.Client, error) {
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	return s.clientWith(token)
}

func (s *session) clientWith(token string) (*client.Client, error) {
	return client.New(client.Config{URL: s.address(), Token: token, UserAgent: "purser/" + s.program(), Random: s.Random})
}

// keyed gives the changing call of a command its idempotency key. One that was
// made here is shown, so that a person can repeat the very same call (RULES 10).
func (s *session) keyed(ctx context.Context, c *client.Client) (context.Context, error) {
	if s.key == "" {
		made, err := c.NewKey()
		if err != nil {
			return ctx, err
		}
		s.key = made
		s.note("key: %s", made)
	}
	return client.WithKey(ctx, s.key), nil
}

// keyedClient is the client of a command that changes something, and the context
// that carries its key.
func (s *session) keyedClient(ctx context.Context) (context.Context, *client.Client, error) {
	c, err := s.client()
	if err != nil {
		return ctx, nil, err
	}
	ctx, err = s.keyed(ctx, c)
	return ctx, c, err
}

// changing adds the flags of commands that change something.
func (s *session) changing(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&s.key, "key", "", "idempotency key: the same key never does it twice (default: a new one, printed)")
	return cmd
}

// flagsSaySomething refuses a flag that was given and is empty. A script whose variable
// came out empty would else get the default unsaid: a new key, which pays twice, or
// metered use for an order. Commands that Purser starts itself hand on what they have.
func flagsSaySomething(cmd *cobra.Command) (err error) {
	if cmd.Hidden {
		return nil
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		list, many := f.Value.(pflag.SliceValue)
		if many && (len(list.GetSlice()) == 0 || slices.Contains(list.GetSlice(), "")) || !many && f.Value.String() == "" && f.Value.Type() == "string" {
			err = empty(cmd, f)
		}
	})
	return err
}

// errEmpty is a value of nothing, where a flag sees it itself.
var errEmpty = errors.New("empty")

func empty(cmd *cobra.Command, f *pflag.Flag) error {
	if f.Name == "key" {
		return misused(cmd, "--key was given and is empty")
	}
	return misused(cmd, "--%s was given and is empty; leave it out if its default is meant", f.Name)
}

// unreadable says what a flag takes, where the library would say how Go read it.
func unreadable(cmd *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return misused(cmd, "%v", err)
	}
	if errors.Is(bad, errEmpty) {
		return empty(cmd, bad.GetFlag())
	}
	takes := map[string]string{
		"int": "a whole number", "int64": "a whole number", "intSlice": "whole numbers with commas between them, like 50,80,100",
		"bool": "true or false",
	}[bad.GetFlag().Value.Type()]
	if takes == "" {
		return misused(cmd, "%v", err)
	}
	return misused(cmd, "--%s takes %s, not %q", bad.GetFlag().Name, takes, bad.GetValue())
}

// place adds the flags that say where: the project and its environment.
func place(cmd *cobra.Command, project, env *string) *cobra.Command {
	cmd.Flags().StringVar(project, "project", "", "project, by name or identifier (default: of .purser.yaml)")
	cmd.Flags().StringVar(env, "env", "", "environment (default: development)")
	return cmd
}

// note tells a person something beside the result. It is silent under --json,
// where the same facts are in the object.
func (s *session) note(format string, args ...any) {
	if !s.json {
		fmt.Fprintf(s.Err, "%s\n", visible(fmt.Sprintf(format, args...)))
	}
}

// name is the command as typed, without the program: "run create".
func name(cmd *cobra.Command) string {
	_, rest, _ := strings.Cut(cmd.CommandPath(), " ")
	return rest
}
