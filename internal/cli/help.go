package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// help is `purser help COMMAND`, for who types it that way; unlike the
// library's own it fails for a command that is not there.
func (s *session) help() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Show the help of a command", Example: "  purser help plan\n  purser help run create",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || target == nil || len(rest) > 0 {
				return misused(cmd.Root(), "there is no command %q", strings.Join(args, " "))
			}
			return target.Help()
		},
	}
}
