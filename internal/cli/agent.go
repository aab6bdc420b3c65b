package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

func (s *session) agent() *cobra.Command {
	return family("agent", "See and revoke the programs that act for you", s.agentList(), s.agentRevoke())
}

func (s *session) agentList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List agents", Args: needs(), Example: "  purser agent list",
		RunE: does(s, func(ctx context.Context, _ []string) (purser.List[purser.AgentInfo], error) {
			c, err := s.client()
			if err != nil {
				return purser.List[purser.AgentInfo]{}, err
			}
			return c.ListAgents(ctx, purser.None{})
		}, func(p *page, v purser.List[purser.AgentInfo]) { agentTable(p, v.Items) }),
	}
}

func agentTable(p *page, agents []purser.AgentInfo) {
	var rows [][]string
	for _, a := range agents {
		state := "active"
		if a.RevokedAt != nil {
			state = "revoked " + clock(*a.RevokedAt)
		}
		rows = append(rows, []string{a.ID, a.Name, state, fmt.Sprint(a.Runs), clock(a.CreatedAt)})
	}
	p.table([]string{"AGENT", "NAME", "STATE", "RUNS", "MADE"}, rows)
}

func (s *session) agentRevoke() *cobra.Command {
	return s.changing(&cobra.Command{
		Use: "revoke AGENT", Short: "Revoke an agent and all its tokens", Args: needs("AGENT"),
		Example: "  purser agent revoke agt_01jd...",
		RunE: does(s, func(ctx context.Context, args []string) (a purser.AgentInfo, err error) {
			ctx, c, err := s.keyedClient(ctx)
			if err != nil {
				return a, err
			}
			return c.RevokeAgent(ctx, purser.AgentRef{Agent: args[0]})
		}, func(p *page, v purser.AgentInfo) { agentTable(p, []purser.AgentInfo{v}) }),
	})
}
