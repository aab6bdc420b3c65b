package cloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/purser-dev/purser/app"
)

// Secrets is what the orchestrator writes for its cloud, as JSON in a file of
// mode 0600.
type Secrets struct {
	SigningSecret string `json:"signing_secret"` // HMAC secret of the orchestrator's calls (APP 5.1)
	ProviderKey   string `json:"provider_key"`   // bearer at the orchestrator's rail
	RailURL       string `json:"rail_url"`       // POST /v1/rail/charges of the orchestrator
	FaultKey      string `json:"fault_key"`      // bearer of /faults; only used with AllowFaults
}

func readSecrets(path string) (Secrets, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Secrets{}, fmt.Errorf("reading secrets: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Secrets{}, fmt.Errorf("reading secrets: %s is open to others (mode %o); chmod 600 it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Secrets{}, fmt.Errorf("reading secrets: %w", err)
	}
	var s Secrets
	if json.Unmarshal(text, &s) != nil {
		return Secrets{}, fmt.Errorf("reading secrets: %s is not JSON", path) // the decoder's error might quote one
	}
	if s.SigningSecret == "" || s.ProviderKey == "" || s.RailURL == "" {
		return Secrets{}, fmt.Errorf("reading secrets: %s lacks signing_secret, provider_key or rail_url", path)
	}
	if err := app.CheckURL(s.RailURL); err != nil {
		return Secrets{}, fmt.Errorf("reading secrets: rail_url: %w", err)
	}
	return s, nil
}

// sealKey reads the key under which handed-over values are kept, making it the
// first time. It lies beside the database, not in it.
func sealKey(path string, random io.Reader) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 32 {
		return key, nil
	}
	if err == nil {
		return nil, fmt.Errorf("reading the seal key: %s has %d bytes, not 32", path, len(key))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the seal key: %w", err)
	}
	key = make([]byte, 32)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("making the seal key: %w", err)
	}
	if err := os.WriteFile(path+".new", key, 0o600); err != nil {
		return nil, fmt.Errorf("keeping the seal key: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("keeping the seal key: %w", err)
	}
	return key, nil
}
