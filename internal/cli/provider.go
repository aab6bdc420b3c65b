package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/app"
)

func (s *session) provider() *cobra.Command {
	return family("provider", "Register, list and forget those who sell", s.providerAdd(), s.providerNew(), s.providerList(), s.providerShow(), s.providerRemove())
}

func (s *session) providerAdd() *cobra.Command {
	var in purser.AddProvider
	var secret string
	cmd := s.changing(&cobra.Command{
		Use: "add MANIFEST", Short: "Register a provider by its manifest; asks for your signature", Args: needs("MANIFEST"),
		Long: "Register a provider by the URL of its manifest or by a file. The secret that the two share is read from standard input\n" +
			"(--secret -) or asked on the terminal; it is never an argument.",
		Example: "  purser provider add https://vendor.example/app/manifest.json\n  purser provider add manifest.json --secret - < secret.txt",
	})
	cmd.Flags().StringVar(&secret, "secret", "", "- reads the signing secret from standard input (default: asked)")
	cmd.Flags().StringVar(&in.Profile, "profile", "", "how to speak to it: purser (default), stripe or generic")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (v purser.ProviderInfo, err error) {
		if in.Manifest, err = s.manifest(ctx, args[0]); err != nil {
			return v, err
		}
		if in.SigningSecret, err = s.sharedSecret(ctx, cmd, secret); err != nil {
			return v, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return v, err
		}
		return signed(ctx, s, c, "add_provider", in, func(in *purser.AddProvider, a *purser.Signature) { in.Act = a }, c.AddProvider)
	}, func(p *page, v purser.ProviderInfo) {
		providerTable(p, []purser.ProviderInfo{v})
		if v.ProviderKey != "" {
			p.line("")
			p.line("The provider's key for the rail, shown this once: %s", v.ProviderKey)
		}
		p.line("next: purser catalog %s", v.Name)
	})
	return cmd
}

// manifestLimit bounds a manifest file, in bytes.
const manifestLimit = 1 << 20

// manifest reads a manifest here, not at the server: what is signed is its text.
func (s *session) manifest(ctx context.Context, from string) (string, error) {
	unreadable := purser.Errorf(purser.InvalidRequest, "%s is neither a URL nor a file that can be read as a manifest", from)
	if u, err := url.Parse(from); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		text, err := os.ReadFile(s.path(from))
		if err != nil || len(text) > manifestLimit {
			return "", unreadable.WithCause(err)
		}
		return string(text), nil
	}
	if err := app.CheckURL(from); err != nil {
		return "", purser.Errorf(purser.InvalidRequest, "a manifest comes over https, or http from this machine").WithCause(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", unreadable.WithCause(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", unreadable.WithCause(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, manifestLimit+1))
	if err != nil || resp.StatusCode != http.StatusOK || len(text) > manifestLimit {
		return "", unreadable.WithCause(err)
	}
	return string(text), nil
}

func (s *session) sharedSecret(ctx context.Context, cmd *cobra.Command, from string) (string, error) {
	switch from {
	case "-":
		text, err := io.ReadAll(io.LimitReader(s.In, 4096))
		if err != nil {
			return "", fmt.Errorf("reading the secret: %w", err)
		}
		return strings.TrimSpace(string(text)), nil
	case "":
		secret, err := s.askSecret(ctx, "the secret that the provider signs with", "Signing secret of the provider: ")
		return strings.TrimSpace(string(secret)), err
	}
	return "", misused(cmd, "a secret is never an argument; --secret takes only -")
}

func (s *session) providerList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List registered providers", Args: needs(), Example: "  purser provider list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.ProviderInfo], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.ProviderInfo]{}, err
			}
			return c.ListProviders(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.ProviderInfo]) { providerTable(p, v.Items) }),
	}
}

func providerTable(p *page, list []purser.ProviderInfo) {
	var rows [][]string
	for _, v := range list {
		rows = append(rows, []string{v.Name, v.State, fmt.Sprint(v.Services), v.BaseURL, strings.Join(v.Capabilities, ",")})
	}
	p.table([]string{"PROVIDER", "STATE", "SERVICES", "ADDRESS", "CAPABILITIES"}, rows)
}
