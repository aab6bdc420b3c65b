package cli

import "github.com/spf13/cobra"

func (s *session) backup() *cobra.Command { return &cobra.Command{Use: "backup"} }
