package cli

import "github.com/spf13/cobra"

func (s *session) up() *cobra.Command { return &cobra.Command{Use: "up"} }
