package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/purser-dev/purser/app"
)

// GitHub lets a partner bring a person's repositories (15.6). Its own failures are
// answered with the codes of the protocol: Errorf with app.CodeGitHubExchange,
// app.CodeGitHubUnavailable or app.CodeEmailUnavailable. What is not made with Errorf
// counts as unavailable. Only clients with a key and PartnerRights.GitHub are let in.
type GitHub interface {
	// Exchange redeems the code of a person's sign-in at GitHub.
	Exchange(ctx context.Context, client PartnerDocument, code, redirectURI string) (GitHubGrant, error)

	// Repositories lists what the grant reaches.
	Repositories(ctx context.Context, g GitHubGrant) (GitHubAccess, error)

	// Integrate connects a resource with an installation that the grant reaches.
	Integrate(ctx context.Context, r Resource, g GitHubGrant, installation int64) error

	// RunWizard starts work on a repository; branch may be empty. A resource that is
	// not integrated refuses with Errorf.
	RunWizard(ctx context.Context, r Resource, repository, branch string) error
}

// GitHubGrant is what a person allowed. Token is secret: it is kept sealed and handed
// to hooks only.
type GitHubGrant struct {
	Login     string        `json:"login"`
	Email     string        `json:"email,omitempty"` // "": the account has none
	Token     string        `json:"token"`
	ExpiresIn time.Duration `json:"expires_in"` // default 1 h
}

// GitHubAccess is what a grant reaches.
type GitHubAccess struct {
	Installations []GitHubInstallation `json:"installations"`
	Repositories  []GitHubRepository   `json:"repositories"`
}

// GitHubInstallation is an installation of the provider's GitHub app.
type GitHubInstallation struct {
	ID                  int64  `json:"id"`
	AccountLogin        string `json:"account_login"`
	RepositorySelection string `json:"repository_selection"` // all or selected
}

// GitHubRepository is a repository of an installation.
type GitHubRepository struct {
	InstallationID int64  `json:"installation_id"`
	FullName       string `json:"full_name"`
	DefaultBranch  string `json:"default_branch"`
	Private        bool   `json:"private"`
}

type grantRecord struct {
	Client    string    `json:"client"`
	Sealed    []byte    `json:"sealed"`
	ExpiresAt time.Time `json:"expires_at"`
}

func keyGrant(id string) string { return "github/" + hash(id) }

var errGitHubGrant = Errorf(app.CodeGrantNotFound, "no such grant")

// partnerOnly lets a client in that proves itself by a key and has a right. Neither
// needs the backend, which is not called for others (15.6, 15.7).
func (c *call) partnerOnly(offered bool, right func(PartnerRights) bool) (*partner, error) {
	if c.p.cfg.Generic == nil || !offered {
		return nil, flat(app.CodeNotFound, "no such path")
	}
	for _, step := range []func() error{c.global, c.read, c.decodable} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	known, err := c.partnerCaller()
	if err != nil {
		return nil, err
	}
	c.orch = c.p.orchestratorOf(known)
	if known.rights.Disabled || !known.confidential() || !right(known.rights) {
		return nil, Errorf(app.CodeForbidden, "this client may not do that")
	}
	return known, c.spend("other")
}

// partnerCaller is the client of a bearer, or of an assertion: in the body, or in the
// query where there is none (15.3).
func (c *call) partnerCaller() (*partner, error) {
	if bearerToken(c.r.Header) != "" {
		if err := c.object(); err != nil {
			return nil, err
		}
		return c.limitsCaller()
	}
	query := c.r.URL.Query()
	if !query.Has("client_id") {
		if err := c.object(); err != nil {
			return nil, err
		}
		return c.identify(c.members)
	}
	known, err := c.identify(queryMembers(query))
	if err != nil {
		return nil, err
	}
	return known, c.object()
}

func queryMembers(query url.Values) map[string]json.RawMessage {
	members := map[string]json.RawMessage{}
	for _, name := range []string{"client_id", "client_assertion", "client_assertion_type"} {
		if values := query[name]; len(values) == 1 {
			members[name], _ = json.Marshal(values[0])
		}
	}
	return members
}

func (c *call) github() (*partner, error) {
	return c.partnerOnly(c.p.cfg.Generic != nil && c.p.cfg.Generic.GitHub != nil, func(r PartnerRights) bool { return r.GitHub })
}

// makeGrant redeems a code of GitHub's.
func (c *call) makeGrant() error {
	known, err := c.github()
	if err != nil {
		return err
	}
	var code, redirect string
	for name, v := range map[string]*string{"code": &code, "redirect_uri": &redirect} {
		if err := c.field(name, v); err != nil {
			return err
		}
	}
	if code == "" {
		return Errorf(app.CodeInvalidRequest, "code is missing")
	}
	grant, err := c.p.cfg.Generic.GitHub.Exchange(c.ctx, known.Document, code, redirect)
	if err != nil {
		return c.broken(err, app.CodeGitHubUnavailable, "GitHub could not be asked")
	}
	if grant.ExpiresIn <= 0 {
		grant.ExpiresIn = time.Hour
	}
	id, err := app.Random(c.p.cfg.Random, "ghg_")
	if err != nil {
		return err
	}
	record := grantRecord{Client: known.Name, ExpiresAt: c.p.cfg.Now().Add(grant.ExpiresIn)}
	if record.Sealed, err = c.p.seal(id, map[string]string{"login": grant.Login, "email": grant.Email, "token": grant.Token}); err != nil {
		return err
	}
	err = c.p.cfg.Store.Update(c.ctx, func(tx Tx) error { return put(tx, keyGrant(id), record, record.ExpiresAt) })
	if err != nil {
		return err
	}
	answer := map[string]any{"grant_id": id, "gh_login": grant.Login, "email": nil, "expires_in": int64(grant.ExpiresIn / time.Second)}
	if grant.Email != "" {
		answer["email"] = grant.Email
	}
	return c.answer(http.StatusOK, answer)
}

// grant reads one of a client's own grants.
func (c *call) githubGrant(client, id string) (g GitHubGrant, err error) {
	var record grantRecord
	found := false
	err = c.p.cfg.Store.View(c.ctx, func(tx Tx) error {
		found, err = get(tx, keyGrant(id), &record)
		return err
	})
	if err != nil {
		return g, err
	}
	left := record.ExpiresAt.Sub(c.p.cfg.Now())
	if !found || record.Client != client || left <= 0 {
		return g, errGitHubGrant
	}
	kept, err := c.p.open(id, record.Sealed)
	return GitHubGrant{Login: kept["login"], Email: kept["email"], Token: kept["token"], ExpiresIn: left}, err
}

func (c *call) repositories() error {
	known, err := c.github()
	if err != nil {
		return err
	}
	grant, err := c.githubGrant(known.Name, c.param)
	if err != nil {
		return err
	}
	access, err := c.p.cfg.Generic.GitHub.Repositories(c.ctx, grant)
	if err != nil {
		return c.broken(err, app.CodeGitHubUnavailable, "GitHub could not be asked")
	}
	if access.Installations == nil {
		access.Installations = []GitHubInstallation{}
	}
	if access.Repositories == nil {
		access.Repositories = []GitHubRepository{}
	}
	return c.answer(http.StatusOK, map[string]any{"gh_login": grant.Login, "installations": access.Installations, "repositories": access.Repositories})
}

// onResource is what the two calls on a resource have in common: a partner's bearer,
// its right, a resource within its scope that is complete.
func (c *call) onResource() (held, error) {
	if err := c.proofs(); err != nil {
		return held{}, err
	}
	known := c.orch.generic
	switch {
	case known == nil || c.p.cfg.Generic.GitHub == nil:
		return held{}, Errorf(app.CodeNotFound, "no such path")
	case !known.confidential() || !known.rights.GitHub:
		return held{}, Errorf(app.CodeForbidden, "this client may not do that")
	}
	if err := c.spend("other"); err != nil {
		return held{}, err
	}
	if err := c.object(); err != nil {
		return held{}, err
	}
	h, err := c.hold()
	if err != nil {
		return h, err
	}
	if err := usable(&h.record); err != nil {
		h.release()
		return h, err
	}
	return h, nil
}

func (c *call) integrate() error {
	h, err := c.onResource()
	if err != nil {
		return err
	}
	defer h.release()
	var id string
	var installation int64
	if err := c.field("grant_id", &id); err != nil {
		return err
	}
	if err := c.field("installation_id", &installation); err != nil {
		return err
	}
	grant, err := c.githubGrant(c.orch.Name, id)
	if err != nil {
		return err
	}
	return c.onGitHub(h, func(r Resource) error {
		access, err := c.p.cfg.Generic.GitHub.Repositories(c.ctx, grant)
		if err != nil {
			return err
		}
		for _, reached := range access.Installations {
			if reached.ID == installation {
				return c.p.cfg.Generic.GitHub.Integrate(c.ctx, r, grant, installation)
			}
		}
		return Errorf(app.CodeInvalidRequest, "installation_id is none that the grant reaches")
	})
}

func (c *call) runWizard() error {
	h, err := c.onResource()
	if err != nil {
		return err
	}
	defer h.release()
	var repository, branch string
	for name, v := range map[string]*string{"repository": &repository, "branch": &branch} {
		if err := c.field(name, v); err != nil {
			return err
		}
	}
	if repository == "" {
		return Errorf(app.CodeInvalidRequest, "repository is missing")
	}
	return c.onGitHub(h, func(r Resource) error { return c.p.cfg.Generic.GitHub.RunWizard(c.ctx, r, repository, branch) })
}

// onGitHub does the work, once for a key, and answers the resource without secrets.
func (c *call) onGitHub(h held, work func(Resource) error) error {
	if !h.repeat {
		r, err := c.handed(&h.record)
		if err != nil {
			return err
		}
		if err := work(r); err != nil {
			return c.broken(err, app.CodeGitHubUnavailable, "GitHub could not be asked")
		}
		if err := c.done(h); err != nil {
			return fmt.Errorf("keeping what was done: %w", err)
		}
	}
	out, err := c.wireHeld(h.record)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, out)
}
