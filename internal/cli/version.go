package cli

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// program is this program's version: the linker's, or what the build recorded.
func (s *session) program() string {
	if s.Version != "" {
		return s.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

type versions struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func (s *session) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: needs(), Example: "  purser version",
		RunE: does(s, func(context.Context, []string) (versions, error) {
			return versions{s.program(), runtime.Version(), runtime.GOOS, runtime.GOARCH}, nil
		}, func(p *page, v versions) { p.line("purser %s (%s, %s/%s)", v.Version, v.Go, v.OS, v.Arch) }),
	}
}
