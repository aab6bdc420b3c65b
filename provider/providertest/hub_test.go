package providertest_test

import (
	"context"
	"errors"
	"sync"

	"github.com/purser-dev/purser/app"
	"github.com/purser-dev/purser/provider"
)

// hub is what stands behind the grants and the payer of a right provider.
type hub struct {
	mu       sync.Mutex
	settings provider.PayerSettings
}

func (b *hub) Exchange(_ context.Context, _ provider.PartnerDocument, code, _ string) (provider.GitHubGrant, error) {
	switch code {
	case "failing":
		return provider.GitHubGrant{}, provider.Errorf(app.CodeGitHubExchange, "the code is no good")
	case "down":
		return provider.GitHubGrant{}, errors.New("no route to host")
	case "denied":
		return provider.GitHubGrant{}, provider.Errorf(app.CodeEmailUnavailable, "the email may not be read")
	case "no_email":
		return provider.GitHubGrant{Login: "ada", Token: "gho_secret"}, nil
	}
	return provider.GitHubGrant{Login: "ada", Email: "ada@example.com", Token: "gho_secret"}, nil
}

func (b *hub) Repositories(_ context.Context, g provider.GitHubGrant) (provider.GitHubAccess, error) {
	if g.Token != "gho_secret" || g.Login != "ada" {
		return provider.GitHubAccess{}, errors.New("another grant than was made")
	}
	return provider.GitHubAccess{
		Installations: []provider.GitHubInstallation{{ID: 7, AccountLogin: "ada", RepositorySelection: "selected"}},
		Repositories:  []provider.GitHubRepository{{InstallationID: 7, FullName: "ada/engine", DefaultBranch: "main", Private: true}},
	}, nil
}

func (b *hub) Integrate(context.Context, provider.Resource, provider.GitHubGrant, int64) error {
	return nil
}

func (b *hub) RunWizard(context.Context, provider.Resource, string, string) error { return nil }

func (b *hub) Settings(context.Context, provider.PartnerDocument) (provider.PayerSettings, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.settings, nil
}

func (b *hub) ChangeSettings(_ context.Context, _ provider.PartnerDocument, change provider.PayerSettings) (provider.PayerSettings, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if change.WebhookURL != nil {
		b.settings.WebhookURL = change.WebhookURL
	}
	if change.SpendAlertUSD != nil {
		b.settings.SpendAlertUSD = change.SpendAlertUSD
	}
	return b.settings, nil
}

func (b *hub) NewWebhookSecret(context.Context, provider.PartnerDocument) (string, error) {
	return "whsec_of_the_test", nil
}

func (b *hub) TestEvent(context.Context, provider.PartnerDocument) (string, error) {
	return "evt_1", nil
}

func (b *hub) Organizations(context.Context, provider.PartnerDocument, int, int) ([]map[string]any, error) {
	return nil, nil
}

func (b *hub) Invoices(context.Context, provider.PartnerDocument) ([]map[string]any, error) {
	return nil, nil
}

func (b *hub) Settlements(context.Context, provider.PartnerDocument) ([]map[string]any, error) {
	return nil, nil
}

func (b *hub) Settlement(context.Context, provider.PartnerDocument, string) (map[string]any, error) {
	return nil, provider.ErrGone
}

func (b *hub) SetLimits(context.Context, provider.PartnerDocument, string, map[string]string) error {
	return provider.ErrGone
}
