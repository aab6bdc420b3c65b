package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/child"
	"github.com/purser-dev/purser/internal/cloud"
	"github.com/purser-dev/purser/internal/config"
	"github.com/purser-dev/purser/internal/seal"
)

// localCloud is the cloud that `purser up` started beside its server.
type localCloud struct {
	process *child.Process
	ready   cloud.Ready
	secrets cloud.Secrets
}

// startCloud starts the local cloud as a process whose life is bound to this
// one, and waits until its doors are open.
func (s *session) startCloud(ctx context.Context, cfg config.Config, rail string, faults bool) (*localCloud, error) {
	file := filepath.Join(cfg.Dir, "cloud-secrets.json")
	secrets, err := s.cloudSecrets(file, rail)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the local cloud: %w", err)
	}
	defer read.Close()
	cmd := exec.Command(program, "cloud", "--until-eof", "--dir", cfg.Cloud.Dir, "--secrets", file,
		"--api", cfg.Cloud.API, "--https", cfg.Cloud.HTTPS, "--http", cfg.Cloud.HTTP, "--dns", cfg.Cloud.DNS, "--smtp", cfg.Cloud.SMTP)
	if faults {
		cmd.Args = append(cmd.Args, "--faults")
	}
	cmd.Env, cmd.Stdout, cmd.Stderr = s.without("PURSER_TOKEN"), write, s.Err
	process, err := child.Start(cmd, false)
	_ = write.Close() // the child has its own
	if err != nil {
		return nil, err
	}
	l := &localCloud{process: process, secrets: secrets}
	if err := l.await(ctx, read); err != nil {
		_ = process.Stop(0) // it is of no use; the reason is returned
		return nil, err
	}
	return l, nil
}

// await reads the cloud's one line.
func (l *localCloud) await(ctx context.Context, out *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = out.Close() })
	defer stop()
	if err := json.NewDecoder(out).Decode(&l.ready); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return purser.Errorf(purser.Unavailable, "the local cloud did not start; what it said stands above").
			WithHint("purser up --no-cloud, or choose other ports (purser up --help)").WithCause(err)
	}
	return nil
}

// cloudSecrets are made once for a data folder, so that the cloud's accounts
// outlive a restart; the rail's address is that of this start.
func (s *session) cloudSecrets(file, rail string) (cloud.Secrets, error) {
	var secrets cloud.Secrets
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &secrets)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return secrets, fmt.Errorf("reading the secrets of the local cloud: %w", err)
	}
	if err := s.fillSecrets(&secrets); err != nil {
		return secrets, fmt.Errorf("making the secrets of the local cloud: %w", err)
	}
	secrets.RailURL = rail
	if text, err = json.Marshal(secrets); err != nil {
		return secrets, fmt.Errorf("writing the secrets of the local cloud: %w", err)
	}
	return secrets, writeFile(file, text, 0o600)
}

// fillSecrets makes what is not there yet. The provider's key is a token of
// Purser's; the others are known to these two processes only.
func (s *session) fillSecrets(secrets *cloud.Secrets) error {
	if secrets.ProviderKey == "" {
		key, err := seal.NewToken(seal.ProviderToken, s.Random)
		if err != nil {
			return err
		}
		secrets.ProviderKey = key.Reveal()
	}
	for _, secret := range []*string{&secrets.SigningSecret, &secrets.FaultKey} {
		if *secret != "" {
			continue
		}
		random := make([]byte, 32)
		if _, err := io.ReadFull(s.Random, random); err != nil {
			return err
		}
		*secret = hex.EncodeToString(random)
	}
	return nil
}

// runs is what the ready object tells of the cloud; nothing when there is none.
func (l *localCloud) runs() *cloudRuns {
	if l == nil {
		return nil
	}
	r := l.ready
	return &cloudRuns{API: r.APIURL, HTTPS: r.EdgeHTTPS, HTTP: r.EdgeHTTP, DNS: r.DNS, SMTP: r.SMTP, RootPEM: r.RootPEM, Pid: r.PID}
}
