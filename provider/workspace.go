package provider

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/purser-dev/purser/app"
)

// text is a workspace id as text: the wire has numbers and strings.
func text(id any) string {
	switch id := id.(type) {
	case nil:
		return ""
	case string:
		return id
	}
	raw, err := json.Marshal(id)
	if err != nil {
		return ""
	}
	return string(raw)
}

func teamID(t app.Team) string { return text(t.ID) }

// accessible tells whether a token's workspace is still one of the account's: what
// was granted is a snapshot, and an empty scope fails closed (section 2, rule 5).
func accessible(a Account, workspace string) bool {
	return workspace == "" || slices.ContainsFunc(a.Teams, func(t app.Team) bool { return teamID(t) == workspace })
}

// firstTeam puts the consented workspace first; it is the default target (10.1).
func firstTeam(teams []app.Team, workspace string) []app.Team {
	ordered := slices.Clone(teams)
	slices.SortStableFunc(ordered, func(a, b app.Team) int {
		switch {
		case teamID(a) == workspace && teamID(b) != workspace:
			return -1
		case teamID(b) == workspace && teamID(a) != workspace:
			return 1
		}
		return 0
	})
	return ordered
}

var errTeam = Errorf(app.CodeTeamResolution, "no workspace can be chosen, or the one asked for is not accessible")

// workspace chooses for silent linking (9.5): the one asked for, else the only
// one, else the author's hook decides. a is read again after the hook, which may
// have made one.
func (c *call) workspace(in accountInput, a *Account) (string, error) {
	asked := ""
	if c.p.cfg.WorkspaceKey != "" {
		asked = text(in.configuration[c.p.cfg.WorkspaceKey])
	}
	if asked == "" && len(a.Teams) == 0 && c.p.cfg.Hooks.Workspace == nil {
		return "", nil // a provider without workspaces
	}
	if asked == "" && len(a.Teams) == 1 {
		return teamID(a.Teams[0]), nil
	}
	if asked == "" {
		if c.p.cfg.Hooks.Workspace == nil {
			return "", errTeam
		}
		var err error
		if asked, err = c.p.cfg.Hooks.Workspace(c.ctx, c.question(in, a)); err != nil {
			return "", err
		}
		if *a, err = c.p.cfg.Hooks.Accounts.Account(c.ctx, a.ID); err != nil {
			return "", err
		}
	}
	if asked == "" || !accessible(*a, asked) {
		return "", errTeam
	}
	return asked, nil
}

func (c *call) newcomer(in accountInput) NewAccount {
	first, _, _ := strings.Cut(strings.TrimSpace(in.name), " ")
	return NewAccount{
		Email: in.email, Name: in.name, FirstName: first, Phone: in.phone, Country: in.country,
		Orchestrator: c.orch.Name, Payer: in.payer, Configuration: in.configuration, RequestKey: in.requestKey,
	}
}

func (c *call) question(in accountInput, a *Account) AccountQuestion {
	return AccountQuestion{NewAccount: c.newcomer(in), Account: a, Information: in.information}
}

// accountInformation asks for what is missing (9.8). Nothing is stored: the same
// request comes again. A caller of type stripe may not know this answer.
func (c *call) accountInformation(in accountInput, a Account, exists bool) (asked bool, err error) {
	if c.p.cfg.Hooks.AccountInformation == nil || (in.kind == "stripe" && !c.orch.AskStripe) {
		return false, nil
	}
	var known *Account
	if exists {
		known = &a
	}
	schema, err := c.p.cfg.Hooks.AccountInformation(c.ctx, c.question(in, known))
	if err != nil || len(schema) == 0 {
		return false, err
	}
	return true, c.answer(http.StatusOK, app.AccountAnswer{
		ID: c.request, Type: app.AnswerNeedsInformation, NeedsInformation: &app.NeedsInformation{Schema: schema},
	})
}

// accountTypes are the members of an account configuration whose types are checked.
// Only their types: a region may come in lower case, whatever the enum says (9.1).
func accountTypes(m app.Manifest) map[string]app.Property {
	var schema app.Schema
	if json.Unmarshal(m.AccountSchema(), &schema) != nil {
		return nil
	}
	types := map[string]app.Property{}
	for name, p := range schema.Properties {
		types[name] = app.Property{Type: p.Type}
	}
	return types
}

// checkAccountConfiguration checks the types of the members it knows and ignores
// unknown ones (9.1).
func (p *Provider) checkAccountConfiguration(given map[string]any) error {
	known := map[string]any{}
	for name := range p.accountTypes {
		if value := given[name]; value != nil {
			known[name] = value
		}
	}
	_, faults := app.Configure(app.Service{Configuration: app.Schema{Properties: p.accountTypes}}, known)
	if len(faults) > 0 {
		return Errorf(app.CodeInvalidRequest, "configuration: %s", strings.Join(faults, "; "))
	}
	return nil
}
