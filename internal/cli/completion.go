package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

type completion struct {
	Shell  string `json:"shell"`
	Script string `json:"script"`
}

func (s *session) completion() *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "Print the completion script for bash, zsh, fish or powershell", Args: needs("SHELL"),
		Example:   "  source <(purser completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var b strings.Builder
		root := cmd.Root()
		write, known := map[string]func() error{
			"bash":       func() error { return root.GenBashCompletionV2(&b, true) },
			"zsh":        func() error { return root.GenZshCompletion(&b) },
			"fish":       func() error { return root.GenFishCompletion(&b, true) },
			"powershell": func() error { return root.GenPowerShellCompletionWithDesc(&b) },
		}[args[0]]
		if !known {
			return misused(cmd, "%q is not bash, zsh, fish or powershell", args[0])
		}
		if err := write(); err != nil {
			return err
		}
		// The script is printed as it is: it is ours, and it has control characters.
		return does(s, func(context.Context, []string) (completion, error) {
			return completion{args[0], b.String()}, nil
		}, func(p *page, v completion) { p.WriteString(v.Script) })(cmd, args)
	}
	return cmd
}
