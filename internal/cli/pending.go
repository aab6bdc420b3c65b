package cli

import "github.com/spf13/cobra"

func (s *session) demo() *cobra.Command      { return &cobra.Command{Use: "demo"} }
func (s *session) up() *cobra.Command        { return &cobra.Command{Use: "up"} }
func (s *session) backup() *cobra.Command    { return &cobra.Command{Use: "backup"} }
func (s *session) cloud() *cobra.Command     { return &cobra.Command{Use: "cloud"} }
func (s *session) demoAgent() *cobra.Command { return &cobra.Command{Use: "demo-agent"} }
