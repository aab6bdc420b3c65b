package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/purser-dev/purser"
)

// credentials are the person's tokens, by server. A token on disk reads,
// proposes and reduces; it loosens nothing (RULES 1).
type credentials struct {
	Version int                     `json:"version"`
	Servers map[string]credential   `json:"servers"`           // by address
	Pending map[string]pendingLogin `json:"pending,omitempty"` // sign-ins that wait for a person, by name
}

type credential struct {
	Token     string    `json:"token"`
	Email     string    `json:"email"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (s *session) credentialsFile() (string, error) {
	base, err := s.userFolder("XDG_CONFIG_HOME", ".config")
	return filepath.Join(base, "purser", "credentials.json"), err
}

// credentials reads the file; none is no credential. A file that others can
// read is refused, because they may have read it.
func (s *session) credentials() (credentials, error) {
	none := credentials{Version: 1, Servers: map[string]credential{}}
	path, err := s.credentialsFile()
	if err != nil {
		return none, nil // without a home there is nothing stored
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("reading the stored sign-in: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return none, purser.Errorf(purser.NotSignedIn, "%s can be read by others (mode %o)", path, info.Mode().Perm()).
			WithHint("chmod 600 %s && purser logout && purser login", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return none, fmt.Errorf("reading the stored sign-in: %w", err)
	}
	var c credentials
	if err := json.Unmarshal(text, &c); err != nil || c.Version != 1 {
		return none, purser.Errorf(purser.NotSignedIn, "%s cannot be understood", path).WithHint("rm %s && purser login", path)
	}
	if c.Servers == nil {
		c.Servers = none.Servers
	}
	return c, nil
}

// keep stores, or with an empty token forgets, the credential of the server.
func (s *session) keep(kept credential) error {
	return s.rewrite(func(c *credentials) {
		if kept.Token == "" {
			delete(c.Servers, s.address())
		} else {
			c.Servers[s.address()] = kept
		}
		for name, p := range c.Pending {
			if p.Server == s.address() {
				delete(c.Pending, name)
			}
		}
	})
}

// rewrite changes the file.
func (s *session) rewrite(f func(*credentials)) error {
	c, err := s.credentials()
	if err != nil {
		return err
	}
	f(&c)
	path, err := s.credentialsFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("storing the sign-in: %w", err)
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("storing the sign-in: %w", err)
	}
	return writeFile(path, append(text, '\n'), 0o600)
}
