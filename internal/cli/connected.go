package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) connected() *cobra.Command {
	return family("client", "See, connect and disconnect programs that asked for access (MCP clients)",
		s.clientList(), s.clientShow(), s.clientGrant(), s.clientDecline(), s.clientRevoke())
}

func (s *session) clientList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List connected clients", Args: needs(), Example: "  purser client list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.Grant], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.Grant]{}, err
			}
			return all(ctx, c.ListGrants)
		}, func(p *page, v purser.List[purser.Grant]) {
			if len(v.Items) == 0 {
				p.line("No client is connected. Point an MCP client at %s/mcp.", s.address())
				return
			}
			grantTable(p, v.Items)
		}),
	}
}

func grantTable(p *page, grants []purser.Grant) {
	var rows [][]string
	for _, g := range grants {
		used := "never"
		if g.UsedAt != nil {
			used = clock(*g.UsedAt)
		}
		rows = append(rows, []string{g.ID, g.State, g.ClientName, g.Run, g.Scope, used, clock(g.ExpiresAt)})
	}
	p.table([]string{"GRANT", "STATE", "CLIENT (ITS WORDS)", "RUN", "SCOPE", "USED", "EXPIRES"}, rows)
}

func (s *session) clientShow() *cobra.Command {
	return &cobra.Command{
		Use: "show AUTHORIZATION", Short: "Show what a client asks for", Args: needs("AUTHORIZATION"), Example: "  purser client show aut_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (purser.Authorization, error) {
			c, err := s.client()
			if err != nil {
				return purser.Authorization{}, err
			}
			return c.ShowAuthorization(ctx, purser.AuthorizationRef{Authorization: args[0]})
		}, showAuthorization),
	}
}

func showAuthorization(p *page, a purser.Authorization) {
	p.line("%s calls itself %q and asks, from %s, to %s on %s", a.Client, a.ClientName, a.Source, a.Scope, a.Resource)
	p.line("the answer goes to %s", a.Redirect)
	if a.Local {
		p.line("  a program on the machine whose browser opens it; nobody can say which program")
	}
	p.line("%s until %s", a.State, clock(a.ExpiresAt))
}

func (s *session) clientGrant() *cobra.Command {
	var in purser.GrantClient
	var budget, threshold, currency string
	cmd := s.changing(&cobra.Command{
		Use: "grant AUTHORIZATION", Short: "Connect a client with a run and a budget; asks for a signature", Args: needs("AUTHORIZATION"),
		Example: "  purser client grant aut_01jd... --budget 20 --expires 8h",
	})
	f := cmd.Flags()
	f.StringVar(&in.Project, "project", "", "project, by name or identifier (default: of .purser.yaml)")
	f.StringVar(&budget, "budget", "", "most that the run may spend: 20, 20.00 or \"20.00 USD\"")
	f.StringVar(&currency, "currency", "USD", "currency of amounts that name none")
	f.StringVar(&in.Expires, "expires", "", "how long it lives, at most 720h (default: 2h)")
	f.StringVar(&threshold, "threshold", "", "a step above it needs a person (default: 10.00)")
	f.StringVar(&in.Agent, "agent", "", "name of the agent; made when new (default: agent)")
	f.StringVar(&in.Scope, "scope", "", "read, or \"read spend\" (default: what it asks for)")
	f.StringArrayVar(&in.Providers, "provider", nil, "only this provider; may be repeated (default: every registered one)")
	f.StringVar(&in.Purpose, "purpose", "", "what it is for, in your words")
	f.StringArrayVar(&in.Reveal, "reveal", nil, "credential class that the agent may have: runtime or operator")
	cmd.RunE = does(s, func(ctx context.Context, args []string) (out purser.Granted, err error) {
		if budget == "" {
			return out, misused(cmd, "purser client grant needs --budget")
		}
		if in.Budget, err = amount(budget, currency); err != nil {
			return out, err
		}
		if threshold != "" {
			most, err := amount(threshold, in.Budget.Currency)
			if err != nil {
				return out, err
			}
			in.Threshold = &most
		}
		if in.Project, err = s.needsProject(in.Project); err != nil {
			return out, err
		}
		ctx, c, err := s.keyedClient(ctx)
		if err != nil {
			return out, err
		}
		asked, err := c.ShowAuthorization(ctx, purser.AuthorizationRef{Authorization: args[0]})
		if err != nil {
			return out, err
		}
		if !s.json {
			shown := &page{}
			showAuthorization(shown, asked)
			s.note("%s", shown.String())
		}
		in.Authorization, in.Client, in.Redirect, in.Resource = asked.ID, asked.Client, asked.Redirect, asked.Resource
		if in.Scope == "" {
			in.Scope = asked.Scope
		}
		return signed(ctx, s, c, "grant", in, func(in *purser.GrantClient, a *purser.Signature) { in.Act = a }, c.Grant)
	}, func(p *page, v purser.Granted) {
		grantTable(p, []purser.Grant{v.Grant})
		p.line("next, within two minutes, in the browser that the client opened: %s", v.Redirect)
	})
	return cmd
}

func (s *session) clientDecline() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "decline AUTHORIZATION", Short: "Tell a client no", Args: needs("AUTHORIZATION"), Example: "  purser client decline aut_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (out purser.Declined, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return out, err
			}
			return c.Decline(ctx, purser.AuthorizationRef{Authorization: args[0]})
		}, func(p *page, v purser.Declined) { p.line("Declined. The client hears of it at %s", v.Redirect) }),
	})
}

func (s *session) clientRevoke() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "revoke GRANT", Short: "Disconnect a client; what it bought stays", Args: needs("GRANT"), Example: "  purser client revoke gra_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (g purser.Grant, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return g, err
			}
			return c.RevokeGrant(ctx, purser.GrantRef{Grant: args[0]})
		}, func(p *page, v purser.Grant) { grantTable(p, []purser.Grant{v}) }),
	})
}
