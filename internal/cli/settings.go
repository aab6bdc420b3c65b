package cli

import (
	"github.com/purser-dev/purser/internal/config"
)

// settings joins defaults, file, environment and flags, for the commands that
// work on this machine's own server.
func (s *session) settings(dir, file string, flags map[string]any) (config.Config, error) {
	if flags == nil {
		flags = map[string]any{}
	}
	if dir != "" {
		flags["dir"] = s.path(dir)
	}
	if file == "" {
		file = s.getenv("PURSER_CONFIG")
	}
	if file != "" {
		file = s.path(file)
	}
	return config.Load(config.Sources{File: file, Environ: s.Environ, Flags: flags})
}
