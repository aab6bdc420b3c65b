package cli

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) exec() *cobra.Command {
	var in purser.Exec
	cmd := &cobra.Command{
		Use: "exec -- CMD [ARG...]", Short: "Run CMD with the credentials in its environment, and in no file",
		Long: "Run a command with the credentials of an environment in its environment variables. Nothing is written to a file.\n" +
			"The command takes this process's place, so signals and the exit code are its own. Purser's own token is not handed on.\n" +
			"A person is asked for the passphrase; an agent gets what its run allows, on the record.",
		Example: "  purser exec --env production -- ./migrate up\n  purser exec --resource site -- env",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misused(cmd, "purser exec needs a command after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return s.become(cmd.Context(), in, args) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&in.Resource, "resource", "", "only this resource (default: all of the environment)")
	return place(cmd, &in.Project, &in.Env)
}

// become replaces this process by the command: no parent keeps the credentials.
func (s *session) become(ctx context.Context, in purser.Exec, args []string) error {
	path, err := s.executable(args[0])
	if err != nil { // found out before a credential leaves the server
		return err
	}
	if in.Project, err = s.project(in.Project); err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	got, err := signedIfAsked(ctx, s, c, "exec", in, func(in *purser.Exec, a *purser.Signature) { in.Act = a }, c.Exec)
	if err != nil {
		return err
	}
	if len(got.Masked) > 0 {
		s.note("withheld, because the run does not allow its class: %s", strings.Join(got.Masked, ", "))
	}
	err = syscall.Exec(path, args, s.with(got.Env))
	return purser.Errorf(purser.Internal, "%s cannot be run: %v", args[0], err)
}

func (s *session) executable(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", purser.Errorf(purser.NotFound, "there is no program %s", name).WithCause(err)
	}
	return path, nil
}

// with adds the credentials to the environment and takes Purser's own out.
func (s *session) with(credentials map[string]string) []string {
	out := []string{"PURSER_TOKEN"}
	for name := range credentials {
		out = append(out, name)
	}
	env := s.without(out...)
	for name, value := range credentials {
		env = append(env, name+"="+value)
	}
	return env
}

// without is the environment less some variables.
func (s *session) without(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(s.Environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}
